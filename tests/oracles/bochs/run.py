"""Put random cases, shadow-stack accesses among them, to Bochs' Tiger Lake in a guest, and count where it differs.

    python tests/oracles/bochs/run.py --cases 100000 --seed 1

The guest and the program that makes and judges its cases are those of tests/oracles/qemu.  Bochs boots from rom.S, gets
cases and memory from a disk and gives the results through port 0xe9.  Shadow-stack accesses are INCSSP by the user,
WRSS by either and WRUSS by the supervisor.  Exit status 1 if anything differs.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
BOCHS = "bochs-bin"
NEEDS = (BOCHS, "cc", "objcopy")
DATA, DATA_SIZE = 0x400000, 0x200000
PARAMETERS, CASES, RESULTS = 0x7FFF000, 0x8000000, 0x10000000
CASE_SIZE = RESULT_SIZE = 64
SECTOR, CYLINDER = 512, 512 * 16 * 63
BATCH = 100_000
LEVELS, PHYSBITS = 4, 40  # the latter is fixed when Bochs is built
MARK = b"\nresults:\n"
CONFIGURATION = """\
megs: 384
romimage: file={folder}/rom.bin, address=0xffff0000
vgaromimage: file={folder}/vga.bin
optramimage1: file={folder}/guest.bin, address=0x100000
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=disk, path={folder}/disk, mode=flat, cylinders={cylinders}, heads=16, spt=63
cpu: model=tigerlake, count=1, ips=100000000
display_library: rfb, options="timeout=0"
port_e9_hack: enabled=1
boot: disk
log: {folder}/log
panic: action=fatal
error: action=ignore
info: action=ignore
"""


def sibling(path: Path, name: str) -> Any:
    """A module of another oracle: tests are not a package."""
    if name not in sys.modules:
        found = importlib.util.spec_from_file_location(name, path)
        assert found and found.loader
        sys.modules[name] = importlib.util.module_from_spec(found)
        found.loader.exec_module(sys.modules[name])
    return sys.modules[name]


qemu = sibling(HERE.parent / "qemu" / "run.py", "oracle_qemu")


def lacking() -> str | None:
    """A program that is not there, if any."""
    return next((name for name in NEEDS if shutil.which(name) is None), None)


def build(folder: Path, csrc: Path) -> None:
    """The guest, the judge, and the ROM."""
    qemu.build(folder, csrc)
    cc = os.environ.get("CC", "cc")
    elf = folder / "rom.elf"
    subprocess.run([cc, "-nostdlib", "-static", "-Wl,-Ttext=0,--build-id=none", "-o", elf, HERE / "rom.S"], check=True)
    subprocess.run(["objcopy", "-O", "binary", "-j", ".text", elf, folder / "rom.bin"], check=True)


def boot(folder: Path, cylinders: int, size: int, seconds: float) -> bytes:
    """Run the guest until it has given `size` bytes of results, or the time is over; the bytes."""
    (folder / "vga.bin").write_bytes(bytes(512))
    (folder / "bochsrc").write_text(CONFIGURATION.format(folder=folder, cylinders=cylinders), encoding="ascii")
    # Debian's has a debugger, which waits for a word.
    (folder / "go").write_text("c\n", encoding="ascii")
    command = [BOCHS, "-q", "-f", folder / "bochsrc", "-rc", folder / "go"]
    environment = {**os.environ, "BOCHSRC": "", "BXSHARE": str(folder)}
    # Left by one that was killed.
    (folder / "disk.lock").unlink(missing_ok=True)
    output = bytearray()
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, cwd=folder
    ) as bochs:
        assert bochs.stdout
        os.set_blocking(bochs.stdout.fileno(), False)
        deadline = time.monotonic() + seconds
        try:
            while time.monotonic() < deadline and bochs.poll() is None:
                output += bochs.stdout.read() or b""
                at = output.find(MARK)
                if at >= 0 and len(output) >= at + len(MARK) + size:
                    break
                time.sleep(0.02)
        finally:
            bochs.kill()
    return bytes(output[output.index(MARK) + len(MARK) :][:size]) if MARK in output else b""


def batch(folder: Path, memory: Path, cases: int, seed: int) -> Any:
    arguments = [str(a) for a in (memory, cases, seed, LEVELS, PHYSBITS, "cet")]
    subprocess.run([folder / "bulk", "make", *arguments], check=True)
    size = -(-cases * CASE_SIZE // SECTOR) * SECTOR
    parts = ((DATA, DATA_SIZE), (PARAMETERS, CASES - PARAMETERS + size), (RESULTS, size))
    with open(memory, "r+b") as whole, open(folder / "disk", "wb") as disk:
        disk.write(b"".join(struct.pack("<2Q", at, length // SECTOR) for at, length in parts).ljust(SECTOR, b"\0"))
        for at, length in parts:
            whole.seek(at)
            disk.write(whole.read(length))
        cylinders = -(-disk.tell() // CYLINDER)
        disk.truncate(cylinders * CYLINDER)
        results = boot(folder, cylinders, cases * RESULT_SIZE, 60 + cases / 500)
        whole.seek(RESULTS)
        whole.write(results)
        whole.seek(PARAMETERS + 24)
        whole.write((len(results) // RESULT_SIZE).to_bytes(8, "little"))
    judged = subprocess.run([folder / "bulk", "judge", *arguments], capture_output=True, text=True, check=False)
    report = qemu.Report(first=judged.stderr, model="Bochs, Tiger Lake")
    for line in judged.stdout.splitlines():
        name, number = line.split()
        report.counts[name] = int(number)
    return report


def run(cases: int, seed: int, csrc: Path = qemu.CSRC) -> Any:
    total = qemu.Report(model="Bochs, Tiger Lake")
    started = time.perf_counter()
    shared = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory() as name, tempfile.NamedTemporaryFile(dir=shared) as memory:
        folder = Path(name)
        build(folder, csrc)
        memory.truncate(qemu.MEMORY)
        while total.counts["cases"] < cases and total.agrees:
            size = min(BATCH, cases - total.counts["cases"])
            report = batch(folder, Path(memory.name), size, seed)
            if not report.agrees:
                total.first = f"seed {seed}\n{report.first}"
            total.counts += report.counts
            seed += 1
    total.seconds = time.perf_counter() - started
    return total


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=BATCH)
    parser.add_argument("--seed", type=int, default=2007)
    options = parser.parse_args()
    if lacking():
        print(f"{lacking()} is not installed", file=sys.stderr)
        return 2
    print(f"seed {options.seed}")
    report = run(options.cases, options.seed)
    print(report)
    return 0 if report.agrees else 1


if __name__ == "__main__":
    sys.exit(main())
