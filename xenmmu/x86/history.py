"""Every outcome that the manuals allow for an access, after a history of table writes and flushes.

Knows the C core's histories (csrc/x86/history.c, where the rules stand); does not know who wrote or flushed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from xenmmu._core import ffi, lib
from xenmmu.errors import BadState, OutOfRange, fail
from xenmmu.x86.names import BY_SUPERVISOR, BY_USER, LEVEL_NAMES, bad_access, bad_address
from xenmmu.x86.walk import Walk, verdict, walk_result

if TYPE_CHECKING:
    from xenmmu.x86.cpu import Cpu

_ENOUGH = 64


class Outcome(NamedTuple):
    """What a program sees of an access: the machine address it reaches, or the fault.

    `pa` is None where it faults; `fault` ("#PF", "#GP", "#UD") and `error_code` are None where it does not.
    """

    pa: int | None
    fault: str | None
    error_code: int | None

    def __repr__(self) -> str:
        if self.pa is not None:
            return f"Outcome(pa={self.pa:#x})"
        return f"Outcome({self.fault}, error_code={self.error_code or 0:#x})"


class History:
    """The writes, flushes and register writes since it began; made by ``Cpu.history()``."""

    __slots__ = ("_c", "_cpu")

    def __init__(self, cpu: Cpu) -> None:
        c = lib.xm_history_new(cpu._c)
        if c == ffi.NULL:
            raise BadState("a history of this processor is open already, or the host has no memory for one")
        self._c: Any = c
        self._cpu = cpu
        cpu.machine._note_views()

    def _end(self) -> None:
        status = lib.xm_history_end(self._c)
        if status:
            fail(status, "end of history()")
        self._c = None

    def _ways(self, va: int, access: str, user: bool) -> list[tuple[Walk, tuple[int, ...]]]:
        """Each way to an outcome: the walk, and how many events there had been when each of its entries was read."""
        if self._c is None:
            raise BadState("the history has ended")
        try:
            acc = (BY_USER if user else BY_SUPERVISOR)[access]
        except (KeyError, TypeError):
            raise bad_access(access) from None
        self._cpu.machine._note_views()
        room = _ENOUGH
        while True:
            found = ffi.new("struct xm_outcome[]", room)
            try:
                n = lib.xm_history_outcomes(self._c, va, acc, found, room)
            except (OverflowError, TypeError):
                raise bad_address(va) from None
            if n < 0:
                fail(n, f"outcomes({va:#x}, {access!r})")
            if n <= room:
                break
            room = n
        ways = []
        for i in range(n):
            w = found[i].walk
            if w.fault == lib.XM_FAULT_BUS:
                raise OutOfRange(f"a table that may serve {va:#x} lies outside machine memory")
            ways.append((walk_result(va, w, bytes(ffi.buffer(ffi.addressof(w)))), tuple(found[i].when)[: w.nsteps]))
        return ways

    def outcomes(self, va: int, access: str = "read", user: bool = True) -> frozenset[Outcome]:
        """Every outcome that the manuals allow for this access now; changes nothing.

        One: whatever the processor has cached, the program sees what the tables say.  More: a flush is missing.
        `access` and `user` are those of ``Cpu.walk``.  Raises BadArgument for another address or access, OutOfRange
        where one of the possible walks leaves machine memory, BadState after the history's end and when there are
        thousands of possibilities.
        """
        return frozenset(_outcome(w) for w, _ in self._ways(va, access, user))

    def stale(self, va: int, access: str = "read", user: bool = True) -> frozenset[Outcome]:
        """Those outcomes that the tables and CR3 as they are do not give; empty when no flush is missing."""
        return self.outcomes(va, access, user) - {_outcome(self._cpu.walk(va, access, user))}

    def explain(self, va: int, access: str = "read", user: bool = True) -> str:
        """Say in words, outcome by outcome, which entries give it, and when what is no longer so was read."""
        now = _outcome(self._cpu.walk(va, access, user))
        ways: dict[Outcome, tuple[Walk, tuple[int, ...]]] = {}
        for w, when in self._ways(va, access, user):
            # Of several ways the one that was read last.
            if when >= ways.get(_outcome(w), (w, ()))[1]:
                ways[_outcome(w)] = w, when
        events = self._events() - 1
        who = "user" if user else "supervisor"
        count = f"{len(ways)} outcome{'s' * (len(ways) > 1)}"
        lines = [f"{access} at {va:#018x} by {who}: {count} after {events} event{'s' * (events != 1)}"]
        for outcome in sorted(ways, key=lambda o: (o != now, repr(o))):
            w, when = ways[outcome]
            lines.append(f"  {'the tables as they are' if outcome == now else 'STALE'}: {verdict(w)}")
            if outcome != now:
                lines += [f"    {line}" for line in self._origin(w, when)]
        return "\n".join(lines)

    def _events(self) -> int:
        return lib.xm_history_events(self._c)

    def _event(self, i: int) -> str:
        flush, cr3 = ffi.new("struct xm_flush *"), ffi.new("uint64_t *")
        lib.xm_history_event(self._c, i, flush, cr3)
        if i == 0:
            return "at the beginning"
        scopes = ("nothing", f"those of {flush.va:#x} under PCID {flush.pcid}", f"those of PCID {flush.pcid}", "all")
        kept = "" if flush.globals or not flush.tlb else " but global ones"
        return (
            f"after event {i} (CR3 {cr3[0]:#x}; drops of translations {scopes[flush.tlb]}{kept}, "
            f"of upper entries {scopes[flush.structures]})"
        )

    def _origin(self, w: Walk, when: tuple[int, ...]) -> list[str]:
        cpu = self._cpu
        lines, table = [], cpu.cr3 & lib.XM_PTE_ADDR
        for step, at in zip(w.steps, when, strict=True):
            text = f"{LEVEL_NAMES[step.level]} at {step.entry_pa:#x} = {step.entry:#x}"
            value = cpu.machine.read64(step.entry_pa)
            # A and D may have been set since; no flush is missing for them.
            if (value ^ step.entry) & ~(lib.XM_PTE_A | lib.XM_PTE_D):
                text += f", now {value:#x}: read {self._event(at - 1)}"
            elif step.level == w.steps[0].level and step.entry_pa & ~0xFFF != table:
                text += f", in a root that CR3 no longer names: read {self._event(at - 1)}"
            lines.append(text)
        if when:
            since = self._events() - max(when)
            lines.append(f"flushes and register writes since: {since}{', none of which drops it' * (since > 0)}")
        return lines


def _outcome(w: Walk) -> Outcome:
    return Outcome(w.pa, w.fault, w.error_code)
