"""What is compared: the outcome of every operation, and the state after a program, both in symbols.

Knows: which parts of either are determined.  Does not know: where the two sides' answers come from.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterable
from typing import NamedTuple, Protocol

import program as p

POOL = [p.POOL + i for i in range(p.FRAMES)]
SPECIAL = [p.BOOT_L4, p.STUB_L3, p.UD, p.SHARED_INFO, p.KERNEL_L3, p.WINDOW_L3]
FRAMES = [*POOL, *SPECIAL]
SHOWN = [*POOL, p.BOOT_L4]
_AD = 0x60
# Most of a page is empty: only parts with something in them are looked at word by word.
_PART = 256
_WORDS = struct.Struct(f"<{_PART // 8}Q")
_EMPTY = bytes(_PART)
_ZEROS = bytes(p.PAGE)
# The boot L4's own entries of each side, and Xen's: not a program's.
_BOOT_FIXED = {p.WINDOW_SLOT, p.STUB_SLOT, p.KERNEL_SLOT, *range(256, 272)}


#: A named frame of the other domain in the base state.
FOREIGN_BASE = p.More(p.FOREIGN_ID, 1, p.Book(1, 7, 0, 0, 1, 0), p.BASE_M2P, {})


class Side(Protocol):
    """One side of a comparison."""

    @property
    def names(self) -> p.Translator: ...

    def books(self, symbols: list[int]) -> list[p.Book]: ...

    def contents(self, symbol: int) -> bytes: ...

    def m2p(self, symbol: int) -> int: ...

    def more(self) -> dict[int, p.More]: ...


class State(NamedTuple):
    """The state after a program: books of FRAMES, entries of SHOWN that are not zero, the M2P's words for POOL."""

    books: list[p.Book]
    contents: list[dict[int, int]]
    m2p: list[int]
    #: Frames that the program got, and frames of the other domain that are not as before.
    more: dict[int, p.More] = {}  # noqa: RUF012  # never written to


class Difference(NamedTuple):
    """One thing that the two sides say differently."""

    #: Index of the operation, or -1 for the state after the program.
    at: int
    kind: str
    text: str


def _contents(side: Side, frame: int) -> dict[int, int]:
    return _words(side, side.contents(frame), _BOOT_FIXED if frame == p.BOOT_L4 else ())


def _words(side: Side, page: bytes, fixed: Collection[int] = ()) -> dict[int, int]:
    if page in (_ZEROS, b""):
        return {}
    back = side.names.entry_back
    out = {}
    for at in range(0, p.PAGE, _PART):
        part = page[at : at + _PART]
        if part != _EMPTY:
            for slot, word in enumerate(_WORDS.unpack(part), at // 8):
                if word and slot not in fixed:
                    out[slot] = back(word)
    return out


def state(side: Side, base: list[p.Book]) -> State:
    """Take the state of a side, whose books in the base state were `base`.

    The special frames count relative to it, for the boot tables are mapped differently.
    """
    books = side.books(FRAMES)
    for i in range(p.FRAMES, len(FRAMES)):
        book, start = books[i], base[i]
        book = book._replace(count=book.count - start.count, type_count=book.type_count - start.type_count)
        # The type that lingers when nothing holds it tells how a side came to its base state.
        books[i] = book if book.type_count else book._replace(type=0, validated=0)
    # A frame that was not cleared and never used holds what somebody else left in it.
    more = {s: m._replace(contents=_words(side, m.contents if m.book.type else b"")) for s, m in side.more().items()}
    more = {s: m for s, m in more.items() if s >= p.NAMED or m != FOREIGN_BASE}
    # A word of the table comes from memory at times: requests read from a page table have entries for values.
    m2p = [side.names.entry_back(side.m2p(f)) for f in POOL]
    return State(books, [_contents(side, f) for f in SHOWN], m2p, more)


def _shown(words: int | tuple[int, ...]) -> str:
    return hex(words) if isinstance(words, int) else "(" + ", ".join(map(p.describe_entry, words)) + ")"


def compare_outcomes(program: p.Program, ours: Iterable[p.Outcome], xens: Iterable[p.Outcome]) -> list[Difference]:
    """Compare operation by operation."""
    out = []
    for i, (a, b) in enumerate(zip(ours, xens, strict=True)):
        if a == b:
            continue
        if a.value == p.ANY:
            b = b._replace(value=p.ANY)
        fields = [n for n, x, y in zip(a._fields, a, b, strict=True) if x != y]
        if fields:
            said = ", ".join(f"{n}: emulator {_shown(getattr(a, n))}, Xen {_shown(getattr(b, n))}" for n in fields)
            out.append(Difference(i, f"{program[i][0]} {'/'.join(fields)}", f"{p.describe_op(program[i])}: {said}"))
    return out


def compare_states(ours: State, xens: State) -> list[Difference]:
    """Compare books, contents and the machine-to-physical table."""
    out = []
    for frame, a, b in zip(FRAMES, ours.books, xens.books, strict=True):
        if a != b:
            fields = [n for n, x, y in zip(a._fields, a, b, strict=True) if x != y]
            text = f"{p.NAMES[frame]} {a._fields}: emulator {tuple(a)}, Xen {tuple(b)}"
            out.append(Difference(-1, f"book {'/'.join(fields)}", text))
    for frame, mine, other in zip(SHOWN, ours.contents, xens.contents, strict=True):
        if mine == other:
            continue
        for slot in sorted(mine.keys() | other.keys()):
            x, y = mine.get(slot, 0), other.get(slot, 0)
            if x != y:
                kind = "contents" if (x ^ y) & ~_AD else "contents A/D"
                text = f"{p.NAMES[frame]}[{slot}]: emulator {p.describe_entry(x)}, Xen {p.describe_entry(y)}"
                out.append(Difference(-1, kind, text))
    for frame in sorted(ours.more.keys() | xens.more.keys()):
        out += _compare_more(p.NAMES[frame], ours.more.get(frame), xens.more.get(frame))
    for frame, x, y in zip(POOL, ours.m2p, xens.m2p, strict=True):
        if x != y:
            out.append(Difference(-1, "m2p", f"M2P of {p.NAMES[frame]}: emulator {x:#x}, Xen {y:#x}"))
    return out


def _compare_more(name: str, mine: p.More | None, other: p.More | None) -> list[Difference]:
    if mine is None or other is None:
        text = "nothing" if mine is None else "something"
        return [Difference(-1, "more", f"{name}: the emulator has {text} to say of it, Xen not so")]
    out = []
    for field, x, y in zip(p.More._fields, mine, other, strict=True):
        if x == y:
            continue
        if field == "contents":
            slot = next(s for s in sorted(x.keys() | y.keys()) if x.get(s, 0) != y.get(s, 0))
            x, y = f"[{slot}] {p.describe_entry(x.get(slot, 0))}", f"[{slot}] {p.describe_entry(y.get(slot, 0))}"
        out.append(Difference(-1, f"more {field}", f"{name} {field}: emulator {x}, Xen {y}"))
    return out
