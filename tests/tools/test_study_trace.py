"""Trace files: the packaged one, the same in every form numpy writes, and every way a file can be no trace."""

from __future__ import annotations

import io
import random
import struct
import zipfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from xenmmu._core import ffi
from xenmmu.errors import BadArgument
from xenmmu.study import trace

TYPES = {"t_us": "<u4", "pid": "<u4", "kind": "|u1", "aux": "|u1", "a": "<u8", "b": "<u8"}
CODES = {"t_us": "I", "pid": "I", "kind": "B", "aux": "B", "a": "Q", "b": "Q"}
# t_us, pid, kind, aux, a, b: a fault, a fork, a fault of the child, its exit.
EVENTS = [(0, 7, 0, 6, 0x7F1234567000, 0), (5, 7, 2, 0, 8, 0), (6, 8, 0, 4, 0x401000, 0), (9, 8, 5, 0, 0, 0)]


def npy(name: str, values: list[int], *, descr: object = None, version: int = 1, shape: object = None) -> bytes:
    """An .npy file written by hand, so that any part of it can be wrong."""
    header = repr(
        {
            "descr": TYPES[name] if descr is None else descr,
            "fortran_order": False,
            "shape": (len(values),) if shape is None else shape,
        }
    )
    raw = (header + "\n").encode("utf-8" if version == 3 else "latin-1")
    size = struct.pack("<H" if version == 1 else "<I", len(raw))
    return b"\x93NUMPY" + bytes([version, 0]) + size + raw + struct.pack(f"<{len(values)}{CODES[name]}", *values)


def members(events: Sequence[tuple[int, ...]] = EVENTS) -> dict[str, bytes]:
    """The arrays of a trace of these events."""
    return {name: npy(name, [event[i] for event in events]) for i, name in enumerate(TYPES)}


