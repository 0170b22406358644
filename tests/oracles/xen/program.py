"""The symbolic program: operations on named frames, the same for real Xen and for the emulator.

A program is a list of operations, each a tuple whose first item is its kind:

    ("mmu", foreigndom, count_bits, ((ptr, val), ...))        mmu_update
    ("ext", foreigndom, count_bits, ((cmd, arg1, arg2), ...)) mmuext_op
    ("uva", va, val, flags)                                   update_va_mapping
    ("uvo", va, val, flags, domid)                            update_va_mapping_otherdomain
    ("assist", cmd, type)                                     vm_assist
    ("multi", (call, ...))                                    multicall of up to eight, each ("mmu", ptr, val),
                                                              ("ext", cmd, arg1, arg2) or ("uva", va, val, flags)
    ("load", user, va, size)                                  by the guest's kernel (user 0) or its user mode (1)
    ("store", user, va, size, value)
    ("cmpxchg", user, va, size, value, expected)
    ("fetch", user, va)                                       runs only a page of ud2 instructions
    ("gdt", entries, (frame, ...))                            set_gdt
    ("desc", pa, descriptor)                                  update_descriptor
    ("selector", user, selector)                              loaded into FS
    ("hyper", nr, ((value, kind), ...))                       a hypercall as it is, its arrays in memory
    ("poke", va, value, kind, size)                           a word of the scratch pages or of the grant table
    ("pokes", va, ((value, kind), ...), size)                 words one after the other
    ("peek", va, kind, size)
    ("peeks", ((va, kind, size), ...))
    ("move", from, to)                                        four bytes from one of them to another
    ("syscall", nr)                                           a hypercall from user mode
    ("iret", va, cs, ss, rflags, flags)                       to a page of ud2 instructions; RPL 3 is user mode
    ("memory", cmd, domid, order, bits, clear, names, extents)
                                                              memory_op 0, 1 or 6: increase_reservation,
                                                              decrease_reservation, populate_physmap; bits: of address;
                                                              clear 1: the new frames are zeroed (or TOO_MANY); names:
                                                              the first of the new frames' names (NAMED + names);
                                                              extents: frames, pfns, or anything
    ("exchange", domid, out_domid, order, out_order, done, names, frames, pfns)
                                                              memory_op 11; the new frames are zeroed
    ("memquery", cmd, domid, space)                           memory_op 3, 4, 7 or 15
    ("read", ptr)                                             the entry at ptr, through a read-only mapping

Numbers are those of the hypercalls, but that frames have symbolic numbers (``POOL + i`` and the constants below)
wherever a machine frame number can stand: in ptr, in val, in the arguments of mmuext_op.  A number that is no symbol
stands for itself: device memory.  Addresses at ``WINDOW + i * 4096`` are those of the read-only mapping of pool
frame i.

A word in memory is of a kind that says where in it a frame number stands: PLAIN, ENTRY, FRAME, VA or GRANT.

Knows: the meaning of each operand, how symbols become frame numbers and back.  Does not know: who runs it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

Op = tuple[Any, ...]
Program = list[Op]

PAGE = 4096
MFN_MASK = (1 << 40) - 1
ADDR = MFN_MASK << 12

#: Symbolic frame numbers start here: above the RAM of either side, and below 2^28, where Xen stops asking.
SYMBOLS = 0x8000000
POOL = SYMBOLS
FRAMES = 32
BOOT_L4, STUB_L3, UD, SHARED_INFO, XEN_TEXT, FREE, M2P, KERNEL_L3, WINDOW_L3 = range(SYMBOLS + 0x100, SYMBOLS + 0x109)
NAMES = {
    **{POOL + i: f"F{i}" for i in range(FRAMES)},
    BOOT_L4: "BOOT_L4",
    STUB_L3: "STUB_L3",
    UD: "UD",
    SHARED_INFO: "SHARED_INFO",
    XEN_TEXT: "XEN_TEXT",
    FREE: "FREE",
    M2P: "M2P",
    KERNEL_L3: "KERNEL_L3",
    WINDOW_L3: "WINDOW_L3",
}
#: A second domain: its number, which is the same on both sides, and the first of its frames with names.
FOREIGN_ID = 1
FOREIGN = SYMBOLS + 0xE00
FOREIGN_FRAMES = 12
FOREIGN_PAGES, FOREIGN_MAX_PAGES = 64, 72
#: Frames that a program gets while it runs.  A name that was not given out stands for itself, as any other number.
NAMED = SYMBOLS + 0xE40
NAMED_FRAMES = 40
NAMES |= {FOREIGN + i: f"G{i}" for i in range(FOREIGN_FRAMES)} | {NAMED + i: f"N{i}" for i in range(NAMED_FRAMES)}
#: The largest order of a reservation that may succeed; beyond 18 Xen refuses.
MAX_ORDER = 5
INCREASE, DECREASE, POPULATE, EXCHANGE = 0, 1, 6, 11
#: Instead of `clear`, with INCREASE: the only extent is the number of extents, bit 31 of it set.
TOO_MANY = 2

#: Frame numbers from here on are no memory on either side.
MEMORY_END = 0x10000
#: What a frame number of ordinary memory without a symbol becomes on the way back.
UNKNOWN = SYMBOLS + 0x1FF

WINDOW_SLOT, STUB_SLOT, KERNEL_SLOT = 300, 301, 511
WINDOW = 0xFFFF960000000000
#: Memory for arguments of hypercalls: two pages, a hole, the first page read-only, the first frame of the grant table,
#: a page that only a reset uses, and the first frame of the other domain's grant table.
SCRATCH = WINDOW + (2 << 21)
SCRATCH_BYTES = 2 * PAGE
SCRATCH_READ_ONLY = SCRATCH + 3 * PAGE
GRANTS = SCRATCH + 4 * PAGE
SPARE = SCRATCH + 5 * PAGE
FOREIGN_GRANTS = SCRATCH + 6 * PAGE
PLAIN, ENTRY, FRAME, VA, GRANT = range(5)
#: Kinds that prepare memory or look at it: Xen has no part in them, and they are not counted.
MEMORY = ("poke", "pokes", "peek", "peeks", "move")
#: What sets up or looks at memory: steps of a program, but no operations.
STEPS = (*MEMORY, "read")
USER_STUB = 0xFFFF968000000000
USER_UD = USER_STUB + PAGE

#: Xen's flat segments, and the flag of a frame that asks for SYSRET.
FLAT_CS, FLAT_SS, IN_SYSCALL = 0xE033, 0xE02B, 0x100

#: rc of an operation that neither side carries out, because the guest would not survive it.
SKIPPED = 0x7777
DONE_UNTOUCHED = 0x5555
#: In the emulator's outcomes: a loaded value that is another matter on each machine.
ANY = -1
#: What the M2P holds for a pool frame in the base state.
BASE_M2P = 0x1000

# Which arguments of mmuext_op are frames, by command; the others are addresses or numbers.
_FRAME_ARGUMENT = {0: 1, 1: 1, 2: 1, 3: 1, 4: 1, 5: 1, 15: 1, 16: 1, 17: 3}
_ADDRESS_ARGUMENT = {7: 1, 8: 2, 9: 3, 11: 1, 13: 1}


def xen_private(va: int) -> bool:
    """Whether an address lies behind Xen's slots other than those of the M2P and of the linear map."""
    return 0xFFFF808000000000 <= va < 0xFFFF810000000000 or 0xFFFF820000000000 <= va < 0xFFFF880000000000


