"""Real Xen's answers to a fixed set of programs, in a file: the comparison goes on where there is no QEMU.

Knows: how programs, outcomes and states are written down.  Does not know: how they came about.
"""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import program as p
from compare import FRAMES, POOL, State

_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME}]


class Case(NamedTuple):
    """A program and what Xen said of it."""

    seed: int
    program: p.Program
    outcomes: list[p.Outcome]
    state: State


def _line(case: Case) -> str:
    """One case as JSON: what is as usual is left out."""
    books, contents, m2p, more = case.state
    record = {
        "seed": case.seed,
        "program": case.program,
        "outcomes": [p.trimmed((*o[:-1], *o.more)) for o in case.outcomes],
        "books": {i: p.trimmed(b) for i, b in enumerate(books) if b != _usual(i)},
        "contents": [_flat(words) for words in contents],
        "m2p": {i: word for i, word in enumerate(m2p) if word != p.BASE_M2P},
    }
    if more:
        record["more"] = {
            s: (m.owner, m.allocated, p.trimmed(m.book), m.m2p, _flat(m.contents)) for s, m in more.items()
        }
    return json.dumps(record, separators=(",", ":"))


def _flat(words: dict[int, int]) -> list[int]:
    return [x for item in sorted(words.items()) for x in item]


def _pairs(flat: list[int]) -> dict[int, int]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _usual(i: int) -> p.Book:
    return p.Book(2, 7, 0, 0, 1, 0) if i < p.FRAMES else p.Book(0, 0, 0, 0, 0, 0)


def _book(values: list[int]) -> p.Book:
    return p.Book(*values, *[0] * (len(p.Book._fields) - len(values)))


def _outcome(values: list[int]) -> p.Outcome:
    fixed = len(p.Outcome._fields) - 1
    return p.Outcome(*values[:fixed], *[0] * (fixed - len(values)), tuple(values[fixed:]))


def write(path: Path, version: str, cases: list[Case]) -> None:
    """Write the cases; `version` names the Xen that answered."""
    text = "\n".join([json.dumps({"xen": version, "programs": len(cases)}), *map(_line, cases)])
    path.write_bytes(lzma.compress(text.encode(), lzma.FORMAT_XZ, filters=_FILTERS))


def read(path: Path) -> Iterator[Case]:
    """Read the cases one by one."""
    with lzma.open(path, "rt", encoding="utf-8") as file:
        next(file)
        for line in file:
            record = json.loads(line)
            books = [
                _book(record["books"][str(i)]) if str(i) in record["books"] else _usual(i) for i in range(len(FRAMES))
            ]
            contents = [_pairs(flat) for flat in record["contents"]]
            m2p = [record["m2p"].get(str(i), p.BASE_M2P) for i in range(len(POOL))]
            program = p.loads(json.dumps(record["program"]))
            outcomes = [_outcome(o) for o in record["outcomes"]]
            more = {
                int(s): p.More(owner, allocated, _book(book), word, _pairs(flat))
                for s, (owner, allocated, book, word, flat) in record.get("more", {}).items()
            }
            yield Case(record["seed"], program, outcomes, State(books, contents, m2p, more))
