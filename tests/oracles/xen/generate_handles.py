"""Random hypercalls whose arrays lie in guest memory, and grants: more actions for the generator.

Knows: where requests can lie and where they had better not; the forms of requests.  Does not know: what is right.

Where arrays or counts lie behind a program's own tables, a call has one element: what the oracle's processor has cached
of a mapping that the call itself changes is not determined.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import program as p

if TYPE_CHECKING:
    from generate import Generator

_P, _RW = 1, 2
_SELF, _IO, _OWN = 0x7FF0, 0x7FF1, 0
_S = p.SCRATCH
_HOLE = _S + p.SCRATCH_BYTES
_DONE = _S + 0xF00
_MAPS = _S + 0x1000
_UNMAPS = _S + 0x800
_FAR = (0xFFFF830000000000, 0xFFFF800000000000, 1 << 47, 0xFFFF87FFFFFFFFF8)
_MMU, _MULTI, _UVA, _GRANT, _ASSIST, _UVO, _EXT = 1, 13, 14, 20, 21, 22, 26
_PREEMPTED = 0x80000000
_UNPIN = 4
#: Arguments in a multicall's entry that a call of one element leaves the same wherever the clock interrupts it: not the
#: count, which then has bit 31.  (An interrupted unpin leaves its frame for a call of nothing, which shows everywhere.)
_FIXED_ARGUMENTS = (0, 2, 3)
_HOST, _DEVICE, _READ_ONLY, _APPLICATION, _BY_PTE = 2, 1, 4, 8, 16
#: References that programs use, so that they meet again.
REFS = (8, 9, 10, 11, 511)

_NOT_PLAIN = (p.UD, p.SHARED_INFO, p.FREE, p.XEN_TEXT, p.M2P, 0xB8, 0x40000, p.BOOT_L4, p.KERNEL_L3)

Word = tuple[int, int]


def _plain(*values: int) -> list[Word]:
    return [(value, p.PLAIN) for value in values]


def _pokes(g: Generator, at: int, words: list[Word]) -> None:
    inside = [word for i, word in enumerate(words) if _S <= at + 8 * i <= _HOLE - 8]
    if inside:
        g._emit("pokes", max(at, _S), tuple(inside), 8)


def _looks(g: Generator, *looks: tuple[int, int, int]) -> tuple[int, ...]:
    """Look at words in memory, each an address, a kind and a size."""
    words = g._emit("peeks", looks).more
    return *words, *[0] * (len(looks) - len(words))


def _own_va(g: Generator, room: int) -> int:
    """An address behind the program's own tables, at times so near its page's end that `room` bytes lie in two."""
    rng = g._rng
    va = g._va(g._emulator.domain.kernel_root)
    return va + rng.choice((0, 8, 0x800, 4096 - room, 4096 - room + 8, 4096 - 8))


# ---- arrays of requests


def _update(g: Generator) -> list[Word]:
    rng = g._rng
    frame = g._any_frame()
    level = g.role[frame - p.POOL] or 1
    tables = g._tables()
    if tables and rng.random() < 0.7:
        frame, level = rng.choice(tables)
    value = g._entry(level)
    if value >> 12 & p.MFN_MASK in (p.STUB_L3, p.KERNEL_L3):
        value = 0
    return [(frame << 12 | g._slot(level) * 8 | rng.choice((0, 0, 0, 2, 4)), p.ENTRY), (value, p.ENTRY)]


def _operation(g: Generator) -> list[Word]:
    rng = g._rng
    frame = g._any_frame()
    level = g.role[frame - p.POOL] or 1
    command = rng.choice((level - 1, level - 1, 4, 4, 16, 6, 10, 99))
    return [*_plain(command), (frame, p.FRAME), *_plain(0)]


def _array(g: Generator, make: Callable[[Generator], list[Word]], at: int, count: int) -> list[Word]:
    words: list[Word] = []
    for _ in range(count):
        words += make(g)
    _pokes(g, at, words)
    return words


def _validates(g: Generator, nr: int, words: list[Word]) -> bool:
    """Whether a single element may have tables validated or let go.

    The clock may interrupt that, and then Xen writes the count before the element has done anything.
    """
    if nr == _EXT or not words:
        return bool(words)
    return g._emulator.type_words()[(words[0][0] >> 12) - p.POOL] >> 61 in (2, 3, 4)


def _call(g: Generator, nr: int, make: Callable[[Generator], list[Word]], size: int) -> None:
    """mmu_update or mmuext_op, with something wrong about its addresses now and then."""
    rng = g._rng
    count = rng.choice((0, 1, 1, 1, 2, 3, 5))
    at, done = _S + 8 * rng.randrange(8), _DONE + rng.choice((0, 0, 8, 1, 2))
    bits = 0
    roll = rng.random()
    if roll < 0.15:
        at = _HOLE - size * rng.choice((1, 2)) + rng.choice((0, 0, 8))
    elif roll < 0.22:
        at = rng.choice((_HOLE, *_FAR, 0))
    elif roll < 0.3:
        at, count = _own_va(g, size), 1
    elif roll < 0.38:
        at, count = p.WINDOW + (g._any_frame() - p.POOL) * p.PAGE + 8 * rng.choice((0, 1, 2, 300)), min(count, 2)
    words = _array(g, make, at, count)
    roll = rng.random()
    if roll < 0.3:
        done = rng.choice((0, _HOLE, p.SCRATCH_READ_ONLY + 0xF00, *_FAR, _HOLE - 1, _HOLE - 2, _HOLE - 4, p.WINDOW))
    elif roll < 0.38 and count < 2 and _S <= at < _HOLE and not _validates(g, nr, words):
        done = _own_va(g, 4)
    if count > 1 and at < done + 4 and done < at + size * count:
        # Where the clock interrupts the call, Xen writes the count before it reads what is left.
        done = _DONE
    if at >= p.SCRATCH and at < p.SCRATCH + p.PAGE and rng.random() < 0.15:
        at += p.SCRATCH_READ_ONLY - p.SCRATCH
    if rng.random() < 0.1 and (done == 0 or _S <= done < _HOLE):
        bits = _PREEMPTED
    fd = rng.choice((_OWN, _IO, 77, 0x10000 | _SELF, 0x630000 | _SELF)) if g._wrong() else _SELF
    g._emit("hyper", nr, ((at, p.VA), (count | bits, p.PLAIN), (done, p.VA), (fd, p.PLAIN)))
    last = [(_HOLE - 4, p.PLAIN, 4)] if _HOLE - 8 <= done < _HOLE else []
    _looks(g, (_DONE, p.PLAIN, 8), *last)


def mmu_update(g: Generator) -> None:
    """Requests of mmu_update in memory."""
    _call(g, _MMU, _update, 16)


def mmuext_op(g: Generator) -> None:
    """Operations of mmuext_op in memory."""
    _call(g, _EXT, _operation, 24)


def multicall(g: Generator) -> None:
    """Several calls, and what is left of them in memory."""
    rng = g._rng
    n = rng.randrange(1, 6)
    at = _S + 0x400 if rng.random() < 0.85 else _HOLE - 64 * rng.randrange(1, n + 1) + rng.choice((0, 0, 8, 32))
    looks = []
    for i in range(n):
        entry = at + 64 * i
        requests = _S + 0x40 * i
        kind = rng.choices((_MMU, _EXT, _UVA, _ASSIST, _UVO, _MULTI, 60), (10, 4, 5, 1, 1, 1, 1))[0]
        count = rng.choice((1, 1, 1, 2, 3))
        done = rng.choice((0, _DONE, _DONE, _DONE + 8, _HOLE))
        arguments: tuple[int, ...] = ()
        if kind == _MMU:
            _array(g, _update, requests, count)
            arguments = _FIXED_ARGUMENTS if count == 1 else ()
            words = _plain(requests, count, done, _SELF)
        elif kind == _EXT:
            count = min(count, 2)
            operations = _array(g, _operation, requests, count)
            arguments = _FIXED_ARGUMENTS if count == 1 and operations[0][0] != _UNPIN else ()
            words = _plain(requests, count, done, _SELF)
        elif kind in (_UVA, _UVO):
            va = g._va(g._emulator.domain.kernel_root, 2)
            words = [(va, p.VA), (g._entry(1), p.ENTRY), *_plain(rng.choice((0, 1, 2)), _SELF)]
        else:
            words = _plain(*((rng.choice((0, 1, 2)), rng.choice((2, 6))) if kind == _ASSIST else (at, 1)))
        _pokes(g, entry, [*_plain(kind, 0x77), *words, *_plain(*[0] * (6 - len(words)))])
        looks += [entry + 8, *(entry + 16 + 8 * k for k in arguments)]
    g._emit("hyper", _MULTI, ((at if rng.random() < 0.95 else rng.choice(_FAR), p.PLAIN), (n, p.PLAIN)))
    _looks(g, *((look, p.PLAIN, 8) for look in (*looks, _DONE) if look < _HOLE))


def others(g: Generator) -> None:
    """Calls without arrays, by their numbers."""
    rng = g._rng
    roll = rng.random()
    if roll < 0.4:
        va = g._va(g._emulator.domain.kernel_root, 2)
        flags = rng.choice((0, 1, 2, 1 | _S, 2 | _HOLE, 1 | 4))
        g._emit("hyper", _UVA, ((va, p.VA), (g._entry(1), p.ENTRY), (flags, p.PLAIN)))
    elif roll < 0.6:
        g._emit("hyper", _ASSIST, tuple(_plain(rng.choice((0, 1, 1, 2)), rng.choice((2, 2, 0, 6, 64)))))
    elif roll < 0.7:
        g._emit("hyper", rng.choice((11, 38, 60)), ())
    else:
        g._emit("syscall", rng.choice((_MMU, _EXT, 23, 60)))


# ---- grants


def _own_l1(g: Generator) -> int | None:
    tables = [f for f, level in g._tables() if level == 1]
    return g._rng.choice(tables) if tables else None


def _place(g: Generator) -> tuple[int, int, int]:
    """Where to map: the address or the entry, its kind as a word, and the flag that tells them apart."""
    rng = g._rng
    l1 = _own_l1(g)
    if l1 is not None and rng.random() < 0.4:
        frame = g._any_frame() if g._wrong() else l1
        return frame << 12 | g._slot(1) * 8 | (4 if g._wrong() and g._wrong() else 0), p.ENTRY, _BY_PTE
    return g._va(g._emulator.domain.kernel_root, 2), p.VA, 0


def grant(g: Generator) -> None:
    """An entry of the grant table, or of the other domain's."""
    rng = g._rng
    theirs = rng.random() < 0.3
    frame = rng.choice(g.by_role[0]) if rng.random() < 0.6 else g._any_frame()
    flags = rng.choice((1, 1, 1, 1, 5))
    dom = _OWN
    if g._wrong():
        flags = rng.choice((0, 2, 3, 0x101, 1, 0x21))
        dom = rng.choice((_OWN, 3))
        frame = rng.choice((frame, *_NOT_PLAIN))
        flags |= 4 if frame in (p.UD, p.KERNEL_L3) else 0
    if theirs and not g._wrong():
        named = [run[0] for run in g.holdings.runs if run[2] == p.FOREIGN_ID]
        frame = rng.choice((*range(p.FOREIGN, p.FOREIGN + p.FOREIGN_FRAMES), *named))
    ref = rng.choice(REFS)
    table = p.FOREIGN_GRANTS if theirs else p.GRANTS
    g._emit("poke", table + 8 * ref, frame << 32 | dom << 16 | flags, p.GRANT, 8)
    g.granted.append((ref, p.FOREIGN_ID if theirs else _OWN))


