"""Graphs: predict the label of each graph, the tags of its nodes, or both at once, which adds the losses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jax import Array

from lmgen.data.windows import ALL, Share
from lmgen.labelled.corpus import UNKNOWN
from lmgen.networks import graph
from lmgen.networks.graph import GraphConfig, Room, filled, inputs_of, within
from lmgen.networks.labelling import nats
from lmgen.structured.graphs import Coded
from lmgen.tasks.task import Batch, Task

SPARE, LARGER = 1.1, 1.25  # room of most steps over what they need on average, and of each larger size over the one before


@dataclass(frozen=True)
class OfGraphs(Task):
    """Read whole graphs, side by side, and predict their labels and the tags of their nodes."""

    network: GraphConfig

    def batches(self, data: Any, batch: int, window: int, seed: int, share: Share = ALL) -> Any:
        return GraphBatches(data, batch * window, seed, share)

    def init(self, key: Array) -> Any:
        return graph.init(self.network, key)

    def start(self, batch: int) -> Any:
        return []

    def loss(self, params: Any, state: Any, batch: Batch, key: Array) -> tuple[Any, Any]:
        logits = graph.logits(self.network, self.precision, params, batch.inputs, key)
        return {name: nats(logits[name], batch.targets[name]) for name in logits}, state


class GraphBatches:
    """The batches of a training on graphs, of about `nodes` nodes each: `batches[k]` is a pure function of k.

    Each epoch draws the order of the graphs from (seed, epoch) and cuts it into steps of about equal numbers of nodes and arcs.
    The arrays of a step have one of a few sizes, so that few shapes are compiled.
    With a share of n devices, each device reads every n-th graph of a step.
    """

    def __init__(self, data: Coded, nodes: int, seed: int, share: Share = ALL):
        self.data, self.seed, self.share = data, seed, share
        self.per_epoch = min(data.sequences, -(-data.symbols // nodes))
        parts = self.per_epoch * share.devices
        self._usual = Room(*(n / parts for n in Room.needed(data, np.arange(data.sequences))))  # type: ignore[arg-type]
        self._epoch = -1

    @property
    def filler(self) -> float:
        """The share of nodes that are filler in a step of the usual size."""
        return 1 - 1 / SPARE

    def __getitem__(self, step: int) -> Batch:
        epoch, within_epoch = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            self._shuffle(epoch)
        parts = [self._steps[within_epoch][k :: self.share.devices] for k in range(self.share.devices)]
        room = self._room(Room(*map(max, zip(*(Room.needed(self.data, part) for part in parts), strict=True))))
        chosen = parts[self.share.device]
        return Batch(inputs_of(self.data, chosen, room), *targets_of(self.data, chosen, room), np.zeros(1, bool))

    def _shuffle(self, epoch: int) -> None:
        order = np.random.default_rng([self.seed, epoch]).permutation(self.data.sequences)
        ends = np.cumsum((np.diff(self.data.nodes) + np.diff(self.data.arcs))[order])
        cuts = np.searchsorted(ends, np.arange(1, self.per_epoch) * ends[-1] / self.per_epoch, side="right")
        self._steps, self._epoch = np.split(order, cuts), epoch

    def _room(self, needed: Room) -> Room:
        """The smallest of the sizes, the first of which is `SPARE` times what a step needs on average, with room for all."""
        size = SPARE
        while any(int(size * usual) + 2 < n for n, usual in zip(needed, self._usual, strict=True)):
            size *= LARGER
        return Room(*(int(size * usual) + 2 for usual in self._usual))


def targets_of(data: Coded, chosen: np.ndarray, room: Room) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The targets of the chosen graphs, and 1 where there is one."""
    targets, weights = {}, {}
    if data.tags is not None:
        targets["tags"] = filled(data.tags[within(data.nodes, chosen)[0]], room.nodes, UNKNOWN)
        weights["tags"] = (targets["tags"] != UNKNOWN).astype(np.float32)
    if data.labels is not None:
        targets["labels"] = data.labels[np.append(chosen, np.zeros(room.graphs - len(chosen), np.int64))]
        weights["labels"] = (np.arange(room.graphs) < len(chosen)).astype(np.float32)
        if data.labels.ndim == 1:
            weights["labels"] *= targets["labels"] != UNKNOWN
    return targets, weights
