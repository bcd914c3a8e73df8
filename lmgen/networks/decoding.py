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
    """The hypotheses so far; the state and the outputs hs are those of B K columns.

    Of each step [L, B K] `ids` are the symbols, `parents` the columns of the hypotheses that they continue, and `weights` where
    they looked: so a step writes its own rows alone, and a hypothesis is read from its end.
    """

    state: Any
    hs: Array
    total: Array
    ended: Array
    length: Array
    ids: Array
    parents: Array
    weights: Array


@partial(jax.jit, static_argnums=(0, 1, 4))
def decode(config: TranslatorConfig, precision: str, params: Params, inputs: Inputs, search: Search, key: Array) -> Found:
    """Targets for sources, which all end with SEP in the last row of inputs [S, B]."""
    S, B = inputs.ids.shape
    K, V = search.beam, config.targets
    first, hs, memory = translating.sides(config, precision, params, inputs)
    visible, words = inputs.source.T, inputs.ids.T  # [B, S]
    own, columns = translating.head(config, params), jnp.arange(B)[:, None]

    def scored(hs: Array) -> tuple[Array, Array, Array]:
        """The scores [B, K, C] of each next symbol and, with copying, of each copy of a word that cannot be predicted; the
        logarithm [B, K] of what their exponentials sum to; and the weights [B, K, S]."""
        hs = model.normalised(params["head"], hs) if config.head_norm else hs
        weights = jnp.zeros((B, K, S))
        if config.attention:  # hypotheses take the place of times, so that all of a source share its memory
            by_source = hs.reshape(B, K, -1).swapaxes(0, 1)
            context, looked = translating.attend(params, by_source, memory, visible[None], precision)
            hs, weights = (
                translating.joined(params, hs, context.swapaxes(0, 1).reshape(B * K, -1), precision),
                looked.swapaxes(0, 1),
            )
        scores = model.logits(own, hs, precision).reshape(B, K, V)
        if not config.attention:  # an unknown word has no place in the source
            scores = scores.at[..., UNK].set(NONE)
        if not config.copy:
            return scores, jax.nn.logsumexp(scores, -1), weights
        g = translating.gate(params, hs, precision).reshape(B, K, 1)
        same = (words[:, :, None] == words[:, None]) & visible[:, None]  # [B, S, S]
        earlier = (same & jnp.tri(S, k=-1, dtype=bool)).any(-1)
        copied = jnp.einsum("bks,brs->bkr", weights, same.astype(weights.dtype))
        copied = jnp.where((visible & ~earlier)[:, None], copied, 0)  # a word that comes more than once: from its first place
        there = (words < V)[:, None]
        of_words = jnp.zeros_like(scores).at[columns[:, None], jnp.arange(K)[:, None], jnp.where(there, words[:, None], UNK)]
        written = jax.nn.softmax(scores).at[..., UNK].set(0)
        written = g * written + (1 - g) * of_words.add(jnp.where(there, copied, 0))
        copies = (1 - g) * jnp.where(there, 0, copied)
        return jnp.log(jnp.concatenate([written, copies], -1)), jnp.zeros((B, K)), weights

    def step(at: Array, beam: _Beam) -> _Beam:
        scores, sums, looked = scored(beam.hs)
        grown = jnp.where(beam.ended, beam.length, beam.length + 1)
        if search.temperature:
            parent = jnp.broadcast_to(jnp.arange(K), (B, K))
            choice = jax.random.categorical(jax.random.fold_in(key, at), scores / search.temperature)
            gain = jnp.take_along_axis(scores, choice[..., None], -1)[..., 0] - sums
            choice, total = jnp.where(beam.ended, EOS, choice), beam.total + jnp.where(beam.ended, 0, gain)
        else:
            best, choices = lax.top_k(scores, min(K, scores.shape[-1]))  # no more of one hypothesis can be among the best
            nothing = jnp.where(jnp.arange(best.shape[-1]) == 0, 0.0, NONE)
            gains = jnp.where(beam.ended[..., None], nothing, best - sums[..., None])
            choices = jnp.where(beam.ended[..., None], EOS, choices).reshape(B, -1)
            candidates = beam.total[..., None] + gains
            ranked = candidates / grown[..., None] ** search.penalty
            _, kept = lax.top_k(ranked.reshape(B, -1), K)
            parent, choice = kept // best.shape[-1], jnp.take_along_axis(choices, kept, 1)
            total = jnp.take_along_axis(candidates.reshape(B, -1), kept, 1)
        looked = jnp.take_along_axis(looked, parent[..., None], 1)
        flat = (columns * K + parent).reshape(-1)
        place = jnp.where(choice < V, jnp.argmax(looked, -1), choice - V)
        there = jnp.take_along_axis(words, place, 1)
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
            beam.ids.at[at].set(symbol[0]),
            beam.parents.at[at].set(flat),
            beam.weights.at[at].set(looked.reshape(B * K, S)),
        )

    alone = jnp.where(jnp.arange(K) == 0, 0.0, 0.0 if search.temperature else NONE)  # all hypotheses are one at first
    beam = _Beam(
        jax.tree.map(lambda a: a.repeat(K, 0), first),
        hs[-1].repeat(K, 0),
        jnp.broadcast_to(alone, (B, K)),
        jnp.broadcast_to(~visible.any(1)[:, None], (B, K)),  # a column without a source has nothing to end
        jnp.zeros((B, K), jnp.int32),
        jnp.full((search.longest, B * K), EOS, jnp.int32),
        jnp.broadcast_to(jnp.arange(B * K), (search.longest, B * K)),
        jnp.zeros((search.longest, B * K, S)),
    )
    _, beam = lax.while_loop(
        lambda carry: (carry[0] < search.longest) & ~carry[1].ended.all(),
        lambda carry: (carry[0] + 1, step(*carry)),
        (jnp.int32(0), beam),
    )
    order = jnp.argsort(-beam.total / jnp.maximum(beam.length, 1) ** search.penalty, 1)
    total, length, ended = (jnp.take_along_axis(a, order, 1) for a in (beam.total, beam.length, beam.ended))
    last = (columns * K + order).reshape(-1)
    _, places = lax.scan(lambda place, parents: (parents[place], place), last, beam.parents, reverse=True)
    steps = jnp.arange(search.longest)[:, None]
    ids, weights = beam.ids[steps, places].reshape(-1, B, K), beam.weights[steps, places].reshape(-1, B, K, S)
    return Found(ids, -total, length, ended, weights)
