"""Proof: the C text of the walk computes what the flat specification says, for every input.

The inputs are the address, the access, all control registers, MAXPHYADDR, vendor and the whole memory.  Both texts are
read as they stand (tests/oracles/proof): the C after the compiler's own preprocessor, the Python from its source.
Trusted are the two readers, which the first test here compares with the compiled core and with Python itself; z3; and
that xm_peek and xm_poke read and write the word at an address.
"""

from __future__ import annotations

import importlib.util
import random
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

z3 = pytest.importorskip("z3", reason="the proof needs z3-solver")
pytest.importorskip("pycparser", reason="the proof needs pycparser")
if shutil.which("cc") is None:
    pytest.skip("the proof needs the preprocessor of a C compiler", allow_module_level=True)

from xenmmu import Cpu, Machine, OutOfRange  # noqa: E402


def load(name: str, path: Path) -> Any:
    if name not in sys.modules:
        found = importlib.util.spec_from_file_location(name, path)
        assert found and found.loader
        sys.modules[name] = importlib.util.module_from_spec(found)
        found.loader.exec_module(sys.modules[name])
    return sys.modules[name]


HERE = Path(__file__).resolve().parent
paging = load("proof_paging", HERE.parent / "oracles" / "proof" / "paging.py")
spec = load("x86_spec", HERE / "spec.py")

P, RW, US, ACCESSED, DIRTY, PS, NX = 1, 2, 4, 0x20, 0x40, 0x80, 1 << 63
PF_P, PF_W, PF_U, PF_RSVD, PF_I, PF_PK, PF_SS = 1, 2, 4, 8, 16, 32, 64
# Nothing here runs in the compiled core but the few cases that test the readers.
pytestmark = pytest.mark.slow
LEVELS = pytest.mark.parametrize("levels", [4, 5])


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return paging.read_c(paging.CSRC, tmp_path_factory.mktemp("proof"))


@pytest.fixture(scope="module")
def specification() -> Any:
    return paging.read_spec(paging.SPEC.read_text(encoding="utf-8"))


_made: dict[Any, Any] = {}


@pytest.fixture
def both(program: Any, specification: Any) -> Any:
    """levels -> (inputs, outcomes of the C walk, outcomes of the specification's walk)."""

    def make(levels: int) -> Any:
        if levels not in _made:
            inputs = paging.free(levels)
            _made[levels] = inputs, paging.c_outcomes(program, inputs), paging.spec_outcomes(specification, inputs)
        return _made[levels]

    return make


def prove(inputs: Any, *formulas: Any) -> None:
    """There are no inputs for which the formulas, an offence, hold."""
    found = paging.counterexample(inputs, *formulas)
    assert found is None, found and found.model


# ---- the readers


class Words:
    """Memory of any size for the specification, run as Python: words by address."""

    def __init__(self, size: int, words: dict[int, int]) -> None:
        self.size, self.words = size, words

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, where: slice) -> bytes:
        return self.words.get(where.start, 0).to_bytes(8, "little")


def fields_of(inputs: Any) -> dict[str, Any]:
    """Inputs that are numbers, as the specification's State and the Cpu take them."""
    number = {n: getattr(inputs, n).as_long() for n in ("cr0", "cr3", "efer", "pkru", "pkrs", "maxphyaddr")}
    number["cr4"] = z3.simplify(inputs.cr4).as_long()
    amd = z3.is_true(inputs.amd)
    flags = {n: z3.is_true(getattr(inputs, n)) for n in ("gbpages", "ac")}
    return {**number, **flags, "vendor": "amd" if amd else "intel"}


def run_spec(inputs: Any, words: dict[int, int]) -> Any:
    access = "write" if z3.is_true(inputs.write) else "execute" if z3.is_true(inputs.execute) else "read"
    access = "shadow_" * z3.is_true(inputs.shadow) + access
    memory = Words(inputs.frames.as_long() << 12, words)
    who = [z3.is_true(x) for x in (inputs.user, inputs.implicit, inputs.stack)]
    return spec.walk(memory, spec.State(**fields_of(inputs)), inputs.va.as_long(), access, *who), access


