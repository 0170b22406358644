"""The arithmetic of recursive slots: where a root that holds its own frame shows the entries of its tables.

Knows how an address selects one entry of each level; does not know memory, nor who uses which slot.
"""

from __future__ import annotations

from xenmmu._core import ffi, lib
from xenmmu.errors import BadArgument, fail
from xenmmu.x86.names import bad_address


def _slots(slot: int, inner: int | None, levels: int) -> tuple[int, int]:
    inside = slot if inner is None else inner
    for number in (slot, inside):
        if not isinstance(number, int) or not 0 <= number < 512:
            raise BadArgument(f"slot {number!r} is not 0 to 511")
    if levels not in (4, 5):
        raise BadArgument(f"{levels!r} levels: tables have 4 or 5")
    return slot, inside


def slot_base(slot: int, level: int = 1, levels: int = 4, inner: int | None = None) -> int:
    """Return the linear address where the entries of `level` begin, seen through recursive slot `slot`.

    A root that holds its own frame in slot `inner` shows every table of its address space as data.  `inner` None is the
    plain recursive slot; otherwise `slot` is the slot of another root that holds this root's frame (an alternate slot).
    Level 1 is the leaf table.  Raises BadArgument for a slot, level or number of levels that does not exist.
    """
    return slot_entry_va(slot, 0, level, levels, inner)


def slot_entry_va(slot: int, va: int, level: int = 1, levels: int = 4, inner: int | None = None) -> int:
    """Return the linear address of the entry of `level` that serves `va`, seen through `slot` as in `slot_base`."""
    outer, inside = _slots(slot, inner, levels)
    if not isinstance(level, int) or not 1 <= level <= levels:
        raise BadArgument(f"level {level!r} is not 1 to {levels}")
    top = 11 + 9 * levels
    if not isinstance(va, int) or not 0 <= va < 1 << 64 or va >> top not in (0, (1 << (64 - top)) - 1):
        raise BadArgument(f"{va!r} is not a canonical address of {levels} levels")
    at: int = lib.xm_slot_entry_va(outer, inside, level, levels, va)
    return at


def slot_target(slot: int, entry_va: int, levels: int = 4, inner: int | None = None) -> tuple[int, int]:
    """Return ``(level, va)``: which entry lies at `entry_va`, as its level and the first address it serves.

    The inverse of `slot_entry_va`.  An entry that serves an address of the window itself is also the entry, one level
    up, of what that address shows; the highest level is returned.  Raises BadArgument for an address outside the
    window.
    """
    outer, inside = _slots(slot, inner, levels)
    level, va = ffi.new("unsigned *"), ffi.new("uint64_t *")
    try:
        status = lib.xm_slot_target(outer, inside, levels, entry_va, level, va)
    except (OverflowError, TypeError):
        raise bad_address(entry_va) from None
    if status:
        fail(status, f"{entry_va:#x} through slot {slot}")
    return level[0], va[0]
