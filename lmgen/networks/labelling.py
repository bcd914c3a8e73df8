"""The network that labels: embedded symbols, a stack from each side, a head for the tags of symbols and one for the labels of
sequences.

Parameters are a pytree of dicts: "embedding" [V, E], "layers", "back" (with both directions), "heads" {"tags", "labels"}; with
hashing "letters" [BUCKETS, E]; with vectors made elsewhere "vectors" [V, D]. Shapes: T time, B batch, E embedding, K sequences.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from lmgen.labelled.corpus import Labels
from lmgen.labelled.packing import Block, taken
from lmgen.networks import words
from lmgen.networks.words import WordsConfig
from lmgen.nn import model, recurrence
from lmgen.nn.embedding import Rows
from lmgen.nn.model import Params
from lmgen.nn.precision import product


@dataclass(frozen=True)
class LabelConfig(WordsConfig):
    """The architecture of a network that labels.

    `labels` are those of a sequence, of which with `several` any number may hold; `tags` those of a symbol. `pool` says what the
    labels are predicted from: the "last" state of each direction, the "mean" over the symbols, or "both". `balanced` training
    weighs a label by the inverse of its frequency. With `loose` the tags that were learnt often break their scheme, as those of
    IOB1 do, and so may predicted ones.
    """

    task: str = "classify"
    labels: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    several: bool = False
    pool: str = "both"
    balanced: bool = False
    loose: bool = False

    def __post_init__(self) -> None:
        for name in ("labels", "tags", "frozen"):  # lists in JSON
            object.__setattr__(self, name, tuple(getattr(self, name)))

    @property
    def names(self) -> Labels:
        return Labels(self.labels, self.tags, self.several)

    @property
    def classes(self) -> int:
        return len(self.labels) + len(self.tags)

    @property
    def pooled(self) -> int:
        """Size of the vector that the labels are predicted from."""
        return self.outputs * (2 if self.pool == "both" else 1)


class Inputs(NamedTuple):
    """What the network reads: `ids` [T, B]; `slots` [T, B], the sequence a symbol belongs to, K for none; `first`, `last` and
    `column` [K], the rows and the column of each sequence. With hashing, `ids` index `words` [U], and `buckets` [U, M] are those
    of their letters, −1 for none."""

    ids: Any
    slots: Any
    first: Any
    last: Any
    column: Any
    words: Any = None
    buckets: Any = None


def inputs_of(stream: np.ndarray, block: Block, spelt: words.Spelt, full: bool = False) -> Inputs:
    """What the network reads of a block; `full` is as for `letters.words_of`."""
    ids = taken(stream, block.places).astype(np.int32)
    rest = (block.slots, block.first, block.last, block.column)
    ids, *letters = words.inputs_of(ids, spelt, full)
    return Inputs(ids, *rest, *letters)


def init(config: LabelConfig, key: Array) -> Params:
    """Fresh parameters: as those of `model.init`, with a head for each kind of label; vectors made elsewhere are zero."""
    embedding, letters, tags, labels, *layers = jax.random.split(key, 4 + config.layers)
    params: Params = {
        **words.init(config, embedding, letters),
        **model.init_stack(config, layers, config.inputs),
        "heads": {},
    }
    if config.direction == "both":
        params["back"] = model.init_stack(config, [jax.random.fold_in(key, 1) for key in layers], config.inputs)
    for name, key, inputs, names in (
        ("tags", tags, config.outputs, config.tags),
        ("labels", labels, config.pooled, config.labels),
    ):
        if names:
            bound = inputs**-0.5
            W = jax.random.uniform(key, (inputs, len(names)), minval=-bound, maxval=bound)
            params["heads"][name] = {"W": W, "b": jnp.zeros(len(names))}
    if config.head_norm:
        params["heads"]["norm"] = model.init_norm(config.outputs)
    return params


def read(
    config: LabelConfig,
    precision: str,
    params: Params,
    inputs: Inputs,
    dropout: Array | None = None,
    layers: tuple[Any, Any] = (recurrence.layer, recurrence.layer),
) -> Array:
    """The outputs [T, B, N] of the top layers after each symbol, of both directions side by side. `layers` compute those of each
    direction, as in `model.read`."""
    ids, forget = inputs.ids, inputs.slots == len(inputs.first)
    rows = words.embedded(config, precision, params, inputs, dropout)
    start = model.start(config, ids.shape[1])
    hs = model.read_stack(config, precision, params, Rows(ids, rows), start, ids, forget, dropout, layers[0])[1]
    if config.direction == "both":
        other = None if dropout is None else jax.random.fold_in(dropout, 2 * config.layers + 1)
        back = Rows(ids[::-1], rows[::-1])
        rights = model.read_stack(config, precision, params["back"], back, start, ids[::-1], forget[::-1], other, layers[1])[1]
        hs = jnp.concatenate([hs, rights[::-1]], -1)
    return model.normalised(params["heads"]["norm"], hs) if config.head_norm else hs


def logits(config: LabelConfig, precision: str, params: Params, inputs: Inputs, dropout: Array | None = None) -> dict[str, Array]:
    """The logits of the tags [T, B, L] and of the labels [K, L], as far as the network has them."""
    hs = read(config, precision, params, inputs, dropout)
    found = {}
    if config.tags:
        found["tags"] = _head(params["heads"]["tags"], model.dropped(config, hs, dropout, config.layers - 1), precision)
    if config.labels:
        pooled = model.dropped(config, pool(config, hs, inputs), dropout, config.layers)
        found["labels"] = _head(params["heads"]["labels"], pooled, precision)
    return found


def pool(config: LabelConfig, hs: Array, inputs: Inputs) -> Array:
    """One vector [K, N'] for each sequence, from the outputs hs [T, B, N] at its symbols."""
    parts = []
    if config.pool != "mean":
        lasts = hs[inputs.last, inputs.column, : config.size]  # each direction has read the whole sequence at another end of it
        parts += [lasts] if config.direction == "forward" else [lasts, hs[inputs.first, inputs.column, config.size :]]
    if config.pool != "last":
        K = len(inputs.first)
        sums = jax.ops.segment_sum(hs.reshape(-1, hs.shape[-1]), inputs.slots.reshape(-1), K + 1)[:K]
        parts.append(sums / jnp.maximum(inputs.last - inputs.first + 1, 1)[:, None])
    return jnp.concatenate(parts, -1)


def _head(head: Params, hs: Array, precision: str) -> Array:
    return product(hs, head["W"], precision) + head["b"]


def nats(logits: Array, targets: Array) -> Array:
    """−ln p of targets [...] among logits [..., L]; of independent labels, targets [..., L] of bool, the sum over them."""
    if targets.dtype == bool:
        return jnp.where(targets, jax.nn.softplus(-logits), jax.nn.softplus(logits)).sum(-1)
    chosen = jnp.take_along_axis(logits, jnp.maximum(targets, 0)[..., None], -1)[..., 0]
    return jax.nn.logsumexp(logits, -1) - chosen
