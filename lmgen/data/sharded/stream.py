"""The ids of many shards as one array, of which few are in memory at a time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np

from lmgen.data.sharded.stores import Entry, Store

OPEN = 64  # shards that are mapped into memory at a time, beside those that columns of training read
FETCHES = 8  # shards that are fetched at a time, ahead of the one that is read


class Stream:
    """The ids of some shards, one after the other, as an array [n] to be indexed with a place, a slice or an array of places.

    A shard is fetched, verified and mapped into memory when it is first read, and forgotten when others were read since. All of
    the ids are below `vocab`. Reading raises ShardError for a shard that is damaged or missing.
    """

    def __init__(self, store: Store, shards: Sequence[Entry], vocab: int):
        self.store, self.shards, self.vocab = store, shards, vocab
        self.dtype = np.dtype(shards[0].dtype)
        self._ends = np.cumsum([shard.count for shard in shards], dtype=np.int64)
        self._most = OPEN
        self._open: OrderedDict[int, Future[np.ndarray]] = OrderedDict()  # the last one was read last
        self._pool = ThreadPoolExecutor(FETCHES, "shards")

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            start, stop, stride = index.indices(len(self))
            return self._run(start, max(start, stop))[::stride] if stride > 0 else self[:][index]
        places = np.asarray(index)
        flat = places.reshape(-1)
        shards = np.searchsorted(self._ends, flat, side="right")
        order = np.argsort(shards, kind="stable")
        edges = [*np.flatnonzero(np.diff(shards[order], prepend=-1)).tolist(), len(order)]
        parts = [order[a:b] for a, b in pairwise(edges)]
        numbers = [int(shards[part[0]]) for part in parts]
        out = np.empty(len(flat), self.dtype)
        for number, part, ids in zip(numbers, parts, self._each(numbers), strict=True):
            out[part] = ids[flat[part] - self._start(number)]
        return out.reshape(places.shape)[()]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:].astype(dtype or self.dtype, copy=False)

    def expecting(self, columns: int) -> Callable[[np.ndarray], None]:
        """A function for a reader of this many columns: it fetches the shards of places that will be read soon."""
        self._most += 2 * columns  # those that are read and those that come next

        def expect(places: np.ndarray) -> None:
            for shard in np.unique(np.searchsorted(self._ends, places, side="right")).tolist():
                self._begin(shard)

        return expect

    def _run(self, start: int, stop: int) -> np.ndarray:
        """The ids from one place to another."""
        if start >= stop:
            return np.empty(0, self.dtype)
        first, last = np.searchsorted(self._ends, [start, stop - 1], side="right").tolist()
        numbers, out = range(first, last + 1), np.empty(stop - start, self.dtype)
        for number, ids in zip(numbers, self._each(numbers), strict=True):
            begin = self._start(number) - start
            out[max(0, begin) : begin + len(ids)] = ids[max(0, -begin) : len(out) - begin]
        return out

    def _start(self, number: int) -> int:
        """The place of the first id of a shard."""
        return int(self._ends[number]) - self.shards[number].count

    def _each(self, numbers: Sequence[int]) -> Iterator[np.ndarray]:
        """The ids of some shards, one shard after the other, while the next ones are fetched."""
        for k, number in enumerate(numbers):
            for following in numbers[k + FETCHES - 1 : k + FETCHES] if k else numbers[:FETCHES]:
                self._begin(following)
            yield self._begin(number).result()

    def _begin(self, number: int) -> Future[np.ndarray]:
        """Start to fetch a shard, unless it is here or on its way; one that could not be fetched is tried again."""
        found = self._open.get(number)
        if found is None or (found.done() and found.exception()):
            found = self._open[number] = self._pool.submit(self.store.mapped, self.shards[number], self.vocab)
        self._open.move_to_end(number)
        while len(self._open) > self._most:
            self._open.popitem(last=False)
        return found
