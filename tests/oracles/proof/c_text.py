"""C text read into z3: what a function computes, for all inputs at once.

Knows: the C that the rules of paging are written in (integers, structures, pointers to them, loops whose bounds are
known numbers) with C11's promotions, conversions and undefined shifts.  Does not know: what the functions mean.

A run is a list of paths.  A path has a condition (a z3 formula over the inputs), the memory it leaves and a value.
Paths are merged again where an `if` ends, and where a function that changed nothing returns; they stay apart where a
loop is left early, so that a loop counter is a number on every path.

Anything else in the text is refused with NotRead, never skipped.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import z3
from pycparser import c_ast, c_parser

# The declarations of the system headers that the text uses; the real ones are full of extensions.
HEADERS = {
    "stddef.h": "typedef unsigned long size_t;\n#define NULL ((void *)0)\n",
    "stdint.h": "".join(
        f"typedef {'un' * (s == 'u')}signed {name} {s}int{bits}_t;\n"
        for s in ("", "u")
        for bits, name in ((8, "char"), (16, "short"), (32, "int"), (64, "long"))
    ),
    "string.h": "void *memcpy(void *, const void *, unsigned long);\nvoid *memset(void *, int, unsigned long);\n",
    "stdatomic.h": "typedef unsigned int atomic_uint;\n",
    "stdlib.h": "",
}


class NotRead(Exception):
    """The text uses something that this reader does not know."""


def preprocess(source: Path, headers: Path, cc: str = "cc") -> str:
    """The text of a C file after the real preprocessor; the system headers' stand-ins are put in folder `headers`."""
    for name, text in HEADERS.items():
        (headers / name).write_text(text, encoding="utf-8")
    command = [cc, "-E", "-P", "-std=gnu11", "-nostdinc", "-I", str(headers), str(source)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@dataclass(frozen=True)
class Int:
    """An integer type."""

    width: int
    signed: bool


@dataclass(frozen=True)
class Pointer:
    to: Any


@dataclass(frozen=True)
class Array:
    of: Any
    size: int


@dataclass(frozen=True)
class Struct:
    name: str


VOID = "void"
INT, UINT = Int(32, True), Int(32, False)
BASIC = {
    "char": Int(8, True),
    "short": Int(16, True),
    "int": INT,
    "long": Int(64, True),
    "unsigned": UINT,
    "_Bool": Int(8, False),
}


@dataclass
class Value:
    """`v` is an int (0 to 2**width - 1) where the value is known, else a bit-vector; a path or None for a pointer; a
    dictionary from sub-path to Value for a structure."""

    type: Any
    v: Any


@dataclass
class State:
    """One path: the condition under which it is taken, the objects, and the world, which only primitives see."""

    cond: Any
    mem: dict[tuple[Any, ...], Value]
    world: Any

    def fork(self, cond: Any) -> State:
        return State(conj(self.cond, cond), dict(self.mem), self.world)


def conj(a: Any, b: Any) -> Any:
    if a is True or b is False:
        return b
    if b is True or a is False:
        return a
    return z3.And(a, b)


def disj(a: Any, b: Any) -> Any:
    if a is False or b is True:
        return b
    if b is False or a is True:
        return a
    return z3.Or(a, b)


def neg(a: Any) -> Any:
    return (not a) if isinstance(a, bool) else z3.Not(a)


def known(a: Any) -> Any:
    """A formula, or True or False where that is plain."""
    if isinstance(a, bool):
        return a
    a = z3.simplify(a)
    return True if z3.is_true(a) else False if z3.is_false(a) else a


def bv(value: Any, width: int) -> Any:
    return z3.BitVecVal(value, width) if isinstance(value, int) else value


def number(value: Any, width: int) -> Any:
    """An int where the simplified bit-vector is a number."""
    if isinstance(value, int):
        return value & ((1 << width) - 1)
    value = z3.simplify(value)
    return value.as_long() if z3.is_bv_value(value) else value


def signed(v: int, width: int) -> int:
    return v - (1 << width) if v >> (width - 1) else v


def convert(value: Value, to: Any) -> Value:
    """Value as if assigned to an object of type `to` (C11 6.3.1.3; to a signed type modulo 2**width, as gcc has it)."""
    if not isinstance(to, Int):
        if isinstance(to, Pointer) and isinstance(value.type, Int) and value.v == 0:
            return Value(to, None)
        return Value(to, value.v)
    if not isinstance(value.type, Int):
        raise NotRead("a pointer as a number")
    old, v = value.type, value.v
    if isinstance(v, int):
        return Value(to, (signed(v, old.width) if old.signed else v) & ((1 << to.width) - 1))
    if to.width < old.width:
        return Value(to, number(z3.Extract(to.width - 1, 0, v), to.width))
    if to.width > old.width:
        v = (z3.SignExt if old.signed else z3.ZeroExt)(to.width - old.width, v)
    return Value(to, v)


def promoted(t: Int) -> Int:
    return INT if t.width < 32 else t


def common(a: Int, b: Int) -> Int:
    """The usual arithmetic conversions (C11 6.3.1.8), where a wider type represents every value of a narrower one."""
    a, b = promoted(a), promoted(b)
    if a.width != b.width:
        return a if a.width > b.width else b
    return Int(a.width, a.signed and b.signed)


def truth(value: Value) -> Any:
    if isinstance(value.type, Pointer):
        return value.v is not None
    if isinstance(value.v, int):
        return value.v != 0
    return known(value.v != 0)


def of_truth(cond: Any) -> Value:
    return Value(INT, int(cond) if isinstance(cond, bool) else z3.If(cond, bv(1, 32), bv(0, 32)))


def part_of(name: str, value: Value) -> dict[tuple[Any, ...], Value]:
    """A member's value as sub-paths of the structure that has it."""
    if isinstance(value.v, dict):
        return {(name, *sub): part for sub, part in value.v.items()}
    return {(name,): value}


def choose(cond: Any, a: Value, b: Value) -> Value | None:
    """`a` where cond holds, else `b`; None where they are no numbers and differ."""
    if a is b or (type(a.v) is type(b.v) and not z3.is_expr(a.v) and a.v == b.v) or cond is True:
        return a
    if cond is False:
        return b
    if isinstance(a.v, dict) and isinstance(b.v, dict):
        parts = {k: choose(cond, a.v[k], b.v[k]) for k in a.v}
        return None if None in parts.values() else Value(a.type, parts)
    if not isinstance(a.type, Int) or not isinstance(b.type, Int):
        return None
    width = a.type.width
    return Value(a.type, number(z3.If(cond, bv(a.v, width), bv(b.v, width)), width))


@dataclass
class Obligation:
    """Something the text must never do; `bad` says for which inputs it would."""

    what: str
    bad: Any


Results = list[tuple[State, Value]]
Primitive = Callable[["Program", State, list[Value]], Results]


@dataclass
class Program:
    """Functions, types and constants of C texts; `primitives` replace functions by their meaning in the world."""

    primitives: dict[str, Primitive] = field(default_factory=dict)
    functions: dict[str, Any] = field(default_factory=dict)
    structs: dict[str, dict[str, Any]] = field(default_factory=dict)
    typedefs: dict[str, Any] = field(default_factory=dict)
    constants: dict[str, int] = field(default_factory=dict)
    obligations: list[Obligation] = field(default_factory=list)
    frames: int = 0

    def read(self, text: str) -> None:
        """Add what a preprocessed text defines."""
        for node in c_parser.CParser().parse(text).ext:
            if isinstance(node, c_ast.FuncDef):
                self.functions[node.decl.name] = node
            elif isinstance(node, c_ast.Typedef):
                self.typedefs[node.name] = self.type_of(node.type)
            elif isinstance(node, c_ast.Decl):
                self.type_of(node.type) if not isinstance(node.type, c_ast.FuncDecl) else None

    # ---- types

    def type_of(self, node: Any) -> Any:
        if isinstance(node, (c_ast.TypeDecl, c_ast.Typename)):
            return self.type_of(node.type)
        if isinstance(node, c_ast.IdentifierType):
            return self.basic(node.names)
        if isinstance(node, c_ast.PtrDecl):
            return Pointer(VOID if isinstance(node.type, c_ast.FuncDecl) else self.type_of(node.type))
        if isinstance(node, c_ast.ArrayDecl):
            size = 0 if node.dim is None else self.constant(node.dim)
            return Array(self.type_of(node.type), size)
        if isinstance(node, c_ast.Struct):
            if node.decls is not None:
                self.structs[node.name] = {d.name: self.type_of(d.type) for d in node.decls}
            return Struct(node.name)
        if isinstance(node, c_ast.Enum):
            following = 0
            for item in node.values.enumerators if node.values else ():
                following = self.constant(item.value) if item.value else following
                self.constants[item.name] = following
                following += 1
            return INT
        raise NotRead(f"type {type(node).__name__}")

    def basic(self, names: list[str]) -> Any:
        if names == ["void"]:
            return VOID
        if len(names) == 1 and names[0] in self.typedefs:
            return self.typedefs[names[0]]
        unsigned = "unsigned" in names
        rest = [n for n in names if n not in ("unsigned", "signed")]
        t = BASIC["long" if "long" in rest else rest[0] if rest else "int"]
        return Int(t.width, t.signed and not unsigned)

    def constant(self, node: Any) -> int:
        ((_, value),) = self.eval(node, State(True, {}, None), {})
        if not isinstance(value.v, int):
            raise NotRead("a constant expression that is not constant")
        return signed(value.v, value.type.width) if value.type.signed else value.v

    # ---- objects

    def store(self, st: State, path: tuple[Any, ...], value: Value, to: Any) -> None:
        if isinstance(to, Struct):
            for sub, part in value.v.items():
                st.mem[path + sub] = part
        else:
            st.mem[path] = convert(value, to)

    def load(self, st: State, path: tuple[Any, ...], t: Any) -> Value:
        if isinstance(t, Struct):
            n = len(path)
            return Value(t, {p[n:]: v for p, v in st.mem.items() if p[:n] == path})
        if isinstance(t, Array):
            return Value(Pointer(t.of), path)
        if path not in st.mem:
            raise NotRead(f"{'.'.join(map(str, path))} is read before it is written")
        return st.mem[path]

    # ---- calls

    def call(self, name: str, st: State, args: list[Value]) -> Results:
        if name in self.primitives:
            return self.primitives[name](self, st, args)
        if name not in self.functions:
            raise NotRead(f"function {name}")
        node = self.functions[name]
        self.frames += 1
        frame = f"{name}#{self.frames}"
        scope: dict[str, tuple[tuple[Any, ...], Any]] = {}
        inner = st.fork(True)
        params = [p for p in node.decl.type.args.params if p.name] if node.decl.type.args else []
        for p, arg in zip(params, args, strict=True):
            t = self.type_of(p.type)
            scope[p.name] = ((frame, p.name), t)
            self.store(inner, (frame, p.name), arg, t)
        result = self.type_of(node.decl.type.type)
        returns: Results = []
        for kind, end, value in self.block(node.body, inner, scope):
            if kind in ("break", "continue"):
                raise NotRead(f"{kind} outside a loop")
            end.mem = {p: v for p, v in end.mem.items() if p[0] != frame}
            returns.append((end, Value(VOID, None) if result == VOID else convert(value, result)))
        return self.merged_returns(st, returns)

    def merged_returns(self, before: State, returns: Results) -> Results:
        """One result if the function changed nothing, whatever the path."""
        if len(returns) == 1 or not all(same(end, before) for end, _ in returns):
            return returns
        value = returns[-1][1]
        for end, other in reversed(returns[:-1]):
            chosen = choose(end.cond, other, value)
            if chosen is None:
                return returns
            value = chosen
        return [(before, value)]

    # ---- statements: lists of ("next" | "break" | "continue" | "return", state, value)

    def block(self, node: Any, st: State, scope: Any) -> list[tuple[str, State, Any]]:
        scope = dict(scope)
        live, done = [st], []
        for item in node.block_items or ():
            after = []
            for s in live:
                for end in self.statement(item, s, scope):
                    after.append(end[1]) if end[0] == "next" else done.append(end)
            live = after
        return done + [("next", s, None) for s in live]

    def statement(self, node: Any, st: State, scope: Any) -> list[tuple[str, State, Any]]:
        if isinstance(node, c_ast.Compound):
            return self.block(node, st, scope)
        if isinstance(node, c_ast.Decl):
            return [("next", s, None) for s in self.declare(node, st, scope)]
        if isinstance(node, c_ast.DeclList):
            live = [st]
            for decl in node.decls:
                live = [s for before in live for s in self.declare(decl, before, scope)]
            return [("next", s, None) for s in live]
        if isinstance(node, c_ast.If):
            return self.branch(node, st, scope)
        if isinstance(node, c_ast.For):
            return self.loop(node, st, scope)
        if isinstance(node, c_ast.Return):
            if node.expr is None:
                return [("return", st, None)]
            return [("return", s, v) for s, v in self.eval(node.expr, st, scope)]
        if isinstance(node, c_ast.Break):
            return [("break", st, None)]
        if isinstance(node, c_ast.Continue):
            return [("continue", st, None)]
        if isinstance(node, c_ast.EmptyStatement):
            return [("next", st, None)]
        if isinstance(node, (c_ast.Assignment, c_ast.FuncCall, c_ast.UnaryOp)):
            return [("next", s, None) for s, _ in self.eval(node, st, scope)]
        raise NotRead(f"statement {type(node).__name__}")

    def declare(self, node: Any, st: State, scope: Any) -> list[State]:
        t = self.type_of(node.type)
        self.frames += 1
        path = (next((p[0] for p, _ in scope.values()), "#"), f"{node.name}#{self.frames}")
        scope[node.name] = (path, t)
        if node.init is None:
            return [st]
        ends = []
        for s, value in self.initial(node.init, t, st, scope):
            self.store(s, path, value, t)
            ends.append(s)
        return ends

    def initial(self, node: Any, t: Any, st: State, scope: Any) -> Results:
        if not isinstance(node, c_ast.InitList):
            return self.eval(node, st, scope)
        if not isinstance(t, Struct):
            raise NotRead("an initialiser list of an array")
        results: Results = [(st, Value(t, {}))]
        for (name, member), item in zip(self.structs[t.name].items(), node.exprs, strict=True):
            results = [
                (s2, Value(t, {**done.v, **part_of(name, convert(v, member))}))
                for s, done in results
                for s2, v in self.initial(item, member, s, scope)
            ]
        return results

    def branch(self, node: Any, st: State, scope: Any) -> list[tuple[str, State, Any]]:
        done: list[tuple[str, State, Any]] = []
        for s, value in self.eval(node.cond, st, scope):
            cond = truth(value)
            through: list[list[State]] = []
            for side, body in ((cond, node.iftrue), (neg(cond), node.iffalse)):
                live = []
                if side is not False:
                    ends = self.statement(body, s.fork(side), scope) if body else [("next", s.fork(side), None)]
                    for end in ends:
                        live.append(end[1]) if end[0] == "next" else done.append(end)
                through.append(live)
            done += [("next", m, None) for m in self.joined(cond, through[0], through[1], s)]
        return done

    def joined(self, cond: Any, left: list[State], right: list[State], before: State) -> list[State]:
        """Both sides of an `if` as one state, where each came through whole."""
        if len(left) != 1 or len(right) != 1:
            return left + right
        a, b = left[0], right[0]
        mem = {}
        for path in a.mem.keys() & b.mem.keys():
            chosen = choose(cond, a.mem[path], b.mem[path])
            if chosen is None:
                return [a, b]
            mem[path] = chosen
        world = a.world if a.world is b.world else z3.If(cond, a.world, b.world)
        # A path that left early inside either side is excluded by the sides' own conditions.
        whole = a.cond if a.cond is b.cond else known(z3.Or(a.cond, b.cond))
        return [State(before.cond if left_whole(a, b, cond, before) else whole, mem, world)]

    def loop(self, node: Any, st: State, scope: Any) -> list[tuple[str, State, Any]]:
        scope = dict(scope)
        live = [st]
        if node.init is not None:
            live = [end[1] for end in self.statement(node.init, st, scope)]
        done: list[tuple[str, State, Any]] = []
        for _ in range(600):
            if not live:
                return done
            following = []
            for s in live:
                for s1, value in [(s, of_truth(True))] if node.cond is None else self.eval(node.cond, s, scope):
                    cond = truth(value)
                    if neg(cond) is not False:
                        done.append(("next", s1.fork(neg(cond)), None))
                    if cond is False:
                        continue
                    for kind, end, v in self.statement(node.stmt, s1.fork(cond), scope):
                        if kind == "return":
                            done.append((kind, end, v))
                        elif kind == "break":
                            done.append(("next", end, None))
                        elif node.next is None:
                            following.append(end)
                        else:
                            following += [e for e, _ in self.eval(node.next, end, scope)]
            live = [s for s in following if known(s.cond) is not False]
        raise NotRead("a loop without an end that can be seen")

    # ---- expressions: lists of (state, value)

    def eval(self, node: Any, st: State, scope: Any) -> Results:
        method = getattr(self, "eval_" + type(node).__name__.lower(), None)
        if method is None:
            raise NotRead(f"expression {type(node).__name__}")
        return method(node, st, scope)  # type: ignore[no-any-return]

    def eval_constant(self, node: Any, st: State, scope: Any) -> Results:
        found = re.fullmatch(r"(0[xX][0-9a-fA-F]+|\d+)([uUlL]*)", node.value)
        if not found:
            raise NotRead(f"constant {node.value}")
        digits, suffix = found[1], found[2].lower()
        n = int(digits, 0 if digits != "0" and not digits.isdigit() else 10)
        if digits.isdigit() and digits[0] == "0" and digits != "0":
            n = int(digits, 8)
        # C11 6.4.4.1: the first type of the list that fits; a decimal constant without U is signed.
        can_be_unsigned = "u" in suffix or not digits.isdigit()
        widths = (64,) if "l" in suffix else (32, 64)
        for width in widths:
            if "u" not in suffix and n < 1 << (width - 1):
                return [(st, Value(Int(width, True), n))]
            if can_be_unsigned and n < 1 << width:
                return [(st, Value(Int(width, False), n))]
        raise NotRead(f"constant {node.value} fits no type")

    def eval_id(self, node: Any, st: State, scope: Any) -> Results:
        if node.name in scope:
            return [(st, self.load(st, *scope[node.name]))]
        if node.name in self.constants:
            return [(st, Value(INT, self.constants[node.name] & 0xFFFFFFFF))]
        raise NotRead(f"name {node.name}")

    def place(self, node: Any, st: State, scope: Any) -> list[tuple[State, tuple[Any, ...], Any]]:
        """Where an lvalue lies: (state, path, type)."""
        if isinstance(node, c_ast.ID) and node.name in scope:
            return [(st, *scope[node.name])]
        if isinstance(node, c_ast.StructRef):
            if node.type == ".":
                bases = self.place(node.name, st, scope)
            else:
                bases = [self.target(s, v) for s, v in self.eval(node.name, st, scope)]
            return [(s, (*path, node.field.name), self.structs[t.name][node.field.name]) for s, path, t in bases]
        if isinstance(node, c_ast.ArrayRef):
            found = []
            for s, path, t in self.place(node.name, st, scope):
                for s2, index in self.eval(node.subscript, s, scope):
                    if not isinstance(t, Array) or not isinstance(index.v, int):
                        raise NotRead("an index that is not a number on this path")
                    if index.v >= t.size:
                        self.obligations.append(Obligation(f"index {index.v} of {path}", s2.cond))
                        continue
                    found.append((s2, (*path, index.v), t.of))
            return found
        if isinstance(node, c_ast.UnaryOp) and node.op == "*":
            return [self.target(s, v) for s, v in self.eval(node.expr, st, scope)]
        raise NotRead(f"lvalue {type(node).__name__}")

    def target(self, st: State, value: Value) -> tuple[State, tuple[Any, ...], Any]:
        if not isinstance(value.type, Pointer) or not isinstance(value.v, tuple):
            raise NotRead("a pointer that leads nowhere known")
        return st, value.v, value.type.to

    def eval_structref(self, node: Any, st: State, scope: Any) -> Results:
        return [(s, self.load(s, path, t)) for s, path, t in self.place(node, st, scope)]

    eval_arrayref = eval_structref

    def eval_assignment(self, node: Any, st: State, scope: Any) -> Results:
        results = []
        for s, path, t in self.place(node.lvalue, st, scope):
            for s2, value in self.eval(node.rvalue, s, scope):
                if node.op != "=":
                    value = self.binary(node.op[:-1], self.load(s2, path, t), value, s2)
                self.store(s2, path, value, t)
                results.append((s2, self.load(s2, path, t)))
        return results

    def eval_cast(self, node: Any, st: State, scope: Any) -> Results:
        t = self.type_of(node.to_type)
        return [(s, Value(VOID, None) if t == VOID else convert(v, t)) for s, v in self.eval(node.expr, st, scope)]

    def eval_compoundliteral(self, node: Any, st: State, scope: Any) -> Results:
        return self.initial(node.init, self.type_of(node.type), st, scope)

    def eval_funccall(self, node: Any, st: State, scope: Any) -> Results:
        rows: list[tuple[State, list[Value]]] = [(st, [])]
        for arg in node.args.exprs if node.args else ():
            rows = [(s2, [*done, v]) for s, done in rows for s2, v in self.eval(arg, s, scope)]
        return [end for s, args in rows for end in self.call(node.name.name, s, args)]

    def eval_ternaryop(self, node: Any, st: State, scope: Any) -> Results:
        results: Results = []
        for s, value in self.eval(node.cond, st, scope):
            cond = truth(value)
            sides = [
                self.eval(side, s.fork(c), scope) if c is not False else None
                for c, side in ((cond, node.iftrue), (neg(cond), node.iffalse))
            ]
            a, b = sides
            if a is None or b is None:
                results += a or b or []
                continue
            if len(a) == len(b) == 1 and same(a[0][0], s) and same(b[0][0], s):
                va, vb = a[0][1], b[0][1]
                if isinstance(va.type, Int) and isinstance(vb.type, Int):
                    t = common(va.type, vb.type)
                    va, vb = convert(va, t), convert(vb, t)
                chosen = choose(cond, va, vb)
                if chosen is not None:
                    results.append((s, chosen))
                    continue
            results += a + b
        return results

    def eval_binaryop(self, node: Any, st: State, scope: Any) -> Results:
        if node.op in ("&&", "||"):
            return self.short_circuit(node, st, scope)
        return [
            (s2, self.binary(node.op, a, b, s2))
            for s, a in self.eval(node.left, st, scope)
            for s2, b in self.eval(node.right, s, scope)
        ]

    def short_circuit(self, node: Any, st: State, scope: Any) -> Results:
        results: Results = []
        for s, left in self.eval(node.left, st, scope):
            go_on = truth(left) if node.op == "&&" else neg(truth(left))
            stopped = of_truth(node.op == "||")
            if go_on is False:
                results.append((s, stopped))
                continue
            right = self.eval(node.right, s.fork(go_on), scope)
            if go_on is True:
                results += [(e, of_truth(truth(v))) for e, v in right]
            elif len(right) == 1 and same(right[0][0], s):
                both = truth(right[0][1])
                cond = conj(truth(left), both) if node.op == "&&" else disj(truth(left), both)
                results.append((s, of_truth(known(cond))))
            else:
                results.append((s.fork(neg(go_on)), stopped))
                results += [(e, of_truth(truth(v))) for e, v in right]
        return results

    def eval_unaryop(self, node: Any, st: State, scope: Any) -> Results:
        op = node.op
        if op in ("p++", "p--", "++", "--"):
            results = []
            for s, path, t in self.place(node.expr, st, scope):
                old = self.load(s, path, t)
                new = self.binary("+" if "+" in op else "-", old, Value(INT, 1), s)
                self.store(s, path, new, t)
                results.append((s, old if op[0] == "p" else self.load(s, path, t)))
            return results
        if op == "&":
            return [(s, Value(Pointer(t), path)) for s, path, t in self.place(node.expr, st, scope)]
        if op == "*":
            return [(s, self.load(s, path, t)) for s, path, t in self.place(node, st, scope)]
        results = []
        for s, value in self.eval(node.expr, st, scope):
            if op == "!":
                results.append((s, of_truth(neg(truth(value)))))
                continue
            v = convert(value, promoted(value.type))
            width = v.type.width
            if op == "~":
                new = ~v.v
            elif op == "-":
                if v.type.signed and v.v != 1 << (width - 1) and not isinstance(v.v, int):
                    self.obligations.append(Obligation("negation overflows", conj(s.cond, v.v == 1 << (width - 1))))
                new = -v.v
            elif op == "+":
                new = v.v
            else:
                raise NotRead(f"operator {op}")
            results.append((s, Value(v.type, number(new, width))))
        return results

    def binary(self, op: str, a: Value, b: Value, st: State) -> Value:
        if isinstance(a.type, Pointer) or isinstance(b.type, Pointer):
            if op not in ("==", "!="):
                raise NotRead("arithmetic with pointers")
            left, right = (None if isinstance(x.type, Int) and x.v == 0 else x.v for x in (a, b))
            return of_truth((left == right) == (op == "=="))
        if op in ("<<", ">>"):
            return self.shift(op, a, b, st)
        t = common(a.type, b.type)
        x, y = convert(a, t).v, convert(b, t).v
        width = t.width
        if op in COMPARISONS:
            if isinstance(x, int) and isinstance(y, int):
                x, y = (signed(x, width), signed(y, width)) if t.signed else (x, y)
                return of_truth(COMPARISONS[op][0](x, y))
            return of_truth(known(COMPARISONS[op][1 if t.signed else 2](bv(x, width), bv(y, width))))
        if op not in ARITHMETIC:
            raise NotRead(f"operator {op}")
        if t.signed and op in OVERFLOW:
            self.check_overflow(op, x, y, width, st)
        if not isinstance(x, int) or not isinstance(y, int):
            x, y = bv(x, width), bv(y, width)
        return Value(t, number(ARITHMETIC[op](x, y), width))

    def check_overflow(self, op: str, x: Any, y: Any, width: int, st: State) -> None:
        if isinstance(x, int) and isinstance(y, int):
            exact = ARITHMETIC[op](signed(x, width), signed(y, width))
            bad: Any = not -(1 << (width - 1)) <= exact < 1 << (width - 1)
        else:
            bad = z3.Not(z3.And(*OVERFLOW[op](bv(x, width), bv(y, width))))
        if bad is not False:
            self.obligations.append(Obligation(f"signed {op} overflows", conj(st.cond, bad)))

    def shift(self, op: str, a: Value, b: Value, st: State) -> Value:
        a = convert(a, promoted(a.type))
        width = a.type.width
        # A negative count is a huge one after conversion: refused either way.
        by = convert(b, Int(max(width, b.type.width), b.type.signed)).v
        bad = by >= width if isinstance(by, int) else z3.UGE(by, width)
        if bad is not False:
            self.obligations.append(Obligation(f"shift {op} by the width or more", conj(st.cond, bad)))
        if isinstance(a.v, int) and isinstance(by, int):
            if op == "<<":
                return Value(a.type, number(a.v << by, width))
            return Value(a.type, number((signed(a.v, width) if a.type.signed else a.v) >> by, width))
        x = bv(a.v, width)
        y = bv(by, width) if isinstance(by, int) or by.size() == width else z3.Extract(width - 1, 0, by)
        new = x << y if op == "<<" else x >> y if a.type.signed else z3.LShR(x, y)
        return Value(a.type, number(new, width))


def same(a: State, b: State) -> bool:
    """Has nothing been written between the two?"""
    return a.world is b.world and a.mem.keys() == b.mem.keys() and all(a.mem[k] is b.mem[k] for k in a.mem)


def left_whole(a: State, b: State, cond: Any, before: State) -> bool:
    """Are the two states nothing but the two sides of `cond` under `before`?"""
    return structurally(a.cond, conj(before.cond, cond)) and structurally(b.cond, conj(before.cond, neg(cond)))


def structurally(a: Any, b: Any) -> bool:
    return a is b if isinstance(a, bool) or isinstance(b, bool) else bool(a.eq(b))


COMPARISONS: dict[str, tuple[Any, Any, Any]] = {
    "==": (lambda x, y: x == y,) * 3,
    "!=": (lambda x, y: x != y,) * 3,
    "<": (lambda x, y: x < y, lambda x, y: x < y, z3.ULT),
    "<=": (lambda x, y: x <= y, lambda x, y: x <= y, z3.ULE),
    ">": (lambda x, y: x > y, lambda x, y: x > y, z3.UGT),
    ">=": (lambda x, y: x >= y, lambda x, y: x >= y, z3.UGE),
}
ARITHMETIC: dict[str, Any] = {
    "+": lambda x, y: x + y,
    "-": lambda x, y: x - y,
    "*": lambda x, y: x * y,
    "&": lambda x, y: x & y,
    "|": lambda x, y: x | y,
    "^": lambda x, y: x ^ y,
}
OVERFLOW: dict[str, Any] = {
    "+": lambda x, y: (z3.BVAddNoOverflow(x, y, True), z3.BVAddNoUnderflow(x, y)),
    "-": lambda x, y: (z3.BVSubNoOverflow(x, y), z3.BVSubNoUnderflow(x, y, True)),
    "*": lambda x, y: (z3.BVMulNoOverflow(x, y, True), z3.BVMulNoUnderflow(x, y)),
}
