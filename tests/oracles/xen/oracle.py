"""Real Xen in QEMU as a server: one boot, then lists of operations in and outcomes out through the guest's memory.

Knows: QEMU's command line, the mailbox of guest/abi.h, where Xen 4.17 keeps its frame table.
Does not know: what the operations mean.
"""

from __future__ import annotations

import gzip
import mmap
import os
import re
import shutil
import signal
import struct
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
BUILD = HERE.parents[2] / "build" / "oracle"
PACKAGE = "xen-hypervisor-4.17-amd64"

MIB = 1 << 20
RAM = 256 * MIB
PAGE = 4096
POOL = 512
MAX_OPS = 4096
OP = struct.Struct("<HHIQQQQQQQ")
RES = struct.Struct("<qQIIQQQI12x")
_HEADER = struct.Struct("<15Q")
_MEMORY_MFN = 23  # word of the mailbox
FOREIGN_FRAMES, NAMES = 12, 40
_MAGIC = 0x4F52414B4C454E31
_POSTED, _ANSWERED, _OPS, _RESET_POOL = 1, 2, 3, 15
_APPEND = "dom0_mem=64M dom0_max_vcpus=1 loglvl=none guest_loglvl=none com1=115200,8n1 console=com1"
FRAME_TABLE = 0xFFFF82E000000000
RO_M2P = 0xFFFF800000000000
#: Seconds between two looks whether the guest is done, while this process does something else.
_LOOKS = 0.0003


class OracleError(Exception):
    """The oracle cannot be built, does not boot, or has died."""


class Answer(NamedTuple):
    """What became of one operation."""

    rc: int
    done: int
    vector: int
    error_code: int
    value: int
    cr2: int
    readback: int
    user: int


def _run(command: list[str], directory: Path) -> None:
    try:
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise OracleError(f"{command[0]} is not installed") from None
    if done.returncode:
        raise OracleError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")


def fetch_package(build: Path = BUILD) -> Path:
    """Download and unpack Debian's hypervisor package below `build`; return Xen as QEMU's multiboot loader takes it."""
    xen = build / "xen.elf"
    if xen.exists():
        return xen
    build.mkdir(parents=True, exist_ok=True)
    if not list(build.glob(f"{PACKAGE}_*.deb")):
        _run(["apt-get", "-q", "download", PACKAGE], build)
    deb = sorted(build.glob(f"{PACKAGE}_*.deb"))[-1]
    _run(["dpkg-deb", "-x", str(deb), str(build / "unpacked")], build)
    packed = next((build / "unpacked" / "boot").glob("xen-4.17-amd64.gz"))
    partial = xen.with_suffix(".partial")
    partial.write_bytes(gzip.decompress(packed.read_bytes()))
    partial.rename(xen)
    return xen


def build_guest(build: Path = BUILD) -> Path:
    """Compile the guest below `build`."""
    command = ["make", "-s", "-C", str(HERE), f"BUILD={build}"]
    _run(command, build)
    return build / "guest.elf"


