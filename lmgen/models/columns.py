"""A stream cut into columns that a model reads side by side, a window at a time.

Each way to cut gives one or several `Columns` that together predict every symbol of the stream after its first once. Shapes: T
window, B columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np

from lmgen.data.vocab import EOS


@dataclass(frozen=True)
class Columns:
    """Columns of a stream. Column k predicts `lengths[k]` symbols after the place `starts[k]`, and begins to read `warm` symbols
    before it, or where the stream begins; columns beyond these copy the first ones, so that there are few shapes to compile.
    """

    stream: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    windows: list[tuple[int, int]]  # the first row and the length of each
    count: int
    warm: int = 0

    @property
    def begins(self) -> np.ndarray:
        """Where each column begins to read [B]."""
        return np.maximum(0, np.resize(self.starts, self.count) - self.warm)

    def ids(self, row: int, count: int) -> tuple[jax.Array, np.ndarray]:
        """`count` ids of each column from a row on, EOS where the stream has ended, and where it has; both [count, B]."""
        last = len(self.stream) - 1
        place = self.begins + row + np.arange(count)[:, None]
        return jnp.asarray(np.where(place <= last, self.stream[np.minimum(place, last)], EOS).astype(np.int32)), place > last

    @property
    def predicted(self) -> slice:
        """The places of the stream, counted from its second symbol, that the columns predict; they leave none out."""
        return slice(int(self.starts[0]), int(self.starts[-1] + self.lengths[-1]))

    def split(self, parts: int) -> list[Columns]:
        """The columns in at most `parts` parts, which together predict the same symbols."""
        edges = [k * len(self.starts) // parts for k in range(parts + 1)]
        return [self._only(slice(low, high)) for low, high in pairwise(edges) if low < high] if parts > 1 else [self]

    def _only(self, some: slice) -> Columns:
        starts, lengths = self.starts[some], self.lengths[some]
        longest = int((lengths + np.minimum(starts, self.warm)).max())
        windows = [(row, size) for row, size in self.windows if row < longest]
        return replace(self, starts=starts, lengths=lengths, windows=windows, count=_rounded(len(starts)))

    def put(self, nats: np.ndarray, window: tuple[int, int], out: np.ndarray) -> None:
        """Write the nats [T, B] of a window where they belong in those of the stream."""
        row, size = window
        for k, (start, length, begin) in enumerate(zip(self.starts, self.lengths, self.begins, strict=False)):
            low, high = max(row, start - begin), min(row + size, start - begin + length)
            if low < high:
                out[begin + low : begin + high] = nats[low - row : high - row, k]


def whole(stream: np.ndarray, carry: bool, batch: int, window: int, exact: bool = True) -> Iterator[Columns]:
    """Columns that read the stream as if from left to right in one go, whatever batch and window.

    Where EOS forgets the state, every column starts at one. Where the state is carried there is one column; without `exact` there
    are many, and each first reads a window before its start, which is enough for networks that forget within a window.
    """
    n = len(stream) - 1
    window = min(window, 1 << max(0, n - 1).bit_length())
    wanted = min(batch, 1 << (max(1, n // window) - 1).bit_length())
    starts, warm = np.arange(wanted, dtype=np.int64) * n // wanted, 0
    if not carry:
        boundaries = np.flatnonzero(stream[:-1] == EOS)
        starts = np.unique([0, *boundaries[np.searchsorted(boundaries, starts[1:], "right") - 1]])
    elif exact:
        starts = starts[:1]
    else:
        warm = window
    lengths = np.diff(starts, append=n)
    longest = int((lengths + np.minimum(starts, warm)).max())
    yield Columns(stream, starts, lengths, [(row, window) for row in range(0, longest, window)], _rounded(len(starts)), warm)


def _rounded(columns: int) -> int:
    return 1 << (columns - 1).bit_length()


def cold(stream: np.ndarray, batch: int, window: int) -> Iterator[Columns]:
    """Every window a column of its own, which starts from an empty state."""
    n = len(stream) - 1
    for first in range(0, n, batch * window):
        starts = np.minimum(first + window * np.arange(batch), n)
        yield Columns(stream, starts, np.minimum(window, n - starts), [(0, window)], batch)


def continued(stream: np.ndarray, window: int) -> Iterator[Columns]:
    """One column, in windows that are not padded, so that the state after the last one is that after the stream."""
    n, windows, row = len(stream) - 1, [], 0
    while row < n:
        windows.append((row, min(window, 1 << ((n - row).bit_length() - 1))))  # powers of two: few shapes to compile
        row += windows[-1][1]
    yield Columns(stream, np.zeros(1, np.int64), np.array([n]), windows, 1)
