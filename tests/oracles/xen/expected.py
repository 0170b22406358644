"""Programs whose steps say what is expected of them: a case with a number, an operation, and what it shall answer.

Knows: how an expectation is written down and compared with one side's answer.  Does not know: any case, and who
answers; the expectations hold for either side.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import program as p

_TYPES = ("NONE", "L1", "L2", "L3", "L4", "SEG_DESC", "6", "WRITABLE")


class Case(NamedTuple):
    """One step of a program; number 0 prepares others."""

    number: int
    what: str
    op: p.Op
    #: Fields of p.Outcome by name; all others are free.
    expected: Mapping[str, Any]
    #: Frame -> its book in words after the step.
    books: Mapping[int, str]


def case(number: int, what: str, op: p.Op, rc: int = 0, books: Mapping[int, str] | None = None, **fields: Any) -> Case:
    """A step that answers `rc` and these fields, without a fault where none is given."""
    return Case(number, what, op, {"rc": rc, "vector": 0, **fields}, books or {})


def fault(number: int, what: str, op: p.Op, error_code: int, **fields: Any) -> Case:
    """A step that ends in a page fault with this error code."""
    return case(number, what, op, vector=14, error_code=error_code, **fields)


def ready(*ops: p.Op) -> list[Case]:
    """Steps that prepare others: they must succeed."""
    return [case(0, "", op) for op in ops]


def in_words(book: p.Book) -> str:
    """A book as a step has it: general count, type * count, then p pinned, v validated, ~ partial."""
    flags = "p" * book.pinned + "v" * book.validated + "~" * book.partial
    return f"{book.count} {_TYPES[book.type]}*{book.type_count} {flags}".rstrip()


def label(step: Case) -> str:
    """What a step is called, its number in front where it has one."""
    return f"{step.number:2} {step.what}" if step.number else step.what


def wrong(step: Case, outcome: p.Outcome) -> list[str]:
    """What in an outcome is not as the step expects it."""
    return [
        f"{label(step)}: {name} is {getattr(outcome, name)!r}, expected {value!r}"
        for name, value in step.expected.items()
        if getattr(outcome, name) != value
    ]


def steps(program: Iterable[Case]) -> list[tuple[str, p.Op]]:
    """The steps as a program with a name has them."""
    return [(label(c), c.op) for c in program]
