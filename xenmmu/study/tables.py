"""The study's tables and its JSON: what a run found, arranged to be read.

Every number here comes from the run, from `costs` (prices and the mail's measurements, with their sources) or is
computed from the two.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from xenmmu.study import costs
from xenmmu.study.demonstrations import Finding
from xenmmu.study.probes import DONE
from xenmmu.study.replay import Outcome
from xenmmu.study.report import Table, Text, count
from xenmmu.study.trace import KINDS, Trace

_CALLS = (
    ("mmu_update", "mmu_update"),
    ("update_va_mapping", "update_va_mapping"),
    ("mmuext_op", "mmuext_op"),
    ("  PIN_L4_TABLE", "MMUEXT_PIN_L4_TABLE"),
    ("  UNPIN_TABLE", "MMUEXT_UNPIN_TABLE"),
    ("  NEW_USER_BASEPTR", "MMUEXT_NEW_USER_BASEPTR"),
    ("  TLB_FLUSH_LOCAL", "MMUEXT_TLB_FLUSH_LOCAL"),
    ("  INVLPG_LOCAL", "MMUEXT_INVLPG_LOCAL"),
    ("iret", "iret"),
)
_WORK = (
    ("mmu_update entries", "mmu_update_entries"),
    ("TLB flushes, all causes", "tlb_flushes"),
    ("single-page flushes", "invlpg"),
    ("cr3 loads", "cr3_loads"),
    ("tables (de)validated", "tables_validated"),
    ("slots visited doing so", "entries_validated"),
    ("page faults delivered", "faults"),
)
_KERNEL = (
    ("alternate slot: hits", "apdp_hits"),
    ("alternate slot: misses", "apdp_misses"),
    ("pmap loads", "pmap_loads"),
    ("entry reads", "pte_reads"),
    ("entry writes", "pte_writes"),
    ("M2P reads", "m2p_reads"),
)


def _endings(endings: Counter[str]) -> str:
    if not endings:
        return "."
    if len(endings) == 1:
        ((how, n),) = endings.items()
        return f"{n:,} {how}"
    return " + ".join(f"{n:,} {how}" for how, n in sorted(endings.items()))


def _merged(outcomes: Sequence[Outcome], get: Callable[[Outcome], Mapping[str, Any]]) -> list[str]:
    """The keys of every outcome's mapping, in order of first appearance."""
    return list(dict.fromkeys(key for outcome in outcomes for key in get(outcome)))


def header(trace: Trace, outcomes: Sequence[Outcome]) -> Text:
    """What was replayed."""
    items = [
        (
            trace.name,
            f"{trace.count:,} events of {trace.processes:,} processes over {trace.microseconds / 1e6:.1f} s: "
            + ", ".join(f"{n:,} {kind}" for kind, n in zip(KINDS, trace.kinds, strict=True) if n),
        )
    ]
    for outcome in outcomes[:1]:
        r = outcome.replayed
        items.append(
            (
                "replayed",
                f"{r['events']:,} events; {r['uvm_faults']:,} faults resolved, {r['no_fault']:,} found the page "
                f"mapped, {r['unresolved']:,} forbidden or beyond user space; {r['extracts']:,} pmap_extract, "
                f"{r['enters']:,} pmap_enter; at most {r['peak_processes']:,} processes "
                f"and {r['peak_pages']:,} pages at once",
            )
        )
    return Text("What was replayed", items)


def _order(what: str) -> tuple[bool, bool, str]:
    """Own tables first, the recursive window before the alternate one."""
    return not what.startswith("own "), "any level" in what, what


