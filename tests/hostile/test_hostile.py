"""A part of the hostile inputs, and some examples of the fuzz test; `make test-hostile` tries all."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from geoloc_core.errors import InputError
from geoloc_core.line.project import Project
from tests.hostile.bounded import judge, new_arena
from tests.hostile.readers import NEEDS_PROJECT, READERS
from tests.hostile.run import ROOT


def run(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A process of its own, which forks: this one may have threads."""
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", f"tests.hostile.{module}", *arguments]
    return subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)


def test_every_fifteenth_input_is_accepted_or_refused_in_one_sentence(made_project: Project, tmp_path: Path) -> None:
    done = run(
        "run", "--every", "15", "--project", str(made_project.layout.home.parent), "--out", str(tmp_path / "out.json")
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    counts = json.loads((tmp_path / "out.json").read_text())["counts"]
    assert len(counts) == 11
    assert all(row["accepted"] + row["refused in one sentence"] >= 3 for row in counts.values())


def test_changed_bytes_are_accepted_or_refused() -> None:
    kinds = [argument for kind in READERS if kind not in NEEDS_PROJECT for argument in ("--kind", kind)]
    done = run("fuzz", "--examples", "6", *kinds)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


def refuse(path: Path, home: Path) -> None:
    raise InputError("a.txt is wrong; mend it")


def ramble(path: Path, home: Path) -> None:
    raise InputError("a word " * 300)


def fail(path: Path, home: Path) -> None:
    raise KeyError("a fault of ours")


def grow(path: Path, home: Path) -> None:
    bytearray(3 << 30)


def wait(path: Path, home: Path) -> None:
    while True:
        pass


def reach_out(path: Path, home: Path) -> None:
    (home / ".." / "canary" / "deep" / "photo.jpg").unlink()


def die(path: Path, home: Path) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("read", "verdict"),
    [
        (lambda path, home: None, "accepted"),
        (refuse, "refused in one sentence"),
        (ramble, "not in one sentence"),
        (fail, "traceback"),
        (grow, "over memory"),
        (wait, "over time"),
        (reach_out, "touched a file outside"),
        (die, "traceback"),
    ],
)
def test_the_judge_tells_them_apart(read, verdict: str, tmp_path: Path) -> None:
    arena = new_arena(tmp_path / "arena")
    assert judge(read, arena / "in", arena, patience=1.0).verdict == verdict
