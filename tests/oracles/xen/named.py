"""All programs with a name, from where they stand.

Knows: which files hold them: ``QUESTIONS`` of each module of this folder called named_*.py, name -> (question, steps).
Does not know: what they ask.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from steps import Named


def _collect() -> dict[str, Named]:
    found: dict[str, Named] = {}
    for path in sorted(Path(__file__).parent.glob("named_*.py")):
        for name, case in import_module(path.stem).QUESTIONS.items():
            if name in found:
                raise ValueError(f"two programs are called {name}")
            found[name] = Named(*case)
    return found


NAMED = _collect()
