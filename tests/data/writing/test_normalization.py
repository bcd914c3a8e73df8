"""Texts in one form: the same letters, however they were typed."""

from __future__ import annotations

import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lmgen
from lmgen.data.reading import Text, whole
from lmgen.data.writing.normalization import Normalization

FORMS = [Normalization(low, form) for low in (False, True) for form in (None, "nfc", "nfkc")]


@pytest.mark.parametrize("normal", FORMS, ids=str)
def test_a_text_in_a_form_stays_as_it_is(normal):
    """Of every character; for prompts are put in the form once more where they come from a text in it."""
    for point in range(sys.maxunicode + 1):
        once = normal.of(chr(point))
        assert normal.of(once) == once, hex(point)


@settings(deadline=None)
@given(st.text(), st.sampled_from(FORMS))
def test_forms_are_those_of_unicode_and_python(text, normal):
    form = (normal.normalize or "").upper()
    expected = text.lower() if normal.lowercase else text
    if form:
        assert unicodedata.is_normalized(form, normal.of(text))
        expected = unicodedata.normalize(form, unicodedata.normalize(form, text).lower() if normal.lowercase else text)
    assert normal.of(text) == expected


def test_a_text_is_read_in_the_form_and_its_split_and_counts_follow():
    Path("text").write_text("Emma\nE\u0301MILE\nﬁn ½\n", "utf-8")
    assert list(whole(Text([Path("text")], normal=Normalization(True, "nfkc")))) == ["emma", "émile", "fin 1⁄2"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    names = [f"{first}{rest}" for first in ("Ann", "BER", "Émi", "E\u0301lo") for rest in ("a", "IKA", "ise", "le", "Ta") * 8]
    return lmgen.train(names, cell="ngram", order=3, lowercase=True, normalize="nfc", output=folder / "lower")


def test_a_model_reads_every_text_in_its_form(model):
    again = lmgen.load(model.path)
    assert not any(symbol.isupper() for symbol in again.lm.vocab.symbols)
    for one, other in (("ANNA", "anna"), ("E\u0301mi", "émi")):
        assert again.score(one).nats == again.score(other).nats
        drawn = [again.sample(1, prompt=prompt, seed=3)[0].text for prompt in (one, other)]
        assert drawn[0] == drawn[1]
        assert drawn[0].startswith(other)
        assert again.explain(one, background=False).nats == pytest.approx(again.score(other).nats)
    assert again.sample(3, starts_with="AN", seed=1)[0].text.startswith("an")
    assert again.evaluate(["ANNA", "Berika"]).nats == pytest.approx(again.evaluate(["anna", "berika"]).nats)


def test_what_is_held_out_is_no_copy_in_another_case(model):
    origin = model.lm.origin
    training, held_out = set(whole(origin.training())), set(whole(origin.held_out()))
    assert not training & held_out
    assert all(text == text.lower() for text in training | held_out)


def test_compression_restores_every_letter(model):
    pytest.importorskip("constriction")
    from lmgen.evaluation import compression

    content = "ANNA\nBerika\nE\u0301MI\n".encode()
    assert compression.decompress(model.lm, compression.compress(model.lm, content)) == content


def test_a_model_without_a_form_says_nothing_of_it(tmp_path):
    """So that it is the same file as before there were forms."""
    plain = lmgen.train(["anna", "berta"] * 20, cell="ngram", order=2, output=tmp_path / "plain")
    assert plain.score("ANNA").unknown == 4


def test_labelled_text_is_read_in_the_form(tmp_path):
    rows = "".join(f"{label}\tNAME {k} {label}\n" for k in range(30) for label in ("One", "Two"))
    (tmp_path / "rows.tsv").write_text(rows)
    model = lmgen.train(tmp_path / "rows.tsv", lowercase=True, steps=2, size=8, output=tmp_path / "labels")
    assert not any(symbol.lower() != symbol for symbol in model.lm.vocab.symbols)
    assert {*model.lm.labels.labels} == {"One", "Two"}
    assert model.predict("NAME 3 ONE").labels == model.predict("name 3 one").labels
