"""The walk of the C core and of the flat specification, each as a formula over the same free inputs.

Inputs: the address, the access, every control register and CPUID bit that paging reads, the size of the machine, and
its whole memory: a function from addresses to 64-bit words, of which a walk reads at most five (a recursive path may
read one twice).
"""

from __future__ import annotations

import importlib.util
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import z3

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
SPEC = ROOT / "tests" / "x86" / "spec.py"
CSRC = ROOT / "csrc"


def sibling(path: Path, name: str) -> ModuleType:
    """A module beside this one: tests are not a package."""
    if name not in sys.modules:
        found = importlib.util.spec_from_file_location(name, path)
        assert found and found.loader
        module = importlib.util.module_from_spec(found)
        sys.modules[name] = module
        found.loader.exec_module(module)
    return sys.modules[name]


c_text: Any = sibling(HERE / "c_text.py", "proof_c_text")
python_text: Any = sibling(HERE / "python_text.py", "proof_python_text")

WORD = z3.BitVecSort(64)
# A machine ends where physical addresses of 52 bits do.
MOST_FRAMES = 1 << 40
CR4_LA57 = 12


@dataclass
class Inputs:
    """Bit-vectors and conditions, free or (in a test of the readers themselves) numbers."""

    va: Any
    cr0: Any
    cr3: Any
    cr4: Any
    efer: Any
    pkru: Any
    pkrs: Any
    maxphyaddr: Any
    amd: Any
    gbpages: Any
    ac: Any
    frames: Any
    write: Any
    execute: Any
    user: Any
    implicit: Any
    stack: Any
    shadow: Any
    upper: Any  # A is set above a fault
    memory: Any

    @property
    def assumptions(self) -> list[Any]:
        """What holds of every processor and access."""
        return [
            z3.UGE(self.maxphyaddr, 36),
            z3.ULE(self.maxphyaddr, 52),
            z3.Not(z3.And(self.write, self.execute)),
            z3.Not(z3.And(self.shadow, self.execute)),
            z3.ULE(self.frames, MOST_FRAMES),
        ]


def free(levels: int) -> Inputs:
    """Everything free but the number of levels."""
    cr4 = z3.Concat(z3.BitVec("cr4_high", 51), z3.BitVecVal(levels == 5, 1), z3.BitVec("cr4_low", 12))
    words = {name: z3.BitVec(name, 64) for name in ("va", "cr0", "cr3", "efer", "frames")}
    names = ("amd", "gbpages", "ac", "write", "execute", "user", "implicit", "stack", "shadow", "upper")
    conditions = {name: z3.Bool(name) for name in names}
    return Inputs(
        **words,
        **conditions,
        cr4=cr4,
        pkru=z3.BitVec("pkru", 32),
        pkrs=z3.BitVec("pkrs", 32),
        maxphyaddr=z3.BitVec("maxphyaddr", 8),
        memory=z3.Array("memory", WORD, WORD),
    )


@dataclass
class Outcome:
    """One way an access can end.  `fault` and the number of `steps` (address, entry) are known, the rest formulas."""

    cond: Any
    fault: str | None
    code: Any
    pa: Any
    page_size: Any
    steps: list[tuple[Any, Any]]
    memory: Any


# ---- the C text


def read_c(csrc: Path, scratch: Path) -> Any:
    """walk.c and cpu.c (which derives the reserved bits) as they are, with memory as two primitives."""
    headers = scratch / "headers"
    headers.mkdir(exist_ok=True)
    program = c_text.Program(primitives={"xm_peek": peek, "xm_poke": poke})
    both = scratch / "both.c"
    both.write_text("".join(f'#include "{csrc / "x86" / name}"\n' for name in ("walk.c", "cpu.c")), encoding="utf-8")
    program.read(c_text.preprocess(both, headers))
    return program


def peek(program: Any, st: Any, args: list[Any]) -> Any:
    word = c_text.number(z3.Select(st.world, c_text.bv(args[1].v, 64)), 64)
    return [(st, c_text.Value(c_text.Int(64, False), word))]


