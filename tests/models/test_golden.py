"""Models that were written long ago still load, score and resume: golden files of every format there was, in tests/golden."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

import lmgen
from lmgen import loading
from lmgen.errors import CheckpointError, InputError
from lmgen.evaluation.compression import identity
from lmgen.models import provenance
from lmgen.structured.pairs import Pair
from lmgen.system import arrayfile
from lmgen.training import run

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
FORMATS = sorted(path.name for path in GOLDEN.glob("format-*"))
LINES = ["badekimo", "reresuno", "xyz"]
NATS = {  # of LINES, as they were when the files were written
    ("format-1", "network"): [24.07924, 24.4981, 11.25647],
    ("format-1", "counts"): [7.4244, 10.08079, 19.32947],
    ("format-2", "network"): [24.08832, 24.49991, 11.25633],
    ("format-2", "counts"): [7.4244, 10.08079, 19.32947],
    ("format-2", "subwords"): [5.14141, 8.79383, 25.93264],
    ("format-2", "mixture"): [6.85938, 8.81805, 19.32947],
}
SYMBOLS = {"subwords": 300}  # of words.txt; 860 characters
CLASSES = {"bade": 0.723983, "kimo": 0.276017}
TAGS = [("O", 0.566589), ("O", 0.449501), ("O", 0.440639)]
GRAPH = '{"nodes": ["re", "kimo", "xyz"], "edges": [[0, 1, "near"], [1, 2]]}'
TREE = "(0 (0 (0 tila) (1 re)) (1 xyz))"
TARGETS = {"xyz": 1.652489, "re": 12.887368, "bade tila": 13.468865}  # of a source whose last word is unknown
BY_LABEL = {"bade": 30.69044, "kimo": 31.41087}
IDENTITIES = {  # in the files that these models compress
    ("format-1", "network"): "883767ca9c06fb9d",
    ("format-1", "counts"): "980da6c1c3be10ec",
    ("format-2", "network"): "f869ed741b3a76e1",
    ("format-2", "counts"): "980da6c1c3be10ec",
    ("format-2", "subwords"): "a1069334a4659575",
    ("format-2", "mixture"): "80931f9048181c4f",
}


def test_there_are_golden_files_of_every_format():
    assert [f"format-{number}" for number in range(1, arrayfile.FORMAT + 1)] == FORMATS


@pytest.mark.parametrize(("form", "kind"), NATS, ids=lambda name: name)
def test_a_model_of_every_format_scores_as_it_did(form, kind):
    model = lmgen.load(GOLDEN / form / kind, precision="f32")
    assert [score.nats for score in model.score(LINES)] == pytest.approx(NATS[form, kind], rel=1e-4)
    assert model.evaluate(GOLDEN / "words.txt").symbols == SYMBOLS.get(kind, 860)


@pytest.mark.parametrize("form", FORMATS)
def test_a_training_of_every_format_is_resumed(form, tmp_path):
    """From the step where it was stopped, to its end, with the validation loss that it had then on the way."""
    path = shutil.copytree(GOLDEN / form / "network", tmp_path / "m")
    text = provenance.TextSettings((str(GOLDEN / "words.txt"),), (), "line", "utf-8", "strict")
    resumed, complaints = run.resume(path, text)
    assert (resumed.progress.step, complaints) == (40, [])
    with closing(iter(resumed)) as reports:
        last = list(reports)[-1]
    assert (last.step, resumed.progress.finished) == (60, "all steps were taken")
    assert last.valid_nats < 2.65 < lmgen.load(GOLDEN / form / "network").lm.provenance.about["valid_nats"]
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == sorted({line["step"] for line in lines})


LABELLED = ["format-2"]  # the formats that have had labels
LABELLED_FILES = [("classes", "labels.tsv"), ("tags", "tags.conll"), ("writer", "labels.tsv"), ("graph", "graphs.jsonl")]
LABELLED_FILES += [("pairs", "pairs.tsv"), ("trees", "trees.txt")]


@pytest.mark.parametrize("form", LABELLED)
def test_a_model_of_every_format_labels_as_it_did(form):
    """The probabilities as they were when the files were written; a symbol that training has not seen is one of them."""
    (found,) = lmgen.load(GOLDEN / form / "classes", precision="f32").predict(["tila bade xyz"])
    assert dict(found.labels) == pytest.approx(CLASSES, rel=1e-4)
    (found,) = lmgen.load(GOLDEN / form / "tags", precision="f32").predict([("re", "kimo", "xyz")])
    assert [tag for tag, _ in found.tags] == [tag for tag, _ in TAGS]
    assert [p for _, p in found.tags] == pytest.approx([p for _, p in TAGS], rel=1e-4)
    (found,) = lmgen.load(GOLDEN / form / "graph", precision="f32").predict([GRAPH])
    assert dict(found.labels) == pytest.approx({"2 edges": 0.636615, "1 edges": 0.363385}, rel=1e-4)
    assert [p for _, p in found.tags] == pytest.approx([0.454496, 0.606898, 0.596255], rel=1e-4)
    (found,) = lmgen.load(GOLDEN / form / "trees", precision="f32").predict([TREE])
    assert found.brackets == "(0 (0 (0 tila) (0 re)) (0 xyz))"
    assert found.probabilities == pytest.approx([0.805165, 0.614206, 0.571674, 0.590517, 0.607972], rel=1e-4)
    writer = lmgen.load(GOLDEN / form / "writer", precision="f32")
    assert {label: writer.by(label).score("re bade re").nats for label in BY_LABEL} == pytest.approx(BY_LABEL, rel=1e-4)


@pytest.mark.parametrize("form", LABELLED)
def test_a_model_of_every_format_translates_as_it_did(form):
    """The scores as they were when the files were written; an unknown word is copied, and the longest text cut where it was."""
    model = lmgen.load(GOLDEN / form / "pairs", precision="f32")
    scores = model.lm.score(Pair("re then xyz", target) for target in TARGETS)
    assert {one.text: one.nats for one in scores} == pytest.approx(TARGETS, rel=1e-4)
    (found,) = model.predict(["re then xyz"])
    assert ({*found.text.split()}, found.ended) == ({"xyz"}, False)
    assert found.nats == pytest.approx(21.22756, rel=1e-4)


@pytest.mark.parametrize("form", LABELLED)
@pytest.mark.parametrize(("name", "file"), LABELLED_FILES)
def test_a_labelled_training_of_every_format_is_resumed(form, name, file, tmp_path):
    path = shutil.copytree(GOLDEN / form / name, tmp_path / "m")
    text = provenance.TextSettings((str(GOLDEN / file),), (str(GOLDEN / file),))
    resumed, complaints = run.resume(path, text)
    assert (resumed.progress.step, complaints) == (40, [])
    with closing(iter(resumed)) as reports:
        last = list(reports)[-1]
    assert (last.step, resumed.progress.finished) == (60, "all steps were taken")
    assert last.valid_nats < lmgen.load(GOLDEN / form / name).lm.provenance.about["valid_nats"]


@pytest.mark.parametrize("form", FORMATS)
def test_a_text_that_was_emptied_is_a_sentence(form, tmp_path):
    path, empty = shutil.copytree(GOLDEN / form / "network", tmp_path / "m"), tmp_path / "empty.txt"
    empty.touch()
    with pytest.raises(InputError, match="no text"):
        run.resume(path, provenance.TextSettings((str(empty),), (), "line", "utf-8", "strict"))


@pytest.mark.parametrize(
    ("number", "version", "message"),
    [
        (3, "7.1.0", r"was made by lmgen 7\.1\.0 \(format 3, this one reads format 2\): install lmgen ≥ 7\.1\.0"),
        (99, None, "was made by a newer lmgen .*: install a newer lmgen"),
        (99, "\x1b[31m", "was made by a newer lmgen"),
        (0, "0.0.1", "has format 0, which no lmgen has written"),
        ("1", None, "has format 1, which no lmgen has written"),
        (1.5, None, r"has format 1\.5, which no lmgen has written"),
    ],
)
def test_another_format_says_what_would_read_it(tmp_path, number, version, message):
    said = {"format": number, "kind": "model", "sha256": "", **({"lmgen": version} if version else {})}
    path = tmp_path / "model.safetensors"
    safetensors.numpy.save_file({"a": np.zeros(2)}, path, {"lmgen": json.dumps(said)})
    with pytest.raises(CheckpointError, match=message):
        arrayfile.read_about(path, "model")


@pytest.mark.parametrize(("form", "kind"), IDENTITIES, ids=lambda name: name)
def test_compressed_files_still_name_the_model_that_compressed_them(form, kind):
    assert identity(loading.load(GOLDEN / form / kind, "f32")).hex() == IDENTITIES[form, kind]
