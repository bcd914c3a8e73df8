"""What the tests of faults and the program that measures them have in common: saving, killing, damaging, refusing; no JAX."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmgen.errors import CheckpointError
from lmgen.system import arrayfile, checkpoint

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
LONG = bool(os.environ.get("LMGEN_LONG"))  # the long level: hours of faults instead of seconds
STRACE = shutil.which("strace")
CALLS = ("mkdir", "openat", "write", "fsync", "rename", "unlink", "unlinkat", "rmdir", "close")
ERRORS = {"ENOSPC": "No space left on device", "EDQUOT": "Disk quota exceeded", "EIO": "Input/output error"}


# ---- what a directory holds --------------------------------------------------------------------------------------------


def digests(path: Path) -> dict[str, str]:
    """The sha256 of every array of the newest snapshot and of the model, of where the training stands, and of its lines.

    Seconds and speeds, which no two runs share, are left out.
    """
    arrays, about = arrayfile.read_arrays(checkpoint.snapshots(path)[0], "training")
    best, _ = arrayfile.read_arrays(path / "model.safetensors", "model")
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text("utf-8").splitlines()]
    facts = {"progress": about["progress"], **{f"line {k}": line for k, line in enumerate(lines)}}
    for fact in facts.values():
        for name in ("seconds", "validating", "symbols_per_second"):
            fact.pop(name, None)
    contents = {name: str(a.dtype).encode() + repr(a.shape).encode() + a.tobytes() for name, a in arrays.items()}
    contents |= {f"best/{name}": str(a.dtype).encode() + repr(a.shape).encode() + a.tobytes() for name, a in best.items()}
    contents |= {name: json.dumps(fact, sort_keys=True).encode() for name, fact in facts.items()}
    return {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}


def listing(folder: Path) -> dict[str, tuple[int, int, str]]:
    """Every file below a folder with its size, its time and its hash: what has to be the same where nothing was touched."""
    found = {}
    for path in sorted(folder.rglob("*")):
        about = path.lstat()
        regular = path.is_file() and not path.is_symlink() and about.st_size < 1 << 24
        content = hashlib.sha256(path.read_bytes()).hexdigest() if regular else ""
        found[str(path.relative_to(folder))] = (about.st_size, about.st_mtime_ns, content)
    return found


# ---- the system calls of a save ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Call:
    """A system call of a save: its name, the how-manieth of that name in the whole process, and its arguments."""

    name: str
    number: int
    words: str


def saving(path: Path, step: int, how: str) -> list[str]:
    """The program that saves once, or replaces the whole directory (`how`: see save.py)."""
    return [sys.executable, str(HERE / "save.py"), str(path), str(step), how]


def quiet_environment() -> dict[str, str]:
    """In which a program makes the same system calls each time."""
    return {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0"}


def traced(path: Path, step: int, *inject: str, how: str = "save") -> subprocess.CompletedProcess[str]:
    """Save once under strace, which may interfere; its log is `path`.log."""
    log = path.with_name(f"{path.name}.log")
    log.unlink(missing_ok=True)
    traps = [word for what in inject for word in ("-e", f"inject={what}")]
    assert STRACE
    command = [
        STRACE,
        "-f",
        "-y",
        "-s",
        "300",
        "-o",
        str(log),
        "-e",
        f"trace={','.join(CALLS)}",
        *traps,
        *saving(path, step, how),
    ]
    return subprocess.run(command, env=quiet_environment(), capture_output=True, text=True, timeout=120)


def calls(path: Path, step: int, how: str = "save") -> list[Call]:
    """Every system call that a save makes, in their order."""
    run = traced(path, step, how=how)
    assert run.returncode == 0, run.stderr
    counted: dict[str, int] = {}
    found, inside = [], False
    for line in path.with_name(f"{path.name}.log").read_text("utf-8", "replace").splitlines():
        match = re.match(r"\d+ +(\w+)\((.*)", line)
        if not match:
            continue
        name, words = match.groups()
        counted[name] = counted.get(name, 0) + 1
        if "here-a-save-" in words:
            inside = "here-a-save-begins" in words
        elif inside:
            found.append(Call(name, counted[name], words))
    return found


def writing(stops: list[Call]) -> list[Call]:
    """Those of the calls of a save that a broken or a full disk can refuse."""
    return [call for call in stops if ".part" in call.words or call.name == "fsync"]


def states(path: Path) -> tuple[int, int]:
    """The steps of the newest whole snapshot and of the model of a directory; both are read in full, hashes and all."""
    _, about, _, complaints = checkpoint.read_snapshot(path)
    assert not complaints, complaints
    return about["progress"]["step"], checkpoint.read_model(path)[1]["step"]


# ---- real trainings ----------------------------------------------------------------------------------------------------


def training(*words: str | Path, first: str = "", **environment: str) -> subprocess.Popen[str]:
    """`lmgen train …` as a process of its own, which may run a line of Python first."""
    command = [sys.executable, "-c", f"{first}\nfrom lmgen.__main__ import main\nmain()", "train", *map(str, words)]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", **environment}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def saved_once_more(path: Path, process: subprocess.Popen[str], before: list[Path], seconds: float = 120) -> bool:
    """Wait until a training has written a snapshot that was not there before; whether it did and still runs."""
    end = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < end:
        if checkpoint.snapshots(path)[:1] not in ([], before[:1]):
            return True
        time.sleep(0.002)
    return False


@dataclass
class Kills:
    """What became of trainings that were killed at random moments, each of which was then resumed."""

    tried: int = 0
    survived: int = 0
    chains: int = 0
    equal: int = 0
    leftovers: int = 0


def chain_of_kills(folder: Path, corpus: Path, kills: int, steps: int, seed: int, options: list[str]) -> Kills:
    """Start a training, kill it `kills` times at random moments and resume it each time; then let it end, and compare it, to the
    bit, with one that was left in peace."""
    draw, found = random.Random(seed), Kills(chains=1)
    killed, peaceful = folder / f"killed-{seed}", folder / f"peaceful-{seed}"
    words = ["--steps", str(steps), "--seed", str(seed), "--patience", "0", "--quiet", *options]
    command: list[str | Path] = [corpus, "-o", killed, *words]
    for _ in range(kills):
        before = checkpoint.snapshots(killed)
        process = training(*command)
        if saved_once_more(killed, process, before):
            time.sleep(draw.random() * 0.3)
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                found.tried += 1
                process.wait()
                found.leftovers += len([*killed.rglob(".*.part")])
                with contextlib.suppress(CheckpointError, AssertionError):
                    states(killed)
                    found.survived += 1
        _, err = process.communicate()
        if process.returncode not in (0, -signal.SIGKILL):
            raise AssertionError(err)
        command = ["--resume", killed, "--quiet"]
    for words_to_the_end in (command, [corpus, "-o", peaceful, *words]):
        process = training(*words_to_the_end)
        _, err = process.communicate()
        if process.returncode:
            raise AssertionError(err)
    found.equal = int(digests(killed) == digests(peaceful) and not [*killed.rglob(".*.part")])
    return found


# ---- damage ------------------------------------------------------------------------------------------------------------


def cuts(content: bytes, step: int = 1) -> Iterator[bytes]:
    """The content cut at every length (or every so many), and with a byte too many."""
    yield from (content[:length] for length in range(0, len(content), step))
    yield content + b"\0"


def flips(content: bytes, count: int, draw: random.Random) -> Iterator[bytes]:
    """The content with one flipped bit, at `count` places."""
    return (flipped(content, draw.randrange(8 * len(content))) for _ in range(count))


def flipped(content: bytes, bit: int) -> bytes:
    """The content with one bit flipped."""
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def caught(path: Path, damaged: Iterator[bytes], read: Callable[[], object]) -> tuple[int, int]:
    """Of so many kinds of damage to a file, how many its reader notices; the file is whole again afterwards."""
    whole, tried, noticed = path.read_bytes(), 0, 0
    try:
        for content in damaged:
            path.write_bytes(content)
            tried += 1
            try:
                read()
            except CheckpointError:
                noticed += 1
    finally:
        path.write_bytes(whole)
    return noticed, tried


def every_file(path: Path) -> dict[Path, Callable[[], object]]:
    """The files of a model directory that must be whole, with what reads each."""
    snapshot = checkpoint.snapshots(path)[0]
    return {
        path / "model.safetensors": lambda: checkpoint.read_model(path),
        path / "config.json": lambda: checkpoint.read_model(path),
        path / "vocab.json": lambda: checkpoint.read_model(path),
        path / "known.safetensors": lambda: arrayfile.read_arrays(path / "known.safetensors", "known"),
        snapshot: lambda: arrayfile.read_arrays(snapshot, "training"),
    }


# ---- hostile files -----------------------------------------------------------------------------------------------------


def refusals(folder: Path) -> list[dict[str, Any]]:
    """How each directory below a folder is refused, as refuse.py tells."""
    command = [sys.executable, str(HERE / "refuse.py"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder.parent, timeout=300)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]
