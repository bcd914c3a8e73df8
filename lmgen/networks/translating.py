"""The network that writes a target for a source: one stack reads `EOS x SEP y`, another reads x from the right, and what follows
each symbol of y is predicted with attention over the outputs of both stacks at x.

Parameters are a pytree of dicts: "embedding" [V + 1, E], "layers", "back" (over the source), "head"; with attention "attention"
[N, 2 N] and "join" {"W" [3 N, N], "b"}; with copying "gate" {"W" [N, 1], "b"}. Shapes: T time, B batch, S rows of the source, M
predicted symbols, V vocabulary; an id from V + 1 on is a word that is not in the vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from lmgen.data.vocab import EOS, UNK
from lmgen.labelled.packing import Block, taken
from lmgen.nn import cross_entropy, model, recurrence
from lmgen.nn.embedding import Rows, lookup
from lmgen.nn.model import NetworkConfig, Params
from lmgen.nn.precision import product
from lmgen.structured.bitext import CodedPairs

NEVER = -1e9  # the score of what cannot be attended to
TINY = 1e-30
FORGOTTEN = 0.02  # the share of symbols that are read as UNK in training, so that unknown ones are learnt, too


@dataclass(frozen=True)
class TranslatorConfig(NetworkConfig):
    """The architecture of a network that translates.

    SEP, between a source and its target, is the id behind those of the vocabulary: no text can forge it. The first `targets` ids
    can be predicted. With `copy` a symbol may be copied from the source (See et al. 2017); training smooths its targets towards
    the uniform distribution by `smoothing` (Szegedy et al. 2016).
    """

    task: str = "translate"
    targets: int = 0
    attention: bool = True
    copy: bool = False
    smoothing: float = 0.0

    @property
    def names(self) -> int:
        """What loading the text has to know of the model: the number of ids that can be predicted."""
        return self.targets

    @property
    def separator(self) -> int:
        """The id of SEP."""
        return self.vocab

    @property
    def rows(self) -> int:
        return self.vocab + 1

    @property
    def classes(self) -> int:
        return self.targets


class Inputs(NamedTuple):
    """What the network reads: `ids` [T, B]; `slots` [T, B], the pair that a symbol belongs to; `source` [T, B], whether it is one
    of x; `fresh` [T, B], where the state is forgotten first; `at` [M], the places t B + b after which a symbol is predicted."""

    ids: Any
    slots: Any
    source: Any
    fresh: Any
    at: Any


def inputs_of(data: CodedPairs, block: Block, room: int) -> tuple[Inputs, np.ndarray, np.ndarray]:
    """What the network reads of a block, the targets [M] and 1 where there is one, with room for M = `room` of these: from
    SEP on, after each symbol of a pair the next."""
    places, of = block.places, np.append(block.of, -1)[block.slots]
    there = (places >= 0) & (of >= 0)
    source = there & (places - data.starts[of] < data.sources[of])
    at = np.flatnonzero(there & ~source)
    following = data.stream[np.where(there, places + 1, 0).reshape(-1)[at]]
    ids = taken(data.stream, places).astype(np.int32)
    more = (0, room - len(at))
    inputs = Inputs(ids, block.slots, source, ~there, np.pad(at.astype(np.int32), more))
    return inputs, np.pad(following.astype(np.int32), more), np.pad(np.ones(len(at), np.float32), more)


def init(config: TranslatorConfig, key: Array) -> Params:
    """Fresh parameters: as those of `model.init`, with a stack from the right; the attention is uniform in ±1/√N."""
    embedding, head, back, attention, join, *layers = jax.random.split(key, 5 + config.layers)
    bound = config.size**-0.5

    def uniform(key: Array, *shape: int) -> Array:
        return jax.random.uniform(key, shape, minval=-bound, maxval=bound)

    params: Params = {
        "embedding": jax.random.normal(embedding, (config.rows, config.embedding)) * config.embedding**-0.5,
        "head": {"b": jnp.zeros(config.targets)} | (model.init_norm(config.size) if config.head_norm else {}),
        **model.init_stack(config, layers, config.embedding),
        "back": model.init_stack(config, [*jax.random.split(back, config.layers)], config.embedding),
    }
    if not config.tie or config.size != config.embedding:
        name, columns = ("P", config.embedding) if config.tie else ("W", config.targets)
        params["head"][name] = uniform(head, config.size, columns)
    if config.attention:
        params["attention"] = uniform(attention, config.size, 2 * config.size)
        params["join"] = {"W": uniform(join, 3 * config.size, config.size), "b": jnp.zeros(config.size)}
    if config.copy:
        params["gate"] = {"W": jnp.zeros((config.size, 1)), "b": jnp.ones(1)}
    return params


def known(config: TranslatorConfig, ids: Array) -> Array:
    """Ids that have a vector: words that are not in the vocabulary are read as UNK."""
    return jnp.where(ids > config.separator, UNK, ids)


def sides(
    config: TranslatorConfig,
    precision: str,
    params: Params,
    inputs: Inputs,
    dropout: Array | None = None,
    layers: tuple[Any, Any] = (recurrence.layer, recurrence.layer),
) -> tuple[Any, Array, Array]:
    """The state after the ids, the outputs hs [T, B, N] of the forward stack, and the vectors [T, B, 2 N] to attend to.

    The stack from the right forgets wherever there is no symbol of a source, so that no source sees its target. `layers` compute
    the layers of each stack, as in `model.read`.
    """
    ids = known(config, inputs.ids)
    start, other = model.start(config, ids.shape[1]), None
    if dropout is not None:
        dropout, blanks = jax.random.split(dropout)
        hidden = (ids != EOS) & (ids != config.separator) & jax.random.bernoulli(blanks, FORGOTTEN, ids.shape)
        ids = jnp.where(hidden, UNK, ids)
        other = jax.random.fold_in(dropout, 2 * config.layers + 1)
    rows = model.dropped(config, lookup(params["embedding"], ids, precision), dropout, 2 * config.layers)
    state, hs = model.read_stack(config, precision, params, Rows(ids, rows), start, ids, inputs.fresh, dropout, layers[0])
    back, beyond = Rows(ids[::-1], rows[::-1]), ~inputs.source[::-1]
    rights = model.read_stack(config, precision, params["back"], back, start, ids[::-1], beyond, other, layers[1])[1]
    return state, hs, jnp.concatenate([hs, rights[::-1]], -1)


def attend(params: Params, hs: Array, memory: Array, visible: Array, precision: str) -> tuple[Array, Array]:
    """The mean [T, B, 2 N] of the memory [S, B, 2 N] that each of hs [T, B, N] attends to, and the weights [T, B, S]; only what
    is `visible` [T, B, S] is attended to (Luong et al. 2015, the general form)."""
    queries = product(hs, params["attention"], precision)
    scores = jnp.where(visible, jnp.einsum("tbm,sbm->tbs", queries, memory), NEVER)
    weights = jnp.where(visible, jax.nn.softmax(scores, -1), 0)
    return jnp.einsum("tbs,sbm->tbm", weights, memory), weights


def joined(params: Params, hs: Array, context: Array, precision: str) -> Array:
    """What the head reads [..., N]: tanh([h, c] W + b)."""
    return jnp.tanh(product(jnp.concatenate([hs, context], -1), params["join"]["W"], precision) + params["join"]["b"])


def head(config: TranslatorConfig, params: Params) -> Params:
    """The parameters of the head, with the embedding of the ids that can be predicted, to which it may be tied."""
    return {"head": params["head"], "embedding": params["embedding"][: config.targets]}


def gate(params: Params, hs: Array, precision: str) -> Array:
    """The probability [...] that the next symbol is not copied, from the head's inputs [..., N]."""
    return jax.nn.sigmoid((product(hs, params["gate"]["W"], precision) + params["gate"]["b"])[..., 0])


