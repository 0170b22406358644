"""The study: the mail's question answered on the recorded history of a real `make`.

``run(load())`` replays it under each pmap design, lets user mode attack its own page tables on the way, audits
everything from the bytes, demonstrates the side effects, and prices what was counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from xenmmu.errors import BadArgument
from xenmmu.study import costs, tables
from xenmmu.study.demonstrations import Finding, demonstrate
from xenmmu.study.replay import ATTACKS, DESIGNS, Advance, Outcome, Task, replay_all
from xenmmu.study.report import Table, Text
from xenmmu.study.trace import BadTrace, Trace, load

__all__ = ["DESIGNS", "BadTrace", "Study", "Trace", "load", "run"]

#: The designs that the mail's stock kernel may have been.
_STOCKS = ("stock", "stock-literal")


@dataclass(frozen=True, slots=True)
class Study:
    """What a run found."""

    trace: Trace
    outcomes: Sequence[Outcome]
    #: The designs that the mail compared, replayed in the order of `Trace.one_processor`.
    serial: Sequence[Outcome]
    findings: Sequence[Finding]

    @property
    def safe(self) -> bool:
        """No write of user mode to a page table succeeded and no invariant broke."""
        return not any(o.tally.breaches or o.violations for o in (*self.outcomes, *self.serial))

    def models(self) -> dict[str, list[costs.Modelled]]:
        """Modelled time of each design, for the order of events as recorded and for that of one processor."""
        orders = {"": self.outcomes, ", 1 cpu": self.serial}
        return {suffix: costs.model({o.design: o.counts for o in those}) for suffix, those in orders.items()}

    def readings(self) -> dict[str, list[costs.Reading]]:
        """Each reading of "stock" that was run, held against the mail, for both orders of events.

        Empty lists without the kept design.
        """
        return {"as recorded": _readings(self.outcomes), "one processor": _readings(self.serial)}

    def parts(self) -> list[Table | Text]:
        """The report, part by part."""
        parts: list[Table | Text] = [
            tables.header(self.trace, self.outcomes),
            tables.safety(self.outcomes),
            tables.side_effects(self.findings),
            tables.cost_counts(self.outcomes),
            tables.prices(),
            tables.modelled(self.models()),
        ]
        if any(self.readings().values()):
            parts.append(tables.readings(self.readings(), self.outcomes, self.serial))
        parts.append(tables.verdict(self.outcomes, self.serial, self.findings))
        return parts

    def as_json(self) -> dict[str, Any]:
        """Everything, as plain values."""
        return tables.as_json(self.trace, self.outcomes, self.serial, self.findings, self.models(), self.readings())


def _readings(outcomes: Sequence[Outcome]) -> list[costs.Reading]:
    counts = {o.design: o.counts for o in outcomes}
    if "kept" not in counts:
        return []
    return [costs.judge(design, counts[design], counts["kept"]) for design in _STOCKS if design in counts]


def _tasks(trace: Trace, designs: Sequence[str]) -> list[Task]:
    """The replays of a study: each design with attacks; where the mail's two kernels can be compared, in the order of
    one processor too."""
    made = [Task(design, trace, design, ATTACKS) for design in designs]
    if "kept" in designs and any(design in designs for design in _STOCKS):
        serial = trace.one_processor()
        made += [Task(f"{d}, 1 cpu", serial, d, 0) for d in designs if d == "kept" or d in _STOCKS]
    return made


def run(
    trace: Trace,
    designs: Sequence[str] = DESIGNS,
    *,
    jobs: int = 2,
    progress: Advance = lambda label, done: None,
) -> Study:
    """Replay `trace` under each of `designs`, `jobs` of them at once, and run every demonstration.

    `progress` is called with the name of a replay and the number of events it has replayed, from its thread.
    Raises BadArgument for an unknown design, and for a trace that no kernel could follow, with the number of the event.
    """
    unknown = [design for design in designs if design not in DESIGNS]
    if unknown or not designs:
        raise BadArgument(f"unknown design {', '.join(map(repr, unknown))}; known: {', '.join(DESIGNS)}")
    if jobs < 1:
        raise BadArgument(f"jobs is {jobs!r}, not a positive number")
    outcomes = replay_all(_tasks(trace, designs), jobs, progress)
    return Study(trace, outcomes[: len(designs)], outcomes[len(designs) :], demonstrate())
