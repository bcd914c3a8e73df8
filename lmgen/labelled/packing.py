"""Whole sequences packed into columns: nothing is cut, and few places are left over.

A column of T rows is `EOS x EOS y EOS … EOS`: reading EOS forgets the state in both directions, so that sequences do not see each
other. What is left over at its end are EOS. Shapes: T rows, B columns, K sequences.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from lmgen.data.vocab import EOS
from lmgen.data.windows import ALL, Share
from lmgen.errors import InputError

LONGEST = 1 << 16  # symbols of a sequence, which is read and learnt whole
ROUND = 8  # columns have a multiple of this number of rows, so that few shapes are compiled
HEAVY = 2.5  # sequences this many times as long as most of them get columns of their own length
MOST = 0.98  # of the sequences
AT_A_TIME = 1 << 20  # sequences that are packed together: what this needs for each of them is freed before the next ones


class Block(NamedTuple):
    """Columns side by side.

    `places` [T, B] are those of a stream (-1 for an EOS between or behind sequences); `slots` [T, B] number the sequence that a
    symbol belongs to (K for none); `first` and `last` [K] are the rows of a sequence's first and last symbol in column `column`
    [K]; `of` [K] is its number in the text, -1 beyond the last one.
    """

    places: np.ndarray
    slots: np.ndarray
    first: np.ndarray
    last: np.ndarray
    column: np.ndarray
    of: np.ndarray


def sizes(lengths: np.ndarray) -> list[int]:
    """The rows of the columns for sequences of these lengths: one size, or two where a few are far longer than the others.

    Raises InputError for a sequence that is too long to be read whole.
    """
    check(lengths)
    longest, most = int(lengths.max()), int(np.quantile(lengths, MOST))
    return [_rows(most), _rows(longest)] if longest > HEAVY * max(most, 16) else [_rows(longest)]


def check(lengths: np.ndarray) -> None:
    """Raise InputError for a sequence that is too long to be read whole."""
    if len(lengths) and lengths.max() > LONGEST:
        raise InputError(f"a text of {lengths.max():,} symbols is too long to be labelled as a whole: give its parts as texts")


def _rows(longest: int) -> int:
    return -(-(longest + 2) // ROUND) * ROUND


@dataclass(frozen=True)
class Columns(Sequence[list[int]]):
    """The sequences of each column: those of column c are `members` [n] from place `ends[c - 1]` to `ends[c]`."""

    members: np.ndarray
    ends: np.ndarray

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[c] for c in range(*index.indices(len(self)))]
        c = range(len(self))[index]
        return self.members[self.ends[c - 1] if c else 0 : self.ends[c]].tolist()

    def sums(self, weights: np.ndarray) -> np.ndarray:
        """The sum of the weights [sequences] of each column."""
        return np.add.reduceat(weights[self.members], np.append(0, self.ends[:-1]), dtype=np.int64)


def best_fit(lengths: np.ndarray, rows: int, chosen: np.ndarray | None = None) -> Columns:
    """The sequences of each column, by best fit of the longest first, `AT_A_TIME` at a time; `chosen` [n] ones, or all."""
    chosen = np.arange(len(lengths), dtype=np.int32) if chosen is None else chosen
    parts = [chosen[k : k + AT_A_TIME] for k in range(0, len(chosen), AT_A_TIME)]
    found = [_best_fit(lengths[part], rows) for part in parts]
    ends = np.cumsum([0, *(len(part) for part in parts)])
    members = np.concatenate([part[columns.members] for part, columns in zip(parts, found, strict=True)])
    return Columns(members, np.concatenate([columns.ends + end for columns, end in zip(found, ends, strict=False)]))


def _best_fit(lengths: np.ndarray, rows: int) -> Columns:
    """The same of sequences that are packed together, all of one length at a time."""
    order = np.argsort(-np.asarray(lengths, np.int32), kind="stable").astype(np.int32)
    column = np.empty(len(order), np.int32)  # of each sequence in this order
    open_columns: dict[int, np.ndarray] = {}  # by the rows that are left, the one filled last at the end …
    lefts: list[int] = []  # … in order
    done = columns = 0
    kinds, counts = np.unique(lengths, return_counts=True)
    for need, many in zip((kinds[::-1] + 1).tolist(), counts[::-1].tolist(), strict=True):
        end = done + many
        while done < end:
            at = bisect_left(lefts, need)
            left = lefts[at] if at < len(lefts) else rows - 1
            each = left // need  # a column is filled before another is begun
            wanted = -(-(end - done) // each)
            if at == len(lefts):
                chosen, columns = np.arange(columns, columns + wanted, dtype=np.int32), columns + wanted
            else:
                stack = open_columns[left]
                chosen, open_columns[left] = stack[::-1][:wanted], stack[: max(0, len(stack) - wanted)]
                if not len(open_columns[left]):
                    del lefts[at], open_columns[left]
            placed = min(end - done, each * len(chosen))
            column[done : done + placed] = np.repeat(chosen, each)[:placed]
            in_last = placed - each * (len(chosen) - 1)
            for some, filled in ((chosen[:-1], each), (chosen[-1:], in_last)):
                if len(some):
                    rest = left - filled * need
                    if rest not in open_columns:
                        insort(lefts, rest)
                    open_columns[rest] = np.concatenate([open_columns.get(rest, some[:0]), some])
            done += placed
    return Columns(order[np.argsort(column, kind="stable")], np.cumsum(np.bincount(column, minlength=columns)))


def block(columns: Sequence[list[int]], starts: np.ndarray, lengths: np.ndarray, rows: int, width: int, most: int) -> Block:
    """`width` columns of `rows` rows with room for `most` sequences; `starts` are the places of their first symbols."""
    places = np.full((rows, width), -1, np.int64)
    slots = np.full((rows, width), most, np.int32)
    first, last, column = (np.zeros(most, np.int32) for _ in range(3))
    of = np.full(most, -1, np.int64)
    slot = 0
    for b, sequences in enumerate(columns):
        row = 1
        for k in sequences:
            length = int(lengths[k])
            places[row : row + length, b] = np.arange(starts[k], starts[k] + length)
            slots[row : row + length, b] = slot
            first[slot], last[slot], column[slot], of[slot] = row, row + length - 1, b, k
            slot, row = slot + 1, row + length + 1
    return Block(places, slots, first, last, column, of)


def blocks(starts: np.ndarray, lengths: np.ndarray, width: int, square: int | None = None) -> Iterator[Block]:
    """All sequences, in blocks of `width` columns at most, those of one of the `sizes` after the other.

    Blocks of a size have one shape. With `square` a block has one column, or so few that columns × rows² is at most `square`.
    """
    below = -1
    for rows in sizes(lengths):
        columns = best_fit(lengths, rows, _between(lengths, below, rows - 2))
        each = width if square is None else max(1, min(width, square // rows**2))
        parts = [columns[i : i + each] for i in range(0, len(columns), each)]
        most = max(sum(map(len, part)) for part in parts)
        yield from (block(part, starts, lengths, rows, len(parts[0]), most) for part in parts)
        below = rows - 2


def taken(stream: np.ndarray, places: np.ndarray, otherwise: int = EOS) -> np.ndarray:
    """What a stream has at places [T, B]; `otherwise` where these are -1."""
    return np.where(places < 0, otherwise, stream[places])


@dataclass(frozen=True)
class _Part:
    """The columns of one size, `width` of which make a step of `steps`; a device reads `own` of them, with `most` sequences."""

    rows: int
    width: int
    columns: Columns
    own: int
    most: int

    @property
    def steps(self) -> int:
        return -(-len(self.columns) // self.width)


class Packing:
    """The blocks of a training: `packing[k]` is a pure function of the step k.

    The columns are packed once. Each epoch draws anew, from (seed, epoch), which of the sequences of one kind stands where one
    of that kind is packed, and the order of the columns. Sequences of a length are of a kind, unless `kinds` tells them apart.
    With a share the blocks have only the columns of that device.
    """

    def __init__(
        self,
        starts: np.ndarray,
        lengths: np.ndarray,
        symbols: int,
        seed: int,
        kinds: np.ndarray | None = None,
        share: Share = ALL,
    ):
        self.starts, self.lengths, self.seed, self.share = starts, lengths, seed, share
        self._parts: list[_Part] = []
        below = 0
        for rows in sizes(lengths):
            columns = best_fit(lengths, rows, _between(lengths, below, rows - 2))
            width = min(len(columns), max(1, round(symbols / rows)))
            own = -(-width // share.devices)
            most = _largest(np.diff(columns.ends, prepend=0), own)
            self._parts.append(_Part(rows, width, columns, own, most))
            below = rows - 2
        self._ends = np.cumsum([part.steps for part in self._parts])
        self.per_epoch = int(self._ends[-1])
        self._groups = _by_kind(lengths if kinds is None else kinds)
        self._epoch = -1

    @property
    def filler(self) -> float:
        """The share of places that hold neither a symbol nor the EOS of a sequence."""
        room = sum(part.rows * len(part.columns) for part in self._parts)
        return 1 - float((self.lengths + 1).sum()) / room

    def room(self, weights: np.ndarray) -> dict[int, int]:
        """The most that the weights of a block's sequences sum to, by the number of rows; those of one kind weigh the same."""
        return {part.rows: _largest(part.columns.sums(weights), part.own) for part in self._parts}

    def __getitem__(self, step: int) -> Block:
        epoch, within = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            self._shuffle(epoch)
        turn = int(self._turns[within])
        which = int(np.searchsorted(self._ends, turn, "right"))
        part, order = self._parts[which], self._orders[which]
        columns = order[turn - self._ends[which] + part.steps :: part.steps][self.share.device :: self.share.devices]
        drawn = [self._instead[part.columns[c]].tolist() for c in columns.tolist()]
        return block(drawn, self.starts, self.lengths, part.rows, part.own, part.most)

    def _shuffle(self, epoch: int) -> None:
        random = np.random.default_rng([self.seed, epoch])
        self._instead = np.empty(len(self.lengths), np.int32)
        for group in self._groups:
            self._instead[group] = random.permutation(group)
        self._orders = [random.permutation(len(part.columns)) for part in self._parts]
        self._turns = random.permutation(self.per_epoch)
        self._epoch = epoch


