"""The command line: exit statuses, one line for misuse and no traceback, output that a program can read."""

from __future__ import annotations

import io
import json
import random
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from xenmmu import cli, study
from xenmmu._core import ffi
from xenmmu.study import trace

ROOT = Path(__file__).resolve().parents[2]


def cut(path: Path, events: int, start: int = 0) -> Path:
    """The packaged trace's events from number `start` on, as a trace file in its own right."""
    packaged = trace.load()
    with zipfile.ZipFile(path, "w") as archive:
        for name, size, descrs, code in trace.ARRAYS:
            offset = ffi.offsetof("struct xm_event", name)
            column = memoryview(packaged.events).cast(code)[offset // size :: trace.EVENT_SIZE // size]
            data = column[start : start + events].tobytes()
            header = repr({"descr": descrs[0], "fortran_order": False, "shape": (len(data) // size,)}).encode()
            member = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data
            archive.writestr(f"{name}.npy", member)
    return path


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cut(tmp_path_factory.mktemp("trace") / "short.npz", 6000)


def command(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "xenmmu", *args], capture_output=True, text=True, cwd=ROOT)


def misuse(*args: str) -> str:
    """Run the command; it must leave with status 2 and say why in one line."""
    done = command(*args)
    assert done.returncode == 2, done
    assert done.stdout == "" and done.stderr.count("\n") == 1 and "Traceback" not in done.stderr
    assert done.stderr.startswith("xenmmu")
    return done.stderr


@pytest.mark.parametrize(
    "args",
    [
        (),
        ("nonsense",),
        ("study", "--design", "nonsense"),
        ("study", "--design"),
        ("study", "--jobs", "0"),
        ("study", "--jobs", "many"),
        ("study", "--nonsense"),
        ("study", "extra"),
        ("study", "--trace", "/nonexistent/trace.npz"),
        ("study", "--trace", "."),
        ("study", "--trace", "README.md"),
        ("study", "--trace", ""),
    ],
)
def test_misuse_is_one_line_and_exit_2(args: tuple[str, ...]) -> None:
    misuse(*args)


def test_misuse_names_what_is_wrong(tmp_path: Path, short: Path) -> None:
    assert "kept" in misuse("study", "--design", "nonsense")
    assert "pyproject.toml: not a trace" in misuse("study", "--trace", "pyproject.toml")
    broken = tmp_path / "broken.npz"
    broken.write_bytes(short.read_bytes()[:-500])
    assert str(broken) in misuse("study", "--trace", str(broken))


def test_help_and_version() -> None:
    assert command("--help").returncode == 0 and "study" in command("--help").stdout
    assert "--trace" in command("study", "--help").stdout
    assert command("--version").stdout.startswith("xenmmu ")


def test_json_holds_everything_and_two_runs_agree(short: Path) -> None:
    found = []
    for jobs in ("1", "2"):
        done = command("study", "--json", "--jobs", jobs, "--trace", str(short))
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        found.append(json.loads(done.stdout))
        assert list(found[-1].pop("seconds")) == list(study.DESIGNS)
    assert found[0] == found[1]
    designs = found[0]["designs"]
    assert list(designs) == list(study.DESIGNS)
    for result in designs.values():
        assert result["replayed"]["events"] == 6000
        assert result["writes_tried"] > 0 and result["writes_succeeded"] == 0
        assert result["audits"] > 0 and result["violations"] == []
    assert list(found[0]["one_processor"]) == ["stock", "stock-literal", "kept"]
    assert set(found[0]["readings_of_stock"]) == {"as recorded", "one processor"}
    assert all(effect["reproduced"] for effect in found[0]["side_effects"])
    assert designs["stock"]["hypercalls"] > designs["kept"]["hypercalls"] > designs["native"]["hypercalls"] == 0


def test_text_report(short: Path) -> None:
    done = command("study", "--trace", str(short), "--design", "kept", "--design", "native", "--design", "kept")
    assert done.returncode == 0, done.stderr
    assert done.stderr == "" and "\x1b" not in done.stdout
    for title in ("What was replayed", "Safety", "Side effects", "Cost", "Prices", "Modelled", "Verdict"):
        assert title in done.stdout
    assert "stock-literal" not in done.stdout.split("Cost: ")[1].split("Prices")[0]


def test_a_violation_is_exit_1(
    short: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(study.replay, "_audit", lambda kernel: ["I-USERW frame 0x1: planted"])
    assert cli.main(["study", "--design", "kept", "--trace", str(short)]) == 1
    assert "planted" in capsys.readouterr().out


def test_no_traceback_when_the_reader_leaves(short: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "xenmmu", "study", "--design", "native", "--trace", str(short)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert "Traceback" not in process.stderr.read()
        assert process.wait() in (0, 1)


@pytest.mark.parametrize("seed", range(6))
def test_garbled_histories_end_in_a_report_or_in_one_line(tmp_path: Path, seed: int) -> None:
    """Fields of a real history replaced at random: the format holds, the history need not make sense."""
    chance = random.Random(seed)
    packaged = trace.load(cut(tmp_path / "whole.npz", 400, start=chance.randrange(600_000)))
    events = ffi.from_buffer("struct xm_event[]", packaged.events)
    for _ in range(120):
        e = events[chance.randrange(400)]
        which = chance.choice(("pid", "kind", "aux", "a", "b"))
        value = {
            "pid": chance.choice((0, 1, 2**32 - 1, e.pid ^ 1)),
            "kind": chance.randrange(10),
            "aux": chance.randrange(256),
            "a": chance.choice((0, 4096, 2**47, 2**48, 2**63, 2**64 - 1, chance.getrandbits(47))),
            "b": chance.choice((0, 1, 2**47, 2**64 - 1, chance.getrandbits(20))),
        }[which]
        if which != "kind" or value not in (2, 3):
            setattr(e, which, value)
    path = tmp_path / "garbled.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for name, size, descrs, code in trace.ARRAYS:
            offset = ffi.offsetof("struct xm_event", name)
            data = memoryview(packaged.events).cast(code)[offset // size :: trace.EVENT_SIZE // size].tobytes()
            header = repr({"descr": descrs[0], "fortran_order": False, "shape": (400,)}).encode()
            archive.writestr(f"{name}.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data)
    done = command("study", "--trace", str(path), "--json")
    assert done.returncode in (0, 2), f"seed {seed}: {done.stderr}"
    assert "Traceback" not in done.stderr
    if done.returncode == 2:
        assert done.stderr.count("\n") == 1
    else:
        assert json.load(io.StringIO(done.stdout))["trace"]["events"] == 400
