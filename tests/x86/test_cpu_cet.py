"""Our walk against Bochs' Tiger Lake, in a bare-metal guest (tests/oracles/bochs): accesses to shadow stacks, and the
others to their pages.  A few cases here; the recorded runs are in docs/referees.md.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

ORACLE = Path(__file__).resolve().parents[1] / "oracles" / "bochs" / "run.py"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bochs() -> Any:
    name = "oracle_bochs"
    found = importlib.util.spec_from_file_location(name, ORACLE)
    assert found and found.loader
    sys.modules[name] = importlib.util.module_from_spec(found)
    found.loader.exec_module(sys.modules[name])
    if sys.modules[name].lacking():
        pytest.skip(f"{sys.modules[name].lacking()} is not installed")
    return sys.modules[name]


def test_bochs_agrees_about_shadow_stacks(bochs: Any, pytestconfig: pytest.Config) -> None:
    seed = int(pytestconfig.getoption("--hypothesis-seed") or 2007)
    report = bochs.run(10_000, seed)
    print(f"seed {seed}\n{report}")
    assert report.agrees, report
    assert report.counts["same"] == report.counts["done"] == 10_000
    assert report.counts["shadow_stack_faults"] > 2000 and report.counts["shadow_stack_allowed"] > 500


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (" && (r.leaf & XM_PTE_D)", ""),
        ("(r.upper & XM_PTE_RW) && ", ""),
        ("\t\tif (!user && user_page)\n\t\t\treturn XM_STOP_SHADOW_STACK_MODE;\n", ""),
        ("code |= XM_PF_SS;", ";"),
    ],
)
def test_the_comparison_sees_a_wrong_rule_of_shadow_stacks(bochs: Any, tmp_path: Path, old: str, new: str) -> None:
    shutil.copytree(bochs.qemu.CSRC, tmp_path / "csrc")
    rights = tmp_path / "csrc" / "x86" / "rights.h"
    text = rights.read_text(encoding="utf-8")
    assert text.count(old) == 1
    rights.write_text(text.replace(old, new), encoding="utf-8")
    report = bochs.run(3_000, 3, tmp_path / "csrc")
    assert report.counts["done"] == 3_000
    assert report.counts["unexplained"] > 3 and "guest" in report.first
