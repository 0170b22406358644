"""The conformance cases as programs with a name, on the emulator alone: each step says what is expected of it.

The comparison with real Xen (tests/oracles/xen/conform.py) runs the same programs on both sides, with the books after
every step; here the emulator's answers are held against the case itself.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

ORACLE = Path(__file__).resolve().parents[1] / "oracles" / "xen"
MODULES = ("named_section9_entries", "named_section9_types", "named_section9_calls")
#: Cases without a step, with the reason in tests/oracles/xen/README.md.
LEFT_OUT: set[int] = set()
PROGRAMS = (
    "section9-bits",
    "section9-mmio",
    "section9-ownership",
    "section9-arguments",
    "section9-pins",
    "section9-refused",
    "section9-trees",
    "section9-references",
    "section9-self-entries",
    "section9-chains",
    "section9-windows",
    "section9-roots",
    "section9-pages",
    "section9-addresses",
    "section9-descriptors",
    "section9-memory",
    "section9-multicall",
    "section9-emulation",
    "section9-emulation-assist",
    "section9-user",
)


@pytest.fixture(scope="module")
def oracle() -> Any:
    """The oracle's modules that need no QEMU; they import one another by plain name."""
    sys.path.append(str(ORACLE))
    try:
        expected, emulator, program = (import_module(name) for name in ("expected", "emulator", "program"))
        programs = {}
        for name in MODULES:
            programs |= import_module(name).PROGRAMS
        return type(
            "Oracle", (), {"expected": expected, "emulator": emulator, "program": program, "programs": programs}
        )
    finally:
        sys.path.remove(str(ORACLE))


def test_every_program_is_here(oracle: Any) -> None:
    assert set(PROGRAMS) == set(oracle.programs)


@pytest.mark.parametrize("name", PROGRAMS)
def test_each_step_answers_as_its_case_says(oracle: Any, name: str) -> None:
    side = oracle.emulator.Emulator()
    found = []
    for step in oracle.programs[name][1]:
        (outcome,) = side.run([step.op])
        found += oracle.expected.wrong(step, outcome)
        for frame, book in step.books.items():
            said = oracle.expected.in_words(side.books([frame])[0])
            if said != book:
                found.append(f"{step.number} {step.what}: book of {oracle.program.NAMES[frame]} {said!r}, not {book!r}")
    assert not found, "\n".join(found)
    side.reset()
    pool = [oracle.program.POOL + i for i in range(oracle.program.FRAMES)]
    assert side.books(pool) == [(2, 7, 0, 0, 1, 0)] * len(pool)
