"""Layout: tables line up, notes wrap, and the progress bar is seen on a terminal only."""

from __future__ import annotations

import io
import sys

import pytest

from xenmmu.study import report


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


TABLE = report.Table(
    "Title",
    ["what", "a", "bb"],
    [["x", "1", "2"], ["a heading in it that is long"], ["longer", "1,000", "."]],
    ["note " * 60],
)


def test_columns_line_up_whatever_the_rows_hold() -> None:
    lines = report.plain([TABLE]).splitlines()
    assert lines[:2] == ["Title", "====="]
    assert lines[2] == "what        a  bb"
    assert lines[4:7] == ["x           1   2", "a heading in it that is long", "longer  1,000   ."]
    assert all(len(line) <= 140 and line == line.rstrip() for line in lines)


def test_a_text_column_is_on_the_left() -> None:
    table = report.Table("T", ["a", "n", "why"], [["x", "1", "short"], ["y", "22", "a longer one"]], text=(0, 2))
    assert report.plain([table]).splitlines()[4:] == ["x   1  short", "y  22  a longer one"]


def test_text_wraps() -> None:
    shown = report.plain([report.Text("Words", [("name", "word " * 80), ("bare", "")])])
    assert shown.splitlines()[2].startswith("- name: word") and shown.splitlines()[-1] == "- bare"
    assert len(shown.splitlines()) > 4


def test_show_prints_plain_text_when_it_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    report.show([TABLE])
    assert capsys.readouterr().out == report.plain([TABLE])


def test_show_on_a_terminal_has_every_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rich")
    out = Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    report.show([TABLE, report.Text("Words", [("[seen] name", "said")])])
    for word in ("Title", "longer", "1,000", "a heading", "[seen] name", "said"):
        assert word in out.getvalue()


def test_count() -> None:
    assert report.count(1234567) == "1,234,567" and report.count(0) == "."


def test_no_progress_without_a_terminal() -> None:
    stream = io.StringIO()
    with report.Progress(10, stream) as progress:
        progress.advance("kept", 5)
    assert stream.getvalue() == ""


@pytest.mark.parametrize("rich", [True, False])
def test_progress_on_a_terminal(rich: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if rich:
        pytest.importorskip("rich")
    monkeypatch.setattr(report, "has_rich", lambda: rich)
    stream = Terminal()
    with report.Progress(10, stream) as progress:
        progress.advance("kept", 5)
    assert "kept" in stream.getvalue() and "50%" in stream.getvalue()