def safety(outcomes: Sequence[Outcome]) -> Table:
    """What user mode tried and how it ended."""
    rows: list[Sequence[str]] = [["writes tried by user mode against its page tables"]]
    for what in sorted(_merged(outcomes, lambda o: o.tally.writes), key=_order):
        rows.append([f"  {what}", *(_endings(o.tally.writes.get(what, Counter())) for o in outcomes)])
    rows.append(["  all", *(f"{o.tally.tried:,}" for o in outcomes)])
    rows.append(["  that succeeded", *(str(o.tally.breaches) for o in outcomes)])
    rows.append(["reads tried by user mode"])
    for what in sorted(_merged(outcomes, lambda o: o.tally.reads), key=_order):
        rows.append([f"  {what}", *(_endings(o.tally.reads.get(what, Counter())) for o in outcomes)])
    rows.append(["exposed"])
    for what in _merged(outcomes, lambda o: o.tally.learned):
        rows.append(
            [f"  machine frame numbers of {what}, at most", *(f"{o.tally.learned.get(what, 0):,}" for o in outcomes)]
        )
    rows.append(
        [
            "  processes with slot 255 valid, of those alive",
            *(f"{o.tally.exposed:,}/{o.tally.alive:,}" for o in outcomes),
        ]
    )
    rows.append(["checked"])
    rows.append(["  attacks", *(str(o.tally.probes) for o in outcomes)])
    rows.append(["  audits of everything", *(str(o.audits) for o in outcomes)])
    rows.append(["  violations", *(str(len(o.violations)) for o in outcomes)])
    return Table(
        "Safety: user mode against its own page tables",
        ["attempt", *(o.design for o in outcomes)],
        rows,
        [
            "#PF codes: 0x1 present, 0x2 write, 0x4 user.  Each attempt was made and undone.  Slot 255 is the "
            "recursive window, 510 the kernel's alternate one.  The M2P is Xen's machine-to-physical table; these are "
            "the rules of Xen 4.17, for 3.1 see the side effects."
        ],
    )


def _answer(by: Mapping[str, Outcome]) -> list[tuple[str, str]]:
    """What keeping the slot gave and what it cost, where both kernels of the mail were run."""
    if "kept" not in by or "stock" not in by:
        return []
    kept, stock = by["kept"], by["stock"]
    learned = ", ".join(f"{n:,} of {what}" for what, n in kept.tally.learned.items())
    calls = stock.counts["hypercalls"] / kept.counts["hypercalls"]
    return [
        (
            "keeping slot 255 valid",
            "lets a process read its page tables and write "
            f"{'SOME' if kept.tally.breaches else 'none'} of them; it learns machine frame numbers ({learned}, the "
            f"most at one attack), and hypercalls fall from {stock.counts['hypercalls']:,} to "
            f"{kept.counts['hypercalls']:,}, {calls:.1f} times",
        )
    ]


def verdict(outcomes: Sequence[Outcome], serial: Sequence[Outcome], findings: Sequence[Finding]) -> Text:
    """The answer in sentences, from the counts."""
    items = []
    for o in outcomes:
        own = [endings for what, endings in o.tally.reads.items() if what.startswith("own L")]
        done, tried = sum(endings[DONE] for endings in own), sum(sum(endings.values()) for endings in own)
        items.append(
            (
                o.design,
                f"of {o.tally.tried:,} writes to its page tables user mode made {o.tally.breaches}; of {tried:,} reads "
                f"of them through slot 255 it made {done:,}; {o.audits} audits found {len(o.violations)} violations",
            )
        )
    for o in (*outcomes, *serial):
        items += [(f"VIOLATION, {o.design}", text) for text in o.violations]
    items += _answer({o.design: o for o in outcomes})
    missing = [f.name for f in findings if not f.reproduced]
    items.append(
        (
            "side effects",
            f"{len(findings) - len(missing)} of {len(findings)} demonstrated"
            + (f"; not as claimed: {', '.join(missing)}" if missing else ""),
        )
    )
    return Text("Verdict", items)


def side_effects(findings: Sequence[Finding]) -> Text:
    """What the demonstrations showed."""
    return Text(
        "Side effects, each by running it",
        [(f"[{'seen' if f.reproduced else 'NOT SEEN'}] {f.name}", f"{f.claim}. Seen: {f.seen}.") for f in findings],
    )


