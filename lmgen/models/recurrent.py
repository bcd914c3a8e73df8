"""The models that are networks: recurrent networks read from left to right, cloze networks from both sides."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from lmgen.data.vocab import EOS, Vocab
from lmgen.errors import CheckpointError
from lmgen.models import kinds, scoring
from lmgen.models.capabilities import Adapts, Fills, Model, RunsCompiled, Scores, ShowsUnits, State
from lmgen.models.columns import Columns
from lmgen.models.provenance import Provenance
from lmgen.nn import model, native, recurrence
from lmgen.nn.cells import CELLS
from lmgen.nn.model import NetworkConfig, Params
from lmgen.nn.precision import precision_of, product
from lmgen.options.kinds import MOST_LAYERS
from lmgen.system import trees
from lmgen.system.arrayfile import Arrays


@dataclass(frozen=True, eq=False)
class Network(Model):
    """A network with its weights, and the precision at which it computes."""

    configuration = NetworkConfig
    fresh = staticmethod(model.init)

    config: NetworkConfig
    params: Params
    vocab: Vocab
    precision: str = "f32"
    provenance: Provenance = field(default_factory=Provenance)

    @classmethod
    def from_arrays(cls, config: Any, arrays: Arrays, vocab: Vocab, precision: str, provenance: Provenance) -> Network:
        check(config, arrays, provenance.weights)
        template = jax.eval_shape(partial(cls.fresh, config), jax.random.key(0))
        params = jax.tree.map(jnp.asarray, trees.unflatten(template, arrays, provenance.weights))
        return cls(config, params, vocab, precision_of(precision, config.cell), provenance)

    def arrays(self) -> Arrays:
        return trees.flatten(self.params)

    def start(self, batch: int) -> State:
        return model.start(self.config, batch)

    def validate(self: Any, ids: Any) -> tuple[float, dict[str, Any]]:
        """The mean nats of held-out text, and facts to keep with the weights."""
        nats = scoring.stream_nats(self, ids.stream, exact=False)
        return float(nats.sum(dtype="float64")) / max(1, scoring.symbols_counted(self, ids)), {}


class Recurrent(Network, RunsCompiled, Adapts, ShowsUnits):
    """A recurrent language model. One that was trained with letters is stored without them: `letters.folded` tells how."""

    kind = kinds.RECURRENT

    @classmethod
    def from_arrays(cls, config: Any, *rest: Any) -> Network:
        return super().from_arrays(config.folded, *rest)

    def read(self, state: State, ids: ArrayLike) -> tuple[State, Array]:
        return _read(self.config, self.precision, self.params, state, ids)

    def nats(self, state: State, window: ArrayLike) -> tuple[State, Array]:
        return _nats(self.config, self.precision, self.params, state, window)

    def stepper(self) -> tuple[Any, Callable[[Any, State, Array], tuple[State, Array]]]:
        if self.precision == "bf16" and self.config.cell in native.CELLS and not self.config.skip:
            return _with_one_head(self.params), _rounded_stepper(self.config)
        return self.params, _stepper(self.config, self.precision)


class Cloze(Network, Scores, Fills, ShowsUnits):
    """A cloze model: two stacks, one from each side, that predict the symbol between them."""

    kind = kinds.CLOZE
    pseudo = True

    def back(self, state: State, ids: ArrayLike, beyond: ArrayLike) -> State:
        """The right state after reading ids [T, B] from the last to the first; where `beyond` is true the text has ended."""
        return _back(self.config, self.precision, self.params, state, ids, beyond)

    def nats(self, left: State, right: State, window: ArrayLike, beyond: ArrayLike) -> tuple[State, Array]:
        """The left state after a window [T + 2, B] and −ln p [T, B] of its inner ids, each given all others; 0 if not counted."""
        return _nats_between(self.config, self.precision, self.params, left, right, window, beyond)

    def read_columns(self, columns: Columns, state: State) -> Iterator[tuple[State, ArrayLike]]:
        for right, window in self._windows(columns):
            state, nats = self.nats(state, right, *window)
            yield state, nats

    def logits_of_columns(self, columns: Columns, state: State) -> Iterator[tuple[State, ArrayLike]]:
        for right, window in self._windows(columns):
            state, logits = _logits_of_window(self.config, self.precision, self.params, state, right, *window)
            yield state, logits

    def _windows(self, columns: Columns) -> Iterator[tuple[State, tuple[Array, np.ndarray]]]:
        """The right state before each window, and what `nats` takes of it. All right states are computed first."""
        right, rights = self.start(columns.count), {}
        last, length = columns.windows[-1]
        if columns.warm:
            right = self.back(right, *columns.ids(last + length + 2, length))
        for row, length in reversed(columns.windows):
            rights[row] = right
            right = self.back(right, *columns.ids(row + 2, length))
        for row, length in columns.windows:
            yield rights.pop(row), columns.ids(row, length + 2)

    def counted(self, targets: np.ndarray) -> np.ndarray:
        """All symbols, but not EOS where sequences are independent: there the ends are given."""
        return np.asarray(model.counted(self.config, jnp.asarray(targets)))

    def logits(self, window: ArrayLike, beyond: ArrayLike, place: ArrayLike) -> Array:
        return _logits_between(self.config, self.precision, self.params, window, beyond, place)


@cache
def _stepper(config: NetworkConfig, precision: str) -> Callable[[Any, State, Array], tuple[State, Array]]:
    def step(params: Params, state: State, ids: Array) -> tuple[State, Array]:
        state, hs = model.read(config, precision, params, state, ids[None])
        return state, model.logits(params, hs[0], precision)

    return step


@cache
def _rounded_stepper(config: NetworkConfig) -> Callable[[Any, State, Array], tuple[State, Array]]:
    """As `_stepper` at bf16, with the roundings of the compiled sampler, which stores the first layer's inputs in bf16."""
    cell, times = CELLS[config.cell], partial(product, precision="bf16")

    def step(params: Params, state: State, ids: Array) -> tuple[State, Array]:
        forget = jnp.zeros(ids.shape, bool) if config.carry else ids == EOS
        rows, after = params["embedding"][ids], []
        for k, (p, s) in enumerate(zip(params["layers"], state, strict=True)):
            read = model.normalised(params["norms"][k], rows) if config.layer_norm else rows
            xs = cell.inputs(p, read, times)
            xs = xs if k else xs.astype(jnp.bfloat16).astype(jnp.float32)
            s, hs = recurrence.run(cell, p, s, xs[None], forget[None], "bf16")
            rows = rows + hs[0] if config.residual and k else hs[0]
            after.append(s)
        read = model.normalised(params["head"], rows) if config.layer_norm else rows
        return after, model.logits(params, read, "bf16")

    return step


