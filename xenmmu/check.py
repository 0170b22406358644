"""Floor 4: audits every floor from the bytes; it writes nothing that it audits.

The auditor is a second implementation of the rules that Xen's page-type system keeps (xen/arch/x86/mm.c of stable-4.17
and Xen's security advisories): it reads tables from roots and pins, recounts every reference itself and compares the
result with what the hypervisor claims.  It does not know how the hypervisor came to its claims.

The same invariants serve Xen's historic bugs: each entry of :data:`MUTANTS` can be switched on in
:class:`xenmmu.xen.Options` and breaks at least one of :data:`INVARIANTS`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, NamedTuple

from xenmmu._core import ffi, lib
from xenmmu.elfcore import BadImage, Core
from xenmmu.errors import BadArgument, OutOfRange, fail
from xenmmu.machine import PAGE_SIZE, Machine
from xenmmu.netbsd import Kernel
from xenmmu.xen import Hypervisor, PageType, captured_frames


class Invariant(NamedTuple):
    """One thing that must hold: what, when, and where the rule comes from."""

    text: str
    when: str
    source: str


class Mutant(NamedTuple):
    """A deliberate bug: what it changes, where it comes from, and the invariants that it breaks."""

    text: str
    origin: str
    breaks: tuple[str, ...]


class Violation(NamedTuple):
    """An invariant that does not hold for frame ``mfn``."""

    invariant: str
    mfn: int
    message: str

    def __str__(self) -> str:
        return f"{self.invariant} frame {self.mfn:#x}: {self.message}"


class Unnamed(NamedTuple):
    """References on frame ``mfn`` that are in no table: what holds them, how many general and type references."""

    mfn: int
    what: str
    references: int
    type_references: int


_AFTER_EACH = "after every hypercall, trap and element of a batch"
_SOURCES = {
    "I-TCOUNT": "mm.c, get_page_type and its callers; XSA-242, XSA-299",
    "I-GCOUNT": "mm.c, get_page and its callers; XSA-58, XSA-113",
    "I-EXCL": "mm.c, _get_page_type: a frame with a type count keeps its type",
    "I-WSPEC": "what the type system is for; SDM vol. 3A 4.6; XSA-148, XSA-182, XSA-185",
    "I-USERW": "I-WSPEC from the user root: the property of the mail to tech-kern of 2007-11-27",
    "I-LVL": "mm.c, promote_l1_table to promote_l4_table; pv/mm.h, L?_DISALLOW_MASK, adjust_guest_l?e; XSA-148",
    "I-LIN": "mm.c, get_l?_linear_pagetable, inc_linear_entries, inc_linear_uses; XSA-182, XSA-240",
    "I-XENSLOT": "mm.c, init_xen_l4_slots, mod_l4_entry; include/asm/config.h, ROOT_PAGETABLE_FIRST_XEN_SLOT and LAST",
    "I-OWN": "mm.c, get_page_from_l1e to get_page_from_l4e; XSA-248",
    "I-CR3": "mm.c, new_guest_cr3; pv/domain.c, toggle_guest_mode; XSA-213, CVE-2011-1166",
    "I-PT0": "mm.c, _put_page_type; XSA-242",
    "I-PIN": "mm.c, do_mmuext_op, MMUEXT_PIN_L1_TABLE to MMUEXT_UNPIN_TABLE; XSA-299",
    "I-FREE": "page_alloc.c, free_heap_pages; XSA-58, XSA-255",
    "I-SEG": "pv/descriptor-tables.c, check_descriptor; XSA-214",
}


def _audited() -> dict[str, Invariant]:
    found = {}
    for i in range(lib.XM_I_KINDS):
        name = ffi.string(lib.xm_invariant_name(i)).decode()
        text = ffi.string(lib.xm_invariant_text(i)).decode()
        found[name] = Invariant(text, _AFTER_EACH, _SOURCES[name])
    return found


#: Name -> what must hold.  `audit` tests all of them on a hypervisor but I-PRIV, which is about a step and not a state:
#: the state machine of xenmmu.testing tests that one.
INVARIANTS: dict[str, Invariant] = {
    **_audited(),
    "I-PRIV": Invariant(
        "Xen acts on page tables for the guest kernel only: user mode has no hypercalls, its stores are never emulated",
        "at every store from user mode",
        "traps.c, fixup_page_fault: guest_kernel_mode; XSA-213",
    ),
}

#: Name -> a bug that can be switched on.
MUTANTS: dict[str, Mutant] = {
    "xsa_182_fastpath_rw": Mutant(
        "R/W of an L2, L3 or L4 entry may change without a new check",
        "XSA-182, CVE-2016-6258, fixed by Xen commit e1bff4c2ea: a read-only linear entry could be made writable",
        ("I-LIN", "I-WSPEC"),
    ),
    "xsa_148_l2_pse_unchecked": Mutant(
        "PS of an L2 entry is neither forbidden nor a reason for a new check",
        "XSA-148, CVE-2015-7835, fixed by Xen commit fe360c90ea: a guest could map 2 MiB of anybody's memory",
        ("I-LVL", "I-WSPEC"),
    ),
    "owner_unchecked_l1": Mutant(
        "an L1 entry may map a frame whoever owns it",
        "a plausible slip: get_page without its comparison of owners",
        ("I-OWN",),
    ),
    "no_rollback_l1_promote": Mutant(
        "when a table is refused as an L1 at some entry, the references of the entries before it stay",
        "a plausible slip: the error path of promote_l1_table without its loop",
        ("I-TCOUNT", "I-GCOUNT"),
    ),
    "user_slot_rw_by_adjust": Mutant(
        "storing an L4 entry that names an L4 adds R/W to it after the check",
        "the 64-bit form of XSA-185, CVE-2016-7092: adjusting added a right to a linear entry that had been checked",
        ("I-LIN", "I-WSPEC", "I-USERW"),
    ),
    "xsa_240_linear_chain": Mutant(
        "a table may hold linear entries and be used by some",
        "XSA-240, CVE-2017-15595, fixed by Xen commit 6987fc7558: chains of any depth, recursion without bound",
        ("I-LIN",),
    ),
    "pin_wrong_level_accepted": Mutant(
        "pinning a validated table at another level pins it at its own",
        "a plausible slip: PIN_L2 of a frame typed L3 counts",
        ("I-PIN",),
    ),
    "pin_twice_counts": Mutant(
        "pinning a pinned table takes the references again",
        "a plausible slip: the test of PGT_pinned is missing",
        ("I-TCOUNT", "I-GCOUNT"),
    ),
    "unpin_unpinned": Mutant(
        "unpinning a table that is not pinned drops a reference",
        "a plausible slip: the test of PGT_pinned is missing",
        ("I-TCOUNT", "I-GCOUNT"),
    ),
    "slot_range_off_by_one_high": Mutant(
        "L4 slot 271 counts as the guest's",
        "a plausible slip at the end of the reserved range",
        ("I-XENSLOT",),
    ),
    "fastpath_ignores_frame": Mutant(
        "the frame of an entry may change without a new check",
        "a plausible slip: the fast path compares flags only",
        ("I-TCOUNT", "I-GCOUNT"),
    ),
    "xsa_182_fastpath_rw_l1": Mutant(
        "R/W of an L1 entry may change without a new check",
        "XSA-182 one level further down; never in Xen",
        ("I-TCOUNT", "I-EXCL", "I-WSPEC"),
    ),
    "ptwr_user_mode": Mutant(
        "a store of user mode to a page table is emulated like one of the kernel",
        "a plausible slip: the test of guest_kernel_mode is missing",
        ("I-PRIV",),
    ),
    "old_root_not_put": Mutant(
        "a new root does not release the old one",
        "a plausible slip in new_guest_cr3",
        ("I-TCOUNT", "I-GCOUNT"),
    ),
    "clear_page_no_type": Mutant(
        "MMUEXT_CLEAR_PAGE and COPY_PAGE write a frame whatever its type",
        "a plausible slip; cf. Xen commit 3724385e39",
        ("I-TCOUNT", "I-GCOUNT"),
    ),
}


def audit(target: Any, limit: int = 1000) -> list[Violation]:
    """Check every invariant that can be read from the state; an empty list means that all hold.

    `target` is a Hypervisor: every frame of its machine is audited.  Or a netbsd.Kernel: one in a domain is audited
    with its hypervisor; for a native one, which no hypervisor guards, the tables under its roots are (I-USERW, I-LVL,
    I-EXCL).  Or a memory image, a path or an elfcore.Core: of a Xen, its own books are audited, taken over as
    `Hypervisor.from_image` does; of another system, the tables under CR3.  At most `limit` violations are returned, in
    order of passes.  Raises BadArgument for another target, BadImage for a file that is no image or lacks what is
    needed.
    """
    if not isinstance(limit, int) or not 0 < limit < 1 << 32:
        raise BadArgument(f"audit(): limit {limit!r} is not a positive number of violations")
    if isinstance(target, Hypervisor):
        return _run(limit, lib.xm_audit, target._c)
    if isinstance(target, Kernel):
        if target.domain is not None:
            return audit(target.domain.hypervisor, limit)
        roots = {target.root_mfn(pm) for pm in (target.pmap_kernel, *target.pmaps)}
        return audit_tables(target.machine, sorted(roots), limit)
    if isinstance(target, str | os.PathLike):
        target = Core(target)
    if isinstance(target, Core):
        return _audit_image(target, limit)
    raise BadArgument(f"audit({target!r}): neither a Hypervisor nor a netbsd.Kernel nor an image")


_MOST_FRAMES = 1 << 28


def _audit_image(core: Core, limit: int) -> list[Violation]:
    if core.registers is None:
        raise BadImage(f"{core.path}: no note says what CR3 is")
    machine = core.machine()
    if core.registers.cr4 & lib.XM_CR4_LA57:
        raise NotImplementedError("auditing an address space of five levels is not built yet")
    try:
        captured = captured_frames(machine, core.registers.cr3)
    except OutOfRange as error:
        raise BadImage(f"{core.path}: does not hold memory that is needed: {error}") from None
    if captured:
        return audit(Hypervisor.from_image(core), limit)
    if machine.frames > _MOST_FRAMES:
        raise NotImplementedError(f"auditing a machine of {machine.frames} frames, more than 1 TiB, is not built yet")
    return audit_tables(machine, [(core.registers.cr3 & lib.XM_PTE_ADDR) // PAGE_SIZE], limit)


_HOLDERS = {
    PageType.SEG_DESC: "descriptor page of set_gdt or of the LDT",
    PageType.L4: "root of another processor",
}


def unnamed_references(hv: Hypervisor) -> list[Unnamed]:
    """The frames of domains with references that no entry, pin or allocation accounts for, and what they are.

    They are state of Xen outside its books: the roots of the virtual processors, what a captured Xen held for
    hypercalls (:attr:`xenmmu.xen.Hypervisor.held`), and Xen's own type reference on what it shares with a domain.
    """
    roots = ffi.new("struct xm_root[]", lib.xm_xen_roots(hv._c, ffi.NULL, 0))
    lib.xm_xen_roots(hv._c, roots, len(roots))
    domids = {root.domid for root in roots}
    found = [
        Unnamed(mfn, what, 1, 1)
        for root in roots
        for mfn, what in ((root.kernel_root, "kernel root"), (root.user_root, "user root"))
        if mfn
    ]
    for mfn, kind, count in hv.held:
        partial = lib.xm_xen_frame_table(hv._c)[mfn].type_info & lib.XM_PGT_PARTIAL
        what = "validation that was interrupted" if partial else _HOLDERS.get(kind, "page registered by hypercall")
        found.append(Unnamed(mfn, what, count, count if kind else 0))
    for mfn in range(hv.machine.frames):
        frame = lib.xm_xen_frame_table(hv._c)[mfn]
        if frame.count_info & lib.XM_PGC_XEN_HEAP and frame.owner in domids:
            found.append(Unnamed(mfn, "page of Xen's heap shared with the domain", 0, 1))
    return sorted(found)


def audit_tables(machine: Machine, roots: Iterable[int], limit: int = 1000) -> list[Violation]:
    """Audit the address spaces under the root frames `roots` of a machine without a hypervisor.

    What is asked: no leaf that user mode can write maps a table, each table is used at one level, and every upper
    entry leads to a frame of the machine (I-USERW, I-EXCL, I-LVL).  OutOfRange for a root the machine does not have.
    """
    given = list(roots)
    try:
        c = ffi.new("uint64_t[]", given)
    except (OverflowError, TypeError) as error:
        raise BadArgument(f"audit_tables(): {error}") from None
    return _run(limit, lib.xm_audit_native, machine._c, c, len(given))


def _run(limit: int, function: Any, *args: Any) -> list[Violation]:
    found = ffi.new("size_t *")
    room = min(limit, 64)
    while True:
        out = ffi.new("struct xm_violation[]", room)
        status = function(*args, out, room, found)
        if status:
            fail(status, "audit()")
        if found[0] <= room or room == limit:
            break
        room = min(limit, found[0])
    names = list(INVARIANTS)
    return [Violation(names[v.invariant], v.mfn, ffi.string(v.message).decode()) for v in out[0 : min(room, found[0])]]


def drive(config: Any, *, seed: int, steps: int) -> Any:
    """Run random operations in C, audited."""
    raise NotImplementedError("the C driver of random operations is not built yet")


def explore(config: Any, *, depth: int) -> Any:
    """Run every sequence of operations up to a depth."""
    raise NotImplementedError("exhaustive search is not built yet")