def in_window(va: int) -> bool:
    """Whether an address of a program lies in the read-only mapping of a pool frame."""
    return WINDOW <= va < WINDOW + FRAMES * PAGE


def in_scratch(va: int) -> bool:
    """Whether a word at this address can be looked at: memory for arguments that can be written, or a grant table."""
    return SCRATCH <= va < SCRATCH + SCRATCH_BYTES or any(0 <= va - t < PAGE for t in (GRANTS, FOREIGN_GRANTS))


def _elsewhere(frame: int, domid: int, exchanged: bool) -> bool:
    """Whether giving up the frame cannot touch the base state: it has a name of its own, or is not that domain's."""
    if NAMED <= frame < NAMED + NAMED_FRAMES or frame in (FREE, XEN_TEXT, M2P) or frame < 256:
        return True
    foreign = FOREIGN <= frame < FOREIGN + FOREIGN_FRAMES
    if POOL <= frame < POOL + FRAMES or frame == BOOT_L4:
        # Mapped, and so no matter for an exchange.
        return exchanged or domid != 0x7FF0
    return domid != FOREIGN_ID if foreign else MEMORY_END <= frame < SYMBOLS or frame >= 1 << 28


def endangers(op: Op) -> bool:
    """Whether a memory operation would take frames of the base state away."""
    if op[0] == "exchange":
        frames, domid, order, other = op[7], op[1], op[3], op[4]
    elif op[1] == DECREASE:
        frames, domid, order, other = op[7], op[2], op[3], 0
    else:
        return len(op[7]) > NAMED_FRAMES or MAX_ORDER < op[3] <= 18
    named = all(_elsewhere(f, domid, op[0] == "exchange") for f in frames)
    if op[0] == "exchange" and max(order, other) > MAX_ORDER:
        return True
    return not named or len(frames) > NAMED_FRAMES or MAX_ORDER < order <= 18


