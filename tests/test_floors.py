"""A file uses only floors below it: read from the #include and import edges, and from the names it mentions.

Floors: machine 0 < x86 1 < xen 2 < netbsd 3 < check 4 < tools 5.  The public header may be included anywhere, but what
a section of it declares belongs to the floor that the section's banner names.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

ROOMS = {"machine": 0, "x86": 1, "xen": 2, "netbsd": 3, "check": 4}
TOOLS = 5
PYTHON = ROOMS | {"_core": 0, "errors": 0, "pte": 1, "elfcore": 1}
# Words that a room must not know; "xenmmu" is the name of the project.
FORBIDDEN = {"x86": re.compile(r"xen(?!mmu)", re.I), "xen": re.compile(r"netbsd", re.I)}
BANNER = re.compile(r"\bFloor (\d): (\w+)\.")
NAME = re.compile(r"\b(?:xm|XM)_\w+")


def without_comments(text: str) -> str:
    """C without comments and string literals, lines kept."""
    pattern = r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"'
    return re.sub(pattern, lambda m: "\n" * m.group().count("\n"), text, flags=re.S)


def floor_of_names(header: str) -> dict[str, int]:
    """Each name of the public header -> the floor that declares it: a name is declared where it first occurs."""
    floors: dict[str, int] = {}
    sections = BANNER.split(header)
    for floor, text in [(0, sections[0]), *zip(map(int, sections[1::3]), sections[3::3], strict=True)]:
        # The banner splits a comment in two; what is left of it is prose.
        prose_removed = without_comments("/*" + text if text is not sections[0] else text)
        for name in NAME.findall(prose_removed):
            floors.setdefault(name, floor)
    return floors


def c_floor(path: Path, csrc: Path) -> int | None:
    """The floor of a file of csrc; None for the public header, which is everybody's."""
    inside = path.relative_to(csrc)
    if len(inside.parts) == 1:
        return None if inside.name == "xenmmu.h" else 0
    return ROOMS[inside.parts[0]]


def c_offences(csrc: Path) -> list[str]:
    names = floor_of_names((csrc / "xenmmu.h").read_text(encoding="utf-8"))
    found = []
    for path in sorted(p for p in csrc.rglob("*.[ch]")):
        where, floor = path.relative_to(csrc), c_floor(path, csrc)
        if floor is None:
            continue
        text = path.read_text(encoding="utf-8")
        for include in re.findall(r'^\s*#\s*include\s*"([^"]+)"', text, flags=re.M):
            target = next(t for t in ((path.parent / include).resolve(), csrc / include) if t.exists())
            above = c_floor(target, csrc)
            if above is not None and above > floor:
                found.append(f"{where} (floor {floor}) includes {include} (floor {above})")
            # A guest reaches the hypervisor by hypercall.
            if where.parts[0] == "netbsd" and target.relative_to(csrc).parts[0] == "xen":
                found.append(f"{where} includes {include}, the hypervisor's insides")
        for name in sorted(set(NAME.findall(without_comments(text)))):
            if names.get(name, 0) > floor:
                found.append(f"{where} (floor {floor}) uses {name} (floor {names[name]})")
        word = FORBIDDEN.get(where.parts[0])
        if word and (match := word.search(text)):
            line = text.count("\n", 0, match.start()) + 1
            found.append(f"{where}:{line} says {match.group()!r}")
    return found


def imports(tree: ast.AST, module: str, modules: set[str]) -> set[str]:
    """Modules of the package that a module imports anywhere, also under TYPE_CHECKING or inside a function."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")[: -node.level]
                base = ".".join([*parts, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                found.add(inner if inner in modules or inner == "xenmmu._core" else base)
    return {name for name in found if name.split(".")[0] == "xenmmu"}


def python_floor(module: str) -> int:
    return PYTHON.get(module.split(".")[1], TOOLS)


def python_offences(package: Path, header: str) -> list[str]:
    names = floor_of_names(header)
    files = {".".join(p.relative_to(package.parent).with_suffix("").parts): p for p in package.rglob("*.py")}
    modules = {name.removesuffix(".__init__") for name in files}
    found = []
    for module, path in sorted(files.items()):
        if module == "xenmmu.__init__":
            continue
        floor, tree = python_floor(module), ast.parse(path.read_text(encoding="utf-8"))
        for target in sorted(imports(tree, module, modules)):
            if target == "xenmmu":
                if floor < TOOLS:
                    found.append(f"{module} (floor {floor}) imports the package itself, which holds every floor")
            elif python_floor(target) > floor:
                found.append(f"{module} (floor {floor}) imports {target} (floor {python_floor(target)})")
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and names.get(node.attr, 0) > floor:
                found.append(f"{module} (floor {floor}) uses {node.attr} (floor {names[node.attr]})")
    return found


def test_c_uses_only_floors_below() -> None:
    assert c_offences(ROOT / "csrc") == []


def test_python_uses_only_floors_below() -> None:
    header = (ROOT / "csrc" / "xenmmu.h").read_text(encoding="utf-8")
    assert python_offences(ROOT / "xenmmu", header) == []


def test_names_of_the_header_have_the_floor_of_their_section() -> None:
    floors = floor_of_names((ROOT / "csrc" / "xenmmu.h").read_text(encoding="utf-8"))
    known = {"xm_strerror": 0, "xm_read64": 0, "xm_walk": 1, "xm_slot_base": 1, "XM_PF_U": 1, "xm_mmu_update": 2}
    known |= {"XM_MUT_XSA_182_FASTPATH_RW": 2, "XM_DESIGN_KEPT": 3}
    assert {name: floors[name] for name in known} == known


HEADER = """/* head */
int xm_strerror(int status);
/* ====
 * Floor 0: machine.  Frames.
 * ==== */
