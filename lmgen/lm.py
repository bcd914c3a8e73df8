"""The one interface of every language model, and the loading of whatever kind a model directory holds.

A model starts a state and reads ids: `start(batch)` and `read(state, ids [T, B]) -> (state, logits [T, B, V])`. A window of T ids
scores, a prompt of T ids primes, T = 1 samples. A cloze model is another thing: it says what stands between what is known on both
sides, so it scores and fills blanks, and cannot sample. Shapes: T time, B batch, V vocabulary.
"""

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

from lmgen import arrayfile, checkpoint, devices, directories, model, ngram, schema, trees
from lmgen.arguments import MOST_LAYERS
from lmgen.cells import CELLS
from lmgen.errors import CheckpointError
from lmgen.vocab import Vocab

SANE = 1e6  # nats; no text is long enough for less likely n-grams
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

    config: model.Config
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


@dataclass(frozen=True)
class Counted:
    """An n-gram model, with the same attributes as a network."""

    config: ngram.Config
    levels: list[ngram.Level]
    vocab: Vocab
    sequence: str = "line"
    known: np.ndarray | None = None
    path: Path | None = None
    about: Any = None

    @property
    def carry(self) -> bool:
        """Whether contexts reach back over EOS."""
        return self.config.carry

    def start(self, batch: int) -> State:
        return ngram.start(self.levels, batch)

    def read(self, state: State, ids: ArrayLike) -> tuple[State, np.ndarray]:
        return ngram.read(self.levels, self.config, state, np.asarray(ids))

    def nats(self, state: State, window: ArrayLike) -> tuple[State, np.ndarray]:
        state, nats = ngram.nats(self.levels, self.config, state, np.asarray(window))
        if (nats < -1e-3).any():  # more than rounding
            raise CheckpointError("this n-gram model gives a symbol a probability above 1: fit it anew")
        return state, nats

    def stepper(self) -> None:
        return None


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
def _stepper(config: model.Config, precision: str) -> Callable[[Any, State, Array], tuple[State, Array]]:
    def step(params: model.Params, state: State, ids: Array) -> tuple[State, Array]:
        state, hs = model.read(config, precision, params, state, ids[None])
        return state, model.logits(params, hs[0], precision)

    return step


@partial(jax.jit, static_argnums=(0, 1))
def _read(config: model.Config, precision: str, params: model.Params, state: State, ids: Any) -> tuple[State, Array]:
    state, hs = model.read(config, precision, params, state, ids)
    return state, model.logits(params, hs, precision)


@partial(jax.jit, static_argnums=(0, 1))
def _nats(config: model.Config, precision: str, params: model.Params, state: State, window: Array) -> tuple[State, Array]:
    state, hs = model.read(config, precision, params, state, window[:-1])
    return state, model.nats(params, hs, window[1:], precision)


@partial(jax.jit, static_argnums=(0, 1))
def _back(config: model.Config, precision: str, params: model.Params, state: State, ids: Any, beyond: Any) -> State:
    return model.read_back(config, precision, params, state, ids, beyond)[0]


@partial(jax.jit, static_argnums=(0, 1))
def _nats_between(
    config: model.Config, precision: str, params: model.Params, left: State, right: State, window: Any, beyond: Any
) -> tuple[State, Array]:
    left, hs = model.read_between(config, precision, params, left, right, window, beyond)
    targets = window[1:-1]
    return left, jax.numpy.where(model.counted(config, targets), model.nats(params, hs, targets, precision), 0)


@partial(jax.jit, static_argnums=(0, 1))
def _logits_between(config: model.Config, precision: str, params: model.Params, window: Any, beyond: Any, place: Any) -> Array:
    start = model.start(config, window.shape[1])
    _, hs = model.read_between(config, precision, params, start, start, window, beyond)
    return model.logits(params, hs[place - 1, jax.numpy.arange(window.shape[1])], precision)


KINDS: dict[str, type[Recurrent] | type[Cloze]] = {"forward": Recurrent, "both": Cloze}


