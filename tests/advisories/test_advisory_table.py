"""README.md names every file here, and every sequence is one that the comparison with real Xen finds."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROW = re.compile(r"^\| .+ \| `(test_\w+\.py)` \| (?:`(\w+)` )?\|$", re.MULTILINE)


def test_the_table_is_that_of_the_files() -> None:
    rows = dict(ROW.findall((HERE / "README.md").read_text(encoding="utf-8")))
    files = {path.name: path.read_text(encoding="utf-8") for path in HERE.glob("test_*.py")}
    assert set(rows) == {name for name, text in files.items() if "\nPROGRAM: " in text}
    for name, mutant in rows.items():
        assert "PROGRAM) == []" in files[name]
        assert not mutant or f'"{mutant}"' in files[name]
