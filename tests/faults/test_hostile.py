"""Files that were made to do harm are refused with a sentence, at once, in little memory, and touch nothing."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import hostile
import jax
import numpy as np
import pytest
import save
from hostile import MEMORY, SECONDS, altered, of_model
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import faults
from lmgen import loading
from lmgen.errors import CheckpointError, LmgenError
from lmgen.system import arrayfile, checkpoint, files, lock, trees
from lmgen.training import run

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "format-2"
WORDS = ("W", "b", "__metadata__", "lmgen", "dtype", "shape", "data_offsets")


def test_hostile_checkpoints_are_refused_at_once(tmp_path):
    """Each with a CheckpointError (exit code 3), within a second and 200 MB, with nothing written anywhere."""
    (tmp_path / "outside.txt").write_text("not theirs")
    hostile.make_all(tmp_path / "models")
    before = faults.listing(tmp_path)
    found = faults.refusals(tmp_path / "models")
    assert len(found) == len(hostile.HOSTILE) >= 70
    for line in found:
        assert line["found"].startswith("CheckpointError: "), line
        assert line["found"].isprintable(), line
        assert line["busy"] < SECONDS, line
        assert line["memory"] < MEMORY, line
    assert faults.listing(tmp_path) == before


@pytest.mark.parametrize("name", ["pickle", "escape codes in a name", "a pipe as the vocabulary", "deep JSON in the header"])
def test_every_command_ends_with_exit_code_3(name, lmgen, tmp_path):
    hostile.HOSTILE[name](tmp_path / "m")
    (tmp_path / "t.txt").write_text("x\n")
    for words in (["sample", "m"], ["eval", "m", "t.txt"], ["score", "m", "t.txt"], ["show", "m"], ["train", "--resume", "m"]):
        code, out, err = lmgen(*words)
        assert (code, out) == (3, "")
        assert len(err.splitlines()) == 1
        assert "\x1b" not in err
    assert lmgen("show")[0] in (0, 3)
    assert not Path("harmed").exists()


@settings(max_examples=2000 if faults.LONG else 150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    header=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from([*"Wb", "__metadata__", "lmgen", "dtype", "shape", "data_offsets"]), inner, max_size=5
            )
        ),
        max_leaves=20,
    ),
    data=st.binary(max_size=40),
)
def test_any_header_is_refused(tmp_path, header, data):
    """JSON of any shape with the words of our headers in it."""
    path = tmp_path / "x.safetensors"
    path.write_bytes(hostile.framed(json.dumps(header).encode(), data))
    with pytest.raises(CheckpointError):
        arrayfile.read_arrays(path, "model")


# ---- directories whose hashes fit ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"size": 1 << 60},
        {"size": 1 << 30},
        {"size": -1},
        {"size": 0},
        {"size": "32"},
        {"size": True},
        {"size": None},
        {"layers": 1 << 40},
        {"layers": 10_000},
        {"layers": 150},
        {"embedding": 1 << 60},
        {"embedding": 1 << 20},
        {"vocab": 1 << 60},
        {"cell": "../lstm"},
        {"cell": "ngram"},
        {"cell": "\x1b[31m"},
        {"cell": ["lstm"]},
        {"cell": "gru"},
        {"direction": "both"},
        {"direction": "sideways"},
        {"dropout": -1.0},
        {"dropout": float("nan")},
        {"tie": True},
        {"layer_norm": True},
        {"heads": 5},
        {"heads": 1 << 60},
        {"heads": 0},
        {"context": 1 << 40},
        {"context": "64"},
        {"context": -1},
        {"evil": 1},
    ],
    ids=str,
)
def test_configurations_that_do_not_fit_are_refused_at_once(model_path, tmp_path, change):
    path = altered(model_path, tmp_path / "m", config=of_model(model_path, **change))
    start = time.process_time()
    with pytest.raises(CheckpointError):
        loading.load(path)
    assert time.process_time() - start < SECONDS


@pytest.mark.parametrize(
    ("name", "change"),
    [
        *(("classes", {"labels": labels}) for labels in ([1, 2], ["a", "a"], ["", "b"], ["a"], [], "ab", None, [["a"], "b"])),
        *(("classes", {"words": words}) for words in (1, 3, 1 << 20, 1 << 40, -1, "12")),
        *(("classes", {"task": task}) for task in ("sort", "language", None, ["tag"], "generate")),
        *(("classes", change) for change in ({"pool": "max"}, {"pool": "last"}, {"vectors": 1 << 40}, {"hashed": True})),
        ("classes", {"labels": [f"label {k}" for k in range(50_000)]}),
        *(("tags", {"tags": tags}) for tags in (["O"], ["O"] * 5, [*"abcdef"], {"O": 1}, ["B-a", "B-a", "I-a", "O", "I-b"])),
        ("tags", {"labels": ["a", "b"]}),
        *(("writer", {"labels": labels}) for labels in (["a"], ["a", "a"], ["a", "b", "c"], [f"{k}" for k in range(50_000)])),
        *(("writer", change) for change in ({"direction": "both"}, {"vocab": 1 << 40}, {"task": "tag"})),
        *(("graph", {name: names}) for name in ("labels", "tags", "edges") for names in ([1], ["a", "a"], [], "ab", [""])),
        *(("graph", {"edges": [f"{k}" for k in range(n)]}) for n in (2, 50_000)),
        *(("graph", change) for change in ({"rounds": 0}, {"rounds": 1 << 40}, {"rounds": 2.0}, {"size": 1 << 30})),
        *(("pairs", {"targets": targets}) for targets in (0, 1, 8, 14, 1 << 40, 7.0, "7", None)),
        *(("pairs", {"smoothing": smoothing}) for smoothing in (-0.1, 1.0, 1e30, float("nan"), "0.1", True)),
        *(("pairs", change) for change in ({"attention": 1}, {"attention": False}, {"copy": "yes"}, {"direction": "both"})),
        *((name, {"hashed": True}) for name in ("pairs", "graph", "writer")),
        *(("pairs", change) for change in ({"labels": ["a"]}, {"vocab": 1 << 40}, {"task": "tree"}, {"task": None})),
        *(("trees", {"labels": labels}) for labels in ([1, 2], ["a", "a"], ["", "b"], ["a"], [], "ab", None)),
        *(("trees", {"labels": [f"label {k}" for k in range(n)]}) for n in (3, 50_000)),
        *(("trees", {"words": words}) for words in (1, 3, 1 << 20, 1 << 40, "12")),
        *(("trees", change) for change in ({"cell": "gru"}, {"hashed": True}, {"vectors": 1 << 40}, {"task": "translate"})),
    ],
    ids=lambda value: str(value)[:50],
)
def test_forged_labels_are_refused_at_once(tmp_path, name, change):
    """Names that are no strings or are equal or too many, an embedding larger than the vocabulary, other tasks."""
    path = altered(GOLDEN / name, tmp_path / "m", config=of_model(GOLDEN / name, **change))
    start = time.process_time()
    with pytest.raises(CheckpointError) as error:
        loading.load(path)
    assert time.process_time() - start < SECONDS
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("pairs", {"targets": 14}),
        ("pairs", {"attention": False, "copy": True}),
        ("trees", {"labels": []}),
        ("pairs", {"hashed": True}),
    ],
)
def test_networks_whose_weights_fit_and_that_mean_nothing_are_refused(tmp_path, name, change):
    """An id that can be predicted and is no symbol, copies of nothing, no label to choose from."""
    config = of_model(GOLDEN / name, **change)
    kind = loading.type_of(config["model"])
    weights = trees.flatten(kind.fresh(kind.configuration(**config["model"]), jax.random.key(0)))
    path = altered(GOLDEN / name, tmp_path / "m", config, arrays=lambda arrays: weights)
    with pytest.raises(CheckpointError, match=r"config\.json (says|is damaged)"):
        loading.load(path)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        *(("pairs", {"form": form}) for form in ("lstm", "trees", "csv", None, 3, ["tsv"])),
        *(("pairs", {"task": task}) for task in ("tree", "classify", None, ["translate"])),
        *(("pairs", {"form": "parallel", "target": target}) for target in (None, 3, "", "\0", ["a.txt"])),
        *(("pairs", change) for change in ({"target": 3}, {"files": []})),
        *(("trees", change) for change in ({"form": "tsv"}, {"form": None}, {"task": "tag"}, {"files": []})),
        *(("graph", change) for change in ({"form": "trees"}, {"task": "classify"})),
        *(("classes", change) for change in ({"form": "parallel"}, {"form": "lstm"}, {"task": "tag"})),
        ("network", {"form": "tsv"}),
        ("network", {"task": "classify"}),
    ],
    ids=str,
)
def test_a_forged_way_of_reading_is_refused(tmp_path, name, change):
    """The form and the task of another structure than the model's, or of none; files that are not named."""
    text = json.loads((GOLDEN / name / "config.json").read_text())["text"]
    path = altered(GOLDEN / name, tmp_path / "m", config={"text": text | change})
    with pytest.raises(CheckpointError, match=r"config\.json is damaged"):
        loading.load(path)