def write(path: Path, arrays: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    """An archive of these members."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in arrays.items():
            archive.writestr(f"{name}.npy", data)
    return path


def rejected(path: Path) -> str:
    """The message of the refusal: one line that names the file, and a BadArgument."""
    with pytest.raises(trace.BadTrace) as caught:
        trace.load(path)
    message = str(caught.value)
    assert isinstance(caught.value, BadArgument)
    assert str(path) in message and "\n" not in message
    return message


def unpacked(found: trace.Trace) -> list[tuple[int, ...]]:
    """The events as the C core sees them."""
    events = ffi.from_buffer("struct xm_event[]", found.events)
    return [(e.t_us, e.pid, e.kind, e.aux, e.a, e.b) for e in events]


def test_packaged_trace_is_the_recorded_one() -> None:
    found = trace.load()
    assert found.count == 634_930 and found.processes == 2_378
    assert dict(zip(trace.KINDS, found.kinds, strict=True)) == {
        "fault": 569_143,
        "kfault": 14_418,
        "fork": 2_140,
        "vfork": 237,
        "exec": 1_475,
        "exit": 2_377,
        "mmap": 27_821,
        "munmap": 2_048,
        "mprotect": 7_479,
        "brk": 7_792,
    }
    assert len(found.events) == found.count * trace.EVENT_SIZE


def test_packaged_trace_fits_its_budget() -> None:
    path = Path(trace.__file__).parents[1] / "data" / "make-libmd.npz"
    assert path.stat().st_size <= 2 << 20


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_events_arrive_field_by_field(tmp_path: Path, compression: int) -> None:
    found = trace.load(write(tmp_path / "t.npz", members(), compression))
    assert unpacked(found) == EVENTS
    assert found.count == 4 and found.processes == 2 and found.microseconds == 9


def test_files_written_by_numpy(tmp_path: Path) -> None:
    np = pytest.importorskip("numpy")
    columns = {name: np.array([e[i] for e in EVENTS], TYPES[name]) for i, name in enumerate(TYPES)}
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "n.npz", **columns)
        assert unpacked(trace.load(tmp_path / "n.npz")) == EVENTS


def test_numpy_reads_the_packaged_file() -> None:
    np = pytest.importorskip("numpy")
    found = trace.load()
    path = Path(trace.__file__).parents[1] / "data" / "make-libmd.npz"
    with np.load(path) as arrays:
        assert sorted(arrays.files) == sorted(TYPES)
        columns = {name: arrays[name] for name in TYPES}
    events = ffi.from_buffer("struct xm_event[]", found.events)
    for i in random.Random(1).sample(range(found.count), 500):
        for name, column in columns.items():
            assert getattr(events[i], name) == int(column[i])


@pytest.mark.parametrize("version", [1, 2, 3])
def test_every_version_of_the_header(tmp_path: Path, version: int) -> None:
    arrays = members()
    arrays["pid"] = npy("pid", [e[1] for e in EVENTS], version=version)
    assert unpacked(trace.load(write(tmp_path / "t.npz", arrays))) == EVENTS


def test_an_extra_array_is_no_harm(tmp_path: Path) -> None:
    assert trace.load(write(tmp_path / "t.npz", {**members(), "more": b"anything"})).count == 4


@pytest.mark.parametrize("name", list(TYPES))
def test_missing_array(tmp_path: Path, name: str) -> None:
    arrays = members()
    del arrays[name]
    assert f"array {name} is missing" in rejected(write(tmp_path / "t.npz", arrays))


@pytest.mark.parametrize("descr", ["<i4", ">u4", "<u8", "|O", "<f4", "<U7"])
def test_wrong_type(tmp_path: Path, descr: str) -> None:
    arrays = members()
    arrays["pid"] = npy("pid", [1, 2, 3, 4], descr=descr)
    assert "array pid has type" in rejected(write(tmp_path / "t.npz", arrays))


def test_array_of_records(tmp_path: Path) -> None:
    arrays = members()
    arrays["pid"] = npy("pid", [1, 2, 3, 4], descr=[("x", "<u4")])
    assert "records" in rejected(write(tmp_path / "t.npz", arrays))


def test_two_dimensions(tmp_path: Path) -> None:
    arrays = members()
    arrays["a"] = npy("a", [1, 2, 3, 4], shape=(2, 2))
    assert "2 dimensions" in rejected(write(tmp_path / "t.npz", arrays))


def test_unequal_lengths(tmp_path: Path) -> None:
    arrays = members()
    arrays["b"] = npy("b", [0, 0, 0])
    assert "array b has 3 items" in rejected(write(tmp_path / "t.npz", arrays))


@pytest.mark.parametrize("shape", [(5,), (3,), (1 << 60,), (-1,), (True,), ("4",), 4])
def test_header_that_disagrees_with_the_data(tmp_path: Path, shape: object) -> None:
    arrays = members()
    arrays["t_us"] = npy("t_us", [0, 5, 6, 9], shape=shape)
    rejected(write(tmp_path / "t.npz", arrays))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x93NUMPY",
        b"PK not an array",
        b"\x93NUMPY\x04\x00\x00\x00\x00\x00",
        b"\x93NUMPY\x01\x00\xff\xff{",
        b"\x93NUMPY\x02\x00\xff\xff\xff\xff{",
        b"\x93NUMPY\x01\x00\x03\x00{{{",
        b"\x93NUMPY\x01\x00\x02\x00[]",
        b"\x93NUMPY\x01\x00\x0d\x00{'shape':(4,)}",
        b"\x93NUMPY\x03\x00\x02\x00\x00\x00\xff\xfe",
    ],
)
def test_member_that_is_no_array(tmp_path: Path, data: bytes) -> None:
    assert "array kind" in rejected(write(tmp_path / "t.npz", {**members(), "kind": data}))


def test_no_event(tmp_path: Path) -> None:
    assert "no event" in rejected(write(tmp_path / "t.npz", members([])))


def test_unknown_kind(tmp_path: Path) -> None:
    message = rejected(write(tmp_path / "t.npz", members([*EVENTS, (10, 7, 10, 0, 0, 0)])))
    assert "event 4 has the unknown kind 10" in message


@pytest.mark.parametrize("child", [0, 1 << 32])
def test_fork_of_an_impossible_child(tmp_path: Path, child: int) -> None:
    assert "event 0 forks" in rejected(write(tmp_path / "t.npz", members([(0, 7, 2, 0, child, 0)])))


def test_too_many_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "MAX_EVENTS", 3)
    assert "at most 3" in rejected(write(tmp_path / "t.npz", members()))


def test_files_that_are_no_archive(tmp_path: Path) -> None:
    for name, data in (("empty", b""), ("text", b"hello\n" * 100), ("elf", b"\x7fELF" + bytes(500))):
        (tmp_path / name).write_bytes(data)
        rejected(tmp_path / name)
    rejected(tmp_path / "nothing there")
    rejected(tmp_path)


def test_encrypted_or_unknown_compression(tmp_path: Path) -> None:
    raw = bytearray(write(tmp_path / "t.npz", members()).read_bytes())
    first = raw.index(b"PK\x01\x02")
    for offset, value in ((8, 1), (10, 97)):
        bad = bytearray(raw)
        bad[first + offset] = value
        bad[offset - 2] = value
        (tmp_path / "bad.npz").write_bytes(bad)
        rejected(tmp_path / "bad.npz")


def test_every_truncation_and_many_damages_are_one_line(tmp_path: Path) -> None:
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA):
        raw = write(tmp_path / "t.npz", members(), compression).read_bytes()
        path = tmp_path / "bad.npz"
        for cut in range(0, len(raw), 7):
            path.write_bytes(raw[:cut])
            rejected(path)
        chance = random.Random(20071127)
        for _ in range(300):
            bad = bytearray(raw)
            for _ in range(chance.choice((1, 1, 2, 5))):
                bad[chance.randrange(len(bad))] = chance.randrange(256)
            path.write_bytes(bad)
            try:
                trace.load(path)
            except trace.BadTrace as error:
                assert "\n" not in str(error)


def test_repacking_keeps_every_byte(tmp_path: Path) -> None:
    tool = Path(__file__).parents[2] / "tools" / "pack_trace.py"
    if not tool.exists():
        pytest.skip("the repository's tools are not beside the tests")
    space: dict[str, object] = {"__name__": "pack_trace"}
    exec(compile(tool.read_text(encoding="utf-8"), str(tool), "exec"), space)
    source = write(tmp_path / "t.npz", members(), zipfile.ZIP_DEFLATED)
    for target in (tmp_path / "one.npz", tmp_path / "two.npz"):
        space["repack"](source, target)  # type: ignore[operator]
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(io.BytesIO((tmp_path / "one.npz").read_bytes())) as new:
        assert {i.filename: old.read(i) for i in old.infolist()} == {i.filename: new.read(i) for i in new.infolist()}


def timed(events: list[tuple[int, int]]) -> trace.Trace:
    """A trace of faults at these times by these processes, the number of the event as address."""
    rows = [(t, pid, 0, 4, i, 0) for i, (t, pid) in enumerate(events)]
    return trace._summary("t", trace._pack(zipfile.ZipFile(io.BytesIO(archived(rows)))))


def archived(rows: Sequence[tuple[int, ...]]) -> bytes:
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w") as archive:
        for name, data in members(rows).items():
            archive.writestr(f"{name}.npy", data)
    return raw.getvalue()


def order(found: trace.Trace) -> list[int]:
    return [event[4] for event in unpacked(found)]


def test_one_processor_keeps_a_process_until_it_pauses() -> None:
    alternating = timed([(0, 1), (1, 2), (2, 1), (3, 2), (4, 1)])
    assert order(alternating.one_processor()) == [0, 2, 4, 1, 3]
    # Process 1 pauses, as if it waited: process 2 runs in between.
    waiting = timed([(0, 1), (10, 2), (20, 2), (trace.PAUSE + 1, 1)])
    assert order(waiting.one_processor()) == [0, 1, 2, 3]


def test_one_processor_ends_a_slice() -> None:
    step = trace.PAUSE
    events = [(i * step, 1 + i % 2) for i in range(2 * trace.SLICE // step)]
    found = order(timed(events).one_processor())
    switches = sum(a % 2 != b % 2 for a, b in pairwise(found))
    assert switches >= 3 and sorted(found) == list(range(len(events)))


def test_one_processor_keeps_every_event_and_the_order_within_a_process() -> None:
    packaged = trace.load()
    start = 200_000
    part = trace._summary("part", bytearray(packaged.slice(start, start + 20_000)))
    serial = part.one_processor()
    assert sorted(unpacked(serial)) == sorted(unpacked(part))
    for pid in {event[1] for event in unpacked(part)}:
        mine = [event for event in unpacked(part) if event[1] == pid]
        assert [event for event in unpacked(serial) if event[1] == pid] == mine

    def switches(found: trace.Trace) -> int:
        pids = [event[1] for event in unpacked(found)]
        return sum(a != b for a, b in pairwise(pids))

    assert switches(serial) < switches(part)
