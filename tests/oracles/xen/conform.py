"""Real Xen 4.17 and the emulator run the same programs; everything visible is compared.

    python tests/oracles/xen/conform.py [--programs N] [--seed S] [--length L]
    python tests/oracles/xen/conform.py --read FILE     # programs of another generator: program.py says how they look

Prints programs, operations, differences, residue and seconds, and the first difference as a short program with what
either side says.  Exit 1 on any difference, and when a rule was not met and README.md does not say why; 2 when the
oracle does not work.
"""

from __future__ import annotations

import argparse
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[2])]

import golden  # noqa: E402
import program as p  # noqa: E402
from compare import FRAMES, POOL, Difference, State, compare_outcomes, compare_states, state  # noqa: E402
from emulator import Emulator  # noqa: E402
from generate import Generator  # noqa: E402
from named import NAMED  # noqa: E402
from oracle import Oracle, OracleError, build_guest, fetch_package  # noqa: E402
from reasons import explained  # noqa: E402
from referee import BASE, Referee  # noqa: E402

from xenmmu.xen import Options, Reason  # noqa: E402


def describe_outcome(op: p.Op, o: p.Outcome) -> str:
    """What one side answered, in words."""
    if o.rc == p.SKIPPED:
        return "left out"
    if o.vector:
        code = f" error code {o.error_code:#x}" if o.error_code else ""
        code = f" error code {o.error_code} at {o.cr2:#x}" if o.vector == 14 else code
        code += " in user mode" if o.user and op[0] == "iret" else ""
        return f"vector {o.vector}{code}"
    if op[0] == "exchange":
        return f"rc {o.rc}, done {o.done}"
    if op[0] in ("load", "cmpxchg"):
        return p.describe_entry(o.value)
    if op[0] == "store":
        return "done"
    if op[0] == "fetch":
        return "readable, not run: no ud2"
    if op[0] == "read":
        return p.describe_entry(o.readback)
    if op[0] == "peek":
        return p.describe_word(o.value, op[2])
    if op[0] == "peeks":
        words = (*o.more, *[0] * (len(op[1]) - len(o.more)))
        return ", ".join(p.describe_word(word, kind) for word, (_, kind, _) in zip(words, op[1], strict=True))
    if op[0] in ("poke", "pokes", "move"):
        return "done"
    read = [o.readback, *o.more] if o.readback else o.more
    return f"rc {o.rc}" + (f", reads {', '.join(map(p.describe_entry, read))}" if read else "")


