"""Put random cases to the CPU of qemu-system-x86_64 (TCG), in a guest of our own, and count where it differs.

    python tests/oracles/qemu/run.py --cases 1000000 --seed 1

The guest has no operating system: boot.S and guest.c, which run the cases that bulk.c writes into the guest's memory
file.  Cases are run in batches over 4 and 5 levels and several MAXPHYADDR.  Exit status 1 if a difference is in no
class that is explained in docs/referees.md.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
CSRC = HERE.parents[2] / "csrc"
QEMU = "qemu-system-x86_64"
NEEDS = (QEMU, "cc", "objcopy")
MEMORY = 384 << 20
BATCH = 1_000_000
# Levels and MAXPHYADDR.
PROCESSORS = ((4, 40), (5, 52), (4, 36), (5, 46), (4, 52), (5, 36), (4, 46), (5, 41))
GUEST_FLAGS = (
    "-O2 -std=gnu11 -ffreestanding -fno-pic -fno-pie -fno-stack-protector -fcf-protection=none -mcmodel=kernel "
    "-mno-red-zone -mgeneral-regs-only -nostdlib -static -no-pie -Wl,--build-id=none,-z,noexecstack"
).split()


@dataclass
class Report:
    counts: Counter[str] = field(default_factory=Counter)
    first: str = ""
    seconds: float = 0.0
    model: str = "QEMU TCG"

    @property
    def agrees(self) -> bool:
        return self.counts["done"] == self.counts["cases"] and not self.counts["unexplained"]

    def __str__(self) -> str:
        counts = ", ".join(f"{name} {n}" for name, n in self.counts.items())
        return f"{self.model}: {self.seconds:.1f} s: {counts}\n{self.first}".rstrip()


def lacking() -> str | None:
    """A program that is not there, if any."""
    return next((name for name in NEEDS if shutil.which(name) is None), None)


def build(folder: Path, csrc: Path = CSRC) -> None:
    """The guest, and the program that makes and judges cases."""
    cc = os.environ.get("CC", "cc")
    elf, script = folder / "guest.elf", HERE / "guest.ld"
    sources = [HERE / "boot.S", HERE / "guest.c"]
    subprocess.run([cc, *GUEST_FLAGS, f"-Wl,-T,{script}", "-o", elf, *sources], check=True, capture_output=True)
    subprocess.run(["objcopy", "-O", "binary", elf, folder / "guest.bin"], check=True)
    core = [csrc / "machine.c", *sorted((csrc / "x86").glob("*.c"))]
    command = [cc, "-O2", "-std=gnu11", "-I", csrc, "-o", folder / "bulk", HERE / "bulk.c", *core]
    subprocess.run(command, check=True)


def batch(folder: Path, memory: Path, cases: int, seed: int, levels: int, physbits: int) -> Report:
    arguments = [str(a) for a in (memory, cases, seed, levels, physbits)]
    subprocess.run([folder / "bulk", "make", *arguments], check=True)
    backend = f"memory-backend-file,id=ram,size={MEMORY},mem-path={memory},share=on"
    # With two processors TCG makes an exchange one access, which it is; with one it is a load and then a store.
    command = [QEMU, "-accel", "tcg", "-smp", "2", "-cpu", f"max,phys-bits={physbits}", "-m", f"{MEMORY >> 20}M"]
    command += [
        "-object",
        backend,
        "-machine",
        "pc,memory-backend=ram",
        "-nodefaults",
        "-display",
        "none",
        "-no-reboot",
    ]
    command += ["-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-kernel", str(folder / "guest.bin")]
    # Half a minute's work for a million cases, if the machine is free; a guest that hangs leaves cases undone.
    with contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(command, timeout=120 + cases / 500, check=False)
    judged = subprocess.run([folder / "bulk", "judge", *arguments], capture_output=True, text=True, check=False)
    report = Report(first=judged.stderr)
    for line in judged.stdout.splitlines():
        name, number = line.split()
        report.counts[name] = int(number)
    return report


def run(
    cases: int,
    seed: int,
    processors: tuple[tuple[int, int], ...] = PROCESSORS,
    batch_size: int = BATCH,
    csrc: Path = CSRC,
) -> Report:
    total = Report()
    started = time.perf_counter()
    shared = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory() as name, tempfile.NamedTemporaryFile(dir=shared) as memory:
        folder = Path(name)
        build(folder, csrc)
        memory.truncate(MEMORY)
        number = 0
        while total.counts["cases"] < cases and total.counts["unexplained"] < 100:
            levels, physbits = processors[number % len(processors)]
            size = min(batch_size, cases - total.counts["cases"])
            report = batch(folder, Path(memory.name), size, seed + number, levels, physbits)
            if not report.agrees and not total.first:
                total.first = f"seed {seed + number}, {levels} levels, phys-bits={physbits}\n{report.first}"
            total.counts += report.counts
            number += 1
            if report.counts["done"] < size:
                break
    total.seconds = time.perf_counter() - started
    return total


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=2007)
    options = parser.parse_args()
    if lacking():
        print(f"{lacking()} is not installed", file=sys.stderr)
        return 2
    print(f"seed {options.seed}")
    # Every processor gets cases, however few they are.
    size = min(BATCH, -(-options.cases // len(PROCESSORS)))
    report = run(options.cases, options.seed, batch_size=size)
    print(report)
    return 0 if report.agrees else 1


if __name__ == "__main__":
    sys.exit(main())
