"""The machine is too small, the directory is elsewhere, the cache of compiled programs is damaged or cannot be written."""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import faults
import lmgen
from lmgen.defaults import language
from lmgen.defaults.config import TrainingConfig
from lmgen.errors import InputError, LmgenError
from lmgen.nn import model
from lmgen.options import kinds
from lmgen.system import memory
from lmgen.training import run
from support import SMALL

# ---- memory ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [["--size", "1000000"], ["--embedding", "2000000000"], ["--batch", "16384", "--size", "60000"]]
)
def test_a_training_that_cannot_fit_says_what_it_needs_and_what_would_fit(words_file, lmgen, options):
    code, _, err = lmgen("train", words_file, "--steps", 1, "--window", 64, *options)
    assert code == 1
    (line,) = err.splitlines()
    assert re.search(r"this training takes [\d,.]+ GB or more and [\d,.]+ [GM]B are free; give ", line)
    assert len(re.findall(r"--[\w-]+ \d+", line)) == 3
    assert not Path("checkpoints/words").exists()


def test_what_the_system_refuses_is_said_the_same_way(words_file):
    """A limit on the address space (1 GB beyond what JAX itself maps) in place of a small machine."""
    limit = (
        "import resource, jax; jax.numpy.zeros(3).block_until_ready(); "
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize(); "
        "resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30), resource.RLIM_INFINITY)); "
        "from lmgen.system import memory; memory.available = lambda: float('inf')"
    )
    process = faults.training(words_file, "--steps", "2", "--size", "5000", "--window", "32", "--batch", "32", first=limit)
    _, err = process.communicate()
    assert process.returncode == 1, err
    assert "Traceback" not in err
    last = err.splitlines()[-1]
    assert "lmgen: not enough memory: this training takes " in last
    assert len(re.findall(r"--[\w-]+ \d+", last)) == 3


def test_the_need_is_at_least_what_is_learnt_and_smaller_settings_need_less(words_file, tmp_path):
    """Against the weights of a real network of each cell: never more than four numbers for each, and what a step keeps."""
    import jax

    config = TrainingConfig(batch=1, window=1, learning_rate=0.1)
    for cell in ("lstm", "gru", "min-lstm", "tdnn", "narx", "elman"):
        for extra in ({}, {"layers": 3, "direction": "both"}, {"tie": True}):
            network = model.NetworkConfig(vocab=50, cell=cell, size=40, embedding=30, **extra)
            params = jax.eval_shape(lambda key, network=network: model.init(network, key), jax.random.key(0))
            weights = model.parameters(params)
            assert 0.75 * 16 * weights <= language.memory_needed(network, config) <= 16 * weights + 16 * 40 * 40 * network.layers
    network = model.NetworkConfig(vocab=50, size=4000, embedding=30)
    told = language.too_large(network, TrainingConfig(batch=64, window=64, learning_rate=0.1))
    assert "--size 2000" in told


@pytest.mark.posix
def test_limits_of_the_process_and_its_group_count(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "CONTROL_GROUP", tmp_path)
    assert 1000 < memory.available() < float("inf")
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("400\n")
    assert memory.available() == 600
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.available() > 1000
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (1000, 1000))  # less than is used already
    assert memory.available() == 0


def test_more_layers_than_can_be_read_again_are_refused(words_file):
    with pytest.raises(InputError, match=f"{kinds.MOST_LAYERS + 1} cannot be used: give 1 or more, {kinds.MOST_LAYERS} at most"):
        lmgen.train(words_file, output="m", steps=1, layers=kinds.MOST_LAYERS + 1)


def test_errors_of_other_kinds_are_not_taken_for_lack_of_memory(words_file, tmp_path):
    network, config = model.NetworkConfig(vocab=5), TrainingConfig(batch=1, window=1, learning_rate=0.1)
    with pytest.raises(RuntimeError, match="something else"), run.memory_of(network, config):
        raise RuntimeError("something else")
    with pytest.raises(LmgenError, match=r"takes 7\.0 GB or more"), run.memory_of(network, config):
        raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 7000000000 bytes.")
    with pytest.raises(LmgenError, match="give --"), run.memory_of(network, config):
        raise MemoryError
    with pytest.raises(ValueError, match="something else"), run.memory_of(network, config):
        raise ValueError("something else")


# ---- places ------------------------------------------------------------------------------------------------------------


