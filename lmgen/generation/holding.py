"""A network that writes while some of its units are held at a value, to see what they are for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from lmgen.errors import InputError
from lmgen.models.capabilities import Generates, Model, RunsCompiled, State, require
from lmgen.nn import model, units
from lmgen.nn.model import NetworkConfig, Params

MOST = 1e6  # the largest value that a unit is held at


class Hold(NamedTuple):
    """A unit of a layer, both counted from 0, and the value of its output h."""

    layer: int
    unit: int
    value: float


@dataclass(frozen=True, eq=False)
class Held(Generates):
    """The network of `lm`, some of whose units are held by `params`."""

    lm: RunsCompiled
    params: Params

    def __getattr__(self, name: str) -> Any:
        if name not in ("kind", "config", "vocab", "provenance"):
            raise AttributeError(name)
        return getattr(self.lm, name)

    def fingerprints(self, text: str) -> list[int]:
        return self.lm.fingerprints(text)

    def start(self, batch: int) -> State:
        return self.lm.start(batch)

    def read(self, state: State, ids: ArrayLike) -> tuple[State, Array]:
        return _read(self.lm.config, self.lm.precision, self.params, state, ids)

    def nats(self, state: State, window: ArrayLike) -> tuple[State, Array]:
        return _nats(self.lm.config, self.lm.precision, self.params, state, window)


def holding(lm: Model, holds: Iterable[Hold]) -> Held:
    """The model that writes with the outputs h of some units held after every symbol; without holds, all are free.

    Raises InputError for a model that is no network that writes, for a unit that there is not, and for a value that is no number.
    """
    network = require(lm, RunsCompiled, "hold units of a recurrent language model")
    config = network.config
    mask, level = np.zeros((config.layers, config.size), bool), np.zeros((config.layers, config.size), np.float32)
    for layer, unit, value in holds:
        if not (0 <= layer < config.layers and 0 <= unit < config.size):
            raise InputError(
                f"there is no unit {unit + 1} of layer {layer + 1}: this network has {config.layers} × {config.size} units"
            )
        if not abs(value) <= MOST:
            raise InputError(f"a unit cannot be held at {value}: give a number, such as 0 or 1")
        mask[layer, unit], level[layer, unit] = True, value
    layers = [p | {"held": m, "level": v} for p, m, v in zip(network.params["layers"], mask, level, strict=True)]
    return Held(network, {**network.params, "layers": jax.tree.map(jnp.asarray, layers)})


@partial(jax.jit, static_argnums=(0, 1))
def _read(config: NetworkConfig, precision: str, params: Params, state: State, ids: Any) -> tuple[State, Array]:
    state, hs = model.read(config, precision, params, state, ids, layer=units.held)
    return state, model.logits(params, hs, precision)


@partial(jax.jit, static_argnums=(0, 1))
def _nats(config: NetworkConfig, precision: str, params: Params, state: State, window: Any) -> tuple[State, Array]:
    state, hs = model.read(config, precision, params, state, window[:-1], layer=units.held)
    return state, model.nats(params, hs, window[1:], precision)
