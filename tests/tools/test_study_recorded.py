"""The whole study: nothing broken under any design, and what the documents quote is what it prints."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from xenmmu import study
from xenmmu.study import report

ROOT = Path(__file__).resolve().parents[2]
QUOTED = re.compile(r"<!-- study output -->\n+```text\n(.*?)```", re.S)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_documents_quote_the_study_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "118")
    found = study.run(study.load())
    assert found.safe
    assert [finding.name for finding in found.findings if not finding.reproduced] == []
    printed = [line.strip() for line in report.plain(found.parts()).splitlines()]
    quotes = {
        path.name: QUOTED.findall(path.read_text("utf-8")) for path in (ROOT / "README.md", ROOT / "docs/study.md")
    }
    assert quotes["study.md"]
    for name, blocks in quotes.items():
        lines = [line.strip() for block in blocks for line in block.splitlines()]
        assert [line for line in lines if line not in printed] == [], name
