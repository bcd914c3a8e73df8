"""What a model expected of a text, against reading it symbol by symbol; whatever the unit, the kind of model and the parts."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lmgen
from lmgen.data import subword
from lmgen.data.reading import PAUSE, Piece, Text, in_parts
from lmgen.data.vocab import EOS, UNITS, Vocab
from lmgen.errors import InputError
from lmgen.evaluation.explanation import LONGEST, background, explanations, of_text
from lmgen.evaluation.novelty import Index, Matches
from support import invented_words

SMALL = {"steps": 8, "size": 8, "embedding": 4, "batch": 4, "window": 8, "precision": "f32"}
KINDS = {
    "recurrent": {**SMALL, "cell": "lstm"},
    "transformer": {**SMALL, "cell": "transformer", "heads": 2, "context": 5},
    "carried": {**SMALL, "carry": True},
    "subwords": {**SMALL, "unit": "subword", "vocab_size": 300},
    "words": {**SMALL, "unit": "word-punct"},
    "n-grams": {"cell": "ngram", "order": 3},
    "cloze": {**SMALL, "direction": "both"},
    "carried cloze": {**SMALL, "direction": "both", "carry": True},
}
TEXTS = ["bada, di gulo", "ra é 中", "", "bada"]


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, lmgen.Model]:
    """A model of each kind; to be read, not changed."""
    folder = tmp_path_factory.mktemp("explanation")
    words = invented_words(600)
    lines = [" ".join(words[k : k + 3]) for k in range(0, 600, 3)]
    (folder / "words.txt").write_text("\n".join([*lines, *(f"{line}, é" for line in lines)]) + "\n", "utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        return {name: lmgen.train(folder / "words.txt", output=folder / name, **how) for name, how in KINDS.items()}


def pieces(*texts: str) -> list[Piece]:
    return [Piece(text, True, True, 1) for text in texts]


def distributions(lm, stream: np.ndarray) -> np.ndarray:
    """ln p [n, V] of every symbol after each of a stream but the last, read one by one; from both sides by a cloze model."""
    found = []
    if lm.pseudo:
        beyond = np.zeros(len(stream) + 1, bool)
        beyond[-1] = True
        window = np.append(stream, EOS)
        for place in range(1, len(stream)):
            found.append(np.asarray(lm.logits(window[:, None], beyond[:, None], np.array([place])), np.float64)[0])
    else:
        state = lm.start(1)
        for id in stream[:-1]:
            state, logits = lm.read(state, np.array([[id]], np.int32))
            found.append(np.asarray(logits, np.float64)[0, 0])
    rows = np.array(found)
    return rows - np.log(np.exp(rows - rows.max(1, keepdims=True)).sum(1, keepdims=True)) - rows.max(1, keepdims=True)


@pytest.mark.parametrize("name", KINDS)
def test_every_symbol_is_what_reading_one_by_one_gives(models, name):
    lm = models[name].lm
    stream = np.concatenate([[EOS], *(part for text in TEXTS for part in (lm.vocab.encode(text), [EOS]))]).astype(np.int32)
    expected = iter(zip(stream[1:], distributions(lm, stream), strict=True))
    for text, one in zip(TEXTS, explanations(lm, pieces(*TEXTS)), strict=True):
        assert one.text == text
        for k, id in enumerate([*lm.vocab.encode(text), EOS]):
            target, log_p = next(expected)
            assert target == id
            if k == len(one):  # the EOS that a cloze model is given
                assert lm.pseudo
                assert not lm.carry
                continue
            order = np.argsort(-log_p)
            assert one[k].nats == pytest.approx(-log_p[id], abs=1e-4)
            assert abs(int((log_p > log_p[id] + 1e-5).sum()) + 1 - one[k].rank) <= int((abs(log_p - log_p[id]) <= 1e-5).sum()) - 1
            assert [p for _, p in one[k].alternatives] == pytest.approx(np.exp(log_p[order[:5]]), abs=1e-4)
    assert next(expected, None) is None


@pytest.mark.parametrize("name", KINDS)
def test_the_nats_are_those_of_score(models, name):
    model = models[name]
    for text in TEXTS:
        explained, scored = model.explain(text), model.score(text)
        assert [one.nats for one in explained] == pytest.approx([nats for _, nats in scored.symbols], abs=1e-4)
        assert explained.nats == pytest.approx(scored.nats, abs=1e-3)


def test_a_place_holds_as_many_alternatives_as_are_asked_for_and_no_more_than_there_are(models):
    model = models["recurrent"]
    assert {len(one.alternatives) for one in model.explain("bada", top=3)} == {3}
    everything = model.explain("bada", top=100)[0]
    assert len(everything.alternatives) == len(model.lm.vocab)
    assert sum(p for _, p in everything.alternatives) == pytest.approx(1, abs=1e-5)
    with pytest.raises(InputError, match="top"):
        model.explain("bada", top=0)


@pytest.mark.parametrize("name", [name for name in KINDS if "cloze" not in name])
@pytest.mark.parametrize("longest", [5, 7, 64])
def test_a_sequence_in_parts_is_explained_as_a_whole(models, name, longest):
    lm = models[name].lm
    texts = ["bada digulo rane kito rumila badana é", "gulo", " ".join(invented_words(30))]
    whole = [one.nats for text in explanations(lm, pieces(*texts)) for one in text]
    parts = [*explanations(lm, in_parts(pieces(*texts), longest))]
    if longest < 10:
        assert len(parts) > len(texts)
    assert "".join(part.text for part in parts) == "".join(texts)
    assert sum(part.begins for part in parts) == sum(part.ends for part in parts) == len(texts)
    if UNITS[lm.vocab.unit].noun == "character":  # a word may be cut in two
        assert [one.nats for part in parts for one in part] == pytest.approx(whole, abs=1e-3)


def test_a_pause_brings_what_was_read_before(models):
    one, two = pieces("bada", "gulo")
    read = []

    def arriving():
        for piece in (one, PAUSE, two):
            read.append(piece)
            yield piece

    first = next(explanations(models["recurrent"].lm, arriving()))
    assert first.text == "bada"
    assert two not in read


@pytest.mark.parametrize("name", ["n-grams", "recurrent"])
def test_no_part_of_a_huge_line_among_short_ones_is_large(models, tmp_path, name):
    path = tmp_path / "long.txt"
    lines = [*["bada gulo"] * 1700, "ba" * LONGEST, "da"]
    path.write_text("\n".join(lines) + "\n")
    lm = models[name].lm
    found = [*of_text(lm, Text([path]))]
    assert max(len(one.text) for one in found) <= LONGEST
    assert "".join(one.text for one in found) == "".join(lines)
    assert [one.begins for one in found[-4:]] == [True, True, False, True]
    nats = [one.nats for one in explanations(lm, pieces("bada gulo", "ba" * LONGEST, "da"))]
    assert sum(one.nats for one in found[-3:-1]) == pytest.approx(nats[1], rel=1e-5)
    assert [found[0].nats, found[1699].nats, found[-1].nats] == pytest.approx([nats[0], nats[0], nats[2]], abs=1e-3)


# ---- symbols and their places ------------------------------------------------------------------------------------------

COUNTS = {unit: Counter(UNITS[unit].split("ab é中 a.b 'a-b") * 3) for unit in UNITS}
ANY = st.text(st.sampled_from("abé中😀 \t.,'-é\u202e\ud800"), max_size=30)


@given(ANY)
@settings(deadline=None, max_examples=200)
def test_what_stands_before_symbols_and_the_symbols_are_the_text(text):
    for unit, counts in COUNTS.items():
        vocab = Vocab.of(counts, unit)
        places, symbols = vocab.places(text), vocab.split(text)
        assert len(places) == len(symbols) == len(vocab.encode(text))
        for (start, end), (last, _), symbol in zip(places, [(0, 0), *places], symbols, strict=False):
            assert last <= start <= end
            if vocab.shown(symbol) == symbol:  # but for a part of a character
                assert text[start:end] == symbol[len(symbol) - (end - start) :]
            else:
                assert subword.bytes_of(symbol) in text[start:end].encode("utf-8", "surrogatepass")


def test_symbols_are_shown_as_the_text_has_them(models):
    for name in ("recurrent", "words", "n-grams"):
        one = models[name].explain("bada,  中 x")
        assert "".join(symbol.before + symbol.symbol for symbol in one) == "bada,  中 x"
        assert [symbol.known for symbol in one if "中" in symbol.symbol] == [False]
    parts = [symbol.symbol for symbol in models["subwords"].explain("中")]
    assert parts[-4:] == ["\\xe4", "\\xb8", "\\xad", ""]
    assert models["recurrent"].explain("ba")[-1].symbol == ""


# ---- the training text -------------------------------------------------------------------------------------------------


def copies_by_trying(corpus: list[str], text: str, least: int) -> list[tuple[int, str]]:
    """The maximal runs of at least `least` characters that are in the corpus."""
    whole = "\n" + "".join(f"{line}\n" for line in corpus)
    found = [(a, b) for a in range(len(text)) for b in range(a + max(1, least), len(text) + 1) if text[a:b] in whole]
    largest = [(a, b) for a, b in found if not any(c <= a and b <= d and (a, b) != (c, d) for c, d in found)]
    return [(a, text[a:b]) for a, b in largest]


@given(st.lists(st.text("ab中", max_size=10), min_size=1, max_size=5), st.text("ab中", max_size=12), st.integers(1, 4))
@settings(deadline=None, max_examples=200)
def test_copied_spans_are_those_found_by_trying(corpus, text, least):
    pytest.importorskip("pydivsufsort")
    found = Matches(Index(corpus), text).copies(least)
    assert [(span.start, span.text) for span in found] == copies_by_trying(corpus, text, least)
    assert all(span.text in span.line or "\n" in span.text for span in found)


def test_what_is_copied_and_what_n_grams_expected(models):
    pytest.importorskip("pydivsufsort")
    model = models["recurrent"]
    known, other = model.path.with_name("words.txt").read_text("utf-8").splitlines()[:2]
    whole, part = model.explain(known), model.explain(f"zzz{other[:12]}zzz", copied=12)
    assert [one.copied for one in whole] == [0] * len(known) + [None]
    assert (whole.copies[0].text, whole.copies[0].line) == (known, known)
    assert [(span.text, span.line) for span in part.copies] == [(other[:12], other)]
    assert [one.copied for one in part] == [None] * 3 + [0] * 12 + [None] * 4
    assert model.explain(f"zzz{other[:12]}zzz", copied=13).copies == ()
    ngram = background(model.lm).ngram
    assert [one.ngram.nats for one in whole] == pytest.approx(
        [nats for _, nats in lmgen.Model(ngram).score(known).symbols], abs=1e-4
    )
    alone = model.explain(known, background=False)
    assert alone.copies == ()
    assert alone[0].ngram is None


def test_neither_n_grams_nor_a_cloze_model_are_compared_with_n_grams(models):
    for name in ("n-grams", "cloze"):
        assert models[name].explain("bada")[0].ngram is None


def test_without_the_training_text_the_rest_is_explained(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("\n".join(invented_words(100)))
    model = lmgen.train(path, output=tmp_path / "m", cell="ngram", order=2)
    path.unlink()
    (lack,) = background(model.lm).lacks
    assert "is missing" in lack
    assert len(model.explain("bada")) == 5


def test_a_model_that_writes_by_label_is_explained_by_label(tmp_path):
    path = tmp_path / "labels.tsv"
    path.write_text("".join(f"{'ab'[k % 2]}\t{word}\n" for k, word in enumerate(invented_words(300))))
    model = lmgen.train(path, output=tmp_path / "m", task="generate", **SMALL)
    by = model.by("a")
    found = by.explain("bada")
    assert found.nats == pytest.approx(by.score("bada").nats, abs=1e-3)
    assert found[0].ngram is not None
    with pytest.raises(InputError, match="--label"):
        model.explain("bada")


# ---- two texts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["recurrent", "words", "subwords"])
def test_the_parts_of_two_texts_are_the_texts_and_their_nats(models, name):
    a, b = "bada gulo, rane", "bado gulo rane kito"
    found = models[name].compare(a, b)
    for side, text in enumerate((a, b)):
        assert sum(part.nats[side] for part in found.parts) == pytest.approx(found.sides[side].nats, abs=1e-3)
        assert "".join(part.texts[side] for part in found.parts) == text
        assert sum(part.symbols[side] for part in found.parts) == len(found.sides[side])
    assert found.difference == pytest.approx(models[name].score(b).nats - models[name].score(a).nats, abs=1e-3)
    assert found.likelier == int(found.difference < 0)
    assert all((part.texts[0].strip() == part.texts[1].strip()) == part.same for part in found.parts)


def test_texts_of_several_words_are_compared_by_word_and_of_one_by_symbol(models):
    texts = [
        [part.texts for part in models["recurrent"].compare(*pair).parts]
        for pair in (("ra bada ki", "ra bado ki"), ("bada", "bado"))
    ]
    assert texts == [[("ra", "ra"), (" bada", " bado"), (" ki", " ki")], [("bad", "bad"), ("a", "o"), ("", "")]]
    spaced = models["recurrent"].compare("ra  ki", "ra ki").parts
    assert [part.texts for part in spaced if not part.same] == [(" ", "")]


def test_equal_texts_are_equally_likely_and_very_long_ones_are_refused(models):
    found = models["recurrent"].compare("bada", "bada")
    assert (found.likelier, found.difference, len(found.parts)) == (None, 0, 1)
    with pytest.raises(InputError, match="over 2,000 symbols"):
        models["n-grams"].compare("ba" * 1001, "ba")
