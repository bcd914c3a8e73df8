"""Signals: Ctrl-C saves and says how to go on, twice it stops at once; SIGTERM saves; a closed terminal does not matter."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import faults
from lmgen import checkpoint

ENDLESS = ["--epochs", "100000", "--patience", "0", *faults.SMALL]


def trained_for_a_while(*words: str | Path, path: Path, draw: random.Random):
    """A training that has saved at least once since it started, at a random moment after that."""
    before = checkpoint.snapshots(path)
    process = faults.training(*words)
    assert faults.saved_once_more(path, process, before)
    time.sleep(draw.random() * 0.2)
    return process


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)], ids=["SIGINT", "SIGTERM"])
def test_a_signal_at_any_moment_saves_the_step_and_tells_the_command(words_file, number, code):
    """Each training is then resumed from the very step that was told, and gets the next signal."""
    path, draw = Path("m"), random.Random(int(number))
    words: list[str | Path] = [words_file, "-o", path, *ENDLESS]
    for _ in range(10 if faults.LONG else 1):
        process = trained_for_a_while(*words, path=path, draw=draw)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
        assert process.returncode == code, err
        assert "Traceback" not in err
        last = err.splitlines()[-1]
        step, *_ = faults.states(path)
        assert last == f"stopped at step {step:,} and saved; go on with: lmgen train --resume m"
        assert not list(path.rglob(".*.part"))
        words = ["--resume", path]


def test_ctrl_c_twice_stops_at_once(words_file):
    """The second does not wait for the save, and however many more come there is no traceback; what was saved before stays."""
    words: list[str | Path] = [words_file, "-o", "m", *ENDLESS]
    for seed, pause in enumerate((0.001, 0.02, 0.0005, 0.005, 0.05)[: 5 if faults.LONG else 2]):
        process = trained_for_a_while(*words, path=Path("m"), draw=random.Random(seed))
        for _ in range(20):
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                time.sleep(pause)
        _, err = process.communicate(timeout=60)
        assert process.returncode in (130, -signal.SIGINT), err
        assert "Traceback" not in err
        assert faults.states(Path("m"))[0] > 0
        words = ["--resume", "m"]


def test_a_closed_terminal_does_not_end_a_training(words_file):
    """SIGHUP, and nobody who reads stderr any more."""
    process = trained_for_a_while(words_file, "-o", "m", *ENDLESS, path=Path("m"), draw=random.Random(2))
    before = checkpoint.snapshots(Path("m"))
    process.send_signal(signal.SIGHUP)
    process.stderr.close()
    assert faults.saved_once_more(Path("m"), process, before)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 75


def test_ctrl_c_outside_of_training_is_no_traceback(model_path):
    # As from a terminal: who runs these tests in the background of a shell has Ctrl-C ignored, and so have its children.
    program = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from lmgen.cli import main; main()"
    command = [sys.executable, "-c", program, "sample", str(model_path), "-n", "1000000", "--seed", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.strip() == ""
