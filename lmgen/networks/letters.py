"""Words read with their letters: the vector of a word is that of its id plus that of its letters.

Parameters are those of the network that reads, "embedding" [V, E] among them, and "letters" [BUCKETS, E]. Shapes: T time,
B batch, E embedding, U different words, M features of a word.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from lmgen.data.vocab import Vocab
from lmgen.labelled.spelling import hashed
from lmgen.nn.embedding import Rows, lookup
from lmgen.nn.model import Params

AT_ONCE = 1024  # words of which a folded table is computed at a time


class Words(NamedTuple):
    """Ids [T, B] as the `numbers` of different `words` [U], and the `buckets` [U, M] of their letters, −1 for none."""

    numbers: Any
    words: Any
    buckets: Any


def words_of(ids: np.ndarray, letters: np.ndarray, full: bool = False) -> Words:
    """The different words of ids [T, B]; `letters` [V, M] are the buckets of every word's letters. With `full` there is room for
    as many words as the ids could have, so that all devices have arrays of the same shapes."""
    words, numbers = np.unique(ids, return_inverse=True)
    most = min(ids.size, len(letters)) if full else len(words)
    words = np.pad(words, (0, (1 << (most - 1).bit_length()) - len(words)))  # powers of two: few shapes to compile
    return Words(numbers.reshape(ids.shape).astype(np.int32), words, letters[words])


@lru_cache(1)
def of_vocabulary(vocab: Vocab) -> np.ndarray:
    """The buckets of the letters of every id [V, M]."""
    return hashed(["", "", *vocab.symbols])


def vectors(table: Array, buckets: Array) -> Array:
    """The vectors [U, E] of the letters in buckets [U, M]: their sum, divided by the root of their number."""
    there = buckets >= 0
    total = jnp.where(there[..., None], table[buckets], 0).sum(1)
    return total / jnp.sqrt(jnp.maximum(there.sum(-1, keepdims=True), 1))


def read(params: Params, inputs: Words, precision: str) -> Rows:
    """The ids [T, B] and the vectors [T, B, E] of a window; `params` may hold `Rows`, those of the words, as the embedding."""
    own = params["embedding"]
    own = own.values if isinstance(own, Rows) else lookup(own, inputs.words, precision)
    rows = own + vectors(params["letters"], inputs.buckets)
    return Rows(inputs.words[inputs.numbers], lookup(rows, inputs.numbers, precision))


@jax.jit
def folded(params: Params, buckets: Array) -> Params:
    """The parameters of the plain language model that reads and predicts the same, from the buckets [V, M] of all ids.

    Its embedding has the letters in it. What a tied head predicts by has not, so it becomes a matrix of its own.
    """
    embedding, head, rest = params["embedding"], dict(params["head"]), {**params}
    if "W" not in head:
        head["W"] = head.pop("P") @ embedding.T if "P" in head else embedding.T
    table = rest.pop("letters")
    letters = jax.lax.map(lambda word: vectors(table, word[None])[0], buckets, batch_size=AT_ONCE)
    return {**rest, "embedding": embedding + letters, "head": head}
