"""Python text read into z3: what a function of the flat specification computes, for all inputs at once.

Knows: the Python that the specification is written in: unbounded integers, booleans, strings that are compared, lists,
records, `if`, `for` over something of known length, functions and properties.  Does not know: what the functions mean.

An integer that is not known is a two's complement bit-vector of WIDTH bits with a bound on its magnitude; an operation
whose result might not fit is refused, so the bit-vector is the integer.  Paths are as in c_text: apart where a loop is
left early, merged where an `if` ends and where a function that changed nothing returns.  Anything else in the text is
refused with NotRead.
"""

from __future__ import annotations

import ast
import operator
from dataclasses import dataclass, field
from typing import Any

import z3

WIDTH = 80


class NotRead(Exception):
    """The text uses something that this reader does not know."""


@dataclass(frozen=True)
class Sym:
    """An integer: `v` is WIDTH bits wide, -bound <= value <= bound, and not below 0 if `natural`."""

    v: Any
    bound: int
    natural: bool = True


@dataclass(frozen=True)
class Choice:
    """One of several plain values (a string, a number): each with the condition under which it is the one."""

    of: tuple[tuple[Any, Any], ...]


@dataclass(frozen=True)
class Ref:
    """A list or a record on the heap of a path."""

    at: int


@dataclass
class Record:
    kind: str
    fields: dict[str, Any]


@dataclass(frozen=True)
class Bytes:
    """Eight bytes of memory at an address."""

    memory: Memory
    at: Any


@dataclass(frozen=True)
class Memory:
    """The machine's memory: its contents are the world of the path, `size` is the number of its bytes."""

    size: Any


@dataclass
class State:
    cond: Any
    heap: dict[int, Any]
    world: Any
    names: dict[str, Any] = field(default_factory=dict)

    def fork(self, cond: Any) -> State:
        heap = {k: Record(v.kind, dict(v.fields)) if isinstance(v, Record) else list(v) for k, v in self.heap.items()}
        return State(conj(self.cond, cond), heap, self.world, dict(self.names))


def known(a: Any) -> Any:
    if isinstance(a, bool):
        return a
    a = z3.simplify(a)
    return True if z3.is_true(a) else False if z3.is_false(a) else a


def conj(a: Any, b: Any) -> Any:
    if a is True or b is False:
        return b
    if b is True or a is False:
        return a
    return z3.And(a, b)


def neg(a: Any) -> Any:
    return (not a) if isinstance(a, bool) else z3.Not(a)


def natural(v: Any) -> Any:
    """A bit-vector as a natural number: an int where it is known."""
    v = z3.simplify(v)
    if z3.is_bv_value(v):
        return v.as_long()
    return Sym(z3.ZeroExt(WIDTH - v.size(), v), (1 << v.size()) - 1)


def sym(a: Any) -> Sym:
    """An int or a bool as Sym."""
    if isinstance(a, Sym):
        return a
    if z3.is_expr(a):
        return Sym(z3.If(a, z3.BitVecVal(1, WIDTH), z3.BitVecVal(0, WIDTH)), 1)
    return Sym(z3.BitVecVal(int(a), WIDTH), abs(int(a)), a >= 0)


def number(s: Sym) -> Any:
    if s.bound >= 1 << (WIDTH - 1):
        raise NotRead(f"an integer that may need more than {WIDTH} bits")
    v = z3.simplify(s.v)
    return v.as_signed_long() if z3.is_bv_value(v) else Sym(v, s.bound, s.natural)


def truth(a: Any) -> Any:
    if isinstance(a, Sym):
        return known(a.v != 0)
    if isinstance(a, Choice):
        return known(z3.Or(*[c for value, c in a.of if value]))
    return known(a) if z3.is_expr(a) else bool(a)


