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
                f"mapped, {r['unresolved']:,} forbidden by the mapping; {r['extracts']:,} pmap_extract, "
                f"{r['enters']:,} pmap_enter; at most {r['peak_processes']:,} processes "
                f"and {r['peak_pages']:,} pages at once",
            )
        )
    return Text("What was replayed", items)


def safety(outcomes: Sequence[Outcome]) -> Table:
    """What user mode tried and how it ended."""
    rows: list[Sequence[str]] = [["writes tried by user mode against its page tables"]]
    for what in sorted(_merged(outcomes, lambda o: o.tally.writes)):
        rows.append([f"  {what}", *(_endings(o.tally.writes.get(what, Counter())) for o in outcomes)])
    rows.append(["  all", *(f"{o.tally.tried:,}" for o in outcomes)])
    rows.append(["  that succeeded", *(str(o.tally.breaches) for o in outcomes)])
    rows.append(["reads tried by user mode"])
    for what in sorted(_merged(outcomes, lambda o: o.tally.reads)):
        rows.append([f"  {what}", *(_endings(o.tally.reads.get(what, Counter())) for o in outcomes)])
    rows.append(["machine frame numbers learned, most at one probe"])
    for what in _merged(outcomes, lambda o: o.tally.learned):
        rows.append([f"  of {what}", *(str(o.tally.learned.get(what, 0)) for o in outcomes)])
    rows.append(["checked"])
    rows.append(["  probes", *(str(o.tally.probes) for o in outcomes)])
    rows.append(["  audits of everything", *(str(o.audits) for o in outcomes)])
    rows.append(["  violations", *(str(len(o.violations)) for o in outcomes)])
    return Table(
        "Safety: user mode against its own page tables",
        ["attempt", *(o.design for o in outcomes)],
        rows,
        [
            "#PF codes: 0x1 present, 0x2 write, 0x4 user.  Each attempt was made and undone.  Slot 255 is the "
            "recursive window, 510 the kernel's alternate one."
        ],
    )


def verdict(outcomes: Sequence[Outcome], findings: Sequence[Finding]) -> Text:
    """The answer in sentences, from the counts."""
    items = []
    for o in outcomes:
        own = sum(endings[DONE] for what, endings in o.tally.reads.items() if what.startswith("own "))
        tried = sum(sum(endings.values()) for what, endings in o.tally.reads.items() if what.startswith("own "))
        m2p = o.tally.reads.get("M2P word of an own page", Counter())[DONE]
        words = f"{o.tally.tried:,} writes tried, {o.tally.breaches} succeeded; {own:,} of {tried:,} reads of its own "
        words += f"tables succeeded; M2P {'readable' if m2p else 'not readable'}; {o.audits} audits, "
        words += f"{len(o.violations)} violations"
        items.append((o.design, words))
        items += [(f"{o.design} VIOLATION", text) for text in o.violations]
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
        [(f"[{'seen' if f.reproduced else 'NOT SEEN'}] {f.name}", f"{f.claim}.  {f.seen}.") for f in findings],
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
        "Prices, microseconds (priors for 2 to 2.6 GHz machines of 2007 under Xen 3.1; none is fitted)",
        ["work", "low", "high", "source"],
        [[p.name, f"{p.low:.3g}", f"{p.high:.3g}", p.source] for p in costs.PRICES],
    )


def _span(interval: costs.Interval | None, digits: int = 1) -> str:
    if interval is None:
        return "-"
    return f"{interval.low:.{digits}f} .. {interval.mid:.{digits}f} .. {interval.high:.{digits}f}"


def modelled(models: Sequence[costs.Modelled]) -> Table:
    """Modelled time beside the mail's, as multiples of native's."""
    return Table(
        "Modelled real time, as multiples of native's",
        ["design", "overhead, s", "overhead / kept's", "unfitted", "fitted to kept", "mail"],
        [
            [
                m.design,
                _span(m.overhead, 2),
                _span(m.ratio),
                _span(m.unfitted),
                _span(m.fitted),
                f"{m.measured:.2f}" if m.measured is not None else "-",
            ]
            for m in models
        ],
        [
            "low .. central .. high over all prices in range.  overhead: counts times prices.  unfitted: 1 + overhead "
            f"/ {costs.measured('native', costs.REAL):.2f} s, as if the mail's make did exactly this trace's "
            "page-table work.  fitted: one factor, the size of the mail's make in units of this trace, chosen for "
            "every set of prices so that kept comes out as measured; its own row is therefore no evidence.  What "
            "native itself does is in its base time.",
        ],
    )


def readings(found: Sequence[costs.Reading]) -> Text:
    """Which readings of "stock" can have been measured."""
    low, high = costs.measured_overhead_ratio(costs.REAL)
    sys_low, sys_high = costs.measured_overhead_ratio(costs.SYS)
    real = costs.measured("stock", costs.REAL) / costs.measured("kept", costs.REAL)
    sys_ratio = costs.measured("stock", costs.SYS) / costs.measured("kept", costs.SYS)
    items = [
        (
            "measured",
            f"stock over kept {real:.1f} in real time, {sys_ratio:.1f} in sys; of the time over native's alone, which "
            f"needs no common size of the two workloads, {low:.1f} (means) to {high:.1f} (medians) real, "
            f"{sys_low:.1f} to {sys_high:.1f} sys (ticks that Xen took are partly invisible to sys, so real is judged)",
        )
    ]
    for r in found:
        words = f"modelled {_span(r.ratio)} against {low:.1f} to {high:.1f}: "
        if r.scale is None:
            words += "no choice of prices in range gives it: NOT compatible"
        else:
            words += (
                f"prices in range give it if the mail's make did {r.scale[0]:.2g} to {r.scale[1]:.2g} times this "
                f"trace's page-table work ({costs.PLAUSIBLE_SCALE[0]:.2g} to {costs.PLAUSIBLE_SCALE[1]:.2g} believed): "
                + ("compatible" if r.compatible else "NOT compatible")
            )
        items.append((r.design, words))
    return Text('Which "stock" was measured', items)


def as_json(
    trace: Trace,
    outcomes: Sequence[Outcome],
    findings: Sequence[Finding],
    models: Sequence[costs.Modelled],
    found: Sequence[costs.Reading],
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
                "probes": o.tally.probes,
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
            m.design: {
                "overhead_seconds": interval(m.overhead),
                "overhead_over_kept": interval(m.ratio),
                "real_over_native_unfitted": interval(m.unfitted),
                "real_over_native_fitted_to_kept": interval(m.fitted),
                "real_over_native_measured": m.measured,
            }
            for m in models
        },
        "readings_of_stock": {
            r.design: {"overhead_over_kept": interval(r.ratio), "scale": r.scale, "compatible": r.compatible}
            for r in found
        },
        "seconds": {o.design: round(o.seconds, 2) for o in outcomes},
    }
