"""The nats of a stream by a model: every symbol once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lmgen.data.ids import Ids
from lmgen.models import columns
from lmgen.models.capabilities import Scores, State
from lmgen.options import kinds, table

BATCH, WINDOW = 64, 256


def stream_nats(
    lm: Scores, stream: np.ndarray, batch: int = BATCH, window: int = WINDOW, exact: bool = True, cold: bool = False
) -> np.ndarray:
    """−ln p of every symbol of a stream after its first, [n − 1] float32; 0 for a symbol that is not counted.

    The stream is read as if from left to right in one go, whatever batch and window; without `exact` a carried state is
    approximated, for speed; with `cold` every window starts from an empty state.
    """
    table.check("batch", kinds.Whole(), batch)
    table.check("window", kinds.Whole(), window)
    cut = columns.cold(stream, batch, window) if cold else columns.whole(stream, lm.carry, batch, window, exact)
    return _nats(lm, stream, cut, None)[0]


def continued_nats(lm: Scores, stream: np.ndarray, state: State) -> tuple[np.ndarray, State]:
    """As `stream_nats`, from the state after what was read before; and the state after the stream."""
    return _nats(lm, stream, columns.continued(stream, WINDOW), state)


def _nats(lm: Scores, stream: np.ndarray, cut: Iterator[columns.Columns], state: State) -> tuple[np.ndarray, State]:
    out = np.empty(len(stream) - 1, np.float32)
    for part in cut:
        before = lm.start(part.count) if state is None else state
        for window, (after, nats) in zip(part.windows, lm.read_columns(part, before), strict=True):
            part.put(np.asarray(nats), window, out)
            state = after if state is not None else None
    return out, state


def symbols_counted(lm: Scores, ids: Ids) -> int:
    """The number of symbols of a text that a model predicts."""
    return int(lm.counted(ids.stream[1:]).sum())
