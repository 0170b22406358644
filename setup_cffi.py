"""Build of the C core: the one header becomes cffi's declarations by deleting lines, never by writing them twice."""

import re
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


ffibuilder = cffi.FFI()
ffibuilder.cdef(declarations(HEADER.read_text(encoding="utf-8")))
ffibuilder.set_source(
    "xenmmu._core",
    '#include "xenmmu.h"',
    sources=SOURCES,
    depends=HEADERS,
    include_dirs=["csrc"],
    extra_compile_args=["-std=gnu11", "-O3", "-Wall", "-Wextra", "-Wno-unused-parameter"],
)

if __name__ == "__main__":
    ffibuilder.compile(verbose=True)
