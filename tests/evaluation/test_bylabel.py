"""The measures of texts by label: sums over the labels, each text given its own, against scores one by one."""

from __future__ import annotations

import math

import pytest

import lmgen
from lmgen.errors import InputError
from lmgen.evaluation.cards import bylabel
from lmgen.labelled.examples import Example

TEXTS = [("x", "aa"), ("y", "bab"), ("x", "a"), ("y", "b"), ("x", "aaz")]


@pytest.fixture(scope="module")
def writer(tmp_path_factory):
    """A model that has learnt that x writes a and y writes b."""
    folder = tmp_path_factory.mktemp("writer")
    (folder / "data.tsv").write_text("".join(f"x\t{'a' * k}\ny\t{'b' * k}\n" for k in range(1, 7)) * 20)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        small = {"steps": 200, "size": 12, "embedding": 6, "batch": 4, "window": 8, "learning_rate": 0.02}
        return lmgen.train(folder / "data.tsv", output=folder / "m", task="generate", **small)


@pytest.fixture(scope="module")
def rows(writer):
    return bylabel.measure(writer.lm, "x.tsv", [Example(text, (label,)) for label, text in TEXTS])


def test_each_label_has_the_nats_of_its_texts_given_itself(writer, rows):
    for row in rows[1:]:
        own = [text for label, text in TEXTS if label == row.label]
        scored = [writer.by(row.label).score(text) for text in own]
        assert row.nats == pytest.approx(sum(one.nats for one in scored), rel=1e-5)
        assert (row.sequences, row.symbols) == (len(own), sum(len(text) + 1 for text in own))
        assert row.characters == row.symbols
    assert [row.label for row in rows] == ["", "x", "y"]
    assert [row.unknown for row in rows] == [1, 1, 0]


def test_the_first_row_is_all_labels_together(rows):
    every, *of = rows
    for name in ("sequences", "symbols", "characters", "unknown", "nats"):
        assert getattr(every, name) == pytest.approx(sum(getattr(row, name) for row in of))
    assert every.nats_per_symbol == pytest.approx(every.nats / every.symbols)
    assert every.perplexity == pytest.approx(math.exp(every.nats / every.symbols))
    assert every.bits_per_character == pytest.approx(every.nats / every.characters / math.log(2))
    assert every.as_dict().keys() >= {"label", "nats", "perplexity", "bits_per_character"}


def test_a_text_is_likelier_given_its_own_label(writer):
    right, wrong = (
        bylabel.measure(writer.lm, "", [Example("aaa", (one,)), Example("bbb", (two,))])[0] for one, two in ("xy", "yx")
    )
    assert right.nats < wrong.nats


def test_texts_that_cannot_be_measured_are_a_sentence(writer):
    with pytest.raises(InputError, match=r"x\.tsv, line 3 has no label: give a text that has them"):
        bylabel.measure(writer.lm, "x.tsv", [Example("a", (), None, 3)])
    with pytest.raises(InputError, match="knows no label 'z': the labels are x, y"):
        bylabel.measure(writer.lm, "x.tsv", [Example("a", ("z",))])
    with pytest.raises(InputError, match=r"there is no text in x\.tsv"):
        bylabel.measure(writer.lm, "x.tsv", [])
