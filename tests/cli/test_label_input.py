"""What predict and eval read for a model of labels: the same data from a file, a pipe or a named pipe; forms of other data."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest
from labelled_files import CLASSES, made

from lmgen.errors import InputError


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with data as columns and as CSV, a model of each, and one that writes by label; to be read, not changed."""
    import lmgen

    folder = tmp_path_factory.mktemp("input")
    small = {"steps": 120, "size": 8, "embedding": 8, "batch": 8, "learning_rate": 0.02, "input": "symbol"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        for name, form in {"tags": "columns", "classes": "csv"}.items():
            lmgen.train(made(form, folder), output=folder / name, **small)
        del small["input"]
        lmgen.train(made("tsv", folder), output=folder / "writer", task="generate", **small)
    return folder


@pytest.mark.parametrize(("model", "data"), [("tags", "data.columns"), ("classes", "data.csv")])
def test_labelled_data_from_a_pipe_are_read_as_from_a_file(model, data, home, lmgen):
    """Columns are sentences, a table is its texts; what is predicted does not depend on how the data come."""
    code, out, err = lmgen("predict", home / model, home / data)
    assert (code, err) == (0, "")
    assert lmgen("predict", home / model, stdin=(home / data).read_text()) == (0, out, "")


def test_the_tokens_of_one_sentence_may_be_all_there_is(home, lmgen):
    for content in ("leave\nOslo\nin\nMay\n\n", "leave O\nOslo O\nin O\nMay O\n", "leave Oslo in May\n"):
        record = json.loads(lmgen("predict", home / "tags", "--json", stdin=content)[1])
        assert record["tokens"] == ["leave", "Oslo", "in", "May"]


def test_a_table_without_labels_has_texts_all_the_same(home, lmgen):
    Path("new.csv").write_text('id,text\n7,"the film bade is fine, really"\n')
    for words, stdin in ((["new.csv"], None), ([], Path("new.csv").read_text())):
        out = lmgen("predict", home / "classes", *words, stdin=stdin)[1]
        assert out.split("\t")[::2] == ["good", "the film bade is fine, really\n"]


@pytest.mark.posix
def test_a_named_pipe_is_read_as_standard_input(home, lmgen):
    os.mkfifo("pipe")
    content = "".join(f"{text}\n" for _, text in CLASSES[:3])
    writer = threading.Thread(target=Path("pipe").write_text, args=(content,))
    writer.start()
    code, out, err = lmgen("predict", home / "classes", "pipe")
    writer.join()
    assert (code, err) == (0, "")
    assert out == lmgen("predict", home / "classes", stdin=content)[1]


def test_a_prediction_is_a_line_where_its_text_is_several(home, lmgen):
    Path("new.csv").write_text('text,id\n"the film bade\n\nis fine",1\nthe film bade is dull,2\n')
    out = lmgen("predict", home / "classes", "new.csv")[1]
    assert [line.split("\t")[2] for line in out.splitlines()] == ["the film bade is fine", "the film bade is dull"]
    record = json.loads(lmgen("predict", home / "classes", "new.csv", "--json")[1].splitlines()[0])
    assert record["text"] == "the film bade\n\nis fine"


def test_eval_tells_what_it_left_out_and_what_it_cannot_tell(home, lmgen):
    """A second label of a text, where the model has one; the interval of a difference on a handful of texts."""
    Path("few.tsv").write_text("good\tthe film bade is fine\nbad,good\tthe film bade is dull\n")
    code, out, err = lmgen("eval", home / "classes", "few.tsv", "--no-baselines", "--against", home / "classes")
    assert code == 0
    assert "1 text has several labels, of which the first counts: this model predicts one" in err
    assert "accuracy +0.00% against the other model (too few texts for an interval)" in out


def test_tags_of_iob1_are_found_as_such(lmgen):
    """A span mostly begins with I-; with the rules of BIO none would be found."""
    sentences = ["see\tO\nOslo\tI-x\nnow\tO\n", "Oslo\tI-x\nRome\tB-x\n", "Ann\tI-y\nRay\tB-y\nsaw\tO\nRome\tI-x\n"]
    Path("iob1.conll").write_text("\n".join(sentences * 30))
    options = ["--steps", "250", "--size", "8", "--embedding", "8", "--learning-rate", "0.02", "--input", "symbol"]
    code, _, err = lmgen("train", "iob1.conll", *options, "-o", "m")
    assert code == 0
    assert "warning: the tags of 100% of the texts break BIO, so predicted tags need not obey it, either" in err
    assert json.loads(lmgen("eval", "m", "iob1.conll", "--json")[1])["entity_f1"] == 1


def test_a_column_that_was_given_is_the_one_that_is_told(home, lmgen):
    Path("data.txt").write_text("New NN B-x\nYork NN I-x\nin IN O\n\n" * 20)
    code, _, err = lmgen("train", "data.txt", "--column", "2", "--dry-run")
    assert code == 0
    assert err.startswith("data.txt has in column 2, by --column, what to predict: learning to tag (--task language: plain text)")
    Path("data.jsonl").write_text('{"text": "a", "label": "x"}\n{"text": "b", "label": "y"}\n' * 20)
    code, _, err = lmgen("train", "data.jsonl", "--column", "2", "--dry-run")
    assert code == 2
    assert "data.jsonl has JSON objects with text and label, and no columns with numbers: leave out --column" in err


def test_corpus_check_looks_at_the_column_of_the_labels_that_train_is_given(home, lmgen):
    Path("data.txt").write_text("New NN B-x\nYork NN I-x\nin IN O\n\n" * 20)
    words = ["data.txt", "--task", "tag", "--column", "2"]
    code, out, _ = lmgen("corpus", "check", *words, "--json")
    record = json.loads(out)
    assert code == 0
    assert [one["name"] for one in record["tags"]] == ["NN", "IN"]
    assert record["command"] == "lmgen train data.txt --column 2 --task tag"
    code, _, err = lmgen("corpus", "check", *words[:-1], "pos")
    assert (code, err.count("\n")) == (2, 1)
    assert "column pos would be read as plain text: to tag, give --column the number of the labels" in err


def test_an_option_of_predict_that_labels_do_not_have_is_a_sentence(home):
    import lmgen

    with pytest.raises(InputError, match="there is no option top: there are none here, so leave it out"):
        lmgen.load(home / "classes").predict("a film", top=3)


CORPUS = {
    "names.tsv": "".join(f"{'Irish' if k % 3 else 'Welsh'}\tname{k:04}x\n" for k in range(700)),
    "names.txt": "".join(f"__label__{'Irish' if k % 3 else 'Welsh'} name{k:04}x\n" for k in range(700)),
    "names.csv": "name,language\n" + "".join(f"name{k:04}x,{'Irish' if k % 3 else 'Welsh'}\n" for k in range(700)),
}


@pytest.mark.parametrize("name", CORPUS)
def test_samples_are_compared_with_texts_without_their_labels(name, lmgen):
    """As with a corpus of the texts alone; samples with labels beside them are compared with all of the lines."""
    pytest.importorskip("pydivsufsort")
    Path(name).write_text(CORPUS[name])
    Path("plain").write_text("".join(f"name{k:04}x\n" for k in range(700)))
    Path("drawn").write_text("name0001x\nname0002x\nnobody\n")
    code, out, err = lmgen("novelty", "drawn", "--corpus", name, "--json")
    assert code == 0
    assert "samples are compared with the texts, without labels" in err
    assert out == lmgen("novelty", "drawn", "--corpus", "plain", "--json")[1]
    assert sum(json.loads(line).get("known", False) is True for line in out.splitlines()) >= 1
    if name != "names.csv":
        Path("drawn").write_text("\n".join(CORPUS[name].splitlines()[1:4]))
        assert "without labels" not in lmgen("novelty", "drawn", "--corpus", name)[2]


def test_what_a_writer_draws_is_compared_with_texts_without_their_labels(home, lmgen):
    pytest.importorskip("pydivsufsort")
    words = ["--label", "good", "-n", "2", "--seed", "1", "--max-length", "20", "--json"]
    code, out, err = lmgen("sample", home / "writer", *words, "--novelty", home / "data.tsv")
    assert code == 0
    assert "samples are compared with the texts, without labels" in err
    assert not any("\t" in json.loads(line)["nearest"] for line in out.splitlines()[:2])
