"""What hypercalls cost on the emulator, and the same on real Xen under QEMU in the same run.

    python benchmarks/xen_calls.py [--json] [--no-oracle]

Two cases.  *L1 updates*: mmu_update of 128 requests, each a new writable mapping, so that each takes a reference and
gives one back.  *Pin and unpin*: mmuext_op of 64 pairs of PIN_L4_TABLE and UNPIN_TABLE of a tree of four tables that
nothing else holds, with four mappings, so that all four are validated and let go.  Both sides are given the same
batches, the emulator through its C core, Xen by a guest that repeats them.  Rounds of all cases are interleaved;
figures are medians, the ratio that of the rounds.  The emulator's time is the thread's, QEMU's is that of the wall,
for want of a clock of its own: quote it from a quiet machine.  Needs what tests/oracles/xen needs, unless --no-oracle.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from xenmmu import Machine, xen
from xenmmu._core import ffi, lib
from xenmmu.study import report

ROUNDS = 15
BATCH = 128
MAPPINGS = 4
REQUESTS, PAIRS = "L1 updates", "pin and unpin, four tables"
#: What one execution counts for, and how many batches a round is, on the emulator and on Xen.
CASES = {REQUESTS: (BATCH, 4000, 1500), PAIRS: (BATCH // 2, 400, 30)}
_FLAGS = 7
_ELEMENT, _MMU_UPDATE, _RESET, _REPEAT = 1, 2, 17, 60
_HC_MMU_UPDATE, _HC_MMUEXT_OP = 1, 26
Updates = list[tuple[int, int]]


def tree(l4: int, l3: int, l2: int, l1: int, data: list[int]) -> Updates:
    """(address, entry) of a tree of four tables with a few mappings."""
    upper = [(l4, 1, l3), (l3, 5, l2), (l2, 3, l1)]
    leaves = [(l1, slot, data[slot]) for slot in range(MAPPINGS)]
    return [(table << 12 | slot * 8, frame << 12 | _FLAGS) for table, slot, frame in upper + leaves]


def turns(l1: int, data: list[int]) -> tuple[Updates, Updates]:
    """Two batches for the same slots of an L1, each mapping what the other does not."""
    first = [(l1 << 12 | slot * 8, data[slot] << 12 | _FLAGS) for slot in range(BATCH)]
    return first, [(ptr, data[slot + 1] << 12 | _FLAGS) for slot, (ptr, _) in enumerate(first)]


class Emulator:
    """The C core on a machine of 64 MiB."""

    def __init__(self) -> None:
        self._domain = xen.Hypervisor(Machine(64 << 20)).create_domain(2048)
        # Beyond the boot map: nothing else holds these frames.
        frames = list(self._domain.mfns)[-512:]
        self._result = ffi.new("struct xm_result *")
        c = self._domain._c
        self._runs: dict[str, Callable[[int], None]] = {}
        for ptr, val in tree(*frames[:4], frames[8:]):
            self._domain.mmu_update([(ptr, val)])
        ops = ffi.new("struct xm_mmuext_op[]", BATCH)
        for i, op in enumerate(ops):
            op.cmd, op.arg1 = xen.MMUEXT_UNPIN_TABLE if i % 2 else xen.MMUEXT_PIN_L4_TABLE, frames[0]
        self._domain.mmuext_op([xen.MmuextOp(xen.MMUEXT_PIN_L1_TABLE, frames[4])])
        batches = [ffi.new("struct xm_mmu_update[]", batch) for batch in turns(frames[4], frames[200:])]

        def updates(n: int) -> None:
            for i in range(n):
                self._check(lib.xm_mmu_update(c, batches[i % 2], BATCH, xen.DOMID_SELF, self._result))

        def pairs(n: int) -> None:
            for _ in range(n):
                self._check(lib.xm_mmuext_op(c, ops, BATCH, xen.DOMID_SELF, self._result))

        self._runs = {REQUESTS: updates, PAIRS: pairs}

    def _check(self, status: int) -> None:
        if status or self._result.rc or self._result.done != BATCH:
            raise SystemExit(f"the emulator refused: status {status}, rc {self._result.rc}")

    def run(self, case: str) -> float:
        """Seconds of one of what the case counts."""
        weight, batches, _ = CASES[case]
        start = time.thread_time()
        self._runs[case](batches)
        return (time.thread_time() - start) / batches / weight


class Real:
    """The booted oracle, its pool's frames put to the same use."""

    def __init__(self, oracle: Any, op: Any) -> None:
        self._oracle, self._op = oracle, op
        frames = list(oracle.pool)
        oracle.set_reset_pool(range(len(frames)))
        self._do([self._record(_RESET)], "reset")
        self._do(self._batch(_MMU_UPDATE, xen.DOMID_SELF, 0, 0, tree(*frames[:4], frames[8:])), "the tree")
        ext = [(xen.MMUEXT_UNPIN_TABLE if i % 2 else xen.MMUEXT_PIN_L4_TABLE, frames[0]) for i in range(BATCH)]
        first, second = turns(frames[4], frames[200:])
        both = [(ptr, val, other) for (ptr, val), (_, other) in zip(first, second, strict=True)]
        pin = [(xen.MMUEXT_PIN_L1_TABLE, frames[4])]
        self._do(self._batch(_REPEAT, _HC_MMUEXT_OP, 1, xen.DOMID_SELF, pin), "the pin")
        self._elements: dict[str, tuple[int, Any]] = {
            REQUESTS: (_HC_MMU_UPDATE, both),
            PAIRS: (_HC_MMUEXT_OP, ext),
        }

    def _record(self, kind: int, count: int = 0, a: int = 0, b: int = 0, c: int = 0) -> bytes:
        record: bytes = self._op.pack(kind, 0, count, a, b, c, 0, 0, 0, 0)
        return record

    def _batch(self, kind: int, a: int, b: int, c: int, elements: Any) -> list[bytes]:
        head = self._record(kind, len(elements), a, b, c)
        return [head, *(self._record(_ELEMENT, 0, *words) for words in elements)]

    def _do(self, records: list[bytes], what: str) -> float:
        start = time.perf_counter()
        self._oracle.post(b"".join(records))
        self._oracle.wait(120.0)
        seconds = time.perf_counter() - start
        rc = self._oracle.answers(1)[0].rc
        if rc:
            raise SystemExit(f"Xen refused {what}: rc {rc}")
        return seconds

    def run(self, case: str) -> float:
        """Seconds of one of what the case counts; the setting up and the answer's way are in it."""
        weight, _, batches = CASES[case]
        number, elements = self._elements[case]
        return self._do(self._batch(_REPEAT, number, batches, xen.DOMID_SELF, elements), case) / batches / weight