def random_inputs(r: random.Random) -> tuple[Any, dict[int, int]]:
    """A machine of eight frames whose slots 0, 1 and 511 are mostly usable entries, and an address through them."""
    words = {}
    for frame in range(8):
        for slot in (0, 1, 511):
            entry = r.randrange(9 if r.random() < 0.1 else 8) << 12 | P | RW | US
            for _ in range(r.choice((0, 0, 1, 2))):
                entry ^= 1 << r.choice((0, 1, 2, 2, 5, 6, 7, 8, 8, 12, 13, 29, 36, 45, 51, 52, 59, 62, 63, 63))
            words[frame << 12 | slot * 8] = entry
    levels = r.choice((4, 5))
    va = r.randrange(1 << 12)
    for level in range(levels):
        va |= r.choice((0, 0, 1, 511)) << (12 + 9 * level)
    sign = 12 + 9 * levels
    if va >> (sign - 1) & 1 and r.random() < 0.7:
        va |= (1 << 64) - (1 << sign)
    cr4 = 0x20 | (levels == 5) << 12 | sum(r.getrandbits(1) << n for n in (20, 21, 22, 24))
    wp = r.getrandbits(1)
    cr4 |= wp << 23

    def b() -> Any:
        return z3.BoolVal(r.random() < 0.5)

    kind = r.randrange(3)
    stack = kind != 2 and r.random() < 0.4
    inputs = paging.Inputs(
        va=z3.BitVecVal(va, 64),
        cr0=z3.BitVecVal(0x80000001 | wp << 16, 64),
        cr3=z3.BitVecVal(r.randrange(8) << 12, 64),
        cr4=z3.BitVecVal(cr4, 64),
        efer=z3.BitVecVal(0x500 | r.getrandbits(1) << 11, 64),
        pkru=z3.BitVecVal(r.getrandbits(32), 32),
        pkrs=z3.BitVecVal(r.getrandbits(32), 32),
        maxphyaddr=z3.BitVecVal(r.randint(36, 52), 8),
        amd=b(),
        gbpages=b(),
        ac=b(),
        frames=z3.BitVecVal(8, 64),
        write=z3.BoolVal(kind == 1),
        execute=z3.BoolVal(kind == 2),
        user=b(),
        implicit=z3.BoolVal(r.random() < 0.2),
        stack=z3.BoolVal(stack),
        shadow=z3.BoolVal(kind != 2 and not stack and r.random() < 0.2),
        upper=b(),
        memory=paging.concrete_memory(words),
    )
    return inputs, words


def only(outcomes: list[Any]) -> Any:
    (one,) = [o for o in outcomes if o.cond is True or z3.is_true(z3.simplify(o.cond))]
    return one


def long(value: Any) -> int:
    return int(z3.simplify(value).as_signed_long())


def test_the_readers_agree_with_the_compiled_core_and_with_python(program: Any, specification: Any) -> None:
    """On known inputs a reader computes: what it computes is what the compiler's and Python's own run gives."""
    r = random.Random(57)
    faults: dict[str | None, int] = {}
    for _ in range(80):
        inputs, words = random_inputs(r)
        read_c = only(paging.c_outcomes(program, inputs))
        read_spec = only(paging.spec_outcomes(specification, inputs))
        native, access = run_spec(inputs, words)
        used = [long(at) for at, _ in read_spec.steps]
        assert (read_spec.fault, used) == (native.fault, native.used)
        if native.fault is None:
            assert (long(read_spec.pa), long(read_spec.page_size)) == (native.pa, native.page_size)
        elif native.fault != "outside":
            assert long(read_spec.code) == native.code
        m = Machine(8 << 12)
        for at, word in words.items():
            m.write64(at, word)
        cpu = Cpu(m, **fields_of(inputs))
        try:
            who = [z3.is_true(x) for x in (inputs.user, inputs.implicit, inputs.stack)]
            w = cpu.walk(inputs.va.as_long(), access, *who)
        except OutOfRange:
            assert read_c.fault == "#BUS"
        else:
            assert read_c.fault == w.fault
            assert long(read_c.code) == (-1 if w.error_code is None else w.error_code)
            assert long(read_c.page_size) == w.page_size and (w.pa is None or long(read_c.pa) == w.pa)
            assert [(long(a), long(e) % (1 << 64)) for a, e in read_c.steps] == [(s.entry_pa, s.entry) for s in w.steps]
        faults[read_c.fault] = faults.get(read_c.fault, 0) + 1
    assert {None, "#PF", "#GP", "#SS", "#BUS"} <= faults.keys() and faults[None] > 5


