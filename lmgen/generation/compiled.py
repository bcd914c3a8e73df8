"""The compiled sampler: the loop of sampling.py for LSTM and GRU, by the kernels of native/, many steps in one call.

The text of a row does not depend on how many rows are sampled at a time, so one sample takes the time of one.
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
from lmgen.models.capabilities import Generates, RunsCompiled, can
from lmgen.nn import model, native
from lmgen.nn.cells import CELLS

TRANSFORMS = {"temperature", "top_k", "top_p", "min_p"}  # those of sampling.py that the kernels have
TABLE = 1 << 27  # the most numbers in the table of the first layer's inputs, by symbol
COMPILED_LAYERS = 16
DRAWN = 32  # random numbers from one key


@dataclass(frozen=True)
class Sampler:
    """The weights of a network, in the order in which the kernels read them."""

    network: model.NetworkConfig
    precision: str
    weights: tuple[Array, dict[str, Array], list[dict[str, Array]]]

    def steps(self, settings: Any, rows: tuple, forced: np.ndarray, at: int) -> tuple[tuple, Array, Array]:
        """As many symbols of every row as `forced` has: the rows after them, ids and nats [steps, B]."""
        numbers = np.array([settings.temperature, settings.top_p, settings.min_p], np.float32), np.int32(settings.top_k)
        return _steps(self.network, self.precision, settings.unknown, self.weights, rows, numbers, forced, at)


_samplers: WeakKeyDictionary[RunsCompiled, Sampler | None] = WeakKeyDictionary()
_making = threading.Lock()


def sampler(lm: Generates) -> Sampler | None:
    """The compiled sampler of a model, made once and dropped with it; None where there are no kernels for the model."""
    if not can(lm, RunsCompiled):
        return None
    with _making:
        if lm not in _samplers:
            _samplers[lm] = _made(lm)
        return _samplers[lm]


def _made(lm: RunsCompiled) -> Sampler | None:
    network = lm.config
    if not native.kind(lm.precision) or network.cell not in native.CELLS or network.layers > COMPILED_LAYERS:
        return None
    if network.vocab * CELLS[network.cell].gates * network.size > TABLE:
        return None
    return Sampler(network, lm.precision, _packed(network, lm.precision, lm.params))


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
    """Numbers in [0, 1) for the steps at, at + 1, … of each row [steps, B]; the same wherever the steps are cut, if `at` is a
    multiple of DRAWN."""

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
    norm = [head.get(name, jnp.zeros(0)) for name in ("gain", "shift")]
    ids, nats, last, left, *after = native.sample(
        [inputs, head["W"], head["b"], forced, uniform(keys, at, forced.size), *numbers, last, left, *norm],
        layers,
        states,
        precision=precision,
        gru=network.cell == "gru",
        eos=np.int64(EOS),
        unk=np.int64(-1 if unknown else UNK),
        forgets=not network.carry,
        residual=network.residual and network.layers > 1,
    )
    states = [{name: after[2 * k + (name == "c")] for name in state} for k, state in enumerate(states)]
    return (states, last, left, keys), ids, nats