def name_number(frame: int) -> int:
    """The number of a frame's name from 1 on, 0 when it is none that a program gets."""
    return frame - NAMED + 1 if NAMED <= frame < NAMED + NAMED_FRAMES else 0


class Outcome(NamedTuple):
    """What became of one operation, in symbols."""

    rc: int
    done: int
    vector: int
    error_code: int
    cr2: int
    user: int
    value: int
    #: The entry afterwards that the operation was about, where it is about one.
    readback: int
    #: The same for each element of a batch, or each word looked at, without zeros at the end.
    more: tuple[int, ...] = ()


def trimmed(words: Iterable[int]) -> tuple[int, ...]:
    """The words without the zeros at their end."""
    out = list(words)
    while out and not out[-1]:
        out.pop()
    return tuple(out)


class Book(NamedTuple):
    """What Xen's books say of one frame."""

    count: int  # type: ignore[assignment]  # Xen's word, not tuple.count
    type: int
    type_count: int
    pinned: int
    validated: int
    partial: int


#: Owners of frames in :class:`More`.
SELF_OWNER, NO_OWNER = 0, 0xFFFF


class More(NamedTuple):
    """What is known of a frame of the other domain, or of one that a program got."""

    owner: int
    allocated: int
    book: Book
    m2p: int
    #: As bytes, or as :class:`compare.State` keeps them.
    contents: Any


#: A frame that is nobody's.
FREED = More(NO_OWNER, 0, Book(0, 0, 0, 0, 0, 0), (1 << 64) - 1, b"")


def calls_memory(op: Op) -> bool:
    """Whether an operation may be memory_op by its number."""
    return op[0] == "hyper" and op[1] in (12, 13)


def touches_foreign(op: Op) -> bool:
    """Whether an operation may change a frame that the other domain has in the base state."""
    if op[0] == "mmu":
        return op[1] & 0xFFFF == FOREIGN_ID or op[1] >> 16 == FOREIGN_ID + 1
    if op[0] in ("poke", "pokes"):
        # A grant of such a frame, to be mapped.
        return op[1] >= FOREIGN_GRANTS
    return (op[0] == "ext" and op[1] & 0xFFFF == FOREIGN_ID) or (op[0] == "uvo" and op[4] == FOREIGN_ID)


