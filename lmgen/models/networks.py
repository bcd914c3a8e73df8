"""The language models that are networks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from lmgen.data.vocab import Vocab
from lmgen.errors import CheckpointError
from lmgen.nn import model

State = Any


class LanguageModel(Protocol):
    """What sampling and measuring ask of a model."""

    @property
    def vocab(self) -> Vocab:
        """Its symbols."""

    @property
    def carry(self) -> bool:
        """Whether the state flows on over EOS."""

    @property
    def sequence(self) -> str:
        """What a sequence of its corpus was: a line, a paragraph, a file."""

    @property
    def known(self) -> np.ndarray | None:
        """The sorted fingerprints of its corpus's sequences."""

    def start(self, batch: int) -> State:
        """The state before anything is read."""

    def read(self, state: State, ids: Any) -> tuple[State, Any]:
        """Read ids [T, B]; the state after them and the logits [T, B, V] of what follows each."""

    def nats(self, state: State, window: Any) -> tuple[State, Any]:
        """Read window[:-1] of [T + 1, B]; the state after it and −ln p [T, B] of each following id."""

    def stepper(self) -> tuple[Any, Callable[[Any, State, Array], tuple[State, Array]]] | None:
        """Weights, and a function (weights, state, ids [B]) -> (state, logits [B, V]) that a compiled loop can call; None where
        there is no such function."""


@dataclass(frozen=True, eq=False)
class Network:
    """A network with its weights, its vocabulary and what its corpus said of text.

    `known` holds the sorted fingerprints of the corpus's sequences, `sequence` what a sequence was (line, paragraph, file).
    """

    config: model.NetworkConfig
    params: model.Params
    vocab: Vocab
    precision: str = "f32"
    sequence: str = "line"
    known: np.ndarray | None = None
    path: Path | None = None
    about: Any = None

    @property
    def carry(self) -> bool:
        """Whether the state flows on over EOS."""
        return self.config.carry

    def start(self, batch: int) -> State:
        """The state before anything is read, from the left or from the right."""
        return model.start(self.config, batch)


class Recurrent(Network):
    """A recurrent language model."""

    def read(self, state: State, ids: ArrayLike) -> tuple[State, Array]:
        return _read(self.config, self.precision, self.params, state, ids)

    def nats(self, state: State, window: Array) -> tuple[State, Array]:
        return _nats(self.config, self.precision, self.params, state, window)

    def stepper(self) -> tuple[Any, Callable[[Any, State, Array], tuple[State, Array]]]:
        # A step of few rows reads the weights more than it computes: rounding them anew each time would cost more than it saves.
        return self.params, _stepper(self.config, "f32")


class Cloze(Network):
    """A cloze model: two stacks, one from each side, that say what stands between."""

    def back(self, state: State, ids: ArrayLike, beyond: ArrayLike) -> State:
        """The right state after reading ids [T, B] from the last to the first; where `beyond` is true the text has ended."""
        return _back(self.config, self.precision, self.params, state, ids, beyond)

    def nats(self, left: State, right: State, window: ArrayLike, beyond: ArrayLike) -> tuple[State, Array]:
        """The left state after a window [T + 2, B] and −ln p [T, B] of its inner ids, each given all others; 0 if not counted."""
        return _nats_between(self.config, self.precision, self.params, left, right, window, beyond)

    def counted(self, targets: np.ndarray) -> np.ndarray:
        """Which ids are counted: all, but for EOS where sequences are independent, since their ends are given."""
        return np.asarray(model.counted(self.config, jax.numpy.asarray(targets)))

    def logits(self, window: ArrayLike, beyond: ArrayLike, place: ArrayLike) -> Array:
        """The logits [B, V] of what stands at one place of each whole text [T + 2, B], given all the rest of it."""
        return _logits_between(self.config, self.precision, self.params, window, beyond, place)


@cache
def _stepper(config: model.NetworkConfig, precision: str) -> Callable[[Any, State, Array], tuple[State, Array]]:
    def step(params: model.Params, state: State, ids: Array) -> tuple[State, Array]:
        state, hs = model.read(config, precision, params, state, ids[None])
        return state, model.logits(params, hs[0], precision)

    return step


@partial(jax.jit, static_argnums=(0, 1))
def _read(config: model.NetworkConfig, precision: str, params: model.Params, state: State, ids: Any) -> tuple[State, Array]:
    state, hs = model.read(config, precision, params, state, ids)
    return state, model.logits(params, hs, precision)


@partial(jax.jit, static_argnums=(0, 1))
def _nats(config: model.NetworkConfig, precision: str, params: model.Params, state: State, window: Array) -> tuple[State, Array]:
    state, hs = model.read(config, precision, params, state, window[:-1])
    return state, model.nats(params, hs, window[1:], precision)


@partial(jax.jit, static_argnums=(0, 1))
def _back(config: model.NetworkConfig, precision: str, params: model.Params, state: State, ids: Any, beyond: Any) -> State:
    return model.read_back(config, precision, params, state, ids, beyond)[0]


@partial(jax.jit, static_argnums=(0, 1))
def _nats_between(
    config: model.NetworkConfig, precision: str, params: model.Params, left: State, right: State, window: Any, beyond: Any
) -> tuple[State, Array]:
    left, hs = model.read_between(config, precision, params, left, right, window, beyond)
    targets = window[1:-1]
    return left, jax.numpy.where(model.counted(config, targets), model.nats(params, hs, targets, precision), 0)


@partial(jax.jit, static_argnums=(0, 1))
def _logits_between(
    config: model.NetworkConfig, precision: str, params: model.Params, window: Any, beyond: Any, place: Any
) -> Array:
    start = model.start(config, window.shape[1])
    _, hs = model.read_between(config, precision, params, start, start, window, beyond)
    return model.logits(params, hs[place - 1, jax.numpy.arange(window.shape[1])], precision)


KINDS: dict[str, type[Recurrent] | type[Cloze]] = {"forward": Recurrent, "both": Cloze}


def sound(numbers: np.ndarray) -> np.ndarray:
    """What a model computed, if all of it is finite. Raises CheckpointError where it is not: weights can be too large."""
    if not np.isfinite(numbers).all():
        raise CheckpointError("the weights of this model lead to numbers that are not finite: train it anew")
    return numbers
