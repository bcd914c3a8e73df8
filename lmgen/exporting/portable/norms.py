"""Functions of vectors."""

from __future__ import annotations

import numpy as np


def sigmoid(a):
    return 0.5 * np.tanh(0.5 * a) + 0.5


def softplus(a):
    return np.logaddexp(np.float32(0), a)


def softmax(logits):
    p = np.exp(logits - logits.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True)


def log_softmax(logits):
    logits = logits - logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def normalised(x, gain, shift):
    """Mean 0 and deviation 1, times gain, plus shift (layer norm)."""
    x = x - x.mean()
    return x / np.sqrt((x * x).mean() + np.float32(1e-5)) * gain + shift
