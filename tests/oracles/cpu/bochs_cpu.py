"""The CPU of Bochs 3.0 (the bochscpu-python wheel) as a referee: one access at a time, in process.

Its model is a Cannon Lake without PKU and LA57, with 40 bits of physical address.  An exception that leaves a callback
would abort the process, so callbacks only note what they see.  The interpreter must end by os._exit: the binding does
not survive its own clean-up.
"""

from __future__ import annotations

import ctypes
from typing import Any

import bochscpu
from bochscpu import memory

SUPERVISOR_SEGMENTS = ((0x10, 0xA09B), (0x18, 0xC093))
USER_SEGMENTS = ((0x33, 0xA0FB), (0x2B, 0xC0F3))


def segment(selector: int, attributes: int) -> Any:
    s = bochscpu.Segment()
    s.present, s.selector, s.base, s.limit, s.attr = True, selector, 0, 0xFFFFFFFF, attributes
    return s


class BochsCpu:
    """`cases` is the module of that name; `run` answers as its Reference does."""

    name = "Bochs 3.0 (bochscpu-python 0.4.0)"
    a_above_fault = False
    has_ss = True

    def __init__(self, cases: Any) -> None:
        self.cases = cases
        self.features = cases.Features(maxphyaddr=40)
        initial = bytes(cases.initial_memory())
        self.buffer = ctypes.create_string_buffer(len(initial) + 4096)
        self.base = (ctypes.addressof(self.buffer) + 4095) & ~4095
        ctypes.memmove(self.base, initial, len(initial))
        for at in range(0, len(initial), 4096):
            memory.page_insert(at, self.base + at)
        self.elsewhere = ctypes.create_string_buffer(8192)
        self.session = bochscpu.Session()
        self.session.missing_page_handler = self.missing
        self.hook = bochscpu.Hook()
        self.hook.exception = self.excepted
        self.hook.before_execution = self.instruction
        self.hook.interrupt = self.interrupted
        self.states = {user: self.state(*(USER_SEGMENTS if user else SUPERVISOR_SEGMENTS)) for user in (False, True)}
        self.seen: list[tuple[Any, ...]] = []
        self.executed = 0
        self.borrowed: list[int] = []

    @staticmethod
    def state(code: tuple[int, int], data: tuple[int, int]) -> Any:
        s = bochscpu.State()
        s.cs = segment(*code)
        s.ss = s.ds = s.es = segment(*data)
        return s

    # ---- callbacks

    def missing(self, address: int, *_: Any) -> None:
        """Physical memory that is not there: some must be given; the access has been noted."""
        self.seen.append(("bus", 0, address))
        page = address & ~0xFFF
        # A fetch from it ends at once.
        ctypes.memset(self.elsewhere, self.cases.INT3, 8192)
        memory.page_insert(page, (ctypes.addressof(self.elsewhere) + 4095) & ~4095)
        self.borrowed.append(page)

    def excepted(self, session: Any, cpu: int, vector: int, code: int, *_: Any) -> None:
        self.seen.append((vector, code, session.cpu.cr2))
        session.stop()

    def interrupted(self, session: Any, cpu: int, vector: int, *_: Any) -> None:
        self.seen.append((vector, 0, 0))
        session.stop()

    def instruction(self, session: Any, *_: Any) -> None:
        self.executed += 1
        if self.executed > self.last:
            session.stop()

    # ---- a case

    def run(self, case: Any, before: dict[int, bytes], expected: Any) -> Any:
        c = self.cases
        for at, data in before.items():
            ctypes.memmove(self.base + at, data, len(data))
        state = self.states[case.user]
        state.cr0, state.cr3, state.cr4, state.efer = case.cr0, case.root, case.cr4, case.efer
        state.rip, state.rflags = c.code_va(case), 2 | case.ac << 18
        state.rbx = state.rbp = case.va
        state.rax = c.STORED if case.access == "write" else 0
        state.rsp = c.stack_pointer(case)
        self.seen, self.executed = [], 0
        # The access, and the instruction after it; a fetch is shown by the INT3 that it meets.
        self.last = 2 if case.access == "execute" else 1
        self.session.cpu.set_state(state)
        self.session.run([self.hook])
        tables = ctypes.string_at(self.base + (c.TABLES[0] << 12), 4096 * len(c.TABLES))
        vector, code, cr2 = self.seen[0] if self.seen else (None, 0, 0)
        if vector == "bus":
            # It tells the page only.
            result = c.Result("bus", cr2=cr2 & ~0xFFF | case.va & 0xFFF, tables=tables)
        elif vector is None or (vector == 3 and case.access == "execute"):
            result = c.Result(None, tables=tables)
            if case.access == "read":
                result.value = self.session.cpu.rax & ((1 << (8 * case.size)) - 1)
            elif case.access == "write":
                result.value = int.from_bytes(
                    b"".join(ctypes.string_at(self.base + pa, 1) for pa in expected.pas), "little"
                )
            else:
                result.value = c.INT3 if vector == 3 else 0
        else:
            result = c.Result(vector, tables=tables)
            if vector == 14:
                result.code, result.cr2 = code, cr2
        for pa in expected.pas:
            if pa >> 12 not in c.TABLES:
                ctypes.memset(self.base + pa, c.BACKGROUND, 1)
        for page in self.borrowed:
            memory.page_remove(page)
        self.borrowed.clear()
        return result
