"""Targets for sources: by beam search, of which greedy search is the case of one hypothesis, or drawn at random.

The columns of the network are hypotheses, so that a step of the search is a step of the network. Shapes: B sources, K hypotheses
of each, S rows of the source, L rows of the target, V ids that can be predicted; a hypothesis also chooses among the S places of
its source, to copy.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from lmgen.data.vocab import EOS, UNK
from lmgen.networks import translating
from lmgen.networks.translating import Inputs, TranslatorConfig
from lmgen.nn import model
from lmgen.nn.embedding import Rows, lookup
from lmgen.nn.model import Params

NONE = -jnp.inf


@dataclass(frozen=True)
class Search:
    """How targets are found: the number of hypotheses; their score is log p ÷ length^`penalty`; with a temperature above 0 they
    are drawn at random instead; `longest` is the most symbols of a target, EOS included."""

    beam: int = 1
    penalty: float = 1.0
    temperature: float = 0.0
    longest: int = 100


class Found(NamedTuple):
    """Targets, the best first: ids [L, B, K] with EOS from their end on, those beyond the vocabulary being words of the source;
    `nats` [B, K], `lengths` [B, K] with EOS, whether they `ended` [B, K]; `weights` [L, B, K, S], where each symbol looked."""

    ids: Array
    nats: Array
    lengths: Array
    ended: Array
    weights: Array


class _Beam(NamedTuple):
    """The hypotheses so far; the state and the outputs hs are those of B K columns."""

    state: Any
    hs: Array
    total: Array
    ended: Array
    length: Array
    ids: Array
    weights: Array


@partial(jax.jit, static_argnums=(0, 1, 4))
def decode(config: TranslatorConfig, precision: str, params: Params, inputs: Inputs, search: Search, key: Array) -> Found:
    """Targets for sources, which all end with SEP in the last row of inputs [S, B]."""
    S, B = inputs.ids.shape
    K, V = search.beam, config.targets
    first, hs, memory = translating.sides(config, precision, params, inputs)
    memory, visible = memory.repeat(K, 1), inputs.source.T.repeat(K, 0)[None]
    words = inputs.ids.T.repeat(K, 0)  # [B K, S]
    own, columns = translating.head(config, params), jnp.arange(B)[:, None]

    def log_p(hs: Array) -> tuple[Array, Array]:
        """ln p [B, K, V + S] of each next symbol and of each copy of a word that cannot be predicted; the weights [B K, S]."""
        hs = model.normalised(params["head"], hs) if config.head_norm else hs
        weights = jnp.zeros((B * K, S))
        if config.attention:
            context, looked = translating.attend(params, hs[None], memory, visible, precision)
            hs, weights = translating.joined(params, hs, context[0], precision), looked[0]
        written = jax.nn.log_softmax(model.logits(own, hs, precision))
        if not config.attention:  # an unknown word has no place in the source
            written = jax.nn.log_softmax(written.at[:, UNK].set(NONE))
        copies = jnp.full((B * K, S), NONE)
        if config.copy:
            g = translating.gate(params, hs, precision)[:, None]
            same = (words[:, :, None] == words[:, None]) & visible[0][:, None]  # [B K, S, S]
            copied = jnp.where(same, weights[:, None], 0).sum(-1) * visible[0]
            earlier = (same & jnp.tri(S, k=-1, dtype=bool)).any(-1)
            copied = jnp.where(earlier, 0, copied)  # a word that comes more than once is copied from its first place
            of_words = (
                jnp.zeros_like(written)
                .at[jnp.arange(B * K)[:, None], jnp.where(words < V, words, UNK)]
                .add(jnp.where(words < V, copied, 0))
            )
            written = jnp.log(g * jnp.exp(written.at[:, UNK].set(NONE)) + (1 - g) * of_words)
            copies = jnp.log((1 - g) * jnp.where(words < V, 0, copied))
        return jnp.concatenate([written, copies], -1).reshape(B, K, V + S), weights

    def step(at: Array, beam: _Beam) -> _Beam:
        following, looked = log_p(beam.hs)
        following = jnp.where(beam.ended[..., None], jnp.where(jnp.arange(V + S) == EOS, 0.0, NONE), following)
        grown = jnp.where(beam.ended, beam.length, beam.length + 1)
        if search.temperature:
            parent = jnp.broadcast_to(jnp.arange(K), (B, K))
            choice = jax.random.categorical(jax.random.fold_in(key, at), following / search.temperature)
            total = beam.total + jnp.take_along_axis(following, choice[..., None], -1)[..., 0]
        else:
            candidates = beam.total[..., None] + following
            ranked = candidates / grown[..., None] ** search.penalty
            _, best = lax.top_k(ranked.reshape(B, -1), K)
            parent, choice = best // (V + S), best % (V + S)
            total = jnp.take_along_axis(candidates.reshape(B, -1), best, 1)
        flat = (columns * K + parent).reshape(-1)
        place = jnp.where(choice < V, jnp.argmax(looked[flat].reshape(B, K, S), -1), choice - V)
        there = jnp.take_along_axis(words[flat].reshape(B, K, S), place[..., None], -1)[..., 0]
        symbol = jnp.where((choice >= V) | (choice == UNK), there, choice).reshape(1, -1)
        read = translating.known(config, symbol)
        state = jax.tree.map(lambda a: a[flat], beam.state)
        rows = Rows(read, lookup(params["embedding"], read, precision))
        state, hs = model.read_stack(config, precision, params, rows, state, read, jnp.zeros(read.shape, bool), None)
        return _Beam(
            state,
            hs[0],
            total,
            jnp.take_along_axis(beam.ended, parent, 1) | (choice == EOS),
            jnp.take_along_axis(grown, parent, 1),
            beam.ids[:, flat].at[at].set(symbol[0]),
            beam.weights[:, flat].at[at].set(looked[flat]),
        )

    alone = jnp.where(jnp.arange(K) == 0, 0.0, 0.0 if search.temperature else NONE)  # all hypotheses are one at first
    beam = _Beam(
        jax.tree.map(lambda a: a.repeat(K, 0), first),
        hs[-1].repeat(K, 0),
        jnp.broadcast_to(alone, (B, K)),
        jnp.zeros((B, K), bool),
        jnp.zeros((B, K), jnp.int32),
        jnp.full((search.longest, B * K), EOS, jnp.int32),
        jnp.zeros((search.longest, B * K, S)),
    )
    _, beam = lax.while_loop(
        lambda carry: (carry[0] < search.longest) & ~carry[1].ended.all(),
        lambda carry: (carry[0] + 1, step(*carry)),
        (jnp.int32(0), beam),
    )
    order = jnp.argsort(-beam.total / jnp.maximum(beam.length, 1) ** search.penalty, 1)
    total, length, ended = (jnp.take_along_axis(a, order, 1) for a in (beam.total, beam.length, beam.ended))
    flat = (columns * K + order).reshape(-1)
    ids, weights = beam.ids[:, flat].reshape(-1, B, K), beam.weights[:, flat].reshape(-1, B, K, S)
    return Found(ids, -total, length, ended, weights)
