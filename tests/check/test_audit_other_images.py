"""Images of other kinds than the recorded ones: several domains and processors, other layouts of the file, damage.

`oracle-*.elf.xz` are of the tests' own guest on real Xen 4.17 (tests/oracles/xen), stopped after random programs: all
validated tables, Xen's frame table and the tables that lead to it.
"""

from __future__ import annotations

import contextlib
import functools
import random
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from xenmmu import XenMMUError, check
from xenmmu.elfcore import BadImage, Core
from xenmmu.xen import MMUEXT_UNPIN_TABLE, Hypervisor, MmuextOp, PageType

DATA = Path(__file__).resolve().parents[1] / "data"
FRAME_TABLE = 0xFFFF82E000000000

Frames = dict[int, bytes]
Runs = Sequence[tuple[int, int]]


@functools.cache
def core(name: str) -> Core:
    return Core(DATA / f"{name}.elf.xz")


def frames_of(image: Core) -> Frames:
    return {s.mfn + i: bytes(s.data[i << 12 : (i + 1) << 12]) for s in image.segments for i in range(len(s.data) >> 12)}


def write(path: Path, image: Core, frames: Mapping[int, bytes], runs: Runs | None = None, tail: int = 0) -> Path:
    """An image with these frames; `runs`: first frame and frames of each segment; `tail`: bytes beyond p_filesz."""
    assert image.registers is not None
    runs = [(mfn, 1) for mfn in frames] if runs is None else runs
    note = struct.pack("<III8s6Q", 7, 48, 1, b"XENMMU", *(r or 0 for r in image.registers))
    at = (64 + 56 * (len(runs) + 1) + len(note) + 4095) // 4096 * 4096
    head = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 4, 62, 1, 0, 64, 0, 0, 64, 56, len(runs) + 1, 0, 0, 0)
    head += struct.pack("<IIQQQQQQ", 4, 0, 64 + 56 * (len(runs) + 1), 0, 0, len(note), len(note), 0)
    body = b""
    parts = []
    for mfn, n in runs:
        head += struct.pack("<IIQQQQQQ", 1, 0, at, 0, mfn << 12, n << 12, (n << 12) + tail, 0)
        parts.append(b"".join(frames[mfn + i] for i in range(n)))
        at += n << 12
    body = b"".join(parts)
    path.write_bytes((head + note).ljust(at - len(body), b"\0") + body)
    return path


def record_at(image: Core, frames: Frames, mfn: int) -> tuple[int, int]:
    """Frame and offset of a frame's record in Xen's frame table."""
    assert image.registers is not None
    va, table = FRAME_TABLE + 32 * mfn, image.registers.cr3 >> 12
    for level in (4, 3, 2, 1):
        (entry,) = struct.unpack_from("<Q", frames[table], (va >> (3 + 9 * level) & 511) * 8)
        table = entry >> 12 & (1 << 40) - 1
        if entry & 0x80:
            assert level == 2
            return table + (va >> 12 & 511), va & 4095
    return table, va & 4095


def add(image: Core, frames: Frames, mfn: int, refs: int, types: int) -> None:
    table, offset = record_at(image, frames, mfn)
    page = bytearray(frames[table])
    count, kind = struct.unpack_from("<QQ", page, offset + 8)
    struct.pack_into("<QQ", page, offset + 8, count + refs, kind + types)
    frames[table] = bytes(page)


def whats(hv: Hypervisor) -> dict[str, set[int]]:
    out: dict[str, set[int]] = {}
    for u in check.unnamed_references(hv):
        out.setdefault(u.what, set()).add(u.mfn)
    return out


# ---- what else was running ----------------------------------------------------------------------------------------


