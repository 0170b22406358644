"""Which rules of Xen's a run does not meet, and why: the table of README.md, read from there.

Knows: the table's form: rule, kind of run, explanation, the emulator's own test.  Does not know: what a run has met.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

_README = Path(__file__).with_name("README.md")
_ROW = re.compile(r"^\| `([A-Z0-9_]+)` \| (any|linear|no-linear) \| (.+?) \| `(\S+)` \|$", re.MULTILINE)


class Explained(NamedTuple):
    """A row of the table."""

    rule: str
    #: The runs that cannot meet it: any, those with linear page tables, or those without.
    run: str
    why: str
    test: str


def table() -> list[Explained]:
    """All rows."""
    return [Explained(*row) for row in _ROW.findall(_README.read_text(encoding="utf-8"))]


def explained(linear: bool) -> set[str]:
    """The rules that a run with or without linear page tables is not to meet."""
    return {row.rule for row in table() if row.run in ("any", "linear" if linear else "no-linear")}
