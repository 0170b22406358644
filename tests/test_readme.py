"""What the documents show is what happens: their examples run, and the commands and files they name exist."""

from __future__ import annotations

import doctest
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "tests" / "README.md"])


def run_examples(text: str, name: str) -> doctest.TestResults:
    """Run the blocks marked pycon in order, each going on where the one before stopped."""
    runner, names = doctest.DocTestRunner(verbose=False), {}
    for block in re.finditer(r"^```pycon\n(.*?)^```$", text, flags=re.M | re.S):
        line = text.count("\n", 0, block.start()) + 1
        test = doctest.DocTestParser().get_doctest(block.group(1), names, name, name, line)
        runner.run(test, clear_globs=False)
        names = test.globs
    return runner.summarize(verbose=False)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_examples_of_a_document_run(document: Path) -> None:
    assert run_examples(document.read_text(encoding="utf-8"), document.name).failed == 0


def test_the_readme_has_examples_and_a_wrong_one_is_found() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert run_examples(readme, "README.md").attempted > 10
    assert run_examples("```pycon\n>>> x = 1\n```\n\n```pycon\n>>> x\n2\n```\n", "wrong").failed == 1


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_make_targets_that_a_document_names_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    typed = "\n".join(re.findall(r"^```\n(.*?)^```$", text, flags=re.M | re.S))
    named = set(
        re.findall(r"(?<!\w)`(?:[A-Z]+=\S+ )?make ([a-z]+)", text) + re.findall(r"^make ([a-z]+)", typed, flags=re.M)
    )
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.M))
    assert named <= targets


def test_the_property_that_the_readme_shows_is_the_one_that_is_tested() -> None:
    tested = (ROOT / "tests" / "check" / "test_readme_property.py").read_text(encoding="utf-8")
    lines = tested.split("# ---- the README's lines begin\n")[1].split("# ---- the README's lines end")[0]
    assert f"```python\n{lines.strip()}\n```" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_failing_example_that_the_readme_shows_is_the_one_that_is_found() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"^```console\n\$ python -m xenmmu.testing (\w+)\n(.*?)^```$", readme, flags=re.M | re.S)
    done = subprocess.run([sys.executable, "-m", "xenmmu.testing", shown[0]], capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    # Which of several smallest runs is found may change with Hypothesis; what happens in it does not.
    assert re.findall(r"^\w+(?=\()", done.stdout, flags=re.M) == re.findall(r"^\w+(?=\()", shown[1], flags=re.M)
    assert set(re.findall(r"^I-\w+", done.stdout, flags=re.M)) == set(re.findall(r"^I-\w+", shown[1], flags=re.M))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_files_that_a_document_names_exist(document: Path) -> None:
    spans = re.findall(r"`([\w./-]+)`|\]\(([\w./-]+)\)", document.read_text(encoding="utf-8"))
    named = {code or link for code, link in spans}
    paths = {name for name in named if re.match(r"(csrc|tests|docs|xenmmu|benchmarks|tools)/|[A-Z]+\.md$", name)}
    assert [name for name in sorted(paths) if not (ROOT / name).exists()] == []
