"""Our walk against the CPU of qemu-system-x86_64, in a bare-metal guest (tests/oracles/qemu): PKU, PKS, five levels
and MAXPHYADDR from 36 to 52 too.  A few cases here; the recorded runs are in docs/referees.md.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

ORACLE = Path(__file__).resolve().parents[1] / "oracles" / "qemu" / "run.py"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def qemu() -> Any:
    name = "oracle_qemu"
    found = importlib.util.spec_from_file_location(name, ORACLE)
    assert found and found.loader
    sys.modules[name] = importlib.util.module_from_spec(found)
    found.loader.exec_module(sys.modules[name])
    if sys.modules[name].lacking():
        pytest.skip(f"{sys.modules[name].lacking()} is not installed")
    return sys.modules[name]


def test_qemu_agrees(qemu: Any, pytestconfig: pytest.Config) -> None:
    seed = int(pytestconfig.getoption("--hypothesis-seed") or 2007)
    report = qemu.run(30_000, seed, ((4, 40), (5, 52), (4, 36)), 10_000)
    print(f"seed {seed}\n{report}")
    assert report.agrees, report
    assert report.counts["cases"] == report.counts["done"] == 30_000
    # Both kinds of outcome, and what is known of QEMU is still so: else the table in docs/referees.md is wrong.
    assert 5000 < report.counts["faults"] < 28_000
    assert report.counts["rsvd_without_p"] and report.counts["a_above_fault"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("uint32_t reg = user_page ? pkru : pkrs;", "uint32_t reg = pkru;"),
        ("(user || (cr0 & XM_CR0_WP));\n}", "1;\n}"),
    ],
)
def test_the_comparison_sees_a_wrong_rule(qemu: Any, tmp_path: Path, old: str, new: str) -> None:
    """A mistake in the C core, in a rule about protection keys, shows as differences with a case that is told."""
    shutil.copytree(qemu.CSRC, tmp_path / "csrc")
    rights = tmp_path / "csrc" / "x86" / "rights.h"
    text = rights.read_text(encoding="utf-8")
    assert text.count(old) == 1
    rights.write_text(text.replace(old, new), encoding="utf-8")
    report = qemu.run(20_000, 3, ((4, 40),), 20_000, tmp_path / "csrc")
    assert report.counts["unexplained"] > 10 and "ours 14:" in report.first