@pytest.mark.parametrize(
    "change",
    [
        {"text": []},
        {"text": {"sequence": "line", "files": [3], "valid_files": [], "encoding": "utf-8", "errors": "strict"}},
        {"text": {"sequence": "line", "files": "abc", "valid_files": 7, "encoding": "utf-8", "errors": "strict"}},
        {"text": {"sequence": ["line"]}},
        {"text": {"sequence": "line", "files": [], "valid_files": [], "encoding": "utf-8", "errors": "surrogateescape"}},
        {"model": []},
        {"model": 7},
    ],
    ids=str,
)
def test_settings_of_the_wrong_kind_are_refused(model_path, tmp_path, change):
    path = altered(model_path, tmp_path / "m", config=change)
    with pytest.raises(CheckpointError):
        loading.load(path)


@pytest.mark.parametrize(
    "change",
    [
        {"symbols": ["a"]},
        {"symbols": "abc"},
        {"symbols": [1, 2]},
        {"symbols": [["a"]]},
        {"unit": "\x1b[31m"},
        {"unit": ["char"]},
        {"unk_token": 7},
        {"symbols": {"a": 1}},
    ],
    ids=str,
)
def test_vocabularies_that_do_not_fit_are_refused(model_path, tmp_path, change):
    with pytest.raises(CheckpointError):
        loading.load(altered(model_path, tmp_path / "m", vocab=change))


