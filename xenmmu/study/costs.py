"""What the counted work would have cost in 2007: prices with their ranges, and the mail's measurements beside them.

Prices are ranges assumed for a 2 to 2.6 GHz K8 or Core 2 under Xen 3.1, each with its reason; none is fitted.  The one
measurement among them is of Xen commit 3e1b9525de (2007-03-20): 0.22 to 0.54 us for a system call's extra bounce.  An
interval is exact for its prices: a sum of counts times prices, and the ratio of two such sums, take their extremes at
corners of the box of price ranges, so all corners are computed (see `extremes`).  This file knows prices and the
mail's numbers; it does not know how counts come about.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

#: Counts of one design: the names of `xen.Counters`, and ``processes``.
Counts = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Price:
    """The cost of one kind of work: microseconds, lowest and highest believed, and where that comes from."""

    name: str
    low: float
    high: float
    source: str
    #: How much of it a run did.
    count: Callable[[Counts], int]


def _other_mmuext(counts: Counts) -> int:
    return counts["mmuext_op"] - counts["MMUEXT_INVLPG_LOCAL"] - counts["MMUEXT_TLB_FLUSH_LOCAL"]


PRICES: tuple[Price, ...] = (
    Price(
        "mmu_update, call with its first entry",
        0.5,
        0.9,
        "assumed: a hypercall, the lock, the page references, one checked entry",
        lambda c: c["mmu_update"],
    ),
    Price(
        "mmu_update, each further entry",
        0.1,
        0.2,
        "assumed: one checked entry in a batch",
        lambda c: c["mmu_update_entries"] - c["mmu_update"],
    ),
    Price(
        "update_va_mapping",
        0.5,
        0.9,
        "assumed: as a one-entry mmu_update, the same checks",
        lambda c: c["update_va_mapping"],
    ),
    Price("INVLPG_LOCAL", 0.3, 0.5, "assumed: a hypercall and an INVLPG", lambda c: c["MMUEXT_INVLPG_LOCAL"]),
    Price(
        "TLB_FLUSH_LOCAL and refilling the TLB",
        1.6,
        4.0,
        "assumed: 0.6 to 1 for the call, 1 to 3 for the refill",
        lambda c: c["MMUEXT_TLB_FLUSH_LOCAL"],
    ),
    Price("another mmuext_op (pin, unpin, base pointer)", 0.15, 0.3, "assumed: an empty hypercall", _other_mmuext),
    Price(
        "slot visited while (de)validating a table",
        1 / 512,
        20 / 512,
        "assumed: 5 to 20 for a full L1, 1 for a nearly empty one, as most are",
        lambda c: c["entries_validated"],
    ),
    Price(
        "round trip user to kernel and back",
        0.5,
        0.9,
        "assumed, with two cr3 loads; Xen commit 3e1b9525de measured 0.22 to 0.54 for one bounce",
        lambda c: c["iret"],
    ),
    Price(
        "system calls of a process that touch no page table",
        0.0,
        450.0,
        "assumed: 0 to 500 of them at 0.5 to 0.9; the trace does not record them",
        lambda c: c["processes"],
    ),
)

#: The mail's runs of `make` in pkgsrc/pkgtools/digest: seconds real, user, sys.
MAIL: dict[str, tuple[tuple[float, float, float], ...]] = {
    "stock": (
        (74.26, 3.20, 58.15),
        (72.64, 3.42, 57.87),
        (72.73, 3.66, 57.72),
        (72.50, 3.54, 57.73),
        (72.63, 3.36, 57.98),
    ),
    "kept": ((13.43, 5.42, 5.41), (11.92, 5.38, 5.47), (11.87, 5.52, 5.33), (11.87, 5.48, 5.36), (11.88, 5.34, 5.51)),
    "native": ((5.56, 3.60, 1.76), (5.56, 3.60, 1.75), (5.55, 3.55, 1.79), (5.57, 3.59, 1.76), (5.56, 3.52, 1.84)),
}
REAL, USER, SYS = range(3)
#: How many times the page-table work of the trace the mail's `make` may have done: another package on another system
#: with processes of the same kind, so a factor of three either way is believed.
PLAUSIBLE_SCALE = (1 / 3, 3.0)


@dataclass(frozen=True, slots=True)
class Interval:
    """Lowest, central (every price at the geometric middle of its range) and highest value."""

    low: float
    mid: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


def measured(kernel: str, column: int) -> float:
    """The mean of the mail's five runs, seconds."""
    return statistics.fmean(run[column] for run in MAIL[kernel])


def measured_overhead_ratio(column: int) -> tuple[float, float]:
    """Time over native, stock over kept: by the means and by the medians of the mail's runs, the lower one first."""
    found = []
    for average in (statistics.fmean, statistics.median):
        stock, kept, native = (average([run[column] for run in MAIL[k]]) for k in ("stock", "kept", "native"))
        found.append((stock - native) / (kept - native))
    return min(found), max(found)


def amounts(counts: Counts) -> tuple[int, ...]:
    """How much of each priced work a run did, in the order of PRICES."""
    return tuple(price.count(counts) for price in PRICES)


def _corners(used: Sequence[int]) -> list[tuple[float, ...]]:
    """Every choice of lowest or highest price for the prices in `used`; the others at their lowest."""
    ends = [(p.low, p.high) if i in used else (p.low,) for i, p in enumerate(PRICES)]
    return list(itertools.product(*ends))


def _mid() -> tuple[float, ...]:
    # A price whose range begins at 0 has no geometric middle; half its highest is as good.
    return tuple(math.sqrt(p.low * p.high) if p.low else p.high / 2 for p in PRICES)


def _dot(amount: Sequence[int], prices: Sequence[float]) -> float:
    return sum(n * p for n, p in zip(amount, prices, strict=True))


