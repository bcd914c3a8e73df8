"""Calibration: temperatures against a general optimiser and known truth, errors against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize
from sklearn import metrics
from sklearn.calibration import calibration_curve

from lmgen.labelled import calibration


def softmax(z):
    p = np.exp(z - z.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True)


def drawn(rng, n, K, heat):
    """Logits whose labels are drawn at a temperature."""
    logits = rng.normal(0, 3, (n, K))
    return logits, (softmax(logits / heat).cumsum(1) < rng.random((n, 1))).sum(1)


@pytest.mark.parametrize("heat", [0.3, 1.0, 4.0])
def test_the_temperature_has_the_fewest_nats(heat):
    logits, gold = drawn(np.random.default_rng(1), 4000, 5, heat)
    found = calibration.temperature(logits.astype(np.float32), gold)
    best = optimize.minimize_scalar(
        lambda t: metrics.log_loss(gold, softmax(logits / t), labels=range(5)), bounds=(0.05, 20), options={"xatol": 1e-6}
    )
    assert found == pytest.approx(best.x, rel=1e-3)
    assert found == pytest.approx(heat, rel=0.1)


def test_the_temperature_of_independent_labels_has_the_fewest_nats():
    rng = np.random.default_rng(2)
    logits = rng.normal(0, 3, (3000, 4))
    gold = rng.random(logits.shape) < 1 / (1 + np.exp(-logits / 2.5))

    def nats(t):
        return metrics.log_loss(gold.ravel(), 1 / (1 + np.exp(-logits.ravel() / t)))

    best = optimize.minimize_scalar(nats, bounds=(0.05, 20), options={"xatol": 1e-6})
    assert calibration.temperature_of_several(logits, gold) == pytest.approx(best.x, rel=1e-3)


def test_temperatures_stay_within_bounds():
    gold = np.arange(60) % 3
    right = 5.0 * np.eye(3)[gold]
    assert calibration.temperature(right, gold) == pytest.approx(0.05, rel=1e-3)
    assert calibration.temperature(right, (gold + 1) % 3) == pytest.approx(20, rel=1e-3)
    assert calibration.temperature(right * 1e30, gold) == pytest.approx(0.05, rel=1e-3)
    assert calibration.temperature(right[:19], gold[:19]) == 1.0
    assert calibration.temperature_of_several(right[:19], right[:19] > 0) == 1.0


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60), st.integers(1, 20))
def test_the_calibration_error_is_that_of_the_bins_of_scikit_learn(pairs, bins):
    confidence, correct = (np.array(column) for column in zip(*pairs, strict=True))
    right, mean = calibration_curve(correct, confidence, n_bins=bins)
    sizes = np.bincount(np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], confidence))
    expected = (np.abs(right - mean) * sizes[sizes > 0]).sum() / len(pairs)
    assert calibration.calibration_error(confidence, correct, bins) == pytest.approx(expected, abs=1e-12)


def test_calibration_error_by_hand():
    confidence, correct = np.array([0.9, 0.9, 0.6, 0.6]), np.array([True, False, True, True])
    assert calibration.calibration_error(confidence, correct, 10) == pytest.approx((2 * 0.4 + 2 * 0.4) / 4)


def test_the_brier_score_is_that_of_scikit_learn():
    logits, gold = drawn(np.random.default_rng(3), 200, 4, 1.0)
    p = softmax(logits)
    expected = metrics.brier_score_loss(gold, p, labels=range(4), scale_by_half=False)
    assert calibration.brier(p, gold) == pytest.approx(expected)
    assert calibration.brier(p, np.eye(4, dtype=bool)[gold]) == pytest.approx(expected)