def test_much_json_that_is_no_vocabulary_is_not_parsed(tmp_path):
    """Two hundred bytes of memory for three of text: what is large is looked at first."""
    from lmgen.data.vocab import Vocab

    symbols = tuple(f'word{k}\\"\n[{{\u2028' for k in range(100_000))
    large = Vocab("word", symbols, "<unk>")
    assert len(large.to_json()) > 1 << 20
    assert Vocab.from_json(large.to_json()) == large
    start = time.process_time()
    with pytest.raises(CheckpointError, match="not a vocabulary"):
        Vocab.from_json('{"unit": "char", "unk_token": null, "symbols": [' + "[]," * (1 << 23) + "[]]}")
    assert time.process_time() - start < SECONDS


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: {**a, "../../outside.txt": np.zeros(1)}, "holds the array ../../outside.txt"),
        (lambda a: {**a, "\x1b[31mred": np.zeros(1)}, r"holds the array \?\[31mred"),
        (lambda a: {**a, **{f"x{k}": np.zeros(0) for k in range(5_000)}}, "holds the array x0"),
        (lambda a: {name: b for name, b in a.items() if name != "head/b"}, "lacks the array head/b"),
        (lambda a: {**a, "head/b": a["head/b"].astype(np.int32)}, "head/b should be float32"),
        (lambda a: {**a, "head/b": a["head/b"][None]}, "head/b should be float32"),
        (lambda a: {}, "too few"),
    ],
)
def test_arrays_that_do_not_belong_are_named(model_path, tmp_path, change, message):
    """What was expected, what was found, and why: weights and configuration of two models."""
    path = altered(model_path, tmp_path / "m", arrays=change)
    with pytest.raises(CheckpointError, match=message) as error:
        loading.load(path)
    assert str(error.value).isprintable()
    assert "copy the" in str(error.value) or "another configuration" in str(error.value)


