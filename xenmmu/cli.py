"""The command line: ``xenmmu VERB``.

Exit status: 0 fine, 1 a violation found, 2 misuse (one line on standard error).  Every verb has ``--json``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from xenmmu import __version__, study
from xenmmu.errors import XenMMUError
from xenmmu.study import report

FINE, VIOLATION, MISUSE = 0, 1, 2


class _Parser(argparse.ArgumentParser):
    """argparse, but misuse is one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(MISUSE, f"{self.prog}: {' '.join(message.split())}\n")


def _jobs(text: str) -> int:
    try:
        n = int(text)
    except ValueError:
        n = 0
    if not 1 <= n <= 64:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of jobs from 1 to 64")
    return n


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="xenmmu", description="Page tables as they are lived with under Xen PV.")
    parser.add_argument("--version", action="version", version=f"xenmmu {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    verb = verbs.add_parser(
        "study",
        help="replay a real `make` under each pmap design: is it safe, what does a process see, what does it cost",
        description="Replay a recorded history of processes under each pmap design, let user mode attack its own page "
        "tables, audit everything from the bytes, and count what it costs.",
    )
    verb.add_argument(
        "--design",
        action="append",
        choices=study.DESIGNS,
        metavar="NAME",
        help=f"only this design; may be repeated (default: all of {', '.join(study.DESIGNS)})",
    )
    verb.add_argument("--trace", metavar="FILE", help="another trace of the format of the one that ships (see docs)")
    verb.add_argument("--json", action="store_true", help="print everything as one JSON object")
    verb.add_argument(
        "--jobs", type=_jobs, default=min(2, os.cpu_count() or 1), metavar="N", help="designs run at once (default 2)"
    )
    verb.set_defaults(run=_study)
    return parser


def _study(args: argparse.Namespace) -> int:
    trace = study.load(args.trace)
    designs = tuple(dict.fromkeys(args.design or study.DESIGNS))
    with report.Progress(trace.count) as progress:
        result = study.run(trace, designs, jobs=args.jobs, progress=progress.advance)
    if args.json:
        json.dump(result.as_json(), sys.stdout, indent=2)
        sys.stdout.write("\n")
    else:
        report.show(result.parts())
    return FINE if result.safe else VIOLATION


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    try:
        args = _parser().parse_args(argv)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else MISUSE
    try:
        status: int = args.run(args)
        sys.stdout.flush()
        return status
    except XenMMUError as error:
        print(f"xenmmu {args.verb}: {' '.join(str(error).split())}", file=sys.stderr)
        return MISUSE
    except BrokenPipeError:
        # The reader has gone; what is still buffered must not raise once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FINE
    except KeyboardInterrupt:
        return 130
