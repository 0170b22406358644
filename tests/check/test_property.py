"""The founding property: user mode can read, but never write, its own active page tables, whatever the kernel asks.

It must hold on Xen as it is, and fail, in a few steps, with each of these bugs built in.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from xenmmu.testing import GuestMachine, KernelMachine, falsify, replay

SEED = 20071127
MUTANTS = (
    "xsa_182_fastpath_rw",
    "xsa_148_l2_pse_unchecked",
    "owner_unchecked_l1",
    "no_rollback_l1_promote",
    "user_slot_rw_by_adjust",
)


def guest(*mutants: str) -> type[GuestMachine]:
    return type("Guest", (GuestMachine,), {"mutants": mutants})


def kernel(design: str, *mutants: str) -> type[GuestMachine]:
    return type("Kernel", (KernelMachine,), {"design": design, "mutants": mutants})


@pytest.mark.parametrize("privileged", [False, True])
def test_holds_for_any_guest(privileged: bool) -> None:
    machine = type("Guest", (GuestMachine,), {"privileged": privileged})
    failure = falsify(machine, seed=SEED, examples=40)
    assert failure is None, f"seed {SEED}\n{failure}"


@pytest.mark.parametrize("design", ["stock", "stock-literal", "kept", "per-cpu"])
def test_holds_under_netbsd(design: str) -> None:
    failure = falsify(kernel(design), seed=SEED, examples=40)
    assert failure is None, f"seed {SEED}\n{failure}"


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS)
def test_fails_with_each_bug(mutant: str) -> None:
    failure = falsify(guest(mutant), seed=SEED, examples=3000)
    assert failure is not None, f"{mutant} survived, seed {SEED}"
    assert 1 <= len(failure.steps) <= 5, failure
    assert replay(guest(mutant), failure.steps) == failure.message
    assert replay(guest(), failure.steps) is None, "the same steps are harmless on Xen without the bug"


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS)
def test_fails_with_each_bug_under_netbsd(mutant: str) -> None:
    failure = falsify(kernel("kept", mutant), seed=SEED, examples=3000)
    assert failure is not None, f"{mutant} survived, seed {SEED}"
    # With user_slot_rw_by_adjust the kernel opens its own slot when it boots.
    assert len(failure.steps) <= 5, failure
    assert replay(kernel("kept"), failure.steps) is None


def test_hypothesis_prints_a_short_program() -> None:
    """The way a user's own test suite runs it: Hypothesis shrinks and prints the steps with the failure.

    What it calls minimal depends on luck, so the runs are short to begin with; `falsify` needs no such help.
    """
    short = settings(
        max_examples=2000,
        derandomize=True,
        database=None,
        deadline=None,
        stateful_step_count=6,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    with pytest.raises(AssertionError, match="I-OWN") as caught:
        run_state_machine_as_test(guest("owner_unchecked_l1"), settings=short)
    steps = [line for line in "\n".join(caught.value.__notes__).splitlines() if "state." in line]
    assert steps[0].endswith("state.boot()")
    assert 3 <= len(steps) <= 8, steps  # boot, what it takes, teardown
