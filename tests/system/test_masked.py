"""Where the system is not POSIX: lmgen trains, samples, evaluates and resumes, and one process holds a directory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lmgen.errors import CheckpointError
from lmgen.system import devices, files, lock, memory

TESTS = Path(__file__).resolve().parents[1]


def run_masked(program: str, code: int = 0, **variables: str) -> subprocess.CompletedProcess:
    """Run a program with the mask on; its output is decoded by PYTHONIOENCODING."""
    path = os.pathsep.join([str(TESTS.parent), str(TESTS)])
    environment = {**os.environ, "PYTHONPATH": path, "LMGEN_NATIVE": "off", **variables}
    words = [sys.executable, "-c", f"import masked\nmasked.mask()\n{program}"]
    encoding = variables.get("PYTHONIOENCODING") or "utf-8"
    done = subprocess.run(words, env=environment, capture_output=True, encoding=encoding, timeout=300)
    assert done.returncode == code, done.stderr
    return done


def test_all_of_a_training_works_without_posix(words_file):
    program = """
import sys
from lmgen.system import files, lock, memory
assert lock.fcntl is None and memory.resource is None and memory.total() is None and files._NO_FOLLOW == 0
import lmgen
small = {"size": 8, "embedding": 4, "batch": 4, "window": 8, "learning_rate": 0.01}
model = lmgen.train("words.txt", output="m", steps=4, **small)
assert len(model.sample(3, seed=1)) == 3
assert model.evaluate("words.txt").nats > 0
from lmgen.cli import main
commands = ["train --resume m --steps 8 -q", "train words.txt -o m --steps 2 --force -q"]
for words in (*commands, "doctor", "rename m n", "remove n --yes"):
    sys.argv = ["lmgen", *words.split()]
    try:
        main.main()
    except SystemExit as end:
        assert not end.code, (words, end.code)
"""
    assert "unknown" in run_masked(program).stdout  # how much memory there is
    assert not Path("m").exists()
    assert not Path("n").exists()


@pytest.mark.skipif("LMGEN_TESTS_MASKED" not in os.environ, reason="the tests are not masked")
def test_these_tests_are_masked():
    assert lock.fcntl is None
    assert memory.resource is None


def test_a_directory_has_one_holder_without_flock(tmp_path):
    """Another process, another lock of the same process, a holder that was killed, a directory that was renamed meanwhile."""
    holds = """
import os, sys, time
from pathlib import Path
from lmgen.system import lock
os.makedirs("m", exist_ok=True)
Path("m/config.json").write_text("{}")
with lock.locked(Path("m")):
    try:
        with lock.locked(Path("m")):
            sys.exit("held twice")
    except lock.TakenError as error:
        assert f"by process {os.getpid()}" in str(error)
    """
    tries = "import sys\nfrom pathlib import Path\nfrom lmgen.system import lock\nwith lock.locked(Path('m')):\n    pass\n"
    run_masked(holds + "os._exit(7)", 7)  # killed
    run_masked(tries)
    run_masked(holds + "pass")
    run_masked(tries)
    path = os.pathsep.join([str(TESTS.parent), str(TESTS)])
    words = [sys.executable, "-c", f"import masked\nmasked.mask()\n{holds}print('held', flush=True); time.sleep(60)"]
    holder = subprocess.Popen(words, env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    assert f"by process {holder.pid}" in run_masked(tries, 1).stderr
    holder.kill()
    holder.communicate()
    run_masked(tries)


def test_a_machine_that_tells_nothing_has_no_limits(monkeypatch):
    """Without /proc and control groups."""

    def missing(*_, **__):
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(Path, "read_text", missing)
    assert devices.cpu_flags() == frozenset()
    assert isinstance(devices.processor(), str)
    monkeypatch.setattr(memory, "resource", None)
    assert memory.available() == float("inf")


@pytest.mark.posix
@pytest.mark.parametrize("flags", [True, False])
def test_no_link_is_followed_and_no_pipe_waited_for(tmp_path, flags, monkeypatch):
    """Also without O_NOFOLLOW and O_NONBLOCK."""
    if not flags:
        monkeypatch.setattr(files, "_NO_FOLLOW", 0)
        monkeypatch.setattr(files, "_NO_WAIT", 0)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match="is no file"), files.opened(tmp_path / "pipe"):
        pass
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        open(tmp_path / "link", "wb", opener=files.no_link).close()
    assert not (tmp_path / "elsewhere").exists()
