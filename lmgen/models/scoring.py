"""The nats of a stream by a model: every symbol once, whatever batch and window.

Shapes: T window, B columns read side by side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lmgen.data.ids import Ids
from lmgen.data.vocab import EOS
from lmgen.models.networks import Cloze, LanguageModel
from lmgen.options import kinds, table

BATCH, WINDOW = 64, 256


def stream_nats(
    lm: LanguageModel | Cloze, stream: np.ndarray, batch: int = BATCH, window: int = WINDOW, exact: bool = True
) -> np.ndarray:
    """−ln p of every symbol of a stream after its first, [n − 1] float32, as if it were read from left to right in one go; for a
    cloze model, given all that stands before and after it, and 0 for what is not counted.

    The stream is cut into columns that are read side by side, so that the result depends neither on batch nor on window. Where
    EOS forgets the state, every column starts at one. Where the state is carried there is but one column; without `exact` there
    are many, and each reads a window of what is around it first, which is enough for networks that forget within a window.
    """
    _usable(batch, window)
    n = len(stream) - 1
    window = min(window, 1 << max(0, n - 1).bit_length())
    wanted = min(batch, 1 << (max(1, n // window) - 1).bit_length())
    even = np.arange(wanted, dtype=np.int64) * n // wanted
    warm = 0
    if not lm.carry:
        boundaries = np.flatnonzero(stream[:-1] == EOS)
        starts = np.unique([0, *boundaries[np.searchsorted(boundaries, even[1:], "right") - 1]])
    elif exact:
        starts = even[:1]
    else:
        starts, warm = even, window
    lengths = np.diff(starts, append=n)
    columns = np.resize(starts, 1 << (len(starts) - 1).bit_length())  # few shapes to compile: some columns may come twice
    read_from = np.maximum(0, columns - warm)

    def ids(row: int, count: int) -> tuple[jax.Array, np.ndarray]:
        """`count` ids of each column from a row on, and where there are none any more."""
        place = read_from + row + np.arange(count)[:, None]
        return jnp.asarray(np.where(place <= n, stream[np.minimum(place, n)], EOS).astype(np.int32)), place > n

    rows = range(0, int((lengths + starts - read_from[: len(starts)]).max()), window)
    rights = _right_states(lm, rows, warm, ids, len(columns)) if isinstance(lm, Cloze) else {}
    out = np.empty(n, np.float32)
    state = lm.start(len(columns))
    for row in rows:
        if isinstance(lm, Cloze):
            state, some = lm.nats(state, rights.pop(row), *ids(row, window + 2))
        else:
            state, some = lm.nats(state, ids(row, window + 1)[0])
        nats = np.asarray(some)
        for k, (start, length) in enumerate(zip(starts, lengths, strict=True)):
            low, high = max(row, start - read_from[k]), min(row + window, start - read_from[k] + length)
            if low < high:
                out[read_from[k] + low : read_from[k] + high] = nats[low - row : high - row, k]
    return out


def _usable(batch: int, window: int) -> None:
    table.check("batch", kinds.Whole(), batch)
    table.check("window", kinds.Whole(), window)


def _right_states(lm: Cloze, rows: range, warm: int, ids: Callable, columns: int) -> dict[int, Any]:
    """A first pass, from the right: the state with which each window is read from there."""
    state = lm.start(columns)
    if warm:
        state = lm.back(state, *ids(rows[-1] + rows.step + 2, rows.step))
    states = {}
    for row in reversed(rows):
        states[row] = state
        state = lm.back(state, *ids(row + 2, rows.step))
    return states


def window_nats(lm: LanguageModel, stream: np.ndarray, batch: int = BATCH, window: int = WINDOW) -> np.ndarray:
    """−ln p of every symbol of a stream after its first, read in windows that start cold: the state before a window is empty."""
    _usable(batch, window)
    n = len(stream) - 1
    out = np.empty(n, np.float32)
    for first in range(0, n, batch * window):
        starts = np.minimum(first + window * np.arange(batch), n)
        place = starts + np.arange(window + 1)[:, None]
        ids = np.where(place <= n, stream[np.minimum(place, n)], EOS).astype(np.int32)
        nats = np.asarray(lm.nats(lm.start(batch), jnp.asarray(ids))[1]).T.ravel()
        some = min(n - first, batch * window)
        out[first : first + some] = nats[:some]
    return out


def symbols_counted(lm: LanguageModel | Cloze, ids: Ids) -> int:
    """How many symbols of a text are counted by a model."""
    return int(lm.counted(ids.stream[1:]).sum()) if isinstance(lm, Cloze) else ids.symbols


def carried_nats(lm: LanguageModel, stream: np.ndarray, state: Any, window: int = WINDOW) -> tuple[np.ndarray, Any]:
    """−ln p of every symbol of a stream after its first, read in one column from a given state, and the state after it."""
    nats, row = [], 0
    while left := len(stream) - 1 - row:
        length = min(window, 1 << (left.bit_length() - 1))  # powers of two: few shapes to compile
        state, some = lm.nats(state, jnp.asarray(stream[row : row + length + 1, None], jnp.int32))
        nats.append(np.asarray(some)[:, 0])
        row += length
    return np.concatenate(nats), state
