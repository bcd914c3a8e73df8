"""Rows from Python: tuples, dicts and tables are read as a file with them is; which lists are names of files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import lmgen
from lmgen.data import inputs
from lmgen.errors import InputError
from lmgen.structured.table import recognise

HOW = {"sequence": "line", "encoding": "utf-8"}
PAIRS = [(f"say {a} {b}", f"{b} und {a}") for a in "abcdef" for b in "abcdef"]
LABELS = [("good" if k % 2 else "bad", f"a film {k}") for k in range(40)]
SMALL = {"size": 4, "embedding": 4, "steps": 1, "batch": 4}


class Frame:
    """What a DataFrame does here: it knows its columns, and gives one by its name."""

    columns = ("label", "text")

    def __getitem__(self, name):
        return [row[self.columns.index(name)] for row in LABELS]

    def __iter__(self):
        return iter(self.columns)


class Dataset:
    """What a Dataset of Hugging Face does here: it gives its rows in batches."""

    column_names = ("source", "target")

    def iter(self, batch_size):
        for k in range(0, len(PAIRS), 10):
            some = PAIRS[k : k + 10]
            yield {"source": [s for s, _ in some], "target": [t for _, t in some]}

    def __iter__(self):
        raise AssertionError("one by one is slow")


ROWS = {
    "tuples of pairs": (PAIRS, "translate"),
    "lists of pairs": ([*map(list, PAIRS)], "translate"),
    "a stream of pairs": (zip(*zip(*PAIRS, strict=True), strict=True), "translate"),
    "dicts of pairs": ([{"source": s, "target": t} for s, t in PAIRS], "translate"),
    "a dataset of pairs": (Dataset(), "translate"),
    "tuples of labels": (LABELS, "classify"),
    "labels last": ([(text, label) for label, text in LABELS], "classify"),
    "labels that are numbers": ([(len(label), text) for label, text in LABELS], "classify"),
    "dicts of labels": ([{"text": text, "label": label} for label, text in LABELS], "classify"),
    "a frame of labels": (Frame(), "classify"),
    "tokens and tags": ([(text.split(), ["X", "Y", "Z"]) for _, text in LABELS], "tag"),
    "graphs": ([{"nodes": ["a", "b"], "edges": [[0, 1]], "label": label} for label, _ in LABELS], "graph"),
}


@pytest.mark.parametrize("name", ROWS)
def test_rows_are_recognised_as_in_a_file(name):
    rows, task = ROWS[name]
    (path,) = inputs.files([rows], HOW, records=True)
    found = recognise([Path(path)])
    assert found
    assert found.task == task
    assert found.reason.startswith("text from Python has ")


def test_rows_train_and_are_measured(tmp_path):
    model = lmgen.train(PAIRS * 3, valid=PAIRS[:5], output=tmp_path / "pairs", **SMALL)
    assert model.predict(PAIRS[0][0]).source == PAIRS[0][0]
    assert model.evaluate(PAIRS[:7]).pairs == 7
    labels = lmgen.train(LABELS, output=tmp_path / "labels", **SMALL)
    assert labels.evaluate(LABELS[:9]).sequences == 9
    few = lmgen.train([("1", "2"), ("3", "4")], task="translate", output=tmp_path / "few", **SMALL)
    assert few.trained_on.task == "translate"


def test_a_field_of_rows_is_plain_text(tmp_path):
    rows = [{"id": k, "body": f"line {k}"} for k in range(20)]
    model = lmgen.train(rows, field="body", cell="ngram", order=2, output=tmp_path / "m")
    assert model.trained_on.task is None
    assert {*model.lm.vocab.symbols} == {*"line 0123456789"}


WRONG = {
    "a row has id, body, of which nothing to learn is recognised: name the field of the text, as in field='id'": [
        {"id": 1, "body": "x"}
    ],
    "the rows could be texts with labels, or pairs: say task='classify' or 'translate', or give dicts": [("1", "2"), ("3", "4")],
    "row 2 has a TAB or a line end in it: give dicts": [("a", "b"), ("a\tb", "c")],
    "row 2 is 3: give two texts, tokens and tags, or a dict": [("a", "b"), 3],
    "the text holds None as string 1": [None],
    "the text holds 1 as string 1": [1, 2],
    "there is no trian.txt": ["trian.txt", "other.txt"],
}


@pytest.mark.parametrize("sentence", WRONG)
def test_what_cannot_be_learnt_is_a_sentence(sentence, tmp_path):
    with pytest.raises(InputError, match=f"^{sentence.replace('(', '[(]')}"):
        lmgen.train(WRONG[sentence], output=tmp_path / "m", **SMALL)
    assert not (tmp_path / "m").exists()


def test_a_language_model_measures_no_rows(model_path):
    with pytest.raises(InputError, match="a row has source, target: name the field of its text"):
        lmgen.load(model_path).source([{"source": "a", "target": "b"}])


@pytest.mark.parametrize(
    ("strings", "names"),
    [
        (["a.txt", "b.txt"], True),
        (["A.TSV"], True),
        (["here.dat"], True),
        (["folder", "here.dat", "cities"], True),
        (["here.dat", "never.txt"], True),
        (["google.com", "example.org"], False),
        (["e.g.", "x.y"], False),
        (["cities", "of", "joy"], False),
        (["here.dat", "and there"], False),
        (["", "x"], False),
        ([Path("here.dat")], True),
        ([], False),
    ],
)
def test_a_list_is_one_of_names_if_all_of_it_is(strings, names):
    Path("here.dat").touch()
    Path("folder").mkdir()
    assert inputs.are_names(strings) is names


def test_the_rows_are_lines_of_json_or_of_tsv():
    (path,) = inputs.files([[{"text": "a\tb", "label": None}]], HOW, records=True)
    assert json.loads(Path(path).read_text()) == {"text": "a\tb", "label": None}
    (path,) = inputs.files([PAIRS[:2]], HOW, records=True)
    assert Path(path).read_text() == "say a a\ta und a\nsay a b\tb und a\n"
