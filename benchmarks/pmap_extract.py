"""What one pmap_extract costs: nanoseconds, hypercalls and page-table reads a call, for each design.

    python benchmarks/pmap_extract.py [--json]

The mail of 2007 says that setting and clearing the L4 slot by hypercall makes pmap_extract "really, really slow (like
10x slower)".  Cases: the running process's pmap ("current") or another ("foreign"); the alternate slot already points
at it ("hit") or at another pmap, which each call then replaces ("miss"); the address mapped or not; the kernel's pmap.
Nanoseconds are those of this emulator on this machine, the call from Python included (medians of interleaved runs);
microseconds are the counted work at the prices of `xenmmu study`, and what they say about 2007 is in their ratios.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from xenmmu import netbsd
from xenmmu.machine import PAGE_SIZE
from xenmmu.study import DESIGNS, costs, report
from xenmmu.study.replay import world

VA = 0x400000
UNMAPPED = 0x4000000000
ROUNDS = 21
CALLS = 200
#: Microseconds of one pmap_extract without hypercalls, and of each entry it reads: a call with its locks, and a cache
#: hit to a TLB miss.  Assumed.
CALL = (0.05, 0.1)
READ = (0.005, 0.05)
#: Microseconds of comparing two L4s word by word, which a pmap load of per-cpu does; and the reads in it.  Assumed.
COMPARE = (0.3, 1.0)
COMPARED = 2 * 255
#: Cases that go through the alternate slot.
FOREIGN = ("current, hit", "current, miss", "foreign, hit", "foreign, miss")


@dataclass(slots=True)
class Case:
    """One kind of call under one design; `prepare` brings about the state before each timed call."""

    design: str
    name: str
    kernel: netbsd.Kernel
    pmap: netbsd.Pmap
    va: int
    prepare: Callable[[], object] | None = None
    times: list[float] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def run(self, calls: int) -> float:
        """Median nanoseconds of a call, the clock's own time included."""
        extract, pmap, va, prepare = self.kernel.pmap_extract, self.pmap, self.va, self.prepare
        clock = time.perf_counter_ns
        times = []
        for _ in range(calls):
            if prepare is not None:
                prepare()
            began = clock()
            extract(pmap, va)
            times.append(clock() - began)
        return statistics.median(times)

    def count(self) -> None:
        """What one call does, once the state is the one that a row of such calls finds."""
        for _ in range(2):
            if self.prepare is not None:
                self.prepare()
            before = dict(self.kernel.counters)
            self.kernel.pmap_extract(self.pmap, self.va)
            self.counts = {name: n - before[name] for name, n in self.kernel.counters.items()}

    def work(self) -> list[tuple[int, float, float]]:
        """The priced work of one call: amount, lowest and highest price in microseconds."""
        loads = self.counts["pmap_loads"]
        own = [(1, *CALL), (self.counts["pte_reads"] - COMPARED * loads, *READ), (loads, *COMPARE)]
        amounts = costs.amounts({**self.counts, "processes": 0})
        return own + [(n, price.low, price.high) for n, price in zip(amounts, costs.PRICES, strict=True)]

    def microseconds(self) -> tuple[float, float]:
        """Modelled time of one call, at the lowest and at the highest prices."""
        return sum(n * low for n, low, _ in self.work()), sum(n * high for n, _, high in self.work())

    def over(self, other: Case) -> tuple[float, float]:
        """How many times the other's modelled time: the extremes over all prices in range, which lie at corners."""
        used = [
            (n, m, low, high) for (n, low, high), (m, _, _) in zip(self.work(), other.work(), strict=True) if n or m
        ]
        ratios = []
        for prices in itertools.product(*((low, high) for _, _, low, high in used)):
            mine = sum(n * price for (n, _, _, _), price in zip(used, prices, strict=True))
            its = sum(m * price for (_, m, _, _), price in zip(used, prices, strict=True))
            ratios.append(mine / its)
        return min(ratios), max(ratios)


