"""The nats of a stream by a model: every symbol once."""

from __future__ import annotations

from functools import partial

import numpy as np

from lmgen.data.ids import Ids
from lmgen.models import columns
from lmgen.models.capabilities import Scores, State
from lmgen.models.columns import Columns
from lmgen.options import kinds, table
from lmgen.system.cluster import group

BATCH, WINDOW = 64, 256


def stream_nats(
    lm: Scores, stream: np.ndarray, batch: int = BATCH, window: int = WINDOW, exact: bool = True, cold: bool = False
) -> np.ndarray:
    """−ln p of every symbol of a stream after its first, [n − 1] float32; 0 for a symbol that is not counted.

    The stream is read as if from left to right in one go, whatever batch and window; without `exact` a carried state is
    approximated, for speed; with `cold` every window starts from an empty state. Several processes share the columns.
    """
    table.check("batch", kinds.Whole(), batch)
    table.check("window", kinds.Whole(), window)
    cut = columns.cold(stream, batch, window) if cold else columns.whole(stream, lm.carry, batch, window, exact)
    out = np.empty(len(stream) - 1, np.float32)
    for side_by_side in cut:
        parts = side_by_side.split(group.count())
        for part, nats in zip(parts, group.shared_out(parts, partial(_cold, lm)), strict=True):
            out[part.predicted] = nats
    return out


def continued_nats(lm: Scores, stream: np.ndarray, state: State) -> tuple[np.ndarray, State]:
    """As `stream_nats`, from the state after what was read before; and the state after the stream."""
    return _read(lm, next(columns.continued(stream, WINDOW)), state)


def _cold(lm: Scores, part: Columns) -> np.ndarray:
    """The nats of what columns predict, from an empty state."""
    return _read(lm, part, lm.start(part.count))[0]


def _read(lm: Scores, part: Columns, state: State) -> tuple[np.ndarray, State]:
    """The nats of what columns predict, and the state after their last window."""
    out = np.empty(len(part.stream) - 1, np.float32)
    for window, (after, nats) in zip(part.windows, lm.read_columns(part, state), strict=True):
        part.put(np.asarray(nats), window, out)
        state = after
    return out[part.predicted], state


def symbols_counted(lm: Scores, ids: Ids) -> int:
    """The number of symbols of a text that a model predicts."""
    return int(lm.counted(ids.stream[1:]).sum())
