"""The C core against an independent predictor, over every combination of flag bits, access and control bits, in C.

A part of the combinations here, all of them by the program itself (tests/oracles/matrix).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CC = os.environ.get("CC", "cc")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which(CC) is None, reason="the matrix is a C program and there is no compiler"),
]


def run(folder: Path, csrc: Path, part: int) -> tuple[dict[str, int], str]:
    program = folder / "matrix"
    sources = [ROOT / "tests" / "oracles" / "matrix" / "matrix.c", csrc / "machine.c", *(csrc / "x86").glob("*.c")]
    subprocess.run([CC, "-O2", "-std=gnu11", "-I", csrc, "-o", program, *sources], check=True)
    done = subprocess.run([program, str(part)], capture_output=True, text=True, timeout=200)
    return {name: int(n) for name, n in (line.split() for line in done.stdout.splitlines())}, done.stderr


def test_the_matrix(tmp_path: Path) -> None:
    counts, first = run(tmp_path, ROOT / "csrc", 16)
    assert counts["differences"] == 0, first
    assert counts["cases"] > 20_000_000 and 0 < counts["faults"] < counts["cases"]


def test_the_matrix_sees_a_wrong_rule(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "csrc", tmp_path / "csrc")
    rights = tmp_path / "csrc" / "x86" / "rights.h"
    text = rights.read_text(encoding="utf-8")
    old = "(!ac || (access & XM_ACC_IMPLICIT))"
    assert text.count(old) == 1
    rights.write_text(text.replace(old, "!ac"), encoding="utf-8")
    counts, first = run(tmp_path, tmp_path / "csrc", 256)
    assert counts["differences"] > 0 and "predicted" in first
