"""The replay: every event of a trace under each design, user mode attacking and the auditor reading along.

Each design has its own machine and its own thread (the C core runs without the interpreter lock), and its counts
depend on nothing but the trace.  This file knows what is done when; what it costs and how it is shown, it does not.
"""

from __future__ import annotations

import gc
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event

from xenmmu import check
from xenmmu.errors import XenMMUError
from xenmmu.machine import PAGE_SIZE, Machine
from xenmmu.netbsd import DESIGNS as DESIGNS
from xenmmu.netbsd import Kernel
from xenmmu.study import probes
from xenmmu.study.trace import Trace
from xenmmu.xen import Hypervisor

#: Frames of the domain, or of the bare machine.
FRAMES = 1 << 18
#: Frames beyond the domain's: Xen's own and the first 256.
XEN_FRAMES = 1 << 14
#: Times that user mode attacks during a replay.
ATTACKS = 128
#: Slices of a replay without attacks.
SLICES = 16

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


def world(design: str, frames: int = FRAMES) -> Kernel:
    """A kernel of that design on a machine of its own: in a domain of `frames` frames, or alone on as many."""
    if design == "native":
        return Kernel(Machine(frames * PAGE_SIZE), design=design)
    machine = Machine((frames + XEN_FRAMES) * PAGE_SIZE)
    return Kernel(Hypervisor(machine).create_domain(frames), design=design)


def _audit(kernel: Kernel) -> list[str]:
    return [str(violation) for violation in check.audit(kernel, limit=20)]


@dataclass(frozen=True, slots=True)
class Failure:
    """A trace that the kernel could not follow.

    Handed over as a value: an exception would carry the frames that hold the kernel, and with them decide when it dies.
    """

    kind: type[XenMMUError]
    message: str


@dataclass(frozen=True, slots=True)
class Task:
    """One replay to be made."""

    #: What it is called while it goes on.
    label: str
    trace: Trace
    design: str
    #: Times that user mode attacks; every second time, and at the end, everything is audited.
    attacks: int


def replay(task: Task, advance: Advance, stop: Event) -> Outcome | Failure | None:
    """Replay the whole trace under one design; None when `stop` was set meanwhile."""
    began = time.monotonic()
    trace, kernel = task.trace, world(task.design)
    tally = probes.Tally()
    violations: list[str] = []
    total: Counter[str] = Counter()
    audits = 0
    step = max(1, trace.count // (task.attacks or SLICES))
    for number, start in enumerate(range(0, trace.count, step)):
        if stop.is_set():
            return None
        end = min(start + step, trace.count)
        try:
            done = kernel.replay(trace.slice(start, end))
        except XenMMUError as error:
            return Failure(type(error), f"{trace.name}, design {task.design}, from event {start} on: {error}")
        for name, n in done.items():
            latest = max(n, total[name]) if name.startswith("peak_") else n
            total[name] = latest if name in _NOW else total[name] + n
        if task.attacks:
            probes.probe(kernel, tally)
        if ((task.attacks and number % 2) or end == trace.count) and not violations:
            audits += 1
            violations = [f"after event {end}: {text}" for text in _audit(kernel)]
        advance(task.label, end)
    counts = {**kernel.counters, "processes": trace.processes}
    seconds = time.monotonic() - began
    return Outcome(task.design, counts, dict(total), tally, audits, tuple(violations), seconds)


def replay_all(tasks: Sequence[Task], jobs: int, advance: Advance) -> list[Outcome]:
    """Make the replays, `jobs` of them at once; outcomes in the order of `tasks`.

    Raises what the first failing replay raised, with the number of the event, and stops the others.
    """
    stop = Event()

    def one(task: Task) -> Outcome | Failure | None:
        result = replay(task, advance, stop)
        if isinstance(result, Failure):
            stop.set()
        # A kernel and its handles refer to each other, and a machine is too big to wait for the collector's next turn.
        gc.collect()
        return result

    with ThreadPoolExecutor(max_workers=jobs) as pool:
        try:
            results = list(pool.map(one, tasks))
        finally:
            # Reached early by an interrupt only; leaving the block waits for the threads.
            stop.set()
    for result in results:
        if isinstance(result, Failure):
            raise result.kind(result.message)
    return [result for result in results if isinstance(result, Outcome)]
