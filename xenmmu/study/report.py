"""Tables of text: aligned plain text anywhere, rich's when that is installed and the output is a terminal.

This file knows how to lay out a table; what stands in it, it does not know.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
import textwrap
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Any


@dataclass(frozen=True, slots=True)
class Table:
    """A titled table; a row of one cell is a heading in it."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    #: Sentences below it.
    notes: Sequence[str] = ()
    #: Columns of text; the others are figures, aligned on the right.
    text: Sequence[int] = (0,)


@dataclass(frozen=True, slots=True)
class Text:
    """A titled list of findings: a short name and sentences each."""

    title: str
    items: Sequence[tuple[str, str]]


def count(n: int) -> str:
    """A count with thousands separated; a dot for none, so that what is there stands out."""
    return f"{n:,}" if n else "."


def has_rich() -> bool:
    """Whether rich is installed."""
    return importlib.util.find_spec("rich") is not None


def _width() -> int:
    return max(60, min(shutil.get_terminal_size((118, 24)).columns, 140))


def _plain_table(table: Table) -> str:
    full = [row for row in table.rows if len(row) > 1]
    widths = [max(len(row[i]) for row in (table.columns, *full)) for i in range(len(table.columns))]
    lines = [table.title, "=" * len(table.title)]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.ljust(width) if i in table.text else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return "  ".join(padded).rstrip()

    lines += [line(table.columns), "  ".join("-" * w for w in widths)]
    lines += [line(row) if len(row) > 1 else row[0] for row in table.rows]
    for note in table.notes:
        lines += textwrap.wrap(note, _width(), initial_indent="  ", subsequent_indent="  ")
    return "\n".join(lines)


def _plain_text(text: Text) -> str:
    lines = [text.title, "=" * len(text.title)]
    for name, words in text.items:
        lines += textwrap.wrap(
            f"{name}: {words}" if words else name, _width(), initial_indent="- ", subsequent_indent="  "
        )
    return "\n".join(lines)


def plain(parts: Sequence[Table | Text]) -> str:
    """The parts as aligned text."""
    return "\n\n".join(_plain_table(p) if isinstance(p, Table) else _plain_text(p) for p in parts) + "\n"


def _print_rich(parts: Sequence[Table | Text]) -> None:
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table as RichTable

    console = Console(highlight=False)
    for part in parts:
        if isinstance(part, Text):
            console.print(f"[bold]{escape(part.title)}[/bold]")
            for name, words in part.items:
                console.print(f"• [cyan]{escape(name)}[/cyan]" + (f": {escape(words)}" if words else ""))
        else:
            shown = RichTable(title=escape(part.title), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
            for i, column in enumerate(part.columns):
                shown.add_column(escape(column), justify="left" if i in part.text else "right", overflow="fold")
            for row in part.rows:
                cells = [escape(cell) for cell in row]
                shown.add_row(*(cells if len(row) > 1 else [f"[italic]{cells[0]}[/italic]"]))
            console.print(shown)
            for note in part.notes:
                console.print(f"  [dim]{escape(note)}[/dim]")
        console.print()


def show(parts: Sequence[Table | Text]) -> None:
    """Print the parts on standard output."""
    if sys.stdout.isatty() and has_rich():
        _print_rich(parts)
    else:
        sys.stdout.write(plain(parts))


class Progress:
    """A progress bar for each job, on standard error when that is a terminal and nothing otherwise.

    Every job has the same `total`.  ``advance`` may be called from several threads, each for its own job.
    """

    def __init__(self, total: int, stream: IO[str] | None = None) -> None:
        self._total = max(1, total)
        self._done: dict[str, int] = {}
        self._stream = sys.stderr if stream is None else stream
        self._rich: Any = None
        self._tasks: dict[str, Any] = {}
        self._drawn = 0.0
        self._live = self._stream.isatty()

    def __enter__(self) -> Progress:
        if self._live and has_rich():
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as RichProgress

            self._rich = RichProgress(
                TextColumn("{task.description:>20}"),
                BarColumn(),
                TextColumn("{task.percentage:>3.0f}%"),
                TimeElapsedColumn(),
                console=Console(file=self._stream),
                transient=True,
            )
            self._rich.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._rich is not None:
            self._rich.stop()
        elif self._live:
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def advance(self, job: str, done: int) -> None:
        """The job has come to `done` of the total."""
        if not self._live:
            return
        self._done[job] = done
        if self._rich is not None:
            if job not in self._tasks:
                self._tasks[job] = self._rich.add_task(job, total=self._total)
            self._rich.update(self._tasks[job], completed=done)
            return
        now = time.monotonic()
        if now - self._drawn >= 0.1:
            self._drawn = now
            under_way = [(job, n) for job, n in list(self._done.items()) if n < self._total]
            shown = "  ".join(f"{job} {100 * n // self._total}%" for job, n in under_way)
            self._stream.write(f"\r\x1b[K{shown}")
            self._stream.flush()
