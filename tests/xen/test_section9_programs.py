"""The conformance cases as programs with a name, on the emulator alone: each step says what is expected of it.

The comparison with real Xen (tests/oracles/xen/conform.py) runs the same programs on both sides, with the books after
every step; here the emulator's answers are held against the case itself.
"""

from __future__ import annotations

import re
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

ORACLE = Path(__file__).resolve().parents[1] / "oracles" / "xen"
MODULES = ("named_section9_entries", "named_section9_types", "named_section9_calls")
ROW = re.compile(r"^\| ([0-9to, ]+) \| (`section9.+`) \|$", re.MULTILINE)
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


def numbers(text: str) -> set[int]:
    """What "33, 36 to 39" means."""
    found: set[int] = set()
    for part in text.split(", "):
        first, *last = map(int, part.split(" to "))
        found |= set(range(first, (last or [first])[0] + 1))
    return found


def test_the_table_names_every_case_and_where_it_is(oracle: Any) -> None:
    rows = ROW.findall((ORACLE / "README.md").read_text(encoding="utf-8"))
    table = {name: numbers(cases) for cases, names in rows for name in names.strip("`").split("`, `")}
    steps = {name: {step.number for step in program} - {0} for name, (_, program) in oracle.programs.items()}
    assert table == steps
    assert set().union(*table.values()) == set(range(1, 81))


def test_new_frames_have_the_m2p_words_of_case_69(oracle: Any) -> None:
    side = oracle.emulator.Emulator()
    side.run([step.op for step in oracle.programs["section9-memory"][1][:5]])
    words = {symbol: more.m2p for symbol, more in side.more().items()}
    assert (words[oracle.program.NAMED], words[oracle.program.NAMED + 1]) == (0x1100, (1 << 64) - 1)


def test_a_wrong_answer_is_noticed(oracle: Any) -> None:
    step = oracle.programs["section9-pins"][1][4]
    assert step.number == 33
    outcome = oracle.program.Outcome(0, 0, 0, 0, 0, 0, 0, 0)
    assert oracle.expected.wrong(step, outcome) == ["33 as an L1: rc is 0, expected -22"]


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
                found.append(
                    f"{oracle.expected.label(step)}: book of {oracle.program.NAMES[frame]} {said!r}, not {book!r}"
                )
    assert not found, "\n".join(found)
    side.reset()
    pool = [oracle.program.POOL + i for i in range(oracle.program.FRAMES)]
    assert side.books(pool) == [(2, 7, 0, 0, 1, 0)] * len(pool)
