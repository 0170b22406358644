"""Recorded histories of processes: reads a trace file into the events that the emulated kernel replays.

A trace is a numpy ``.npz`` archive of six parallel one-dimensional arrays, in order of time: ``t_us`` u4, ``pid`` u4,
``kind`` u1, ``aux`` u1, ``a`` u8, ``b`` u8 (their meaning is in data/README.md).  It is read with the standard library
alone: a zip archive of members ``NAME.npy``, each a header (numpy's format description, versions 1 to 3) and the bytes.
This file knows the file format; what an event does to a pmap it does not know.
"""

from __future__ import annotations

import ast
import lzma
import struct
import zipfile
import zlib
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import IO, Literal

from xenmmu._core import ffi
from xenmmu.errors import BadArgument

#: Names of the event kinds, by number.
KINDS = ("fault", "kfault", "fork", "vfork", "exec", "exit", "mmap", "munmap", "mprotect", "brk")
#: The arrays of a trace: name, item size in bytes, the type codes numpy writes for it, memoryview's format code.
ARRAYS: tuple[tuple[str, int, tuple[str, ...], Literal["B", "I", "Q"]], ...] = (
    ("t_us", 4, ("<u4",), "I"),
    ("pid", 4, ("<u4",), "I"),
    ("kind", 1, ("|u1", "<u1"), "B"),
    ("aux", 1, ("|u1", "<u1"), "B"),
    ("a", 8, ("<u8",), "Q"),
    ("b", 8, ("<u8",), "Q"),
)
#: Events a trace may hold: keeps a crafted archive from eating the host's memory.
MAX_EVENTS = 1 << 24
#: Bytes of one event (struct xm_event).
EVENT_SIZE: int = ffi.sizeof("struct xm_event")
#: Microseconds: of pause after which a process gives up the processor, and for which it may keep it (the round-robin
#: slice of NetBSD's 4.4BSD scheduler).  From 50 us to 10 ms of pause the number of switches changes by a factor of two.
PAUSE = 200
SLICE = 100_000

_MAGIC = b"\x93NUMPY"
_MAX_HEADER = 1 << 16
_FORK_KINDS = (KINDS.index("fork"), KINDS.index("vfork"))


class BadTrace(BadArgument):
    """A file that is no trace: the message names the file and what is wrong with it, in one line."""


