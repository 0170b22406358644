"""What holds for the tree as a whole: the C interface, the package, and what may not be in a tracked file."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
import tarfile
import tomllib
from collections import Counter
from pathlib import Path

import pytest

import xenmmu
from xenmmu import _core

ROOT = Path(__file__).resolve().parents[1]
CSRC = ROOT / "csrc"


def c_text(path: Path) -> str:
    """A C file without comments, string literals and preprocessor lines."""
    text = re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', " ", path.read_text(encoding="utf-8"), flags=re.S)
    return re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", "", text, flags=re.M)


def declared(text: str) -> list[str]:
    """Functions declared, not defined, in a header."""
    bodies = 1
    while bodies:
        text, bodies = re.subn(r"\{[^{}]*\}", "<>", text)
    return re.findall(r"\b(\w+)\([^;()]*\)\s*;", text)


def defined(text: str) -> list[str]:
    """Functions with external linkage that a C file defines: in kernel style each begins at the left margin."""
    return re.findall(r"^(?!static\b)[A-Za-z_][\w \t*]*?\b(\w+)\([^;{}]*\)\s*\{", text, flags=re.M)


def test_the_reader_of_c_reads_c() -> None:
    header = (
        "struct s { int f; };\nint xm_a(int x,\n\tint y);\nconst char *xm_b(void);\nstatic int q(void) { { } x(); }"
    )
    assert declared(header) == ["xm_a", "xm_b"]
    source = "static int q(int a)\n{\n\tif (a) {\n\t}\n}\nconst char *xm_b(void)\n{\n}\nint xm_a(int x,\n\tint y)\n{\n}"
    assert defined(source) == ["xm_b", "xm_a"]


def test_every_function_of_the_header_is_defined_once_and_no_other_is_public() -> None:
    internal = Counter(n for p in CSRC.rglob("*.h") if p.name != "xenmmu.h" for n in declared(c_text(p)))
    public = Counter(declared(c_text(CSRC / "xenmmu.h")))
    definitions = Counter(n for p in CSRC.rglob("*.c") for n in defined(c_text(p)))
    assert [n for n, times in (public + internal).items() if times > 1] == [], "declared twice"
    assert sorted(set(definitions) - set(public) - set(internal)) == [], "neither static nor declared in a header"
    assert {n: definitions[n] for n in public + internal if definitions[n] != 1} == {}, "not defined exactly once"
    assert [n for n in definitions if not n.startswith("xm_")] == []


def test_the_header_is_all_that_the_binding_offers() -> None:
    assert set(declared(c_text(CSRC / "xenmmu.h"))) <= set(dir(_core.lib))


def test_the_compiled_core_is_the_one_under_test() -> None:
    core = Path(_core.__file__ or "")
    assert core.suffix == ".so"
    assert core.parent == Path(xenmmu.__file__ or "").parent


def test_import_needs_no_optional_package() -> None:
    code = (
        "import sys, xenmmu; print(*{'numpy', 'rich', 'hypothesis', 'unicorn', 'dask', 'elftools'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == ""


def test_cffi_is_the_only_dependency_and_the_version_stands_in_one_place() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert [re.split(r"[<>=]", name)[0] for name in project["dependencies"]] == ["cffi"]
    assert "version" not in project
    assert re.fullmatch(r"\d+\.\d+\.\d+", xenmmu.__version__)


def test_every_folder_of_the_package_is_a_package() -> None:
    folders = {p.parent for p in (ROOT / "xenmmu").rglob("*.py")}
    assert [str(f) for f in folders if not (f / "__init__.py").exists()] == []


def tracked() -> list[str]:
    done = subprocess.run(["git", "ls-files", "-z"], capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        pytest.skip("not a git checkout")
    return [name for name in done.stdout.split("\0") if name and (ROOT / name).exists()]


def test_no_tracked_file_names_a_path_of_a_machine() -> None:
    # Split, so that this file does not name one.
    folders = "|".join(("work", "root", "home", "Users", "tmp"))
    pattern = re.compile(rf"(?<![\w.$}}/-])/(?:{folders})/\w|\.\./shared/".encode())
    assert pattern.search(b"see " + b"/tm" + b"p/x")
    found = []
    for name in tracked():
        data = (ROOT / name).read_bytes()
        if b"\0" not in data and (match := pattern.search(data)):
            found.append(f"{name}: {match.group()!r}")
    assert found == []


def test_the_source_distribution_is_complete(tmp_path: Path) -> None:
    names = tracked()
    subprocess.run(
        [sys.executable, "setup.py", "-q", "sdist", "-d", tmp_path], check=True, cwd=ROOT, capture_output=True
    )
    (archive,) = tmp_path.iterdir()
    with tarfile.open(archive) as tar:
        shipped = {"/".join(name.split("/")[1:]) for name in tar.getnames()}
    missing = [n for n in names if n not in shipped and not n.startswith(".")]
    assert missing == []
    assert not [n for n in shipped if n.endswith((".so", ".o"))]


def test_the_stub_for_mypy_is_the_header() -> None:
    script = runpy.run_path(str(ROOT / "setup_cffi.py"))
    committed = (ROOT / "xenmmu" / "_core.pyi").read_text(encoding="utf-8")
    assert committed == script["stub"](script["CDEF"]), "run `python setup_cffi.py --pyi`: csrc/xenmmu.h has changed"
    assert "def xm_slot_base(self, outer: int, inner: int, level: int, levels: int, /) -> int: ..." in committed
    assert {name for name in dir(_core.lib) if not name.startswith("_")} <= set(re.findall(r"\w+", committed))
