"""Replay of a recorded history: what each kind of event does, the same under every design, and bad histories."""

from __future__ import annotations

import random
import struct

import pytest

from xenmmu import BadArgument, BadState, Machine, OutOfFrames, netbsd, xen
from xenmmu.netbsd import Kernel

FAULT, KFAULT, FORK, VFORK, EXEC, EXIT, MMAP, MUNMAP, MPROTECT, BRK = range(10)
READ, WRITE, FETCH, COW = 4, 6, 0x14, 7
TEXT, DATA, STACK = 0x555555554000, 0x555555600000, 0x7FFFFFF00000
FIXED = 0x40


def event(pid: int, kind: int, a: int = 0, b: int = 0, aux: int = 0) -> bytes:
    return struct.pack("<QQIIBBHI", a, b, 0, pid, kind, aux, 0, 0)


def history(*events: bytes) -> bytes:
    return b"".join(events)


def boot(design: str, frames: int = 1024) -> Kernel:
    machine = Machine(16 << 20)
    if design == "native":
        return Kernel(machine, design=design)
    return Kernel(xen.Hypervisor(machine).create_domain(frames), design=design)


@pytest.fixture(params=netbsd.DESIGNS)
def k(request: pytest.FixtureRequest) -> Kernel:
    return boot(request.param)


def test_a_touch_is_a_fault_once(k: Kernel) -> None:
    s = k.replay(event(1, FAULT, DATA, aux=WRITE) * 3)
    assert (s["events"], s["kind_fault"], s["unknown_pids"], s["processes"]) == (3, 3, 1, 1)
    assert (s["uvm_faults"], s["zero_fill"], s["no_fault"], s["user_accesses"]) == (1, 1, 2, 4)
    assert (s["extracts"], s["enters"], s["pages"]) == (7, 1, 1)
    pm = k.replay_pmap(1)
    assert pm is not None
    assert k.current == pm
    assert k.pmap_extract(pm, DATA) is not None
    assert k.user_load(DATA, 1) == 1, "the touch stored a byte"


def test_file_pages_are_shared_and_read_only(k: Kernel) -> None:
    s = k.replay(history(event(1, FAULT, TEXT, aux=FETCH), event(2, FAULT, TEXT, aux=READ)))
    assert (s["file"], s["zero_fill"], s["pages"], s["switches"]) == (2, 0, 1, 2)
    one, two = k.replay_pmap(1), k.replay_pmap(2)
    assert one is not None and two is not None
    assert k.pmap_extract(one, TEXT) == k.pmap_extract(two, TEXT)
    s = k.replay(event(2, FAULT, TEXT, aux=COW))
    assert (s["cow"], s["pages"]) == (1, 2)
    assert k.pmap_extract(one, TEXT) != k.pmap_extract(two, TEXT)


def test_fork_shares_until_one_side_writes(k: Kernel) -> None:
    k.replay(event(1, FAULT, DATA, aux=WRITE))
    s = k.replay(event(1, FORK, 2))
    assert (s["forks"], s["protects"], s["processes"], s["pages"]) == (1, 1, 2, 1)
    child = k.replay_pmap(2)
    assert child is not None
    assert k.pmap_extract(child, DATA) is None, "fork copies no entry"
    s = k.replay(event(2, FAULT, DATA, aux=READ))
    assert (s["resident"], s["pages"]) == (1, 1)
    s = k.replay(event(2, FAULT, DATA, aux=COW))
    assert (s["cow"], s["upgrade"], s["pages"]) == (1, 0, 2)
    s = k.replay(event(1, FAULT, DATA, aux=COW))
    assert (s["cow"], s["upgrade"], s["pages"]) == (0, 1, 2), "the last sharer's page"
    s = k.replay(history(event(2, EXIT), event(1, EXIT)))
    assert (s["exits"], s["processes"], s["pages"]) == (2, 0, 0)
    assert k.pmaps == ()
    assert k.current is None


def test_neighbours_are_mapped_ahead(k: Kernel) -> None:
    pages = [DATA + i * 0x1000 for i in range(10)]
    k.replay(history(*[event(1, FAULT, va, aux=WRITE) for va in pages], event(1, VFORK, 2)))
    s = k.replay(event(2, FAULT, pages[4], aux=READ))
    assert (s["extracts"], s["mapped_ahead"], s["enters"]) == (7, 7, 8)
    s = k.replay(history(*[event(2, FAULT, va, aux=READ) for va in pages]))
    assert s["no_fault"] == 8, "three back, four forward and itself; the first and the last are too far"


