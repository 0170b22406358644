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
# The second file: the programs with a name, and some with whole frames and another domain's.
RECORDED = {GOLDEN.name: (415, 23_403), "golden-xen-4.17-frames.xz": (178, 13_840)}
MUTANTS = (
    "xsa_182_fastpath_rw",
    "xsa_148_l2_pse_unchecked",
    "owner_unchecked_l1",
    "no_rollback_l1_promote",
    "user_slot_rw_by_adjust",
    "xsa_240_linear_chain",
    "pin_wrong_level_accepted",
    "pin_twice_counts",
    "unpin_unpinned",
    "slot_range_off_by_one_high",
    "fastpath_ignores_frame",
    "xsa_182_fastpath_rw_l1",
    "ptwr_user_mode",
    "old_root_not_put",
    "clear_page_no_type",
)


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


@pytest.mark.parametrize("name", RECORDED)
def test_the_emulator_answers_as_xen_did(oracle: Any, name: str) -> None:
    side = oracle.emulator.Emulator()
    base = side.books(oracle.compare.FRAMES)
    programs = operations = 0
    for case in oracle.golden.read(GOLDEN.with_name(name)):
        outcomes = side.run(case.program)
        state = oracle.compare.state(side, base)
        side.reset()
        if side.spent:
            side = oracle.emulator.Emulator()
        found = oracle.compare.compare_outcomes(case.program, outcomes, case.outcomes)
        found += oracle.compare.compare_states(state, case.state)
        if found:
            last = found[0].at + 1 or len(case.program)
            listing = oracle.program.describe(case.program[:last])
            pytest.fail(f"program {case.seed}:\n{listing}\n" + "\n".join(d.text for d in found[:10]))
        programs += 1
        operations += len(case.program)
    assert (programs, operations) == RECORDED[name]


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_mutant_is_noticed(oracle: Any, mutant: str) -> None:
    side = oracle.emulator.Emulator(oracle.emulator.xen.Options(mutants=(mutant,)))
    base = side.books(oracle.compare.FRAMES)
    for case in oracle.golden.read(GOLDEN):
        found = oracle.compare.compare_outcomes(case.program, side.run(case.program), case.outcomes)
        if found or oracle.compare.compare_states(oracle.compare.state(side, base), case.state):
            return
        side.reset()
    pytest.fail("the recorded programs do not notice it")
