"""Missing flushes found without luck: programs that are right and that are not, each with the manual's reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xenmmu import BadArgument, BadState, Cpu, Machine, OutOfRange, PageFault, pte, x86
from xenmmu.x86 import History, Outcome

ROOT, L3, L2, L1, PAGE, OTHER, ROOT_B, L3_B, L2_B, L1_B, PAGE_B = (n << 12 for n in range(1, 12))
ALL = pte.P | pte.RW | pte.US
VA = 0x5123
PTE, PDE, PDPTE, PML4E = L1 + 5 * 8, L2, L3, ROOT
BASE_CR4 = x86.CR4_PAE
NOT_PRESENT = Outcome(None, "#PF", x86.PF_U)
KEEP = 1 << 63

Run = Callable[[Machine, Cpu, History], None]


def at(page: int, va: int = VA) -> Outcome:
    return Outcome(page | va & 0xFFF, None, None)


def build(cr4: int = BASE_CR4, flags: int = ALL, tlb: int | None = None) -> tuple[Machine, Cpu]:
    """Two address spaces that map VA, to PAGE and to PAGE_B."""
    m = Machine(64 << 12)
    for root, l3, l2, l1, page in ((ROOT, L3, L2, L1, PAGE), (ROOT_B, L3_B, L2_B, L1_B, PAGE_B)):
        m.write64(root, l3 | ALL)
        m.write64(l3, l2 | ALL)
        m.write64(l2, l1 | ALL)
        m.write64(l1 + 5 * 8, page | flags)
    return m, Cpu(m, cr3=ROOT, cr4=cr4, tlb=tlb)


@contextmanager
def history(cr4: int = BASE_CR4, flags: int = ALL) -> Iterator[tuple[Machine, Cpu, History]]:
    m, cpu = build(cr4, flags)
    with cpu.history() as h:
        assert h.outcomes(VA) == {at(PAGE)}
        yield m, cpu, h


# ---- programs: (what is done, outcomes of a user read of VA) -------------------------------------------------------


def good_unmap(m: Machine, cpu: Cpu, h: History) -> None:
    """A cleared PTE, then INVLPG (4.10.4.2)."""
    m.write64(PTE, 0)
    cpu.invlpg(VA)


def bad_unmap(m: Machine, cpu: Cpu, h: History) -> None:
    """A cleared PTE and nothing else: the translation may be cached though nobody used it (4.10.2.3)."""
    m.write64(PTE, 0)


def bad_flush_before_write(m: Machine, cpu: Cpu, h: History) -> None:
    """The flush comes first: the processor may walk between the two."""
    cpu.invlpg(VA)
    m.write64(PTE, 0)


def bad_invlpg_of_a_neighbour(m: Machine, cpu: Cpu, h: History) -> None:
    """INVLPG drops translations of its own page only."""
    m.write64(PTE, 0)
    cpu.invlpg(VA + 0x1000)


def bad_accessed_flag_clear(m: Machine, cpu: Cpu, h: History) -> None:
    """A=0 in an entry is no proof that it is not cached: the processor sets A by itself (4.8)."""
    m.write64(PTE, PAGE | ALL)
    m.write64(PTE, 0)


def good_remap(m: Machine, cpu: Cpu, h: History) -> None:
    """Break before make."""
    m.write64(PTE, 0)
    cpu.invlpg(VA)
    m.write64(PTE, OTHER | ALL)


def bad_remap(m: Machine, cpu: Cpu, h: History) -> None:
    m.write64(PTE, OTHER | ALL)


def good_map(m: Machine, cpu: Cpu, h: History) -> None:
    """P 0 to 1 needs no flush: what is not present is never cached (4.10.4.3)."""
    m.write64(PTE, 0)
    cpu.cr3 = ROOT
    m.write64(PTE, OTHER | ALL)


def good_reserved_bit_removed(m: Machine, cpu: Cpu, h: History) -> None:
    """Nor is an entry with a reserved bit set."""
    m.write64(PTE, 0)
    cpu.cr3 = ROOT
    m.write64(PTE, 1 << 50 | OTHER | ALL)
    m.write64(PTE, OTHER | ALL)


def good_page_table_removed(m: Machine, cpu: Cpu, h: History) -> None:
    """INVLPG of the page drops the upper entries too, of every address (4.10.4.1)."""
    m.write64(PDE, 0)
    cpu.invlpg(VA)


def bad_page_table_removed(m: Machine, cpu: Cpu, h: History) -> None:
    m.write64(PDE, 0)


def bad_page_table_reused(m: Machine, cpu: Cpu, h: History) -> None:
    """A cached PDE leads to a table that is data by now: what is written there maps."""
    m.write64(PDE, 0)
    m.write64(PTE, OTHER | ALL)


def bad_page_table_reused_after_invlpg_of_each_page_before(m: Machine, cpu: Cpu, h: History) -> None:
    """The flush of the pages, before the PDE is cleared, does not keep the PDE from being cached again."""
    m.write64(PTE, 0)
    cpu.invlpg(VA)
    m.write64(PDE, 0)
    m.write64(PTE, OTHER | ALL)


def good_page_table_reused(m: Machine, cpu: Cpu, h: History) -> None:
    m.write64(PTE, 0)
    m.write64(PDE, 0)
    cpu.invlpg(VA)
    m.write64(PTE, OTHER | ALL)


def bad_root_slot_moved(m: Machine, cpu: Cpu, h: History) -> None:
    """The slot of the root is pointed at another tree and no flush is made."""
    m.write64(PML4E, L3_B | ALL)


def good_root_slot_moved(m: Machine, cpu: Cpu, h: History) -> None:
    m.write64(PML4E, L3_B | ALL)
    cpu.cr3 = ROOT


def good_switch(m: Machine, cpu: Cpu, h: History) -> None:
    cpu.cr3 = ROOT_B


def good_fault(m: Machine, cpu: Cpu, h: History) -> None:
    """A page fault drops what is cached of its address, so a retry sees the tables (4.10.4.1)."""
    m.write64(PTE, 0)
    with pytest.raises(PageFault):
        cpu.load(VA)


def good_split(m: Machine, cpu: Cpu, h: History) -> None:
    """A 2-MByte page in place of the table, P cleared and flushed between."""
    m.write64(PDE, 0)
    cpu.invlpg(VA)
    m.write64(PDE, 0x200000 | ALL | pte.PS)


def bad_split(m: Machine, cpu: Cpu, h: History) -> None:
    """The address may be translated by the page of either size (4.10.2.3)."""
    m.write64(PDE, 0x200000 | ALL | pte.PS)


def good_large_page_by_any_address(m: Machine, cpu: Cpu, h: History) -> None:
    """INVLPG drops a large page by any address in it."""
    good_split(m, cpu, h)
    m.write64(PDE, 0)
    cpu.invlpg(VA + 0x100000)


LARGE = 0x200000 | VA
PROGRAMS: list[tuple[Run, set[Outcome]]] = [
    (good_unmap, {NOT_PRESENT}),
    (bad_unmap, {NOT_PRESENT, at(PAGE)}),
    (bad_flush_before_write, {NOT_PRESENT, at(PAGE)}),
    (bad_invlpg_of_a_neighbour, {NOT_PRESENT, at(PAGE)}),
    (bad_accessed_flag_clear, {NOT_PRESENT, at(PAGE)}),
    (good_remap, {at(OTHER)}),
    (bad_remap, {at(OTHER), at(PAGE)}),
    (good_map, {at(OTHER)}),
    (good_reserved_bit_removed, {at(OTHER)}),
    (good_page_table_removed, {NOT_PRESENT}),
    (bad_page_table_removed, {NOT_PRESENT, at(PAGE)}),
    (bad_page_table_reused, {NOT_PRESENT, at(PAGE), at(OTHER)}),
    (bad_page_table_reused_after_invlpg_of_each_page_before, {NOT_PRESENT, at(OTHER)}),
    (good_page_table_reused, {NOT_PRESENT}),
    (bad_root_slot_moved, {at(PAGE), at(PAGE_B)}),
    (good_root_slot_moved, {at(PAGE_B)}),
    (good_switch, {at(PAGE_B)}),
    (good_fault, {NOT_PRESENT}),
    (good_split, {Outcome(LARGE, None, None)}),
    (bad_split, {Outcome(LARGE, None, None), at(PAGE)}),
    (good_large_page_by_any_address, {NOT_PRESENT}),
]


@pytest.mark.parametrize(("program", "outcomes"), PROGRAMS, ids=[run.__name__ for run, _ in PROGRAMS])
def test_programs(program: Run, outcomes: set[Outcome]) -> None:
    with history() as (m, cpu, h):
        program(m, cpu, h)
        assert h.outcomes(VA) == outcomes
        now = cpu.walk(VA)
        assert h.stale(VA) == outcomes - {Outcome(now.pa, now.fault, now.error_code)}
        assert bool(h.stale(VA)) == program.__name__.startswith("bad")
        assert h.explain(VA).count("STALE") == len(h.stale(VA))


def test_every_program_here_is_run() -> None:
    named = {name for name in globals() if name.startswith(("good_", "bad_"))}
    assert named == {run.__name__ for run, _ in PROGRAMS}


# ---- rights --------------------------------------------------------------------------------------------------------


def test_a_write_protection_without_a_flush_does_not_bind_writes() -> None:
    with history() as (m, cpu, h):
        m.write64(PTE, PAGE | pte.P | pte.US)
        denied = Outcome(None, "#PF", x86.PF_P | x86.PF_W | x86.PF_U)
        assert h.outcomes(VA) == {at(PAGE)}
        assert h.outcomes(VA, "write") == {at(PAGE), denied}
        cpu.invlpg(VA)
        assert h.outcomes(VA, "write") == {denied}


def test_more_rights_need_no_flush_but_may_fault_once() -> None:
    """4.10.4.3: a fault by the old rights is possible; it drops them."""
    with history(flags=pte.P | pte.US) as (m, _, h):
        m.write64(PTE, PAGE | ALL)
        denied = Outcome(None, "#PF", x86.PF_P | x86.PF_W | x86.PF_U)
        assert h.outcomes(VA, "write") == {at(PAGE), denied}
        assert h.stale(VA, "write") == {denied}


def test_rights_are_combined_with_cached_upper_entries() -> None:
    """A PDE cached with U/S=1 keeps a supervisor-only PDE from being seen, also by a later PTE."""
    with history() as (m, cpu, h):
        m.write64(PDE, L1 | pte.P | pte.RW)
        m.write64(PTE, OTHER | ALL)
        assert h.outcomes(VA) == {at(PAGE), at(OTHER), Outcome(None, "#PF", x86.PF_P | x86.PF_U)}
        cpu.invlpg(VA + 0x1000)  # drops upper entries, and of translations another
        assert h.outcomes(VA) == {at(PAGE), at(OTHER), Outcome(None, "#PF", x86.PF_P | x86.PF_U)}
        cpu.invlpg(VA)
        assert h.outcomes(VA) == {Outcome(None, "#PF", x86.PF_P | x86.PF_U)}


def test_registers_are_those_of_the_access_not_of_the_walk() -> None:
    with history() as (_, cpu, h):
        assert h.outcomes(VA, "execute", user=False) == {at(PAGE)}
        cpu.cr4 |= x86.CR4_SMEP
        refused = Outcome(None, "#PF", x86.PF_P | x86.PF_I)
        assert h.outcomes(VA, "execute", user=False) == {refused}
        cpu.cr4 |= x86.CR4_SMAP
        assert h.outcomes(VA, user=False) == {Outcome(None, "#PF", x86.PF_P)}
        cpu.ac = True
        assert h.outcomes(VA, user=False) == {at(PAGE)}


# ---- global pages and PCIDs ----------------------------------------------------------------------------------------


def test_mov_to_cr3_keeps_global_translations() -> None:
    with history(BASE_CR4 | x86.CR4_PGE, ALL | pte.G) as (m, cpu, h):
        cpu.cr3 = ROOT_B
        m.write64(PTE, 0)
        assert h.stale(VA) == {at(PAGE)}
        cpu.cr3 = ROOT
        assert h.stale(VA) == {at(PAGE), at(PAGE_B)}
        cpu.cr4 ^= x86.CR4_PGE
        assert h.outcomes(VA) == {NOT_PRESENT}


def test_g_means_nothing_while_pge_is_0() -> None:
    with history(flags=ALL | pte.G) as (m, cpu, h):
        m.write64(PTE, 0)
        cpu.cr3 = ROOT
        assert h.outcomes(VA) == {NOT_PRESENT}


def test_pcids_keep_address_spaces_apart_and_alive() -> None:
    with history(BASE_CR4 | x86.CR4_PCIDE) as (m, cpu, h):
        cpu.cr3 = ROOT_B | 1
        assert h.outcomes(VA) == {at(PAGE_B)}
        m.write64(PTE, 0)
        cpu.cr3 = ROOT | KEEP
        assert h.outcomes(VA) == {NOT_PRESENT, at(PAGE)}
        cpu.cr3 = ROOT_B | 1 | KEEP
        assert h.outcomes(VA) == {at(PAGE_B)}


def test_bit_63_with_a_pcid_that_another_root_had() -> None:
    """Neither translations nor upper entries of the old root have gone."""
    with history(BASE_CR4 | x86.CR4_PCIDE) as (m, cpu, h):
        cpu.cr3 = ROOT_B | KEEP
        assert h.outcomes(VA) == {at(PAGE_B), at(PAGE)}
        m.write64(PTE, OTHER | ALL)
        assert h.outcomes(VA) == {at(PAGE_B), at(PAGE), at(OTHER)}
        assert "in a root that CR3 no longer names" in h.explain(VA)
        cpu.cr3 = ROOT_B
        assert h.outcomes(VA) == {at(PAGE_B)}


@pytest.mark.parametrize(
    ("kind", "pcid", "va", "is_global", "enough"),
    [
        ("address", 1, VA, False, True),
        ("address", 1, VA + 0x1000, False, False),
        ("address", 0, VA, False, False),
        ("address", 1, VA, True, False),
        ("single", 1, 0, False, True),
        ("single", 0, 0, False, False),
        ("single", 1, 0, True, False),
        ("all_but_global", 0, 0, False, True),
        ("all_but_global", 0, 0, True, False),
        ("all", 0, 0, True, True),
    ],
)
def test_invpcid(kind: str, pcid: int, va: int, is_global: bool, enough: bool) -> None:
    cr4 = BASE_CR4 | x86.CR4_PCIDE | x86.CR4_PGE
    with history(cr4, ALL | (pte.G if is_global else 0)) as (m, cpu, h):
        cpu.invpcid("all")
        cpu.cr3 = ROOT | 1
        cpu.invpcid("single", 0)
        m.write64(PTE, 0)
        cpu.invpcid(kind, pcid, va)
        assert h.stale(VA) == (set() if enough else {at(PAGE)})


# ---- recursive and alternate slots ---------------------------------------------------------------------------------


def test_an_alternate_slot_moved_without_a_flush_shows_the_other_process() -> None:
    """Slot 510 of the root shows the tables of whichever root it holds; a cached PML4E those of the one before."""
    m, cpu = build()
    for root in (ROOT, ROOT_B):
        m.write64(root + 255 * 8, root | pte.P | pte.RW)
    m.write64(ROOT + 510 * 8, ROOT | pte.P | pte.RW)
    window = x86.slot_entry_va(510, VA, inner=255)
    with cpu.history() as h:
        m.write64(ROOT + 510 * 8, ROOT_B | pte.P | pte.RW)
        assert {o.pa for o in h.outcomes(window, user=False)} == {PTE, L1_B + 5 * 8}
        assert {o.pa for o in h.stale(window, user=False)} == {PTE}
        cpu.invlpg(window)
        assert {o.pa for o in h.outcomes(window, user=False)} == {L1_B + 5 * 8}


# ---- the history itself --------------------------------------------------------------------------------------------


def test_what_was_written_stays_and_a_new_history_begins_with_nothing_cached() -> None:
    m, cpu = build()
    with cpu.history() as h:
        m.write64(PTE, OTHER | ALL)
        assert len(h.outcomes(VA)) == 2
    assert m.read64(PTE) == OTHER | ALL
    with pytest.raises(BadState):
        h.outcomes(VA)
    with cpu.history() as h:
        assert h.outcomes(VA) == {at(OTHER)}


def test_a_trial_within_is_as_if_it_had_not_been() -> None:
    with history() as (m, cpu, h):
        m.write64(PTE, 0)
        with m.trial():
            cpu.invlpg(VA)
            assert h.outcomes(VA) == {NOT_PRESENT}
            m.write64(PTE, OTHER | ALL)
            assert h.outcomes(VA) == {at(OTHER)}
            cpu.cr3 = ROOT_B
        assert cpu.cr3 == ROOT
        assert h.outcomes(VA) == {NOT_PRESENT, at(PAGE)}
        cpu.invlpg(VA)
        assert h.outcomes(VA) == {NOT_PRESENT}


def test_a_history_within_a_trial_is_undone_with_it() -> None:
    m, cpu = build()
    with m.trial():
        with cpu.history() as h:
            cpu.cr3 = ROOT_B
            m.write64(PTE, 0)
            assert h.outcomes(VA) == {at(PAGE_B)}
        m.write64(PTE, OTHER | ALL)
        cpu.invlpg(VA)
    assert (cpu.cr3, m.read64(PTE)) == (ROOT, PAGE | ALL)
    cpu.invlpg(VA)
    with cpu.history() as h:
        assert h.outcomes(VA) == {at(PAGE)}


def test_a_history_cannot_end_within_a_trial_begun_in_it() -> None:
    m, cpu = build()
    block = cpu.history()
    h = block.__enter__()
    with m.trial(), pytest.raises(BadState):
        block.__exit__(None, None, None)
    assert h.outcomes(VA) == {at(PAGE)}
    h._end()


def test_one_history_of_a_processor_at_a_time() -> None:
    _, cpu = build()
    with cpu.history(), pytest.raises(BadState), cpu.history():
        pass
    with cpu.history() as h:
        assert h.outcomes(VA) == {at(PAGE)}


def test_writes_by_the_processor_and_through_views_count() -> None:
    m, cpu = build()
    m.write64(L1 + 6 * 8, L1 | ALL)  # the page table maps itself at 0x6000
    old = m.frame(L1 >> 12).cast("Q")
    with cpu.history() as h:
        cpu.store(0x6000 + 5 * 8, OTHER | ALL)
        assert h.outcomes(VA) == {at(PAGE), at(OTHER)}
        cpu.invlpg(VA)
        assert h.outcomes(VA) == {at(OTHER)}
        old[5] = 0
        assert h.outcomes(VA) == {NOT_PRESENT, at(OTHER)}
        cpu.invlpg(VA)
        assert h.outcomes(VA) == {NOT_PRESENT}
        m.frame(L1 >> 12).cast("Q")[5] = PAGE | ALL
        old[5] = 0
        cpu.invlpg(VA)
        assert h.outcomes(VA) == {NOT_PRESENT}


def test_two_processors_each_have_their_own() -> None:
    m, one = build()
    two = Cpu(m, cr3=ROOT)
    with one.history() as first, two.history() as second:
        m.write64(PTE, 0)
        one.invlpg(VA)
        assert first.outcomes(VA) == {NOT_PRESENT}
        assert second.outcomes(VA) == {NOT_PRESENT, at(PAGE)}


def test_faults_that_ask_no_table() -> None:
    with history() as (_, __, h):
        assert h.outcomes(1 << 50) == {Outcome(None, "#GP", 0)}
        assert h.outcomes(VA, "shadow_read") == {Outcome(None, "#UD", 0)}


def test_misuse() -> None:
    with history() as (m, _, h):
        for va in (-1, 1 << 64, "VA"):
            with pytest.raises(BadArgument):
                h.outcomes(va)  # type: ignore[arg-type]
        with pytest.raises(BadArgument):
            h.outcomes(VA, "peek")
        m.write64(PDE, 1 << 40 | ALL)
        with pytest.raises(OutOfRange):
            h.outcomes(VA)


def test_too_many_possibilities_are_refused_and_many_are_not() -> None:
    m, cpu = build()
    with cpu.history() as h:
        for frame in range(3000):
            m.write64(PTE, (100 + frame) << 12 | ALL)
        assert len(h.outcomes(VA)) == 3001
        for frame in range(3000, 6000):
            m.write64(PTE, (100 + frame) << 12 | ALL)
        with pytest.raises(BadState):
            h.outcomes(VA)
        cpu.invlpg(VA)


def test_explanation() -> None:
    with history() as (m, cpu, h):
        m.write64(PTE, 0)
        cpu.invlpg(VA + 0x1000)
        assert h.explain(VA).splitlines() == [
            "read at 0x0000000000005123 by user: 2 outcomes after 1 event",
            "  the tables as they are: #PF with error code 0x4 (U/S): the entry is not present (P=0)",
            "  STALE: allowed: physical address 0x5123 in a page of 0x1000 bytes",
            "    PML4E at 0x1000 = 0x2007",
            "    PDPTE at 0x2000 = 0x3007",
            "    PDE at 0x3000 = 0x4007",
            "    PTE at 0x4028 = 0x5007, now 0x0: read at the beginning",
            "    flushes and register writes since: 1, none of which drops it",
        ]


# ---- properties ----------------------------------------------------------------------------------------------------

WRITES = st.tuples(
    st.sampled_from([PTE, PDE, PDPTE, PML4E]),
    st.sampled_from([0, PAGE, OTHER, L1, L1_B, L2_B, L3_B]),
    st.sampled_from([ALL, pte.P | pte.US, ALL | pte.G, ALL | pte.NX, pte.RW]),
)


@given(st.lists(WRITES, max_size=8))
def test_a_full_flush_after_every_write_leaves_what_the_tables_say(writes: list[tuple[int, int, int]]) -> None:
    with history(BASE_CR4 | x86.CR4_PGE) as (m, cpu, h):
        for pa, frame, flags in writes:
            m.write64(pa, frame | flags)
            cpu.cr4 ^= x86.CR4_PGE
            for access in ("read", "write", "execute"):
                w = cpu.walk(VA, access)
                assert h.outcomes(VA, access) == {Outcome(w.pa, w.fault, w.error_code)}


@given(st.lists(st.tuples(WRITES, st.booleans(), st.booleans()), max_size=8))
def test_more_flushes_never_allow_more(steps: list[tuple[tuple[int, int, int], bool, bool]]) -> None:
    sets = []
    for more in (False, True):
        with history() as (m, cpu, h):
            for (pa, frame, flags), flush, extra in steps:
                m.write64(pa, frame | flags)
                if flush or (more and extra):
                    cpu.invlpg(VA)
            sets.append(h.outcomes(VA))
    assert sets[1] <= sets[0]


def test_a_long_history_of_one_entry_is_answered() -> None:
    """What was dropped does not fill the memory of a question: ten thousand values, each flushed."""
    with history() as (m, cpu, h):
        for i in range(10_000):
            m.write64(PTE, (PAGE if i % 2 else OTHER) | ALL)
            cpu.invlpg(VA)
        assert h.outcomes(VA) == {at(PAGE)}
        m.write64(PTE, OTHER | ALL)
        cpu.invlpg(VA + 0x1000)
        assert h.outcomes(VA) == {at(PAGE), at(OTHER)}
        assert h.stale(VA) == {at(PAGE)}
