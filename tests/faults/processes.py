"""Trainings of two processes, any of which may be killed; shared by the tests and by benchmarks/scale.py."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import faults
from lmgen.errors import CheckpointError
from lmgen.system import checkpoint

ALL_END = 30  # seconds after which no process may be left
LATEST = 15.0  # seconds from the start of a training to a kill
WORDS = ["--size", "12", "--embedding", "6", "--batch", "4", "--window", "8", "--precision", "f32", "--patience", "0", "--quiet"]


def started(*words: str | Path, first: str = "", folder: Path | None = None) -> subprocess.Popen[str]:
    """A training of two processes; with a folder, each runs some Python first."""
    variables = {**os.environ, "JAX_PLATFORMS": "cpu"}
    if folder:
        (folder / "sitecustomize.py").write_text(first)
        variables["PYTHONPATH"] = os.pathsep.join([str(folder), *sys.path])
    command = [sys.executable, "-m", "lmgen", "train", *map(str, words), "--processes", "2"]
    return subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def children(process: subprocess.Popen[str]) -> list[int]:
    """The processes that train, in the order of their numbers."""
    return sorted(int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split())


def saved(path: Path, process: subprocess.Popen[str], before: int = -1) -> None:
    """Wait until a later snapshot than that of a step is there."""
    while process.poll() is None and not any(checkpoint.step_of(found) > before for found in checkpoint.snapshots(path)):
        time.sleep(0.01)


def ended(process: subprocess.Popen[str], pids: list[int], seconds: float = ALL_END) -> tuple[int, str]:
    """The exit code and what is on stderr of a training that has to end soon, with nothing left and nothing on stdout."""
    out, err = process.communicate(timeout=seconds)
    end = time.monotonic() + ALL_END
    while left := [pid for pid in pids if Path(f"/proc/{pid}").exists()]:
        assert time.monotonic() < end, left
        time.sleep(0.05)
    assert out == ""
    return process.returncode, err.strip()


@dataclass
class Kills:
    """What became of trainings of two processes, of which one was killed at a random moment; then they were resumed."""

    tried: int = 0
    survived: int = 0  # all ended in time, with one sentence and the right code, and what was saved is whole
    longest: float = 0.0  # seconds from a kill to the end of all
    equal: bool = False  # in the end, to the bit, to a training that was left in peace


def kills(folder: Path, corpus: Path, count: int, steps: int, seed: int = 0) -> Kills:
    """Start a training and kill one of its processes, or their watcher, at a random moment; resume it, kill it again, and at last
    let it end."""
    draw, found = random.Random(seed), Kills()
    path, peaceful = folder / "killed", folder / "peaceful"
    anew: list[str | Path] = [corpus, *WORDS, "--steps", str(steps)]
    while found.tried < count:
        words = ["--resume", path, "--quiet"] if checkpoint.snapshots(path) else [*anew, "-o", path]
        process, moment = started(*words), time.monotonic() + draw.random() * LATEST
        while process.poll() is None and time.monotonic() < moment:
            time.sleep(0.01)
        with contextlib.suppress(OSError):  # it has ended by itself
            pids = children(process)
            target = draw.choice([process.pid, *pids])
            before = time.monotonic()
            os.kill(target, signal.SIGKILL)
            code, err = ended(process, pids)
            found.tried += 1
            found.longest = max(found.longest, time.monotonic() - before)
            found.survived += _fine(code, err, path, by_watcher=target == process.pid)
        if process.wait() == 0:  # nothing is left to kill
            break
    for words in (["--resume", path, "--quiet"], [*anew, "-o", peaceful]):
        code, err = ended(started(*words), [], seconds=3600)
        assert code == 0, err
    found.equal = faults.digests(path) == faults.digests(peaceful)
    return found


def _fine(code: int, err: str, path: Path, by_watcher: bool) -> bool:
    there = bool(checkpoint.snapshots(path))
    with contextlib.suppress(CheckpointError, AssertionError):
        if there:
            faults.states(path)
        one = len(err.splitlines()) == 1 and err.startswith("lmgen: process ")
        return code == -signal.SIGKILL if by_watcher else one and code in (75, 1)
    return False