def test_a_reader_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    program = paging.c_text.Program()
    program.read("int f(int a) { while (a) a--; return a; } int g(void) { int a; return a; }")
    st = paging.c_text.State(True, {}, None)
    with pytest.raises(paging.c_text.NotRead, match="While"):
        program.call("f", st, [paging.c_text.Value(paging.c_text.INT, 1)])
    with pytest.raises(paging.c_text.NotRead, match="read before it is written"):
        program.call("g", st, [])
    module = paging.read_spec("def f(a):\n    while a:\n        a = a - 1\n    return a\n")
    with pytest.raises(paging.python_text.NotRead, match="While"):
        module.call("f", paging.python_text.State(True, {}, None), [1])


# ---- the walk


@LEVELS
def test_the_walk_is_the_specification(both: Any, levels: int) -> None:
    """Fault, error code, physical address, page size, and the address and value of each entry read, in order."""
    inputs, c, s = both(levels)
    assert len(c) > 20 and len(s) > 15
    prove(inputs, paging.difference(c, s, inputs))


@LEVELS
def test_nothing_undefined_is_computed(program: Any, both: Any, levels: int) -> None:
    """No shift by the width or more, no signed overflow, no index beyond an array."""
    inputs, _, _ = both(levels)
    program.obligations.clear()
    paging.c_outcomes(program, inputs, "xm_access")
    assert program.obligations, "the reader does ask"
    prove(inputs, z3.Or(*[o.bad for o in program.obligations]))


@LEVELS
def test_accessed_and_dirty_are_the_specification(program: Any, specification: Any, levels: int) -> None:
    """After an access every word of memory is the same on both sides; after a fault A above it, if that is chosen.

    The entries used are the same ones (the proof above), so their addresses are replaced by free variables, some of
    which may be equal, and the paths' conditions are dropped: what is left is the update.
    """
    inputs = paging.free(levels)
    c = paging.c_outcomes(program, inputs, "xm_access")
    s = paging.spec_outcomes(specification, inputs, "access_page")
    assert all(o.memory is inputs.memory for o in c + s if o.fault and (o.fault != "#PF" or len(o.steps) == 1))
    anywhere, old = z3.BitVec("anywhere", 64), z3.Select(inputs.memory, z3.BitVec("anywhere", 64))
    at = [z3.BitVec(f"entry_pa{i}", 64) for i in range(5)]
    allowed = [o for o in c + s if o.fault is None]
    unchosen = []
    for o in (o for o in c + s if o.fault == "#PF" and len(o.steps) > 1):
        changed = o.memory is not inputs.memory
        if changed:
            added = z3.If(z3.Or(*[anywhere == x for x in at[: len(o.steps) - 1]]), z3.BitVecVal(ACCESSED, 64), 0)
            prove(inputs, inputs.upper, z3.Select(free_addresses(o, at), anywhere) != old | added)
        otherwise = z3.simplify(z3.substitute(o.memory, (inputs.upper, z3.BoolVal(False))))
        if not changed or not otherwise.eq(inputs.memory):
            unchosen.append(z3.And(o.cond, inputs.upper != z3.BoolVal(changed)))
    prove(inputs, z3.Or(*unchosen))
    for o in allowed:
        # SDM 4.8: bits are only added, A in the entries used, D in the leaf of a write.  Each side does this.
        used = z3.Or(*[anywhere == x for x in at[: len(o.steps)]])
        dirty = z3.And(anywhere == at[len(o.steps) - 1], inputs.write)
        added = z3.If(used, z3.BitVecVal(ACCESSED, 64), 0) | z3.If(dirty, z3.BitVecVal(DIRTY, 64), 0)
        prove(inputs, z3.Select(free_addresses(o, at), anywhere) != old | added)
    assert len(allowed) == 6


def free_addresses(outcome: Any, at: list[Any]) -> Any:
    """The memory an outcome leaves, with the addresses of the entries used as variables."""
    memory = outcome.memory
    # From the leaf up: the address of an entry contains those above it.
    for i in reversed(range(len(outcome.steps))):
        memory = z3.substitute(memory, (outcome.steps[i][0], at[i]))
    return memory


