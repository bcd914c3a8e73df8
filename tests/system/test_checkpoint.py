"""Array files that verify themselves, directories whose files belong together."""

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
from lmgen.errors import CheckpointError, InputError, LmgenError
from lmgen.system import arrayfile, checkpoint, trees

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


def test_fingerprints_of_another_model_are_refused(model_path, tmp_path):
    """Those that were written before they were tied to a model are still read."""
    other, untied = tmp_path / "other", tmp_path / "untied"
    lmgen.train(["badekimo", "reresuno"] * 9, output=other, steps=1, size=4, embedding=4, batch=1, window=4)
    for path in (other, untied):
        shutil.copytree(model_path, path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("train", "known.safetensors"))
    with pytest.raises(CheckpointError, match=r"known\.safetensors is of another model: copy the whole directory again"):
        lmgen.load(other)
    known = arrayfile.read_arrays(model_path / "known.safetensors", "known")[0]
    arrayfile.write_arrays(untied / "known.safetensors", "known", known, {})
    np.testing.assert_array_equal(lmgen.load(untied).lm.known, lmgen.load(model_path).lm.known)


def test_a_model_can_be_copied_moved_and_read_only(model_path, tmp_path):
    text = lmgen.load(model_path).sample(3, seed=0)
    copy = tmp_path / "elsewhere" / "renamed"
    shutil.copytree(model_path, copy)
    for folder, _, files in os.walk(copy):
        for name in files:
            os.chmod(Path(folder, name), 0o444)
    os.chmod(copy, 0o555)
    assert lmgen.load(copy).sample(3, seed=0) == text
    os.chmod(copy, 0o755)


def test_snapshots_are_in_the_order_of_their_steps(tmp_path):
    """Also where the number outgrows the zeros before it: the newest stay."""
    checkpoint.create(tmp_path / "m", {"config.json": "{}", "vocab.json": "{}"})
    for step in (99_999_998, 99_999_999, 100_000_000, 1_000_000_000):
        checkpoint.write_snapshot(tmp_path / "m", step, ARRAYS, {"progress": {"step": step}})
        assert checkpoint.read_snapshot(tmp_path / "m")[1]["progress"]["step"] == step
    assert [p.stem for p in checkpoint.snapshots(tmp_path / "m")] == ["step-1000000000", "step-100000000"]


@pytest.mark.posix
def test_a_file_replaced_while_it_is_read_is_read_as_it_was(file, tmp_path, monkeypatch):
    """A save that falls between the header and the arrays."""
    arrayfile.write_arrays(tmp_path / "next", "model", {"b": np.zeros(999, np.float32)}, {"step": 4})
    loads = json.loads

    def after_the_header(*words, **options):
        if (tmp_path / "next").exists():
            os.replace(tmp_path / "next", file)
        return loads(*words, **options)

    monkeypatch.setattr(json, "loads", after_the_header)
    arrays, about = arrayfile.read_arrays(file, "model")
    assert (about["step"], arrays.keys()) == (3, ARRAYS.keys())
    assert arrayfile.read_arrays(file, "model")[1]["step"] == 4


def test_a_directory_replaced_while_it_is_read_is_read_again(tmp_path, monkeypatch):
    """`train --force` between the weights and config.json: the new model, not a sentence about damage."""
    for name, config in (("m", "{}"), ("next", "[]")):
        checkpoint.create(tmp_path / name, {"config.json": config, "vocab.json": "{}"})
        checkpoint.write_model(tmp_path / name, ARRAYS, {"name": name})
    read = checkpoint.read_texts

    def after_the_weights(path, about):
        if (tmp_path / "next").exists():
            os.rename(tmp_path / "m", tmp_path / "old")
            os.rename(tmp_path / "next", tmp_path / "m")
        return read(path, about)

    monkeypatch.setattr(checkpoint, "read_texts", after_the_weights)
    _, about, texts = checkpoint.read_model(tmp_path / "m")
    assert (about["name"], texts["config.json"]) == ("next", "[]")


def test_files_are_not_written_beside_others(tmp_path):
    checkpoint.create(tmp_path / "m", {"config.json": "{}"})
    with pytest.raises(InputError, match="nothing is overwritten"):
        checkpoint.create(tmp_path / "m", {"config.json": "[]"})
    assert (tmp_path / "m" / "config.json").read_text() == "{}"


def test_damaged_snapshots_of_later_steps_do_not_push_out_good_ones(tmp_path):
    checkpoint.create(tmp_path / "m", {"config.json": "{}", "vocab.json": "{}"})
    for step in (10, 20):
        checkpoint.write_snapshot(tmp_path / "m", step, ARRAYS, {"progress": {"step": step}})
    for step in (98, 99):
        (tmp_path / "m" / "train" / f"step-{step:08d}.safetensors").write_bytes(b"x")
    checkpoint.write_snapshot(tmp_path / "m", 30, ARRAYS, {"progress": {"step": 30}})
    assert [checkpoint.step_of(snapshot) for snapshot in checkpoint.snapshots(tmp_path / "m")] == [30, 20]
    assert checkpoint.read_snapshot(tmp_path / "m")[3] == []


def test_a_config_too_large_to_be_read_again_is_refused(tmp_path):
    """As one that names very many files."""
    with pytest.raises(InputError, match="pipe the texts in"):
        checkpoint.create(tmp_path / "m", {"config.json": "x" * (1 << 21), "vocab.json": "{}"})
