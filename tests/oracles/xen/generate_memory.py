"""Actions of the generator on whole frames: memory_op, and the frames and tables of another domain.

Knows: what makes such operations succeed, mostly.  Does not know: which frames Xen gives out.

A frame that goes back to Xen may be given out again at once by one side and not by the other, and then a word that
still names it, in memory that nothing has validated, means different things to them.  So a program gets no frames
after one has gone back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import program as p

if TYPE_CHECKING:
    from generate import Generator

P, RW, US, PCD = 1, 2, 4, 0x10
SELF, IO, XEN = 0x7FF0, 0x7FF1, 0x7FF2
OTHER = p.FOREIGN_ID
THEIRS = (OTHER + 1) << 16
#: Levels of the other domain's frames; 0 is data.
ROLES = (0, 0, 0, 1, 1, 1, 1, 2, 2, 3, 4, 4)
_STRAYS = (p.FREE, p.XEN_TEXT, p.M2P, 0xB8, 0x40000, p.FOREIGN)


@dataclass
class Holdings:
    """What a program has got so far."""

    #: The next name.
    next: int = 0
    #: Runs of frames: first name, order, domain, level that they are used for.
    runs: list[tuple[int, int, int, int]] = field(default_factory=list)
    freed: bool = False
    #: The fewest free frames seen.
    low: int = 1 << 62

    def may_get(self, free: int) -> bool:
        """Whether nothing has gone back yet."""
        self.freed |= free > self.low
        self.low = min(self.low, free)
        return not self.freed


def _free(g: Generator) -> int:
    return g._emulator.hv.free_frames


def memory(g: Generator) -> None:
    """Get frames, use them, give them up, exchange them, or ask how many there are."""
    roll = g._rng.random()
    if not g.holdings.runs or roll < 0.3:
        _get(g)
    elif roll < 0.6:
        _use(g)
    elif roll < 0.8:
        _give_up(g)
    elif roll < 0.93:
        _exchange(g)
    else:
        _ask(g)


def _keep(g: Generator, count: int, order: int, domid: int, raw: bool) -> None:
    """Note runs that were got; own ones serve the other actions of the generator too."""
    rng, h = g._rng, g.holdings
    for _ in range(count):
        level = rng.choice((0, 0, 1, 1, 2, 3, 4))
        symbol = p.NAMED + h.next
        h.runs.append((symbol, order, domid, -1 if raw else level))
        if domid != OTHER and not raw:
            g.by_role[level].extend(range(symbol, symbol + (1 << order)))
        h.next += 1 << order


def _get(g: Generator) -> None:
    rng, h = g._rng, g.holdings
    cmd = rng.choice((p.POPULATE, p.POPULATE, p.INCREASE))
    count, order, bits = rng.choice((1, 1, 2, 3)), rng.choice((0, 0, 0, 1, 2)), 0
    domid = rng.choice((SELF, SELF, SELF, 0, OTHER))
    if g._wrong():
        wrong = rng.randrange(4)
        if wrong == 0:
            domid = rng.choice((IO, XEN, 77))
        elif wrong == 1:
            order = rng.choice((19, 30, 31))
        elif wrong == 2:
            bits = rng.choice((1, 12, 13))
        else:
            domid, order = OTHER, 3
    fits = order > p.MAX_ORDER or h.next + (count << order) <= p.NAMED_FRAMES
    if not fits or not h.may_get(_free(g)):
        _ask(g)
        return
    pfns = tuple(rng.choice((0x1100 + h.next, rng.getrandbits(64))) for _ in range(count))
    # A frame that is not cleared holds what it held: nothing may look into it.
    raw = rng.random() < 0.1
    done = g._emit("memory", cmd, domid, order, bits, int(not raw), h.next, pfns if cmd == p.POPULATE else (0,) * count)
    _keep(g, done.rc, order, domid, raw)
    h.may_get(_free(g))


def _use(g: Generator) -> None:
    """An entry of a frame got, or its pin."""
    rng = g._rng
    runs = [run for run in g.holdings.runs if run[3] >= 0]
    if not runs:
        _ask(g)
        return
    symbol, order, domid, level = rng.choice(runs)
    symbol += rng.randrange(1 << order)
    fd = OTHER if (domid == OTHER) != g._wrong() else SELF
    roll = rng.random()
    if roll < 0.3:
        g._ext((level or rng.choice((1, 2))) - 1, symbol, 0, fd)
    elif roll < 0.45:
        g._ext(4, symbol, 0, fd)
    elif roll < 0.5:
        g._ext(16, symbol, 0, fd)
    elif roll < 0.55:
        g._mmu(symbol << 12 | 1, rng.choice((5, 0x1300)), fd)
    elif domid == OTHER:
        _map(g, symbol)
    else:
        g._mmu(symbol << 12 | g._slot(level or 1) * 8 | rng.choice((0, 0, 2)), g._entry(level or 1))


def _give_up(g: Generator) -> None:
    rng = g._rng
    symbol, order, domid, _ = rng.choice(g.holdings.runs)
    frames = [symbol]
    if order and rng.random() < 0.4:
        # A part of a run, or all of it one by one.
        frames = [symbol + i for i in range(1 << order)]
        if rng.random() < 0.5:
            frames = [rng.choice(frames)]
        order = 0
    if order == 0 and rng.random() < 0.3:
        frames += [run[0] for run in rng.sample(g.holdings.runs, min(2, len(g.holdings.runs)))]
        if g._wrong():
            frames.insert(rng.randrange(len(frames) + 1), rng.choice(_STRAYS))
    if g._wrong():
        domid = rng.choice((SELF, OTHER, IO, 77))
    if domid != SELF and order == 0 and g._wrong():
        frames = [g._any_frame()]
        domid = OTHER
    g._emit("memory", p.DECREASE, domid, order, 0, 0, 0, tuple(frames))


def _exchange(g: Generator) -> None:
    """One chunk: some runs for others of the same size."""
    rng, h = g._rng, g.holdings
    own = [run for run in h.runs if run[1] <= 2]
    if not own or not h.may_get(_free(g)):
        _give_up(g)
        return
    symbol, order, domid, _ = rng.choice(own)
    frames = [symbol]
    out = rng.choice((0, order, order + 1))
    if out > order:
        frames += [rng.choice([run[0] for run in own if run[1] == order]) for _ in range((1 << out - order) - 1)]
    if g._wrong() and order == 0:
        frames[rng.randrange(len(frames))] = rng.choice((*_STRAYS, g._any_frame(), p.BOOT_L4))
    count = (len(frames) << order) >> out
    other, done = domid, 0
    if g._wrong():
        wrong = rng.randrange(4)
        if wrong == 0:
            domid = other = rng.choice((SELF, OTHER, 77))
        elif wrong == 1:
            other = OTHER if domid != OTHER else SELF
        elif wrong == 2:
            count += rng.choice((-1, 1))
        else:
            done = len(frames) + rng.choice((0, 1))
    if h.next + (max(count, 0) << out) > p.NAMED_FRAMES:
        _ask(g)
        return
    pfns = tuple(0x1200 + h.next + i for i in range(count))
    outcome = g._emit("exchange", domid, other, order, out, done, h.next, tuple(frames), pfns)
    if outcome.rc == 0 and outcome.done and not done:
        h.freed = True
        _keep(g, count, out, domid, False)


def _ask(g: Generator) -> None:
    rng = g._rng
    domid = rng.choice((SELF, SELF, 0, OTHER, OTHER, 77, IO))
    g._emit("memquery", rng.choice((3, 3, 4, 7, 15)), domid, rng.randrange(5))


# ---- the other domain


def foreign(g: Generator) -> None:
    """Something with a frame or a table of the other domain."""
    rng = g._rng
    roll = rng.random()
    index = rng.randrange(p.FOREIGN_FRAMES)
    frame, level = p.FOREIGN + index, ROLES[index]
    fd = rng.choice((SELF, IO, XEN, 0)) if g._wrong() else OTHER
    if roll < 0.25:
        _map(g, frame)
    elif roll < 0.35:
        va = g._va(g._emulator.domain.kernel_root, 2)
        domid = fd if rng.random() < 0.8 else SELF
        g._emit("uvo", va, frame << 12 | g._flags(1), rng.choice((0, 1, 2, 5)), domid)
    elif roll < 0.7:
        _fill(g, frame, level or 1)
    elif roll < 0.85:
        command = rng.randrange(4) if g._wrong() or not level else level - 1
        g._ext(command, frame, 0, fd)
    elif roll < 0.92:
        g._ext(4, frame, 0, fd)
    elif roll < 0.97:
        source = p.FOREIGN + rng.randrange(p.FOREIGN_FRAMES) if not g._wrong() else g._any_frame()
        g._ext(rng.choice((16, 17, 5, 15, 6)), frame, source, fd)
    else:
        g._mmu(frame << 12 | 1, rng.choice((5, 0x1300)), rng.choice((fd, THEIRS | OTHER)))


def _map(g: Generator, frame: int) -> None:
    """An entry of an own L1 for a frame of the other domain."""
    rng = g._rng
    tables = [f for f, at in g._tables() if at == 1] or g.by_role[1]
    fd = rng.choice((SELF, IO, XEN, THEIRS | OTHER)) if g._wrong() else OTHER
    g._mmu(rng.choice(tables) << 12 | g._slot(1) * 8 | rng.choice((0, 0, 2)), frame << 12 | g._flags(1), fd)


def _fill(g: Generator, frame: int, level: int) -> None:
    """An entry of one of the other domain's frames."""
    rng = g._rng
    below = [p.FOREIGN + i for i, role in enumerate(ROLES) if role == level - 1]
    target, flags = rng.choice(below), g._flags(level)
    fd = THEIRS | OTHER
    roll = rng.random()
    if level == 1 and roll < 0.2:
        target, fd = rng.choice((g._any_frame(), target, p.M2P, p.SHARED_INFO)), THEIRS | SELF
    elif level == 1 and roll < 0.3:
        target, fd = rng.choice((0xB8, 0x40000, 0xFEE00, (1 << 40) - 1, target)), THEIRS | rng.choice((IO, XEN, OTHER))
        flags |= rng.choice((0, PCD))
    elif level == 1 and roll < 0.5:
        target, flags = p.FOREIGN + rng.randrange(p.FOREIGN_FRAMES), flags & ~RW
    elif level > 1 and roll < 0.15:
        target, flags = frame, flags & ~(0 if g._wrong() else RW)
    elif g._wrong():
        target = rng.choice((g._any_frame(), p.FREE, p.XEN_TEXT))
    if g._wrong():
        fd = rng.choice((THEIRS | SELF, OTHER, SELF, 77 << 16 | OTHER))
    if target == p.SHARED_INFO:
        flags &= ~RW
    value = 0 if rng.random() < 0.15 else target << 12 | flags
    g._mmu(frame << 12 | g._slot(level) * 8 | rng.choice((0, 0, 0, 2)), value, fd)