class Comparison:
    """Both sides, and what they have said so far."""

    def __init__(self, referee: Referee, options: Options | None = None) -> None:
        self.referee, self._options = referee, options
        self.emulator = Emulator(options)
        self.base_ours = self.emulator.books(FRAMES)
        self._take_base()
        self.programs = self.operations = 0
        #: Seeds or names of programs after which Xen did not return to its base state.
        self.residue: list[str] = []
        #: What Xen said of the last program.
        self.said: tuple[list[p.Outcome], State]
        #: The seeds of the programs with a difference of each kind; 0 for one with a name.
        self.differing: dict[str, list[int]] = {}
        #: The first program, by seed, with a difference of each kind.
        self.first: dict[str, tuple[int, p.Program, list[Difference]]] = {}
        self.op_kinds: Counter[str] = Counter()
        #: Programs without residue and what Xen said of them, where they are kept.
        self.kept: list[golden.Case] | None = None

    def _take_base(self) -> None:
        self.base_xens = self.referee.books(FRAMES)

    def both(
        self, program: p.Program, ours: list[p.Outcome] | None = None, meanwhile: Callable[[], None] | None = None
    ) -> tuple[list[Difference], int]:
        """Run a program on Xen, and on the emulator where `ours` is not its outcome there; differences and residue.

        `meanwhile` is called once, with the emulator in its base state, while Xen runs.
        """
        referee, emulator = self.referee, self.emulator
        referee.start(program)
        if ours is None:
            ours = emulator.run(program)
        state_ours = state(emulator, self.base_ours)
        emulator.reset()
        clean = emulator.books(POOL) == [BASE] * p.FRAMES
        if not clean or emulator.spent:
            reasons, self.emulator = emulator.reasons, Emulator(self._options)
            self.emulator.reasons = reasons
        if meanwhile:
            meanwhile()
        xens = referee.finish()
        state_xens = state(referee, self.base_xens)
        self.said = xens, state_xens
        boots = referee.oracle.boots
        residue = referee.reset()
        if residue or referee.oracle.boots != boots:
            # A new boot, or frames given up that hold references for ever.
            self._take_base()
        found = compare_outcomes(program, ours, xens) + compare_states(state_ours, state_xens)
        if not clean:
            found.append(Difference(-1, "leak", "the emulator does not return to the base state"))
        return found, residue

    def add(self, seeds: Iterable[int], length: int) -> Iterator[int]:
        """Make the program of each seed and compare, one ahead of Xen; yields each seed when it is done."""
        made: list[tuple[int, p.Program, list[p.Outcome]]] = []
        coming = iter(seeds)

        def make() -> None:
            for seed in coming:
                generator = Generator(self.emulator, seed, length)
                made.append((seed, generator.run(), generator.outcomes))
                return

        make()
        while made:
            seed, program, ours = made.pop()
            try:
                # The emulator stands where the program left it, until Xen has it too.
                found, residue = self.both(program, ours, make)
            except OracleError as error:
                raise OracleError(f"program {seed}: {error}") from None
            self._count(seed, program, found, residue)
            self._keep(seed, program, residue)
            yield seed

    def add_read(self, path: Path, jobs: int, job: int) -> None:
        """Compare on a file's programs, one line of JSON each; the number of its line is a program's seed."""
        for n, line in enumerate(path.read_text().splitlines(), 1):
            if n % jobs != job or not line.strip():
                continue
            try:
                program = p.loads(line)
                ours = self.emulator.run(program)
            except (ArithmeticError, LookupError, NotImplementedError, TypeError, ValueError, struct.error) as error:
                raise OracleError(f"{path}, line {n}: no program: {error!r}") from None
            try:
                found, residue = self.both(program, ours)
            except OracleError as error:
                raise OracleError(f"{path}, line {n}: {error}") from None
            self._count(n, program, found, residue)

    def _count(self, seed: int, program: p.Program, found: list[Difference], residue: int) -> None:
        self.programs += 1
        self.operations += sum(op[0] not in p.STEPS for op in program)
        self.op_kinds.update(op[0] for op in program)
        if residue:
            self.residue.append(str(seed))
        elif found:
            for kind in dict.fromkeys(d.kind for d in found):
                self.differing.setdefault(kind, []).append(seed)
                self.first.setdefault(kind, (seed, program, found))

    def _keep(self, seed: int, program: p.Program, residue: int) -> None:
        if self.kept is not None and not residue:
            self.kept.append(golden.Case(seed, program, *self.said))

    def tell(self, name: str) -> None:
        """Run a named program and print the answers, operation by operation."""
        case = NAMED[name]
        ours = self.emulator.run(case.program)
        found, _ = self.both(case.program, ours)
        print(f"{name}: {case.question}")
        for (what, op), mine, other in zip(case.steps, ours, self.said[0], strict=True):
            if not what and mine == other:
                continue
            same = "" if mine == other else f"   EMULATOR: {describe_outcome(op, mine)}"
            print(f"  {what + ':':55} {describe_outcome(op, other)}{same}")
        print(f"  differences: {len(found)}", *(f"\n  * {d.text}" for d in found))

    def add_named(self) -> None:
        """Compare on every named program."""
        for name, case in NAMED.items():
            whole = len(case.program)
            for n in range(1, whole + 1) if case.stepwise else (whole,):
                if n < whole and case.program[n - 1][0] in p.STEPS:
                    continue
                program = case.program[:n]
                found, residue = self.both(program)
                self._count(0, program, [d._replace(kind=f"{name}: {d.kind}") for d in found], residue)
                if n == whole:
                    self._keep(0, program, residue)

    def shrink(self, program: p.Program, kind: str) -> tuple[p.Program, list[Difference]]:
        """Leave out operations while a difference of the same kind stays."""

        def still(candidate: p.Program) -> list[Difference]:
            found, residue = self.both(candidate)
            return found if not residue and any(d.kind == kind for d in found) else []

        best, found = program, still(program)
        if not found:
            return program, []
        last = max((d.at for d in found if d.kind == kind), default=-1)
        if last >= 0 and (shorter := still(program[: last + 1])):
            best, found = program[: last + 1], shorter
        step = max(1, len(best) // 2)
        while step:
            i = 0
            while i < len(best):
                candidate = best[:i] + best[i + step :]
                shorter = still(candidate)
                if shorter:
                    best, found = candidate, shorter
                else:
                    i += step
            step //= 2
        return best, found


def main(argv: list[str] | None = None) -> int:
    """Run; see the head of this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=2007)
    parser.add_argument("--length", type=int, default=80)
    parser.add_argument("--show", type=int, default=1, help="of so many kinds of difference, show a short program")
    parser.add_argument("--tell", choices=sorted(NAMED), help="print a named program's answers, and no more")
    parser.add_argument("--read", type=Path, help="compare on this file's programs, a line of JSON each, and no more")
    parser.add_argument("--no-linear", action="store_true", help="both sides with pv-linear-pt off")
    parser.add_argument("--golden", type=Path, help="write Xen's answers to this file")
    parser.add_argument("--seconds", type=float, default=0.0, help="stop after so long")
    parser.add_argument(
        "--jobs", type=int, default=1, help="so many processes, each with a QEMU; the programs stay the same"
    )
    args = parser.parse_args(argv)
    if args.read and not args.read.is_file():
        parser.error(f"--read: no such file: {args.read}")
    if not args.tell and not args.read:
        print(f"seed {args.seed}, {args.programs} programs of {args.length} operations and more", flush=True)
    if args.jobs < 1:
        parser.error("--jobs: at least one")
    try:
        if args.tell:
            with Oracle(options=_xen_options(args)) as oracle:
                Comparison(Referee(oracle), Options(pv_linear_pt=not args.no_linear)).tell(args.tell)
            return 0
        start = time.monotonic()
        if args.jobs == 1:
            parts = [_work(args, 0)]
        else:
            fetch_package()
            build_guest()
            with ProcessPoolExecutor(args.jobs) as pool:
                parts = list(pool.map(_work, [args] * args.jobs, range(args.jobs)))
        return _report(args, parts, time.monotonic() - start)
    except OracleError as error:
        print(f"oracle: {error}", file=sys.stderr)
        return 2


def _xen_options(args: argparse.Namespace) -> str:
    return "pv-linear-pt=0" if args.no_linear else ""


class Part(NamedTuple):
    """What one process has seen."""

    programs: int
    operations: int
    #: Seeds.
    residue: list[str]
    boots: int
    version: str
    op_kinds: Counter[str]
    reasons: Counter[Reason]
    #: Of each kind of difference, the seeds of the programs.
    differing: dict[str, list[int]]
    #: Of each kind of difference that it shows, the seed of the first program and the text.
    shown: dict[str, tuple[int, str]]
    kept: list[golden.Case]


def _work(args: argparse.Namespace, job: int) -> Part:
    """Compare on the programs of one process: every one in so many; the named ones are the first process's."""
    with Oracle(options=_xen_options(args)) as oracle:
        c = Comparison(Referee(oracle), Options(pv_linear_pt=not args.no_linear))
        c.kept = [] if args.golden else None
        start = time.monotonic()
        if args.read:
            c.add_read(args.read, args.jobs, job)
        else:
            if job == 0:
                c.add_named()
            first = args.seed * 1_000_000
            for _ in c.add(range(first + job, first + args.programs, args.jobs), args.length):
                if args.seconds and time.monotonic() - start > args.seconds:
                    break
        c.emulator.reset()
        reasons = Counter(c.emulator.reasons)
        shown = {k: (c.first[k][0], _show(c, k)) for k in list(c.first)[: args.show]}
        return Part(
            *(c.programs, c.operations, c.residue, oracle.boots, oracle.version),
            *(c.op_kinds, reasons, c.differing, shown, c.kept or []),
        )


def _show(c: Comparison, kind: str) -> str:
    """A short program with a difference of this kind, and what either side says."""
    seed, program, seen = c.first[kind]
    short, found = c.shrink(program, kind)
    lines = [f"program {seed}, {kind}; " + (f"shortened to {len(short)} operations:" if found else "not seen again:")]
    if found:
        lines += [p.describe(short), p.dumps(short)]
    lines += [f"  * {f'[{d.at}]' if d.at >= 0 else '[after]'} {d.text}" for d in (found or seen)[:20]]
    return "\n".join(lines)


def _report(args: argparse.Namespace, parts: list[Part], seconds: float) -> int:
    operations = sum(part.operations for part in parts)
    op_kinds, reasons = Counter[str](), Counter[Reason]()
    differing: dict[str, list[int]] = {}
    for part in parts:
        op_kinds += part.op_kinds
        reasons += part.reasons
        for kind, seeds in part.differing.items():
            differing.setdefault(kind, []).extend(seeds)
    print(
        f"programs {sum(part.programs for part in parts)}, operations {operations}, "
        f"differences {sum(map(len, differing.values()))}, "
        f"residue {sum(len(part.residue) for part in parts)}, seconds {seconds:.1f} "
        f"({operations / seconds:.0f} operations/s), boots {sum(part.boots for part in parts)}"
    )
    if residue := [seed for part in parts for seed in part.residue]:
        print("residue:", ", ".join(residue))
    for what, these in (("operations", [k for k in op_kinds if k not in p.STEPS]), ("memory set up and read", p.STEPS)):
        print(f"{what}:", ", ".join(f"{k} {op_kinds[k]}" for k in sorted(these, key=lambda k: -op_kinds[k])))
    print("answers:", ", ".join(f"{r.name} {n}" for r, n in reasons.most_common()))
    if args.golden:
        cases = sorted((case for part in parts for case in part.kept), key=lambda case: case.seed)
        golden.write(args.golden, parts[0].version, cases)
    names = {r.name for r in Reason if r in reasons}
    unexpected = not args.read and not _reasons_as_explained(names, not args.no_linear)
    for kind, seeds in sorted(differing.items(), key=lambda item: -len(item[1])):
        print(f"  {len(seeds):6} programs: {kind}: {', '.join(str(seed) for seed in sorted(seeds) if seed)}")
    shown = sorted((seed, text) for part in parts for seed, text in part.shown.values())
    for _, text in shown[: args.show]:
        print(text)
    return 1 if differing or unexpected else 0


def _reasons_as_explained(names: set[str], linear: bool) -> bool:
    """Print which rules were not met; whether README.md explains these and no others."""
    beyond = explained(linear)
    wanted = [r.name for r in Reason if r.name not in names | beyond]
    print("not met, explained:", ", ".join(r.name for r in Reason if r.name in beyond - names))
    if wanted:
        print("NOT MET:", ", ".join(wanted))
    if wrong := beyond & names:
        print("MET, THOUGH README.md EXPLAINS WHY NOT:", ", ".join(sorted(wrong)))
    return not wanted and not wrong


if __name__ == "__main__":
    sys.exit(main())
