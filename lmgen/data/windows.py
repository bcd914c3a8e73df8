"""The windows [T + 1, B] of ids that training reads, step by step."""

from __future__ import annotations

import numpy as np

from lmgen.data.ids import Ids
from lmgen.data.vocab import EOS

RESTARTS = 1 / 50  # how often a column of running text gives up its state between two windows
MAX_BLOCKS = 1 << 16  # sequences are shuffled one by one up to this number, beyond it in blocks of neighbours


class Windows:
    """The windows of training, step by step: `windows[k]` is [T + 1, B] int32; its last row is the first of the next window.
    With `ahead` they are so many rows longer: a cloze model looks one symbol further.

    The stream is a ring. With `carry` column b starts at b/B of it and reads on for ever: the state flows on from window to
    window and from epoch to epoch, but for a restart now and then, without which the network would not learn how to begin.
    Otherwise each epoch reads the sequences in an order of its own, drawn from (seed, epoch), and starts with a fresh state.
    Any step can be asked for: what a window holds depends on nothing but its number.
    """

    def __init__(self, ids: Ids, batch: int, window: int, carry: bool, seed: int, ahead: int = 0):
        self.ring = ids.stream[:-1]  # the last EOS is the first
        self.batch, self.window, self.carry, self.seed, self.ahead = batch, window, carry, seed, ahead
        self.per_epoch = max(1, -(-len(self.ring) // (batch * window)))
        self._blocks = np.zeros(1, np.int64) if carry else _block_starts(self.ring)
        self._epoch = -1

    def begins(self, step: int) -> np.ndarray:
        """In which columns [B] the state starts anew with this window."""
        if self.carry and step:
            return np.random.default_rng([self.seed, step]).random(self.batch) < RESTARTS
        return np.full(self.batch, self.carry or step % self.per_epoch == 0)

    def __getitem__(self, step: int) -> np.ndarray:
        n = len(self.ring)
        epoch, within = (0, step) if self.carry else divmod(step, self.per_epoch)
        self._shuffle(epoch)
        columns = np.arange(self.batch, dtype=np.int64) * n // self.batch + within * self.window
        place = (columns + np.arange(self.window + 1 + self.ahead, dtype=np.int64)[:, None]) % n  # in the order of this epoch
        block = np.searchsorted(self._ends, place, side="right")
        return self.ring[place + self._shift[block]].astype(np.int32)

    def _shuffle(self, epoch: int) -> None:
        if epoch == self._epoch:
            return
        starts = self._blocks
        lengths = np.diff(starts, append=len(self.ring))
        order = np.arange(len(starts)) if self.carry else np.random.default_rng([self.seed, epoch]).permutation(len(starts))
        self._ends = np.cumsum(lengths[order])
        self._shift = starts[order] - (self._ends - lengths[order])  # from a place in the order to a place in the ring
        self._epoch = epoch


def _block_starts(ring: np.ndarray) -> np.ndarray:
    """Where the blocks to be shuffled start: at every EOS, or, where there are too many, at one near each k/MAX_BLOCKS."""
    span = max(1, len(ring) // MAX_BLOCKS)
    starts: list[np.ndarray] = []
    for offset in range(0, len(ring), 1 << 22):
        found = np.flatnonzero(ring[offset : offset + (1 << 22)] == EOS) + offset
        starts.append(found[np.diff(found // span, prepend=-1) > 0] if span > 1 else found)
    return np.concatenate(starts).astype(np.int64)
