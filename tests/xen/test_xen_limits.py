"""Counts at their ends, and the rules that no run of the referee meets (tests/oracles/xen/README.md, its table)."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xenmmu import check, xen
from xenmmu.xen import Reason

P, RW, US = 1, 2, 4
DEVICE, READ_ONLY = xen.GNTMAP_device_map, xen.GNTMAP_readonly
EINVAL = 22
ROOT = Path(__file__).resolve().parents[2]


def fill(g: Any, entry: int) -> int:
    """A clean frame with the same word 512 times."""
    table: int = g.page()
    g.m.write(table << 12, struct.pack("<Q", entry) * 512)
    return table


def test_a_type_count_of_16_bits_is_full_after_65535_references(guest: Callable[..., Any]) -> None:
    g = guest(version="3.1")
    l1 = g.page()
    tables = [fill(g, l1 << 12 | P | RW | US) for _ in range(128)]
    for t in tables[:127]:
        assert g.pin(2, t).rc == 0
    g.refused(g.pin(2, tables[127]), EINVAL, Reason.TYPE_COUNT_OVERFLOW)
    assert g.books(l1) == f"{127 * 512 + 1} L1*{127 * 512} v"
    g.poke(tables[127], 511, 0)
    assert g.pin(2, tables[127]).rc == 0
    assert g.hv.frame_info(l1).type_count == 0xFFFF
    g.refused(g.pin(1, l1), EINVAL, Reason.TYPE_COUNT_OVERFLOW)
    assert check.audit(g.hv) == []
    for t in tables:
        assert g.unpin(t).rc == 0
    assert g.hv.frame_info(l1).type_count == 0


def test_a_type_count_of_55_bits_goes_on(g: Any) -> None:
    l1 = g.page()
    for t in [fill(g, l1 << 12 | P | RW | US) for _ in range(129)]:
        assert g.pin(2, t).rc == 0
    assert g.hv.frame_info(l1).type_count == 129 * 512


def test_linear_entries_to_one_table_fill_its_count(g: Any) -> None:
    target = g.page()
    assert g.pin(2, target).rc == 0
    tables = [fill(g, target << 12 | P | US) for _ in range(65)]
    for t in tables[:64]:
        assert g.pin(2, t).rc == 0
    g.refused(g.pin(2, tables[64]), EINVAL, Reason.LINEAR_TARGET_HOLDS)
    assert g.unpin(tables[0]).rc == 0
    assert g.pin(2, tables[64]).rc == 0
    assert check.audit(g.hv) == []


def test_the_handles_of_grants_run_out(g: Any) -> None:
    frame, me, frames = g.page(), g.d.domid, 3
    g.d.setup_table(frames)
    refs = iter(range(512 * frames))
    left = 1024 * 256 - 1
    while left:
        ref = next(refs)
        g.d.grant_access(ref, me, frame)
        for flags in (DEVICE, DEVICE | READ_ONLY):
            for _ in range(min(left, 128)):
                assert g.d.map_grant_ref(0, flags, ref, me).status == 0
                left -= 1
    r = g.d.map_grant_ref(0, DEVICE, next(refs), me)
    assert (r.status, r.reason) == (-13, Reason.GRANT_NO_HANDLE)


def test_a_plain_domain_has_no_business_with_the_grant_table_of_another(guest: Callable[..., Any]) -> None:
    g = guest(privileged=False)
    other = g.hv.create_domain(frames=64)
    r, frames = g.d.setup_table(1, other.domid)
    assert (r.status, r.reason, frames) == (-8, Reason.GRANT_PERMISSION, ())


def test_a_nested_multicall_is_told_by_name(g: Any) -> None:
    va = g.map(g.page())
    g.d.store(va, xen.HYPERVISOR_multicall)
    r = g.d.hypercall(xen.HYPERVISOR_multicall, va, 1)
    assert (r.rc, r.done, r.reason) == (0, 1, Reason.MULTICALL_NESTED)
    assert g.d.load(va + 8) == (1 << 64) - EINVAL


def rows() -> list[tuple[str, str]]:
    text = (ROOT / "tests/oracles/xen/README.md").read_text(encoding="utf-8")
    return re.findall(r"^\| `([A-Z0-9_]+)` \|.*\| `(\S+)` \|$", text, re.MULTILINE)


@pytest.mark.parametrize(("rule", "test"), rows())
def test_a_rule_that_no_run_meets_is_met_by_the_test_named_for_it(rule: str, test: str) -> None:
    assert re.search(rf"\b{rule}\b", (ROOT / test).read_text(encoding="utf-8"))
    assert Reason[rule]


def test_the_table_is_not_empty() -> None:
    assert len(rows()) > 5
