"""Build of the C core: the one header becomes cffi's declarations by deleting lines, never by writing them twice."""

import keyword
import os
import re
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import cffi

ROOT = Path(__file__).resolve().parent
HEADER = ROOT / "csrc" / "xenmmu.h"
SOURCES = sorted(str(p.relative_to(ROOT)) for p in (ROOT / "csrc").rglob("*.c") if "test" not in p.parts)
HEADERS = sorted(str(p.relative_to(ROOT)) for p in (ROOT / "csrc").rglob("*.h"))
INTEGER = re.compile(r"#define\s+\w+\s+(0x[0-9a-fA-F]+|\d+)(U|ULL)?\s*$")


def declarations(header: str) -> str:
    """The header without its comments and without the preprocessor lines that are no integer constant."""
    text = re.sub(r"/\*.*?\*/", "", header, flags=re.S)
    lines = (line.rstrip() for line in text.splitlines())
    return "\n".join(line for line in lines if not line.lstrip().startswith("#") or INTEGER.match(line))


def stub(cdef: str) -> str:
    """The text of _core.pyi: through it mypy finds a C function or constant that is misspelt, or given too little.

    An integer is an int; a pointer or a structure is Any, because cffi takes many Python objects for one.
    """
    from pycparser import CParser, c_ast

    def python_type(node: c_ast.Node) -> str:
        inner = getattr(node, "type", None)
        if not isinstance(node, c_ast.TypeDecl) or isinstance(inner, c_ast.Struct):
            return "Any"
        return "None" if getattr(inner, "names", None) == ["void"] else "int"

    constants = re.findall(r"^#define (\w+)", cdef, flags=re.M)
    functions = []
    sizes = "".join(f"typedef int {name};" for name in sorted(set(re.findall(r"\bu?int\d+_t\b|\bsize_t\b", cdef))))
    for node in CParser().parse(sizes + re.sub(r"^#.*$", "", cdef, flags=re.M)).ext:
        if isinstance(node.type, c_ast.Enum) and node.type.values:
            constants += [e.name for e in node.type.values.enumerators]
        elif isinstance(node.type, c_ast.FuncDecl):
            found = [(p.name, python_type(p.type)) for p in node.type.args.params]
            names = [f"{n}_: {t}" if keyword.iskeyword(n) else f"{n}: {t}" for n, t in found if t != "None"]
            arguments = ", ".join(["self", *names, "/"])
            functions.append(f"    def {node.name}({arguments}) -> {python_type(node.type.type)}: ...")
    return "\n".join(
        [
            "# Made from csrc/xenmmu.h by `python setup_cffi.py --pyi`; not edited by hand.",
            "from typing import Any",
            "",
            "class _Lib:",
            *(f"    {name}: int" for name in constants),
            *functions,
            "",
            "ffi: Any",
            "lib: _Lib",
            "",
        ]
    )


def in_line() -> list[str]:
    """The option with which calls between the files of the core are put in line, where compiler and linker know it."""
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    option = ["-flto=auto"]
    with tempfile.TemporaryDirectory() as folder:
        command = [*compiler, *option, "-x", "c", "-", "-o", os.path.join(folder, "program")]
        try:
            done = subprocess.run(command, input=b"int main(void) { return 0; }", capture_output=True, check=False)
        except OSError:
            return []
    return [] if done.returncode else option


IN_LINE = in_line()
ffibuilder = cffi.FFI()
CDEF = declarations(HEADER.read_text(encoding="utf-8"))
ffibuilder.cdef(CDEF)
ffibuilder.set_source(
    "xenmmu._core",
    '#include "xenmmu.h"',
    sources=SOURCES,
    depends=HEADERS,
    include_dirs=["csrc"],
    # Hidden: only the module's entry is called from outside, and the floors' own calls can be put in line.
    extra_compile_args=[
        "-std=gnu11",
        "-O3",
        *IN_LINE,
        "-fvisibility=hidden",
        "-Wall",
        "-Wextra",
        "-Wno-unused-parameter",
    ],
    extra_link_args=["-O3", *IN_LINE],
)

if __name__ == "__main__":
    if sys.argv[1:] == ["--pyi"]:
        (ROOT / "xenmmu" / "_core.pyi").write_text(stub(CDEF), encoding="utf-8")
    else:
        ffibuilder.compile(verbose=True)