# ---- an access that may straddle two pages


@LEVELS
@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_an_access_of_several_bytes_is_its_pages_in_order(program: Any, levels: int, size: int) -> None:
    """find_span for any outcome of the accesses to its pages: one page or two, CR2, and nothing beyond a fault."""
    inputs = paging.free(levels)
    c = paging.c_text
    u64, u8 = c.Int(64, False), c.Int(8, False)

    def page_access(program: Any, st: Any, args: list[Any]) -> Any:
        """In place of xm_access: notes the address and answers anything."""
        n = len(st.world)
        st.world = (*st.world, c.bv(args[1].v, 64))
        w = args[3].v
        st.mem[*w, "fault"] = c.Value(u8, z3.BitVec(f"fault{n}", 8))
        st.mem[*w, "pa"] = c.Value(u64, z3.BitVec(f"pa{n}", 64))
        return [(st, c.Value(c.INT, z3.ZeroExt(24, z3.BitVec(f"fault{n}", 8))))]

    replaced = c.Program(**{**vars(program), "primitives": {**program.primitives, "xm_access": page_access}})
    st = paging.c_state(replaced, inputs)
    st.world = ()
    number = c.Value(u64, c.bv(inputs.va, 64))
    args = [
        paging.c_pointer("xm_cpu", "cpu"),
        number,
        c.Value(c.UINT, size),
        paging.c_access(inputs, program.constants),
    ]
    args += [paging.c_pointer("span", "span"), c.Value(c.Pointer(u64), ("cr2",)), paging.c_pointer("xm_walk", "w")]
    ends = replaced.call("find_span", st, args)
    first, last = inputs.va, inputs.va + (size - 1)
    second = (inputs.va | 4095) + 1
    straddles = (first & ~z3.BitVecVal(4095, 64)) != (last & ~z3.BitVecVal(4095, 64))
    canonical = z3.And(*[z3.Or(*[sign_bits(va, levels) == x for x in (0, -1)]) for va in (first, last)])
    # A shadow-stack access without CR4.CET, which the walk refuses before it looks at the address.
    undefined = z3.And(inputs.shadow, (inputs.cr4 & (1 << 23)) == 0)
    bus = program.constants["XM_FAULT_BUS"]
    faults = [z3.BitVec(f"fault{n}", 8) for n in (0, 1)]
    pas = [z3.BitVec(f"pa{n}", 64) for n in (0, 1)]
    absent = [z3.UGE(z3.LShR(pa, 12), inputs.frames) for pa in pas]
    bad = [z3.Not(z3.Or(*[end.cond for end, _ in ends]))]
    shapes = set()
    for end, status in ends:
        calls, mem = end.world, end.mem
        fault = c.bv(mem["w", "fault"].v, 8)
        shapes.add(len(calls))
        rules = [z3.BoolVal(status.v == 0)]
        if not calls:
            gp, ss = (z3.BitVecVal(program.constants[f"XM_FAULT_{n}"], 8) for n in ("GP", "SS"))
            rules += [z3.Not(canonical), z3.Not(undefined), fault == z3.If(inputs.stack, ss, gp)]
        else:
            rules += [z3.Or(canonical, undefined), calls[0] == first]
            done = len(calls) - 1
            rules += [calls[1] == second, straddles] if done else []
            # Before the last page nothing has faulted; what the last says is what the whole says.  Only then does it
            # matter whether there is memory, page by page.
            rules += [faults[n] == 0 for n in range(done)]
            verdict, at = faults[done], calls[done]
            for n in reversed(range(done + 1)):
                missing = z3.And(faults[done] == 0, absent[n])
                verdict = z3.If(missing, z3.BitVecVal(bus, 8), verdict)
                at = z3.If(missing, calls[n], at)
            rules += [fault == verdict, c.bv(mem["cr2",].v, 64) == at]
            rules += [z3.Or(fault != 0, z3.BoolVal(bool(done)) == straddles)]
            counts = [c.bv(mem["span", "n", i].v, 32) for i in (0, 1)]
            rules += [counts[0] + counts[1] == size, z3.UGT(counts[0], 0), (counts[1] == 0) == z3.Not(straddles)]
            rules += [z3.Implies(straddles, z3.ZeroExt(32, counts[0]) == second - first)]
            for n in range(done + 1):
                rules += (
                    [z3.Or(fault != 0, c.bv(mem["span", "pa", n].v, 64) == pas[n])] if ("span", "pa", n) in mem else []
                )
                assert ("span", "pa", n) in mem or n == done
        bad.append(z3.And(end.cond, z3.Not(z3.And(*rules))))
    assert shapes == {0, 1, 2}
    prove(inputs, z3.Or(*bad))


