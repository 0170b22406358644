"""The catalogues say what the C core has, no more and no less."""

from __future__ import annotations

import pytest

from xenmmu import BadArgument, check, xen
from xenmmu._core import ffi, lib


def test_every_mutant_of_the_core_is_described_and_no_other() -> None:
    assert set(check.MUTANTS) == set(xen.Options.known_mutants())
    assert len(check.MUTANTS) == lib.XM_MUT_KINDS


def test_every_mutant_breaks_a_known_invariant() -> None:
    for name, mutant in check.MUTANTS.items():
        assert mutant.breaks and set(mutant.breaks) <= set(check.INVARIANTS), name
        assert mutant.text and mutant.origin, name


def test_every_invariant_of_the_core_is_described() -> None:
    names = [ffi.string(lib.xm_invariant_name(i)).decode() for i in range(lib.XM_I_KINDS)]
    assert list(check.INVARIANTS)[: len(names)] == names
    assert all(all(i) for i in check.INVARIANTS.values())
    assert lib.xm_invariant_name(lib.XM_I_KINDS) == ffi.NULL
    assert lib.xm_invariant_text(-1) == ffi.NULL


def test_what_is_not_built_says_so() -> None:
    with pytest.raises(NotImplementedError):
        check.drive({}, seed=1, steps=1)
    with pytest.raises(NotImplementedError):
        check.explore({}, depth=1)


@pytest.mark.parametrize("target", [None, 3, object()])
def test_a_foreign_target_is_misuse(target: object) -> None:
    with pytest.raises(BadArgument):
        check.audit(target)
