"""Put random cases to a CPU model and to our processor, and count where they differ, by class.

    python tests/oracles/cpu/compare.py unicorn --cases 100000 --seed 1
    python tests/oracles/cpu/compare.py bochs --cases 100000 --seed 1

Exit status 1 if a difference is in no class that is explained in docs/referees.md.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


def sibling(name: str) -> Any:
    """A module beside this one: tests are not a package."""
    full = f"oracle_{name}"
    if full not in sys.modules:
        found = importlib.util.spec_from_file_location(full, HERE / f"{name}.py")
        assert found and found.loader
        module = importlib.util.module_from_spec(found)
        sys.modules[full] = module
        try:
            found.loader.exec_module(module)
        except BaseException:
            del sys.modules[full]
            raise
    return sys.modules[full]


cases = sibling("cases")


@dataclass
class Report:
    """`classes`: how many cases differ in a way that is explained; `unexplained`: the cases that differ otherwise."""

    model: str
    cases: int = 0
    skipped: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    classes: Counter[str] = field(default_factory=Counter)
    unexplained: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def __str__(self) -> str:
        lines = [
            f"{self.model}: {self.cases} cases ({self.skipped} drawn and not usable), {self.seconds:.1f} s, "
            f"{len(self.unexplained)} unexplained differences",
            "  outcomes: " + ", ".join(f"{k} {n}" for k, n in sorted(self.outcomes.items())),
        ]
        lines += [f"  explained: {name}: {n}" for name, n in sorted(self.classes.items())]
        lines += ["  UNEXPLAINED " + text for text in self.unexplained[:20]]
        return "\n".join(lines)


def outcome(result: Any) -> str:
    if result.vector is None:
        return "ok"
    return f"#PF {result.code:#x}" if result.vector == 14 else str(result.vector)


def with_a(tables: bytes, entries: list[int]) -> bytes:
    changed = bytearray(tables)
    for at in entries:
        if at >> 12 in cases.TABLES:
            changed[at - (cases.TABLES[0] << 12)] |= cases.A
    return bytes(changed)


def marked_early(case: Any, mine: Any) -> bool:
    """Did the walk end at a PDPTE of a page whose reserved bits, but those that only a page has, are clear?"""
    c, at = cases, mine.used[-1] - (cases.TABLES[0] << 12)
    entry = int.from_bytes(mine.tables[at : at + 8], "little")
    reserved = (1 << 52) - (1 << case.maxphyaddr) | (0 if case.efer & c.NXE else c.NX)
    return len(mine.used) == case.levels - 2 and entry & (c.P | c.PS) == c.P | c.PS and not entry & reserved


def explain(model: Any, case: Any, mine: Any, theirs: Any) -> str | None:
    """The class of a difference, or None."""
    rest = (mine.vector, mine.code, mine.cr2, mine.value) == (theirs.vector, theirs.code, theirs.cr2, theirs.value)
    if rest and mine.vector == 14 and model.a_above_fault:
        if theirs.tables == with_a(mine.tables, mine.used[:-1]):
            return "A in the entries above a fault"
        if theirs.tables == with_a(mine.tables, mine.used) and marked_early(case, mine):
            return "A in a PDPTE that maps a page, at a fault"
    if (mine.vector, theirs.vector, mine.tables) == (12, 13, theirs.tables) and not model.has_ss:
        return "#GP for #SS"
    if theirs.vector == "bus" and (mine.vector, mine.cr2) == (14, (case.va | 4095) + 1 & 2**64 - 1):
        return "no memory behind the first of two pages"
    return None


def compare(model: Any, count: int, seed: int, stop_after: int = 20) -> Report:
    r = random.Random(seed)
    reference = cases.Reference()
    report = Report(model.name)
    started = time.perf_counter()
    while report.cases < count and len(report.unexplained) < stop_after:
        case = cases.random_case(r, model.features)
        try:
            before, mine = reference.run(case)
        except cases.Skip:
            report.skipped += 1
            continue
        theirs = model.run(case, before, mine)
        for pa in mine.pas:
            if pa >> 12 not in cases.TABLES:
                reference.machine.write(pa, bytes([cases.BACKGROUND]))
        report.cases += 1
        report.outcomes[outcome(mine)] += 1
        same = (mine.vector, mine.code, mine.cr2, mine.value) == (theirs.vector, theirs.code, theirs.cr2, theirs.value)
        if same and mine.tables == theirs.tables:
            continue
        found = explain(model, case, mine, theirs)
        if found:
            report.classes[found] += 1
        else:
            report.unexplained.append(f"{case}\n    ours {told(mine, theirs)}\n    {model.name} {told(theirs, mine)}")
    report.seconds = time.perf_counter() - started
    return report


def told(result: Any, other: Any) -> str:
    tables = {
        f"{(cases.TABLES[0] << 12) + i:#x}": f"{int.from_bytes(result.tables[i : i + 8], 'little'):#x}"
        for i in range(0, len(result.tables), 8)
        if result.tables[i : i + 8] != other.tables[i : i + 8]
    }
    return f"{outcome(result)} cr2={result.cr2:#x} value={result.value:#x} {tables or ''}"


def bochs_library(folder: str) -> str:
    """A library with the two functions of glibc 2.38 that the wheel of bochscpu needs, for an older glibc."""
    library = f"{folder}/isoc23.so"
    subprocess.run([os.environ.get("CC", "cc"), "-shared", "-fPIC", "-o", library, HERE / "isoc23.c"], check=True)
    return library


def model_of(name: str) -> Any:
    if name == "unicorn":
        return sibling("unicorn_cpu").UnicornCpu(cases)
    return sibling("bochs_cpu").BochsCpu(cases)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=("unicorn", "bochs"))
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=2007)
    options = parser.parse_args()
    try:
        model = model_of(options.model)
    except ImportError as e:
        if "isoc23" not in str(e) or "LD_PRELOAD" in os.environ:
            raise
        with tempfile.TemporaryDirectory() as folder:
            environment = {**os.environ, "LD_PRELOAD": bochs_library(folder)}
            return subprocess.run([sys.executable, *sys.argv], env=environment, check=False).returncode
    print(f"seed {options.seed}")
    report = compare(model, options.cases, options.seed)
    print(report)
    return 1 if report.unexplained else 0


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    # The binding of Bochs does not survive its own clean-up.
    os._exit(status)