@dataclass(frozen=True, slots=True)
class Trace:
    """A history: `events` is an array of struct xm_event in order of time, `count` their number."""

    name: str
    events: bytearray
    count: int
    #: Number of events of each kind, in the order of KINDS.
    kinds: tuple[int, ...]
    #: Processes that appear, as actor or as child.
    processes: int
    #: Time from the first event to the last.
    microseconds: int

    def one_processor(self) -> Trace:
        """The same events in an order that one processor could have run them in.

        The recorded machine had two, so two processes take turns event by event, which a kernel on one processor would
        see as that many switches.  Here a process keeps the processor until it pauses for PAUSE or has had it for
        SLICE, and then the one that was due first goes on; the order within each process is kept.
        """
        pids, times = self._column("pid"), self._column("t_us")
        bursts: list[list[int]] = []
        current: dict[int, list[int]] = {}
        for i, (pid, now) in enumerate(zip(pids, times, strict=True)):
            burst = current.get(pid)
            if burst is None or now - times[burst[-1]] > PAUSE or now - times[burst[0]] > SLICE:
                burst = current[pid] = []
                bursts.append(burst)
            burst.append(i)
        events = bytearray()
        for burst in bursts:
            for i in burst:
                events += self.slice(i, i + 1)
        return replace(self, events=events)

    def _column(self, name: str) -> memoryview:
        """One field of every event."""
        _, size, _, code = next(array for array in ARRAYS if array[0] == name)
        offset = ffi.offsetof("struct xm_event", name)
        return memoryview(self.events).cast(code)[offset // size :: EVENT_SIZE // size]

    def slice(self, start: int, stop: int) -> memoryview:
        """Events number `start` up to `stop`, no copy."""
        return memoryview(self.events)[start * EVENT_SIZE : stop * EVENT_SIZE]


def _header(member: IO[bytes]) -> tuple[str, bool, tuple[int, ...]]:
    """The type code, Fortran order and shape of an .npy member; leaves it at the first byte of the data."""
    start = member.read(8)
    if len(start) < 8 or start[:6] != _MAGIC:
        raise ValueError("is not an .npy array")
    major = start[6]
    if major not in (1, 2, 3):
        raise ValueError(f"has .npy version {major}, not 1 to 3")
    size_format = "<H" if major == 1 else "<I"
    raw = member.read(struct.calcsize(size_format))
    if len(raw) < struct.calcsize(size_format):
        raise ValueError("is cut off in its header")
    (size,) = struct.unpack(size_format, raw)
    if size > _MAX_HEADER:
        raise ValueError(f"has a header of {size} bytes")
    text = member.read(size)
    if len(text) < size:
        raise ValueError("is cut off in its header")
    try:
        header = ast.literal_eval(text.decode("utf-8" if major == 3 else "latin-1").strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise ValueError("has a header that does not parse") from None
    if not isinstance(header, dict) or set(header) != {"descr", "fortran_order", "shape"}:
        raise ValueError("has a header without descr, fortran_order and shape")
    descr, fortran, shape = header["descr"], header["fortran_order"], header["shape"]
    if not isinstance(descr, str):
        raise ValueError("is an array of records")
    if not isinstance(fortran, bool) or not isinstance(shape, tuple):
        raise ValueError("has a header that does not parse")
    if not all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in shape):
        raise ValueError("has a header that does not parse")
    return descr, fortran, shape


def _array(archive: zipfile.ZipFile, name: str, item_size: int, descrs: tuple[str, ...]) -> bytes:
    """The data bytes of one array of the archive, everything about it checked; ValueError says what is wrong."""
    try:
        info = archive.getinfo(f"{name}.npy")
    except KeyError:
        raise ValueError("is missing") from None
    with archive.open(info) as member:
        # One dimension has one order in memory, so the Fortran flag of a vector changes nothing.
        descr, _, shape = _header(member)
        if descr not in descrs:
            raise ValueError(f"has type {descr[:20]}, not {descrs[0]}")
        if len(shape) != 1:
            raise ValueError(f"has {len(shape)} dimensions, not 1")
        if shape[0] > MAX_EVENTS:
            raise ValueError(f"has {shape[0]} items; at most {MAX_EVENTS} are read")
        data = member.read(shape[0] * item_size)
        if len(data) < shape[0] * item_size:
            raise ValueError(f"holds {len(data)} bytes of data, its header promises {shape[0] * item_size}")
        if member.read(1):
            raise ValueError("is longer than its header says")
        return data


def _pack(archive: zipfile.ZipFile) -> bytearray:
    """All arrays of the archive woven into events; ValueError says what is wrong."""
    events = bytearray()
    count = 0
    for number, (name, item_size, descrs, code) in enumerate(ARRAYS):
        try:
            data = _array(archive, name, item_size, descrs)
        except ValueError as error:
            raise ValueError(f"array {name} {error}") from None
        if number == 0:
            count = len(data) // item_size
            events = bytearray(count * EVENT_SIZE)
        elif len(data) != count * item_size:
            raise ValueError(f"array {name} has {len(data) // item_size} items, array {ARRAYS[0][0]} has {count}")
        offset = ffi.offsetof("struct xm_event", name)
        if count:
            column = memoryview(events).cast(code)[offset // item_size :: EVENT_SIZE // item_size]
            column[:] = memoryview(data).cast(code)
    return events


def _summary(name: str, events: bytearray) -> Trace:
    """What a trace holds; ValueError when it holds no event or one of an unknown kind."""
    count = len(events) // EVENT_SIZE
    if not count:
        raise ValueError("holds no event")
    trace = Trace(name, events, count, (), 0, 0)
    kind = bytes(trace._column("kind"))
    kinds = tuple(kind.count(k) for k in range(len(KINDS)))
    if sum(kinds) != count:
        at = next(i for i, k in enumerate(kind) if k >= len(KINDS))
        raise ValueError(f"event {at} has the unknown kind {kind[at]}")
    times, a = trace._column("t_us"), trace._column("a")
    processes = set(trace._column("pid"))
    at = -1
    for fork in _FORK_KINDS:
        while (at := kind.find(fork, at + 1)) >= 0:
            if not 0 < a[at] < 1 << 32:
                raise ValueError(f"event {at} forks a child with the pid {a[at]:#x}")
            processes.add(a[at])
    return replace(trace, kinds=kinds, processes=len(processes), microseconds=max(times) - min(times))


def load(path: str | Path | None = None) -> Trace:
    """Read a trace file, or the one that ships with the package when `path` is None.

    Raises BadTrace, with one line that names the file, for anything that is not a trace: no zip archive, a damaged
    one, an array missing or of another type, shape or length, a kind of event that does not exist, no event at all.
    """
    if path is None:
        with resources.as_file(resources.files("xenmmu") / "data" / "make-libmd.npz") as packaged:
            return load(packaged)
    path = Path(path)
    try:
        file = path.open("rb")
    except OSError as error:
        raise BadTrace(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise BadTrace(f"{str(path)!r}: {error}") from None
    with file:
        try:
            with zipfile.ZipFile(file) as archive:
                return _summary(path.name, _pack(archive))
        except (OSError, EOFError, zlib.error, lzma.LZMAError, struct.error):
            # zipfile seeks to where a damaged directory sends it, so an OSError here is the file's content too.
            raise BadTrace(f"{path}: not a trace: the archive is damaged or cut off") from None
        except (zipfile.BadZipFile, ValueError, NotImplementedError, RuntimeError) as error:
            raise BadTrace(f"{path}: not a trace: {error}") from None
