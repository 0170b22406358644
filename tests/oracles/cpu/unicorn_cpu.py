"""unicorn (the CPU of QEMU 5.0) as a referee: one access at a time, in process.

unicorn does not tell the error code of a page fault: it is found in the saved context, at a place that is looked for
with faults whose codes are plain.  PKRU is set the same way, in the context that each case starts from.
"""

from __future__ import annotations

import ctypes
import struct
from typing import Any

import unicorn
from unicorn import x86_const as x86

BASE_CR4 = 0x2A0
# emu_start stops before this address; no case goes there, for it is not canonical.
NOWHERE = 0xDEAD << 48


class UnicornCpu:
    """`cases` is the module of that name; `run` answers as its Reference does."""

    name = "unicorn " + unicorn.__version__
    a_above_fault = True
    has_ss = False

    def __init__(self, cases: Any) -> None:
        self.cases = cases
        self.features = cases.Features(maxphyaddr=40, la57=True, pke=True)
        self.uc = uc = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
        uc.ctl_set_cpu_model(x86.UC_CPU_X86_ICELAKE_SERVER)
        uc.ctl_set_tlb_mode(unicorn.UC_TLB_CPU)
        uc.mem_map(0, cases.RAM)
        uc.mem_write(0, bytes(cases.initial_memory()))
        self.scratch = uc.context_save()
        self.code_at: int | None = None
        self.fault: tuple[int, bytes] | None = None
        self.unmapped: int | None = None
        uc.hook_add(unicorn.UC_HOOK_INTR, self.interrupted)
        uc.hook_add(unicorn.UC_HOOK_MEM_UNMAPPED, self.outside)
        self.contexts = {False: self.supervisor_context(), True: None}
        self.contexts[True] = self.user_context()
        self.pkru_at = self.find_pkru()
        self.code_at = self.find_code()

    def interrupted(self, uc: Any, number: int, _: Any) -> None:
        code = b""
        if number == 14:
            uc.context_update(self.scratch)
            where = ctypes.cast(self.scratch.context, ctypes.c_void_p).value
            assert where is not None
            # While the place is looked for, all of it.
            if self.code_at is None:
                code = ctypes.string_at(where, self.scratch.size)
            else:
                code = ctypes.string_at(where + self.code_at, 4)
        self.fault = number, code
        uc.emu_stop()

    def outside(self, uc: Any, access: int, address: int, size: int, value: int, _: Any) -> bool:
        self.unmapped = address
        return False

    # ---- the two contexts that cases start from

    def control(self, cr4: int, cr3: int, efer: int, cr0: int) -> None:
        uc = self.uc
        uc.reg_write(x86.UC_X86_REG_CR4, cr4)
        uc.reg_write(x86.UC_X86_REG_CR3, cr3)
        uc.msr_write(0xC0000080, efer)
        uc.reg_write(x86.UC_X86_REG_CR0, cr0)

    def supervisor_context(self) -> Any:
        c, uc = self.cases, self.uc
        for at, entry in c.stub_entries(4).items():
            uc.mem_write(at, entry.to_bytes(8, "little"))
        # Descriptors: code and data of CPL 0, then of CPL 3; above them the frame of an IRETQ.
        data = c.SUPERVISOR_DATA << 12
        uc.mem_write(data, struct.pack("<5Q", 0, 0x209B << 40, 0x93 << 40, 0x20FB << 40, 0xF3 << 40))
        self.stack = c.STUB_VA + 2 * 4096 + 0x800
        uc.mem_write(data + 0x800, struct.pack("<5Q", c.STUB_VA + 4096 + 0x800, 0x1B, 2, 0, 0x23))
        uc.mem_write((c.SUPERVISOR_CODE << 12) + 0x800, b"\x48\xcf\x0f\x01\xef\xeb\xfe")  # iretq; wrpkru; jmp .
        uc.mem_write((c.USER_CODE << 12) + 0x800, b"\xeb\xfe")
        self.control(BASE_CR4, c.table(4), c.EFER | c.NXE, c.CR0 | c.WP)
        uc.reg_write(x86.UC_X86_REG_GDTR, (0, c.STUB_VA + 2 * 4096, 39, 0))
        return uc.context_save()

    def user_context(self) -> Any:
        c, uc = self.cases, self.uc
        uc.context_restore(self.contexts[False])
        uc.reg_write(x86.UC_X86_REG_RSP, self.stack)
        uc.emu_start(c.STUB_VA + 0x800, c.STUB_VA + 4096 + 0x800, count=2)
        assert uc.reg_read(x86.UC_X86_REG_CS) & 3 == 3, "not in ring 3"
        return uc.context_save()

    # ---- what the API does not tell

    def find_pkru(self) -> int:
        """Where PKRU lies in a context: two values of it written by WRPKRU."""
        places: set[int] = set()
        for value in (0x5A17_0C24, 0x13B5_7D08):
            self.uc.context_restore(self.contexts[False])
            self.control(BASE_CR4 | self.cases.PKE, self.cases.table(4), self.cases.EFER, self.cases.CR0)
            for reg, v in ((x86.UC_X86_REG_RAX, value), (x86.UC_X86_REG_RCX, 0), (x86.UC_X86_REG_RDX, 0)):
                self.uc.reg_write(reg, v)
            self.uc.emu_start(self.cases.STUB_VA + 0x802, 0, count=1)
            self.uc.reg_write(x86.UC_X86_REG_RAX, 0)
            found = set(positions(bytes(self.uc.context_save()), struct.pack("<I", value)))
            places = places & found if places else found
        (place,) = places
        return place

    def find_code(self) -> int:
        """Where the error code lies in a context: not-present and protection faults of three kinds of access."""
        c = self.cases
        places: set[int] = set()
        for entry, kind, user, code in (
            (0, "read", False, 0),
            (0, "write", True, 6),
            (0, "execute", True, 0x14),
            (c.P | c.US, "write", True, 7),
            (c.P, "read", True, 5),
            (c.P | c.US | c.NX, "execute", True, 0x15),
            (c.P | 1 << 45, "read", True, 13),
        ):
            upper = c.P | c.RW | c.US
            entries = {c.table(k): c.table(k - 1) | upper for k in (4, 3, 2)}
            entries[c.table(1)] = c.DATA[0] << 12 | entry
            size = 1 if kind == "execute" else 8
            case = c.Case(4, c.CR0 | c.WP, BASE_CR4, c.EFER | c.NXE, 0, 0, False, 0, kind, size, user, entries)
            self.start(case, {at: e.to_bytes(8, "little") for at, e in (c.stub_entries(4) | entries).items()})
            assert self.fault and self.fault[0] == 14
            found = {
                p for p in range(0, len(self.fault[1]) - 3, 4) if self.fault[1][p : p + 4] == struct.pack("<I", code)
            }
            places = places & found if places else found
        (place,) = places
        return place

    # ---- a case

    def start(self, case: Any, before: dict[int, bytes]) -> None:
        uc, c = self.uc, self.cases
        context = self.contexts[case.user]
        where = ctypes.cast(context.context, ctypes.c_void_p).value
        assert where is not None
        if hasattr(self, "pkru_at"):
            ctypes.memmove(where + self.pkru_at, struct.pack("<I", case.pkru), 4)
        uc.context_restore(context)
        for at, data in before.items():
            uc.mem_write(at, data)
        self.control(case.cr4, case.root, case.efer, case.cr0)
        for register in (x86.UC_X86_REG_RBX, x86.UC_X86_REG_RBP):
            uc.reg_write(register, case.va)
        uc.reg_write(x86.UC_X86_REG_RSP, c.stack_pointer(case))
        uc.reg_write(x86.UC_X86_REG_RAX, c.STORED if case.access == "write" else 0)
        uc.reg_write(x86.UC_X86_REG_EFLAGS, 2 | (case.ac << 18))
        self.fault = self.unmapped = None
        try:
            uc.emu_start(c.code_va(case), NOWHERE, count=2)
        except unicorn.UcError as e:
            if self.unmapped is None:
                self.fault = -e.errno, b""

    def run(self, case: Any, before: dict[int, bytes], expected: Any) -> Any:
        c, uc = self.cases, self.uc
        self.start(case, before)
        tables = bytes(uc.mem_read(c.TABLES[0] << 12, 4096 * len(c.TABLES)))
        if self.unmapped is not None:
            result = c.Result("bus", cr2=self.unmapped, tables=tables)
        elif self.fault is None or self.fault[0] == 3:
            result = c.Result(None, tables=tables)
            if case.access == "read":
                result.value = uc.reg_read(x86.UC_X86_REG_RAX) & ((1 << (8 * case.size)) - 1)
            elif case.access == "write":
                result.value = int.from_bytes(b"".join(bytes(uc.mem_read(pa, 1)) for pa in expected.pas), "little")
            else:
                result.value = c.INT3 if self.fault else 0
        else:
            number, code = self.fault
            result = c.Result(number, tables=tables)
            if number == 14:
                result.code = int.from_bytes(code, "little")
                result.cr2 = uc.reg_read(x86.UC_X86_REG_CR2)
        for pa in expected.pas:
            if pa >> 12 not in c.TABLES:
                uc.mem_write(pa, bytes([c.BACKGROUND]))
        return result


def positions(data: bytes, part: bytes) -> list[int]:
    return [i for i in range(len(data) - len(part) + 1) if data[i : i + len(part)] == part]
