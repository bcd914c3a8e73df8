"""Confidence that means what it says: temperatures fitted on held-out nats, and how far confidence is off.

n predictions, K labels; `gold` has the right label of each as an id, or whether each label is right as bool [n, K].
"""

from __future__ import annotations

import numpy as np

LEAST, MOST = 0.05, 20.0  # temperatures
ENOUGH = 20  # predictions to fit a temperature


def temperature(logits: np.ndarray, gold: np.ndarray) -> float:
    """The T in [0.05, 20] at which softmax(logits [n, K] / T) has the fewest nats of gold ids [n] (Guo et al. 2017).

    1.0 where there are fewer than 20 predictions. The nats are convex in 1 / T, so their slope is bisected.
    """
    if len(logits) < ENOUGH:
        return 1.0
    z = logits.astype(np.float64)
    z -= z.max(1, keepdims=True)
    right = z[np.arange(len(z)), gold].mean()
    low, high = np.log(LEAST), np.log(MOST)
    for _ in range(24):
        middle = (low + high) / 2
        p = np.exp(z / np.exp(middle))
        too_high = ((p * z).sum(1) / p.sum(1)).mean() <= right
        low, high = (low, middle) if too_high else (middle, high)
    return float(np.exp((low + high) / 2))


def temperature_of_several(logits: np.ndarray, gold: np.ndarray) -> float:
    """The same for independent labels: sigmoid(logits [n, K] / T), gold bool [n, K]."""
    if len(logits) < ENOUGH:
        return 1.0
    flat = logits.reshape(-1)
    return temperature(np.stack([np.zeros_like(flat), flat], 1), gold.reshape(-1).astype(np.intp))  # no and yes


def calibration_error(confidence: np.ndarray, correct: np.ndarray, bins: int = 15) -> float:
    """The expected calibration error: |accuracy − mean confidence| of bins of equal width, each weighted by its predictions.

    confidence [n] in 0 to 1, correct bool [n], n > 0 (Naeini et al. 2015).
    """
    places = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], confidence)
    return float(np.abs(np.bincount(places, confidence - correct)).sum() / len(confidence))


def brier(p: np.ndarray, gold: np.ndarray) -> float:
    """The mean over predictions of Σ_k (p_k − 1 if k is right, else p_k)², 0 at best (Brier 1950): p [n, K], n > 0."""
    right = gold if gold.ndim == 2 else gold[:, None] == np.arange(p.shape[1])
    return float(np.square(p - right).sum(1).mean())
