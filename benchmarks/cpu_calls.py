"""What one call of `Cpu` costs from Python, in nanoseconds and in empty calls of the C core.

    python benchmarks/cpu_calls.py [--json]

The empty call, `xm_checkpoint_depth`, takes a pointer and returns a field: what cffi asks for crossing the border.
Runs of all cases are interleaved, so that whatever else the machine does falls on each alike, and the figure of a case
is the median over the rounds of its time over the empty call's of the same round.  Nanoseconds are medians too.  Time
is that of the thread, without the turns of other processes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
import timeit
from array import array
from dataclasses import dataclass, field

from xenmmu import Cpu, Machine, pte
from xenmmu._core import lib
from xenmmu.study import report

ROUNDS = 51
CALLS = 1000
BATCH = 1024
#: What is timed, and how many calls or addresses one execution is.
CASES = {
    "empty call": ("empty(m)", 1),
    "walk": ("cpu.walk(0x123)", 1),
    "walk, then .pa, .error_code": ("w = cpu.walk(0x123); w.pa; w.error_code", 1),
    "walk that faults": ("cpu.walk(0x200123, 'write')", 1),
    "walk, then .steps": ("cpu.walk(0x123).steps", 1),
    "translate_one": ("cpu.translate_one(0x123)", 1),
    "load": ("cpu.load(0x123)", 1),
    "store": ("cpu.store(0x123, 5)", 1),
    "fetch": ("cpu.fetch(0x123)", 1),
    "translate, per address": ("cpu.translate(vas)", BATCH),
}


@dataclass(slots=True)
class Case:
    """A statement, what one execution counts for, and the nanoseconds of one of that in each round."""

    name: str
    timer: timeit.Timer
    weight: int
    times: list[float] = field(default_factory=list)

    def run(self) -> None:
        number = max(1, CALLS // self.weight)
        self.times.append(self.timer.timeit(number) * 1e9 / number / self.weight)


def measure() -> list[Case]:
    """Every case, its rounds interleaved with those of the others."""
    m = Machine(16 << 20)
    for table in (1, 2, 3):
        m.write64(table << 12, pte.encode(table + 1, pte.P | pte.RW | pte.US))
    for page in range(512):
        m.write64((4 << 12) + 8 * page, pte.encode(8 + page, pte.P | pte.RW | pte.US))
    names = {"cpu": Cpu(m, cr3=0x1000), "m": m._c, "empty": lib.xm_checkpoint_depth}
    names["vas"] = array("Q", [(page % 512) << 12 for page in range(BATCH)])
    every = [
        Case(name, timeit.Timer(text, timer=time.thread_time, globals=names), weight)
        for name, (text, weight) in CASES.items()
    ]
    for _ in range(ROUNDS):
        for case in every:
            case.run()
    return every


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="What one call of Cpu costs from Python.")
    parser.add_argument("--json", action="store_true", help="print everything as one JSON array")
    args = parser.parse_args()
    every = measure()
    empty = every[0].times
    found = [
        {
            "case": case.name,
            "nanoseconds": statistics.median(case.times),
            "empty_calls": statistics.median(a / b for a, b in zip(case.times, empty, strict=True)),
        }
        for case in every
    ]
    if args.json:
        json.dump(found, sys.stdout, indent=2)
        print()
        return
    rows = [[str(f["case"]), f"{f['nanoseconds']:.0f}", f"{f['empty_calls']:.2f}"] for f in found]
    notes = [f"Medians of {ROUNDS} interleaved rounds of {CALLS} calls."]
    report.show([report.Table("Calls of Cpu from Python", ["call", "ns", "empty calls"], rows, notes)])


if __name__ == "__main__":
    main()
