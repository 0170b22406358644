"""Recordings of other kinds than that of the Linux dom0: random programs of the tests' own guest, and changed logs.

`oracle-client.*` were made on real Xen 4.17 by tests/oracles/xen: two images of a guest with a second domain, and 1,231
operations of random programs between them, most of them unusual: linear entries, refused validations, another domain's
tables, descriptors.
"""

from __future__ import annotations

import lzma
import random
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from xenmmu import XenMMUError, check, images
from xenmmu.xen import Hypervisor

DATA = Path(__file__).resolve().parents[1] / "data"
T0, LOG, T1 = (DATA / f"oracle-client.{name}.xz" for name in ("t0.elf", "log", "t1.elf"))
LINUX_T0, LINUX_LOG = DATA / "live-dom0.t0.elf.xz", DATA / "live-dom0.log.xz"

Record = list[int]


def records(path: Path, limit: int = 1 << 62) -> Iterator[Record]:
    words = memoryview(lzma.decompress(path.read_bytes())).cast("Q")
    at = 0
    while at < min(len(words), limit):
        end = at + 1 + (words[at] >> 8)
        yield words[at:end].tolist()
        at = end


def write(path: Path, parts: list[Record]) -> Path:
    path.write_bytes(b"".join(struct.pack(f"<{len(r)}Q", *r) for r in parts))
    return path


def test_random_programs_on_real_xen_come_out_the_same() -> None:
    hv, end = Hypervisor.from_image(T0), Hypervisor.from_image(T1)
    assert next(images.differences(hv, end), None) is not None
    done = images.replay_log(hv, LOG)
    assert (done.differences, done.first) == (0, "")
    assert (done.operations, done.not_modelled, done.unseen) == (1_231, 0, 0)
    assert list(images.differences(hv, end)) == []
    assert check.audit(hv) == []
    assert check.audit(end) == []
    outcomes = {r[4] if r[0] & 0xFF == 1 else r[5] for r in records(LOG) if r[0] & 0xFF in (1, 2)}
    assert len(outcomes) >= 3


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_a_recording_cut_anywhere_is_replayed_to_there(part: float, tmp_path: Path) -> None:
    for image, log in ((T0, LOG), (LINUX_T0, LINUX_LOG)):
        whole = list(records(log, 400_000))
        hv = Hypervisor.from_image(image)
        done = images.replay_log(hv, write(tmp_path / "log", whole[: int(len(whole) * part)]))
        assert (done.differences, sum(done.records.values())) == (0, int(len(whole) * part))
        assert check.audit(hv) == []


def test_in_two_parts_as_in_one(tmp_path: Path) -> None:
    whole = list(records(LOG))
    hv = Hypervisor.from_image(T0)
    for i, part in enumerate((whole[:700], whole[700:])):
        assert images.replay_log(hv, write(tmp_path / str(i), part)).differences == 0
    assert list(images.differences(hv, Hypervisor.from_image(T1))) == []


def test_preempted_elements_come_again(tmp_path: Path) -> None:
    again = (1 << 64) - 85
    parts: list[Record] = []
    for r in records(LOG):
        if r[0] & 0xFF in (1, 2, 3):
            at = 5 if r[0] & 0xFF == 2 else 4
            parts.append([*r[:at], again, *r[at + 1 :]])
        parts.append(r)
    hv = Hypervisor.from_image(T0)
    done = images.replay_log(hv, write(tmp_path / "log", parts))
    assert done.differences == 0
    assert done.preempted == sum(done.records[k] for k in ("mmu_update", "mmuext_op", "update_va_mapping")) // 2
    assert list(images.differences(hv, Hypervisor.from_image(T1))) == []


@pytest.mark.parametrize(
    ("call", "argument", "rc", "unseen"),
    [
        (12, 1, 3, True),  # memory_op, decrease_reservation
        (12, 1 | 5 << 6, 3, True),
        (12, 1, -22, False),
        (12, 4, 65_538, False),  # maximum_reservation
        (20, 0, 0, True),  # grant_table_op, map_grant_ref
        (22, 0xFFFF880000000000, 0, True),  # update_va_mapping_otherdomain
        (24, 10, 0, True),  # vcpu_op, register_vcpu_info
        (24, 4, 0, False),
        (32, 11, 0, True),  # event_channel_op, init_control
        (2, 0x1234, 0, True),  # set_gdt, the list not in the image
        (25, 0, 0, False),  # set_segment_base
        (3, 0xE02B, 0, False),  # stack_switch
    ],
)
def test_what_a_recording_does_not_show_is_told(
    call: int, argument: int, rc: int, unseen: bool, tmp_path: Path
) -> None:
    before, after = list(records(LOG))[:10], list(records(LOG))[10:]
    other = [7 | 5 << 8, call, argument, 512, 0, rc & (1 << 64) - 1]
    done = images.replay_log(Hypervisor.from_image(T0), write(tmp_path / "log", [*before, other, *after]))
    assert (done.differences, done.not_modelled, done.unseen) == (0, 1, int(unseen))
    assert done.first_unseen == (f"hypercall {call} at word {sum(map(len, before))}" if unseen else "")


def test_an_assist_is_switched(tmp_path: Path) -> None:
    hv = Hypervisor.from_image(T0)
    parts = [[7 | 5 << 8, 21, 0, 2, 0, 0], [7 | 5 << 8, 21, 7, 2, 0, (1 << 64) - 38]]
    assert images.replay_log(hv, write(tmp_path / "log", parts)).differences == 0


def test_damaged_recordings_give_an_error_or_differences(tmp_path: Path) -> None:
    whole, rng = lzma.decompress(LOG.read_bytes()), random.Random(85)
    differ = 0
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 6)):
            word = rng.choice((0, (1 << 64) - 1, rng.getrandbits(64), rng.randrange(512), 5 | 9 << 8, 0x205FF067))
            struct.pack_into("<Q", data, rng.randrange(len(data) // 8) * 8, word)
        (tmp_path / "log").write_bytes(data[: rng.randrange(len(data)) & ~7])
        hv = Hypervisor.from_image(T0)
        try:
            differ += bool(images.replay_log(hv, tmp_path / "log").differences)
        except XenMMUError:
            differ += 1
        assert check.audit(hv) == []
    assert differ > 10
