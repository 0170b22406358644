"""The founding property as a Hypothesis state machine: whatever a guest kernel asks of Xen, page tables stay safe.

`GuestMachine` boots a small world and then lets a guest kernel issue hypercalls and stores as it likes, and user mode
read and write anywhere.  After every step the audit must find nothing, and user mode must not be able to store into any
active page table: that is tried with real stores, through every window that a recursive slot could open.

With ``mutants`` one of Xen's bugs is built in, and the test must fail::

    class Broken(GuestMachine):
        mutants = ("xsa_182_fastpath_rw",)
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, multiple, rule

from xenmmu import check, xen
from xenmmu.errors import OutOfRange, PageFault
from xenmmu.machine import PAGE_SIZE
from xenmmu.testing import strategies as s
from xenmmu.testing.world import FLAGS, PAGES, TABLES, P, World

# Not present and not zero: no rule refuses it, and it differs from what a table holds.
_JUNK = 0xABC000


def _windows() -> dict[int, list[int]]:
    """Addresses by L4 slot: where the tables of address 0 show if the slot is recursive, alternate, or Xen's, and what
    the process's own tables map."""
    windows: dict[int, list[int]] = {}
    for outer, inner in ((255, 255), (510, 255), (510, 510), (1, 1), (2, 2), (256, 256), (258, 258), (271, 271)):
        for level in (1, 2, 3, 4):
            i, j, k, n = (outer, *(inner,) * (level - 1), *(0,) * (4 - level))
            windows.setdefault(outer, []).extend(s.address((i, j, k, n, word)) for word in {0, inner})
    windows[0] = [s.address((0, j, k, n, 0)) for j in (0, 1) for k in (0, 1) for n in (0, 1, 2)]
    return windows


_WINDOWS = _windows()


class Step(NamedTuple):
    """One step of a run: the rule and what was drawn for it."""

    name: str
    arguments: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.name}({', '.join(f'{name}={value!r}' for name, value in self.arguments.items())})"


def step(**kwargs: Any) -> Callable[[Callable[..., Any]], Any]:
    """A rule after which everything must hold.  (Hypothesis would print its own invariants as steps.)"""

    decorator: Callable[..., Any] = rule(**kwargs)

    def decorate(method: Callable[..., Any]) -> Any:
        @functools.wraps(method)
        def checked(self: GuestMachine, **arguments: Any) -> Any:
            self.history.append(Step(method.__name__, arguments))
            result = method(self, **arguments)
            self.check()
            return result

        return decorator(checked)

    return decorate