def test_exec_drops_everything(k: Kernel) -> None:
    k.replay(history(*[event(1, FAULT, va, aux=WRITE) for va in (DATA, STACK, 0x400000)]))
    free = k.free_pages
    s = k.replay(event(1, EXEC))
    assert (s["execs"], s["pages"], s["removes"]) == (1, 0, 3)
    assert k.free_pages == free + 3 + 3 * 3, "the pages, and three tables for each"
    pm = k.replay_pmap(1)
    assert pm is not None
    assert k.pmap_extract(pm, DATA) is None


def test_ranges(k: Kernel) -> None:
    pages = [DATA + i * 0x1000 for i in range(8)]
    k.replay(history(*[event(1, FAULT, va, aux=WRITE) for va in pages]))
    pm = k.replay_pmap(1)
    assert pm is not None
    s = k.replay(event(1, MUNMAP, pages[0], 0x1001))
    assert (s["removes"], s["pages"]) == (1, 6), "lengths are rounded up to pages"
    s = k.replay(event(1, MMAP, pages[2], 0x1000))
    assert s["pages"] == 6
    s = k.replay(event(1, MMAP, pages[2], 0x1000, aux=FIXED))
    assert s["pages"] == 5
    s = k.replay(event(1, MPROTECT, pages[3], 0x1000, aux=1))
    assert s["protects"] == 1
    s = k.replay(event(1, FAULT, pages[3], aux=COW))
    assert s["upgrade"] == 1
    s = k.replay(history(event(1, MPROTECT, pages[4], 0x1000, aux=0), event(1, FAULT, pages[4], aux=READ)))
    assert (s["resident"], s["pages"]) == (1, 5)
    s = k.replay(history(event(1, BRK, pages[7] + 1), event(1, BRK, pages[6])))
    assert s["pages"] == 3


def test_high_addresses_move_down_by_a_slot(k: Kernel) -> None:
    s = k.replay(history(*[event(1, FAULT, slot << 39, aux=WRITE) for slot in (252, 253, 254, 255)]))
    assert (s["relocated"], s["no_fault"]) == (4, 0)
    pm = k.replay_pmap(1)
    assert pm is not None
    assert all(k.pmap_extract(pm, slot << 39) is not None for slot in (251, 252, 253, 254))
    top = (1 << 47) - 1
    k.replay(event(1, FAULT, top, aux=WRITE))
    assert k.pmap_extract(pm, netbsd.VM_MAXUSER_ADDRESS - 1) is not None


@pytest.mark.parametrize("va", [1 << 47, 0xFFFFFFFFFF600000, (1 << 64) - 1])
def test_a_fault_beyond_the_user_half_is_a_signal(k: Kernel, va: int) -> None:
    s = k.replay(history(event(1, FAULT, DATA, aux=WRITE), event(1, FAULT, va, aux=READ), event(1, KFAULT, va)))
    assert (s["events"], s["unresolved"], s["uvm_faults"], s["relocated"]) == (3, 2, 1, 0)


def test_the_kernel_touches_user_memory(k: Kernel) -> None:
    iret = k.counters["iret"]
    s = k.replay(history(event(1, KFAULT, DATA, aux=2), event(2, KFAULT, DATA, aux=0), event(1, KFAULT, DATA, aux=3)))
    assert (s["kernel_accesses"], s["user_accesses"], s["zero_fill"], s["file"]) == (5, 0, 1, 1)
    assert k.counters["iret"] == iret