def cost_counts(outcomes: Sequence[Outcome]) -> Table:
    """Hypercalls by kind and what they made Xen do."""

    def row(label: str, key: str) -> list[str]:
        return [label, *(count(o.counts[key]) for o in outcomes)]

    rows: list[Sequence[str]] = [row(label, key) for label, key in _CALLS]
    rows.append(row("hypercalls", "hypercalls"))
    rows += [row(label, key) for label, key in _WORK]
    rows.append(["in the kernel"])
    rows += [row(f"  {label}", key) for label, key in _KERNEL]
    return Table("Cost: what the replay asked of Xen", ["count", *(o.design for o in outcomes)], rows)


def prices() -> Table:
    """The price list, with sources."""
    return Table(
        "Prices in microseconds, for a 2 to 2.6 GHz machine of 2007 under Xen 3.1; none is fitted to the mail",
        ["work", "low", "high", "source"],
        [[p.name, f"{p.low:.3g}", f"{p.high:.3g}", p.source] for p in costs.PRICES],
        text=(0, 3),
    )


def _span(interval: costs.Interval | None, digits: int = 1) -> str:
    if interval is None:
        return "-"
    if interval.low == interval.high:
        return f"{interval.low:.{digits}f}"
    return f"{interval.low:.{digits}f} .. {interval.mid:.{digits}f} .. {interval.high:.{digits}f}"


def modelled(models: Mapping[str, Sequence[costs.Modelled]]) -> Table:
    """Modelled time beside the mail's, as multiples of native's, for each order of events."""
    return Table(
        "Modelled real time, as multiples of native's",
        ["design", "overhead, s", "overhead / kept's", "unfitted", "fitted to kept", "mail"],
        [
            [
                m.design + suffix,
                _span(m.overhead, 2),
                _span(m.ratio),
                _span(m.unfitted),
                _span(m.fitted),
                f"{m.measured:.2f}" if m.measured is not None else "-",
            ]
            for suffix, those in models.items()
            for m in those
        ],
        [
            "low .. central .. high over all prices in range.  overhead: counts times prices.  unfitted: 1 + overhead "
            f"/ {costs.measured('native', costs.REAL):.2f} s, as if the mail's make did exactly this trace's "
            "page-table work.  fitted: one factor, the size of the mail's make in units of this trace, chosen for "
            "every set of prices so that kept comes out as measured; its own row is therefore no evidence.  What "
            "native itself does is in its base time.  1 cpu: in the order of one processor, see below.",
        ],
    )


def _reading(r: costs.Reading, low: float, high: float) -> str:
    words = f"{_span(r.ratio)} against {low:.1f} to {high:.1f}: "
    if r.scale is not None:
        return words + (
            f"{'compatible' if r.compatible else 'NOT compatible'}, with prices in range and a mail's make that did "
            f"{r.scale[0]:.2g} to {r.scale[1]:.2g} times this trace's page-table work "
            f"({costs.PLAUSIBLE_SCALE[0]:.2g} to {costs.PLAUSIBLE_SCALE[1]:.2g} believed)"
        )
    words += "NOT compatible, no prices in range give it; "
    if r.stretch is None:
        return words + "nor does any one price outside its range"
    price, value = r.stretch
    return words + f"the least stretch is {price.name} at {value:.3g} us instead of at most {price.high:.3g}"