def test_two_domains_and_a_validation_that_was_interrupted() -> None:
    hv = Hypervisor.from_image(core("oracle-interrupted"))
    assert [d.domid for d in hv.domains] == [0, 1]
    assert check.audit(hv) == []
    owned = [sum(hv.frame_info(mfn).owner == d for mfn in range(hv.machine.frames)) for d in (0, 1)]
    assert owned[0] > 16_000
    assert owned[1] > 50
    (partial,) = whats(hv)["validation that was interrupted"]
    info = hv.frame_info(partial)
    assert (info.partial, info.validated, info.type, info.type_count) == (True, False, PageType.L2, 1)


def test_a_descriptor_page_that_was_given_up_and_a_grant_that_nothing_shows() -> None:
    hv = Hypervisor.from_image(core("oracle-given-up"))
    (given_up,) = whats(hv)["descriptor page of set_gdt or of the LDT"]
    info = hv.frame_info(given_up)
    assert (info.allocated, info.count, info.type_count) == (False, 1, 1)
    # A frame mapped three times by grant as device memory: two writable, which both counts show, and one read-only.
    (violation,) = check.audit(hv)
    assert violation.invariant == "I-GCOUNT"
    assert "general count is 7, the bytes hold 6" in violation.message
    assert whats(hv)["page registered by hypercall"] == {violation.mfn}


def test_a_plain_domain_has_no_privilege_and_can_be_acted_on() -> None:
    hv = Hypervisor.from_image(core("oracle-interrupted"))
    dom0, other = hv.domains
    assert (other.kernel_root, other.user_root) == (0, 0)
    frame = next(m for m in range(hv.machine.frames) if hv.frame_info(m).owner == 1 and not hv.frame_info(m).xen_heap)
    assert dom0.mmuext_op([MmuextOp(MMUEXT_UNPIN_TABLE, frame)], foreigndom=1).rc == -22
    assert other.mmuext_op([MmuextOp(MMUEXT_UNPIN_TABLE, frame)]).rc == -22
    assert check.audit(hv) == []


def test_roots_of_other_processors(tmp_path: Path) -> None:
    image = core("live-dom0.t0")
    hv, frames = Hypervisor.from_image(image), frames_of(image)
    before = hv.domains[0]
    spare = [
        mfn
        for mfn in range(hv.machine.frames)
        if hv.frame_info(mfn).pinned
        and hv.frame_info(mfn).type == PageType.L4
        and mfn not in (before.kernel_root, before.user_root)
    ]
    kernel, user = (
        next(m for m in spare if bool(struct.unpack_from("<Q", frames[m], 2048)[0]) is shown) for shown in (True, False)
    )
    for mfn in (kernel, user):
        add(image, frames, mfn, 1, 1)
    hv = Hypervisor.from_image(write(tmp_path / "two.elf", image, frames))
    assert check.audit(hv) == []
    assert whats(hv)["root of another processor"] == {kernel, user}
    after = hv.domains[0]
    assert (after.kernel_root, after.user_root, after.user_mode) == (before.kernel_root, before.user_root, False)
    add(image, frames, kernel, 0, 1)
    hv = Hypervisor.from_image(write(tmp_path / "wrong.elf", image, frames))
    assert {(v.invariant, v.mfn) for v in check.audit(hv)} == {("I-GCOUNT", kernel)}


def test_the_lock_of_a_frame_is_no_state(tmp_path: Path) -> None:
    image = core("oracle-interrupted")
    frames = frames_of(image)
    add(image, frames, Hypervisor.from_image(image).domains[0].kernel_root, 0, 1 << 55)
    hv = Hypervisor.from_image(write(tmp_path / "locked.elf", image, frames))
    assert check.audit(hv) == []
    assert not hv.frame_info(hv.domains[0].kernel_root).type_info >> 55 & 1


# ---- other layouts of the file ------------------------------------------------------------------------------------


def runs_of(frames: Frames) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for mfn in sorted(frames):
        if runs and sum(runs[-1]) == mfn:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((mfn, 1))
    return runs


def shuffled(runs: Runs) -> Runs:
    out = list(runs)
    random.Random(1).shuffle(out)
    return out


