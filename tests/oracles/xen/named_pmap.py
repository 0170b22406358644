"""Programs with a name: NetBSD's scheme of 2007, and the rules of Xen's that it rests on.

Knows: the questions.  Does not know: the answers; those are Xen's.
"""

from __future__ import annotations

import program as p
from steps import (
    APTE,
    IO,
    L1,
    L2,
    L3,
    L4,
    LEAF,
    NX,
    OTHER,
    PAGE,
    PTE,
    RW,
    S1,
    S2,
    S3,
    S4,
    SECOND,
    SPARE,
    TABLE,
    US,
    A,
    Named,
    P,
    ext,
    process,
    put,
    va,
)


def _founding() -> Named:
    own = [
        ("an L1 entry", va(PTE, S4, S3, S2, S1)),
        ("an L2 entry", va(PTE, PTE, S4, S3, S2)),
        ("an L3 entry", va(PTE, PTE, PTE, S4, S3)),
        ("its own slot in the L4", va(PTE, PTE, PTE, PTE, PTE)),
        ("Xen's linear slot in the L4", va(PTE, PTE, PTE, PTE, 258)),
    ]
    other = [
        ("AL1: an L1 entry", va(APTE, S4, S3, S2, S1)),
        ("AL2: an L2 entry", va(APTE, PTE, S4, S3, S2)),
        ("AL3: an L3 entry", va(APTE, PTE, PTE, S4, S3)),
        ("AL4: an L4 entry", va(APTE, PTE, PTE, PTE, S4)),
    ]
    steps = process()
    steps += [
        ("the kept slot, writable", put(L4, PTE, L4, P | RW | US)),
        ("the kept slot, read-only", put(L4, PTE, L4, P | US)),
        ("made writable afterwards", put(L4, PTE, L4, P | RW | US)),
        ("the process runs", ext(15, L4)),
    ]
    steps += [(f"user mode reads {what}", ("load", 1, at, 8)) for what, at in own]
    steps += [(f"user mode writes {what}", ("store", 1, at, 8, PAGE << 12 | LEAF)) for what, at in own]
    steps += [
        ("user mode steps through Xen's linear slot", ("load", 1, va(PTE, 258, S4, S3, S2), 8)),
        ("the other pmap's slot of the running L4", put(p.BOOT_L4, APTE, L4, P | US)),
        ("the same, writable", put(p.BOOT_L4, APTE, L4, P | RW | US)),
    ]
    steps += [(f"the kernel reads by {what}", ("load", 0, at, 8)) for what, at in other]
    steps += [(f"the kernel writes by {what}", ("store", 0, at, 8, PAGE << 12 | P | US)) for what, at in other]
    steps += [
        ("an L1 entry by hypercall, as the pmap does", put(L1, S1, PAGE, P | US)),
        ("and read back by AL1", ("load", 0, other[0][1], 8)),
        ("an L1 entry by address in the window", ("uva", va(APTE, S4, S3, S2), PAGE << 12 | P, 2)),
        ("the slot cleared, as stock NetBSD does", put(L4, PTE, 0, 0)),
        ("AL2 without the kept slot", ("load", 0, other[1][1], 8)),
        ("AL1 without the kept slot", ("load", 0, other[0][1], 8)),
        ("user mode reads without the kept slot", ("load", 1, own[0][1], 8)),
        ("unpinned while in use", ext(4, L4)),
        ("the process ends", ext(15, 0)),
        ("the L4 mapped writable while the other slot holds it", put(L1, 0, L4, P | RW | US)),
    ]
    return Named("Does Xen 4.17 allow NetBSD's scheme of 2007, and what can a process do with the kept slot?", steps)


def _linear_chain() -> Named:
    steps = [(f"pin {p.NAMES[f]} as an L4", ext(3, f)) for f in (L4, OTHER, SPARE)]
    steps += [
        ("one uses another", put(L4, S4, OTHER, P | US)),
        ("which may use itself", put(OTHER, S4, OTHER, P | US)),
        ("but not a third", put(OTHER, 5, SPARE, P | US)),
        ("the third may use it too", put(SPARE, S4, OTHER, P | US)),
        ("the first cannot be used", put(SPARE, 5, L4, P | US)),
        ("unpin the used one", ext(4, OTHER)),
        ("one user gone", put(L4, S4, 0, 0)),
        ("both gone", put(SPARE, S4, 0, 0)),
    ]
    return Named("How deep may linear page tables nest (XSA-240)?", steps)


def _fast_path() -> Named:
    steps = [
        *process(),
        ("a read-only self entry", put(L4, S4 + 2, L4, P | US)),
        ("RW alone changed", put(L4, S4 + 2, L4, P | RW | US)),
        ("A and NX changed", put(L4, S4 + 2, L4, P | US | A | NX)),
        ("its L2 entry with PSE", put(L2, S2, L1, TABLE | 0x80)),
        ("its L3 entry read-only", put(L3, S3, L2, P | US)),
        ("and writable again", put(L3, S3, L2, P | RW | US)),
        ("the same page, other owner", ("mmu", IO, 0, ((L1 << 12 | S1 * 8, PAGE << 12 | LEAF | A),))),
        ("another page, other owner", ("mmu", IO, 0, ((L1 << 12 | S1 * 8, OTHER << 12 | LEAF | A),))),
    ]
    return Named("What may change in a present entry without a check (XSA-148, XSA-182)?", steps)


def _adjusted_after_failure() -> Named:
    steps = [
        ("slot 0 of an L1", put(L1, 0, PAGE, P | RW)),
        ("slot 5 maps a table writable", put(L1, 5, L2, LEAF)),
        ("slot 6", put(L1, 6, PAGE, P | RW)),
        ("that table is one", ext(1, L2)),
        ("pin the L1", ext(0, L1)),
        ("slot 0 afterwards", ("read", L1 << 12)),
        ("slot 6 afterwards", ("read", L1 << 12 | 48)),
        ("an L2 over it", put(SECOND, 9, L1, TABLE)),
        ("pin the L2", ext(1, SECOND)),
    ]
    return Named("What stays of a validation that fails?", steps)


QUESTIONS = {
    "founding": _founding(),
    "linear-chain": _linear_chain(),
    "fast-path": _fast_path(),
    "failed-validation": _adjusted_after_failure(),
}
