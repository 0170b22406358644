"""The property as the README shows it: ten lines on top of xenmmu.testing, and the command that prints the example."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import settings

from xenmmu import check, netbsd

# ---- the README's lines begin
from xenmmu.testing import KernelMachine, falsify


class Mail(KernelMachine):
    """A process can read, but never write, its own active page tables."""

    design = "kept"

    def check(self) -> None:
        super().check()  # the audit of Xen, and stores of user mode through every window
        for _, va in self.own_tables():  # of the running process, as it sees them through slot 255
            assert self.world.user_load(va) is not None, "cannot read"
            assert not self.world.user_store(va, 0), "can write"


TestMail = Mail.TestCase
# ---- the README's lines end

TestMail.settings = settings(max_examples=20, stateful_step_count=15, deadline=None)


def test_the_same_lines_fail_when_the_slot_is_not_kept() -> None:
    """Under stock a process cannot read its tables: the property is about a design, and can fail."""
    stock = type("Stock", (Mail,), {"design": "stock", "reading_is_as_designed": lambda self: None})
    failure = falsify(stock, seed=1, examples=5)
    assert failure is not None and "cannot read" in failure.message


def test_the_same_lines_fail_with_a_bug() -> None:
    failure = falsify(type("Broken", (Mail,), {"mutants": ("xsa_182_fastpath_rw",)}), seed=1, examples=2000)
    assert failure is not None and len(failure.steps) <= 3, failure


def test_reading_goes_through_every_level() -> None:
    machine = Mail()
    machine.boot()
    seen = dict(machine.own_tables())
    assert len(seen) == 4
    assert netbsd.L4_BASE in seen.values() and netbsd.PTE_BASE in seen.values()
    machine.teardown()


def run(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "xenmmu.testing", *args], capture_output=True, text=True, check=False)


def test_the_command_prints_the_smallest_example() -> None:
    done = run("owner_unchecked_l1", "--seed", "3")
    assert done.returncode == 1, done
    assert "boot()" in done.stdout and "I-OWN" in done.stdout and "seed 3" in done.stdout
    assert check.MUTANTS["owner_unchecked_l1"].origin in done.stdout
    assert done.stdout == run("owner_unchecked_l1", "--seed", "3").stdout, "the same seed gives the same answer"


def test_the_command_without_a_mutant_holds() -> None:
    done = run("--examples", "5", "--design", "kept")
    assert done.returncode == 0 and "holds in 5 random runs, seed 0" in done.stdout, done


@pytest.mark.parametrize("args", [("xsa_999",), ("--design", "native"), ("--examples", "0"), ("--seed", "x")])
def test_misuse_of_the_command(args: tuple[str, ...]) -> None:
    done = run(*args)
    assert done.returncode == 2 and done.stdout == "" and "error:" in done.stderr
