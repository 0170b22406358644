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
from xenmmu.study.replay import DESIGNS, Advance, Outcome, replay_all
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
    findings: Sequence[Finding]

    @property
    def safe(self) -> bool:
        """No write of user mode to a page table succeeded and no invariant broke."""
        return not any(o.tally.breaches or o.violations for o in self.outcomes)

    def models(self) -> list[costs.Modelled]:
        """Modelled time of each design."""
        return costs.model({o.design: o.counts for o in self.outcomes})

    def readings(self) -> list[costs.Reading]:
        """Each reading of "stock" that was run, held against the mail; none without the kept design."""
        counts = {o.design: o.counts for o in self.outcomes}
        if "kept" not in counts:
            return []
        return [costs.judge(design, counts[design], counts["kept"]) for design in _STOCKS if design in counts]

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
        if found := self.readings():
            parts.append(tables.readings(found))
        parts.append(tables.verdict(self.outcomes, self.findings))
        return parts

    def as_json(self) -> dict[str, Any]:
        """Everything, as plain values."""
        return tables.as_json(self.trace, self.outcomes, self.findings, self.models(), self.readings())


def run(
    trace: Trace,
    designs: Sequence[str] = DESIGNS,
    *,
    jobs: int = 2,
    progress: Advance = lambda design, done: None,
) -> Study:
    """Replay `trace` under each of `designs`, `jobs` of them at once, and run every demonstration.

    `progress` is called with a design and the number of events it has replayed, from its thread.  Raises BadArgument
    for an unknown design, and for a trace that no kernel could follow, with the number of the event.
    """
    unknown = [design for design in designs if design not in DESIGNS]
    if unknown or not designs:
        raise BadArgument(f"unknown design {', '.join(map(repr, unknown))}; known: {', '.join(DESIGNS)}")
    if jobs < 1:
        raise BadArgument(f"jobs is {jobs!r}, not a positive number")
    return Study(trace, replay_all(trace, designs, jobs, progress), demonstrate())
