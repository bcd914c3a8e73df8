"""Array files that verify themselves, directories that are whole or not there, names that are safe."""

from __future__ import annotations

import json
import os
import shutil
import struct
from pathlib import Path

import numpy as np
import optax
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

import lmgen
from lmgen import arrayfile, directories, lock, trees
from lmgen.errors import CheckpointError, InputError, LmgenError

ARRAYS = {
    "a/W": np.arange(6, dtype=np.float32).reshape(2, 3),
    "b": np.array([7], np.uint64),
    "none": np.zeros((0, 4), np.int32),
    "one": np.array(3, np.int32),
}


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "x.safetensors"
    arrayfile.write_arrays(path, "model", ARRAYS, {"step": 3})
    return path


def test_what_was_written_is_read(file):
    arrays, about = arrayfile.read_arrays(file, "model")
    assert about["step"] == 3
    assert {n: (a.dtype, a.shape, a.tolist()) for n, a in arrays.items()} == {
        n: (a.dtype, a.shape, a.tolist()) for n, a in ARRAYS.items()
    }
    assert arrayfile.read_about(file, "model")["step"] == 3


def test_a_file_cut_at_any_length_is_refused(file):
    whole = file.read_bytes()
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        with pytest.raises(CheckpointError):
            arrayfile.read_arrays(file, "model")


