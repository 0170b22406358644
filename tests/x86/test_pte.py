"""Entries: encode and decode are inverses, describe speaks three vocabularies."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xenmmu import BadArgument, pte

FLAG_BITS = ((1 << 64) - 1) & ~pte.ADDR


@given(st.integers(0, (1 << 40) - 1), st.integers(0, (1 << 64) - 1), st.integers(1, 5))
def test_encode_and_decode_are_inverses(mfn: int, bits: int, level: int) -> None:
    flags = bits & FLAG_BITS
    entry = pte.encode(mfn, flags)
    assert entry == mfn * 4096 + flags
    if not pte.is_large(entry, level):
        assert pte.decode(entry, level) == (mfn, flags)
    assert pte.encode(*pte.decode(entry, level)) == entry


def test_a_large_page_has_pat_in_bit_12() -> None:
    entry = pte.encode(0x200, pte.P | pte.PS | pte.PAT_LARGE)
    assert entry == 0x201081
    assert pte.decode(entry, 2) == (0x200, pte.P | pte.PS | pte.PAT_LARGE)
    assert pte.decode(entry, 1) == (0x201, pte.P | pte.PAT)
    assert pte.is_large(entry, 3) and not pte.is_large(entry, 4) and not pte.is_large(entry, 1)


@pytest.mark.parametrize(
    ("entry", "level", "style", "words"),
    [
        (0x8000000012345067, 1, "intel", ["PTE", "4 KiB page at 0x12345000", "P R/W U/S", "A D", "XD"]),
        (0x12345067, 2, "intel", ["PDE", "table at 0x12345000", "ignored 0x40"]),
        (0xE7 | 0x1000, 2, "intel", ["PDE", "2 MiB page at 0x0", "PS", "PAT"]),
        (0xE7 | 0x2000, 2, "intel", ["reserved address bits 0x2000"]),
        (0x400000E7, 3, "intel", ["PDPTE", "1 GiB page at 0x40000000"]),
        (0x1087, 4, "intel", ["PML4E", "reserved bit 7"]),
        (0x1007, 5, "intel", ["PML5E", "table at 0x1000"]),
        (0x1185, 1, "intel", ["PAT", "G"]),
        (0x2800000000001007, 1, "intel", ["protection key 5"]),
        (0x1234006, 1, "intel", ["not present", "0x1234006"]),
        (0, 1, "intel", ["PTE 0x0000000000000000: not present"]),
        (0x1E07, 1, "intel", ["ignored 0xe00"]),
        (0x10000000012167, 1, "xen", ["l1e", "mfn 0x12", "_PAGE_PRESENT|_PAGE_RW|_PAGE_USER", "_PAGE_GUEST_KERNEL"]),
        (0x12167, 1, "xen", ["_PAGE_GLOBAL", "PGT_writable_page"]),
        (0x12125, 1, "xen", ["reference without a type"]),
        (0x12027, 4, "xen", ["l4e", "PGT_l3_page_table"]),
        (0x400E7, 2, "xen", ["_PAGE_PSE", "PGT_writable_page"]),
        (0x12026, 2, "xen", ["takes no reference"]),
        (0x12067, 1, "netbsd", ["PG_FRAME 0x12000", "PG_V|PG_RW|PG_u|PG_U|PG_M"]),
        (0x8000000000012705, 1, "netbsd", ["PG_V|PG_u|PG_G|PG_W|PG_PVLIST|PG_NX"]),
        (0x2000E7, 2, "netbsd", ["PG_2MFRAME 0x200000", "PG_PS"]),
        (0x12004, 4, "netbsd", ["PG_FRAME 0x12000", "PG_u", "(not valid)"]),
    ],
)
def test_describe(entry: int, level: int, style: str, words: list[str]) -> None:
    text = pte.describe(entry, level, style)
    assert "\n" not in text
    for word in words:
        assert word in text, text


@given(st.integers(0, (1 << 64) - 1), st.integers(1, 5), st.sampled_from(["intel", "xen", "netbsd"]))
def test_describe_takes_every_entry(entry: int, level: int, style: str) -> None:
    assert f"{entry:#018x}" in pte.describe(entry, level, style)


@pytest.mark.parametrize(
    "call",
    [
        lambda: pte.encode(-1, 0),
        lambda: pte.encode(1 << 40, 0),
        lambda: pte.encode(0, 1 << 64),
        lambda: pte.encode(0, -1),
        lambda: pte.encode(0, 0x2000),
        lambda: pte.encode(0, pte.PAT_LARGE),
        lambda: pte.encode(1, pte.PS | pte.PAT_LARGE),
        lambda: pte.encode("1", 0),  # type: ignore[arg-type]
        lambda: pte.encode(0, 1.5),  # type: ignore[arg-type]
        lambda: pte.describe(-1),
        lambda: pte.describe(1 << 64),
        lambda: pte.describe(1, 0),
        lambda: pte.describe(1, 6),
        lambda: pte.describe(1, 1, "linux"),
        lambda: pte.describe(1, 1, ["xen"]),  # type: ignore[arg-type]
        lambda: pte.describe("1"),  # type: ignore[arg-type]
        lambda: pte.decode(1 << 64),
    ],
)
def test_bad_input(call: object) -> None:
    assert callable(call)
    with pytest.raises(BadArgument):
        call()
