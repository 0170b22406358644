"""What is compared: the outcome of every operation, and the state after a program, both in symbols.

Knows: which parts of either are determined.  Does not know: where the two sides' answers come from.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
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


class Side(Protocol):
    """One side of a comparison."""

    @property
    def names(self) -> p.Translator: ...

    def books(self, symbols: list[int]) -> list[p.Book]: ...

    def contents(self, symbol: int) -> bytes: ...

    def m2p(self, symbol: int) -> int: ...


class State(NamedTuple):
    """The state after a program: books of FRAMES, entries of SHOWN that are not zero, the M2P's words for POOL."""

    books: list[p.Book]
    contents: list[dict[int, int]]
    m2p: list[int]


class Difference(NamedTuple):
    """One thing that the two sides say differently."""

    #: Index of the operation, or -1 for the state after the program.
    at: int
    kind: str
    text: str


def _contents(side: Side, frame: int) -> dict[int, int]:
    page = side.contents(frame)
    if page == _ZEROS:
        return {}
    back = side.names.entry_back
    fixed = _BOOT_FIXED if frame == p.BOOT_L4 else ()
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
    return State(books, [_contents(side, f) for f in SHOWN], [side.m2p(f) for f in POOL])


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
    for frame, x, y in zip(POOL, ours.m2p, xens.m2p, strict=True):
        if x != y:
            out.append(Difference(-1, "m2p", f"M2P of {p.NAMES[frame]}: emulator {x:#x}, Xen {y:#x}"))
    return out
