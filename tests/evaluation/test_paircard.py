"""The card of pairs: figures of chosen translations against tables worked by hand and sacrebleu; the nearest source by a loop."""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest
from sacrebleu.metrics import BLEU, CHRF

from lmgen.data.vocab import Vocab
from lmgen.errors import InputError
from lmgen.evaluation import nearest
from lmgen.evaluation.cards import paircard
from lmgen.evaluation.nearest import Nearest
from lmgen.structured.pairs import Pair
from support import invented_words


class Fixed:
    """A model with no weights: `translations` has the output for each source, and each target symbol has a nat."""

    vocab = Vocab("word", ("a", "b", "c"))

    def __init__(self, translations: dict[str, str], training: list[Pair] | None = None):
        self.translations, self.training = translations, training

    def predict(self, sources, **settings) -> Iterator[SimpleNamespace]:
        return (SimpleNamespace(text=self.translations[source], source=source) for source in sources)

    def score(self, pairs) -> Iterator[SimpleNamespace]:
        for pair in pairs:
            words = pair.target.split()
            unknown = sum(word not in self.vocab.ids for word in words)
            yield SimpleNamespace(nats=1.5 * len(words), symbols=(*words, ""), unknown=unknown)

    def training_examples(self) -> Iterator[Pair]:
        if self.training is None:
            raise InputError("the text is gone")
        return iter(self.training)


def texts(count: int, seed: int, most: int = 12) -> list[str]:
    """Sentences of a few words, which share many."""
    rng, words = np.random.default_rng(seed), invented_words(30)
    return [" ".join(rng.choice(words, rng.integers(1, most))) + rng.choice(["", ".", "!"]) for _ in range(count)]


def invented(count: int, seed: int = 0) -> tuple[list[Pair], Fixed]:
    """Pairs, and a model that copies one target in five and writes something else for the others."""
    sides = zip(texts(count, seed), texts(count, seed + 1), strict=True)
    pairs = [Pair(f"{source} {k}", target) for k, (source, target) in enumerate(sides)]
    noise = texts(count, seed + 2)
    return pairs, Fixed({pair.source: pair.target if k % 5 == 0 else noise[k] for k, pair in enumerate(pairs)}, pairs[:20])


def measured(lm: Fixed, pairs: list[Pair], baselines: bool = False) -> paircard.PairCard:
    return paircard.card(lm, "x.tsv", iter(pairs), baselines)


def test_a_card_worked_by_hand():
    """Four pairs: one is right, one right up to white space, one copied, and one nonsense that is in the training text."""
    pairs = [Pair("a b", "a a"), Pair("b", "a b  c"), Pair("a b c", "c z"), Pair("c", "b")]
    training = [Pair("a b c d e", "x"), Pair("c", "q"), Pair("c", "a b c"), Pair("zz", "a a")]
    lm = Fixed({"a b": "a a", "b": "a b c ", "a b c": "a b c", "c": "x"}, training)
    card = measured(lm, pairs, baselines=True)
    assert (card.pairs, card.symbols, card.unknown) == (4, 3 + 4 + 3 + 2, 1)
    assert card.nats == 1.5 * 8
    assert card.nats_per_symbol == 1
    assert card.perplexity == pytest.approx(math.e)
    assert (card.exact, card.copied, card.novel) == (0.5, 0.25, 0)
    assert card.intervals == {}  # too few pairs
    assert [(row.shortest, row.longest, row.pairs, row.exact) for row in card.by_length] == [
        (1, 1, 2, 0.5),
        (2, 2, 1, 1),
        (3, 3, 1, 0),
    ]
    assert [row.nats_per_symbol for row in card.by_length] == [1, 1, 1]
    assert {rule.name: rule.exact for rule in card.baselines} == {
        "the source itself": 0,
        "the nearest training source's": 0,
    }
    assert json.loads(json.dumps(card.as_dict()))["file"] == "x.tsv"


def test_one_output_that_no_training_target_has_is_new():
    lm = Fixed({"a": "a b", "b": "a  b c"}, [Pair("x", "a b c")])
    assert measured(lm, [Pair("a", "c"), Pair("b", "c")], baselines=True).novel == 0.5


