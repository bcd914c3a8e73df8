"""Trees: label every node of whole trees. The mean over all nodes and the mean over the roots are added."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jax import Array

from lmgen.data.windows import ALL, Share
from lmgen.labelled.corpus import UNKNOWN
from lmgen.networks import tree, words
from lmgen.networks.labelling import nats
from lmgen.networks.tree import TreeConfig
from lmgen.networks.words import Spelt
from lmgen.structured import forest
from lmgen.structured.forest import CodedTrees
from lmgen.tasks.task import Batch, Task


@dataclass(frozen=True)
class OverTrees(Task):
    """Read whole trees from the leaves up, and predict the label of every node.

    A tree has many nodes and one root, whose label is that of the whole: as a second mean it counts as much as all nodes do.
    """

    network: TreeConfig

    @property
    def frozen(self) -> tuple[str, ...]:
        return self.network.frozen

    def batches(self, data: Any, batch: int, window: int, seed: int, share: Share = ALL) -> Any:
        spelt = words.spelt(self.network, data.spelt, data.others)
        return TreeBatches(data, batch, batch * window, seed, spelt, share)

    def init(self, key: Array) -> Any:
        return tree.init(self.network, key)

    def start(self, batch: int) -> Any:
        return []

    def loss(self, params: Any, state: Any, batch: Batch, key: Array) -> tuple[Any, Any]:
        each = nats(tree.logits(self.network, self.precision, params, batch.inputs, key), batch.targets)
        return dict.fromkeys(batch.weights, each), state


class TreeBatches:
    """The batches of trees: each epoch draws an order from (seed, epoch) and cuts it into steps of about as many `nodes`.

    A step reads `width` nodes at a time, on all devices together.
    """

    filler: ClassVar[float] = 0.0

    def __init__(self, data: CodedTrees, width: int, nodes: int, seed: int, spelt: Spelt = Spelt(), share: Share = ALL):
        self.data, self.seed, self.spelt, self.share = data, seed, spelt, share
        self.width = forest.rounded(-(-width // share.devices))
        self.per_epoch = max(1, round(data.symbols / nodes))
        self._epoch = -1

    def __getitem__(self, step: int) -> Batch:
        epoch, within = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            self._shuffle(epoch)
        data, chosen = self.data, self._order[self._cuts[within] : self._cuts[within + 1]]
        steps = forest.shared_steps(data, chosen, self.width, self.share)
        targets = np.where(steps.nodes < 0, UNKNOWN, data.labels[steps.nodes]).astype(np.int32)
        known = targets != UNKNOWN
        weights = {"nodes": known, "roots": known & (data.depths[steps.nodes] == 0)}
        weights = {name: some.astype(np.float32) for name, some in weights.items()}
        inputs = tree.inputs_of(data, steps, self.spelt, self.share.devices > 1)
        return Batch(inputs, targets, weights, np.zeros(1, bool))

    def _shuffle(self, epoch: int) -> None:
        self._order = np.random.default_rng([self.seed, epoch]).permutation(self.data.sequences)
        ends = np.cumsum(self.data.own[self._order])
        self._cuts = np.searchsorted(ends, np.arange(self.per_epoch + 1) * ends[-1] // self.per_epoch, "right")
        self._epoch = epoch