struct xm_machine;
/* ====
 * Floor 1: x86.  Entries, as xm_hypercall never sees them.
 * ==== */
int xm_walk(struct xm_machine *m);
/* ====
 * Floor 2: xen.  Domains.
 * ==== */
int xm_hypercall(struct xm_machine *m);
"""


@pytest.mark.parametrize(
    ("file", "text", "offence"),
    [
        ("machine.c", '#include "x86/rights.h"', "machine.c (floor 0) includes x86/rights.h (floor 1)"),
        ("x86/a.c", '#include "../xen/xen.h"', "x86/a.c (floor 1) includes ../xen/xen.h (floor 2)"),
        ("x86/a.c", '#include "xen/xen.h"', "x86/a.c (floor 1) includes xen/xen.h (floor 2)"),
        ("netbsd/a.c", '#include "../xen/xen.h"', "netbsd/a.c includes ../xen/xen.h, the hypervisor's insides"),
        ("x86/a.c", "int f(void) { return xm_hypercall(0); }", "x86/a.c (floor 1) uses xm_hypercall (floor 2)"),
        ("machine.c", "int f(void) { return xm_walk(0); }", "machine.c (floor 0) uses xm_walk (floor 1)"),
        ("x86/a.c", "\n/* as Xen does */", "x86/a.c:2 says 'Xen'"),
        ("xen/a.c", "/* the NetBSD way */", "xen/a.c:1 says 'NetBSD'"),
    ],
)
def test_a_planted_upward_edge_in_c_is_found(tmp_path: Path, file: str, text: str, offence: str) -> None:
    for room in ("x86", "xen", "netbsd"):
        (tmp_path / room).mkdir()
    (tmp_path / "xenmmu.h").write_text(HEADER)
    (tmp_path / "x86" / "rights.h").write_text('#include "../xenmmu.h"\n/* xm_walk here */')
    (tmp_path / "xen" / "xen.h").write_text('#include "../x86/rights.h"\nint xm_hypercall(struct xm_machine *m);')
    (tmp_path / "netbsd" / "b.c").write_text('#include "xenmmu.h"\n/* says xm_, Xen */ int f = xm_hypercall(0);')
    assert c_offences(tmp_path) == []
    (tmp_path / file).write_text(text)
    assert offence in c_offences(tmp_path)


@pytest.mark.parametrize(
    ("file", "text", "offence"),
    [
        ("x86.py", "from xenmmu.xen import Domain", "xenmmu.x86 (floor 1) imports xenmmu.xen (floor 2)"),
        ("x86.py", "import xenmmu.xen", "xenmmu.x86 (floor 1) imports xenmmu.xen (floor 2)"),
        ("x86.py", "from xenmmu import xen", "xenmmu.x86 (floor 1) imports xenmmu.xen (floor 2)"),
        ("x86.py", "from . import xen", "xenmmu.x86 (floor 1) imports xenmmu.xen (floor 2)"),
        ("x86.py", "from .xen import Domain", "xenmmu.x86 (floor 1) imports xenmmu.xen (floor 2)"),
        ("check.py", "from xenmmu.study import replay", "xenmmu.check (floor 4) imports xenmmu.study.replay (floor 5)"),
        (
            "machine.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from xenmmu import x86",
            "xenmmu.machine (floor 0) imports xenmmu.x86 (floor 1)",
        ),
        (
            "xen.py",
            "def f():\n    import xenmmu.study.replay",
            "xenmmu.xen (floor 2) imports xenmmu.study.replay (floor 5)",
        ),
        (
            "xen.py",
            "from xenmmu import Machine",
            "xenmmu.xen (floor 2) imports the package itself, which holds every floor",
        ),
        (
            "x86.py",
            "from xenmmu._core import lib\nlib.xm_hypercall(0)",
            "xenmmu.x86 (floor 1) uses xm_hypercall (floor 2)",
        ),
    ],
)
def test_a_planted_upward_edge_in_python_is_found(tmp_path: Path, file: str, text: str, offence: str) -> None:
    package = tmp_path / "xenmmu"
    (package / "study").mkdir(parents=True)
    for name in ("__init__", "machine", "x86", "check", "study/__init__"):
        (package / f"{name}.py").write_text("")
    (package / "xen.py").write_text("from xenmmu._core import lib\nfrom xenmmu.machine import Machine\nlib.xm_walk(0)")
    (package / "study" / "replay.py").write_text("from xenmmu import Machine, xen\nfrom . import other")
    assert python_offences(package, HEADER) == []
    (package / file).write_text(text)
    assert offence in python_offences(package, HEADER)