def _request(g: Generator, at: int) -> Word:
    rng = g._rng
    addr, kind, flags = _place(g)
    flags |= rng.choice((_HOST,) * 12 + (_DEVICE, _HOST | _DEVICE) * 2 + (0,))
    flags |= rng.choice((0, 0, _READ_ONLY)) | rng.choice((0, 0, 0, _APPLICATION)) | rng.choice((0, 0, 5 << 16))
    ref, dom = rng.choice(g.granted or [(ref, _OWN) for ref in REFS])
    if g._wrong():
        ref = rng.choice((512, 0, 7, 0xFFFFFFFF, *REFS))
    if g._wrong() and g._wrong():
        dom = rng.choice((77, _SELF, p.FOREIGN_ID))
    _pokes(g, at, [(addr, kind), *_plain(ref << 32 | flags, dom, 0)])
    g.mappings.pop(at, None)
    return addr, kind


def _granted(g: Generator) -> tuple[int, int, int]:
    """A look at an entry of a table that has some."""
    ref, dom = g._rng.choice(g.granted or [(ref, _OWN) for ref in REFS])
    return (p.FOREIGN_GRANTS if dom else p.GRANTS) + 8 * ref, p.GRANT, 8


def map_grant(g: Generator) -> None:
    """Map grants: one or several, sometimes where the requests run out of memory."""
    rng = g._rng
    if rng.random() < 0.5:
        grant(g)
    count = rng.choice((1, 1, 1, 2, 3))
    at = _MAPS + 32 * rng.randrange(60)
    if rng.random() < 0.05:
        at = _HOLE - 32 * rng.randrange(1, count + 1)
    places = [_request(g, at + 32 * i) for i in range(count) if at + 32 * i < _HOLE]
    if rng.random() < 0.05:
        g._emit("hyper", _GRANT, tuple(_plain(0, rng.choice((_HOLE, *_FAR)), rng.choice((0, 1, _PREEMPTED)))))
        return
    g._emit("hyper", _GRANT, tuple(_plain(0, at, count)))
    answers = [at + 32 * i for i in range(len(places))]
    looks = [look for a in answers for look in ((a + 16, p.PLAIN, 4), (a + 24, p.ENTRY, 8))]
    words = _looks(g, *looks, _granted(g))
    for answer, place, word in zip(answers, places, words[:-1:2], strict=True):
        if word >> 16 == 0:
            g.mappings[answer] = place


