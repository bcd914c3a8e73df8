"""Writing by the kernels of native/: what lmgen.sample's loop does, whole steps of a network in one call.

A row's text does not depend on how many rows are written at a time, so that one takes the time of one.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from lmgen.data.vocab import EOS, UNK
from lmgen.models.networks import LanguageModel, Recurrent
from lmgen.nn import model, native
from lmgen.nn.cells import CELLS

TABLE = 1 << 27  # numbers that the first layer's inputs of all symbols may take
MOST_LAYERS = 16
DRAWN = 32  # random numbers that are drawn from one key


@dataclass(frozen=True)
class Writer:
    """The weights of a network, in the order in which the kernels read them."""

    network: model.NetworkConfig
    precision: str
    inputs: Array
    head: dict[str, Array]
    layers: list[dict[str, Array]]

    def steps(self, settings: Any, unknown: bool, rows: tuple, forced: np.ndarray, at: int) -> tuple[tuple, Array, Array]:
        """As many symbols of every row as `forced` has: what goes on to the next call, ids and nats [steps, B]."""
        numbers = np.array([settings.temperature, settings.top_p, settings.min_p], np.float32), np.int32(settings.top_k)
        weights = (self.inputs, self.head, self.layers)
        return _steps(self.network, self.precision, unknown, weights, rows, numbers, forced, at)


_writers: WeakKeyDictionary[Recurrent, Writer | None] = WeakKeyDictionary()
_making = threading.Lock()


def writer(lm: LanguageModel) -> Writer | None:
    """The writer for a language model, made once and gone with it; None where there are no kernels for its network."""
    if not isinstance(lm, Recurrent):
        return None
    with _making:
        if lm not in _writers:
            _writers[lm] = _written(lm)
        return _writers[lm]


def _written(lm: Recurrent) -> Writer | None:
    if not native.kind(lm.precision):
        return None
    network, params = lm.config, lm.params
    gates = CELLS[network.cell].gates
    if network.cell not in native.CELLS or network.layers > MOST_LAYERS or network.vocab * gates * network.size > TABLE:
        return None
    return Writer(network, lm.precision, *_packed(network, lm.precision, params))


@partial(jax.jit, static_argnums=(0, 1))
def _packed(
    network: model.NetworkConfig, precision: str, params: model.Params
) -> tuple[Array, dict[str, Array], list[dict[str, Array]]]:
    gates = CELLS[network.cell].gates
    pack = partial(native.pack_gates, gates=gates, precision=precision)
    first = params["layers"][0]
    read = model.normalised(params["norms"][0], params["embedding"]) if network.layer_norm else params["embedding"]
    inputs = native.inputs(read, first["W"], first["b"], gates, (network.vocab,), precision)
    layers = [{"U": pack(p["U"])} for p in params["layers"]]
    for k, (p, packed) in enumerate(zip(params["layers"], layers, strict=True)):
        packed |= {"W": pack(p["W"]), "b": p["b"]} if k else {}
        packed |= params["norms"][k] if k and network.layer_norm else {}
        packed |= {"b_u": p["b_u"]} if "b_u" in p else {}
    head = params["head"]
    if "W" in head:
        packed_head = native.pack_head(head["W"], precision, transposed=False)
    elif "P" in head:
        packed_head = native.pack_head(head["P"] @ params["embedding"].T, precision, transposed=False)
    else:
        packed_head = native.pack_head(params["embedding"], precision, transposed=True)
    norm = {name: head[name] for name in ("gain", "shift") if name in head}
    return inputs, {"W": packed_head, "b": head["b"]} | norm, layers


def uniform(keys: Array, at: Any, steps: int) -> Array:
    """Numbers in [0, 1) for steps at, at + 1, … of each row [steps, B], however the steps are cut, if `at` is a multiple of
    DRAWN."""

    def of_row(key: Array) -> Array:
        starts = at + jnp.arange(0, steps, DRAWN)
        drawn = jax.vmap(lambda start: jax.random.uniform(jax.random.fold_in(key, start), (DRAWN,)))(starts)
        return drawn.reshape(-1)[:steps]

    return jax.vmap(of_row, out_axes=1)(keys)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _steps(
    network: model.NetworkConfig,
    precision: str,
    unknown: bool,
    weights: tuple,
    rows: Any,
    numbers: tuple,
    forced: Array,
    at: Array,
) -> tuple[tuple, Array, Array]:
    inputs, head, layers = weights
    states, last, left, keys = rows
    uniforms = uniform(keys, at, forced.size)
    norm = [head.get(name, jnp.zeros(0)) for name in ("gain", "shift")]
    settings = {
        "precision": precision,
        "gru": network.cell == "gru",
        "eos": np.int64(EOS),
        "unk": np.int64(-1 if unknown else UNK),
        "forgets": not network.carry,
        "residual": network.residual and network.layers > 1,
    }
    ids, nats, last, left, *after = native.sample(
        [inputs, head["W"], head["b"], forced, uniforms, *numbers, last, left, *norm], layers, states, **settings
    )
    names = states[0].keys()
    states = [{name: after[2 * k + (name == "c")] for name in names} for k in range(len(states))]
    return (states, last, left, keys), ids, nats
