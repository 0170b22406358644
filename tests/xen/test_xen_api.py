"""The Python face of the Xen floor: request shapes, misuse, multicalls, counters, lifetimes, and trials."""

from __future__ import annotations

import gc
from array import array
from typing import Any

import pytest

from xenmmu import BadArgument, BadState, Machine, xen
from xenmmu._core import ffi, lib
from xenmmu.xen import MmuextOp, Reason

P, RW, US = 1, 2, 4
K = 1 << 52
EINVAL = 22


def test_reasons_are_those_of_the_header() -> None:
    elements = {name: value for value, name in ffi.typeof("enum xm_reason").elements.items()}
    assert {f"XM_R_{r.name}": r.value for r in Reason} | {"XM_R_KINDS": len(Reason)} == elements
    assert Reason.NONE.errno == 0
    for reason in Reason:
        assert reason.text
        refused = reason.errno > 0 or lib.xm_reason_grant_status(reason) < 0
        assert refused == (reason != Reason.NONE)
    assert len({reason.text for reason in Reason}) == len(Reason)


def test_constants_are_those_of_the_header() -> None:
    prefixes = ("DOMID_", "MMU_", "MMUEXT_", "UVMF_", "VMASST_")
    missing = {"MMUEXT_KINDS", "UVMF_FLUSHTYPE_MASK"}
    names = {n.removeprefix("XM_") for n in dir(lib) if n.startswith("XM_") and n[3:].startswith(prefixes)} - missing
    assert names
    for name in names:
        assert getattr(xen, name) == getattr(lib, f"XM_{name}")


def test_page_types() -> None:
    assert [t.name for t in sorted(xen.PageType)] == ["NONE", "L1", "L2", "L3", "L4", "SEG_DESC", "SHARED", "WRITABLE"]


# ---- options and handles


def test_options() -> None:
    assert xen.Options() == xen.Options(pv_linear_pt=True, tlb=False, global_pages=False, mutants=())
    known = xen.Options.known_mutants()
    assert {"xsa_182_fastpath_rw", "xsa_148_l2_pse_unchecked", "owner_unchecked_l1", "user_slot_rw_by_adjust"} <= {
        *known
    }
    assert xen.Options(mutants=[known[0]]).mutants == (known[0],)  # type: ignore[arg-type]
    hv = xen.Hypervisor(Machine(16 << 20), options=xen.Options(mutants=known))
    assert hv.options.mutants == known
    assert lib.xm_xen_options(hv._c).mutants == (1 << len(known)) - 1
    hv = xen.Hypervisor(Machine(16 << 20), xen.Options(pv_linear_pt=False, mutants=("xsa_182_fastpath_rw",)))
    assert (lib.xm_xen_options(hv._c).pv_linear_pt, lib.xm_xen_options(hv._c).mutants) == (0, 1)


@pytest.mark.parametrize(
    "options",
    [
        {"mutants": ("nonsense",)},
        {"mutants": "xsa_182_fastpath_rw"},
        {"mutants": 5},
        {"tlb": 1},
        {"pv_linear_pt": None},
    ],
)
def test_bad_options(options: dict[str, Any]) -> None:
    with pytest.raises(BadArgument):
        xen.Options(**options)


def test_an_unknown_mutant_is_answered_with_the_known_ones() -> None:
    with pytest.raises(BadArgument, match="xsa_182_fastpath_rw"):
        xen.Options(mutants=("xsa_999",))


@pytest.mark.parametrize("args", [(None,), (64,), (Machine(16 << 20), "tlb"), (Machine(16 << 20), {})])
def test_bad_hypervisors(args: tuple[Any, ...]) -> None:
    with pytest.raises(BadArgument):
        xen.Hypervisor(*args)


def test_each_floor_keeps_the_one_below_alive() -> None:
    d = xen.Hypervisor(Machine(16 << 20)).create_domain(frames=100)
    gc.collect()
    d.store(0xFFFFFFFF80000000, 5)
    assert d.load(0xFFFFFFFF80000000) == 5 == d.hypervisor.machine.read64(d.mfns[0] << 12)


def test_many_come_and_go() -> None:
    for _ in range(20):
        xen.Hypervisor(Machine(16 << 20)).create_domain(frames=100)


# ---- requests