def cases(design: str) -> list[Case]:
    """Every case of one design, on a kernel of its own with three processes."""
    kernel = world(design, frames=4096)
    pmaps = []
    for _ in range(3):
        pmap = kernel.pmap_create()
        kernel.switch(pmap)
        for i in range(16):
            prot = netbsd.VM_PROT_READ | netbsd.VM_PROT_WRITE
            kernel.pmap_enter(pmap, VA + i * PAGE_SIZE, kernel.uvm_pagealloc(), prot)
        pmaps.append(pmap)
    foreign, other, current = pmaps

    def away() -> object:
        return kernel.pmap_extract(other, VA)

    slot = netbsd.L4_SLOT_KERN_NATIVE if design == "native" else netbsd.L4_SLOT_KERN
    kernel_va = 0xFFFF000000000000 | slot << 39
    kernel.pmap_kenter_pa(kernel_va, kernel.uvm_pagealloc(), netbsd.VM_PROT_READ)
    return [
        Case(design, "kernel", kernel, kernel.pmap_kernel, kernel_va),
        Case(design, "current, hit", kernel, current, VA),
        Case(design, "current, hit, unmapped", kernel, current, UNMAPPED),
        Case(design, "current, miss", kernel, current, VA, away),
        Case(design, "foreign, hit", kernel, foreign, VA),
        Case(design, "foreign, miss", kernel, foreign, VA, away),
    ]


def measure() -> list[Case]:
    """Count and time every case; the runs of all cases take turns, so that drift of the machine falls on all alike."""
    every = [case for design in DESIGNS for case in cases(design)]
    clock = time.perf_counter_ns
    empty = statistics.median([-(clock() - clock()) for _ in range(2000)])
    for case in every:
        case.kernel.pmap_extract(case.pmap, case.va)
        case.count()
    for _ in range(ROUNDS):
        for case in every:
            case.kernel.pmap_extract(case.pmap, case.va)
            case.times.append(case.run(CALLS) - empty)
    return every


def tables(every: list[Case]) -> list[report.Table | report.Text]:
    """The figures, and their ratios to the design that keeps the slot."""
    kept = {case.name: case for case in every if case.design == "kept"}
    rows: list[list[str]] = []
    for case in every:
        low, high = case.microseconds()
        below, above = case.over(kept[case.name])
        rows.append(
            [
                f"{case.design}: {case.name}",
                f"{statistics.median(case.times):,.0f}",
                report.count(case.counts["hypercalls"]),
                report.count(case.counts["pte_reads"]),
                report.count(case.counts["tlb_flushes"]),
                report.count(case.counts["entries_validated"]),
                f"{low:.2f} .. {high:.2f}",
                f"{below:.1f} .. {above:.1f}",
            ]
        )
    heads = ["design: case", "ns here", "hypercalls", "entries read", "flushes", "slots validated", "us 2007", "/ kept"]
    notes = [
        "ns here: median over runs of the median call, from Python.  us 2007: the counted work at the lowest and at "
        f"the highest prices of `xenmmu study`, and for the call itself {CALL[0]} to {CALL[1]} us and {READ[0]} to "
        f"{READ[1]} us an entry read (assumed).  / kept: times the same case with the slot kept, at all prices "
        "in range.  native's own flush is not priced."
    ]
    return [
        report.Table("One pmap_extract", heads, rows, notes),
        report.Text('Where that puts the mail\'s "like 10x slower"', summary(every)),
    ]


def summary(every: list[Case]) -> list[tuple[str, str]]:
    """Each reading of "stock" over kept, in the cases that go through the alternate slot."""
    kept = {case.name: case for case in every if case.design == "kept"}
    found = []
    for design in ("stock", "stock-literal"):
        words = []
        for case in every:
            if case.design == design and case.name in FOREIGN:
                low, high = case.over(kept[case.name])
                here = statistics.median(case.times) / statistics.median(kept[case.name].times)
                words.append(
                    f"{case.name} {low:.1f} to {high:.1f} times in modelled time, {here:.1f} in the emulator's"
                )
        found.append((f"{design} over kept", "; ".join(words)))
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="What one pmap_extract costs under each design.")
    parser.add_argument("--json", action="store_true", help="print everything as one JSON array")
    args = parser.parse_args()
    every = measure()
    if not args.json:
        report.show(tables(every))
        return
    found = [
        {
            "design": case.design,
            "case": case.name,
            "nanoseconds": statistics.median(case.times),
            "hypercalls": case.counts["hypercalls"],
            "entries_read": case.counts["pte_reads"],
            "counts": case.counts,
            "microseconds_2007": case.microseconds(),
        }
        for case in every
    ]
    json.dump(found, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