@jax.jit
def _with_one_head(params: Params) -> Params:
    """The weights with the matrices of a tied head multiplied, as the compiled sampler has them."""
    head = params["head"]
    if "P" not in head:
        return params
    rest = {name: w for name, w in head.items() if name != "P"}
    return {**params, "head": {**rest, "W": head["P"] @ params["embedding"].T}}


@partial(jax.jit, static_argnums=(0, 1))
def _read(config: NetworkConfig, precision: str, params: Params, state: State, ids: Any) -> tuple[State, Array]:
    state, hs = model.read(config, precision, params, state, ids)
    return state, model.logits(params, hs, precision)


@partial(jax.jit, static_argnums=(0, 1))
def _nats(config: NetworkConfig, precision: str, params: Params, state: State, window: Any) -> tuple[State, Array]:
    state, hs = model.read(config, precision, params, state, window[:-1])
    return state, model.nats(params, hs, window[1:], precision)


@partial(jax.jit, static_argnums=(0, 1))
def _back(config: NetworkConfig, precision: str, params: Params, state: State, ids: Any, beyond: Any) -> State:
    return model.read_back(config, precision, params, state, ids, beyond)[0]


@partial(jax.jit, static_argnums=(0, 1))
def _nats_between(
    config: NetworkConfig, precision: str, params: Params, left: State, right: State, window: Any, beyond: Any
) -> tuple[State, Array]:
    left, hs = model.read_between(config, precision, params, left, right, window, beyond)
    targets = window[1:-1]
    return left, jnp.where(model.counted(config, targets), model.nats(params, hs, targets, precision), 0)


@partial(jax.jit, static_argnums=(0, 1))
def _logits_of_window(
    config: NetworkConfig, precision: str, params: Params, left: State, right: State, window: Any, beyond: Any
) -> tuple[State, Array]:
    left, hs = model.read_between(config, precision, params, left, right, window, beyond)
    return left, model.logits(params, hs, precision)


@partial(jax.jit, static_argnums=(0, 1))
def _logits_between(config: NetworkConfig, precision: str, params: Params, window: Any, beyond: Any, place: Any) -> Array:
    start = model.start(config, window.shape[1])
    _, hs = model.read_between(config, precision, params, start, start, window, beyond)
    return model.logits(params, hs[place - 1, jnp.arange(window.shape[1])], precision)


def check(config: NetworkConfig, arrays: Arrays, where: str) -> None:
    """Raise CheckpointError for a configuration that is too large for these weights, since such a network need not fit the
    memory, and for a weight that is NaN or infinite, since no training saves one."""
    numbers = sum(a.size for a in arrays.values())
    if max(config.layers, config.size, config.rows * config.embedding) > numbers or config.layers > MOST_LAYERS:
        raise CheckpointError(
            f"{where} holds {numbers:,} numbers, too few for the network in config.json ({config.describe()}, "
            f"embedding {config.embedding:,}): copy the whole directory again"
        )
    if config.heads and config.size % config.heads:
        raise CheckpointError(
            f"{where} cannot be read (config.json has {config.heads} heads, {config.size} units): copy the whole directory again"
        )
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise CheckpointError(
                f"{where} is damaged (not all numbers of {name!r:.80} are finite): copy it again, or train anew"
            )
