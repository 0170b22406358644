"""Real Xen's recorded answers to a fixed set of random programs: the emulator gives the same.

Written by `tests/oracles/xen/conform.py --golden`; see there for what is compared.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

ORACLE = Path(__file__).resolve().parents[1] / "oracles" / "xen"
GOLDEN = Path(__file__).with_name("golden-xen-4.17.xz")
PROGRAMS, OPERATIONS = 400, 24_000


@pytest.fixture(scope="module")
def oracle(request: pytest.FixtureRequest) -> Any:
    """The modules of the oracle that need no QEMU; they import one another by plain name."""
    names = ("program", "compare", "emulator", "golden")
    before = {name: sys.modules.get(name) for name in names}
    sys.path.insert(0, str(ORACLE))
    try:
        import compare
        import emulator
        import golden
        import program

        return type("Oracle", (), {"compare": compare, "emulator": emulator, "golden": golden, "program": program})
    finally:
        sys.path.remove(str(ORACLE))
        for name, module in before.items():
            if module is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = module


def test_the_emulator_answers_as_xen_did(oracle: Any) -> None:
    side = oracle.emulator.Emulator()
    base = side.books(oracle.compare.FRAMES)
    programs = operations = 0
    for case in oracle.golden.read(GOLDEN):
        outcomes = side.run(case.program)
        state = oracle.compare.state(side, base)
        side.reset()
        found = oracle.compare.compare_outcomes(case.program, outcomes, case.outcomes)
        found += oracle.compare.compare_states(state, case.state)
        if found:
            last = found[0].at + 1 or len(case.program)
            listing = oracle.program.describe(case.program[:last])
            pytest.fail(f"program {case.seed}:\n{listing}\n" + "\n".join(d.text for d in found[:10]))
        programs += 1
        operations += len(case.program)
    assert (programs, operations >= OPERATIONS) == (PROGRAMS, True)


def test_a_mutant_is_noticed(oracle: Any) -> None:
    side = oracle.emulator.Emulator(oracle.emulator.xen.Options(mutants=("fastpath_ignores_frame",)))
    base = side.books(oracle.compare.FRAMES)
    for case in oracle.golden.read(GOLDEN):
        found = oracle.compare.compare_outcomes(case.program, side.run(case.program), case.outcomes)
        if found or oracle.compare.compare_states(oracle.compare.state(side, base), case.state):
            return
        side.reset()
    pytest.fail("the recorded programs do not notice a bug")
