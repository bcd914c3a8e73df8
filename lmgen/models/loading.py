"""The one interface of every language model, and the loading of whatever kind a model directory holds.

A model starts a state and reads ids: `start(batch)` and `read(state, ids [T, B]) -> (state, logits [T, B, V])`. A window of T ids
scores, a prompt of T ids primes, T = 1 samples. A cloze model is another thing: it says what stands between what is known on both
sides, so it scores and fills blanks, and cannot sample. Shapes: T time, B batch, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.typing import ArrayLike

from lmgen.data.vocab import Vocab
from lmgen.errors import CheckpointError
from lmgen.models import ngram, schema
from lmgen.models.networks import KINDS, Cloze, Recurrent, State
from lmgen.nn import model
from lmgen.nn.cells import CELLS
from lmgen.nn.precision import precision_of
from lmgen.options.kinds import MOST_LAYERS
from lmgen.system import arrayfile, checkpoint, devices, directories, trees

SANE = 1e6  # nats; no text is long enough for less likely n-grams


@dataclass(frozen=True)
class NGramModel:
    """An n-gram model, with the same attributes as a network."""

    config: ngram.NGramConfig
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


def load(name: str | Path | None = None, precision: str = "auto") -> Recurrent | Cloze | NGramModel:
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
    if isinstance(config, ngram.NGramConfig):
        levels = _levels(arrays, config, str(path / "model.safetensors"))
        return NGramModel(config, levels, vocab, sequence, known, path, about)
    check_size(config, arrays, str(path / "model.safetensors"))
    template = jax.eval_shape(partial(model.init, config), jax.random.key(0))
    check_finite(arrays, str(path / "model.safetensors"))
    params = jax.tree.map(jax.numpy.asarray, trees.unflatten(template, arrays, str(path / "model.safetensors")))
    precision = precision_of(precision, config.cell)
    return KINDS[config.direction](config, params, vocab, precision, sequence, known, path, about)


def check_size(config: model.NetworkConfig, arrays: arrayfile.Arrays, where: str) -> None:
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


def level_arrays(levels: list[ngram.Level]) -> arrayfile.Arrays:
    """The arrays of an n-gram model, by name, as `load` reads them."""
    return trees.flatten([level._asdict() for level in levels])


def _levels(arrays: arrayfile.Arrays, config: ngram.NGramConfig, where: str) -> list[ngram.Level]:
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


def described(path: Path, texts: dict[str, str]) -> tuple[Vocab, model.NetworkConfig | ngram.NGramConfig, dict[str, Any]]:
    """The vocabulary, the network and all settings that a directory's vocab.json and config.json state."""
    vocab, settings = schema.settings(path, texts)
    cell = settings["model"]["cell"]
    if cell != "ngram" and cell not in CELLS:
        raise CheckpointError(f"{path / 'config.json'} is damaged (there is no cell {cell!r:.40}): copy the model again")
    return vocab, (ngram.NGramConfig if cell == "ngram" else model.NetworkConfig)(**settings["model"]), settings
