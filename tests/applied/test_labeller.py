"""Predictions: those of the logits, calibrated, by the rules of their scheme, in the order of the texts; `eval` agrees."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import pairwise

import jax
import numpy as np
import pytest

import lmgen
from lmgen.applied import records
from lmgen.applied.labeller import AT_ONCE, Labeller
from lmgen.data.vocab import Vocab
from lmgen.errors import InputError
from lmgen.evaluation.cards import labelcard
from lmgen.labelled.corpus import UNKNOWN, encode
from lmgen.labelled.examples import Example
from lmgen.labelled.tagging import Span
from lmgen.models.provenance import Provenance
from lmgen.networks import labelling
from lmgen.networks.labelling import LabelConfig

WORDS = ("from", "Oslo", "to", "New", "York", "now")
VOCAB = Vocab("word", WORDS)
BIO = ("B-city", "B-time", "I-city", "I-time", "O")
TINY = LabelConfig(len(VOCAB), size=5, embedding=4, direction="both", labels=("x", "y", "z"), tags=BIO, words=len(VOCAB))


def labeller(seed=0, temperature=None, scale=1.0, **changes) -> Labeller:
    config = replace(TINY, **changes)
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(partial(labelling.init, config), jax.random.key(0))
    params = jax.tree.map(lambda a: rng.normal(0, scale, a.shape).astype(np.float32), shapes)
    about = {} if temperature is None else {"temperature": temperature}
    return Labeller(config, params, VOCAB, "f32", Provenance(about=about))


def texts(count: int, seed=0, longest=9) -> list[str]:
    random = np.random.default_rng(seed)
    return [" ".join(random.choice([*WORDS, "unknown", "Paris"], random.integers(1, longest))) for _ in range(count)]


def softmax(logits):
    p = np.exp(np.float64(logits) - logits.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True)


def logits_of(lm: Labeller, text: str):
    """The logits of a text read alone."""
    return next(lm.logits(encode([Example(text)], lm.vocab, lm.labels)))


# ---- predictions -------------------------------------------------------------------------------------------------------


def test_probabilities_are_those_of_the_logits_at_the_fitted_temperature():
    """Of each head its own; the labels come with the likeliest first, the tags in the order of the symbols."""
    lm = labeller(temperature={"labels": 3.0, "tags": 0.5}, tags=("N", "V", "D"))
    for text, found in zip(texts(30), lm.predict(texts(30)), strict=True):
        logits = logits_of(lm, text)
        p = softmax(logits.labels / 3.0)
        assert dict(found.labels) == pytest.approx(dict(zip(lm.config.labels, p, strict=True)), rel=1e-4)
        assert all(one >= other for (_, one), (_, other) in pairwise(found.labels))
        assert found.chosen == (lm.config.labels[p.argmax()],)
        p = softmax(logits.tags / 0.5)
        assert [tag for tag, _ in found.tags] == [lm.config.tags[k] for k in p.argmax(1)]
        assert [one for _, one in found.tags] == pytest.approx(p.max(1).tolist(), rel=1e-4)
        assert (found.text, found.symbols, found.entities) == (text, tuple(text.split()), ())


def test_a_prediction_is_the_same_alone_and_among_thousands():
    """Short and long texts, more than are read at once."""
    lm, many = labeller(hashed=True), [*texts(AT_ONCE + 100), *texts(3, seed=1, longest=200)]
    found = [*lm.predict(many)]
    assert [one.text for one in found] == many
    for k in (0, 1, AT_ONCE, len(many) - 1):
        alone = next(lm.predict([many[k]]))
        assert dict(alone.labels) == pytest.approx(dict(found[k].labels), abs=1e-5)
        assert [p for _, p in alone.tags] == pytest.approx([p for _, p in found[k].tags], abs=1e-5)


def test_tokens_are_read_as_they_are():
    lm = labeller()
    assert next(lm.predict([("from", "Oslo")])) == next(lm.predict(["from Oslo"]))
    assert next(lm.predict([("New York", "now")])).symbols == ("New York", "now")


def test_a_text_as_people_write_it_is_read_as_one_whose_marks_are_apart():
    """As in the training text; its own spelling stays."""
    vocab = Vocab("word", (*WORDS, ",", "."))
    lm = replace(labeller(vocab=len(vocab), words=len(vocab)), vocab=vocab)
    written, cut = lm.predict(["from Oslo, to York.", "from Oslo , to York ."])
    assert written.symbols == ("from", "Oslo", ",", "to", "York", ".")
    assert replace(written, text=cut.text) == cut
    assert written.text == "from Oslo, to York."
    (tokens,) = lm.predict([("from", "Oslo,")])
    assert tokens.symbols == ("from", "Oslo,")


def test_each_text_has_a_prediction_the_empty_one_too():
    lm = labeller()
    found = [*lm.predict(["from Oslo", "", " ", "now"])]
    assert [one.text for one in found] == ["from Oslo", "", " ", "now"]
    assert [len(one.tags) for one in found] == [2, 0, 0, 1]
    assert sum(p for _, p in found[1].labels) == pytest.approx(1)
    assert dict(found[3].labels) == pytest.approx(dict(next(lm.predict(["now"])).labels), abs=1e-5)


def test_none_asks_for_the_predictions_so_far():
    """As a pipe does before it waits: nothing behind it has been taken."""
    taken = []

    def arriving():
        for text in ("from Oslo", "now", None, "to New York", None):
            taken.append(text)
            yield text

    found = labeller().predict(arriving())
    assert next(found).text == "from Oslo"
    assert taken == ["from Oslo", "now", None]
    assert next(found).text == "now"
    assert taken == ["from Oslo", "now", None]
    assert [one.text for one in found] == ["to New York"]


# ---- several labels ----------------------------------------------------------------------------------------------------


def test_of_several_labels_all_hold_that_are_likelier_than_not():
    lm = labeller(temperature={"labels": 2.0}, several=True, tags=(), scale=2.0)
    numbers = set()
    for text, found in zip(texts(60), lm.predict(texts(60)), strict=True):
        p = 1 / (1 + np.exp(-np.float64(logits_of(lm, text).labels) / 2.0))
        assert dict(found.labels) == pytest.approx(dict(zip("xyz", p, strict=True)), rel=1e-4)
        assert set(found.chosen) == {name for name, one in zip("xyz", p, strict=True) if one >= 0.5}
        numbers.add(len(found.chosen))
    assert len(numbers) > 2


# ---- schemes -----------------------------------------------------------------------------------------------------------


def test_tags_obey_bio_and_are_the_likeliest_that_do():
    """By trying every sequence of tags of short texts; the single likeliest tags would not always obey."""
    lm, broken = labeller(scale=3.0), 0

    def obeys(tags):
        return all(tag[0] != "I" or before in (f"B{tag[1:]}", f"I{tag[1:]}") for before, tag in pairwise(["O", *tags]))

    for text, found in zip(texts(60, longest=5), lm.predict(texts(60, longest=5)), strict=True):
        log_p = np.log(softmax(logits_of(lm, text).tags))
        broken += not obeys([BIO[k] for k in log_p.argmax(1)])
        every = np.array(np.meshgrid(*[range(len(BIO))] * len(log_p), indexing="ij")).reshape(len(log_p), -1)
        sums = np.take_along_axis(log_p, every, 1).sum(0)
        best = max((k for k in np.argsort(-sums)[:500] if obeys([BIO[tag] for tag in every[:, k]])), key=lambda k: sums[k])
        assert [tag for tag, _ in found.tags] == [BIO[tag] for tag in every[:, best]]
    assert broken > 5


@pytest.mark.parametrize(("unit", "text"), [("char", "去北京"), ("word", "New York now"), ("word-punct", "New York now")])
def test_the_text_of_an_entity_is_that_between_its_ends(unit, text):
    """Characters have nothing between them, words a space."""
    lm = replace(labeller(task="tag", labels=()), vocab=Vocab(unit, WORDS))
    found = next(lm.predict([text]))
    spans = replace(found, entities=((Span("city", 0, 2), 0.5), (Span("city", 1, 3), 0.5)))
    assert [one["text"] for one in records.labels(spans)["entities"]] == (
        ["去北", "北京"] if unit == "char" else ["New York", "York now"]
    )


def test_entities_are_the_spans_of_the_tags_with_the_least_probability_in_them():
    lm, seen = labeller(scale=3.0), 0
    for found in lm.predict(texts(40)):
        tags = [tag for tag, _ in found.tags]
        for span, p in found.entities:
            seen += 1
            assert tags[span.start : span.end] == [f"B-{span.label}", *[f"I-{span.label}"] * (span.end - span.start - 1)]
            assert p == min(p for _, p in found.tags[span.start : span.end])
        assert sum(tag[0] == "B" for tag in tags) == len(found.entities)
        assert all(isinstance(span, Span) for span, _ in found.entities)
    assert seen > 20


# ---- calibration and evaluation ----------------------------------------------------------------------------------------


def gold(lm: Labeller, count=150) -> list[Example]:
    """Examples that the model labels right in about two cases of three."""
    random, found = np.random.default_rng(7), []
    for one in lm.predict(texts(count, seed=5)):
        right = random.random() < 0.7
        label = one.chosen[0] if right else str(random.choice([*"xyz"]))
        found.append(Example(one.symbols, (label,), tuple(tag if random.random() < 0.7 else "O" for tag, _ in one.tags)))
    return found


def test_validation_finds_the_temperature_of_the_fewest_nats():
    """Those that it returns are the mean nats at it, of both heads together; no other temperature has fewer."""
    lm = labeller(scale=2.0)
    data = encode(gold(lm), lm.vocab, lm.labels)
    nats, facts = lm.validate(data)
    heads = {
        "tags": (np.concatenate([one.tags for one in lm.logits(data)]), data.tags[data.tags != UNKNOWN]),
        "labels": (np.stack([one.labels for one in lm.logits(data)]), data.labels),
    }

    def mean(logits, ids, temperature):
        return -np.log(softmax(logits / temperature)[np.arange(len(ids)), ids]).mean()

    best = {name: min(np.geomspace(0.05, 20, 400), key=lambda T: mean(*of, T)) for name, of in heads.items()}
    assert facts["temperature"] == pytest.approx(best, rel=0.02)
    wanted = sum(mean(*of, facts["temperature"][name]) for name, of in heads.items())
    assert nats == pytest.approx(wanted, rel=1e-5)


def test_labels_that_training_has_not_seen_do_not_enter_the_nats():
    lm = labeller()
    some = gold(lm)
    others = [example._replace(labels=("new",), tags=("new",) * len(example.text)) for example in some]
    assert lm.validate(encode([*some, *others], lm.vocab, lm.labels))[0] == pytest.approx(
        lm.validate(encode(some, lm.vocab, lm.labels))[0], rel=1e-5
    )


def test_eval_measures_what_predict_says():
    lm = labeller(scale=2.0, temperature={"labels": 1.5, "tags": 0.8})
    examples = gold(lm)
    card, found = labelcard.card(lm, "text", examples, baselines=False), [*lm.predict([one.text for one in examples])]
    right = [one.chosen == example.labels for one, example in zip(found, examples, strict=True)]
    assert card.labels.accuracy == pytest.approx(np.mean(right))
    nats = [-np.log(dict(one.labels)[example.labels[0]]) for one, example in zip(found, examples, strict=True)]
    assert card.labels.nats == pytest.approx(np.mean(nats), rel=1e-4)
    tags = [
        tag == wanted
        for one, example in zip(found, examples, strict=True)
        for (tag, _), wanted in zip(one.tags, example.tags, strict=True)
    ]
    assert card.tags.accuracy == pytest.approx(np.mean(tags))
    assert card.unknown == sum(symbol not in WORDS for one in found for symbol in one.symbols)


# ---- by lmgen.train ----------------------------------------------------------------------------------------------------


def test_a_trained_model_predicts_what_it_learnt_from_its_directory(tmp_path):
    """Its temperature is kept beside its weights; held-out text is labelled right."""
    path = tmp_path / "requests.tsv"
    fillers = [f"{a}{b}" for a in "bdgk" for b in ("ana", "omo", "iti", "unu", "ele")]
    random = np.random.default_rng(0)
    lines = []
    for _ in range(1_000):
        label, word = [("buy", "acquire"), ("sell", "vend"), ("ask", "wonder")][random.integers(3)]
        words = random.choice(fillers, random.integers(2, 7)).tolist()
        words.insert(random.integers(len(words)), word)
        lines.append(f"{label}\t{' '.join(words)}\n")
    path.write_text("".join(lines))
    model = lmgen.train(path, output=tmp_path / "m", size=16, embedding=8, dropout=0.1, learning_rate=0.02, steps=120)
    assert model.predict("bana acquire domo").chosen == ("buy",)
    assert [one.chosen[0] for one in model.predict(["vend kiti", "dana wonder"])] == ["sell", "ask"]
    assert model.evaluate().labels.accuracy > 0.95
    assert model.lm.temperature("labels") != 1.0
    again = lmgen.load(tmp_path / "m").predict("bana acquire domo")
    assert dict(again.labels) == pytest.approx(dict(model.predict("bana acquire domo").labels))
    assert model.predict("").chosen[0] in {"buy", "sell", "ask"}


def test_other_models_do_not_predict(model_path):
    with pytest.raises(InputError, match="a language model and cannot predict labels or translations: use lmgen sample"):
        lmgen.load(model_path).predict("ba")