def nats(config: TranslatorConfig, precision: str, params: Params, inputs: Inputs, targets: Any, key: Array | None) -> Array:
    """−ln p of each target [M], which may be `Among` few words; with a key that of training: dropout and label smoothing."""
    _, hs, memory = sides(config, precision, params, inputs, key)
    if config.head_norm:
        hs = model.normalised(params["head"], hs)
    T, B = inputs.ids.shape
    chosen = hs.reshape(T * B, -1)[inputs.at]
    if config.attention:
        visible = (inputs.slots[:, :, None] == inputs.slots.T[None]) & inputs.source.T[None]
        context, weights = attend(params, hs, memory, visible, precision)
        chosen = joined(params, chosen, context.reshape(T * B, -1)[inputs.at], precision)
    chosen = model.dropped(config, chosen, key, config.layers - 1)
    own = head(config, params)
    few = isinstance(targets, cross_entropy.Among)
    symbols = targets.ids[targets.at] if few else jnp.where(targets < config.targets, targets, UNK)
    narrow, at = cross_entropy.narrowed(own, targets if few else symbols)
    found = model.nats(narrow, chosen, at, precision)
    if config.copy:
        copied = jnp.where(inputs.ids.T[inputs.at % B] == targets[:, None], weights.reshape(T * B, T)[inputs.at], 0).sum(-1)
        writes = jnp.where((targets < config.targets) | (copied == 0), jnp.exp(-found), 0)
        g = gate(params, chosen, precision)
        found = -jnp.log(g * writes + (1 - g) * copied + TINY)
    if key is None or not config.smoothing:
        return found
    # The nats of the uniform distribution are those of the target plus its score less the mean score.
    b, W = params["head"]["b"], params["head"].get("W")
    if W is None:
        rows = product(chosen, params["head"]["P"], precision) if "P" in params["head"] else chosen
        of_targets, mean = own["embedding"][symbols], own["embedding"].mean(0)
    else:
        rows, of_targets, mean = chosen, W[:, symbols].T, W.mean(1)
    return found + config.smoothing * ((rows * of_targets).sum(-1) + b[symbols] - rows @ mean - b.mean())
