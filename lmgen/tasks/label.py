"""Labels: tag every symbol, classify a sequence, or both at once, which adds the losses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jax import Array

from lmgen.data.windows import ALL, Share
from lmgen.labelled.corpus import UNKNOWN, Coded
from lmgen.labelled.packing import Block, Packing, taken
from lmgen.networks import labelling, words
from lmgen.networks.labelling import LabelConfig
from lmgen.networks.words import Spelt
from lmgen.tasks.task import Batch, Task


@dataclass(frozen=True)
class Label(Task):
    """Read whole sequences, packed into columns, from both sides (or from the left), and predict their labels."""

    network: LabelConfig

    @property
    def frozen(self) -> tuple[str, ...]:
        return self.network.frozen

    def batches(self, data: Any, batch: int, window: int, seed: int, share: Share = ALL) -> Any:
        spelt = words.spelt(self.network, data.words, data.others)
        return LabelBatches(data, batch * window, seed, self.network.balanced, spelt, share)

    def init(self, key: Array) -> Any:
        return labelling.init(self.network, key)

    def start(self, batch: int) -> Any:
        return []

    def loss(self, params: Any, state: Any, batch: Batch, key: Array) -> tuple[Any, Any]:
        logits = labelling.logits(self.network, self.precision, params, batch.inputs, key)
        return {name: labelling.nats(logits[name], batch.targets[name]) for name in logits}, state


class LabelBatches:
    """The batches of labelled text: blocks of whole sequences with their labels. With `balanced` a label counts the more, the
    rarer it is, so that all labels count alike."""

    def __init__(self, data: Coded, symbols: int, seed: int, balanced: bool, spelt: Spelt = Spelt(), share: Share = ALL):
        self.data, self.spelt, self.share = data, spelt, share
        self.packing = Packing(data.starts, data.lengths, symbols, seed, share=share)
        self.per_epoch, self.filler = self.packing.per_epoch, self.packing.filler
        golds = {"tags": data.tags, "labels": data.labels}
        self.shares = {name: _shares(gold) for name, gold in golds.items() if balanced and gold is not None and gold.ndim == 1}

    def __getitem__(self, step: int) -> Batch:
        block = self.packing[step]
        targets, weights = targets_of(self.data, block)
        for name, shares in self.shares.items():
            weights[name] *= shares[targets[name]]
        inputs = labelling.inputs_of(self.data.stream, block, self.spelt, self.share.devices > 1)
        return Batch(inputs, targets, weights, np.zeros(1, bool))


def _shares(gold: np.ndarray) -> np.ndarray:
    """The weight of each label: the number of targets ÷ labels ÷ its own number."""
    counts = np.bincount(gold[gold != UNKNOWN], minlength=1)
    return (counts.sum() / max(1, np.count_nonzero(counts)) / np.maximum(counts, 1)).astype(np.float32)


def targets_of(data: Coded, block: Block) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The targets of a block, and 1 where there is one."""
    targets, weights = {}, {}
    if data.tags is not None:
        targets["tags"] = taken(data.tags, block.places, UNKNOWN).astype(np.int32)
        weights["tags"] = (targets["tags"] != UNKNOWN).astype(np.float32)
    if data.labels is not None:
        targets["labels"] = data.labels[block.of]  # of any sequence beyond the last one, which counts 0
        weights["labels"] = (block.of >= 0).astype(np.float32)
        if data.labels.ndim == 1:
            weights["labels"] *= targets["labels"] != UNKNOWN
    return targets, weights