def poke(program: Any, st: Any, args: list[Any]) -> Any:
    st.world = z3.Store(st.world, c_text.bv(args[1].v, 64), c_text.bv(args[2].v, 64))
    return [(st, c_text.Value(c_text.VOID, None))]


def c_integer(value: Any, width: int) -> Any:
    if z3.is_bool(value) or isinstance(value, bool):
        value = z3.If(value, z3.BitVecVal(1, width), z3.BitVecVal(0, width))
    return c_text.number(value, width)


def c_access(inputs: Inputs, constants: dict[str, int]) -> Any:
    bits = {"WRITE": inputs.write, "EXECUTE": inputs.execute, "USER": inputs.user}
    bits |= {"IMPLICIT": inputs.implicit, "STACK": inputs.stack, "SHADOW_STACK": inputs.shadow}
    value: Any = z3.BitVecVal(0, 32)
    for name, cond in bits.items():
        value |= z3.If(cond, z3.BitVecVal(constants[f"XM_ACC_{name}"], 32), z3.BitVecVal(0, 32))
    return c_text.Value(c_text.UINT, c_text.number(value, 32))


def c_state(program: Any, inputs: Inputs) -> Any:
    """A processor on a machine, as xm_cpu_init and xm_cpu_set leave it."""
    st = c_text.State(True, {}, inputs.memory)

    def put(path: tuple[Any, ...], t: Any, value: Any) -> None:
        st.mem[path] = c_text.Value(t, c_integer(value, t.width))

    cpu, types = ("cpu",), program.structs["xm_cpu"]
    for name in ("cr0", "cr3", "cr4", "efer", "pkru", "pkrs", "maxphyaddr", "gbpages", "ac"):
        put((*cpu, name), types[name], getattr(inputs, name))
    put((*cpu, "vendor"), types["vendor"], inputs.amd)
    put((*cpu, "a_on_fault"), types["a_on_fault"], inputs.upper)
    for name, t in types.items():
        if isinstance(t, c_text.Int) and (*cpu, name) not in st.mem and name != "levels":
            put((*cpu, name), t, z3.BitVecVal(0, t.width))
    put(("machine", "frames"), c_text.Int(64, False), inputs.frames)
    # Of a partial memory the proof says nothing: a frame is there when its number is below that of the frames.
    put(("machine", "partial"), c_text.Int(64, False), 0)
    st.mem[(*cpu, "machine")] = c_text.Value(types["machine"], ("machine",))
    st.mem[(*cpu, "tlb")] = c_text.Value(types["tlb"], None)
    st.mem[(*cpu, "history")] = c_text.Value(types["history"], None)
    ((st, _),) = program.call("derive", st, [c_pointer("xm_cpu", "cpu")])
    return st


def c_pointer(struct: str, name: str) -> Any:
    return c_text.Value(c_text.Pointer(c_text.Struct(struct)), (name,))


def c_outcomes(program: Any, inputs: Inputs, function: str = "xm_walk") -> list[Outcome]:
    """What xm_walk, or xm_access, says and does."""
    args = [c_pointer("xm_cpu", "cpu"), c_text.Value(c_text.Int(64, False), c_integer(inputs.va, 64))]
    args += [c_access(inputs, program.constants), c_pointer("xm_walk", "w")]
    names = {program.constants[f"XM_FAULT_{n}"]: n for n in ("PF", "GP", "SS", "BUS", "UD")}
    outcomes = []
    for st, _ in program.call(function, c_state(program, inputs), args):
        w = {path[1:]: value.v for path, value in st.mem.items() if path[0] == "w"}
        steps = [(w["steps", i, "entry_pa"], w["steps", i, "entry"]) for i in range(w["nsteps",])]
        # Where the stack decides between #GP and #SS, the path holds both.
        kinds = (
            [(w["fault",], True)]
            if isinstance(w["fault",], int)
            else [(k, c_text.known(w["fault",] == k)) for k in names]
        )
        for kind, cond in kinds:
            if cond is not False:
                outcomes.append(
                    Outcome(
                        c_text.conj(st.cond, cond),
                        "#" + names[kind] if kind else None,
                        wide(w["error_code",], 32),
                        wide(w["pa",], 64),
                        wide(w["page_size",], 64),
                        [(wide(a, 64), wide(e, 64)) for a, e in steps],
                        st.world,
                    )
                )
    return outcomes


