"""The launchers that people have start the processes: each trains to the same bits as `--processes` does."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.numpy import load_file

pytestmark = [pytest.mark.slow, pytest.mark.posix]
WORDS = ["--size", "12", "--embedding", "6", "--batch", "4", "--window", "8", "--precision", "f32", "--steps", "30", "--quiet"]
LMGEN = [sys.executable, "-m", "lmgen"]


def running(command: str) -> bool:
    """Whether a command is there and ends well."""
    return shutil.which(command.split()[0]) is not None and subprocess.run(command.split(), capture_output=True).returncode == 0


TRAIN = {
    "Open MPI": ["mpirun", "--allow-run-as-root", "--oversubscribe", "-n", "2", *LMGEN, "train"],
    "Slurm": ["srun", "--ntasks=2", *LMGEN, "train"],
    "torchrun": ["torchrun", "--nproc-per-node=2", "--no-python", *LMGEN, "train"],
    "Ray": [*LMGEN, "train", "--processes", "2", "--ray", "local"],
}
THERE = {
    "Open MPI": lambda: running("mpirun --version"),
    "Slurm": lambda: running("sinfo"),
    "torchrun": lambda: running("torchrun --help"),
    "Ray": lambda: importlib.util.find_spec("ray") is not None,
}


@pytest.mark.parametrize("launcher", TRAIN)
def test_a_launcher_starts_two_processes_that_train_together(words_file, tmp_path, launcher):
    if not THERE[launcher]():
        pytest.skip(f"{launcher} is not here")
    commands = {"alone": [*LMGEN, "train", "--processes", "2"], "launched": TRAIN[launcher]}
    for name, command in commands.items():
        variables = {**os.environ, "LMGEN_THREADS": "1", "NPROC": "1", "JAX_PLATFORMS": "cpu"}
        words = [*command, str(words_file), "-o", name, *WORDS]
        done = subprocess.run(words, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
    alone, launched = (load_file(Path(tmp_path, name, "model.safetensors")) for name in commands)
    assert alone.keys() == launched.keys()
    assert all((alone[name] == launched[name]).all() for name in alone)