@pytest.mark.parametrize("count", [1, 30, 2100])
def test_bleu_and_chrf_are_those_of_sacrebleu(count):
    """The sums over blocks and over batches lose nothing, whether each block has one pair or several."""
    pairs, lm = invented(count)
    card = measured(lm, pairs, baselines=True)
    outputs, references = [lm.translations[pair.source] for pair in pairs], [[pair.target for pair in pairs]]
    bleu, chrf = BLEU(force=True), CHRF()
    assert card.bleu == pytest.approx(bleu.corpus_score(outputs, references).score)
    assert card.chrf == pytest.approx(chrf.corpus_score(outputs, references).score)
    assert card.signatures == {"bleu": str(bleu.get_signature()), "chrf": str(chrf.get_signature())}
    copied, (own,) = [pair.source for pair in pairs], (rule for rule in card.baselines if rule.name == "the source itself")
    assert own.bleu == pytest.approx(bleu.corpus_score(copied, references).score)
    assert own.chrf == pytest.approx(chrf.corpus_score(copied, references).score)


def test_the_rows_by_length_are_those_of_the_pairs_of_these_lengths():
    pairs, lm = invented(300)
    card = measured(lm, pairs)
    lengths = [len(pair.source.split()) for pair in pairs]
    assert len(card.by_length) == paircard.ROWS
    assert sum(row.pairs for row in card.by_length) == 300
    for row in card.by_length:
        some = [pair for pair, length in zip(pairs, lengths, strict=True) if row.shortest <= length <= row.longest]
        outputs, references = [lm.translations[pair.source] for pair in some], [[pair.target for pair in some]]
        assert row.pairs == len(some)
        assert row.bleu == pytest.approx(BLEU(force=True).corpus_score(outputs, references).score)
        assert row.exact == sum(lm.translations[pair.source] == pair.target for pair in some) / len(some)


def test_the_intervals_are_those_of_sacrebleu():
    """Other draws of the same bootstrap give nearly the same interval; its middle is the figure."""
    pairs, lm = invented(400)
    card = measured(lm, pairs)
    outputs, references = [lm.translations[pair.source] for pair in pairs], [[pair.target for pair in pairs]]
    theirs = BLEU(force=True).corpus_score(outputs, references, n_bootstrap=1000)
    low, high = card.intervals["bleu"]
    assert low < card.bleu < high
    assert (high - low) / 2 == pytest.approx(theirs._ci, rel=0.15)
    width = 1.96 * math.sqrt(card.exact * (1 - card.exact) / 400)  # of a share, by the normal distribution
    low, high = card.intervals["exact"]
    assert (high - low) / 2 == pytest.approx(width, rel=0.15)


def test_the_difference_of_a_model_to_itself_is_none_and_to_a_better_one_is_not():
    pairs, lm = invented(200)
    card, same = measured(lm, pairs), measured(lm, pairs)
    assert set(paircard.difference(card, same).values()) == {(0.0, 0.0)}
    right = measured(Fixed({pair.source: pair.target for pair in pairs}), pairs)
    assert paircard.difference(right, card)["bleu"][0] > 0
    with pytest.raises(ValueError, match="not of the same pairs"):
        paircard.difference(card, measured(lm, pairs[1:]))


def test_any_number_of_pairs_is_summed_in_as_many_blocks(monkeypatch):
    monkeypatch.setattr(paircard, "BLOCKS", 4)
    monkeypatch.setattr(paircard, "AT_ONCE", 5)
    tally = paircard.Tally({"exact": paircard.RATIO})
    counts = np.stack([np.arange(37.0), np.ones(37)], axis=1)
    for first in range(0, 37, 5):
        tally.add({"exact": counts[first : first + 5]}, np.ones(len(counts[first : first + 5]), int))
    assert tally.blocks[:, 1].tolist() == [8, 8, 8, 8, 5]
    assert tally.blocks[:, 0].tolist() == [sum(range(first, min(first + 8, 37))) for first in range(0, 37, 8)]
    assert tally.counts("exact").tolist() == [sum(range(37)), 37]


def test_targets_of_single_words_have_no_bleu():
    """BLEU would be 0 for them, however good they are."""
    card = measured(Fixed({"12+30": "42"}), [Pair("12+30", "42")])
    assert (card.bleu, card.exact, card.chrf) == (None, 1, pytest.approx(100))
    assert card.notes == [paircard.SHORT]
    assert [*card.signatures] == ["chrf"]


