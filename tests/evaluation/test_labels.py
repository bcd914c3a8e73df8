"""Labels: measures against scikit-learn and seqscore, intervals against a loop of resamples and known truth."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqscore.scoring import score_label_sequences
from sklearn import metrics

from lmgen.errors import InputError
from lmgen.evaluation import labels

TAGS = ["O", "B-x", "I-x", "B-y", "I-y"]
pairs = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40)


@given(pairs)
def test_measures_of_labels_are_those_of_scikit_learn(pairs):
    gold, predicted = (np.array(column) for column in zip(*pairs, strict=True))
    counts = labels.of_labels(gold, predicted, 5).total
    rows = metrics.precision_recall_fscore_support(gold, predicted, labels=range(5), zero_division=0)
    for ours, theirs in zip((labels.precision, labels.recall, labels.f1), rows, strict=False):
        np.testing.assert_allclose(ours(counts), theirs)
    assert (counts.gold == rows[3]).all()
    assert labels.accuracy(counts) == pytest.approx(metrics.accuracy_score(gold, predicted))
    assert labels.macro_f1(counts) == pytest.approx(metrics.f1_score(gold, predicted, average="macro", zero_division=0))
    assert labels.micro_f1(counts) == pytest.approx(metrics.f1_score(gold, predicted, average="micro"))
    assert (labels.confusion(gold, predicted, 5) == metrics.confusion_matrix(gold, predicted, labels=range(5))).all()


@given(st.integers(0, 2**32), st.integers(1, 30))
def test_measures_of_several_labels_are_those_of_scikit_learn(seed, n):
    gold, predicted = np.random.default_rng(seed).random((2, n, 3)) < 0.4
    counts = labels.of_sets(gold, predicted).total
    np.testing.assert_allclose(labels.f1(counts), metrics.f1_score(gold, predicted, average=None, zero_division=0))
    assert labels.micro_f1(counts) == pytest.approx(metrics.f1_score(gold, predicted, average="micro", zero_division=0))


@given(st.lists(st.lists(st.tuples(st.sampled_from(TAGS), st.sampled_from(TAGS)), min_size=1, max_size=9), max_size=5))
def test_measures_of_spans_are_those_of_seqscore(sequences):
    gold, predicted = ([[pair[side] for pair in one] for one in sequences] for side in (0, 1))
    names, counts = labels.of_spans(gold, predicted, "BIO")
    scores, _ = score_label_sequences(predicted, gold, "BIO", repair="conlleval")
    assert labels.micro_f1(counts.total) == pytest.approx(scores.f1)
    assert names == sorted(scores.type_scores)
    for measure, part in ((labels.precision, "precision"), (labels.recall, "recall"), (labels.f1, "f1")):
        np.testing.assert_allclose(measure(counts.total), [getattr(scores.type_scores[name], part) for name in names])


def test_no_label_is_neither_right_nor_predicted():
    counts = labels.of_labels(np.array([0, 1, -1, -1]), np.array([0, -1, 1, -1]), 2).total
    assert [part.tolist() for part in counts] == [[1, 0], [1, 1], [1, 1]]


def test_counts_of_very_many_sequences_share_blocks():
    rng = np.random.default_rng(0)
    gold, predicted, sequence = rng.integers(0, 3, 9000), rng.integers(0, 3, 9000), np.arange(9000) // 3
    counts = labels.of_labels(gold, predicted, 3, sequence)
    assert counts.gold.shape == (1024, 3)
    assert set(counts.gold.sum(1)) == {6, 9}  # whole sequences
    assert counts.total.gold.tolist() == np.bincount(gold).tolist()


def test_nothing_at_all_is_counted():
    none = np.array([], np.intp)
    for counts in (labels.of_labels(none, none, 2), labels.of_sets(np.zeros((0, 2), bool), np.zeros((0, 2), bool))):
        assert [float(measure(counts.total)) for measure in labels.MEASURES.values()] == [0, 0, 0]
    assert labels.of_spans([], [], "BIO")[0] == []


# ---- intervals ---------------------------------------------------------------------------------------------------------


def tagged(rng, sequences, right=0.8):
    """Gold ids, predicted ids and the sequence of each, where whole sequences are easy or hard."""
    sequence = np.repeat(np.arange(sequences), rng.integers(1, 9, sequences))
    gold = rng.integers(0, 3, len(sequence))
    ease = np.clip(rng.normal(right, 0.15, sequences), 0, 1)[sequence]
    return gold, np.where(rng.random(len(gold)) < ease, gold, (gold + 1) % 3), sequence


@pytest.mark.parametrize("name", labels.MEASURES)
def test_the_interval_is_that_of_a_loop_of_resamples(name):
    gold, predicted, sequence = tagged(np.random.default_rng(1), 200)
    places = [np.flatnonzero(sequence == k) for k in range(200)]
    theirs = {
        "accuracy": metrics.accuracy_score,
        "macro_f1": lambda *two: metrics.f1_score(*two, average="macro"),
        "micro_f1": lambda *two: metrics.f1_score(*two, average="micro"),
    }[name]
    rng, values = np.random.default_rng(2), []
    for _ in range(400):
        some = np.concatenate([places[k] for k in rng.integers(0, 200, 200)])
        values.append(theirs(gold[some], predicted[some]))
    found = labels.interval(labels.MEASURES[name], labels.of_labels(gold, predicted, 3, sequence))
    np.testing.assert_allclose(found, np.quantile(values, [0.025, 0.975]), atol=0.012)


def test_the_interval_holds_the_truth_as_often_as_it_says():
    held = []
    for seed in range(150):
        gold, predicted, sequence = tagged(np.random.default_rng(seed), 60, 0.5)
        low, high = labels.interval(labels.accuracy, labels.of_labels(gold, predicted, 3, sequence))
        held.append(low < 0.5 < high)
    assert 0.90 <= np.mean(held) <= 0.99


def test_a_paired_interval_is_narrower_than_two():
    rng = np.random.default_rng(3)
    gold, predicted, sequence = tagged(rng, 300)
    better = np.where(rng.random(len(gold)) < 0.1, gold, predicted)
    ours, theirs = (labels.of_labels(gold, guess, 3, sequence) for guess in (better, predicted))
    low, high = labels.paired(labels.accuracy, ours, theirs)
    assert 0 < low < np.mean(better == gold) - np.mean(predicted == gold) < high
    assert high - low < np.ptp(labels.interval(labels.accuracy, ours))
    assert labels.paired(labels.macro_f1, ours, ours) == (0, 0)
    with pytest.raises(ValueError, match="same sequences"):
        labels.paired(labels.accuracy, ours, labels.of_labels(gold[:40], gold[:40], 3))


def test_intervals_need_twenty_sequences_and_are_always_the_same():
    gold, predicted = np.arange(20) % 2, np.arange(20) % 3 % 2
    counts, fewer = (labels.of_labels(gold[:n], predicted[:n], 2) for n in (20, 19))
    assert labels.interval(labels.macro_f1, counts) == labels.interval(labels.macro_f1, counts)
    assert labels.interval(labels.macro_f1, fewer) is labels.paired(labels.macro_f1, fewer, fewer) is None


# ---- plots -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("K", [1, 6, 200])
def test_a_plot_is_a_picture_and_overwrites_nothing(K):
    pytest.importorskip("matplotlib")
    names = ["$a_b$", "地名", "\x1b[2J" + "long" * 100, "", *(f"label {k}" for k in range(K))][:K]
    confusion = np.random.default_rng(0).integers(0, 9, (K, K)) * (np.arange(K) > 0)[:, None]
    labels.plot(confusion, names, Path("confusion.png"))
    assert Path("confusion.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InputError, match="nothing is overwritten"):
        labels.plot(confusion, names, Path("confusion.png"))


def test_a_plot_shows_the_shares_of_the_most_frequent_labels():
    pytest.importorskip("matplotlib")
    names = [f"label {k}" for k in range(70)]
    labels.plot(np.diag(np.arange(70)), names, Path("many.svg"))
    labels.plot(np.array([[1, 3], [0, 2]]), names[:2], Path("two.svg"))
    many, two = Path("many.svg").read_text("utf-8"), Path("two.svg").read_text("utf-8")
    assert "<!-- label 10 -->" in many
    assert "<!-- label 9 -->" not in many
    assert "<!-- the 60 most frequent of 70 labels -->" in many
    assert [two.count(f"<!-- {number} -->") for number in (25, 75, 100)] == [1, 1, 1]


def test_matplotlib_is_an_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    with pytest.raises(InputError, match="pip install matplotlib"):
        labels.plot(np.eye(2), ["a", "b"], Path("confusion.png"))
    assert not Path("confusion.png").exists()