def wide(value: Any, width: int) -> Any:
    return c_text.bv(value, width)


# ---- the specification


def read_spec(text: str) -> Any:
    program = python_text.Program()
    program.read(text)
    return program


def spec_outcomes(program: Any, inputs: Inputs, function: str = "walk") -> list[Outcome]:
    """What the specification's walk, or access_page, says and does."""
    py = python_text
    st = py.State(True, {}, inputs.memory)

    def condition(value: Any) -> Any:
        return py.known(value) if z3.is_expr(value) else value

    def chosen(*pairs: tuple[Any, Any]) -> Any:
        live = [(v, py.known(c)) for v, c in pairs]
        return next((v for v, c in live if c is True), None) or py.Choice(tuple(p for p in live if p[1] is not False))

    fields = {name: py.natural(getattr(inputs, name)) for name in ("cr0", "cr3", "cr4", "efer", "pkru", "pkrs")}
    fields["maxphyaddr"] = chosen(*((k, inputs.maxphyaddr == k) for k in range(36, 53)))
    fields["vendor"] = chosen(("amd", inputs.amd), ("intel", z3.Not(inputs.amd)))
    fields["gbpages"], fields["ac"] = condition(inputs.gbpages), condition(inputs.ac)
    fields["a_on_fault"] = chosen(("upper", inputs.upper), ("none", z3.Not(inputs.upper)))
    ((st, state),) = program.call("State", st, [], fields)
    read, plain = z3.Not(z3.Or(inputs.write, inputs.execute)), z3.Not(inputs.shadow)
    access = chosen(
        ("read", z3.And(read, plain)),
        ("write", z3.And(inputs.write, plain)),
        ("execute", inputs.execute),
        ("shadow_read", z3.And(read, inputs.shadow)),
        ("shadow_write", z3.And(inputs.write, inputs.shadow)),
    )
    size = py.natural(inputs.frames << 12)
    args = [py.Memory(size), state, py.natural(inputs.va), access, condition(inputs.user)]
    named = {"stack": condition(inputs.stack)}
    if function == "walk":
        named["implicit"] = condition(inputs.implicit)
    outcomes = []
    for end, found in program.call(function, st, args, named):
        out = end.heap[found.at].fields
        used = [py.low64(at) for at in end.heap[out["used"].at]]
        outcomes.append(
            Outcome(
                end.cond,
                out["fault"],
                signed_word(out["code"], 32),
                signed_word(out["pa"], 64),
                signed_word(out["page_size"], 64),
                [(at, z3.Select(inputs.memory, at)) for at in used],
                end.world,
            )
        )
    return outcomes


def signed_word(value: Any, width: int) -> Any:
    """None as the C interface has it: no code is -1, no address 0."""
    if value is None:
        return z3.BitVecVal(-1 if width == 32 else 0, width)
    return z3.simplify(z3.Extract(width - 1, 0, python_text.sym(value).v))


# ---- both


def differ(c: Outcome, spec: Outcome, inputs: Inputs) -> Any:
    """Do two outcomes differ where both come about?  True, False, or a formula."""
    fault = "outside" if c.fault == "#BUS" else c.fault
    if fault != spec.fault or len(c.steps) != len(spec.steps):
        return True
    parts = [c.page_size != spec.page_size]
    if fault != "outside":
        parts += [c.code != spec.code]
    if fault is None:
        parts += [c.pa != spec.pa]
    parts += [a != b for (a, _), (b, _) in zip(c.steps, spec.steps, strict=True)]
    parts += [a != b for (_, a), (_, b) in zip(c.steps, spec.steps, strict=True)]
    return z3.simplify(z3.Or(*parts))