@pytest.mark.parametrize(
    ("change", "tail"),
    [
        (runs_of, 0),
        (lambda f: [(m, 1) for m in sorted(f)], 0),
        (lambda f: shuffled(runs_of(f)), 0),
        (lambda f: shuffled([(m, 1) for m in f]), 0),
        (runs_of, 1 << 20),
    ],
    ids=["merged", "split", "out of order", "split and out of order", "more memory than file"],
)
def test_the_layout_of_the_file_does_not_matter(change: Callable[[Frames], Runs], tail: int, tmp_path: Path) -> None:
    image = core("oracle-interrupted")
    frames = frames_of(image)
    hv = Hypervisor.from_image(write(tmp_path / "image.elf", image, frames, change(frames), tail))
    assert check.audit(hv) == []
    assert whats(hv) == whats(Hypervisor.from_image(image))


def test_segments_that_overlap(tmp_path: Path) -> None:
    image = core("oracle-interrupted")
    frames = frames_of(image)
    runs = runs_of(frames)
    path = write(tmp_path / "twice.elf", image, frames, [*runs, runs[0]])
    with pytest.raises(BadImage, match=f"two segments hold frame {runs[0][0]:#x}"):
        Core(path)
    # The same bytes of the file under two linear addresses, as QEMU writes them when asked for paging.
    data = bytearray(path.read_bytes())
    first, last = 64 + 56, 64 + 56 * (len(runs) + 1)
    data[last : last + 56] = data[first : first + 56]
    path.write_bytes(data)
    assert check.audit(path) == []


def test_memory_that_xen_has_no_record_of_is_left_out(tmp_path: Path) -> None:
    image = core("oracle-interrupted")
    frames = frames_of(image) | {0xFFFC0: bytes(4096), 1 << 33: bytes(4096)}
    path = write(tmp_path / "rom.elf", image, frames)
    assert Hypervisor.from_image(path).machine.frames == Hypervisor.from_image(image).machine.frames
    assert check.audit(path) == []


# ---- damage -------------------------------------------------------------------------------------------------------


def test_damaged_heads_give_an_error_or_an_image(tmp_path: Path) -> None:
    image = core("oracle-interrupted")
    frames = frames_of(image)
    path = write(tmp_path / "whole.elf", image, frames, runs_of(frames))
    whole = path.read_bytes()
    size = 64 + 56 * (len(runs_of(frames)) + 1) + 68
    rng, seen = random.Random(417), {"error": 0, "image": 0}
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 3)):
            value = rng.choice((0, 1, 0xFF, 0x80, 0x7F, rng.randrange(256)))
            at = rng.randrange(size)
            width = rng.choice((1, 2, 8))
            data[at : at + width] = bytes([value]) * width
        path.write_bytes(data[: rng.choice((*[len(data)] * 9, rng.randrange(len(data))))])
        try:
            check.audit(path)
            seen["image"] += 1
        except (XenMMUError, NotImplementedError):
            seen["error"] += 1
    assert seen["error"] > 20
    assert seen["image"] > 10


def test_damaged_memory_never_stops_the_auditor(tmp_path: Path) -> None:
    image = core("oracle-interrupted")
    whole = frames_of(image)
    rng, found = random.Random(4171), 0
    tables = [*sorted(whole)[:40], image.registers.cr3 >> 12 if image.registers else 0]
    for _ in range(30):
        frames = dict(whole)
        for _ in range(rng.randint(1, 8)):
            mfn = rng.choice((rng.choice(tables), rng.choice(sorted(whole))))
            page = bytearray(frames[mfn])
            word = rng.choice((0, (1 << 64) - 1, rng.getrandbits(64), rng.getrandbits(30) << 12 | 0x67))
            struct.pack_into("<Q", page, rng.randrange(512) * 8, word)
            frames[mfn] = bytes(page)
        with contextlib.suppress(XenMMUError, NotImplementedError):
            found += bool(check.audit(write(tmp_path / "image.elf", image, frames, runs_of(frames))))
    assert found > 5
