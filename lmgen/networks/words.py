"""What networks that label read of a symbol: its own vector, the vectors of its letters, and a vector made elsewhere.

Parameters: "embedding" [V, E]; with hashing "letters" [BUCKETS, E]; with vectors made elsewhere "vectors" [V, D].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from lmgen.data.vocab import EOS, SPECIAL, UNK
from lmgen.labelled import spelling
from lmgen.networks.letters import vectors, words_of
from lmgen.nn import model
from lmgen.nn.embedding import lookup
from lmgen.nn.model import NetworkConfig, Params

FORGOTTEN = 0.1  # the share of symbols that are read as UNK in training, so that unknown ones are learnt, too


@dataclass(frozen=True)
class WordsConfig(NetworkConfig):
    """The architecture of a network that reads symbols so.

    `words` is the number of rows of the embedding: the symbols that training has seen. With `hashed` a word also reads the mean
    of the vectors of its letter n-grams; `vectors` is the size of vectors made elsewhere. Training leaves the parameters named in
    `frozen` as they are.
    """

    words: int = 0
    vectors: int = 0
    frozen: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        return self.words

    @property
    def inputs(self) -> int:
        """Size of the vector of a symbol."""
        return self.embedding + self.vectors


def init(config: WordsConfig, embedding: Array, letters: Array) -> Params:
    """Fresh parameters, from two random keys; vectors made elsewhere are zero."""
    size = config.embedding
    params: Params = {"embedding": jax.random.normal(embedding, (config.words, size)) * size**-0.5}
    if config.hashed:
        params["letters"] = model.init_letters(config, letters)
    if config.vectors:
        params["vectors"] = jnp.zeros((config.vocab, config.vectors))
    return params


class Spelt(NamedTuple):
    """What is known of each word by its spelling, of those of the vocabulary and of others, which have the ids from V on: the
    buckets of its `letters` [V + others, M], if letters are read; and, if there are vectors made elsewhere, the id that it is
    `alike` to [V + others], whose vector it has."""

    letters: np.ndarray | None = None
    alike: np.ndarray | None = None


def spelt(
    config: WordsConfig, symbols: Sequence[str], others: Sequence[str] = (), own: Any = None, ids: Mapping[str, int] | None = None
) -> Spelt:
    """What is known of the `symbols` of a vocabulary, and of other words; `own` are the buckets and `ids` the ids of the former,
    where they are at hand. A word that is not in the vocabulary is alike to its lower case, if that is there, or else to UNK."""
    letters = alike = None
    if config.hashed:
        own = spelling.hashed([*SPECIAL * [""], *symbols]) if own is None else own
        letters = spelling.joined(own, spelling.hashed(others)) if others else own
    if config.vectors:
        ids = ids or {symbol: id for id, symbol in enumerate(symbols, SPECIAL)}
        found = [ids.get(word.lower(), UNK) for word in others]
        alike = np.concatenate([np.arange(config.vocab), np.array(found, np.int64)]).astype(np.int32)
    return Spelt(letters, alike)


def inputs_of(ids: np.ndarray, spelt: Spelt, full: bool = False) -> tuple[np.ndarray, ...]:
    """The `ids`; where letters are read, numbers into `words` [U] in their place, the ids of these, and the `buckets` of their
    letters [U, M], with `full` as for `words_of`."""
    if spelt.letters is None:
        return (ids if spelt.alike is None else spelt.alike[ids],)
    numbers, words, buckets = words_of(ids, spelt.letters, full)
    return numbers, words if spelt.alike is None else spelt.alike[words], buckets


def embedded(config: WordsConfig, precision: str, params: Params, inputs: Any, dropout: Array | None) -> Array:
    """The vectors [..., E] of the symbols that `inputs` names as `inputs_of` does; in training, with `dropout`, a random key,
    some symbols are read as UNK."""
    words = inputs.ids if inputs.words is None else inputs.words
    seen = jnp.where(words < config.words, words, UNK)
    known = jnp.where(words < config.vocab, words, UNK)
    if dropout is not None:
        dropout, blanks = jax.random.split(dropout)
        seen = jnp.where((seen != EOS) & jax.random.bernoulli(blanks, FORGOTTEN, seen.shape), UNK, seen)
    if inputs.words is None:
        rows = lookup(params["embedding"], seen, precision)
    else:
        rows = lookup(params["embedding"][seen] + vectors(params["letters"], inputs.buckets), inputs.ids, precision)
        known = known[inputs.ids]
    if config.vectors:
        rows = jnp.concatenate([rows, params["vectors"][known]], -1)
    return model.dropped(config, rows, dropout, 2 * config.layers)
