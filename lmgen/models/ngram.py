"""The n-gram language model: interpolated modified Kneser-Ney smoothing (Chen & Goodman 1999, section 4.1.6) in sorted arrays.

The n-grams form a tree. Level k holds the k-grams that occur: the node of w_1 … w_k is the child w_k of that of w_1 … w_{k-1},
with the key parent · V + w_k; nodes are numbered in the order of their keys. On level 1 the node of an id is the id.

Reading goes down the tree from every place at once: what is remembered are the nodes of the last 1, 2, … symbols, −1 where these
do not occur. Where sequences are independent nothing is remembered from before EOS, which is then the only symbol of its context.
Shapes: T time, B batch, V vocabulary, m nodes of a level.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lmgen.data.vocab import EOS
from lmgen.options.kinds import MOST_ORDER

FALLBACK = (0.5, 1.0, 1.5)  # the discounts of counts 1, 2 and more, where counts of counts give none
MOST = MOST_ORDER


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
    """The k-grams of a model: keys [m] uint64 (of level 1 those of all ids), ln p of the last symbol given the others [m], and
    the ln of what a longer k-gram's probability is backed off with [m]; float32."""

    keys: np.ndarray
    log_p: np.ndarray
    backoff: np.ndarray


# ---- reading -----------------------------------------------------------------------------------------------------------


def start(levels: list[Level], batch: int) -> np.ndarray:
    """The nodes [order − 1, B] before anything is read: none."""
    return np.full((len(levels) - 1, batch), -1, np.int64)


def child(keys: np.ndarray, parents: np.ndarray, ids: np.ndarray, vocab: int) -> np.ndarray:
    """The nodes of `ids` under `parents`, −1 where there is none."""
    wanted = parents.astype(np.uint64) * np.uint64(vocab) + ids.astype(np.uint64)  # a parent −1 gives what is not there
    if not len(keys):
        return np.full(wanted.shape, -1, np.int64)
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where((parents >= 0) & (keys[place] == wanted), place, -1)


def contexts(levels: list[Level], config: NGramConfig, state: np.ndarray, ids: np.ndarray) -> list[np.ndarray]:
    """For k = 1, …, order − 1 the node of the last k symbols before each of ids [T, B] and after the last one [T + 1, B]."""
    found: list[np.ndarray] = []
    nodes = ids.astype(np.int64)
    for k in range(len(levels) - 1):
        if k:
            nodes = child(levels[k].keys, found[-1][:-1], ids, config.vocab)
            nodes = nodes if config.carry else np.where(ids == EOS, -1, nodes)
        found.append(np.concatenate([state[k][None], nodes]))
    return found


def nats(levels: list[Level], config: NGramConfig, state: np.ndarray, window: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The state after reading window[:-1] of [T + 1, B], and −ln p [T, B] of each following id."""
    before = [nodes[1:] for nodes in contexts(levels, config, state, window[:-1])]
    targets = window[1:].astype(np.int64)
    log_p = levels[0].log_p[targets]
    for level, lower, context in zip(levels[1:], levels[:-1], before, strict=True):
        if not len(lower.keys):
            break
        node = child(level.keys, context, targets, config.vocab)
        backed_off = log_p + np.where(context >= 0, lower.backoff[context], 0)
        log_p = np.where(node >= 0, level.log_p[node], backed_off) if len(level.keys) else backed_off
    return np.stack([nodes[-1] for nodes in before]) if before else state, -log_p


def read(levels: list[Level], config: NGramConfig, state: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The state after reading ids [T, B], and ln p [T, B, V] of all that may follow each."""
    before = [nodes[1:] for nodes in contexts(levels, config, state, ids)]
    log_p = np.tile(levels[0].log_p, (ids.size, 1))
    for level, lower, nodes in zip(levels[1:], levels[:-1], before, strict=True):
        context = nodes.reshape(-1)
        rows = np.flatnonzero(context >= 0)
        log_p[rows] += lower.backoff[context[rows], None]
        edges = context[rows].astype(np.uint64) * np.uint64(config.vocab)
        first = np.searchsorted(level.keys, edges)
        children = np.searchsorted(level.keys, edges + np.uint64(config.vocab)) - first
        each = np.repeat(first - np.cumsum(children) + children, children) + np.arange(children.sum())
        log_p[np.repeat(rows, children), level.keys[each] % np.uint64(config.vocab)] = level.log_p[each]
    after = np.stack([nodes[-1] for nodes in before]) if before else state
    return after, log_p.reshape(*ids.shape, config.vocab)


# ---- counting ----------------------------------------------------------------------------------------------------------


@dataclass
class _Counted:
    """The k-grams of a text: keys [m], how often each occurs, how many different symbols stand before it (which is known when
    level k + 1 is counted; how often it occurs where nothing can stand before it), whether it begins with EOS, and the node
    of its last k − 1 symbols."""

    keys: np.ndarray
    raw: np.ndarray
    begins: np.ndarray
    suffix: np.ndarray
    before: np.ndarray | None = None


class Counts:
    """The k-grams of a stream of ids (which begins and ends with EOS) for k up to `order`, counted as they are asked for."""

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
    """What is taken off the counts 0, 1, 2 and more [4], from how many n-grams have the counts 1 to 4 (Chen & Goodman 1999,
    equation 26); FALLBACK where these are too few to tell."""
    n1, n2, n3, n4 = (int(np.count_nonzero(counts == j)) for j in (1, 2, 3, 4))
    if min(n1, n2, n3, n4) == 0:
        return np.array([0.0, *FALLBACK])
    y = n1 / (n1 + 2 * n2)
    found = np.array([0.0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3])
    fine = (found[1:] > 0).all() and (found[1:] <= [1, 2, 3]).all()
    return found if fine else np.array([0.0, *FALLBACK])


def smoothed(counts: Counts, order: int) -> list[Level]:
    """The model of an order: of the k-grams of the highest order the counts are smoothed, of the others the number of different
    symbols before them.

    p(w | context) = (c − D(c)) / Σ c + γ p(w | shorter context), where γ makes the sum 1, and below the 1-grams all V are equal.
    """
    counted = counts.upto(order)
    levels: list[Level] = []
    p = np.full(1, 1 / counts.vocab)
    for k, level in enumerate(counted, 1):
        c = level.raw if k == order else level.before
        assert c is not None
        taken = discounts(c)[np.minimum(c, 3)]
        parents = (level.keys // np.uint64(counts.vocab)).astype(np.int64)
        total = np.bincount(parents, c, len(p))
        gamma = np.bincount(parents, taken, len(p)) / np.maximum(total, 1)
        if levels:
            backoff = np.log(gamma, out=np.zeros(len(p)), where=gamma > 0)
            levels[-1] = levels[-1]._replace(backoff=backoff.astype(np.float32))
        p = (c - taken) / np.maximum(total, 1)[parents] + gamma[parents] * p[level.suffix]
        levels.append(Level(level.keys, np.log(p).astype(np.float32), np.zeros(len(p), np.float32)))
    return levels