def unmap_grant(g: Generator) -> None:
    """Unmap what was mapped, mostly where it was mapped; sometimes with another mapping in its stead."""
    rng = g._rng
    if not g.mappings and not g._wrong():
        map_grant(g)
    count = rng.choice((1, 1, 1, 2, 3))
    replace = rng.random() < 0.15
    unmapped: list[int] = []
    for i in range(count):
        at = _UNMAPS + 24 * i
        mapping = rng.choice(list(g.mappings) or [_MAPS])
        addr, kind = g.mappings.get(mapping, (0, p.PLAIN))
        if g._wrong():
            addr, kind, _ = _place(g)
        if rng.random() < 0.15:
            addr, kind = 0, p.PLAIN
        second: Word = (0, p.PLAIN)
        if replace:
            second = rng.choice(((0, p.PLAIN), (g._va(g._emulator.domain.kernel_root, 2), p.VA)))
        elif rng.random() < 0.4:
            second = (g._any_frame() << 12, p.ENTRY)
        _pokes(g, at, [(addr, kind), second, *_plain(0x77 << 32)])
        g._emit("move", mapping + 20, at + 16)
        if not replace and rng.random() < 0.4:
            # The whole bus address, as it was told.
            g._emit("move", mapping + 24, at + 8)
            g._emit("move", mapping + 28, at + 12)
        unmapped.append(mapping)
    where = p.SCRATCH_READ_ONLY + _UNMAPS - _S if rng.random() < 0.05 else _UNMAPS
    g._emit("hyper", _GRANT, tuple(_plain(7 if replace else 1, where, count)))
    looks = [(_UNMAPS + 24 * i + 20, p.PLAIN, 4) for i in range(count)]
    words = _looks(g, *looks, _granted(g))
    for mapping, word in zip(unmapped, words[:-1], strict=True):
        if word & 0xFFFF == 0 and rng.random() < 0.9:
            g.mappings.pop(mapping, None)


