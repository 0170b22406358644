"""``python -m xenmmu.testing [MUTANT]``: the property with one of Xen's bugs built in, and its smallest failing run."""

from __future__ import annotations

import argparse
import sys

from xenmmu import check, netbsd
from xenmmu.testing import GuestMachine, KernelMachine, falsify

_DESIGNS = [design for design in netbsd.DESIGNS if design != "native"]


def main(argv: list[str] | None = None) -> int:
    """Exit 0 when the property holds, 1 when it was broken, 2 for misuse."""
    parser = argparse.ArgumentParser(prog="python -m xenmmu.testing", description=__doc__)
    parser.add_argument("mutant", nargs="?", metavar="MUTANT", choices=list(check.MUTANTS), help="default: none")
    parser.add_argument("--design", choices=_DESIGNS, help="with a NetBSD kernel of that design in the guest")
    parser.add_argument("--seed", type=int, default=0, help="default 0")
    parser.add_argument("--examples", type=int, default=1000, help="random runs to try, default 1000")
    args = parser.parse_args(argv)
    if args.examples < 1:
        parser.error("--examples must be at least 1")

    class Guest(GuestMachine):
        mutants = (args.mutant,) if args.mutant else ()

    class NetBSD(KernelMachine):
        mutants = Guest.mutants
        design = args.design or KernelMachine.design

    if args.mutant:
        mutant = check.MUTANTS[args.mutant]
        print(f"{args.mutant}: {mutant.text}\n({mutant.origin})\n")
    failure = falsify(NetBSD if args.design else Guest, seed=args.seed, examples=args.examples)
    if failure is None:
        print(f"holds in {args.examples} random runs, seed {args.seed}")
        return 0
    print(f"{failure}\n\nsmallest failing run of seed {args.seed}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
