"""The compiled sampler: the loop of sampling.py for LSTM and GRU, by the kernels of native/, many steps in one call.

The text of a row does not depend on how many rows are sampled at a time, so one sample takes the time of one.
"""

from __future__ import annotations

import threading
from functools import partial
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from lmgen.data.vocab import EOS, UNK
from lmgen.models.capabilities import Generates, RunsCompiled, can
from lmgen.models.mixed import Mixed
from lmgen.nn import model, native
from lmgen.nn.cells import CELLS

TRANSFORMS = {"temperature", "top_k", "top_p", "min_p"}  # those of sampling.py that the kernels have
TABLE = 1 << 27  # the most numbers in the table of the first layer's inputs, by symbol
COMPILED_LAYERS = 16
DRAWN = 32  # random numbers from one key


class Rows(NamedTuple):
    """What one call of the loop hands to the next."""

    state: Any
    last: Any  # [B] the id read next
    left: Any  # [B] how many EOS are still to come; 0 ends the row
    keys: Array  # [B] random keys
    seen: Any = None  # [B, V] the ids read, but for EOS, where a transform depends on them


Packed = tuple[Array, dict[str, Array], list[dict[str, Array]]]  # of a network: input products by symbol, head, layers
Weights = tuple[list[Packed], list[Array]]  # networks, and n-grams that are mixed in: as the kernels read them
_packed: WeakKeyDictionary[RunsCompiled, Weights] = WeakKeyDictionary()
_packing = threading.Lock()


def weights(lm: Generates) -> Weights | None:
    """The weights of a model for `steps`, packed once and dropped with it; None where there are no kernels for the model."""
    if not can(lm, RunsCompiled):
        return None
    if lm.config.cell not in native.CELLS or not native.kind(lm.precision):
        return None
    table = lm.config.vocab * CELLS[lm.config.cell].gates * lm.config.size
    if lm.config.skip or lm.config.layers > COMPILED_LAYERS or table > TABLE:
        return None
    with _packing:
        if lm not in _packed:
            networks: Any = [lm]
            ngrams: list[Array] = []
            if isinstance(lm, Mixed):
                networks, ngrams = lm.networks, lm.ngrams_of_kernels()
            _packed[lm] = [_pack(lm.config, lm.precision, one.params) for one in networks], ngrams
        return _packed[lm]


@partial(jax.jit, static_argnums=(0, 1))
def _pack(network: model.NetworkConfig, precision: str, params: model.Params) -> Any:
    gates, embedding, (first, *further) = CELLS[network.cell].gates, params["embedding"], params["layers"]
    read = model.normalised(params["norms"][0], embedding) if network.layer_norm else embedding
    inputs = native.inputs(read, first["W"], first["b"], gates, (network.vocab,), precision)
    if network.layer_norm:
        further = [p | norm for p, norm in zip(further, params["norms"][1:], strict=True)]
    layers = [{name: w for name, w in first.items() if name in ("U", "b_u")}, *further]
    pack = partial(native.pack, precision=precision)
    packed = [{name: pack(w, gates) if w.ndim > 1 else w for name, w in p.items()} for p in layers]
    head = dict(params["head"])
    if "P" in head:
        head["W"] = head.pop("P") @ embedding.T
    return inputs, head | {"W": pack(head["W"]) if "W" in head else pack(embedding, transposed=True)}, packed


def uniform(keys: Array, at: ArrayLike, steps: int) -> Array:
    """Numbers in [0, 1) for the steps at, at + 1, … of each row [steps, B]; the same wherever the steps are cut, if `at` [B] are
    multiples of DRAWN."""

    def of_row(key: Array, at: Array) -> Array:
        starts = at + jnp.arange(0, steps, DRAWN)
        drawn = jax.vmap(lambda start: jax.random.uniform(jax.random.fold_in(key, start), (DRAWN,)))(starts)
        return drawn.reshape(-1)[:steps]

    return jax.vmap(of_row, out_axes=1)(keys, jnp.asarray(at))


@partial(jax.jit, static_argnums=(0, 1))
def steps(
    network: model.NetworkConfig, precision: str, weights: Weights, rows: Rows, values: dict[str, Any], forced: Any, at: Any
) -> tuple[Rows, Array, Array]:
    """As many symbols of every row as `forced` [steps, B] has: the rows after them, ids and nats [steps, B].

    `values` are those of TRANSFORMS and of `unknown`, of each row [B]; `at` [B] is the place of each in its text.
    """
    packed, ngrams = weights
    before, nodes = rows.state if ngrams else ([rows.state], None)
    none = jnp.zeros(0)
    networks = [
        native.Writer([inputs, *(head.get(name, none) for name in ("W", "b", "gain", "shift"))], layers, states)
        for (inputs, head, layers), states in zip(packed, before, strict=True)
    ]
    numbers = jnp.stack([values[name] for name in ("temperature", "top_p", "min_p")])
    counts = jnp.stack([values["top_k"], values["unknown"].astype(jnp.int32)])
    uniforms = uniform(rows.keys, at, len(forced))
    ids, nats, last, left, after, *moved = native.sample(
        [forced, uniforms, numbers, counts, rows.last, rows.left],
        networks,
        ngrams,
        nodes,
        precision=precision,
        cell=native.number(network.cell),
        eos=np.int64(EOS),
        unk=np.int64(UNK),
        forgets=not network.carry,
        residual=network.residual and network.layers > 1,
    )
    return Rows((after, *moved) if ngrams else after[0], last, left, rows.keys), ids, nats