def equal(a: Any, b: Any) -> Any:
    """a == b."""
    if isinstance(a, Choice) or isinstance(b, Choice):
        a, b = (x.of if isinstance(x, Choice) else ((x, True),) for x in (a, b))
        return known(z3.Or(*[conj(ca, cb) for va, ca in a for vb, cb in b if va == vb], False))
    if is_symbolic(a) or is_symbolic(b):
        if a is None or b is None or isinstance(a, str) or isinstance(b, str):
            return False
        return known(sym(a).v == sym(b).v)
    return a == b


def is_symbolic(a: Any) -> bool:
    return isinstance(a, Sym) or z3.is_expr(a)


MISSING = object()


def choose(cond: Any, a: Any, b: Any) -> Any:
    """`a` where cond holds, else `b`; MISSING where that is no one value."""
    if a is b or cond is True or (type(a) is type(b) and not is_symbolic(a) and a == b):
        return a
    if cond is False:
        return b
    numbers = all(is_symbolic(x) or isinstance(x, int) for x in (a, b))
    if numbers and all(z3.is_expr(x) or isinstance(x, bool) for x in (a, b)):
        return known(z3.If(cond, a, b))
    if numbers:
        x, y = sym(a), sym(b)
        return number(Sym(z3.If(cond, x.v, y.v), max(x.bound, y.bound), x.natural and y.natural))
    return MISSING


def distributed(operation: Any, a: Any, b: Any) -> Any:
    """An operation on the alternatives of a Choice: a Choice again if all results are plain, else one formula."""
    pairs = [
        (operation(x, y), known(conj(c, d)))
        for x, c in (a.of if isinstance(a, Choice) else ((a, True),))
        for y, d in (b.of if isinstance(b, Choice) else ((b, True),))
    ]
    pairs = [(v, c) for v, c in pairs if c is not False]
    if not any(is_symbolic(v) for v, _ in pairs) and not all(isinstance(v, bool) for v, _ in pairs):
        return Choice(tuple(pairs))
    value = pairs[-1][0]
    for other, cond in reversed(pairs[:-1]):
        value = choose(cond, other, value)
    return value


def integer_operation(op: str, a: Any, b: Any) -> Any:
    if isinstance(a, Choice) or isinstance(b, Choice):
        return distributed(lambda x, y: integer_operation(op, x, y), a, b)
    if not is_symbolic(a) and not is_symbolic(b):
        return PLAIN[op](a, b)
    if op in "&|" and all(z3.is_expr(x) or isinstance(x, bool) for x in (a, b)):
        return known((z3.And if op == "&" else z3.Or)(a, b))
    x, y = sym(a), sym(b)
    if op in ("+", "-"):
        v = x.v + y.v if op == "+" else x.v - y.v
        return number(Sym(v, x.bound + y.bound, op == "+" and x.natural and y.natural))
    if op == "*":
        return number(Sym(x.v * y.v, x.bound * y.bound, x.natural and y.natural))
    if not (x.natural and y.natural):
        raise NotRead(f"{op} of integers that may be negative")
    if op == "&":
        return number(Sym(x.v & y.v, min(x.bound, y.bound)))
    if op in "|^":
        v = x.v | y.v if op == "|" else x.v ^ y.v
        return number(Sym(v, (1 << max(x.bound, y.bound).bit_length()) - 1))
    if op == "<<":
        return number(Sym(x.v << y.v, x.bound << y.bound))
    if op == ">>":
        return number(Sym(z3.LShR(x.v, y.v), x.bound if is_symbolic(b) else x.bound >> b))
    if op in ("%", "//") and isinstance(b, int) and b > 0 and not b & (b - 1):
        k = b.bit_length() - 1
        return integer_operation("&", a, b - 1) if op == "%" else integer_operation(">>", a, k)
    raise NotRead(f"{op} of unknown integers")