@pytest.mark.parametrize(
    ("target", "tokenizer"),
    [("He ran five miles.", "13a"), ("他跑了五英里。", "zh"), ("彼は五マイル走りました。", "char"), ("1 2 3 4 5", "13a")],
)
def test_targets_without_spaces_are_cut_into_characters(target, tokenizer):
    card = measured(Fixed({"a": target}), [Pair("a", target)])
    assert f"|tok:{tokenizer}|" in card.signatures["bleu"]
    assert card.bleu == pytest.approx(100)


def test_without_sacrebleu_the_other_figures_are_there(monkeypatch):
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics", None)
    pairs, lm = invented(40)
    card = measured(lm, pairs, baselines=True)
    assert (card.bleu, card.chrf, card.signatures, card.exact) == (None, None, {}, 0.2)
    assert card.notes == ["BLEU and chrF need sacrebleu, which is not installed: pip install sacrebleu"]
    assert [row.bleu for row in card.by_length] == [None] * len(card.by_length)


def test_without_its_training_text_a_card_says_so():
    pairs, lm = invented(40)
    lm.training = None
    card = measured(lm, pairs, baselines=True)
    assert [rule.name for rule in card.baselines] == ["the source itself"]
    assert card.novel is None
    assert card.notes == ["no comparison with the training text: the text is gone"]


def test_no_pairs_are_a_sentence():
    with pytest.raises(InputError, match=r"there is no pair in x\.tsv: give a file with at least one"):
        measured(Fixed({}), [])


# ---- the nearest training source ---------------------------------------------------------------------------------------


def naive(training: list[Pair], source: str) -> list[float]:
    """The cosine of the TF-IDF weights of the n-grams of a source with each training source."""

    def grams(text: str) -> Counter[str]:
        padded = nearest.PAD + text + nearest.PAD
        return Counter(padded[k : k + nearest.N] for k in range(len(padded) - nearest.N + 1))

    counted = [grams(pair.source) for pair in training]
    having = Counter(gram for one in counted for gram in one)
    weights = [{gram: n * math.log((len(training) + 1) / (having[gram] + 1)) for gram, n in one.items()} for one in counted]
    own = {gram: n * math.log((len(training) + 1) / (having[gram] + 1)) for gram, n in grams(source).items()}
    norms = [math.sqrt(sum(w * w for w in one.values())) for one in weights]
    return [sum(w * own.get(gram, 0) for gram, w in one.items()) / max(n, 1e-9) for one, n in zip(weights, norms, strict=True)]


def test_the_nearest_source_is_that_of_a_loop():
    training = [Pair(source, str(k)) for k, source in enumerate(texts(200, seed=3))]
    found = Nearest(training)
    sources = texts(50, seed=4)
    for source, answer in zip(sources, found.answers(sources), strict=True):
        similar = naive(training, source)
        assert similar[int(answer)] == pytest.approx(max(similar), rel=1e-5)


def test_a_training_source_is_nearest_to_itself():
    training = [Pair("a", "1"), Pair("ab", "2"), Pair("été", "3"), Pair("\ud800", "4"), Pair("abc", "5"), Pair("abc", "6")]
    assert [*Nearest(training).answers([pair.source for pair in training])] == ["1", "2", "3", "4", "5", "5"]


def test_the_rarest_n_grams_decide_where_an_index_is_large(monkeypatch):
    """Of "the cat", each n-gram of "the " is everywhere, so that only "cat" is looked up."""
    monkeypatch.setattr(nearest, "LOOKED_UP", 1)
    training = [Pair("the dog", "dog"), Pair("the house", "house"), Pair("black cat", "cat"), Pair("the", "the")]
    assert [*Nearest(training).answers(["the cat"])] == ["cat"]


def test_an_index_ends_where_it_is_full(monkeypatch):
    monkeypatch.setattr(nearest, "MOST", 5)
    monkeypatch.setattr(nearest, "AT_ONCE", 1)
    found = Nearest([Pair("abcde", "1"), Pair("fghij", "2")])
    assert [*found.answers(["fghij"])] == ["1"]


@pytest.mark.parametrize(("training", "answer"), [([], ""), ([Pair("abc", "x")], "x")])
def test_something_unlike_all_gets_the_first(training, answer):
    assert [*Nearest(training).answers(["qqqqqq", ""])] == [answer, answer]
