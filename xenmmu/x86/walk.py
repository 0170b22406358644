"""What a page walk found: its entries, the physical address or the fault, and both in words.

Knows the C core's ``struct xm_walk``; does not know how it came about.
"""

from __future__ import annotations

import struct
import sys
from typing import Any, NamedTuple

from xenmmu import pte
from xenmmu._core import ffi, lib
from xenmmu.x86.names import CODE_BITS, FAULTS, LEVEL_NAMES, STOPS

_AT_PAGE_SIZE, _AT_FAULT, _AT_STOP, _AT_TOP, _AT_NSTEPS, _AT_STEPS = (
    int(ffi.offsetof("struct xm_walk", name)) for name in ("page_size", "fault", "stop", "top_level", "nsteps", "steps")
)
_STEPS = struct.Struct("=10Q")


class Step(NamedTuple):
    """One entry that a walk used; `reason` says why the walk ended at it, None if it did not."""

    level: int
    entry_pa: int
    entry: int
    reason: str | None


class Walk:
    """What a walk found, as it was then.

    `pa` is None when the access faults, `error_code` is None when it is allowed.  `fault` is None, "#PF", "#GP" or
    "#SS" (the address is not canonical) or "#UD"; the error code of those three is 0.
    """

    __slots__ = ("_raw", "error_code", "pa", "va")

    va: int
    pa: int | None
    error_code: int | None
    _raw: bytes  # the C core's struct xm_walk, of which the rest is read when it is asked for

    @property
    def page_size(self) -> int:
        """Bytes of the page, 0 if the walk did not get to one."""
        return int.from_bytes(self._raw[_AT_PAGE_SIZE : _AT_PAGE_SIZE + 8], sys.byteorder)

    @property
    def fault(self) -> str | None:
        """None, "#PF", "#GP" (for a stack access "#SS"), or "#UD" for a shadow-stack access without CR4.CET."""
        return FAULTS[self._raw[_AT_FAULT]]

    @property
    def reason(self) -> str:
        """The rule that decided, in words; "allowed" when none stopped the access."""
        return STOPS[self._raw[_AT_STOP]]

    @property
    def steps(self) -> tuple[Step, ...]:
        """The entries used, from the root down."""
        raw = self._raw
        top, count, stop = raw[_AT_TOP], raw[_AT_NSTEPS], raw[_AT_STOP]
        words = _STEPS.unpack_from(raw, _AT_STEPS)
        found = [Step(top - i, words[2 * i], words[2 * i + 1], None) for i in range(count)]
        if stop and count:
            found[-1] = found[-1]._replace(reason=STOPS[stop])
        return tuple(found)

    def __repr__(self) -> str:
        if self.pa is not None:
            return f"Walk(va={self.va:#x}, pa={self.pa:#x}, page_size={self.page_size:#x})"
        return f"Walk(va={self.va:#x}, {self.fault}, error_code={self.error_code:#x}: {self.reason})"


def walk_result(va: int, found: Any, raw: bytes) -> Walk:
    """The walk of `va` from a struct xm_walk and its bytes."""
    w = Walk()
    w.va = va
    w._raw = raw
    if raw[_AT_FAULT]:
        w.pa = None
        w.error_code = found.error_code
    else:
        w.pa = found.pa
        w.error_code = None
    return w


def verdict(w: Walk) -> str:
    """Say in words whether the access is allowed and why not."""
    if w.pa is not None:
        return f"allowed: physical address {w.pa:#x} in a page of {w.page_size:#x} bytes"
    if w.fault != "#PF":
        return f"{w.fault}(0): {w.reason}"
    code = w.error_code or 0
    bits = " ".join(name for bit, name in CODE_BITS.items() if code & bit) or "no bit"
    text = f"#PF with error code {code:#x} ({bits}): {w.reason}"
    # Of a right that all levels must grant, name those that do not.
    stop = w._raw[_AT_STOP]
    takers = {
        lib.XM_STOP_USER_TO_SUPERVISOR: (pte.US, 0),
        lib.XM_STOP_WRITE_TO_READ_ONLY: (pte.RW, 0),
        lib.XM_STOP_EXECUTE_DISABLED: (pte.NX, pte.NX),
    }.get(stop)
    if takers:
        bit, value = takers
        text += ", by the " + ", ".join(LEVEL_NAMES[s.level] for s in w.steps if s.entry & bit == value)
    if stop == lib.XM_STOP_PROTECTION_KEY:
        text += f", key {(w.steps[-1].entry & pte.PKEY) >> pte.PKEY_SHIFT}"
    return text