PLAIN: dict[str, Any] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "&": operator.and_,
    "|": operator.or_,
    "^": operator.xor,
    "<<": operator.lshift,
    ">>": operator.rshift,
    "%": operator.mod,
    "//": operator.floordiv,
}
OPERATORS = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.BitAnd: "&",
    ast.BitOr: "|",
    ast.BitXor: "^",
    ast.LShift: "<<",
    ast.RShift: ">>",
    ast.Mod: "%",
    ast.FloorDiv: "//",
}
ORDER: dict[Any, tuple[Any, Any]] = {
    ast.Lt: (operator.lt, lambda x, y: x < y),
    ast.LtE: (operator.le, lambda x, y: x <= y),
    ast.Gt: (operator.gt, lambda x, y: x > y),
    ast.GtE: (operator.ge, lambda x, y: x >= y),
}

Results = list[tuple[State, Any]]


@dataclass
class Program:
    """The functions and classes of a module."""

    functions: dict[str, ast.FunctionDef] = field(default_factory=dict)
    classes: dict[str, ast.ClassDef] = field(default_factory=dict)
    constants: dict[str, Any] = field(default_factory=dict)
    objects: int = 0

    def read(self, text: str) -> None:
        for node in ast.parse(text).body:
            if isinstance(node, ast.FunctionDef):
                self.functions[node.name] = node
            elif isinstance(node, ast.ClassDef):
                self.classes[node.name] = node
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                ((_, self.constants[node.targets[0].id]),) = self.eval(node.value, State(True, {}, None))

    def new(self, st: State, value: Any) -> Ref:
        self.objects += 1
        st.heap[self.objects] = value
        return Ref(self.objects)

    # ---- calls

    def call(self, name: str, st: State, args: list[Any], named: dict[str, Any] | None = None) -> Results:
        if name in self.classes:
            return self.construct(name, st, args, named or {})
        if name not in self.functions:
            raise NotRead(f"function {name}")
        return self.run(self.functions[name], st, args, named or {})

    def run(self, node: ast.FunctionDef, st: State, args: list[Any], named: dict[str, Any]) -> Results:
        params = [a.arg for a in node.args.args]
        first_default = len(params) - len(node.args.defaults)
        inner = st.fork(True)
        inner.names = {}
        for i, param in enumerate(params):
            if i < len(args):
                inner.names[param] = args[i]
            elif param in named:
                inner.names[param] = named[param]
            else:
                ((_, inner.names[param]),) = self.eval(node.args.defaults[i - first_default], inner)
        returns: Results = []
        for kind, end, value in self.block(node.body, inner):
            if kind in ("break", "continue"):
                raise NotRead(f"{kind} outside a loop")
            end.names = dict(st.names)
            returns.append((end, value))
        if len(returns) > 1 and all(unchanged(end, st) for end, _ in returns):
            value = returns[-1][1]
            for end, other in reversed(returns[:-1]):
                value = choose(end.cond, other, value)
                if value is MISSING:
                    return returns
            return [(st, value)]
        return returns

    def construct(self, name: str, st: State, args: list[Any], named: dict[str, Any]) -> Results:
        fields: dict[str, Any] = {}
        declared = [n for n in self.classes[name].body if isinstance(n, ast.AnnAssign)]
        for i, node in enumerate(declared):
            assert isinstance(node.target, ast.Name)
            key = node.target.id
            if i < len(args):
                fields[key] = args[i]
            elif key in named:
                fields[key] = named[key]
            elif isinstance(node.value, ast.Call):  # field(default_factory=list)
                fields[key] = self.new(st, [])
            elif node.value is not None:
                ((_, fields[key]),) = self.eval(node.value, st)
            else:
                raise NotRead(f"{name} without {key}")
        return [(st, self.new(st, Record(name, fields)))]

    # ---- statements

    def block(self, body: list[ast.stmt], st: State) -> list[tuple[str, State, Any]]:
        live, done = [st], []
        for node in body:
            after = []
            for s in live:
                for end in self.statement(node, s):
                    after.append(end[1]) if end[0] == "next" else done.append(end)
            live = after
        return done + [("next", s, None) for s in live]

    def statement(self, node: ast.stmt, st: State) -> list[tuple[str, State, Any]]:
        if isinstance(node, ast.Return):
            if node.value is None:
                return [("return", st, None)]
            return [("return", s, v) for s, v in self.eval(node.value, st)]
        if isinstance(node, ast.If):
            return self.branch(node, st)
        if isinstance(node, ast.For):
            return self.loop(node, st)
        if isinstance(node, (ast.Break, ast.Continue)):
            return [("break" if isinstance(node, ast.Break) else "continue", st, None)]
        if isinstance(node, (ast.Pass, ast.Assert)):
            return [("next", st, None)]
        if isinstance(node, ast.Expr):
            return [("next", s, None) for s, _ in self.eval(node.value, st)]
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            if node.value is None:
                return [("next", st, None)]
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            ends = self.eval(node.value, st)
            for s, value in ends:
                for target in targets:
                    self.assign(target, value, s)
            return [("next", s, None) for s, _ in ends]
        if isinstance(node, ast.AugAssign):
            load = ast.parse(ast.unparse(node.target), mode="eval").body
            ends = [
                (s2, integer_operation(OPERATORS[type(node.op)], a, b))
                for s, a in self.eval(load, st)
                for s2, b in self.eval(node.value, s)
            ]
            for s, value in ends:
                self.assign(node.target, value, s)
            return [("next", s, None) for s, _ in ends]
        raise NotRead(f"statement {type(node).__name__}")

    def assign(self, target: ast.expr, value: Any, st: State) -> None:
        if isinstance(target, ast.Name):
            st.names[target.id] = value
        elif isinstance(target, ast.Tuple):
            for part, v in zip(target.elts, value, strict=True):
                self.assign(part, v, st)
        elif isinstance(target, ast.Attribute):
            ((_, base),) = self.eval(target.value, st)
            st.heap[base.at].fields[target.attr] = value
        elif isinstance(target, ast.Subscript):
            ((_, base),) = self.eval(target.value, st)
            ((_, at),) = self.eval(target.slice, st)
            if not isinstance(base, Memory):
                raise NotRead("an item of something that is not memory")
            # The byte at an address that is a multiple of 8 is the low byte of the word there.
            address, low = low64(at), z3.Extract(7, 0, sym(value).v)
            word = z3.Concat(z3.Extract(63, 8, z3.Select(st.world, address)), low)
            st.world = z3.Store(st.world, address, word)
        else:
            raise NotRead(f"assignment to {type(target).__name__}")

    def branch(self, node: ast.If, st: State) -> list[tuple[str, State, Any]]:
        done: list[tuple[str, State, Any]] = []
        for s, value in self.eval(node.test, st):
            cond = truth(value)
            through: list[list[State]] = []
            for side, body in ((cond, node.body), (neg(cond), node.orelse)):
                live = []
                for end in self.block(body, s.fork(side)) if side is not False else ():
                    live.append(end[1]) if end[0] == "next" else done.append(end)
                through.append(live)
            done += [("next", m, None) for m in joined(cond, through[0], through[1])]
        return done

    def loop(self, node: ast.For, st: State) -> list[tuple[str, State, Any]]:
        if node.orelse:
            raise NotRead("for with else")
        done: list[tuple[str, State, Any]] = []
        for s, sequence in self.eval(node.iter, st):
            live = [s]
            for item in self.items(sequence, s):
                following = []
                for now in live:
                    self.assign(node.target, item, now)
                    for kind, end, value in self.block(node.body, now):
                        if kind == "return":
                            done.append((kind, end, value))
                        elif kind == "break":
                            done.append(("next", end, None))
                        else:
                            following.append(end)
                live = [now for now in following if known(now.cond) is not False]
            done += [("next", now, None) for now in live]
        return done

    def items(self, sequence: Any, st: State) -> list[Any]:
        if isinstance(sequence, Ref):
            return list(st.heap[sequence.at])
        if isinstance(sequence, (tuple, list, range)):
            return list(sequence)
        raise NotRead(f"a loop over {type(sequence).__name__}")

    # ---- expressions

    def eval(self, node: ast.expr, st: State) -> Results:
        method = getattr(self, "eval_" + type(node).__name__.lower(), None)
        if method is None:
            raise NotRead(f"expression {type(node).__name__}")
        return method(node, st)  # type: ignore[no-any-return]

    def eval_all(self, nodes: list[ast.expr], st: State) -> list[tuple[State, list[Any]]]:
        rows: list[tuple[State, list[Any]]] = [(st, [])]
        for node in nodes:
            rows = [(s2, [*done, v]) for s, done in rows for s2, v in self.eval(node, s)]
        return rows

    def eval_constant(self, node: ast.Constant, st: State) -> Results:
        return [(st, node.value)]

    def eval_name(self, node: ast.Name, st: State) -> Results:
        for names in (st.names, self.constants):
            if node.id in names:
                return [(st, names[node.id])]
        raise NotRead(f"name {node.id}")

    def eval_tuple(self, node: ast.Tuple, st: State) -> Results:
        return [(s, tuple(row)) for s, row in self.eval_all(node.elts, st)]

    def eval_list(self, node: ast.List, st: State) -> Results:
        return [(s, self.new(s, row)) for s, row in self.eval_all(node.elts, st)]

    def eval_attribute(self, node: ast.Attribute, st: State) -> Results:
        results: Results = []
        for s, base in self.eval(node.value, st):
            if not isinstance(base, Ref):
                raise NotRead(f"attribute {node.attr}")
            record = s.heap[base.at]
            if node.attr in record.fields:
                results.append((s, record.fields[node.attr]))
                continue
            for f in self.classes[record.kind].body:
                if isinstance(f, ast.FunctionDef) and f.name == node.attr and f.decorator_list:
                    results += self.run(f, s, [base], {})
                    break
            else:
                raise NotRead(f"attribute {node.attr} of {record.kind}")
        return results

    def eval_subscript(self, node: ast.Subscript, st: State) -> Results:
        results: Results = []
        for s, base in self.eval(node.value, st):
            if isinstance(base, Memory):
                results += self.memory(base, node.slice, s)
                continue
            for s2, index in self.eval(node.slice, s):
                items = s2.heap[base.at] if isinstance(base, Ref) else base
                if is_symbolic(index):
                    raise NotRead("an index that is not known on this path")
                results.append((s2, items[index]))
        return results

    def memory(self, memory: Memory, index: ast.expr, st: State) -> Results:
        if not isinstance(index, ast.Slice):
            word = [(s, z3.Select(s.world, low64(at))) for s, at in self.eval(index, st)]
            return [(s, natural(z3.Extract(7, 0, w))) for s, w in word]
        assert index.lower is not None and index.upper is not None
        results = []
        for s, at in self.eval(index.lower, st):
            for s2, end in self.eval(index.upper, s):
                if integer_operation("-", end, at) != 8:
                    raise NotRead("a slice of memory that is not eight bytes")
                results.append((s2, Bytes(memory, at)))
        return results

    def eval_call(self, node: ast.Call, st: State) -> Results:
        if isinstance(node.func, ast.Attribute):
            return self.method(node, node.func, st)
        assert isinstance(node.func, ast.Name)
        name = node.func.id
        results: Results = []
        for s, args in self.eval_all(node.args, st):
            for s2, values in self.eval_all([k.value for k in node.keywords], s):
                if name in self.functions or name in self.classes:
                    named = {str(k.arg): v for k, v in zip(node.keywords, values, strict=True)}
                    results += self.call(name, s2, args, named)
                else:
                    results.append((s2, self.builtin(name, args, s2)))
        return results

    def method(self, node: ast.Call, function: ast.Attribute, st: State) -> Results:
        if isinstance(function.value, ast.Name) and function.value.id == "int" and function.attr == "from_bytes":
            results = []
            for s, args in self.eval_all(node.args, st):
                if not isinstance(args[0], Bytes) or args[1] != "little":
                    raise NotRead("from_bytes of something else than memory")
                results.append((s, natural(z3.Select(s.world, low64(args[0].at)))))
            return results
        if function.attr == "append":
            rows = self.eval_all([function.value, *node.args], st)
            for s, (base, item) in rows:
                s.heap[base.at].append(item)
            return [(s, None) for s, _ in rows]
        raise NotRead(f"method {function.attr}")

    def builtin(self, name: str, args: list[Any], st: State) -> Any:
        if name == "bool":
            return truth(args[0])
        if name == "int":
            return number(sym(args[0])) if is_symbolic(args[0]) else int(args[0])
        if name == "len":
            return args[0].size if isinstance(args[0], Memory) else len(self.items(args[0], st))
        if name in ("all", "any"):
            conds = [truth(v) for v in self.items(args[0], st)]
            return known((z3.And if name == "all" else z3.Or)(*conds, name == "all"))
        if name in ("range", "reversed", "enumerate", "min", "max") and not any(map(is_symbolic, args)):
            args = [self.items(a, st) if isinstance(a, (Ref, tuple, range)) else a for a in args]
            return {"range": range, "reversed": reversed, "enumerate": enumerate, "min": min, "max": max}[name](*args)
        raise NotRead(f"function {name}")

    def eval_generatorexp(self, node: ast.GeneratorExp, st: State) -> Results:
        if len(node.generators) != 1:
            raise NotRead("a comprehension of two loops")
        loop = node.generators[0]
        results: Results = []
        for s, sequence in self.eval(loop.iter, st):
            values = []
            for item in self.items(sequence, s):
                inner = s.fork(True)
                self.assign(loop.target, item, inner)
                tests = [truth(v) for test in loop.ifs for _, v in self.eval(test, inner)]
                if any(not isinstance(t, bool) for t in tests):
                    raise NotRead("a filter that is not known on this path")
                if all(tests):
                    ((_, value),) = self.eval(node.elt, inner)
                    values.append(value)
            results.append((s, values))
        return results

    def eval_listcomp(self, node: Any, st: State) -> Results:
        return [(s, self.new(s, values)) for s, values in self.eval_generatorexp(node, st)]

    def eval_binop(self, node: ast.BinOp, st: State) -> Results:
        op = OPERATORS.get(type(node.op))
        if op is None:
            raise NotRead(f"operator {type(node.op).__name__}")
        return [(s, integer_operation(op, a, b)) for s, (a, b) in self.eval_all([node.left, node.right], st)]

    def eval_unaryop(self, node: ast.UnaryOp, st: State) -> Results:
        results: Results = []
        for s, a in self.eval(node.operand, st):
            if isinstance(node.op, ast.Not):
                results.append((s, neg(truth(a))))
            elif isinstance(node.op, ast.USub):
                results.append((s, integer_operation("-", 0, a)))
            else:
                raise NotRead(f"operator {type(node.op).__name__}")
        return results

    def eval_boolop(self, node: ast.BoolOp, st: State) -> Results:
        is_and = isinstance(node.op, ast.And)
        results: Results = []
        for s, left in self.eval(node.values[0], st):
            rest = node.values[1:]
            if not rest:
                results.append((s, left))
                continue
            go_on = truth(left) if is_and else neg(truth(left))
            if go_on is False:
                results.append((s, left))
                continue
            more = ast.BoolOp(node.op, rest) if len(rest) > 1 else rest[0]
            right = self.eval(more, s if go_on is True else s.fork(go_on))
            if go_on is True:
                results += right
                continue
            chosen = choose(go_on, right[0][1], left) if len(right) == 1 and unchanged(right[0][0], s) else MISSING
            if chosen is MISSING:
                results += [(s.fork(neg(go_on)), left), *right]
            else:
                results.append((s, chosen))
        return results

    def eval_ifexp(self, node: ast.IfExp, st: State) -> Results:
        results: Results = []
        for s, test in self.eval(node.test, st):
            cond = truth(test)
            if isinstance(cond, bool):
                results += self.eval(node.body if cond else node.orelse, s)
                continue
            a, b = self.eval(node.body, s.fork(cond)), self.eval(node.orelse, s.fork(neg(cond)))
            whole = len(a) == len(b) == 1 and unchanged(a[0][0], s) and unchanged(b[0][0], s)
            chosen = choose(cond, a[0][1], b[0][1]) if whole else MISSING
            results += a + b if chosen is MISSING else [(s, chosen)]
        return results

    def eval_compare(self, node: ast.Compare, st: State) -> Results:
        results: Results = []
        for s, values in self.eval_all([node.left, *node.comparators], st):
            cond: Any = True
            for op, a, b in zip(node.ops, values, values[1:], strict=False):
                cond = known(conj(cond, self.compare(op, a, b, s)))
            results.append((s, cond))
        return results

    def compare(self, op: ast.cmpop, a: Any, b: Any, st: State) -> Any:
        if isinstance(op, (ast.Eq, ast.Is)):
            return equal(a, b)
        if isinstance(op, (ast.NotEq, ast.IsNot)):
            return neg(equal(a, b))
        if isinstance(op, (ast.In, ast.NotIn)):
            found = known(z3.Or(*[equal(a, item) for item in self.items(b, st)], False))
            return found if isinstance(op, ast.In) else neg(found)
        plain, symbolic = ORDER[type(op)]
        if isinstance(a, Choice) or isinstance(b, Choice):
            return known(distributed(lambda x, y: self.compare(op, x, y, st), a, b))
        if not is_symbolic(a) and not is_symbolic(b):
            return plain(a, b)
        return known(symbolic(sym(a).v, sym(b).v))