def measure(rounds: int, real: Real | None) -> list[dict[str, Any]]:
    """Rates a second of every case on each side, and the medians of the ratios."""
    emulator = Emulator()
    times: dict[str, list[tuple[float, float]]] = {case: [] for case in CASES}
    for _ in range(rounds):
        for case, seen in times.items():
            seen.append((emulator.run(case), real.run(case) if real else 0.0))
    found = []
    for case, seen in times.items():
        row: dict[str, Any] = {"case": case, "emulator": statistics.median(1 / ours for ours, _ in seen)}
        if real:
            row["xen"] = statistics.median(1 / theirs for _, theirs in seen)
            row["ratio"] = statistics.median(theirs / ours for ours, theirs in seen)
        found.append(row)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="What hypercalls cost, here and on real Xen under QEMU.")
    parser.add_argument("--json", action="store_true", help="print everything as one JSON array")
    parser.add_argument("--no-oracle", action="store_true", help="the emulator alone")
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N", help=f"rounds ({ROUNDS})")
    args = parser.parse_args()
    if args.rounds < 1:
        parser.error("--rounds must be at least 1")
    if args.no_oracle:
        found = measure(args.rounds, None)
    else:
        sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "oracles" / "xen"))
        import oracle

        try:
            with oracle.Oracle() as booted:
                found = measure(args.rounds, Real(booted, oracle.OP))
        except oracle.OracleError as error:
            raise SystemExit(f"xen_calls: {error}") from None
    if args.json:
        json.dump(found, sys.stdout, indent=2)
        print()
        return
    rows = [
        [f["case"], f"{f['emulator']:,.0f}", *([f"{f['xen']:,.0f}", f"{f['ratio']:.0f}"] if "xen" in f else ["", ""])]
        for f in found
    ]
    notes = [f"A second; medians of {args.rounds} interleaved rounds."]
    report.show([report.Table("Hypercalls", ["what", "emulator", "Xen in QEMU", "ratio"], rows, notes)])


if __name__ == "__main__":
    main()