def difference(c: list[Outcome], spec: list[Outcome], inputs: Inputs) -> Any:
    """A formula that is satisfiable exactly if the two disagree for some input, or one says nothing of it."""
    bad = [z3.Not(z3.Or(*[o.cond for o in side])) for side in (c, spec)]
    for a in c:
        for b in spec:
            d = differ(a, b, inputs)
            if d is True or not z3.is_false(d):
                bad.append(z3.And(a.cond, b.cond) if d is True else z3.And(a.cond, b.cond, d))
    return z3.Or(*bad)


class Flat:
    """Formulas with the reads of memory as variables: equal addresses, equal words (Ackermann's reduction)."""

    def __init__(self) -> None:
        self.words: list[tuple[Any, Any]] = []
        self.done: dict[int, tuple[Any, Any]] = {}

    def formula(self, e: Any) -> Any:
        if e.get_id() not in self.done:
            if z3.is_select(e):
                new = self.word(e.arg(0), self.formula(e.arg(1)))
            elif z3.is_app(e) and e.num_args():
                new = e.decl()(*[self.formula(x) for x in e.children()])
            else:
                new = e
            # The expression is kept too: z3 uses the number of a dead one again.
            self.done[e.get_id()] = e, new
        return self.done[e.get_id()][1]

    def word(self, memory: Any, at: Any) -> Any:
        if z3.is_store(memory):
            base, where, what = memory.children()
            return z3.If(at == self.formula(where), self.formula(what), self.word(base, at))
        if z3.is_app_of(memory, z3.Z3_OP_ITE):
            cond, one, other = memory.children()
            return z3.If(self.formula(cond), self.word(one, at), self.word(other, at))
        at = z3.simplify(at)
        for known_at, word in self.words:
            if known_at.eq(at):
                return word
        self.words.append((at, z3.BitVec(f"word{len(self.words)}", 64)))
        return self.words[-1][1]

    def consistency(self) -> list[Any]:
        return [z3.Implies(a == b, v == w) for n, (a, v) in enumerate(self.words) for b, w in self.words[:n]]


@dataclass
class Counterexample:
    """Inputs for which a formula holds."""

    model: Any
    words: list[tuple[Any, Any]]

    def value(self, expression: Any) -> int:
        return int(self.model.eval(expression, model_completion=True).as_long())

    def holds(self, cond: Any) -> bool:
        return z3.is_true(self.model.eval(cond, model_completion=True))

    def memory(self) -> dict[int, int]:
        """The words of memory that were read, by address; any other word is zero."""
        return {self.value(at): self.value(word) for at, word in self.words}

    def inputs(self, of: Inputs) -> Inputs:
        """The inputs as numbers."""
        numbers = {}
        for name, old in vars(of).items():
            if name == "memory":
                numbers[name] = concrete_memory(self.memory())
            elif z3.is_bool(old):
                numbers[name] = z3.BoolVal(self.holds(old))
            else:
                numbers[name] = z3.BitVecVal(self.value(old), old.size())
        return Inputs(**numbers)


def concrete_memory(words: dict[int, int]) -> Any:
    memory = z3.K(WORD, z3.BitVecVal(0, 64))
    for at, word in words.items():
        memory = z3.Store(memory, z3.BitVecVal(at, 64), z3.BitVecVal(word, 64))
    return memory


def counterexample(inputs: Inputs, *formulas: Any) -> Counterexample | None:
    """Inputs for which all the formulas hold, or None: there are none."""
    flat = Flat()
    solver = z3.SolverFor("QF_BV")
    solver.add(*[flat.formula(z3.simplify(f)) for f in [*inputs.assumptions, *formulas]])
    solver.add(*flat.consistency())
    found = solver.check()
    assert found != z3.unknown, solver.reason_unknown()
    return Counterexample(solver.model(), flat.words) if found == z3.sat else None


def mutated(csrc: Path, copy: Path, file: str, old: str, new: str) -> Path:
    """A copy of the C sources with one change, which must be to be found exactly once."""
    for path in csrc.rglob("*.[ch]"):
        target = copy / path.relative_to(csrc)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    text = (copy / file).read_text(encoding="utf-8")
    assert len(re.findall(re.escape(old), text)) == 1, f"{old!r} in {file}"
    (copy / file).write_text(text.replace(old, new), encoding="utf-8")
    return copy