def book(count_info: int, type_info: int) -> Book:
    """Take struct page_info apart (asm/mm.h)."""
    return Book(
        count_info & (1 << 56) - 1,
        type_info >> 61,
        type_info & (1 << 55) - 1,
        type_info >> 59 & 1,
        type_info >> 58 & 1,
        type_info >> 56 & 1,
    )


class Translator:
    """Symbols to one side's frame numbers and back."""

    def __init__(self, frames: Mapping[int, int], window: Mapping[int, int]) -> None:
        """`frames`: machine frame of each symbol; `window`: index in the window of each pool frame."""
        self.frames = dict(frames)
        # Xen's own frames and free ones have no counterpart on the other side.
        private = (XEN_TEXT, FREE, M2P)
        self.symbols = {mfn: symbol for symbol, mfn in frames.items() if symbol not in private}
        self._unnamed = frozenset(frames[symbol] for symbol in private if symbol in frames)
        self._window = {i: place - i for i, place in window.items()}
        self._window_back = {place: i - place for i, place in window.items()}

    def frame(self, symbol: int) -> int:
        """A symbolic frame number as the side's own."""
        return self.frames.get(symbol, symbol)

    def entry(self, value: int) -> int:
        """A symbolic entry, or machine address, as the side's own."""
        mfn = self.frames.get(value >> 12 & MFN_MASK)
        return value if mfn is None else value & ~ADDR | mfn << 12

    def entry_back(self, value: int) -> int:
        """The side's own entry in symbols."""
        mfn = value >> 12 & MFN_MASK
        low = mfn & 0xFFFFF
        if (mfn >> 28 or 1 << 20 <= mfn < SYMBOLS) and (low in self.symbols or low in self._unnamed):
            # The low half of an entry, stored into a descriptor, or with a count written over the high one.
            return value & ~0xFFFFF000 | (self.symbols.get(low, UNKNOWN) & 0xFFFFF) << 12
        if mfn < 256 or mfn >= MEMORY_END:
            return value
        return value & ~ADDR | self.symbols.get(mfn, UNKNOWN) << 12

    def va(self, va: int) -> int:
        """An address of a program as the side's own."""
        place = va - WINDOW
        return va + self._window.get(place >> 12, 0) * PAGE if 0 <= place < FRAMES * PAGE else va

    def va_back(self, va: int) -> int:
        """The side's own address, CR2, in symbols; the user stub is one place."""
        if USER_STUB <= va < USER_STUB + PAGE:
            return USER_STUB
        place = va - WINDOW
        return va + self._window_back.get(place >> 12, 0) * PAGE if 0 <= place < 512 * PAGE else va

    def ext(self, cmd: int, arg1: int, arg2: int) -> tuple[int, int, int]:
        """One operation of mmuext_op as the side's own."""
        frames, addresses = _FRAME_ARGUMENT.get(cmd, 0), _ADDRESS_ARGUMENT.get(cmd, 0)
        if frames:
            return cmd, self.frame(arg1), self.frame(arg2) if frames & 2 else arg2
        return cmd, self.va(arg1) if addresses & 1 else arg1, self.va(arg2) if addresses & 2 else arg2

    def call(self, call: tuple[Any, ...]) -> tuple[int, int, int]:
        """The words of one call of a multicall as the side's own."""
        if call[0] == "mmu":
            return self.entry(call[1]), self.entry(call[2]), 0
        if call[0] == "ext":
            return self.ext(*call[1:])
        return self.va(call[1]), self.entry(call[2]), call[3]

    def word(self, value: int, kind: int) -> int:
        """A word of memory, or an argument, as the side's own."""
        if kind == ENTRY:
            return self.entry(value)
        if kind == FRAME:
            return self.frame(value)
        if kind == VA:
            return self.va(value)
        return value & 0xFFFFFFFF | self.frame(value >> 32) << 32 if kind == GRANT else value

    def word_back(self, value: int, kind: int) -> int:
        """The side's own word in symbols."""
        if kind == ENTRY:
            return self.entry_back(value)
        if kind == FRAME:
            return self.entry_back(value << 12 & ADDR) >> 12
        if kind == GRANT:
            return value & 0xFFFFFFFF | self.entry_back(value >> 32 << 12) >> 12 << 32
        return value

    def value_back(self, value: int, size: int) -> int:
        """A loaded value in symbols: whole entries, and their lower halves."""
        if size == 8:
            return self.entry_back(value)
        return self.entry_back(value) & 0xFFFFFFFF if size == 4 else value