def test_any_flipped_bit_is_refused(file):
    whole = file.read_bytes()
    for place in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[place // 8] ^= 1 << place % 8
        file.write_bytes(flipped)
        with pytest.raises(CheckpointError):
            arrayfile.read_arrays(file, "model")


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_refused(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("bytes") / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError):
        arrayfile.read_arrays(path, "model")


@pytest.mark.parametrize(
    "header",
    [
        {"a": {"dtype": "F32", "shape": [2**60], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": "x", "data_offsets": [0, 4]}},
        {"a": {"dtype": "Z9", "shape": [1], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [9, 4]}},
        {"../../a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}},
        {"a": 7},
        [],
    ],
)
def test_hostile_headers_are_refused(tmp_path, header):
    if isinstance(header, dict):
        header["__metadata__"] = {"lmgen": json.dumps({"format": 1, "kind": "model", "sha256": "0" * 64})}
    content = json.dumps(header).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", len(content)) + content + bytes(4))
    with pytest.raises(CheckpointError):
        arrayfile.read_arrays(path, "model")


def test_files_of_others_of_other_kinds_and_of_the_future_are_told_apart(tmp_path, file):
    with pytest.raises(CheckpointError, match="holds a model, not a training"):
        arrayfile.read_arrays(file, "training")
    foreign = tmp_path / "foreign.safetensors"
    safetensors.numpy.save_file({"a": np.zeros(2)}, foreign)
    with pytest.raises(CheckpointError, match="no array file of lmgen"):
        arrayfile.read_arrays(foreign, "model")
    content = {"format": 99, "kind": "model", "sha256": ""}
    safetensors.numpy.save_file({"a": np.zeros(2)}, foreign, {"lmgen": json.dumps(content)})
    with pytest.raises(CheckpointError, match="install a newer lmgen"):
        arrayfile.read_arrays(foreign, "model")


def test_pytrees_survive_with_their_types():
    """Dicts, lists, and the named tuples of an optimiser."""
    params = {"b": np.ones(3, np.float32), "layers": [{"W": np.ones((2, 2), np.float32)}]}
    tree = {"params": params, "moments": optax.adam(0.1).init(params)}
    arrays = trees.flatten(tree)
    assert "params/layers/0/W" in arrays
    back = trees.unflatten(tree, arrays, "here")
    assert type(back["moments"][0]) is type(tree["moments"][0])
    assert trees.flatten(back).keys() == arrays.keys()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("b"), "lacks the array b"),
        (lambda a: a.update(c=np.zeros(1)), "holds the array c"),
        (lambda a: a.update(b=np.zeros(4, np.float32)), r"b should be float32 \[3\] but is float32 \[4\]"),
        (lambda a: a.update(b=np.zeros(3, np.int32)), "b should be float32"),
    ],
)
def test_arrays_that_do_not_fit_are_named(change, message):
    arrays = {"b": np.ones(3, np.float32)}
    change(arrays)
    with pytest.raises(CheckpointError, match=message):
        trees.unflatten({"b": np.ones(3, np.float32)}, arrays, "here")


def test_a_failed_save_leaves_the_old_file(file, monkeypatch):
    before = file.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(LmgenError, match="No space left"):
        arrayfile.write_arrays(file, "model", {"a": np.zeros(9)}, {})
    assert file.read_bytes() == before
    assert [p.name for p in file.parent.iterdir() if p.suffix == ".part"] == []


def test_damage_to_any_file_of_a_model_is_noticed(model_path, tmp_path):
    """One byte changed in the weights, the configuration, the vocabulary or the hashes of the corpus."""
    for name in ("model.safetensors", "config.json", "vocab.json", "known.safetensors"):
        copy = tmp_path / name.split(".")[0]
        shutil.copytree(model_path, copy)
        content = bytearray((copy / name).read_bytes())
        content[len(content) // 2] ^= 1
        (copy / name).write_bytes(content)
        with pytest.raises(CheckpointError):
            lmgen.load(copy)


def test_a_model_can_be_copied_moved_and_read_only(model_path, tmp_path):
    text = lmgen.load(model_path).sample(3)
    copy = tmp_path / "elsewhere" / "renamed"
    shutil.copytree(model_path, copy)
    for folder, _, files in os.walk(copy):
        for name in files:
            os.chmod(Path(folder, name), 0o444)
    os.chmod(copy, 0o555)
    assert lmgen.load(copy).sample(3) == text
    os.chmod(copy, 0o755)


def test_models_are_found_by_path_by_name_or_as_the_newest(model_path, tmp_path):
    home = Path("checkpoints")
    with pytest.raises(CheckpointError, match="there is no model in checkpoints"):
        directories.find(None)
    for when, name in enumerate(["old", "new"]):
        shutil.copytree(model_path, home / name)
        os.utime(home / name / "model.safetensors", (when, when))
    assert directories.find(None) == home / "new"
    assert directories.find("old") == home / "old"
    assert directories.find("checkpoints/old") == home / "old"
    assert directories.find("checkpoints/old/model.safetensors") == home / "old"
    with pytest.raises(CheckpointError, match="did you mean old"):
        directories.find("odl")


def test_nothing_is_overwritten_without_force(tmp_path):
    texts = {"config.json": "{}", "vocab.json": "{}"}
    directories.create(tmp_path / "m", texts)
    (tmp_path / "m" / "metrics.jsonl").write_text("{}")
    with pytest.raises(InputError, match="m-2"):
        directories.create(tmp_path / "m", texts)
    assert (tmp_path / "m" / "metrics.jsonl").exists()
    directories.create(tmp_path / "m", texts, force=True)
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == ["config.json", "vocab.json"]
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != ".cache") == ["m"]


@pytest.mark.parametrize("names", [["mine.txt"], ["config.json", "vocab.json", "pytorch_model.bin"], ["vocab.json"]])
def test_force_leaves_alone_what_is_not_ours(tmp_path, names):
    (tmp_path / "other").mkdir()
    for name in names:
        (tmp_path / "other" / name).write_text("x")
    with pytest.raises(InputError, match="remove it yourself"):
        directories.create(tmp_path / "other", {"config.json": "{}"}, force=True)
    assert sorted(p.name for p in (tmp_path / "other").iterdir()) == sorted(names)


def test_force_replaces_what_a_killed_start_has_left(tmp_path):
    """An empty directory, or one with half a file in it."""
    for name in (None, ".config.json.123.part"):
        (tmp_path / "m").mkdir(exist_ok=True)
        if name:
            (tmp_path / "m" / name).write_text("{")
        directories.create(tmp_path / "m", {"config.json": "{}", "vocab.json": "{}"}, force=True)
        assert sorted(p.name for p in (tmp_path / "m").iterdir()) == ["config.json", "vocab.json"]
        for path in (tmp_path / "m").iterdir():
            path.unlink()


def test_force_leaves_a_link_and_a_running_training_alone(tmp_path):
    directories.create(tmp_path / "m", {"config.json": "{}"})
    (tmp_path / "link").symlink_to(tmp_path / "m")
    with pytest.raises(InputError, match="remove it yourself"):
        directories.create(tmp_path / "link", {"config.json": "{}"}, force=True)
    with lock.locked(tmp_path / "m"), pytest.raises(InputError, match="is being trained by process"):
        directories.create(tmp_path / "m", {"config.json": "{}"}, force=True)
    assert (tmp_path / "m" / "config.json").exists()


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("names", "names"),
        ("../x", "x"),
        (".hidden", "hidden"),
        ("-rf", "rf"),
        ("a\x1b[31mb", "a-[31mb"),
        ("", "model"),
        ("é" * 99, "é" * 50),
    ],
)
def test_names_of_runs_are_safe(name, safe):
    assert directories.safe_name(name) == safe


def test_the_free_name_counts_on(tmp_path):
    assert directories.free(tmp_path / "a") == tmp_path / "a"
    (tmp_path / "a").mkdir()
    (tmp_path / "a-2").symlink_to("nowhere")
    assert directories.free(tmp_path / "a") == tmp_path / "a-3"
