"""Random calls of memory_op by its number: structures and lists in guest memory, often at bad addresses.

Knows: the forms of the structures.  Does not know: what is right.

Frames that Xen cannot tell of would be lost until the next boot, so no list that new frames go to can be read and not
written; and as everywhere a program gets no frames after one has gone back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import generate_memory
import program as p
from generate_handles import _FAR, _HOLE, _MULTI, _S, Word, _looks, _plain, _pokes

if TYPE_CHECKING:
    from generate import Generator

_MEMORY = 12
_INCREASE, _DECREASE, _POPULATE, _EXCHANGE = 0, 1, 6, 11
_SELF, _OTHER, _IO = 0x7FF0, p.FOREIGN_ID, 0x7FF1
_LIST, _LIST2 = _S + 0x400, _S + 0x800
_ON_DEMAND = 1 << 16
_FLAGS = (12, 13, 40, 0x100, 0x20100, 0x4000, 0x24000, 0x4100, 0x44100, 0x20000, 0x80000)


def _structure(g: Generator, size: int) -> int:
    """Where to put one: the scratch page, unaligned at times, or so that it runs into the hole."""
    roll = g._rng.random()
    if roll < 0.85:
        return _S + g._rng.choice((0, 8, 64))
    return _HOLE - size if roll < 0.92 else _HOLE - size + 8 * g._rng.choice((1, 2))


def _side(where: int, nr: int, order: int, flags: int, domid: int) -> list[Word]:
    return _plain(where, nr, flags << 32 | order, 0x7777 << 16 | domid)


def _call(g: Generator, cmd: int, at: int) -> int:
    """By itself, or as a call of a multicall."""
    if g._rng.random() < 0.8 or cmd & 63 == _EXCHANGE:
        if g._wrong() and g._wrong():
            at = g._rng.choice((_HOLE, 0, *_FAR))
        return g._emit("hyper", _MEMORY, tuple(_plain(cmd, at))).rc
    entry = _S + 0x200
    _pokes(g, entry, _plain(_MEMORY, 0x77, cmd, at, 0, 0, 0, 0))
    g._emit("hyper", _MULTI, tuple(_plain(entry, 1)))
    (result,) = _looks(g, (entry + 8, p.PLAIN, 8))
    return result


def _keep(g: Generator, order: int, domid: int) -> None:
    """Note the runs that have got names."""
    h, named = g.holdings, g._emulator.named
    first, h.next = h.next, max((s - p.NAMED + 1 for s in named), default=0)
    named_runs = h.next - first >> order
    if named_runs:
        h.next = first
        generate_memory._keep(g, named_runs, order, domid, False)


def _target(g: Generator) -> int:
    rng = g._rng
    return rng.choice((77, _IO, 0x7FF2)) if g._wrong() else rng.choice((_SELF, _SELF, 0, _OTHER))


def reserve(g: Generator) -> None:
    """increase_reservation or populate_physmap."""
    rng, h = g._rng, g.holdings
    cmd = rng.choice((_POPULATE, _POPULATE, _INCREASE))
    nr, order, flags, start = rng.choice((1, 1, 2, 3)), rng.choice((0, 0, 0, 1)), 0, rng.choice((0, 0, 0, 1, 2))
    where, domid = _LIST + rng.choice((0, 8, 4)), _target(g)
    if g._wrong():
        order, flags = rng.choice(((19, 0), (order, rng.choice(_FLAGS)), (1, _ON_DEMAND)))
    if g._wrong():
        where = rng.choice((_HOLE, *_FAR) if cmd == _POPULATE else _FAR)
    elif cmd == _POPULATE and rng.random() < 0.15:
        where = _HOLE - rng.choice((8, 16, 4, 12))
    if g._wrong() and g._wrong():
        nr = rng.choice((0, 0xFFFFFFFF, 1 << 63))
    if h.next + (4 << min(order, 2)) > p.NAMED_FRAMES or not h.may_get(generate_memory._free(g)):
        give_up(g)
        return
    _pokes(g, where, _plain(*(rng.choice((0x1100 + h.next + i, rng.getrandbits(64))) for i in range(3))))
    at = _structure(g, 32)
    _pokes(g, at, _side(where, nr, order, flags, domid))
    _call(g, start << 6 | cmd, at)
    _keep(g, order, domid)
    h.may_get(generate_memory._free(g))


def give_up(g: Generator) -> None:
    """decrease_reservation of frames that the program got, and of others that cannot go."""
    rng = g._rng
    got = [run[0] for run in g.holdings.runs]
    frames = [rng.choice(got) if got and not g._wrong() else rng.choice((p.FREE, 0xB8, 0x40000)) for _ in range(3)]
    nr, start = rng.choice((1, 1, 2, 3)), rng.choice((0, 0, 0, 1))
    where = _LIST + rng.choice((0, 8, 4))
    if rng.random() < 0.15:
        where = _HOLE - rng.choice((8, 16))
    elif g._wrong():
        where = rng.choice((_HOLE, *_FAR))
    _pokes(g, where, [(frame, p.FRAME) for frame in frames])
    at = _structure(g, 32)
    flags = rng.choice(_FLAGS) if g._wrong() else 0
    _pokes(g, at, _side(where, nr, rng.choice((0, 0, 0, 0, 19)), flags, _target(g)))
    _call(g, start << 6 | _DECREASE, at)


def exchange(g: Generator) -> None:
    """One or two frames for others."""
    rng, h = g._rng, g.holdings
    single = [run for run in h.runs if run[1] == 0]
    if not single or h.next + 2 > p.NAMED_FRAMES or not h.may_get(generate_memory._free(g)):
        reserve(g)
        return
    symbol, _, domid, _ = rng.choice(single)
    frames = [symbol, rng.choice(single)[0]]
    if g._wrong():
        frames[rng.randrange(2)] = rng.choice((p.FREE, 0xB8, 0x40000, g._any_frame()))
    nr, done = rng.choice((1, 1, 2)), 0
    if all(frame in (run[0] for run in single) for frame in frames):
        # For the second Xen might give out the first again.
        nr = 1
    old, new, flags = _LIST, _LIST2, 0
    if g._wrong():
        old = rng.choice((_HOLE, _HOLE - 8, *_FAR))
    if g._wrong():
        done = rng.choice((nr, nr + 1))
    if g._wrong():
        flags = rng.choice(_FLAGS)
    _pokes(g, old, [(frame, p.FRAME) for frame in frames])
    _pokes(g, new, _plain(0x1200 + h.next, 0x1201 + h.next))
    other = nr + 1 if g._wrong() else nr
    out = _OTHER if g._wrong() else domid
    sides = [*_side(old, nr, 0, 0, domid), *_side(new, other, 0, flags, out), *_plain(done)]
    at = _structure(g, 72)
    _pokes(g, at, sides)
    before = h.next
    _call(g, (1 << 6 if g._wrong() else 0) | _EXCHANGE, at)
    if at + 72 <= _HOLE:
        _looks(g, (at + 64, p.PLAIN, 8))
    _keep(g, 0, domid)
    h.freed |= h.next > before


def ask(g: Generator) -> None:
    """The other commands."""
    rng = g._rng
    at = _HOLE - rng.choice((8, 16)) if rng.random() < 0.2 else _S
    domid = rng.choice((_OTHER, _OTHER, 77, _IO, _SELF))
    _pokes(g, at, _plain(rng.randrange(6) << 32 | domid, 0, 0))
    start = rng.choice((1, 65535, 65536)) if rng.random() < 0.2 else 0
    _call(g, start << 6 | rng.choice((3, 3, 4, 7, 15, 8, 29, 63)), at)


ACTIONS: list[tuple[Callable[[Generator], None], int]] = [(reserve, 3), (give_up, 2), (exchange, 2), (ask, 1)]