def low64(at: Any) -> Any:
    return z3.simplify(z3.Extract(63, 0, sym(at).v))


def unchanged(a: State, b: State) -> bool:
    """Has nothing that existed before been written between the two?"""
    if a.world is not b.world or a.heap.keys() != b.heap.keys():
        return False
    for k, x in a.heap.items():
        y = b.heap[k]
        if isinstance(x, Record):
            if any(x.fields[f] is not y.fields[f] for f in x.fields):
                return False
        elif len(x) != len(y) or any(p is not q for p, q in zip(x, y, strict=True)):
            return False
    return True


def joined(cond: Any, left: list[State], right: list[State]) -> list[State]:
    """Both sides of an `if` as one state, where each came through whole."""
    if len(left) != 1 or len(right) != 1:
        return left + right
    a, b = left[0], right[0]
    names, heap = {}, {}
    for name in a.names.keys() & b.names.keys():
        names[name] = choose(cond, a.names[name], b.names[name])
    for k in a.heap.keys() | b.heap.keys():
        x, y = a.heap.get(k), b.heap.get(k)
        if isinstance(x, Record) and isinstance(y, Record):
            heap[k] = Record(x.kind, {f: choose(cond, x.fields[f], y.fields[f]) for f in x.fields})
            if any(v is MISSING for v in heap[k].fields.values()):
                return [a, b]
        elif x is None or y is None:
            heap[k] = x if y is None else y
        elif len(x) == len(y) and all(p is q for p, q in zip(x, y, strict=True)):
            heap[k] = x
        else:
            return [a, b]
    if any(v is MISSING for v in names.values()):
        return [a, b]
    world = a.world if a.world is b.world else z3.If(cond, a.world, b.world)
    return [State(known(z3.Or(a.cond, b.cond)), heap, world, names)]
