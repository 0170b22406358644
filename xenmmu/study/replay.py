"""The replay: every event of a trace under each design, user mode attacking and the auditor reading along.

Each design has its own machine and its own thread (the C core runs without the interpreter lock), and its counts
depend on nothing but the trace.  This file knows what is done when; what it costs and how it is shown, it does not.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event

from xenmmu import check
from xenmmu.errors import BadArgument, GuestPanic, OutOfFrames, XenMMUError
from xenmmu.machine import PAGE_SIZE, Machine
from xenmmu.netbsd import DESIGNS as DESIGNS
from xenmmu.netbsd import Kernel
from xenmmu.study import probes
from xenmmu.study.trace import Trace
from xenmmu.xen import Hypervisor

#: Frames of the domain, or of the bare machine.
FRAMES = 1 << 17
#: Frames beyond the domain's: Xen's own and the first 256.
XEN_FRAMES = 1 << 14
#: Times that user mode attacks during a replay; every second time, everything is audited too.
PROBES = 128

#: Figures of a replay that are not sums over its slices.
_NOW = ("processes", "pages", "peak_processes", "peak_pages")

Advance = Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One design's replay."""

    design: str
    #: What was asked of Xen and what the kernel did: names of `Kernel.counters`, and ``processes`` of the trace.
    counts: Mapping[str, int]
    #: What the history came to: names of struct xm_replay_stats.
    replayed: Mapping[str, int]
    tally: probes.Tally
    audits: int
    violations: Sequence[str]
    seconds: float


class Stopped(Exception):
    """Another design's replay failed, so this one was given up."""


def world(design: str, frames: int = FRAMES) -> Kernel:
    """A kernel of that design on a machine of its own: in a domain of `frames` frames, or alone on as many."""
    if design == "native":
        return Kernel(Machine(frames * PAGE_SIZE), design=design)
    machine = Machine((frames + XEN_FRAMES) * PAGE_SIZE)
    return Kernel(Hypervisor(machine).create_domain(frames), design=design)


def _audit(kernel: Kernel) -> list[str]:
    return [str(violation) for violation in check.audit(kernel, limit=20)]


def replay(trace: Trace, design: str, advance: Advance, stop: Event) -> Outcome:
    """Replay the whole trace under one design.

    Raises Stopped when `stop` is set, and what the replay raises, with the number of the event, for a trace that the
    kernel cannot follow.
    """
    began = time.monotonic()
    kernel = world(design)
    tally = probes.Tally()
    violations: list[str] = []
    total: Counter[str] = Counter()
    audits = 0
    step = max(1, trace.count // PROBES)
    for number, start in enumerate(range(0, trace.count, step)):
        if stop.is_set():
            raise Stopped
        end = min(start + step, trace.count)
        try:
            done = kernel.replay(trace.slice(start, end))
        except (BadArgument, OutOfFrames, GuestPanic) as error:
            raise type(error)(f"{trace.name}, {design}: {error}, counted from event {start}") from None
        for name, n in done.items():
            latest = max(n, total[name]) if name.startswith("peak_") else n
            total[name] = latest if name in _NOW else total[name] + n
        probes.probe(kernel, tally)
        if (number % 2 or end == trace.count) and not violations:
            audits += 1
            violations = [f"after event {end}: {text}" for text in _audit(kernel)]
        advance(design, end)
    counts = {**kernel.counters, "processes": trace.processes}
    return Outcome(design, counts, dict(total), tally, audits, tuple(violations), time.monotonic() - began)


def replay_all(trace: Trace, designs: Sequence[str], jobs: int, advance: Advance) -> list[Outcome]:
    """Replay the trace under each design, `jobs` of them at once; outcomes in the order of `designs`."""
    stop = Event()
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        futures = {design: pool.submit(replay, trace, design, advance, stop) for design in designs}
        try:
            for future in futures.values():
                future.result()
        except BaseException:
            stop.set()
            for future in futures.values():
                future.cancel()
            for future in futures.values():
                if not future.cancelled() and isinstance(error := future.exception(), XenMMUError):
                    raise error from None
            raise
    return [futures[design].result() for design in designs]