class Oracle:
    """A booted Xen with the guest waiting for operations.  Use as a context manager."""

    _words: memoryview

    def __init__(self, build: Path = BUILD, qemu: str = "qemu-system-x86_64", options: str = "") -> None:
        """`options`: more of Xen's boot options."""
        self.build = build.resolve()
        if shutil.which(qemu) is None:
            raise OracleError(f"{qemu} is not installed: apt-get install qemu-system-x86")
        self._qemu, self._options = qemu, options
        self._xen, self._guest = fetch_package(self.build), build_guest(self.build)
        self._process: subprocess.Popen[bytes] | None = None
        self._ram: mmap.mmap | None = None
        self._running = False
        self.boots = 0
        #: The hypervisor package's.
        self.version = sorted(self.build.glob(f"{PACKAGE}_*.deb"))[-1].name.split("_")[1]

    def __enter__(self) -> Oracle:
        self.boot()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # ---- life

    def boot(self, timeout: float = 60.0) -> None:
        """Start, or start again; returns when the guest waits for operations."""
        self.stop()
        ram = self.build / f"ram.{os.getpid()}"
        self._serial = self.build / f"serial.{os.getpid()}"
        self._serial.write_bytes(b"")
        command = [
            # While it waits by looking, whoever could stop it must not wait for a processor.
            *("nice", "-n", "10", self._qemu, "-accel", "tcg", "-cpu", "max,-smap", "-nodefaults"),
            *("-no-user-config", "-display", "none", "-no-reboot", "-m", str(RAM // MIB), "-smp", "1"),
            *("-object", f"memory-backend-file,id=ram,size={RAM},mem-path={ram},share=on"),
            *("-machine", "pc,memory-backend=ram", "-serial", f"file:{self._serial}"),
            *("-kernel", str(self._xen), "-initrd", str(self._guest)),
            *("-append", f"{_APPEND} {self._options}"),
        ]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.boots += 1
        try:
            mailbox = self._wait_for_guest(time.monotonic() + timeout)
            with ram.open("r+b") as file:
                self._ram = mmap.mmap(file.fileno(), RAM)
        finally:
            ram.unlink(missing_ok=True)
        self._read_mailbox(self._ram, mailbox * PAGE)

    def stop(self) -> None:
        """End QEMU."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        self._running = False
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            self._serial.unlink(missing_ok=True)
        if self._ram is not None:
            self._words.release()
            self._ram.close()
            self._ram = None

    def console(self) -> str:
        """Return what Xen and the guest printed."""
        return self._serial.read_text("latin-1")

    def _wait_for_guest(self, deadline: float) -> int:
        assert self._process is not None
        while time.monotonic() < deadline:
            found = re.search(r"oracle: mailbox ([0-9a-f]{16})\s", self.console())
            if found:
                return int(found.group(1), 16)
            self._check_alive()
            time.sleep(0.02)
        raise OracleError(f"no guest within the time allowed; console:\n{self.console()[-2000:]}")

    def _check_alive(self) -> None:
        assert self._process is not None
        text = self.console()
        if self._process.poll() is not None or re.search(r"oracle: dead|Panic on CPU|FATAL|Assertion|crashed", text):
            raise OracleError(f"the oracle has died; console:\n{text[-3000:]}")

    def _read_mailbox(self, ram: mmap.mmap, at: int) -> None:
        self._mailbox = at
        # A word at a time, as struct does not: the guest reads while we write.
        self._words = memoryview(ram)[at : at + 128].cast("Q")
        words = _HEADER.unpack_from(ram, at)
        if words[0] != _MAGIC:
            raise OracleError("the mailbox is not where the guest said")
        ops, results, pool = words[4:7]
        self._ops_at, self._results_at = ops * PAGE, results * PAGE
        self.boot_l4, self.boot_l4_va, self.shared_info, self.scratch, self.scratch_va = words[7:12]
        self.stub_l3, self.stub, self.ud = words[12:15]
        self.pool = struct.unpack_from(f"<{POOL}Q", ram, pool * PAGE)
        # struct memory_page: frames of the other domain, the free frame, whether the former are used, the names
        self._memory = self.read64(at + _MEMORY_MFN * 8) * PAGE
        self.foreign = struct.unpack_from(f"<{FOREIGN_FRAMES}Q", ram, self._memory)
        self._posted = 0
        self._frames: dict[int, int] = {}
        # One 2-MiB page of it covers 1 GiB of memory.
        self._m2p = self.translate(RO_M2P)

    # ---- operations

    def post(self, records: bytes | bytearray) -> None:
        """Hand over packed operations (guest/abi.h); the guest begins at once."""
        assert self._ram is not None
        count = len(records) // OP.size
        if count > MAX_OPS:
            raise OracleError(f"{count} operations at once, more than {MAX_OPS}")
        self._ram[self._ops_at : self._ops_at + len(records)] = bytes(records)
        self._words[_OPS] = count
        self._posted += 1
        self._words[_POSTED] = self._posted
        self._resume()

    def _resume(self) -> None:
        """Let QEMU run until the answer is there.

        The guest waits by looking, which would take the processor from others, and so would a thread that looks after
        it.  A timer interrupts whatever this process does meanwhile.
        """
        assert self._process is not None
        self._running = True
        os.kill(self._process.pid, signal.SIGCONT)
        signal.signal(signal.SIGALRM, self._look)
        signal.setitimer(signal.ITIMER_REAL, _LOOKS, _LOOKS)

    def _look(self, *_: object) -> None:
        if self._running and self._words[_ANSWERED] == self._posted:
            assert self._process is not None
            self._running = False
            os.kill(self._process.pid, signal.SIGSTOP)
            signal.setitimer(signal.ITIMER_REAL, 0)

    def wait(self, timeout: float = 20.0) -> None:
        """Wait until the guest has done what was posted."""
        deadline, pause = time.monotonic() + timeout, 0.0001
        while self._running:
            time.sleep(pause)
            self._look()
            pause = min(pause * 1.2, 0.01)
            if pause == 0.01:
                self._check_alive()
                if time.monotonic() > deadline:
                    raise OracleError("the oracle does not answer")

    def answers(self, count: int) -> list[Answer]:
        """Read the outcomes of the first `count` records of the list posted last."""
        assert self._ram is not None
        data = self._ram[self._results_at : self._results_at + count * RES.size]
        return list(map(Answer._make, RES.iter_unpack(data)))

    def set_reset_pool(self, frames: Iterable[int]) -> None:
        """Say which frames of the pool, by index, OP_RESET brings back to the base state."""
        assert self._ram is not None
        mask = sum(1 << i for i in frames)
        at = self._mailbox + _RESET_POOL * 8
        self._ram[at : at + POOL // 8] = mask.to_bytes(POOL // 8, "little")

    def _write64(self, pa: int, word: int) -> None:
        assert self._ram is not None
        struct.pack_into("<Q", self._ram, pa, word)

    def set_free_frame(self, mfn: int) -> None:
        """Say which frame is free, for names of frames that went back and came again under another."""
        self._write64(self._memory + FOREIGN_FRAMES * 8, mfn)

    def set_foreign_used(self, used: bool) -> None:
        """Say whether OP_RESET has to look at the other domain's frames."""
        self._write64(self._memory + FOREIGN_FRAMES * 8 + 8, used)

    def names(self) -> tuple[int, ...]:
        """Return the frames that the program got, by the numbers of their names; 0: not given out."""
        assert self._ram is not None
        return struct.unpack_from(f"<{NAMES}Q", self._ram, self._memory + FOREIGN_FRAMES * 8 + 16)

    # ---- memory

    def read64(self, pa: int) -> int:
        """Read a word of machine memory."""
        assert self._ram is not None
        word: int = struct.unpack_from("<Q", self._ram, pa)[0]
        return word

    def frame(self, mfn: int) -> bytes:
        """Return the contents of a frame."""
        assert self._ram is not None
        return self._ram[mfn * PAGE : (mfn + 1) * PAGE]

    def m2p(self, mfn: int) -> int:
        """Return the machine-to-physical table's word for a frame."""
        return self.read64(self._m2p + 8 * mfn)

    def translate(self, va: int) -> int:
        """Translate an address by the boot L4, Xen's own slots included."""
        table = self.boot_l4
        for level in (4, 3, 2, 1):
            entry = self.read64(table * PAGE + (va >> (3 + 9 * level) & 511) * 8)
            if not entry & 1:
                raise OracleError(f"{va:#x} is not mapped at level {level}")
            frame = entry & 0xFFFFFFFFFF000
            if level == 1 or entry & 0x80:
                size = 1 << (3 + 9 * level)
                return (frame & ~(size - 1)) | va & (size - 1)
            table = frame // PAGE
        raise AssertionError

    def page_info(self, mfn: int) -> tuple[int, int, int]:
        """Return count_info, type_info and the owner's word of Xen's struct page_info for frame `mfn`."""
        assert self._ram is not None
        at = self._frames.get(mfn)
        if at is None:
            at = self._frames[mfn] = self.translate(FRAME_TABLE + 32 * mfn)
        count, type_, owner, _ = struct.unpack_from("<QQII", self._ram, at + 8)
        return count, type_, owner
