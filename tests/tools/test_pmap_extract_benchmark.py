"""The microbenchmark runs, and its counts are those of the known code: stock 3, literal 2, kept and native 0."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_counts_of_a_call() -> None:
    done = subprocess.run(
        [sys.executable, "-P", str(ROOT / "benchmarks" / "pmap_extract.py"), "--json"],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(ROOT)},
    )
    found = {(case["design"], case["case"]): case for case in json.loads(done.stdout)}
    assert len(found) == 30
    calls = {key: case["hypercalls"] for key, case in found.items()}
    for who in ("current", "foreign"):
        hits = [calls[design, f"{who}, hit"] for design in ("stock", "stock-literal", "kept", "per-cpu", "native")]
        assert hits == [3, 2, 0, 0, 0]
        # The alternate slot points at another pmap, so its translations are flushed: +1 to each.
        assert calls["stock-literal", f"{who}, miss"] == 4 and calls["kept", f"{who}, miss"] == 3
        assert calls["native", f"{who}, miss"] == 0
    # The loaded pmap is parked, unpinned and pinned again; another one is only unpinned and pinned.
    assert calls["stock", "current, miss"] == 10 and calls["stock", "foreign, miss"] == 8
    for case in found.values():
        assert case["nanoseconds"] > 0 and case["entries_read"] > 0
        low, high = case["microseconds_2007"]
        assert 0 < low < high
