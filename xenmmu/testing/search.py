"""Find a failing run of a state machine and make it small.

Hypothesis generates; the small run is found here, by leaving out steps and repeating the rest on a fresh machine.  That
takes a fraction of a second and ends with a run in which every step is needed, which Hypothesis' own shrinking of a
state machine does not promise.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import hypothesis
from hypothesis import HealthCheck, Phase
from hypothesis.stateful import run_state_machine_as_test

from xenmmu.testing.machine import GuestMachine, Step


class Failure(NamedTuple):
    """A run that breaks what must hold: the steps after boot, and what the last one broke."""

    steps: tuple[Step, ...]
    message: str

    def __str__(self) -> str:
        return "\n".join(("boot()", *map(str, self.steps), self.message))


def replay(machine: type[GuestMachine], steps: tuple[Step, ...]) -> str | None:
    """Repeat steps on a fresh machine; what they broke, or None.  A step that cannot be taken any more ends the run."""
    run = machine()
    try:
        run.boot()
        for step in steps:
            getattr(run, step.name)(**step.arguments)
    except AssertionError as error:
        return str(error)
    except IndexError:
        return None  # a process that an omitted step had made
    finally:
        run.teardown()
    return None


def falsify(machine: type[GuestMachine], *, seed: int, examples: int = 1000, steps: int = 20) -> Failure | None:
    """Run up to `examples` random runs of `steps` steps; the first failing one, made small, or None if all hold.

    The same seed gives the same answer.
    """
    runs: list[GuestMachine] = []

    class Recorded(machine):  # type: ignore[valid-type, misc]
        def __init__(self) -> None:
            super().__init__()
            runs[:] = [self]

    settings = hypothesis.settings(
        max_examples=examples,
        stateful_step_count=steps,
        phases=(Phase.generate,),
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    try:
        run_state_machine_as_test(hypothesis.seed(seed)(Recorded), settings=settings)
    except AssertionError as error:
        return _smaller(machine, Failure(tuple(runs[0].history), str(error)))
    return None


def _smaller(machine: type[GuestMachine], failure: Failure) -> Failure:
    """Leave out whatever can be left out, until nothing can."""
    again = True
    while again:
        again = False
        for candidate in _candidates(failure.steps):
            message = replay(machine, candidate)
            if message is not None:
                failure = Failure(candidate, message)
                again = True
                break
    return failure


def _candidates(steps: tuple[Step, ...]) -> Any:
    """Runs with less: halves first, then single steps, then single elements of a step's lists."""
    size = len(steps)
    while size:
        for start in range(0, len(steps), size):
            yield steps[:start] + steps[start + size :]
        size //= 2
    for i, step in enumerate(steps):
        for name, value in step.arguments.items():
            if isinstance(value, list) and len(value) > 1:
                for j in range(len(value)):
                    fewer = Step(step.name, step.arguments | {name: value[:j] + value[j + 1 :]})
                    yield (*steps[:i], fewer, *steps[i + 1 :])
