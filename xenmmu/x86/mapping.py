"""Listings: every leaf of the tables, in address order, and the same with neighbours merged.

Knows the C core's ``struct xm_mapping_cursor``; does not know what a listing is for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from xenmmu._core import ffi, lib
from xenmmu.errors import fail

_CHUNK = 256


class Mapping(NamedTuple):
    """A leaf: `size` bytes at linear address `va` are those at `pa`.

    `flags` are the effective rights over all levels: ``pte.P``, ``pte.RW``, ``pte.US``, ``pte.NX``.
    """

    va: int
    pa: int
    size: int
    flags: int


class Range(NamedTuple):
    """Neighbouring leaves with contiguous memory and equal `flags`, merged; `length` in bytes."""

    va: int
    pa: int
    length: int
    flags: int


def leaves(cpu: Any, start: int, stop: int) -> Iterator[Mapping]:
    """Yield the leaves that overlap ``[start, stop)`` of a ``struct xm_cpu *``."""
    if start >= stop:
        return
    cursor = ffi.new("struct xm_mapping_cursor *", {"next": start, "last": stop - 1})
    leaves = ffi.new("struct xm_mapping[]", _CHUNK)
    words = memoryview(ffi.buffer(leaves)).cast("B").cast("Q")
    while not cursor.done:
        n = lib.xm_mappings(cpu, cursor, leaves, _CHUNK)
        if n < 0:
            fail(n, f"a table that serves {cursor.next:#x}")
        fields = iter(words[: 4 * n].tolist())
        yield from map(Mapping._make, zip(fields, fields, fields, fields, strict=True))


def merged(found: Iterator[Mapping]) -> Iterator[Range]:
    """Yield neighbours with contiguous memory and equal flags as one."""
    va = pa = length = flags = 0
    for leaf in found:
        if length and leaf.va == va + length and leaf.pa == pa + length and leaf.flags == flags:
            length += leaf.size
            continue
        if length:
            yield Range(va, pa, length, flags)
        va, pa, length, flags = leaf
    if length:
        yield Range(va, pa, length, flags)
