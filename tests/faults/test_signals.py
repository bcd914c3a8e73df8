"""Signals: Ctrl-C saves and says how to go on, twice it stops at once; SIGTERM saves; a closed terminal does not matter."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import faults
from lmgen.system import checkpoint
from support import SMALL

ENDLESS = ["--epochs", "100000", "--patience", "0", *SMALL]


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


# As from a terminal: who runs these tests in the background of a shell has Ctrl-C ignored, and so have its children.
FIRST = "import signal, sys, lmgen.__main__; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
FIRST += "print('ready', file=sys.stderr, flush=True)"
MOMENTS = [k / 12 for k in range(1, 61)] if faults.LONG else [0.05, 0.4, 1.2, 2.5]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)], ids=["SIGINT", "SIGTERM"])
def test_a_signal_from_the_first_moment_on_leaves_nothing_or_what_can_be_resumed(words_file, number, code):
    """While modules are imported, the text is read, the step is compiled, the first steps are taken."""
    for moment in MOMENTS if number == signal.SIGINT else MOMENTS[2:]:
        process = faults.training(words_file, "-o", "new/m", *ENDLESS, "--quiet", first=FIRST)
        assert process.stderr.readline() == "ready\n"
        time.sleep(moment)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
        assert process.returncode == code, (moment, err)
        if Path("new").exists():
            step, _ = faults.states(Path("new/m"))
            assert err == f"stopped at step {step:,} and saved; go on with: lmgen train --resume new/m\n"
            assert [p.name for p in Path("new").iterdir()] == ["m"]
            shutil.rmtree("new")
        else:
            assert err.strip() == "", moment


def test_an_interrupt_that_is_swallowed_ends_the_training_all_the_same(words_file):
    """What a signal raises inside of a callback of the garbage collector is dropped there."""
    first = "import gc, os, signal, lmgen.data.corpus\nload = lmgen.data.corpus.load\n"
    first += "def swallowing(*words, **options):\n"
    first += "    class Gone:\n        def __del__(self):\n            os.kill(os.getpid(), signal.SIGINT)\n"
    first += "    Gone()\n    return load(*words, **options)\n"
    first += "lmgen.data.corpus.load = swallowing"
    process = faults.training(words_file, "-o", "new/m", *ENDLESS, first=first)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.strip() == ""
    assert not Path("new").exists()


@pytest.mark.parametrize("words", [["sample"], ["show"], ["eval", "nothing", "words.txt"]], ids=lambda words: words[0])
def test_ctrl_c_while_modules_are_imported_is_no_traceback(words_file, words):
    command = [sys.executable, "-c", f"{FIRST}\nlmgen.__main__.main()", *words]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr.readline() == "ready\n"
    time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err.strip()) == (130, "")


def test_ctrl_c_outside_of_training_is_no_traceback(model_path):
    # As from a terminal: who runs these tests in the background of a shell has Ctrl-C ignored, and so have its children.
    program = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from lmgen.cli.main import main; main()"
    command = [sys.executable, "-c", program, "sample", str(model_path), "-n", "1000000", "--seed", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.strip() == ""
