"""The card of a labelled text: figures of chosen logits against tables worked by hand, scikit-learn and seqscore."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator

import numpy as np
import pytest
from seqscore.scoring import score_label_sequences
from sklearn import metrics

import lmgen
from lmgen.applied.labeller import Labeller, Logits
from lmgen.data.vocab import Vocab
from lmgen.errors import InputError
from lmgen.evaluation.cards import labelcard
from lmgen.labelled.examples import Example
from lmgen.models.provenance import Provenance
from lmgen.networks.labelling import LabelConfig

VOCAB = Vocab("word", ("a", "b", "c"))
TAGS = ("B-x", "B-y", "I-x", "I-y", "O")


class Fixed(Labeller):
    """A model with no weights, whose logits are given."""

    given: list[Logits]

    def logits(self, data) -> Iterator[Logits]:
        return iter(self.given)


def model(given: list[Logits], **config) -> Fixed:
    made = Fixed(LabelConfig(vocab=len(VOCAB), words=len(VOCAB), **config), {}, VOCAB, "f32", Provenance())
    object.__setattr__(made, "given", given)
    return made


def classes(p: list[list[float]], **config) -> Fixed:
    """A model that gives each text these probabilities of good, bad and ugly."""
    return model([Logits(None, np.log(row)) for row in p], labels=("good", "bad", "ugly"), **config)


def measured(lm: Fixed, *examples: Example) -> labelcard.LabelCard:
    return labelcard.card(lm, "x.tsv", examples, baselines=False)


def naive_calibration_error(confidence: list[float], right: list[bool], bins: int = 15) -> float:
    """The mean distance of confidence and accuracy over equal bins, weighted by their sizes (Guo et al. 2017)."""
    total = 0.0
    for k in range(bins):
        inside = [(c, r) for c, r in zip(confidence, right, strict=True) if k / bins < c <= (k + 1) / bins]
        total += abs(sum(c - r for c, r in inside))
    return total / len(confidence)


def test_a_card_worked_by_hand():
    """Four texts, of which the last has a label that training never saw: three of four are right but for that one."""
    p = [[0.7, 0.2, 0.1], [0.5, 0.3, 0.2], [0.1, 0.8, 0.1], [0.6, 0.3, 0.1]]
    card = measured(classes(p), *(Example("a b z", (label,)) for label in ("good", "bad", "bad", "new")))
    assert (card.sequences, card.symbols, card.unknown, card.tags) == (4, 12, 4, None)
    found = card.labels
    assert found.names == ["good", "bad", "ugly", "new"]
    assert (found.count, found.unseen, found.main, found.interval) == (4, 1, "accuracy", None)
    assert found.confusion.tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]]
    assert found.accuracy == found.micro_f1 == found.value == 0.5
    rows = {row.label: (row.precision, row.recall, row.f1, row.support) for row in found.rows}
    assert rows == {
        "good": (pytest.approx(1 / 3), 1, 0.5, 1),
        "bad": (1, 0.5, pytest.approx(2 / 3), 2),
        "new": (0, 0, 0, 1),
    }
    assert found.macro_f1 == pytest.approx((0.5 + 2 / 3 + 0) / 3)
    assert found.nats == pytest.approx(-(math.log(0.7) + math.log(0.3) + math.log(0.8) + math.log(labelcard.ABSENT)) / 4)
    brier = [0.3**2 + 0.2**2 + 0.1**2, 0.5**2 + 0.7**2 + 0.2**2, 0.1**2 + 0.2**2 + 0.1**2, 1 + 0.6**2 + 0.3**2 + 0.1**2]
    assert found.brier == pytest.approx(sum(brier) / 4)
    assert found.calibration_error == pytest.approx((0.3 + 0.5 + 0.2 + 0.6) / 4)


@pytest.mark.parametrize("seed", range(3))
def test_the_figures_of_classes_are_those_of_scikit_learn(seed):
    random = np.random.default_rng(seed)
    p = random.dirichlet([1, 1, 1], 60)
    gold = random.integers(0, 3, 60)
    names = ("good", "bad", "ugly")
    card = measured(classes(p.tolist()), *(Example("a", (names[k],)) for k in gold)).labels
    predicted = p.argmax(1)
    assert card.accuracy == pytest.approx(metrics.accuracy_score(gold, predicted))
    assert card.macro_f1 == pytest.approx(metrics.f1_score(gold, predicted, average="macro"))
    assert card.nats == pytest.approx(metrics.log_loss(gold, p))
    assert card.brier == pytest.approx(np.square(p - np.eye(3)[gold]).sum(1).mean())
    assert card.calibration_error == pytest.approx(naive_calibration_error(p.max(1).tolist(), (gold == predicted).tolist()))
    assert (card.confusion == metrics.confusion_matrix(gold, predicted)).all()
    low, high = card.interval
    assert low < card.accuracy < high


@pytest.mark.parametrize("seed", range(3))
def test_the_figures_of_several_labels_are_those_of_scikit_learn(seed):
    """Each label holds by itself where it is at least as likely as not; a text may have none."""
    random = np.random.default_rng(seed)
    p = random.random((50, 3))
    gold = random.random((50, 3)) < 0.4
    names = np.array(["good", "bad", "ugly"])
    lm = model([Logits(None, np.log(row / (1 - row))) for row in p], labels=tuple(names), several=True)
    card = measured(lm, *(Example("a", tuple(names[row])) for row in gold)).labels
    predicted = p >= 0.5
    assert card.main == "micro_f1"
    assert card.accuracy == pytest.approx(metrics.accuracy_score(gold, predicted))
    assert card.value == pytest.approx(metrics.f1_score(gold, predicted, average="micro"))
    assert [row.f1 for row in card.rows] == pytest.approx(metrics.f1_score(gold, predicted, average=None))
    assert card.nats == pytest.approx(3 * metrics.log_loss(gold.ravel(), p.ravel()))
    assert card.brier == pytest.approx(np.square(p - gold).sum(1).mean())
    confidence = np.maximum(p, 1 - p).ravel().tolist()
    assert card.calibration_error == pytest.approx(naive_calibration_error(confidence, (gold == predicted).ravel().tolist()))
    assert card.confusion is None


@pytest.mark.parametrize("seed", range(3))
def test_the_entity_f1_is_that_of_seqscore(seed):
    """Predicted tags obey BIO; gold ones that break it have spans by the rule of conlleval."""
    random = np.random.default_rng(seed)
    lengths = random.integers(1, 7, 30)
    logits = [random.normal(size=(n, len(TAGS))) * 3 for n in lengths]
    gold = [[TAGS[k] for k in random.integers(0, len(TAGS), n)] for n in lengths]
    lm = model([Logits(one, None) for one in logits], tags=TAGS, task="tag")
    card = measured(lm, *(Example(("a",) * len(tags), (), tuple(tags)) for tags in gold))
    predicted = [[tag for tag, _ in one.tags] for one in lm.predict(("a",) * n for n in lengths)]
    scores, _ = score_label_sequences(predicted, gold, "BIO", repair="conlleval")
    assert card.entity_f1 == card.tags.value == pytest.approx(scores.f1)
    assert {row.label: row.f1 for row in card.tags.entities} == pytest.approx({k: v.f1 for k, v in scores.type_scores.items()})
    flat_gold, flat = ([tag for tags in some for tag in tags] for some in (gold, predicted))
    assert card.accuracy == pytest.approx(metrics.accuracy_score(flat_gold, flat))
    p = np.concatenate([np.exp(one) / np.exp(one).sum(1, keepdims=True) for one in logits])
    assert card.tags.nats == pytest.approx(metrics.log_loss(flat_gold, p, labels=TAGS))
    confidence = p[np.arange(len(flat)), [TAGS.index(tag) for tag in flat]].tolist()
    right = [a == b for a, b in zip(flat_gold, flat, strict=True)]
    assert card.tags.calibration_error == pytest.approx(naive_calibration_error(confidence, right))


def test_gold_tags_in_iobes_have_the_same_spans_as_in_bio():
    """A model of BIO tags is right about a span, however its gold tags are spelt."""
    logits = np.full((4, len(TAGS)), -9.0)
    for at, tag in enumerate(["B-x", "I-x", "O", "B-y"]):
        logits[at, TAGS.index(tag)] = 9
    lm = model([Logits(logits, None)] * 2, tags=TAGS, task="tag")
    gold = (("B-x", "E-x", "O", "S-y"), ("S-x", "S-x", "O", "S-y"))
    card = measured(lm, *(Example(("a",) * 4, (), tags) for tags in gold)).tags
    rows = {row.label: (row.precision, row.recall, row.support) for row in card.entities}
    assert rows == {"x": (0.5, pytest.approx(1 / 3), 3), "y": (1, 1, 2)}
    assert card.entity_f1 == pytest.approx(2 * 3 / (4 + 5))


def test_of_several_labels_beside_a_model_of_one_the_first_counts_and_that_is_told():
    p = [[0.7, 0.2, 0.1], [0.7, 0.2, 0.1]]
    card = measured(classes(p), Example("a", ("good", "bad")), Example("a", ("bad",)))
    assert (card.accuracy, card.further, card.as_dict()["further"]) == (0.5, 1, 1)


def test_the_temperature_changes_the_confidence_and_not_the_verdict():
    logits = [Logits(None, np.log([0.7, 0.2, 0.1])), Logits(None, np.log([0.2, 0.5, 0.3]))]
    examples = [Example("a", ("good",)), Example("a", ("good",))]
    cards = []
    for temperature in (1.0, 2.0):
        lm = model(logits, labels=("good", "bad", "ugly"))
        object.__setattr__(lm, "provenance", Provenance(about={"temperature": {"labels": temperature}}))
        cards.append(measured(lm, *examples).labels)
    assert cards[0].accuracy == cards[1].accuracy
    p = np.sqrt([0.7, 0.2, 0.1]) / np.sqrt([0.7, 0.2, 0.1]).sum(), np.sqrt([0.2, 0.5, 0.3]) / np.sqrt([0.2, 0.5, 0.3]).sum()
    assert cards[1].nats == pytest.approx(-np.log([p[0][0], p[1][0]]).mean())


def test_a_text_without_what_the_model_predicts_is_a_sentence():
    lm = classes([[0.7, 0.2, 0.1]])
    with pytest.raises(InputError, match=r"x\.tsv, line 7 has no labels, which this model predicts: give a text that has them"):
        measured(lm, Example("a", (), None, 7))
    lm = model([Logits(np.zeros((1, len(TAGS))), None)], tags=TAGS, task="tag")
    with pytest.raises(InputError, match=r"x\.tsv, line 8 has no tags, which"):
        measured(lm, Example("a", ("good",), None, 8))
    with pytest.raises(InputError, match=r"there is no text in x\.tsv"):
        measured(classes([]))


def test_tags_that_do_not_fit_the_symbols_are_a_sentence():
    lm = model([Logits(np.zeros((2, len(TAGS))), None)], tags=TAGS, task="tag")
    with pytest.raises(InputError, match=r"x\.tsv, line 3: 1 tag for 2 symbols"):
        measured(lm, Example("a b", (), ("O",), 3))


def test_baselines_are_fitted_on_the_training_part_and_beside_each_part(tmp_path):
    """The majority of the training text, by hand; without that text a card says why it has none."""
    folder = tmp_path / "data"
    folder.mkdir()
    for name, line in {"seq.in": "a b", "seq.out": "O B-x", "label": "good"}.items():
        other = {"seq.in": "a c", "seq.out": "O O", "label": "bad"}[name]
        (folder / name).write_text(f"{line}\n" * 9 + f"{other}\n" * 6)
    lm = lmgen.train(folder, output=tmp_path / "m", steps=2, size=4, embedding=4, input="symbol")
    (card,) = lm.cards(folder)
    assert {rule.name: rule.value for rule in card.labels.baselines} == {"majority": 9 / 15, "naive Bayes": 1}
    assert {rule.name: rule.value for rule in card.tags.baselines} == {"most frequent tag": 1}
    json.dumps(card.as_dict())
    (folder / "label").unlink()
    (folder / "seq.out").write_text("O B-x\n" * 15)
    for name, line in {"seq.in": "a b\n", "seq.out": "O B-x\n", "label": "good\n"}.items():
        (tmp_path / name).write_text(line)
    (card,) = lmgen.load(tmp_path / "m").cards(tmp_path)
    assert not card.labels.baselines
    assert card.lack