def table(g: Generator) -> None:
    """The calls about the table itself."""
    rng = g._rng
    roll = rng.randrange(5)
    at = _S + 0x700
    if roll == 0:
        frames, dom = rng.choice((0, 1, 65)), rng.choice((_SELF, _OWN, 77, p.FOREIGN_ID))
        _pokes(g, at, _plain(frames << 32 | dom, 0x77, rng.choice((at + 0x20, _HOLE, _FAR[0]))))
        g._emit("hyper", _GRANT, tuple(_plain(2, at, rng.choice((1, 1, 2)))))
        g._emit("peek", at + 8, p.PLAIN, 4)
    elif roll == 1:
        _pokes(g, at, _plain(rng.choice((_SELF, _OWN, 77, p.FOREIGN_ID)), 0x77 << 32))
        g._emit("hyper", _GRANT, tuple(_plain(rng.choice((6, 10)), at, 1)))
        _looks(g, (at, p.PLAIN, 8), (at + 8, p.PLAIN, 8))
    elif roll == 2:
        a, b = rng.choice((*REFS, 512)), rng.choice(REFS)
        _pokes(g, at, _plain(b << 32 | a, 0x77))
        g._emit("hyper", _GRANT, tuple(_plain(11, at, 1)))
        _looks(g, (at + 8, p.PLAIN, 4), (p.GRANTS + 8 * b, p.GRANT, 8))
    elif roll == 3:
        _pokes(g, at, _plain(rng.choice((1, 3))))
        g._emit("hyper", _GRANT, tuple(_plain(8, at, 1)))
        g._emit("peek", at, p.PLAIN, 4)
    else:
        g._emit("hyper", _GRANT, tuple(_plain(rng.choice((3, 13, 0x1000, 0x2001)), at, rng.choice((0, 1)))))


def grants(g: Generator) -> None:
    """A grant mapped, used and perhaps unmapped again."""
    rng = g._rng
    if _own_l1(g) is None:
        g._tree()
    grant(g)
    map_grant(g)
    for _ in range(rng.randrange(4)):
        rng.choice((map_grant, unmap_grant, unmap_grant, grant, _access))(g)


def _access(g: Generator) -> None:
    g._access()


ACTIONS: list[tuple[Callable[[Generator], None], int]] = [
    (mmu_update, 4),
    (mmuext_op, 2),
    (multicall, 2),
    (others, 1),
    (grants, 3),
    (map_grant, 2),
    (unmap_grant, 3),
    (table, 1),
]