def readings(
    found: Mapping[str, Sequence[costs.Reading]], outcomes: Sequence[Outcome], serial: Sequence[Outcome]
) -> Text:
    """Which readings of "stock" can have been measured."""
    low, high = costs.measured_overhead_ratio(costs.REAL)
    sys_low, sys_high = costs.measured_overhead_ratio(costs.SYS)
    real = costs.measured("stock", costs.REAL) / costs.measured("kept", costs.REAL)
    sys_ratio = costs.measured("stock", costs.SYS) / costs.measured("kept", costs.SYS)
    switches = [next(o.counts["pmap_loads"] for o in those if o.design == "kept") for those in (outcomes, serial)]
    items = [
        (
            "measured",
            f"stock over kept {real:.1f} in real time, {sys_ratio:.1f} in sys; in time over native's, which needs no "
            f"common size of the two workloads, {low:.1f} (means) to {high:.1f} (medians) real, {sys_low:.1f} to "
            f"{sys_high:.1f} sys.  Real is judged: sys misses time that Xen took",
        ),
        (
            "two orders of events",
            f"the trace was recorded on two processors, whose processes take turns event by event: {switches[0]:,} "
            f"pmap loads.  One processor would let a process go on until it pauses (200 us, at most 100 ms): "
            f"{switches[1]:,}",
        ),
    ]
    for order, those in found.items():
        items += [(f"{r.design}, {order}", _reading(r, low, high)) for r in those]
    return Text('Which "stock" was measured: modelled overhead over kept\'s', items)


def as_json(
    trace: Trace,
    outcomes: Sequence[Outcome],
    serial: Sequence[Outcome],
    findings: Sequence[Finding],
    models: Mapping[str, Sequence[costs.Modelled]],
    found: Mapping[str, Sequence[costs.Reading]],
) -> dict[str, Any]:
    """Everything, as plain values; ``seconds`` is the only thing that differs between two runs."""

    def interval(i: costs.Interval | None) -> list[float] | None:
        return None if i is None else [i.low, i.mid, i.high]

    return {
        "trace": {
            "name": trace.name,
            "events": trace.count,
            "processes": trace.processes,
            "microseconds": trace.microseconds,
            "kinds": dict(zip(KINDS, trace.kinds, strict=True)),
        },
        "designs": {
            o.design: {
                "counts": dict(o.counts),
                "hypercalls": o.counts["hypercalls"],
                "replayed": dict(o.replayed),
                "writes": {what: dict(endings) for what, endings in o.tally.writes.items()},
                "reads": {what: dict(endings) for what, endings in o.tally.reads.items()},
                "learned": dict(o.tally.learned),
                "attacks": o.tally.probes,
                "slot_255_valid": [o.tally.exposed, o.tally.alive],
                "writes_tried": o.tally.tried,
                "writes_succeeded": o.tally.breaches,
                "audits": o.audits,
                "violations": list(o.violations),
            }
            for o in outcomes
        },
        "side_effects": [
            {"name": f.name, "claim": f.claim, "reproduced": f.reproduced, "seen": f.seen} for f in findings
        ],
        "prices": [
            {"work": p.name, "low": p.low, "high": p.high, "unit": "microseconds", "source": p.source}
            for p in costs.PRICES
        ],
        "mail": {kernel: [list(run) for run in runs] for kernel, runs in costs.MAIL.items()},
        "modelled": {
            m.design + suffix: {
                "overhead_seconds": interval(m.overhead),
                "overhead_over_kept": interval(m.ratio),
                "real_over_native_unfitted": interval(m.unfitted),
                "real_over_native_fitted_to_kept": interval(m.fitted),
                "real_over_native_measured": m.measured,
            }
            for suffix, those in models.items()
            for m in those
        },
        "one_processor": {o.design: {"counts": dict(o.counts), "violations": list(o.violations)} for o in serial},
        "readings_of_stock": {
            order: {
                r.design: {
                    "overhead_over_kept": interval(r.ratio),
                    "measured": costs.measured_overhead_ratio(costs.REAL),
                    "scale": r.scale,
                    "compatible": r.compatible,
                    "least_stretch": r.stretch and {"work": r.stretch[0].name, "microseconds": r.stretch[1]},
                }
                for r in those
            }
            for order, those in found.items()
        },
        "seconds": {o.design: round(o.seconds, 2) for o in outcomes},
    }
