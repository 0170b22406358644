"""XSA-167, CVE-2016-1570 (January 2016): superpages of no frame.

MMUEXT_MARK_SUPER and its counterpart looked up a frame's superpage without asking whether there is such a frame.  The
feature is gone; the commands are refused whatever they name.
"""

from __future__ import annotations

from typing import Any

from expected import Case, case
from steps import PAGE, SELF

PROGRAM: list[Case] = [
    case(
        0, f"command {cmd} of {mfn:#x}", ("ext", SELF, 0, ((cmd, mfn, 0),)), -95, done=0, books={PAGE: "2 WRITABLE*0 v"}
    )
    for cmd in (19, 20)
    for mfn in (PAGE, 0, 512, 0x40000, 1 << 28, (1 << 40) - 1, (1 << 64) - 1)
]


def test_refused(run: Any) -> None:
    assert run(PROGRAM) == []