def sign_bits(va: Any, levels: int) -> Any:
    """The bits that are all alike in a canonical address."""
    return z3.Extract(63, 56 if levels == 5 else 47, va)


# ---- what must hold whatever the specification says


def has(code: Any, bit: int) -> Any:
    return (code & bit) != 0


@LEVELS
def test_the_bits_of_an_error_code_are_consistent(both: Any, levels: int) -> None:
    inputs, c, _ = both(levels)
    by_user = z3.And(inputs.user, z3.Not(inputs.implicit))
    nxe_or_smep = z3.Or((inputs.efer & 0x800) != 0, (inputs.cr4 & (1 << 20)) != 0)
    bad = []
    for o in c:
        if o.fault != "#PF":
            expected = -1 if o.fault is None else 0
            bad.append(z3.And(o.cond, o.code != expected))
            continue
        rules = [
            z3.Implies(has(o.code, PF_RSVD), has(o.code, PF_P)),
            z3.Implies(has(o.code, PF_RSVD), z3.Not(has(o.code, PF_PK))),
            z3.Implies(has(o.code, PF_PK), has(o.code, PF_P)),
            z3.Implies(has(o.code, PF_PK), z3.Not(inputs.execute)),
            has(o.code, PF_W) == inputs.write,
            has(o.code, PF_U) == by_user,
            has(o.code, PF_I) == z3.And(inputs.execute, nxe_or_smep),
            has(o.code, PF_SS) == inputs.shadow,
            z3.ULT(o.code, 128),
        ]
        bad.append(z3.And(o.cond, z3.Not(z3.And(*rules))))
    prove(inputs, z3.Or(*bad))


@LEVELS
def test_a_physical_address_is_one(both: Any, levels: int) -> None:
    """It lies below 2**MAXPHYADDR, in a page of a size the processor has, at the address's own offset."""
    inputs, c, _ = both(levels)
    bad = []
    for o in (o for o in c if o.fault is None):
        width = z3.ZeroExt(56, inputs.maxphyaddr)
        rules = [
            z3.Or(*[o.page_size == 1 << n for n in (12, 21, 30)]),
            (o.pa & (o.page_size - 1)) == (inputs.va & (o.page_size - 1)),
            z3.LShR(o.pa, width) == 0,
            z3.Implies(o.page_size == 1 << 30, inputs.gbpages),
        ]
        bad.append(z3.And(o.cond, z3.Not(z3.And(*rules))))
    prove(inputs, z3.Or(*bad))


@LEVELS
def test_clearing_a_right_never_adds_one(program: Any, both: Any, levels: int) -> None:
    """Clear P, R/W, or (for user accesses) U/S in any entry, or set XD: what is allowed then was allowed before, alike.

    Not for shadow stacks: they are made by clearing R/W.
    U/S is a right of the user only: a supervisor page is one that SMEP, SMAP and PKRU leave alone.
    """
    inputs, before, _ = both(levels)
    where, cleared, execute_disable = (z3.BitVec(n, 64) for n in ("where", "cleared", "execute_disable"))
    old = z3.Select(inputs.memory, where)
    new = (old & ~(cleared & (P | RW | US))) | (execute_disable & NX)
    less = paging.Inputs(**{**vars(inputs), "memory": z3.Store(inputs.memory, where, new)})
    allowed = [o for o in before if o.fault is None]
    bad = []
    for o in paging.c_outcomes(program, less):
        if o.fault is None:
            was = z3.Or(*[z3.And(b.cond, b.pa == o.pa) for b in allowed if len(b.steps) == len(o.steps)])
            bad.append(z3.And(o.cond, z3.Not(was)))
    by_user = z3.And(inputs.user, z3.Not(inputs.implicit))
    prove(inputs, z3.Not(inputs.shadow), z3.Or(by_user, (cleared & US) == 0), z3.Or(*bad))