def load(name: str | Path | None = None, precision: str = "auto") -> Recurrent | Cloze | Counted:
    """The model of a directory, of a name under checkpoints/, or the newest there.

    Raises CheckpointError for what is missing, damaged or foreign, InputError where JAX cannot compute (see devices.check).
    """
    devices.check()
    path = directories.find(None if name is None else str(name))
    arrays, about, texts = checkpoint.read_model(path)
    vocab, config, settings = described(path, texts)
    schema.weights(path, about)
    known = None
    if (path / "known.safetensors").exists():
        known = arrayfile.read_arrays(path / "known.safetensors", "known")[0].get("known")
        if known is None or known.dtype != np.uint64 or known.ndim != 1 or (known[1:] <= known[:-1]).any():
            raise CheckpointError(f"{path / 'known.safetensors'} holds no fingerprints: copy the whole directory again")
    sequence = settings["text"]["sequence"]
    if isinstance(config, ngram.Config):
        levels = _levels(arrays, config, str(path / "model.safetensors"))
        return Counted(config, levels, vocab, sequence, known, path, about)
    check_size(config, arrays, str(path / "model.safetensors"))
    template = jax.eval_shape(partial(model.init, config), jax.random.key(0))
    check_finite(arrays, str(path / "model.safetensors"))
    params = jax.tree.map(jax.numpy.asarray, trees.unflatten(template, arrays, str(path / "model.safetensors")))
    precision = devices.precision_of(precision, config.cell)
    return KINDS[config.direction](config, params, vocab, precision, sequence, known, path, about)


def check_size(config: model.Config, arrays: arrayfile.Arrays, where: str) -> None:
    """CheckpointError where a configuration states a network that cannot be the one of these arrays, however large it is."""
    numbers = sum(a.size for a in arrays.values())
    if max(config.layers, config.size, config.vocab * config.embedding) > numbers or config.layers > MOST_LAYERS:
        raise CheckpointError(
            f"{where} holds {numbers:,} numbers, too few for what config.json states ({config.describe()}, "
            f"embedding {config.embedding:,}): copy the whole directory again"
        )


def check_finite(arrays: arrayfile.Arrays, where: str) -> None:
    """CheckpointError where a weight is NaN or infinite: no training of ours saves one."""
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise CheckpointError(
                f"{where} is damaged (not all numbers of {name!r:.80} are finite): copy it again, or train anew"
            )


def sound(numbers: np.ndarray) -> np.ndarray:
    """What a model computed, if all of it is finite. Raises CheckpointError where it is not: weights can be too large."""
    if not np.isfinite(numbers).all():
        raise CheckpointError("the weights of this model lead to numbers that are not finite: train it anew")
    return numbers


def level_arrays(levels: list[ngram.Level]) -> arrayfile.Arrays:
    """The arrays of an n-gram model, by name, as `load` reads them."""
    return trees.flatten([level._asdict() for level in levels])


def _levels(arrays: arrayfile.Arrays, config: ngram.Config, where: str) -> list[ngram.Level]:
    """The levels of an n-gram model, checked so that no key leads out of its level."""
    template, below = [], config.vocab
    for k in range(config.order):
        size = arrays[f"{k}/keys"].size if f"{k}/keys" in arrays else 0
        kinds = {"keys": np.uint64, "log_p": np.float32, "backoff": np.float32}
        template.append({name: jax.ShapeDtypeStruct((size,), kind) for name, kind in kinds.items()})
    levels = [ngram.Level(**level) for level in trees.unflatten(template, arrays, where)]
    for k, level in enumerate(levels):
        inside = not len(level.keys) or level.keys[-1] < below * (config.vocab if k else 1)
        ascending = bool((level.keys[1:] > level.keys[:-1]).all())
        numbers = all((np.abs(a) < SANE).all() for a in (level.log_p, level.backoff))  # what is no number is not below either
        if not (inside and ascending and numbers) or (k == 0 and len(level.keys) != config.vocab):
            raise CheckpointError(f"{where} holds no n-grams of order {k + 1} that can be read: copy the whole directory again")
        below = len(level.keys)
    return levels


def described(path: Path, texts: dict[str, str]) -> tuple[Vocab, model.Config | ngram.Config, dict[str, Any]]:
    """The vocabulary, the network and all settings that a directory's vocab.json and config.json state."""
    vocab, settings = schema.settings(path, texts)
    cell = settings["model"]["cell"]
    if cell != "ngram" and cell not in CELLS:
        raise CheckpointError(f"{path / 'config.json'} is damaged (there is no cell {cell!r:.40}): copy the model again")
    return vocab, (ngram.Config if cell == "ngram" else model.Config)(**settings["model"]), settings
