"""A process that is killed, hangs, stops or is another than the others: all end with one sentence, and the training can go on."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from processes import ALL_END, WORDS, children, ended, kills, saved, started

import faults
import support
from lmgen.system import checkpoint

pytestmark = [pytest.mark.posix, pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="children are found in /proc")]
STEPS = 600


@pytest.fixture
def command(words_file, tmp_path) -> list[str | Path]:
    return [words_file, "--output", tmp_path / "m", *WORDS, "--steps", str(STEPS)]


def test_a_killed_process_ends_all_and_the_training_goes_on_to_the_bit(command, tmp_path):
    path = tmp_path / "m"
    process = started(*command)
    saved(path, process)
    pids = children(process)
    os.kill(pids[1], signal.SIGKILL)
    code, sentence = ended(process, pids)
    assert code == 75
    assert sentence == f"lmgen: process 1 was killed by SIGKILL; go on with: lmgen train --resume {path} --processes 2"
    faults.states(path)
    process = started("--resume", path, "--quiet")
    assert ended(process, children(process)) == (0, "")
    killed = faults.digests(path)
    shutil.rmtree(path)
    process = started(*command)
    assert ended(process, children(process)) == (0, "")
    assert faults.digests(path) == killed


@pytest.mark.parametrize("target", ["1", *(pytest.param(one, marks=pytest.mark.slow) for one in ("0", "the watcher"))])
def test_a_signal_to_any_process_stops_and_saves(command, tmp_path, target):
    process = started(*command, "--steps", "1000000")
    saved(tmp_path / "m", process)
    pids = children(process)
    os.kill(process.pid if target == "the watcher" else pids[int(target)], signal.SIGTERM)
    code, sentence = ended(process, pids)
    assert code == 75
    assert sentence.startswith("stopped at step")
    assert len(sentence.splitlines()) == 1
    faults.states(tmp_path / "m")


@pytest.mark.slow
def test_without_its_watcher_a_training_stops_and_saves(command, tmp_path):
    process = started(*command, "--steps", "1000000")
    saved(tmp_path / "m", process)
    pids = children(process)
    before = checkpoint.snapshots(tmp_path / "m")[:1]
    process.kill()
    ended(process, pids)
    assert checkpoint.snapshots(tmp_path / "m")[:1] != before


@pytest.mark.slow
@pytest.mark.parametrize("target", [0, 1])
def test_a_process_that_hangs_counts_as_lost(command, tmp_path, target):
    process = started(*command, "--steps", "1000000")
    saved(tmp_path / "m", process)
    pids = children(process)
    os.kill(pids[target], signal.SIGSTOP)
    code, sentence = ended(process, pids)
    assert (code, "gave no sign of life for 20 s; go on with: lmgen train" in sentence) == (75, True)


@pytest.mark.slow
def test_a_resumed_training_of_another_number_of_processes_continues(command, tmp_path):
    path, other = tmp_path / "m", tmp_path / "other"
    process = started(*command, "--steps", "1000000", "--dropout", "0")
    saved(path, process, before=100)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    shutil.copytree(path, other)
    step = checkpoint.step_of(checkpoint.snapshots(path)[0])
    ends = []
    for folder, number in ((path, "2"), (other, "1")):
        words = ["train", "--resume", folder, "--steps", str(step + 200), "--quiet", "--processes", number]
        subprocess.run([sys.executable, "-m", "lmgen", *words], check=True)
        ends.append(checkpoint.read_model(folder, weights=False)[1]["valid_nats"])
    assert ends[0] == pytest.approx(ends[1], abs=1e-4)


def test_one_host_with_another_version(words_file, tmp_path):
    other = "import os\nif os.environ.get('JAX_PROCESS_ID') == '1':\n"
    other += "    import lmgen._version\n    lmgen._version.__version__ = '0.0.1'\n"
    process = started(words_file, "-o", tmp_path / "m", *WORDS, "--steps", "9", first=other, folder=tmp_path)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2
    (sentence,) = err.splitlines()
    assert "(lmgen 0.0.1" in sentence
    assert sentence.endswith("differ: install the same on all hosts")


@pytest.mark.slow
def test_another_text_on_one_host(words_file, tmp_path):
    """The file has changed by the time that process 1 reads it."""
    other = "import os\nif os.environ.get('JAX_PROCESS_ID') == '1':\n    from lmgen.training import run\n"
    other += "    load = run.same_text\n"
    other += "    run.same_text = lambda path, text, vocab, carry, sha, names: load(path, text, vocab, carry, 'f' * 64)\n"
    process = started(words_file, "-o", tmp_path / "m", *WORDS, "--steps", "9", first=other, folder=tmp_path)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    (sentence,) = err.splitlines()
    assert "process 1: the text has changed" in sentence
    assert not (tmp_path / "m").exists()


def test_a_port_in_use(words_file, tmp_path, monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        variables = {"JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "0"}
        words = ["train", words_file, "-o", tmp_path / "m", "--quiet"]
        process = support.started(*words, env={**os.environ, **variables}, stderr=-1, text=True)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    (sentence,) = err.splitlines()
    assert f"process 0 cannot listen on port {port}" in sentence


@pytest.mark.slow
def test_a_full_disk(command, tmp_path):
    """Process 0 cannot save at the end: its sentence, no other, and no model."""
    full = "import os\nif os.environ.get('JAX_PROCESS_ID') == '0':\n    import errno\n    from lmgen.system import files\n"
    full += "    def write(fd, content):\n        raise OSError(errno.ENOSPC, 'No space left on device')\n    fsync = write\n"
    full += "    os.fsync = lambda fd: write(fd, b'')\n"
    process = started(*command, first=full, folder=tmp_path)
    _, err = process.communicate(timeout=120)
    assert process.returncode in (1, 2)
    assert "No space left on device" in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("words", [["-"], ["words.txt", "--valid", "-"]])
def test_standard_input_is_refused(lmgen, words):
    code, _, err = lmgen("train", *words, "--processes", "2")
    assert code == 2
    assert "several processes cannot read standard input: give a file" in err


@pytest.mark.slow
def test_a_batch_that_cannot_be_shared(words_file, tmp_path):
    process = started(words_file, "-o", tmp_path / "m", "--batch", "5", "--quiet")
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "2 devices cannot share a batch of 5" in err


@pytest.mark.slow
def test_processes_killed_at_random_moments(words_file, tmp_path):
    """At the start, while they compile, train, validate, save, resume."""
    count, steps = (40, 20_000) if faults.LONG else (4, 3000)
    found = kills(tmp_path, words_file, count, steps)
    assert found.survived == found.tried >= count - 1
    assert found.longest < ALL_END
    assert found.equal


@pytest.mark.slow
def test_a_straggler_is_named(words_file, tmp_path):
    """Process 1 takes 3 s longer for its share of the validation, as on a slower host."""
    slow = "import os, time\nif os.environ.get('JAX_PROCESS_ID') == '1':\n    from lmgen.models.recurrent import Recurrent\n"
    slow += "    start = Recurrent.start\n    Recurrent.start = lambda *words: time.sleep(3) or start(*words)\n"
    words = [word for word in WORDS if word != "--quiet"]
    process = started(words_file, "-o", tmp_path / "m", *words, "--steps", "20", first=slow, folder=tmp_path)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "process 1 takes" in err
    assert "times as long as the others, which wait for it" in err