def _between(lengths: np.ndarray, below: int, most: int) -> np.ndarray:
    """The sequences with more than `below` symbols, and `most` at most."""
    parts = (np.arange(k, min(k + AT_A_TIME, len(lengths)), dtype=np.int32) for k in range(0, len(lengths), AT_A_TIME))
    return np.concatenate([part[(lengths[part] > below) & (lengths[part] <= most)] for part in parts])


def _by_kind(kinds: np.ndarray) -> list[np.ndarray]:
    """The numbers of the sequences of each kind, in order."""
    counts = np.bincount(kinds)
    ends = np.cumsum(counts)
    free, found = ends - counts, np.empty(len(kinds), np.int32)  # the next place of each kind
    for k in range(0, len(kinds), AT_A_TIME):
        part = kinds[k : k + AT_A_TIME]
        order = np.argsort(part, kind="stable")
        these, first, many = np.unique(part[order], return_index=True, return_counts=True)
        found[np.repeat(free[these] - first, many) + np.arange(len(part))] = order + k
        free[these] += many
    return np.split(found, ends[np.flatnonzero(counts)][:-1])


def _largest(numbers: np.ndarray, many: int) -> int:
    """The sum of the largest numbers; `many` is how many of them."""
    return int(np.sort(numbers)[-many:].sum())
