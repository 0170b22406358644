"""Floor 0: machine memory is bytes, sparse, shared by views, and a trial leaves nothing behind."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xenmmu import BadArgument, Machine, OutOfFrames, OutOfRange, XenMMUError
from xenmmu.machine import PAGE_SIZE

SIZE = 4 * PAGE_SIZE


def content(m: Machine) -> bytes:
    return m.read(0, m.size)


def test_memory_is_zero_and_little_endian() -> None:
    m = Machine(SIZE)
    assert content(m) == bytes(SIZE)
    assert m.frames == 4 and m.size == SIZE
    m.write64(PAGE_SIZE - 8, 0x1122334455667788)
    assert m.read(PAGE_SIZE - 8, 8) == bytes.fromhex("8877665544332211")
    m.write(PAGE_SIZE - 3, b"abcdef")
    assert m.read(PAGE_SIZE - 4, 8) == b"\x44abcdef\0"
    assert m.read64(SIZE - 8) == 0


def test_the_last_byte_is_there_and_the_next_is_not() -> None:
    m = Machine(SIZE)
    m.write(SIZE - 1, b"x")
    assert m.read(SIZE - 1, 1) == b"x"
    assert m.read(SIZE, 0) == b""
    m.write(SIZE, b"")


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda m: m.read64(SIZE), OutOfRange),
        (lambda m: m.read64(2**64 - 8), OutOfRange),
        (lambda m: m.read64(4), BadArgument),
        (lambda m: m.read64(-8), BadArgument),
        (lambda m: m.read64(2**64), BadArgument),
        (lambda m: m.write64(SIZE, 1), OutOfRange),
        (lambda m: m.write64(1, 1), BadArgument),
        (lambda m: m.write64(0, -1), BadArgument),
        (lambda m: m.write64(0, 2**64), BadArgument),
        (lambda m: m.read(SIZE - 1, 2), OutOfRange),
        (lambda m: m.read(2**64 - 1, 2), OutOfRange),
        (lambda m: m.read(0, -1), BadArgument),
        (lambda m: m.read(0, 2**64), BadArgument),
        (lambda m: m.read(-1, 1), BadArgument),
        (lambda m: m.write(SIZE - 1, b"ab"), OutOfRange),
        (lambda m: m.write(-1, b"ab"), BadArgument),
        (lambda m: m.frame(4), OutOfRange),
        (lambda m: m.frame(2**52), OutOfRange),
        (lambda m: m.frame(-1), BadArgument),
        (lambda m: m.frame(2**64), BadArgument),
    ],
)
def test_misuse_is_one_exception_and_changes_nothing(call: Callable[[Machine], object], error: type[Exception]) -> None:
    m = Machine(SIZE)
    m.write(0, bytes(range(256)) * 64)
    before = content(m)
    with pytest.raises(error) as raised:
        call(m)
    assert isinstance(raised.value, XenMMUError)
    assert content(m) == before


@pytest.mark.parametrize("size", [0, -4096, 1, 4095, 4097, 4096.0, "4096", None])
def test_a_size_that_is_none(size: object) -> None:
    with pytest.raises(BadArgument):
        Machine(size)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [1 << 62, 1 << 63, 1 << 80])
def test_more_than_the_host_can_reserve(size: int) -> None:
    with pytest.raises(OutOfFrames):
        Machine(size)


def test_a_frame_is_a_writable_view_without_a_copy() -> None:
    m = Machine(SIZE)
    view = m.frame(2).cast("Q")
    view[511] = 7
    assert m.read64(3 * PAGE_SIZE - 8) == 7
    m.write64(2 * PAGE_SIZE, 9)
    assert view[0] == 9
    assert len(m.frame(0)) == PAGE_SIZE and not m.frame(0).readonly


def test_a_view_outlives_the_machine_object() -> None:
    view = Machine(SIZE).frame(1)
    gc.collect()
    view[:] = b"\x5a" * PAGE_SIZE
    assert bytes(view) == b"\x5a" * PAGE_SIZE


# Resident size in a process of its own, touching ten frames far apart.
RESIDENT = """
import sys
from xenmmu import Machine
size = int(sys.argv[1])
m = Machine(size)
for i in range(10):
    m.write64(i * (size // 10) // 4096 * 4096, i + 1)
print(next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS")))
"""


@pytest.mark.skipif("asan" in os.environ.get("LD_PRELOAD", ""), reason="the shadow memory of ASan is resident too")
def test_a_large_machine_costs_what_is_touched() -> None:
    def resident_kib(size: int) -> int:
        run = [sys.executable, "-c", RESIDENT, str(size)]
        return min(int(subprocess.run(run, capture_output=True, check=True).stdout) for _ in range(3))

    assert resident_kib(1 << 40) - resident_kib(1 << 20) < 1024


def test_a_trial_undoes_everything_even_after_an_exception() -> None:
    m = Machine(SIZE)
    m.write(0, b"before")
    before = content(m)
    with pytest.raises(ZeroDivisionError), m.trial():
        m.write(3, b"changed")
        m.write64(PAGE_SIZE, 1)
        raise ZeroDivisionError
    assert content(m) == before
    m.write64(PAGE_SIZE, 2)
    assert m.read64(PAGE_SIZE) == 2


def test_a_trial_undoes_what_is_written_through_a_view_taken_before_it_or_in_it() -> None:
    m = Machine(SIZE)
    old = m.frame(0)
    old[0] = 1
    before = content(m)
    with m.trial():
        new = m.frame(1)
        old[0] = new[0] = 2
        again = m.frame(0)
        again[1] = 2
    assert content(m) == before
    old[0] = 3
    assert m.read(0, 1) == b"\3"


def test_a_view_taken_in_an_inner_trial_is_undone_by_the_outer_one() -> None:
    m = Machine(SIZE)
    with m.trial():
        with m.trial():
            view = m.frame(3)
            view[0] = 1
        assert view[0] == 0
        view[0] = 2
    assert content(m) == bytes(SIZE)


WRITES = st.tuples(st.integers(0, SIZE - 1), st.binary(min_size=1, max_size=40))
SCRIPTS = st.recursive(st.lists(WRITES, max_size=8), lambda inner: st.lists(st.one_of(WRITES, inner), max_size=8))


@given(SCRIPTS)
def test_nested_trials_against_a_bytearray(script: list[object]) -> None:
    m, model = Machine(SIZE), bytearray(SIZE)

    def run(steps: list[object]) -> None:
        for step in steps:
            if isinstance(step, tuple):
                pa, data = step[0], step[1][: SIZE - step[0]]
                m.write(pa, data)
                model[pa : pa + len(data)] = data
            else:
                saved = bytes(model)
                with m.trial():
                    run(step)
                    assert content(m) == bytes(model)
                model[:] = saved
            assert content(m) == bytes(model)

    run(script)


def test_machines_run_in_parallel() -> None:
    def work(seed: int) -> bytes:
        m = Machine(SIZE)
        for i in range(2000):
            with m.trial():
                m.write64(8 * (i % 512), seed)
            m.write64(8 * ((i * seed) % 512), i * seed)
        return content(m)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(1, 9))) == [work(seed) for seed in range(1, 9)]