def forms(pairs: list[tuple[int, int]]) -> list[Any]:
    flat = [word for pair in pairs for word in pair]
    return [
        pairs,
        tuple(pairs),
        [list(pair) for pair in pairs],
        array("Q", flat),
        memoryview(array("Q", flat)),
        memoryview(bytearray(array("Q", flat).tobytes())).cast("Q"),
        memoryview(b"x" + array("Q", flat).tobytes())[1:].cast("Q"),  # not aligned
        memoryview(array("Q", flat).tobytes()).cast("Q", (len(pairs), 2)),
    ]


@pytest.mark.parametrize("form", range(8))
def test_requests_in_every_form(g: Any, form: int) -> None:
    x, y, s, t = g.page(), g.page(), g.w(), g.w()
    pairs = [(g.window << 12 | s << 3, x << 12 | P | RW), (g.window << 12 | t << 3, y << 12 | P)]
    assert g.d.mmu_update(forms(pairs)[form])[:3] == (0, 2, Reason.NONE)
    assert g.peek(g.window, s) == x << 12 | P | RW | US | K
    assert g.peek(g.window, t) == y << 12 | P | US | K


def test_requests_from_numpy(g: Any) -> None:
    np = pytest.importorskip("numpy")
    x, s = g.page(), g.w()
    ptr, val = g.window << 12 | s << 3, x << 12 | P
    rows = np.array([[ptr, val], [ptr, 0]], dtype=np.uint64)
    fields = np.zeros(2, dtype=[("ptr", "<u8"), ("val", "<u8")])
    fields["ptr"] = ptr
    fields["val"] = [val, 0]
    for reqs in (rows, rows.ravel(), fields):
        assert g.d.mmu_update(reqs)[:2] == (0, 2)
        assert g.d.mmu_update(reqs[: len(reqs) // 2])[:2] == (0, 1)
        assert g.peek(g.window, s) == val | US | K
        assert g.d.mmu_update(reqs)[:2] == (0, 2)
        assert g.peek(g.window, s) == 0
    for bad in (
        rows.T,
        rows[:, :1],
        rows.astype(np.int64),
        rows.astype(np.float64),
        rows[::-1],
        fields[["val", "ptr"]],
    ):
        with pytest.raises(BadArgument):
            g.d.mmu_update(bad)
    assert g.d.mmu_update(np.zeros((0, 2), np.uint64))[:2] == (0, 0)


@pytest.mark.parametrize(
    "reqs",
    [
        5,
        "ab",
        b"0123456789abcdef",
        [1, 2],
        [(1,)],
        [(1, 2), (3, 4, 5)],
        [(0, -1)],
        [(1 << 64, 0)],
        [(0.5, 1)],
        [("a", "b")],
        [None],
        iter([(0, 0)]),
        array("Q", [1]),
        array("I", [1, 2]),
        array("d", [1, 2]),
        array("q", [1, 2]),
        memoryview(array("Q", range(8)))[::2],
    ],
)
def test_bad_requests(g: Any, reqs: Any) -> None:
    before = g.everything()
    with pytest.raises(BadArgument):
        g.d.mmu_update(reqs)
    assert g.everything() == before
    assert g.up(g.window, 1, 0).rc == 0


@pytest.mark.parametrize("kw", [{"count": 2}, {"count": -1}, {"count": 1 << 32}, {"count": 0x80000002}, {"count": "1"}])
def test_bad_counts(g: Any, kw: dict[str, Any]) -> None:
    before = g.everything()
    with pytest.raises(BadArgument):
        g.d.mmu_update([(g.window << 12, 0)], **kw)
    with pytest.raises(BadArgument):
        g.d.mmuext_op([MmuextOp(xen.MMUEXT_TLB_FLUSH_LOCAL)], **kw)
    assert g.everything() == before


@pytest.mark.parametrize(
    "kw", [{"foreigndom": -1}, {"foreigndom": 1 << 32}, {"foreigndom": "self"}, {"done": -1}, {"done": 0.5}]
)
def test_bad_numbers(g: Any, kw: dict[str, Any]) -> None:
    before = g.everything()
    with pytest.raises(BadArgument):
        g.d.mmu_update([(g.window << 12, 0)], **kw)
    with pytest.raises(BadArgument):
        g.d.mmuext_op([MmuextOp(xen.MMUEXT_TLB_FLUSH_LOCAL)], **kw)
    assert g.everything() == before


@pytest.mark.parametrize(
    "ops", [5, "abc", [(1, 2)], [MmuextOp(-1)], [MmuextOp(1 << 32)], [MmuextOp(0, 1 << 64)], [MmuextOp(0, 0, -1)], [1]]
)
def test_bad_operations(g: Any, ops: Any) -> None:
    before = g.everything()
    with pytest.raises(BadArgument):
        g.d.mmuext_op(ops)
    assert g.everything() == before


def test_bad_scalars(g: Any) -> None:
    before = g.everything()
    for call in (
        lambda: g.d.update_va_mapping(-1, 0),
        lambda: g.d.update_va_mapping(0, 1 << 64),
        lambda: g.d.update_va_mapping(0, 0, -1),
        lambda: g.d.update_va_mapping("a", 0),
        lambda: g.d.update_va_mapping_otherdomain(0, 0, 0, -1),
        lambda: g.d.vm_assist(-1, 0),
        lambda: g.d.vm_assist(0, 1 << 32),
        lambda: g.hv.create_domain(frames=100, privileged=1),
    ):
        with pytest.raises(BadArgument):
            call()
    assert g.everything() == before


def test_no_requests_at_all_only_without_a_count(g: Any) -> None:
    assert g.d.mmu_update(None)[:2] == (0, 0)
    with pytest.raises(BadArgument):
        g.d.mmu_update(None, count=1)


def test_extreme_pointers_do_no_harm(g: Any) -> None:
    for word in (0, (1 << 64) - 8, 1 << 63, 0x7FFFFFFFFFFFFFF8, (1 << 52) - 8):
        for cmd in range(8):
            r = g.d.mmu_update([(word | cmd, (1 << 64) - 1)])
            assert r.rc < 0
        for cmd in range(22):
            g.d.mmuext_op([MmuextOp(cmd, word | 7, word)])
    assert g.d.kernel_root == g.root


# ---- walks


def test_walk_is_of_the_current_root_and_changes_nothing(g: Any) -> None:
    x = g.page()
    va = g.map(x, P)
    before = g.everything()
    w = g.d.walk(va + 5)
    assert (w.pa, w.error_code, w.page_size) == (x << 12 | 5, None, 4096)
    assert [s.entry_pa >> 12 for s in w.steps] == [g.root, g.window_l3, g.window_l2, g.window]
    w = g.d.walk(va, "write")
    assert (w.pa, w.error_code, w.fault) == (None, 7, "#PF")  # before Xen: ring 3
    assert g.d.walk(0x1000, "execute").error_code == 0x14
    assert g.d.walk(1 << 47).fault == "#GP"
    assert g.everything() == before
    assert g.ext(xen.MMUEXT_NEW_USER_BASEPTR, g.table()).rc == 0
    g.d.enter_user()
    assert g.d.walk(va).error_code == 4
    for bad in ((-1,), (va, "jump"), (va, 3), ("x",)):
        with pytest.raises(BadArgument):
            g.d.walk(*bad)


# ---- multicall


def test_multicall_goes_on_after_a_refusal(g: Any) -> None:
    x, s, t = g.page(), g.w(), g.w()
    results = g.d.multicall(
        [
            ("mmu_update", [(g.window << 12 | s << 3, x << 12 | P)]),
            ("mmuext_op", [MmuextOp(xen.MMUEXT_UNPIN_TABLE, x)], xen.DOMID_SELF),
            ("update_va_mapping", g.w_va(t), x << 12 | P | RW, xen.UVMF_INVLPG),
            ("update_va_mapping_otherdomain", g.w_va(t), 0, 0, 99),
            ("vm_assist", xen.VMASST_ENABLE, xen.VMASST_WRITABLE_PAGETABLES),
        ]
    )
    assert [r.rc for r in results] == [0, -EINVAL, 0, -3, 0]
    assert [r.reason for r in results][1::2] == [Reason.NOT_PINNED, Reason.FOREIGNDOM_UNKNOWN]
    assert g.books(x) == "3 WRITABLE*1 v"
    assert g.d.multicall([]) == []


@pytest.mark.parametrize(
    "bad",
    [
        ("mmu_update",),
        ("mmu_update", [], 1, 2),
        ("mmu_update", [(1,)]),
        ("mmu_update", [], -1),
        ("mmuext_op", [(1, 2)]),
        ("vm_assist", 1.5, 2),
        ("update_va_mapping", 0, 1 << 64),
        ("multicall", []),
        ("enter_user",),
        ("_alive",),
        (),
        5,
        None,
        "mmu_update",
        ([],),
    ],
)
def test_multicall_checks_all_before_it_runs_any(g: Any, bad: Any) -> None:
    x, s = g.page(), g.w()
    before = g.everything()
    with pytest.raises(BadArgument):
        g.d.multicall([("mmu_update", [(g.window << 12 | s << 3, x << 12 | P)]), bad])
    assert g.everything() == before


# ---- counters


def test_counters(g: Any) -> None:
    x, slots = g.page(), [g.w() for _ in range(5)]
    before = g.d.counters
    g.d.mmu_update([(g.window << 12 | s << 3, x << 12 | P) for s in slots])
    g.d.update_va_mapping(g.w_va(slots[0]), 0)
    g.d.mmuext_op([MmuextOp(xen.MMUEXT_TLB_FLUSH_LOCAL), MmuextOp(xen.MMUEXT_INVLPG_LOCAL, 0x1000)])
    assert {name: n for name, n in (g.d.counters - before).items() if n} == {
        "mmu_update": 1,
        "mmu_update_entries": 5,
        "update_va_mapping": 1,
        "mmuext_op": 1,
        "MMUEXT_TLB_FLUSH_LOCAL": 1,
        "MMUEXT_INVLPG_LOCAL": 1,
        "tlb_flushes": 1,
        "invlpg": 1,
    }


def test_counters_of_validation(g: Any) -> None:
    l1, l2 = g.page(), g.page()
    g.poke(l2, 0, l1 << 12 | P)
    before = g.d.counters
    assert g.pin(2, l2).rc == 0
    made = g.d.counters - before
    assert (made["tables_validated"], made["entries_validated"]) == (2, 1024)
    assert g.unpin(l2).rc == 0
    assert (g.d.counters - before)["entries_validated"] == 2048


# ---- trials


def test_a_trial_undoes_whole_hypercalls(g: Any) -> None:
    x, y, user = g.page(), g.page(), g.copy_root()
    l1 = g.table({0: x << 12 | P | RW, 5: g.root << 12 | P | RW})
    good = g.table({0: x << 12 | P | RW})
    va = g.map(y)
    before = g.everything()
    with g.m.trial():
        assert g.pin(1, l1).rc < 0  # adjusted bits stay, elsewhere
        assert g.up(g.window_l2, 5, good << 12 | P | RW).rc == 0
        assert g.pin(4, user).rc == 0
        assert g.ext(xen.MMUEXT_NEW_USER_BASEPTR, user).rc == 0
        assert g.ext(xen.MMUEXT_NEW_BASEPTR, user).rc == 0
        assert g.up(x, 0, 99, xen.MMU_MACHPHYS_UPDATE).rc == 0
        g.d.store(va, 0x1234)
        assert g.d.vm_assist(0, xen.VMASST_M2P_STRICT).rc == 0
        assert g.ext(xen.MMUEXT_CLEAR_PAGE, y).rc == 0
        g.d.enter_user()
        changed = g.everything()
        with g.m.trial():
            g.d.enter_kernel()
            assert g.ext(xen.MMUEXT_NEW_BASEPTR, g.root).rc == 0
        assert g.everything() == changed
    assert changed != before
    assert g.everything() == before
    # The assist went back too, and everything works on.
    assert g.pin(4, user).rc == 0
    assert g.peek(user, 256) == 0
    g.d.store(va, 1)


def test_a_domain_made_in_a_trial_ends_with_it() -> None:
    m = Machine(32 << 20)
    hv = xen.Hypervisor(m)
    before = [hv.frame_info(mfn) for mfn in range(m.frames)], hv.free_frames
    with m.trial():
        d = hv.create_domain(frames=100)
        d.load(0xFFFFFFFF80000000)
    assert ([hv.frame_info(mfn) for mfn in range(m.frames)], hv.free_frames) == before
    for use in (
        lambda: d.load(0xFFFFFFFF80000000),
        lambda: d.store(0xFFFFFFFF80000000, 1),
        lambda: d.fetch(0xFFFFFFFF80000000),
        lambda: d.mmu_update([]),
        lambda: d.mmuext_op([]),
        lambda: d.update_va_mapping(0, 0),
        lambda: d.vm_assist(0, 2),
        lambda: d.enter_user(),
        lambda: d.mfns,
        lambda: d.kernel_root,
        lambda: d.counters,
        lambda: d.domid,
    ):
        with pytest.raises(BadState):
            use()
    assert "rolled back" in repr(d)
    again = hv.create_domain(frames=100)
    again.load(0xFFFFFFFF80000000)
    with pytest.raises(BadState):
        d.load(0xFFFFFFFF80000000)
