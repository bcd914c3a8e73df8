"""The n-gram language model: interpolated modified Kneser-Ney smoothing (Chen & Goodman 1999, section 4.1.6) in sorted arrays.

The n-grams form a tree. Level k holds the k-grams that occur: the node of w_1 … w_k is the child w_k of that of w_1 … w_{k-1},
with the key parent · V + w_k; nodes are numbered in the order of their keys. On level 1 the node of an id is the id.

The state holds the nodes of the last 1, 2, … symbols, −1 where these do not occur. Where sequences are independent, contexts do
not reach back over EOS, which is then the only symbol of its context. Shapes: T time, B batch, V vocabulary, m nodes of a level.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.typing import ArrayLike

from lmgen.data.vocab import EOS, Vocab
from lmgen.errors import CheckpointError
from lmgen.models import kinds
from lmgen.models.capabilities import Generates, HoldsNGrams
from lmgen.models.provenance import Provenance
from lmgen.options.kinds import MOST_ORDER
from lmgen.system import trees
from lmgen.system.arrayfile import Arrays

FALLBACK = (0.5, 1.0, 1.5)  # the discounts of counts 1, 2 and more, where counts of counts give none
MOST = MOST_ORDER
SANE = 1e6  # nats; no text is long enough for less likely n-grams
BLOCK = 1 << 16  # symbols whose contexts are held at a time
ROUNDING = 1e-3  # nats below 0 that rounding explains


@dataclass(frozen=True)
class NGramConfig:
    """An n-gram model: the size of its vocabulary, its order n, and whether contexts reach back over EOS."""

    vocab: int
    order: int = 5
    carry: bool = False
    cell: str = "ngram"
    direction: str = "forward"

    def describe(self) -> str:
        """In a few words."""
        return f"ngram of order {self.order}"


class Level(NamedTuple):
    """The k-grams of a model: keys [m] uint64 (on level 1 all ids), ln p of the last symbol given the others [m], and ln of the
    backoff weight of the k-gram as a context [m]; float32."""

    keys: np.ndarray
    log_p: np.ndarray
    backoff: np.ndarray


@dataclass(frozen=True, eq=False)
class NGramModel(Generates, HoldsNGrams):
    """An n-gram model."""

    kind = kinds.NGRAM
    configuration = NGramConfig

    config: NGramConfig
    levels: list[Level]
    vocab: Vocab
    provenance: Provenance = field(default_factory=Provenance)

    @classmethod
    def from_arrays(cls, config: Any, arrays: Arrays, vocab: Vocab, precision: str, provenance: Provenance) -> NGramModel:
        return cls(config, levels_of(config, arrays, provenance.weights), vocab, provenance)

    def __len__(self) -> int:
        """The number of n-grams of all lengths."""
        return sum(len(level.keys) for level in self.levels)

    def arrays(self) -> Arrays:
        return trees.flatten([level._asdict() for level in self.levels])

    def start(self, batch: int) -> np.ndarray:
        """The nodes [order − 1, B] before anything is read: none."""
        return np.full((len(self.levels) - 1, batch), -1, np.int64)

    def contexts(self, state: np.ndarray, ids: np.ndarray) -> list[np.ndarray]:
        """For k = 1, …, order − 1 the node of the last k symbols up to each of ids [T, B]."""
        found: list[np.ndarray] = []
        nodes = ids.astype(np.int64)
        for k in range(len(self.levels) - 1):
            if k:
                before = np.concatenate([state[k - 1][None], found[-1][:-1]])
                nodes = child(self.levels[k].keys, before, ids, self.config.vocab)
                nodes = nodes if self.carry else np.where(ids == EOS, -1, nodes)
            found.append(nodes)
        return found

    def lengths(self, stream: np.ndarray) -> np.ndarray:
        """How long a context the model has seen before each symbol of a stream after its first [n − 1]."""
        state, found = self.start(1), []
        for at in range(0, len(stream) - 1, BLOCK):
            ids = np.asarray(stream[at : min(at + BLOCK, len(stream) - 1)])[:, None]
            contexts = self.contexts(state, ids)
            state = after(state, contexts)
            found.append(lengths(contexts, ids)[:, 0])
        return np.concatenate(found)

    def nats(self, state: np.ndarray, window: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        window = np.asarray(window)
        before = self.contexts(state, window[:-1])
        return after(state, before), -self.log_p_of(before, window[1:])

    def log_p_of(self, contexts: list[np.ndarray], targets: np.ndarray) -> np.ndarray:
        """ln p [T, B] of a target after each of the contexts."""
        targets = targets.astype(np.int64)
        log_p = self.levels[0].log_p[targets]
        for level, lower, context in zip(self.levels[1:], self.levels[:-1], contexts, strict=True):
            if not len(lower.keys):
                break
            node = child(level.keys, context, targets, self.config.vocab)
            backed_off = log_p + np.where(context >= 0, lower.backoff[context], 0)
            log_p = np.where(node >= 0, level.log_p[node], backed_off) if len(level.keys) else backed_off
        if (log_p > ROUNDING).any():
            raise CheckpointError("this n-gram model gives a symbol a probability above 1: fit it anew")
        return log_p

    def read(self, state: np.ndarray, ids: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        before = self.contexts(state, np.asarray(ids))
        return after(state, before), self.log_p_after(before, np.shape(ids))

    def log_p_after(self, contexts: list[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
        """ln p [T, B, V] of what follows each of the contexts [T, B]."""
        log_p, vocab = np.tile(self.levels[0].log_p, (int(np.prod(shape)), 1)), np.uint64(self.config.vocab)
        for level, lower, nodes in zip(self.levels[1:], self.levels[:-1], contexts, strict=True):
            context = nodes.reshape(-1)
            rows = np.flatnonzero(context >= 0)
            log_p[rows] += lower.backoff[context[rows], None]
            edges = context[rows].astype(np.uint64) * vocab
            first = np.searchsorted(level.keys, edges)
            children = np.searchsorted(level.keys, edges + vocab) - first
            each = np.repeat(first - np.cumsum(children) + children, children) + np.arange(children.sum())
            log_p[np.repeat(rows, children), level.keys[each] % vocab] = level.log_p[each]
        return log_p.reshape(*shape, self.config.vocab)


def lengths(contexts: list[np.ndarray], ids: np.ndarray) -> np.ndarray:
    """The number of symbols of the longest context at each of the ids [T, B]."""
    return sum(((nodes >= 0).astype(np.int32) for nodes in contexts), np.zeros(ids.shape, np.int32))


def levels_of(config: NGramConfig, arrays: Arrays, where: str) -> list[Level]:
    """The levels of a model from its saved arrays. Raises CheckpointError for arrays that are damaged."""
    template = []
    for k in range(config.order):
        size = arrays[f"{k}/keys"].size if f"{k}/keys" in arrays else 0
        kinds = {"keys": np.uint64, "log_p": np.float32, "backoff": np.float32}
        template.append({name: jax.ShapeDtypeStruct((size,), kind) for name, kind in kinds.items()})
    levels = [Level(**level) for level in trees.unflatten(template, arrays, where)]
    below = config.vocab
    for k, level in enumerate(levels):  # no key may lead out of its level
        inside = not len(level.keys) or level.keys[-1] < below * (config.vocab if k else 1)
        ascending = bool((level.keys[1:] > level.keys[:-1]).all())
        numbers = all((np.abs(a) < SANE).all() for a in (level.log_p, level.backoff))  # false for NaN, too
        if not (inside and ascending and numbers) or (k == 0 and len(level.keys) != config.vocab):
            raise CheckpointError(f"{where} has damaged n-grams of order {k + 1}: copy the whole directory again")
        below = len(level.keys)
    return levels


def child(keys: np.ndarray, parents: np.ndarray, ids: np.ndarray, vocab: int) -> np.ndarray:
    """The nodes of `ids` under `parents`, −1 where there is none."""
    wanted = parents.astype(np.uint64) * np.uint64(vocab) + ids.astype(np.uint64)  # parents of −1 are sorted out below
    if not len(keys):
        return np.full(wanted.shape, -1, np.int64)
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where((parents >= 0) & (keys[place] == wanted), place, -1)


def after(state: np.ndarray, contexts: list[np.ndarray]) -> np.ndarray:
    """The state after the last of the contexts that follow a state."""
    return np.stack([nodes[-1] for nodes in contexts]) if contexts else state


# ---- counting ----------------------------------------------------------------------------------------------------------


@dataclass
class _Counted:
    """The k-grams of a text: keys [m]; `raw`, the count of each; whether it begins with EOS; the node of its last k − 1 symbols;
    `before`, the number of different symbols before it, known once level k + 1 is counted (its count, if none can be)."""

    keys: np.ndarray
    raw: np.ndarray
    begins: np.ndarray
    suffix: np.ndarray
    before: np.ndarray | None = None


class Counts:
    """The k-grams of a stream of ids (which begins and ends with EOS), each level counted when it is first needed."""

    def __init__(self, stream: np.ndarray, vocab: int, carry: bool):
        self.stream, self.vocab, self.carry = np.asarray(stream), vocab, carry
        ids = np.arange(vocab)
        raw = np.bincount(self.stream[1:], minlength=vocab)
        self._levels = [_Counted(ids.astype(np.uint64), raw, ids == EOS, np.zeros(vocab, np.int64))]
        self._nodes = self.stream.astype(np.int64)  # the node of the k symbols that end at each place

    def upto(self, order: int) -> list[_Counted]:
        """The levels 1 to `order`."""
        while len(self._levels) < order:
            self._count_one_more()
        return self._levels[:order]

    def _count_one_more(self) -> None:
        last, k = self._levels[-1], len(self._levels) + 1
        parents = self._nodes[:-1]
        if k > 2 and not self.carry:
            parents = np.where(self.stream[:-1] == EOS, -1, parents)
        places = np.flatnonzero(parents >= 0)
        keys = parents[places].astype(np.uint64) * np.uint64(self.vocab) + self.stream[places + 1].astype(np.uint64)
        keys, nodes, raw = np.unique(keys, return_inverse=True, return_counts=True)
        suffix = np.empty(len(keys), np.int64)
        suffix[nodes] = self._nodes[places + 1]
        last.before = np.bincount(suffix, minlength=len(last.keys))
        if k > 2 and not self.carry:
            last.before = np.where(last.begins, last.raw, last.before)
        elif k > 2 and len(self._nodes) >= k - 1:
            last.before[self._nodes[k - 2]] += 1  # before the very first stands the beginning of the text
        begins = last.begins[(keys // np.uint64(self.vocab)).astype(np.int64)]
        self._levels.append(_Counted(keys, raw, begins, suffix))
        self._nodes = np.full(len(self.stream), -1, np.int64)
        self._nodes[places + 1] = nodes


def discounts(counts: np.ndarray) -> np.ndarray:
    """The discounts of the counts 0, 1, 2 and more [4], from how many n-grams have the counts 1 to 4 (Chen & Goodman 1999,
    equation 26); FALLBACK where these are too few."""
    n1, n2, n3, n4 = (int(np.count_nonzero(counts == j)) for j in (1, 2, 3, 4))
    if min(n1, n2, n3, n4) == 0:
        return np.array([0.0, *FALLBACK])
    y = n1 / (n1 + 2 * n2)
    found = np.array([0.0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3])
    fine = (found[1:] > 0).all() and (found[1:] <= [1, 2, 3]).all()
    return found if fine else np.array([0.0, *FALLBACK])


def smoothed(counts: Counts, order: int, least: int = 1) -> list[Level]:
    """The levels of a model of an order: it smooths the counts of the longest n-grams, and of the others the numbers of different
    symbols before them.

    p(w | context) = (c − D(c)) / Σ c + γ p(w | shorter context), where γ makes the sum 1, and below the 1-grams all V are equal.
    N-grams of two symbols and more that occur less often than `least` are left out: all of their count goes to γ.
    """
    counted = counts.upto(order)
    levels: list[Level] = []
    p = np.full(1, 1 / counts.vocab)
    places = kept = np.zeros(1, np.int64)  # of the level below: the number of each node among those that are kept, and these
    for k, level in enumerate(counted, 1):
        c = level.raw if k == order else level.before
        assert c is not None
        stays = level.raw >= (least if k > 1 else 0)
        taken = np.where(stays, discounts(c)[np.minimum(c, 3)], c)
        parents = (level.keys // np.uint64(counts.vocab)).astype(np.int64)
        total = np.bincount(parents, c, len(p))
        gamma = np.bincount(parents, taken, len(p)) / np.maximum(total, 1)
        if levels:
            backoff = np.log(gamma, out=np.zeros(len(p)), where=gamma > 0)[kept]
            levels[-1] = levels[-1]._replace(backoff=backoff.astype(np.float32))
        p = (c - taken) / np.maximum(total, 1)[parents] + gamma[parents] * p[level.suffix]
        kept = np.flatnonzero(stays)
        parent, last = places[parents[kept]].astype(np.uint64), level.keys[kept] % np.uint64(counts.vocab)
        places = np.cumsum(stays) - 1
        log_p = np.log(p[kept]).astype(np.float32)
        levels.append(Level(parent * np.uint64(counts.vocab) + last, log_p, np.zeros(len(kept), np.float32)))
    return levels


def longer(counts: Counts, order: int, least: int = 1) -> int:
    """How many n-grams of two symbols and more such a model has."""
    return sum(int(np.count_nonzero(level.raw >= least)) for level in counts.upto(order)[1:])