# ---- a mistake in the C text is found

MISTAKES = {
    "supervisor writes ignore WP": (
        "x86/rights.h",
        "!(r.all & XM_PTE_RW) && (user || (cr0 & XM_CR0_WP))",
        "!(r.all & XM_PTE_RW) && user",
    ),
    "R/W of the leaf alone": ("x86/rights.h", "!(r.all & XM_PTE_RW)", "!(r.leaf & XM_PTE_RW)"),
    "implicit accesses respect AC": ("x86/rights.h", "(!ac || (access & XM_ACC_IMPLICIT))", "!ac"),
    "bit 12 of a large page is reserved": ("x86/rights.h", "0x1fe000ULL", "0x1ff000ULL"),
    "MAXPHYADDR off by one": ("x86/rights.h", "((1ULL << maxphyaddr) - 1)", "((2ULL << maxphyaddr) - 1)"),
    "SMEP does not give I/D": ("x86/rights.h", "((cr4 & XM_CR4_SMEP) || (efer & XM_EFER_NXE))", "(efer & XM_EFER_NXE)"),
    "keys judge fetches": ("x86/rights.h", "if (access & XM_ACC_EXECUTE)\n\t\treturn 0;", "if (0)\n\t\treturn 0;"),
    "a reserved bit without P": ("x86/walk.c", "code | XM_PF_P | XM_PF_RSVD", "code | XM_PF_RSVD"),
    "reserved bits before P": (
        "x86/walk.c",
        "if (!(entry & XM_PTE_P))",
        "if (!(entry & XM_PTE_P) && !(entry & cpu->rsvd[level]))",
    ),
    "a clean page is a shadow stack": ("x86/rights.h", " && (r.leaf & XM_PTE_D)", ""),
    "a stack access faults as any other": (
        "x86/walk.c",
        "return xm_fault(w, access & XM_ACC_STACK ? XM_FAULT_SS : ",
        "return xm_fault(w, ",
    ),
    "a large page loses its offset": ("x86/walk.h", "(va & (page_size - 1))", "(va & 0xfff)"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_c_text_has_a_counterexample(mistake: str, both: Any, tmp_path: Path) -> None:
    """And it is one: run on it, the specification (as Python runs it) and the mistaken text differ."""
    inputs, _, s = both(4)
    wrong = paging.read_c(paging.mutated(paging.CSRC, tmp_path / "csrc", *MISTAKES[mistake]), tmp_path)
    found = paging.counterexample(inputs, paging.difference(paging.c_outcomes(wrong, inputs), s, inputs))
    assert found is not None
    numbers = found.inputs(inputs)
    native, _ = run_spec(numbers, found.memory())
    told = only(paging.c_outcomes(wrong, numbers))
    code = -1 if native.fault is None else native.code
    same_fault = {"#BUS": "outside"}.get(told.fault, told.fault) == native.fault
    same_end = same_fault and long(told.code) == code and long(told.pa) == (native.pa or 0)
    assert not (same_end and len(told.steps) == len(native.used))


def test_a_mistake_in_accessed_and_dirty_has_a_counterexample(specification: Any, tmp_path: Path) -> None:
    change = ("x86/rights.h", "if (leaf && (access & XM_ACC_WRITE))", "if (access & XM_ACC_WRITE)")
    wrong = paging.read_c(paging.mutated(paging.CSRC, tmp_path / "csrc", *change), tmp_path)
    with pytest.raises(AssertionError, match="write"):
        test_accessed_and_dirty_are_the_specification(wrong, specification, 4)


def test_a_mistake_in_a_straddling_access_has_a_counterexample(tmp_path: Path) -> None:
    change = ("x86/walk.c", "(i ? s->n[0] : 0)", "(i ? 1 : 0)")
    wrong = paging.read_c(paging.mutated(paging.CSRC, tmp_path / "csrc", *change), tmp_path)
    with pytest.raises(AssertionError, match="fault0"):
        test_an_access_of_several_bytes_is_its_pages_in_order(wrong, 4, 8)
