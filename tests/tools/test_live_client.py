"""Fifteen seconds of a Linux dom0 on a real Xen, done again: the recorded outcomes and the recorded end."""

from __future__ import annotations

import lzma
import struct
from pathlib import Path

import pytest

from xenmmu import check, images
from xenmmu._core import ffi, lib
from xenmmu.elfcore import BadImage
from xenmmu.xen import Hypervisor

DATA = Path(__file__).resolve().parents[1] / "data"
T0, LOG, T1 = (DATA / f"live-dom0.{name}.xz" for name in ("t0.elf", "log", "t1.elf"))


def test_a_live_client_gets_what_real_xen_gave_it() -> None:
    hv, end = Hypervisor.from_image(T0), Hypervisor.from_image(T1)
    assert next(images.differences(hv, end), None) is not None
    done = images.replay_log(hv, LOG)
    assert done.records == {
        "mmu_update": 298_441,
        "mmuext_op": 34_606,
        "update_va_mapping": 19_985,
        "emulated store": 20_672,
        "contents of a table": 10_056,
        "other": 3_736,
    }
    assert (done.differences, done.first) == (0, "")
    assert (done.operations, done.preempted, done.not_modelled) == (373_704, 82, 3_736)
    assert list(images.differences(hv, end)) == []
    types = memoryview(ffi.buffer(lib.xm_xen_frame_table(end._c), end.machine.frames * 32)).cast("B").cast("Q")[1::4]
    assert sum(bool(t & lib.XM_PGT_VALIDATED) and 1 <= t >> 61 <= 4 for t in types) == 951
    # Every validation that was recorded was done, and no other.
    (domain,) = hv.domains
    assert domain.counters["tables_validated"] == 10_056
    assert (domain.kernel_root, domain.user_root) == (end.domains[0].kernel_root, end.domains[0].user_root)
    assert check.audit(hv) == []


def words_of_log() -> list[int]:
    data = lzma.decompress(LOG.read_bytes())
    return list(struct.unpack(f"<{len(data) // 8}Q", data))


def write(path: Path, words: list[int]) -> Path:
    path.write_bytes(struct.pack(f"<{len(words)}Q", *words))
    return path


def test_a_difference_is_found_and_named(tmp_path: Path) -> None:
    words = words_of_log()[:6000]
    at, places = 0, {}
    while at + 1 + (words[at] >> 8) <= len(words):
        places.setdefault(words[at] & 0xFF, at)
        last = at
        at += 1 + (words[at] >> 8)
    words = words[:last]
    assert images.replay_log(Hypervisor.from_image(T0), write(tmp_path / "log", words)).differences == 0
    for kind, index, name in (
        (1, 4, "mmu_update"),
        (2, 5, "mmuext_op"),
        (3, 4, "update_va_mapping"),
        (3, 5, "update_va"),
    ):
        changed = list(words)
        changed[places[kind] + index] ^= 8
        done = images.replay_log(Hypervisor.from_image(T0), write(tmp_path / "log", changed))
        assert done.differences >= 1
        assert done.first.startswith(f"{name}")
        assert f"word {places[kind]}:" in done.first
    # A store that was made with another old value under it.
    changed = list(words)
    changed[places[4] + 3] ^= 1 << 12
    done = images.replay_log(Hypervisor.from_image(T0), write(tmp_path / "log", changed))
    assert done.first.startswith("emulated store")


def test_hypercalls_on_descriptor_tables_are_done_again(tmp_path: Path) -> None:
    (gdt,) = Hypervisor.from_image(T0).domains[0].gdt
    head, refused = 7 | 5 << 8, (1 << 64) - 22
    for index, (words, not_modelled, differences) in enumerate(
        (
            ((10, gdt << 12, 0x00CFF3000000FFFF, 0, 0), 0, 0),
            ((10, gdt << 12, 0x0000820000000067, 0, refused), 0, 0),
            ((10, gdt << 12 | 4, 0, 0, 0), 0, 1),
            ((2, 0x1234, 512, 0, 0), 1, 0),
            ((2, 0, 0, 0, 0), 0, 0),
        )
    ):
        hv = Hypervisor.from_image(T0)
        done = images.replay_log(hv, write(tmp_path / str(index), [head, *words]))
        assert (done.not_modelled, done.differences) == (not_modelled, differences), words
        assert hv.domains[0].gdt == (() if words[0] == 2 and not not_modelled else (gdt,))
        assert check.audit(hv) == []


def test_a_file_that_is_no_recording(tmp_path: Path) -> None:
    for name, words in (
        ("kind", [9 | 1 << 8, 0]),
        ("length", [1 | 6 << 8, 0]),
        ("endless", [1 | 1 << 62]),
        ("short", [1 | 4 << 8, 0, 0, 0, 0]),
        ("bitmap", [5 | 9 << 8, 1 << 56, 1, 0, 0, 0, 0, 0, 0, 0]),
        ("frame", [5 | 9 << 8, 1 << 40, 0, 0, 0, 0, 0, 0, 0, 0]),
        ("unaligned", [4 | 5 << 8, 4, 0, 0, 8, 0]),
    ):
        with pytest.raises(BadImage, match="word 0 begins no record"):
            images.replay_log(Hypervisor.from_image(T0), write(tmp_path / name, words))
    (tmp_path / "odd").write_bytes(b"1234567")
    with pytest.raises(BadImage):
        images.replay_log(Hypervisor.from_image(T0), tmp_path / "odd")


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert images.main([str(T0), str(LOG), str(T1)]) == 0
    out = capsys.readouterr().out
    assert "0 outcomes differ" in out
    assert "0 differences from" in out
    assert "0 violations" in out
    assert images.main([str(T0), str(write(tmp_path / "log", [])), str(T1)]) == 1
    assert images.main([str(T0)]) == 2
    assert images.main([str(tmp_path / "none"), str(LOG)]) == 2
    assert capsys.readouterr().err.count("\n") == 2