BAD = {
    "kind": event(1, 10),
    "kind 255": event(1, 255),
    "address": event(1, MUNMAP, 1 << 47, 4096),
    "length": event(1, MUNMAP, DATA, 1 << 47),
    "length wraps": event(1, MPROTECT, DATA, (1 << 64) - 1),
    "break": event(1, BRK, (1 << 64) - 1),
    "child": event(1, FORK, 1 << 32),
    "its own child": event(1, FORK, 1),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_event_is_named_and_not_applied(k: Kernel, bad: str) -> None:
    good = event(1, FAULT, DATA, aux=WRITE)
    with pytest.raises(BadArgument, match="event 1 of 3"):
        k.replay(history(good, BAD[bad], event(1, EXIT)))
    before, pages = k.counters, k.free_pages
    with pytest.raises(BadArgument, match="event 0 of 1"):
        k.replay(BAD[bad])
    assert (k.counters, k.free_pages) == (before, pages)
    assert k.replay(history(good, event(1, EXIT)))["events"] == 2


@pytest.mark.parametrize("what", [b"x", bytes(33), None, 3, "text"])
def test_what_is_no_history(k: Kernel, what: object) -> None:
    with pytest.raises(BadArgument):
        k.replay(what)
    assert k.replay(b"")["events"] == 0


def test_out_of_pages_is_clean(k: Kernel) -> None:
    events = [event(1, FAULT, DATA + i * 0x1000, aux=WRITE) for i in range(5000)]
    with pytest.raises(OutOfFrames, match=r"event \d+ of 5000"):
        k.replay(history(*events))
    with pytest.raises(OutOfFrames, match="event 0"):
        k.replay(event(1, FORK, 2))
    assert k.replay(event(1, EXEC))["pages"] == 0
    assert k.replay(history(*events[:500]))["pages"] == 500


def test_a_pmap_destroyed_by_somebody_else(k: Kernel) -> None:
    k.replay(event(1, FAULT, DATA, aux=WRITE))
    pm = k.replay_pmap(1)
    assert pm is not None
    k.exit(pm)
    with pytest.raises(BadState):
        k.replay(event(1, FAULT, DATA, aux=WRITE))


def random_history(seed: int, n: int) -> bytes:
    rng = random.Random(seed)
    pids, events = [1], []
    for _ in range(n):
        pid = rng.choice(pids)
        page = rng.choice((DATA, STACK, TEXT)) + (rng.randrange(-40, 1) if rng.random() < 0.9 else -600) * 0x1000
        kind = rng.choices(range(10), (60, 5, 3, 1, 1, 2, 3, 3, 5, 2))[0]
        a, b, aux = page + rng.randrange(4096), 0, rng.choice((READ, WRITE, FETCH, COW))
        if kind in (FORK, VFORK):
            a = rng.randrange(1, 20)
            if a == pid:
                continue
            pids.append(a)
        elif kind == EXIT and len(set(pids)) > 1:
            pids = [p for p in pids if p != pid]
        elif kind in (MMAP, MUNMAP, MPROTECT):
            a, b, aux = page, rng.randrange(1, 30) * 0x1000, rng.choice((0, 1, 3, 5, FIXED))
        events.append(event(pid, kind, a, b, aux))
    return history(*events)


OF_THE_HISTORY = (
    "uvm_faults",
    "zero_fill",
    "cow",
    "file",
    "resident",
    "upgrade",
    "extracts",
    "enters",
    "removes",
    "pages",
)


@pytest.mark.parametrize("seed", range(4))
def test_every_design_does_the_same_work(seed: int) -> None:
    events = random_history(seed, 3000)
    results = {}
    for design in netbsd.DESIGNS:
        k = boot(design, frames=3000)
        s = k.replay(events)
        assert s["unresolved"] == 0
        results[design] = {name: s[name] for name in OF_THE_HISTORY}
        results[design]["hash"] = hash(contents(k))
    assert all(r == results["native"] for r in results.values()), f"seed {seed}: {results}"


def contents(k: Kernel) -> tuple[tuple[int, int, bytes], ...]:
    """What each process has mapped where, by the bytes of its pages."""
    found = []
    for pid in range(20):
        pm = k.replay_pmap(pid)
        for base in (DATA, STACK - (1 << 39), TEXT) if pm is not None else ():
            for va in range(base - 610 * 0x1000, base + 0x1000, 0x1000):
                assert pm is not None
                pa = k.pmap_extract(pm, va)
                if pa is not None:
                    found.append((pid, va, k.machine.read(k.p2m(pa >> 12) << 12, 16)))
    assert found
    return tuple(found)


@pytest.mark.parametrize("seed", range(2))
def test_a_trial_leaves_no_trace(k: Kernel, seed: int) -> None:
    first, second = random_history(seed, 300), random_history(seed + 100, 300)
    k.replay(first)
    before, free, pmaps = k.counters, k.free_pages, k.pmaps
    with k.machine.trial():
        inside = k.replay(second)
    assert (k.counters, k.free_pages, k.pmaps) == (before, free, pmaps)
    assert k.replay(second) == inside


def test_slices_are_the_whole(k: Kernel) -> None:
    events = random_history(9, 600)
    other = boot(k.design)
    k.replay(events)
    for i in range(0, len(events), 32 * 7):
        other.replay(events[i : i + 32 * 7])
    assert k.counters == other.counters