def _used(*amount: Sequence[int]) -> list[int]:
    return [i for i in range(len(PRICES)) if any(a[i] for a in amount)]


def overhead(counts: Counts) -> Interval:
    """Seconds of hypervisor work for the counts of one design."""
    amount = amounts(counts)
    low = _dot(amount, [p.low for p in PRICES])
    high = _dot(amount, [p.high for p in PRICES])
    return Interval(low / 1e6, _dot(amount, _mid()) / 1e6, high / 1e6)


def extremes(counts: Counts, reference: Counts) -> Interval:
    """The ratio of the overheads of two designs at the same prices, over all prices in range.

    The ratio of two linear functions over a box has its extremes at corners, where the denominator has one sign.
    """
    over, under = amounts(counts), amounts(reference)
    ratios = [_dot(over, c) / _dot(under, c) for c in _corners(_used(over, under)) if _dot(under, c) > 0]
    if not ratios:
        raise ValueError("the reference design did no priced work")
    return Interval(min(ratios), _dot(over, _mid()) / _dot(under, _mid()), max(ratios))


@dataclass(frozen=True, slots=True)
class Reading:
    """Can a reading of "stock" have given the mail's numbers?  `scale` is how many times this trace's page-table work
    the mail's `make` must have done for both ratios to come out exactly, over all prices that allow it."""

    design: str
    ratio: Interval
    scale: tuple[float, float] | None
    compatible: bool
    #: Where no prices in range give the measured ratio: the price that has to leave its range by the smallest factor
    #: for it, and the value it needs; None when no single price can do it.
    stretch: tuple[Price, float] | None


def judge(design: str, counts: Counts, kept: Counts) -> Reading:
    """Hold one design, as the mail's stock kernel, against the measured ratio of the times over native."""
    ratio = extremes(counts, kept)
    low, high = measured_overhead_ratio(REAL)
    over, under = amounts(counts), amounts(kept)
    seconds = measured("kept", REAL) - measured("native", REAL)
    scales: list[float] = []
    # What can be reached of the measured band; at its ends the scale has its extremes, for it is monotone in between.
    reached = (max(low, ratio.low), min(high, ratio.high))
    for target in reached if reached[0] <= reached[1] else ():
        scales += [seconds * 1e6 / work for work in _on_plane(over, under, target) if work > 0]
    scale = (min(scales), max(scales)) if scales else None
    fits = scale is not None and scale[0] <= PLAUSIBLE_SCALE[1] and scale[1] >= PLAUSIBLE_SCALE[0]
    return Reading(design, ratio, scale, fits, None if scale else _stretch(over, under, low))


def _stretch(over: Sequence[int], under: Sequence[int], target: float) -> tuple[Price, float] | None:
    """The price that reaches over = target * under with the least excess over its range, the others being in range."""
    gains = [n - target * m for n, m in zip(over, under, strict=True)]
    best = [max(gain * price.low, gain * price.high) for gain, price in zip(gains, PRICES, strict=True)]
    needed = [
        (price, -(sum(best) - own) / gain)
        for price, gain, own in zip(PRICES, gains, best, strict=True)
        # A price of which the reference pays as much or more moves the ratio the other way.
        if gain > 0 and price.high > 0
    ]
    return min(needed, key=lambda found: found[1] / found[0].high, default=None)


def _on_plane(over: Sequence[int], under: Sequence[int], target: float) -> list[float]:
    """The kept design's work, microseconds, at the vertices of {prices in range: over = target * under}.

    The vertices of a box cut by a plane lie on edges of the box, and a linear function has its extremes at them.
    """
    found: list[float] = []
    used = _used(over, under)
    for corner in _corners(used):
        gap = _dot(over, corner) - target * _dot(under, corner)
        for i in used:
            if corner[i] != PRICES[i].low or PRICES[i].low == PRICES[i].high:
                continue
            slope = (over[i] - target * under[i]) * (PRICES[i].high - PRICES[i].low)
            if slope and 0 <= -gap / slope <= 1:
                step = -gap / slope * (PRICES[i].high - PRICES[i].low)
                found.append(_dot(under, corner) + under[i] * step)
            elif not slope and not gap:
                found += [_dot(under, corner), _dot(under, corner) + under[i] * (PRICES[i].high - PRICES[i].low)]
    return found


@dataclass(frozen=True, slots=True)
class Modelled:
    """One design's modelled time.

    `unfitted`: real time as a multiple of native's 5.56 s if the mail's `make` did exactly this trace's page-table
    work.  `fitted`: the same when that one factor is chosen, for every set of prices, so that kept comes out as
    measured; None without the kept design.  `ratio`: overhead as a multiple of kept's.
    """

    design: str
    overhead: Interval
    unfitted: Interval
    ratio: Interval | None
    fitted: Interval | None
    measured: float | None


def model(counts: Mapping[str, Counts]) -> list[Modelled]:
    """Modelled times of every design in `counts`; native is the base to which the others add their overhead."""
    native = measured("native", REAL)
    share = measured("kept", REAL) / native - 1
    result = []
    for design, its in counts.items():
        cost = Interval(0.0, 0.0, 0.0) if design == "native" else overhead(its)
        ratio = fitted = None
        if "kept" in counts:
            ratio = cost if design == "native" else extremes(its, counts["kept"])
            fitted = Interval(*(1 + share * r for r in (ratio.low, ratio.mid, ratio.high)))
        unfitted = Interval(*(1 + s / native for s in (cost.low, cost.mid, cost.high)))
        known = measured(design, REAL) / native if design in MAIL else None
        result.append(Modelled(design, cost, unfitted, ratio, fitted, known))
    return result
