"""The answer of the most similar training source: what a memory without a network reaches on pairs.

Similar is the cosine of TF-IDF weights of character n-grams. They are counted in an inverted index: for each n-gram the sources
that have it, one after the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, pairwise

import numpy as np

from lmgen.structured.pairs import Pair

N = 5  # characters of an n-gram
PAD = "\n" * (N // 2)  # at each end of a source, so that one of a single character has an n-gram, too
BITS = 20  # of the number that stands for an n-gram
MOST = 1 << 23  # n-grams in the index, about 200,000 short sentences; what follows is left out
LOOKED_UP = 20_000  # places of the index that are read for a source: those of its rarest n-grams
AT_ONCE = 4096  # sources that are cut into n-grams together
_MIX = np.uint64(0x9E3779B97F4A7C15)  # an odd number without a pattern: 2⁶⁴ divided by the golden ratio


class Nearest:
    """An index of training pairs, and the targets of the sources in it that are nearest to others."""

    def __init__(self, pairs: Iterable[Pair]):
        self.targets: list[str] = []
        parts, total = [np.zeros(0, np.int64)], 0
        pairs = iter(pairs)
        while total < MOST and (some := [*islice(pairs, AT_ONCE)]):
            grams, sources = _grams([pair.source for pair in some])
            parts.append(grams << 32 | sources + len(self.targets))
            self.targets += [pair.target for pair in some]
            total += len(grams)
        cells, times = np.unique(np.concatenate(parts), return_counts=True)
        grams, self._sources = cells >> 32, (cells & 0xFFFFFFFF).astype(np.int32)
        self._starts = np.searchsorted(grams, np.arange((1 << BITS) + 1))
        having = np.diff(self._starts)
        self._idf = np.log((len(self.targets) + 1) / (having + 1))
        weights = times * self._idf[grams]
        norms = np.sqrt(np.bincount(self._sources, np.square(weights), len(self.targets)))
        self._weights = (weights / np.maximum(norms, 1e-9)[self._sources]).astype(np.float32)

    def answers(self, sources: Sequence[str]) -> Iterator[str]:
        """The target of the training source nearest to each source; the first of equals, "" if there is none at all."""
        grams, of = _grams(sources)
        starts = np.searchsorted(of, np.arange(len(sources) + 1))
        for first, end in pairwise(starts):
            yield self.targets[self._nearest(*np.unique(grams[first:end], return_counts=True))] if self.targets else ""

    def _nearest(self, grams: np.ndarray, times: np.ndarray) -> int:
        """The place of the source that is nearest to one that has the n-grams `grams`, each as often as `times` says."""
        having = self._starts[grams + 1] - self._starts[grams]
        rarest = np.argsort(having, kind="stable")
        rarest = rarest[having[rarest] > 0]
        rarest = rarest[: max(1, np.searchsorted(np.cumsum(having[rarest]), LOOKED_UP, "right"))]
        if not len(rarest):
            return 0
        cells = np.concatenate([np.arange(self._starts[gram], self._starts[gram + 1]) for gram in grams[rarest]])
        scores = np.repeat(times[rarest] * self._idf[grams[rarest]], having[rarest]) * self._weights[cells]
        return int(np.bincount(self._sources[cells], scores).argmax())


def _grams(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The character n-grams of some texts as numbers, and the place of the text that each is from, in order."""
    padded = [f"{PAD}{text}{PAD}" for text in texts]
    codes = np.frombuffer("".join(padded).encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
    of = np.repeat(np.arange(len(texts)), [*map(len, padded)])
    starts = max(0, len(codes) - N + 1)
    mixed = np.zeros(starts, np.uint64)
    for k in range(N):
        mixed = (mixed + codes[k : k + starts]) * _MIX
        mixed ^= mixed >> np.uint64(29)
    whole = of[N - 1 :] == of[:starts]
    return (mixed[whole] >> np.uint64(64 - BITS)).astype(np.int64), of[:starts][whole]
