"""XSA-154, CVE-2016-2270 (February 2016): device memory behind a cache.

Whatever a guest asks for, Xen maps device memory uncached.  The fast path for entries that keep their frame let the
bits that choose the cache change without that, so a second request got what the first had been denied.
"""

from __future__ import annotations

from typing import Any

from expected import Case, case, ready
from steps import L1, RW, US, P, ext, put

PWT, PCD, PAT, K = 8, 0x10, 0x80, 1 << 52
DEVICE = 0xB8
FLAGS = P | RW | US | K
UNCACHED = PWT | PCD


def device(what: str, given: int, stored: int) -> Case:
    return case(0, what, put(L1, 0, DEVICE, FLAGS | given), readback=DEVICE << 12 | FLAGS | stored)


PROGRAM: list[Case] = [
    *ready(ext(0, L1)),
    device("uncached", UNCACHED, UNCACHED),
    device("then write-back", 0, UNCACHED),
    device("write-through", PWT, UNCACHED),
    device("write-combining", PAT, PAT),
    device("write-back after that", 0, UNCACHED),
    device("write-protected", PAT | PWT, UNCACHED),
    device("uncached, less strictly", PCD, PCD),
    device("write-back", 0, UNCACHED),
    case(0, "as a foreign one's", ("mmu", 0x7FF1, 0, ((L1 << 12, DEVICE << 12 | FLAGS),))),
    case(0, "what is there", ("read", L1 << 12), readback=DEVICE << 12 | FLAGS | UNCACHED),
]


def test_refused(run: Any) -> None:
    assert run(PROGRAM) == []
