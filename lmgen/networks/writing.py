"""The network that writes by label: a language model whose every input is the vector of the symbol plus that of the label.

Parameters are those of `model.py` and "labels" [L, E]. Shapes: T time, B batch, E embedding, K sequences, L labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from lmgen.data.vocab import UNK
from lmgen.labelled.corpus import UNKNOWN, Coded, Labels
from lmgen.labelled.packing import Block, taken
from lmgen.nn import model
from lmgen.nn.embedding import Rows, lookup
from lmgen.nn.model import NetworkConfig, Params


@dataclass(frozen=True)
class WriterConfig(NetworkConfig):
    """The architecture. The `labels` are no symbols, so that no text can forge one; with `several` a text may have any number of
    them, and is read with the mean of their vectors."""

    task: str = "generate"
    labels: tuple[str, ...] = ()
    several: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", tuple(self.labels))  # a list in JSON

    @property
    def names(self) -> Labels:
        return Labels(self.labels, (), self.several)


class Inputs(NamedTuple):
    """What the network reads: `ids` [T, B], `slots` [T, B], the text that a symbol belongs to (K for none), and the share of each
    label in each text, `shares` [K, L]. `fresh` [T, B] is where the state is forgotten first."""

    ids: Any
    slots: Any
    shares: Any
    fresh: Any


def init(config: WriterConfig, key: Array) -> Params:
    """Fresh parameters: those of `model.init`, and normal vectors of the labels, as those of the symbols."""
    key, labels = jax.random.split(key)
    vectors = jax.random.normal(labels, (len(config.labels), config.embedding)) * config.embedding**-0.5
    return {**model.init(config, key), "labels": vectors}


def inputs_of(data: Coded, block: Block, vocab: int, labels: int) -> tuple[Inputs, np.ndarray, np.ndarray]:
    """What the network reads of a block, the targets [T, B] that follow each symbol, and where there are some.

    A text is read from the EOS before it and predicted to the EOS behind it; words beyond the `vocab` ids are UNK.
    """
    assert data.labels is not None
    there = block.of >= 0
    slot, column, before = np.flatnonzero(there), block.column[there], block.first[there] - 1
    places, slots = block.places.copy(), block.slots.copy()
    places[before, column], slots[before, column] = data.starts[block.of[there]] - 1, slot
    read = places >= 0
    ids, targets = (taken(data.stream, np.where(read, places + ahead, -1)) for ahead in (0, 1))
    shares = np.zeros((len(block.of), labels), np.float32)
    gold = data.labels[block.of[there]]
    if gold.ndim == 2:
        shares[slot] = gold / np.maximum(gold.sum(1, keepdims=True), 1)
    else:
        shares[slot[gold != UNKNOWN], gold[gold != UNKNOWN]] = 1
    ids, targets = (np.where(some < vocab, some, UNK).astype(np.int32) for some in (ids, targets))
    fresh = ~read
    fresh[before, column] = True
    return Inputs(ids, slots, shares, fresh), targets, read.astype(np.float32)


def nats(
    config: WriterConfig, precision: str, params: Params, inputs: Inputs, targets: Array, dropout: Array | None = None
) -> Array:
    """−ln p of each target [T, B], given the label and the symbols before it."""
    labels = jnp.concatenate([inputs.shares @ params["labels"], jnp.zeros((1, config.embedding))])
    rows = Rows(inputs.ids, lookup(params["embedding"], inputs.ids, precision) + lookup(labels, inputs.slots, precision))
    start = model.start(config, inputs.ids.shape[1])
    hs = model.read_stack(config, precision, params, rows, start, inputs.ids, inputs.fresh, dropout)[1]
    return model.nats(params, model.head_inputs(config, params, hs, dropout), targets, precision)


def by(params: Params, shares: Any) -> Params:
    """The parameters of a language model that writes by the labels with these shares [L]: each symbol's vector has theirs in it.

    A head that is tied to the embedding stays right: the same number is added to all logits.
    """
    return {**params, "embedding": params["embedding"] + shares @ params["labels"]}