def describe_entry(value: int) -> str:
    """A symbolic entry in words."""
    name = NAMES.get(value >> 12 & MFN_MASK)
    return f"{value:#x}" if name is None else f"{name}|{value & ~ADDR:#x}"


_COMMANDS = {
    **{0: "PIN_L1", 1: "PIN_L2", 2: "PIN_L3", 3: "PIN_L4", 4: "UNPIN", 5: "NEW_BASEPTR", 15: "NEW_USER_BASEPTR"},
    **{6: "TLB_FLUSH_LOCAL", 7: "INVLPG_LOCAL", 8: "TLB_FLUSH_MULTI", 9: "INVLPG_MULTI", 10: "TLB_FLUSH_ALL"},
    **{11: "INVLPG_ALL", 12: "FLUSH_CACHE", 13: "SET_LDT", 16: "CLEAR_PAGE", 17: "COPY_PAGE", 18: "FLUSH_CACHE_GLOBAL"},
}


def _describe_call(call: tuple[Any, ...]) -> str:
    if call[0] == "mmu":
        return describe_op(("mmu", 0x7FF0, 0, (call[1:],)))
    return describe_op(("ext", 0x7FF0, 0, (call[1:],)) if call[0] == "ext" else call)


def describe_op(op: Op) -> str:
    """One operation in words."""
    kind = op[0]
    if kind == "mmu":
        requests = ", ".join(f"{describe_entry(ptr)} := {describe_entry(val)}" for ptr, val in op[3])
        return f"mmu_update fd={op[1]:#x}{f' count|{op[2]:#x}' if op[2] else ''}: {requests}"
    if kind == "ext":
        parts = ", ".join(
            f"{_COMMANDS.get(c, c)} {NAMES.get(a, hex(a))} {NAMES.get(b, hex(b)) if b else ''}".strip()
            for c, a, b in op[3]
        )
        return f"mmuext_op fd={op[1]:#x}{f' count|{op[2]:#x}' if op[2] else ''}: {parts}"
    if kind in ("uva", "uvo"):
        other = f" domid={op[4]:#x}" if kind == "uvo" else ""
        return f"update_va_mapping {op[1]:#x} := {describe_entry(op[2])} flags={op[3]:#x}{other}"
    if kind == "multi":
        return "multicall: " + "; ".join(_describe_call(call) for call in op[1])
    if kind == "assist":
        return f"vm_assist {op[1]} {op[2]}"
    if kind == "memory":
        name = {INCREASE: "increase_reservation", DECREASE: "decrease_reservation", POPULATE: "populate_physmap"}[op[1]]
        extents = " ".join(NAMES.get(x, hex(x)) for x in op[7])
        if op[5] == TOO_MANY:
            return f"{name} domid={op[2]:#x} order={op[3]}: {op[7][0] | 1 << 31:#x} extents"
        to = "" if op[1] == DECREASE else f" -> N{op[6]}"
        return f"{name} domid={op[2]:#x} order={op[3]}{f' below 2^{op[4]}' if op[4] else ''}: {extents}{to}"
    if kind == "exchange":
        frames = " ".join(NAMES.get(x, hex(x)) for x in op[7])
        pfns = " ".join(hex(x) for x in op[8])
        how = f"domid={op[1]:#x},{op[2]:#x} orders {op[3]},{op[4]} done={op[5]}"
        return f"exchange {how}: {frames} for {pfns} -> N{op[6]}"
    if kind == "memquery":
        return f"memory_op {op[1]} domid={op[2]:#x} {op[3]}"
    if kind == "read":
        return f"read {describe_entry(op[1])}"
    if kind == "iret":
        return f"iret to {op[1]:#x} cs={op[2]:#x} ss={op[3]:#x} rflags={op[4]:#x} flags={op[5]:#x}"
    if kind == "gdt":
        return f"set_gdt {op[1]} entries: " + ", ".join(NAMES.get(f, hex(f)) for f in op[2])
    if kind == "desc":
        return f"update_descriptor {describe_entry(op[1])} := {op[2]:#x}"
    if kind in ("hyper", "syscall", *MEMORY):
        return _describe_memory(op)
    who = "user" if op[1] else "kernel"
    rest = " ".join([str(op[3]) if len(op) > 3 else "", *(describe_entry(v) for v in op[4:])])
    return f"{who} {kind} {op[2]:#x} {rest}".rstrip()