class GuestMachine(RuleBasedStateMachine):
    """Any guest kernel on Xen, any process under it."""

    #: Bugs built into Xen.
    mutants: ClassVar[tuple[str, ...]] = ()
    #: Whether the guest is the hardware domain.
    privileged: ClassVar[bool] = False

    world: World
    entries: Bundle[s.Entry] = Bundle("entries")
    prepared: Bundle[str] = Bundle("prepared")

    def __init__(self) -> None:
        super().__init__()
        #: The steps taken since boot; all that they draw is symbolic, so another machine can repeat them.
        self.history: list[Step] = []

    @initialize(target=entries)
    def boot(self) -> Any:
        """Make the world; a step of its own, so that a bug that shows at once has a step to its name."""
        self.world = self.make_world()
        self.check()
        return multiple(*self.first_entries())

    def make_world(self) -> World:
        """The system to test."""
        return World(self.mutants, privileged=self.privileged)

    def first_entries(self) -> list[s.Entry]:
        """Entries of the process that are there from the beginning."""
        return [s.Entry("user L2", 0, "user L1")]

    # ---- the guest kernel

    def _write(self, entry: s.Entry, flags: str) -> xen.Result:
        w = self.world
        return w.guest.mmu_update([(w.frame(entry.table) * PAGE_SIZE + entry.slot * 8, w.entry(entry.to, flags))])

    def _link(self, entry: s.Entry, flags: str) -> Any:
        return multiple() if self._write(entry, flags).rc else entry

    @step(target=entries, link=s.links, slot=s.slots, flags=s.flags)
    def link(self, link: tuple[str, str], slot: int, flags: str) -> Any:
        """mmu_update: let an entry of a table name a frame."""
        return self._link(s.Entry(link[0], slot, link[1]), flags)

    @step(target=entries, table=st.sampled_from(TABLES), slot=s.slots, flags=s.linear_flags)
    def link_to_itself(self, table: str, slot: int, flags: str) -> Any:
        """mmu_update: a recursive slot."""
        return self._link(s.Entry(table, slot, table), flags)

    @step(entry=entries, flag=s.single_flags)
    def toggle(self, entry: s.Entry, flag: str) -> None:
        """mmu_update: one flag of an entry changes."""
        w = self.world
        pa = w.frame(entry.table) * PAGE_SIZE + entry.slot * 8
        w.guest.mmu_update([(pa, w.machine.read64(pa) ^ FLAGS[flag])])

    @step(target=entries, entry=entries, to=s.frames, flags=s.flags)
    def change_frame(self, entry: s.Entry, to: str, flags: str) -> Any:
        """mmu_update: the slot stays, the frame changes."""
        return self._link(entry._replace(to=to), flags)

    @step(requests=s.batches, foreigndom=s.domains)
    def mmu_update(self, requests: list[s.Update], foreigndom: int) -> None:
        """mmu_update: any requests."""
        w = self.world
        w.guest.mmu_update(
            [(w.frame(u.table) * PAGE_SIZE + u.slot * 8 | u.cmd, w.entry(u.to, u.flags)) for u in requests], foreigndom
        )

    def _fill(self, page: str, entries: list[tuple[str, str]]) -> bool:
        return not any(self._write(s.Entry(page, slot, to), flags).rc for slot, (to, flags) in enumerate(entries))

    @step(target=prepared, page=st.sampled_from(PAGES), entries=s.contents)
    def prepare(self, page: str, entries: list[tuple[str, str]]) -> Any:
        """Write entries into a page, from slot 0 on; if it is no table yet, nobody checks them."""
        return page if self._fill(page, entries) else multiple()

    @step(target=entries, page=st.sampled_from(PAGES), entries=s.contents, level=s.lower_levels, slot=s.slots)
    def make_table(self, page: str, entries: list[tuple[str, str]], level: int, slot: int) -> Any:
        """Write entries into a page and make it a table of the process, which checks them all."""
        self._fill(page, entries)
        return self._link(s.Entry(f"user L{level + 1}", slot, page), "P RW US")

    @step(frame=st.one_of(prepared, s.frames), level=st.sampled_from((1, 1, 1, 2, 3, 4)))
    def pin(self, frame: str, level: int) -> None:
        """mmuext_op: MMUEXT_PIN_L1_TABLE to MMUEXT_PIN_L4_TABLE."""
        w = self.world
        result = w.guest.mmuext_op([xen.MmuextOp(xen.MMUEXT_PIN_L1_TABLE + level - 1, w.frame(frame))])
        if result.rc == 0:
            info = w.hv.frame_info(w.frame(frame))
            assert info.type == level, f"I-PIN: {frame} pinned as L{level} is {info.type!r}"

    @step(cmd=s.mmuext_commands, frame=s.frames, source=s.frames, foreigndom=s.domains)
    def mmuext_op(self, cmd: str, frame: str, source: str, foreigndom: int) -> None:
        """mmuext_op: the other commands."""
        w = self.world
        w.guest.mmuext_op([xen.MmuextOp(s.MMUEXT[cmd], w.frame(frame), w.frame(source))], foreigndom)

    @step(path=s.paths, to=s.frames, flags=s.flags)
    def update_va_mapping(self, path: s.Path, to: str, flags: str) -> None:
        """update_va_mapping: any address."""
        self.world.guest.update_va_mapping(s.address(path), self.world.entry(to, flags), xen.UVMF_TLB_FLUSH)

    @step(writable_pagetables=st.booleans())
    def vm_assist(self, writable_pagetables: bool) -> None:
        """vm_assist: page-table write emulation on or off."""
        cmd = xen.VMASST_ENABLE if writable_pagetables else xen.VMASST_DISABLE
        self.world.guest.vm_assist(cmd, xen.VMASST_WRITABLE_PAGETABLES)

    @step(path=s.paths, to=s.frames, flags=s.flags)
    def kernel_store(self, path: s.Path, to: str, flags: str) -> None:
        """A store of the guest kernel: a fault, plain memory, or an entry by write emulation."""
        try:
            self.world.guest.store(s.address(path), self.world.entry(to, flags))
        except (PageFault, OutOfRange):
            pass

    # ---- user mode

    @step(path=s.paths, to=s.frames, flags=s.flags)
    def user_store(self, path: s.Path, to: str, flags: str) -> None:
        """A store of the process; it may change its data and nothing else."""
        va, value = s.address(path), self.world.entry(to, flags)
        self._no_table_among(self.world.user_stores([va], value))
        self._as_user(lambda: self.world.guest.store(va, value))

    @step(path=s.paths)
    def user_load(self, path: s.Path) -> None:
        """A load of the process: a value or a fault."""
        self._as_user(lambda: self.world.guest.load(s.address(path)))

    def _as_user(self, access: Callable[[], object]) -> None:
        guest = self.world.guest
        if not guest.user_root:
            return
        guest.enter_user()
        try:
            access()
        except (PageFault, OutOfRange):
            pass
        self.audit_is_clean()
        guest.enter_kernel()

    # ---- what must hold

    def check(self) -> None:
        """What must hold after each step; extend it in a subclass."""
        self.audit_is_clean()
        self.user_mode_cannot_write_tables()

    def audit_is_clean(self) -> None:
        """Every invariant of check.INVARIANTS that a state can break."""
        if violations := check.audit(self.world.hv):
            raise AssertionError("\n".join(map(str, violations[:5])))

    def user_mode_cannot_write_tables(self) -> None:
        """Really tried: a store at every window reaches no active page table."""
        root = self.world.guest.user_root * PAGE_SIZE
        vas = [va for slot, vas in _WINDOWS.items() if self.world.machine.read64(root + slot * 8) & P for va in vas]
        self._no_table_among(self.world.user_stores(vas, _JUNK))

    def _no_table_among(self, stored: dict[int, int]) -> None:
        for va, mfn in stored.items():
            assert not self.world.is_active_table(mfn), f"I-USERW: user mode stored into table {mfn:#x} at {va:#x}"