@pytest.mark.parametrize(
    "known",
    [np.zeros(3), np.array([[1, 2]], np.uint64), np.array([2, 1], np.uint64), np.array([1, 1], np.uint64), None],
)
def test_fingerprints_that_are_none_are_refused(model_path, tmp_path, known):
    path = shutil.copytree(model_path, tmp_path / "m")
    arrayfile.write_arrays(path / "known.safetensors", "known", {} if known is None else {"known": known}, {})
    with pytest.raises(CheckpointError, match="holds no fingerprints"):
        loading.load(path)


# ---- snapshots -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"train": {}},
        {"train": []},
        {"train": {"batch": 1 << 60, "window": 8, "learning_rate": 0.1, "steps": 9}},
        {"train": {"batch": 1 << 20, "window": 1 << 20, "learning_rate": 0.1, "steps": 9}},
        {"train": {"batch": "x", "window": 8, "learning_rate": 0.1, "steps": 9}},
        {"train": {"batch": 16, "window": 16, "learning_rate": 0.1, "steps": 9, "seed": -1}},
        {"train": {"batch": 16, "window": 16, "learning_rate": 0.1, "steps": 9, "precision": "evil"}},
        {"train": {"batch": 16, "window": 16, "learning_rate": 0.1, "steps": 9, "evil": 1}},
        {"train": {"batch": 16, "window": 16, "learning_rate": 0.1}},
        {"train": {"batch": 16, "window": 16, "learning_rate": 0.1, "steps": 0}},
        {"train": {"batch": 16, "window": 16, "learning_rate": 0.1, "epochs": float("nan")}},
        {"progress": {"step": -1}},
        {"progress": {"step": 1 << 70}},
        {"progress": {"best_nats": "1"}},
        {"progress": 7},
        {"text_sha256": 7},
        {"text_sha256": None},
    ],
    ids=str,
)
def test_snapshots_that_say_nonsense_are_refused(model_path, tmp_path, change):
    path = tmp_path / "m"
    shutil.copytree(model_path, path)
    arrays, about, _, _ = checkpoint.read_snapshot(path)
    for name in ("files", "format", "kind"):
        about.pop(name)
    for snapshot in checkpoint.snapshots(path):
        snapshot.unlink()
    checkpoint.write_snapshot(path, 60, arrays, about | change)
    start = time.process_time()
    with pytest.raises(CheckpointError, match="does not say how to go on"):
        run.resume(path)
    assert time.process_time() - start < SECONDS


def test_links_lead_no_training_out_of_its_directory(tmp_path):
    """train/ and its lock as links: nothing behind them is cleared, cut or written."""
    outside = tmp_path / "outside"
    outside.mkdir()
    for name in ("lock", ".step-00000001.safetensors.1.part", "step-00000001.safetensors"):
        (outside / name).write_text("not theirs")
    before = faults.listing(outside)
    save.make(tmp_path / "a")
    (tmp_path / "a" / "train").symlink_to(outside)
    with pytest.raises(CheckpointError, match="is a link"), lock.locked(tmp_path / "a"):
        pass
    with pytest.raises(CheckpointError, match="is a link"):
        save.save(tmp_path / "a", 1)
    save.make(tmp_path / "b")
    (tmp_path / "b" / "train").mkdir()
    (tmp_path / "b" / "train" / "lock").symlink_to(outside / "lock")
    with pytest.raises(LmgenError, match="cannot train in"), lock.locked(tmp_path / "b"):
        pass
    (tmp_path / "b" / f".README.md.{os.getpid()}.part").symlink_to(outside / "lock")
    with pytest.raises(LmgenError, match="cannot save"):
        files.write_bytes(tmp_path / "b" / "README.md", b"x")
    assert faults.listing(outside) == before
