"""What each field of a model directory may hold: every field has a row, and what forgers put there is refused with a sentence."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lmgen as library
from lmgen import loading
from lmgen.defaults.config import TrainingConfig
from lmgen.errors import CheckpointError
from lmgen.evaluation import compression
from lmgen.models import facts, ngram, provenance, schema
from lmgen.networks import graph, labelling, translating, tree, writing
from lmgen.nn import model
from lmgen.system import arrayfile, checkpoint
from lmgen.training import loop, run

NAN = float("nan")
STRANGE = [None, True, 0, -1, 1.5, NAN, float("inf"), 1e39, 1 << 70, "", "x", "\x1b[31m", [], [1], {}, {"a": 1}]
OWN = ("format", "kind", "lmgen")  # what write_arrays says itself


@pytest.mark.parametrize(
    ("kind", "table"),
    [
        (model.NetworkConfig, schema.OF_NETWORK),
        (ngram.NGramConfig, schema.OF_NGRAM),
        (labelling.LabelConfig, schema.OF_LABELLER),
        (writing.WriterConfig, schema.OF_WRITER),
        (tree.TreeConfig, schema.OF_TREES),
        (translating.TranslatorConfig, schema.OF_TRANSLATOR),
        (graph.GraphConfig, schema.OF_GRAPH),
        (TrainingConfig, schema.TRAINING),
        (loop.Progress, schema.PROGRESS),
        (provenance.TextSettings, schema.TEXT),
    ],
)
def test_every_field_has_a_row(kind, table):
    """Whoever adds a field says in lmgen/schema.py what it may hold, and that it came `later`."""
    assert {field.name for field in fields(kind)} == table.keys()


def test_the_cells_that_read_trees_are_those_of_their_network():
    assert schema.OF_TREES["cell"].kind.names == tuple(tree.CELLS)


def forged(source: Path, path: Path, file: str, change: dict[str, Any]) -> Path:
    """A copy of a model with other values in a file or in what is said of its weights, and hashes that fit."""
    shutil.copytree(source, path)
    changed = path / file
    if file.endswith(".json"):
        content = json.loads(changed.read_text())
        for name, value in change.items():
            section = next((part for part in content.values() if isinstance(part, dict) and name in part), content)
            section[name] = value
        changed.write_text(json.dumps(content))
    hashes = {name: hashlib.sha256((path / name).read_bytes()).hexdigest() for name in ("config.json", "vocab.json")}
    known = [(known, "known") for known in path.glob(checkpoint.KNOWN)]
    tied = [(path / "model.safetensors", "model"), *known, *((s, "training") for s in checkpoint.snapshots(path))]
    for weights, kind in tied:
        arrays, about = arrayfile.read_arrays(weights, kind)
        if file == weights.name or (file == "train" and kind == "training"):
            for name, value in change.items():
                section = next((part for part in about.values() if isinstance(part, dict) and name in part), about)
                section[name] = value
        about = {name: value for name, value in about.items() if name not in OWN or name in change} | {"files": hashes}
        arrayfile.write_arrays(weights, kind, arrays, about)
    return path


def unfit(table: schema.Table, *names: str) -> list[tuple[str, Any]]:
    """Strange values of each field that its row refuses: some of them, in turn."""
    found = [(name, value) for name in names or table for value in STRANGE if table[name].fault(value)]
    return found if os.environ.get("LMGEN_LONG") else found[::5]


CONFIG = unfit(schema.OF_NETWORK) + unfit(schema.TRAINING) + unfit(schema.TEXT)


def refused(path: Path, *reads: Any) -> None:
    for read in reads:
        with pytest.raises(CheckpointError) as error:
            read(path)
        assert str(error.value).isprintable()


def test_any_field_of_the_configuration_is_refused_by_all_who_read_it(model_path, tmp_path):
    for number, (name, value) in enumerate(CONFIG):
        path = forged(model_path, tmp_path / str(number), "config.json", {name: value})
        refused(path, loading.load, lambda path: facts.model(str(path)), run.resume)
        shutil.rmtree(path)


def test_any_field_said_of_weights_is_refused(model_path, tmp_path):
    for number, (name, value) in enumerate(unfit(schema.WEIGHTS, "step", "valid_nats", "parameters", "text_sha256")):
        path = forged(model_path, tmp_path / str(number), "model.safetensors", {name: value})
        refused(path, loading.load, lambda path: facts.model(str(path)))
        shutil.rmtree(path)


def test_any_field_of_a_snapshot_is_refused(model_path, tmp_path):
    wrong = unfit(schema.TRAINING) + unfit(schema.PROGRESS) + unfit(schema.WEIGHTS, "text_sha256")
    for number, (name, value) in enumerate(wrong):
        path = forged(model_path, tmp_path / str(number), "train", {name: value})
        refused(path, run.resume)
        shutil.rmtree(path)


@pytest.mark.parametrize("change", [{"unk_token": ""}, {"unk_token": 5}, {"unit": None}, {"symbols": [""]}, {"symbols": 5}])
def test_any_field_of_the_vocabulary_is_refused(model_path, tmp_path, change):
    path = forged(model_path, tmp_path / "m", "vocab.json", change)
    refused(path, loading.load, lambda path: facts.model(str(path)), run.resume)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused(model_path, tmp_path, value, lmgen):
    """With hashes that fit: neither text nor numbers nor a traceback comes of them."""
    path = shutil.copytree(model_path, tmp_path / "m")
    for file, kind in [(path / "model.safetensors", "model"), *((s, "training") for s in checkpoint.snapshots(path))]:
        arrays, about = arrayfile.read_arrays(file, kind)
        name = "head/b" if kind == "model" else "params/head/b"
        arrays[name] = np.append(arrays[name][:-1], np.float32(value))
        arrayfile.write_arrays(file, kind, arrays, {k: v for k, v in about.items() if k not in OWN})
    refused(path, loading.load, run.resume)
    for words in (["sample", path], ["eval", path, model_path.parent / "words.txt"], ["compress", path, path / "README.md"]):
        code, out, err = lmgen(*words)
        assert (code, out, len(err.splitlines())) == (3, "", 1)


@pytest.mark.parametrize("direction", ["forward", "both"])
def test_weights_too_large_for_32_bits_lead_to_no_numbers(direction, words_file, tmp_path):
    """They are finite, but what is computed with them is not."""
    options = {"steps": 1, "size": 4, "embedding": 4, "batch": 2, "window": 4, "precision": "f32"}
    library.train(words_file, output="m", direction=direction, **options, **({} if direction == "both" else {"mixture": False}))
    arrays, about = arrayfile.read_arrays(Path("m/model.safetensors"), "model")
    arrays |= {name: np.full_like(a, 3e38) for name, a in arrays.items() if name.startswith(("head", "layers"))}
    arrayfile.write_arrays(Path("m/model.safetensors"), "model", arrays, {k: v for k, v in about.items() if k not in OWN})
    large = library.load("m")
    uses = [lambda: list(large.score(["bade", "k"])), lambda: large.evaluate(words_file)]
    if direction == "forward":
        uses += [lambda: large.sample(1), lambda: compression.compress(large.lm, b"bade\n")]
    else:
        uses += [lambda: large.fill("ba_e")]
    for use in uses:
        with pytest.raises(CheckpointError, match="not finite"):
            use()
