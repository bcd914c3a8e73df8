"""Two models that write together: the probability of each symbol is a weighted mean of theirs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jax.typing import ArrayLike

from lmgen.errors import InputError
from lmgen.models.capabilities import Generates, Model, State, require


@dataclass(frozen=True, eq=False)
class Mixture(Generates):
    """p = (1 − weight) p₁ + weight p₂, with the settings and the corpus of the first model."""

    one: Generates
    other: Generates
    weight: float

    def __getattr__(self, name: str) -> Any:
        if name not in ("kind", "config", "vocab", "provenance"):
            raise AttributeError(name)
        return getattr(self.one, name)

    def fingerprints(self, text: str) -> list[int]:
        return self.one.fingerprints(text)

    def start(self, batch: int) -> State:
        return self.one.start(batch), self.other.start(batch)

    def read(self, state: State, ids: ArrayLike) -> tuple[State, np.ndarray]:
        (one, first), (other, second) = self.one.read(state[0], ids), self.other.read(state[1], ids)
        shares = np.log1p(-self.weight) if self.weight < 1 else -np.inf, np.log(self.weight) if self.weight else -np.inf
        return (one, other), np.logaddexp(shares[0] + _log_p(first), shares[1] + _log_p(second)).astype(np.float32)

    def nats(self, state: State, window: ArrayLike) -> tuple[State, np.ndarray]:
        window = np.asarray(window)
        state, log_p = self.read(state, window[:-1])
        return state, -np.take_along_axis(log_p, window[1:, :, None].astype(np.int64), -1)[..., 0]


def _log_p(logits: Any) -> np.ndarray:
    numbers = np.asarray(logits, np.float64)
    high = numbers.max(-1, keepdims=True)
    return numbers - high - np.log(np.exp(numbers - high).sum(-1, keepdims=True))


def mixture(one: Model, other: Model, weight: float) -> Mixture:
    """Two models that write, mixed. Raises InputError where they do not know the same symbols, or do not both carry a state."""
    way_out = "mix two models that write text"
    first, second = require(one, Generates, way_out), require(other, Generates, way_out)
    if first.vocab != second.vocab:
        raise InputError(
            "the two models do not have the same symbols, so they cannot be mixed: train both on one text with one --unit"
        )
    if first.carry != second.carry:
        raise InputError("one of the two models carries its state from line to line and the other does not: mix two of a kind")
    return Mixture(first, second, weight)
