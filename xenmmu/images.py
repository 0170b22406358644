"""Memory images and recordings of real systems: what happened between two images, done again and compared.

``python -m xenmmu.images T0 LOG [T1]`` takes over the Xen of image T0, applies the recording LOG (the format is in
csrc/xen/log.c), compares each outcome with the recorded one and, with T1, the state at the end with that image.  Exit
status: 0 no difference, 1 a difference, 2 misuse.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from xenmmu import check
from xenmmu._core import ffi, lib
from xenmmu.elfcore import BadImage, Core, Note, Registers, Segment, read_words
from xenmmu.errors import BadArgument, XenMMUError, fail
from xenmmu.xen import Hypervisor, PageType, Reason

__all__ = [
    "BadImage",
    "Core",
    "Difference",
    "Note",
    "Registers",
    "Replay",
    "Segment",
    "differences",
    "replay_log",
]

_KINDS = ("", "mmu_update", "mmuext_op", "update_va_mapping", "emulated store", "contents of a table", "", "other")
_AD = 0x60
_ADDR: int = lib.XM_PTE_ADDR
_DOMAIN_SLOT = 260
_TYPE_SHIFT: int = lib.XM_PGT_TYPE_SHIFT
_VALIDATED: int = lib.XM_PGT_VALIDATED
_L1: int = lib.XM_PGT_L1
_L4: int = lib.XM_PGT_L4


class Replay(NamedTuple):
    """What a replay did; ``records`` by kind of record."""

    records: dict[str, int]
    #: Elements of hypercalls, and emulated stores.
    operations: int
    #: Of them, those that Xen had preempted: left out, done when they come again.
    preempted: int
    #: Hypercalls of other kinds, left out.
    not_modelled: int
    #: Of them, those that had success and can have changed frames, which the recording does not show: differences after
    #: the first of them may be theirs.
    unseen: int
    #: That one in words; empty when there is none.
    first_unseen: str
    #: Outcomes that are not the recorded ones.
    differences: int
    #: The first of them in words; empty when there is none.
    first: str
    #: Spent in C.
    seconds: float


class Difference(NamedTuple):
    """Where two states differ: a frame, what of it, and the values."""

    mfn: int
    what: str
    a: int
    b: int

    def __str__(self) -> str:
        return f"frame {self.mfn:#x}: {self.what} is {self.a:#x}, not {self.b:#x}"


def replay_log(hv: Hypervisor, path: str | os.PathLike[str]) -> Replay:
    """Apply a recording to domain 0 of a captured Xen: the state becomes what the recorded system's was at its end.

    Raises OSError when `path` cannot be read, BadImage when it is no such recording (what precedes the bad record has
    been applied).
    """
    words = read_words(path)
    domains = hv.domains
    if not domains:
        raise BadArgument(f"{hv!r} has no domain")
    report = ffi.new("struct xm_log_report *")
    start = time.perf_counter()
    status = lib.xm_log_replay(domains[0]._c, words, len(words), report)
    seconds = time.perf_counter() - start
    if status == lib.XM_E_ARGUMENT:
        raise BadImage(f"{os.fspath(path)}: word {report.words} begins no record")
    if status:
        fail(status, f"replay of {os.fspath(path)}")
    first = ""
    if report.differences:
        reason = Reason(report.reason)
        why = f" ({reason.text})" if reason else ""
        recorded, found = (str(v) if -4096 < v < 0 else hex(v) for v in (report.recorded, report.found))
        first = f"{_KINDS[report.kind]} at word {report.at}: recorded {recorded}, found {found}{why}"
    return Replay(
        {name: n for name, n in zip(_KINDS, report.records, strict=True) if name},
        report.operations,
        report.preempted,
        report.not_modelled,
        report.unseen,
        f"hypercall {report.unseen_call} at word {report.unseen_at}" if report.unseen else "",
        report.differences,
        first,
        seconds,
    )


def differences(a: Hypervisor, b: Hypervisor) -> Iterator[Difference]:
    """Yield where two Xens differ: the books of every frame, then the entries of `b`'s validated tables but A and D.

    The linear count and the timestamp are not compared.
    """
    if a.machine.frames != b.machine.frames:
        raise BadArgument(f"machines of {a.machine.frames} and of {b.machine.frames} frames")
    words_a, words_b = (
        memoryview(ffi.buffer(lib.xm_xen_frame_table(hv._c), hv.machine.frames * 32)).cast("B").cast("Q").tolist()
        for hv in (a, b)
    )
    types = words_b[1::4]
    for mfn, (x, y) in enumerate(zip(words_a[0::4], words_b[0::4], strict=True)):
        if x != y:
            yield Difference(mfn, "count_info", x, y)
    for mfn, (x, y) in enumerate(zip(words_a[1::4], types, strict=True)):
        if x != y:
            yield Difference(mfn, "type_info", x, y)
    for mfn, (x, y) in enumerate(zip(words_a[2::4], words_b[2::4], strict=True)):
        if (x ^ y) & 0xFFFF:
            yield Difference(mfn, "owner", x & 0xFFFF, y & 0xFFFF)
    for mfn, kind in enumerate(types):
        if kind & _VALIDATED and _L1 <= kind >> _TYPE_SHIFT <= _L4:
            yield from _entries(a, b, mfn)


def _entries(a: Hypervisor, b: Hypervisor, mfn: int) -> Iterator[Difference]:
    if not lib.xm_machine_has_frame(a.machine._c, mfn):
        yield Difference(mfn, "presence", 0, 1)
        return
    words_a, words_b = (memoryview(hv.machine.read(mfn << 12, 4096)).cast("Q") for hv in (a, b))
    if words_a == words_b:
        return
    for slot, (x, y) in enumerate(zip(words_a, words_b, strict=True)):
        # Where Xen has the area of a domain is not known before the image has one of its L4s.
        unknown = slot == _DOMAIN_SLOT and x & _ADDR == 0 and b.frame_info(mfn).type == PageType.L4
        if (x ^ y) & ~_AD and not unknown:
            yield Difference(mfn, f"entry {slot}", x, y)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command of this module's head."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    if len(arguments) not in (2, 3):
        print("usage: python -m xenmmu.images T0 LOG [T1]", file=sys.stderr)
        return 2
    try:
        hv = Hypervisor.from_image(arguments[0])
        done = replay_log(hv, arguments[1])
        end = list(differences(hv, Hypervisor.from_image(arguments[2]))) if len(arguments) == 3 else []
        violations = check.audit(hv)
    except (XenMMUError, OSError) as error:
        print(f"xenmmu.images: {error}", file=sys.stderr)
        return 2
    for name, n in done.records.items():
        print(f"{n:>10,} {name}")
    rate = done.operations / done.seconds / 1e6 if done.seconds else 0.0
    print(f"{done.operations:>10,} operations in {done.seconds:.3f} s, {rate:.2f} million a second")
    print(f"{done.preempted:>10,} of them preempted, and done again; {done.not_modelled:,} other hypercalls left out")
    if done.unseen:
        what = f"{done.unseen:,} of those can have changed frames, the first {done.first_unseen}"
        print(f"{'':10} {what}: differences after it may come of that")
    print(f"{done.differences:>10,} outcomes differ from the recorded ones{': ' + done.first if done.first else ''}")
    if len(arguments) == 3:
        print(f"{len(end):>10,} differences from {arguments[2]}{': ' + str(end[0]) if end else ''}")
    print(f"{len(violations):>10,} violations at the end{': ' + str(violations[0]) if violations else ''}")
    return 1 if done.differences or end or violations else 0


if __name__ == "__main__":
    sys.exit(main())
