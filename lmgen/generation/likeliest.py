"""The likeliest whole sequences of a model in their exact order, by best-first search.

The nats of a text are no fewer than those of its beginnings. So if beginnings are read in the order of their nats (Dijkstra),
a whole text comes only after all that are likelier, and what has not come yet has at least the nats of the best beginning not
yet read. Many beginnings are read at a time, which changes the work and not the order. Shapes: B rows, V vocabulary.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from itertools import count
from typing import Any

import jax
import numpy as np

from lmgen.constraints.constraint import constraint
from lmgen.data.vocab import EOS, UNK
from lmgen.generation.conditional import axes_of
from lmgen.generation.sampling import Settings, is_known
from lmgen.models.capabilities import Generates, Model, finite, require

ROWS = 32  # beginnings read at a time
MOST_BEGINNINGS = 100_000
MOST_MEMORY = 1 << 29  # bytes of what is kept of them


@dataclass(frozen=True)
class Likely:
    """A whole sequence: its text with the prompt; nats and number of its symbols behind the prompt, EOS included; whether it is
    in the corpus (None if that is not known)."""

    text: str
    nats: float
    symbols: int
    known: bool | None = None


@dataclass(frozen=True)
class Ranking:
    """The likeliest sequences in their order; no other has fewer nats than `bound`, which is infinite if there is no other.

    It is not `whole` where the search stopped before it had found all that were wanted. `beginnings` is the number of beginnings
    of sequences that it read.
    """

    found: list[Likely]
    bound: float
    whole: bool
    beginnings: int


@dataclass(frozen=True, eq=False)
class _Beginning:
    """What was read: its ids behind the prompt, its state of the constraint, the model's state, and what may follow, from the
    likeliest on, with the nats of all up to there."""

    ids: tuple[int, ...]
    state: int
    memory: list[np.ndarray]
    following: np.ndarray
    nats: np.ndarray


def likeliest(lm: Model, wanted: int, settings: Settings, prompt: str = "", most: int = MOST_BEGINNINGS) -> Ranking:
    """The `wanted` likeliest sequences behind a prompt, of those that satisfy the constraints among the settings.

    Raises InputError for a model that does not write, and where no text satisfies them.
    """
    lm = require(lm, Generates, "use lmgen {command}, or train one with --task language --direction forward")
    start = lm.vocab.encode(prompt).astype(np.int32)
    asked = constraint(lm.vocab, settings, start)
    axes, structure = axes_of(lm), jax.tree.structure(lm.start(1))
    queue: list[tuple[float, int, _Beginning, int]] = []
    found: list[Likely] = []
    order, read, held = count(), 0, 0

    def push(one: _Beginning, rank: int) -> None:
        if rank < len(one.following):
            heapq.heappush(queue, (float(one.nats[rank]), next(order), one, rank))

    def allowed(states: list[int], lengths: list[int]) -> np.ndarray:
        if asked:
            return asked.allowed(np.array(states), np.array(lengths))
        fine = np.ones((len(states), len(lm.vocab)), bool)
        fine[:, UNK] = settings.unknown
        fine[np.array(lengths) >= settings.max_length - 1, EOS + 1 :] = False
        return fine

    def expand(batch: list[tuple[tuple[int, ...], int, float, Any, int]]) -> None:
        """Read the last id of each beginning: (ids, state of the constraint, nats, the model's state before it, id)."""
        nonlocal held
        padded = [*batch, *batch[:1] * (ROWS - len(batch))]
        memory = [np.concatenate(parts, axis) for axis, *parts in zip(axes, *(each[3] for each in padded), strict=True)]
        after, logits = lm.read(jax.tree.unflatten(structure, memory), np.array([[each[4] for each in padded]], np.int32))
        leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(after)]
        numbers = finite(np.asarray(logits[0], np.float64))[: len(batch)]
        high = numbers.max(1, keepdims=True)
        nats = high + np.log(np.exp(numbers - high).sum(1, keepdims=True)) - numbers
        fine = allowed([each[1] for each in batch], [len(each[0]) for each in batch])
        for row, (ids, state, before, _, _) in enumerate(batch):
            some = np.flatnonzero(fine[row])
            some = some[np.argsort(nats[row, some], kind="stable")].astype(np.int32)
            kept = [np.take(leaf, [row], axis) for axis, leaf in zip(axes, leaves, strict=True)]
            one = _Beginning(ids, state, kept, some, before + nats[row, some])
            held += one.following.nbytes + one.nats.nbytes + sum(leaf.nbytes for leaf in kept)
            push(one, 0)

    memory = [np.asarray(leaf) for leaf in jax.tree.leaves(lm.start(1))]
    for id in [EOS, *start[:-1].tolist()][: len(start)]:
        state, _ = lm.read(jax.tree.unflatten(structure, memory), np.array([[id]], np.int32))
        memory = [np.asarray(leaf) for leaf in jax.tree.leaves(state)]
    expand([((), asked.start if asked else 0, 0.0, memory, int(start[-1]) if len(start) else EOS)])
    while queue and len(found) < wanted and read < most and held < MOST_MEMORY:
        batch: list[tuple[tuple[int, ...], int, float, Any, int]] = []
        while queue and len(batch) < ROWS:
            nats, _, one, rank = queue[0]
            id = int(one.following[rank])
            if id == EOS and batch:
                break  # what is read in this batch may be likelier
            heapq.heappop(queue)
            push(one, rank + 1)
            if id != EOS:
                batch.append(((*one.ids, id), asked.after(one.state, id) if asked else 0, nats, one.memory, id))
            else:
                text = lm.vocab.decode([*start, *one.ids])
                known = None if lm.known is None else is_known(lm, text)
                found.append(Likely(text, nats, len(one.ids) + 1, known))
                if len(found) == wanted:
                    break
        if batch:
            expand(batch)
            read += len(batch)
    return Ranking(found, queue[0][0] if queue else np.inf, len(found) >= wanted or not queue, read)
