"""All programs with a name, from where they stand.

Knows: which files hold them: ``QUESTIONS`` of each module of this folder called named_*.py, name -> (question, steps);
``PROGRAM`` of the files of tests/advisories, named after the file.  Does not know: what they ask.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import expected
from steps import Named

HERE = Path(__file__).resolve().parent
ADVISORIES = HERE.parents[1] / "advisories"


def _advisory(path: Path) -> Named | None:
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "PROGRAM"):
        return None
    return Named((module.__doc__ or "").partition("\n")[0], expected.steps(module.PROGRAM), True)


def _collect() -> dict[str, Named]:
    found: dict[str, Named] = {}
    for path in sorted(HERE.glob("named_*.py")):
        for name, case in import_module(path.stem).QUESTIONS.items():
            if name in found:
                raise ValueError(f"two programs are called {name}")
            found[name] = Named(*case)
    for path in sorted(ADVISORIES.glob("test_*.py")):
        if case := _advisory(path):
            found[path.stem.removeprefix("test_").replace("_", "-")] = case
    return found


NAMED = _collect()