# Root may write anywhere but for this: it gives up all its rights (capset(2)).
WITHOUT_RIGHTS = "import ctypes as c; c.CDLL(None).capset((c.c_uint32 * 2)(0x20080522, 0), (c.c_uint32 * 6)())"


@pytest.mark.parametrize("way", ["copied", "moved", "zipped", "tarred", "linked"])
def test_a_model_works_wherever_it_is_put(model_path, tmp_path, way):
    expected = lmgen.load(model_path).sample(5, seed=0)
    source = shutil.copytree(model_path, tmp_path / "source")
    target = tmp_path / "an other place" / "Zoë's model"
    target.parent.mkdir()
    if way == "copied":
        shutil.copytree(source, target)
    elif way == "moved":
        shutil.move(source, target)
    elif way == "linked":
        target.symlink_to(source)
    elif way == "zipped":
        with zipfile.ZipFile(tmp_path / "m.zip", "w") as archive:
            for file in source.rglob("*"):
                archive.write(file, file.relative_to(source))
        with zipfile.ZipFile(tmp_path / "m.zip") as archive:
            archive.extractall(target)
    else:
        with tarfile.open(tmp_path / "m.tar.gz", "w:gz") as archive:
            archive.add(source, "m")
        with tarfile.open(tmp_path / "m.tar.gz") as archive:
            archive.extractall(target.parent, filter="data")
        (target.parent / "m").rename(target)
    assert lmgen.load(target).sample(5, seed=0) == expected


def test_a_model_is_read_where_nothing_can_be_written(model_path, tmp_path):
    """Without the right to write there and without a home sample, eval and show work; a resume says why it cannot."""
    path = shutil.copytree(model_path, tmp_path / "m")
    for file in (path, *path.rglob("*")):
        file.chmod(0o555 if file.is_dir() else 0o444)
    (tmp_path / "t.txt").write_text("bade\n")
    before = faults.listing(path)
    environment = {**os.environ, "XDG_CACHE_HOME": "/nowhere", "HOME": "/nowhere"}
    for code, *words in (
        (0, "sample", "m"),
        (0, "eval", "m", "t.txt", "--no-baselines"),
        (0, "show", "m"),
        (1, "train", "--resume", "m"),
    ):
        command = [sys.executable, "-c", f"{WITHOUT_RIGHTS}\nfrom lmgen.cli.main import main\nmain()", *words]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == code, done.stderr
        assert bool(done.stdout) == (code == 0)
        assert "Traceback" not in done.stderr
    assert "cannot train in m (lock: Permission denied)" in done.stderr
    assert faults.listing(path) == before


# ---- the cache of compiled programs ------------------------------------------------------------------------------------


def trained(folder: Path, words_file: Path, name: str, first: str = "") -> str:
    """What a training says on stderr, with a cache of compiled programs in a folder of the test, which keeps all of them."""
    words = [words_file, "-o", name, "--steps", "4", "--quiet", *SMALL, "--size", "4", "--embedding", "2"]
    words += ["--precision", "f32"]  # what auto measures is compiled for the first training alone
    kept = {"JAX_COMPILATION_CACHE_DIR": str(folder), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    process = faults.training(*words, first=first, **kept)
    _, err = process.communicate()
    assert process.returncode == 0, err
    return err


@pytest.mark.parametrize("damage", [b"rubbish" * 100, None] if faults.LONG else [None])
def test_a_damaged_entry_is_removed_and_made_again(tmp_path, words_file, damage):
    """Without a word, and the entry is whole afterwards; so a training that was killed while it wrote one spoils nothing."""
    folder = tmp_path / "compiled"
    trained(folder, words_file, "a")
    entries = {path: path.read_bytes() for path in folder.glob("*-cache")}
    assert entries
    for path, content in entries.items():
        path.write_bytes(content[: len(content) // 2] if damage is None else damage)
    assert trained(folder, words_file, "b") == ""
    assert any(path.name.startswith("jit_step") for path in entries)
    assert all(path.stat().st_size > len(content) // 2 for path, content in entries.items())
    assert faults.digests(Path("a")) == faults.digests(Path("b"))


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path, words_file):
    """Files may grow to 10 KB only, which a step's program exceeds, but nothing that the training saves: not a word."""
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))"
    for name, first in (("free", ""), ("limited", limit)):
        assert trained(tmp_path / name, words_file, f"m-{name}", first) == ""
        exceeding = [path.name for path in (tmp_path / name).glob("*-cache") if path.stat().st_size >= 10_000]
        assert any(entry.startswith("jit_step") for entry in exceeding) == (name == "free")
