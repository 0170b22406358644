"""The advisories' sequences on the emulator.

Each is a symbolic program of the comparison with real Xen (tests/oracles/xen), which runs them too; its modules
import one another by plain name, and so do the files here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from xenmmu import check
from xenmmu.xen import Options

ORACLE = Path(__file__).resolve().parents[1] / "oracles" / "xen"

sys.path.append(str(ORACLE))
try:
    emulator, expected, program, *_ = (
        import_module(name)
        for name in (
            *("emulator", "expected", "program", "granted", "named_handles", "named_memop", "named_section9_entries"),
            "steps",
        )
    )
finally:
    sys.path.remove(str(ORACLE))

Run = Callable[..., list[str]]


@pytest.fixture
def run() -> Run:
    """Run a program on the emulator; what is not as its steps say, then the invariants that are broken at the end."""

    def run(steps: list[Any], *mutants: str) -> list[str]:
        side = emulator.Emulator(Options(mutants=mutants))
        found = []
        for step in steps:
            (outcome,) = side.run([step.op])
            found += expected.wrong(step, outcome)
            for frame, book in step.books.items():
                said = expected.in_words(side.books([frame])[0])
                if said != book:
                    found.append(f"{step.what}: book of {program.NAMES[frame]} is {said!r}, expected {book!r}")
        return found + sorted({v.invariant for v in check.audit(side.hv)})

    return run