_HYPERCALLS = {
    1: "mmu_update",
    2: "set_gdt",
    10: "update_descriptor",
    12: "memory_op",
    13: "multicall",
    14: "update_va_mapping",
    20: "grant_table_op",
    21: "vm_assist",
}
_HYPERCALLS |= {22: "update_va_mapping_otherdomain", 26: "mmuext_op"}


def _place(va: int) -> str:
    if FOREIGN_GRANTS <= va < FOREIGN_GRANTS + PAGE:
        return f"FOREIGN_GRANTS+{va - FOREIGN_GRANTS:#x}"
    for name, start in (("GRANTS", GRANTS), ("SCRATCH_READ_ONLY", SCRATCH_READ_ONLY), ("SCRATCH", SCRATCH)):
        if start <= va < start + 3 * PAGE:
            return f"{name}+{va - start:#x}"
    return f"{va:#x}"


def describe_word(value: int, kind: int) -> str:
    """A symbolic word in words."""
    if kind == FRAME:
        return NAMES.get(value, hex(value))
    if kind == GRANT:
        return f"{NAMES.get(value >> 32, hex(value >> 32))} for {value >> 16 & 0xFFFF} flags {value & 0xFFFF:#x}"
    return describe_entry(value) if kind == ENTRY else _place(value)


def _describe_memory(op: Op) -> str:
    kind = op[0]
    if kind == "hyper":
        return f"{_HYPERCALLS.get(op[1], op[1])}({', '.join(describe_word(v, k) for v, k in op[2])})"
    if kind == "poke":
        return f"*{_place(op[1])} := {describe_word(op[2], op[3])} ({op[4]} bytes)"
    if kind == "pokes":
        return f"*{_place(op[1])} := {', '.join(describe_word(v, k) for v, k in op[2])} ({op[3]} bytes each)"
    if kind == "peek":
        return f"*{_place(op[1])} ({op[3]} bytes)"
    if kind == "peeks":
        return ", ".join(f"*{_place(va)} ({size} bytes)" for va, _, size in op[1])
    return f"user mode calls {op[1]}" if kind == "syscall" else f"*{_place(op[2])} := *{_place(op[1])}"


def describe(program: Iterable[Op]) -> str:
    """A program in words, an operation a line."""
    return "\n".join(f"{i:4} {describe_op(op)}" for i, op in enumerate(program))


def dumps(program: Program) -> str:
    """A program as one line of JSON."""
    return json.dumps(program, separators=(",", ":"))


def _tuples(x: Any) -> Any:
    return tuple(_tuples(item) for item in x) if isinstance(x, list) else x


def loads(text: str) -> Program:
    """Read back what :func:`dumps` wrote."""
    return [_tuples(op) for op in json.loads(text)]
