"""The windows [T + 1, B] of ids that training reads, one a step. T is the length of a window, B the batch size."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from lmgen.data.ids import Ids
from lmgen.data.vocab import EOS
from lmgen.errors import InputError
from lmgen.system import memory

RESTARTS = 1 / 50  # the rate at which a column of running text forgets its state between two windows
FORGET = 256  # steps after which the pages that were read are let go
MAX_BLOCKS = 1 << 16  # up to this number sequences are shuffled one by one, beyond it in blocks of neighbours
EXPECTED = 64  # a reader of shards is told in advance which parts of the text this many steps will need


class Share(NamedTuple):
    """The part of each step that one of several devices reads: number `device`, counted from 0, of `devices`."""

    device: int = 0
    devices: int = 1

    def of(self, columns: int) -> slice:
        """Which of these columns it reads. Raises InputError if they cannot be shared equally."""
        if columns % self.devices:
            way_out = f"give a --batch that is a multiple of {self.devices}"
            raise InputError(f"{self.devices} devices cannot share a batch of {columns}: {way_out}")
        own = columns // self.devices
        return slice(self.device * own, (self.device + 1) * own)


ALL = Share()


class Windows:
    """The windows of training: `windows[k]` is [T + 1, B] int32, a pure function of the step k; its last row is the first of the
    next window. With `ahead` they have that many rows more: a cloze model looks one symbol further.

    The stream is a ring. With `carry` column b starts at b/B of it and reads on for ever: the state is carried from window to
    window and from epoch to epoch, but for rare restarts, without which the network would not learn to begin. Otherwise each
    epoch reads the sequences in an order of its own, drawn from (seed, epoch), and starts with a fresh state.

    With a share they have only the columns of that device.
    """

    def __init__(self, ids: Ids, batch: int, window: int, carry: bool, seed: int, ahead: int = 0, share: Share = ALL):
        self.stream, self.length = ids.stream, len(ids.stream) - 1  # the last EOS is the first
        self.share = share.of(batch)
        self.batch, self.window, self.carry, self.seed, self.ahead = batch, window, carry, seed, ahead
        self.per_epoch = max(1, -(-self.length // (batch * window)))
        self._blocks = np.zeros(1, np.int64) if carry else block_starts(self.stream) if ids.blocks is None else ids.blocks
        self._orders: dict[int, tuple[np.ndarray, np.ndarray]] = {}  # of the last two epochs that were asked for
        expecting = getattr(ids.stream, "expecting", None)
        self._expect = expecting(self.share.stop - self.share.start) if expecting else None

    def begins(self, step: int) -> np.ndarray:
        """The columns [B] whose carried state is forgotten before this window."""
        if self.carry and step:
            return np.random.default_rng([self.seed, step]).random(self.batch)[self.share] < RESTARTS
        return np.full(self.share.stop - self.share.start, self.carry or step % self.per_epoch == 0)

    def __getitem__(self, step: int) -> np.ndarray:
        if step % FORGET == 0:
            memory.forget(self.stream)
        window = self.stream[self._places(step, np.arange(self.window + 1 + self.ahead))].astype(np.int32)
        if self._expect:
            self._expect(self._places(step + min(self.per_epoch, EXPECTED), np.array([0, self.window])))
        return window

    def _places(self, step: int, rows: np.ndarray) -> np.ndarray:
        """Where in the stream some rows of a window are."""
        epoch, within = (0, step) if self.carry else divmod(step, self.per_epoch)
        ends, shift = self._order(epoch)
        columns = np.arange(self.share.start, self.share.stop, dtype=np.int64) * self.length // self.batch + within * self.window
        place = (columns + rows[:, None]) % self.length  # in the order of this epoch
        return place + shift[np.searchsorted(ends, place, side="right")]

    def _order(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Where each block ends in the order of an epoch, and how far it is from there to its place in the ring."""
        if epoch not in self._orders:
            starts = self._blocks
            lengths = np.diff(starts, append=self.length)
            order = np.arange(len(starts)) if self.carry else np.random.default_rng([self.seed, epoch]).permutation(len(starts))
            ends = np.cumsum(lengths[order])
            self._orders = dict([*self._orders.items()][-1:]) | {epoch: (ends, starts[order] - (ends - lengths[order]))}
        return self._orders[epoch]


def block_starts(stream: Any) -> np.ndarray:
    """The starts of the blocks to shuffle: every EOS but the last or, where there are too many, one for each k/MAX_BLOCKS."""
    length = len(stream) - 1
    span = max(1, length // MAX_BLOCKS)
    starts: list[np.ndarray] = []
    for offset in range(0, length, 1 << 22):
        found = np.flatnonzero(stream[offset : min(offset + (1 << 22), length)] == EOS) + offset
        starts.append(found[np.diff(found // span, prepend=-1) > 0] if span > 1 else found)
        memory.forget(stream)
    return np.concatenate(starts).astype(np.int64)
