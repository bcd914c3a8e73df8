"""What a training step sees, and what a task is: a layout of the id stream, and a loss.

Shapes: T time, B batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from jax import Array

from lmgen.data.ids import Ids
from lmgen.data.vocab import Vocab
from lmgen.data.windows import ALL, Share, Windows
from lmgen.nn import model


class Batch(NamedTuple):
    """One step's worth of text.

    `inputs` are the ids that the network reads, `targets` what is predicted: ids [T, B], or one array a head. `weights` [T, B] is
    what each prediction counts, 0 where nothing is predicted; None where every one counts 1. In the columns that `begins` [B]
    names, the carried state is forgotten first.
    """

    inputs: Any
    targets: Any
    weights: Any
    begins: Any


@dataclass(frozen=True)
class Task:
    """What a network learns. Hashable, so that the compiled step takes it as a static argument.

    A subclass says how a window of the id stream is laid out and what the loss is; the step, the loop, saving and resuming know
    nothing else of it. A task whose batches are not windows of one stream overrides `batches`.
    """

    network: model.NetworkConfig
    precision: str = "f32"
    ahead: ClassVar[int] = 0  # symbols that a window reaches beyond the last target

    @property
    def frozen(self) -> tuple[str, ...]:
        """The parameters that training leaves as they are."""
        return ()

    def batch(self, window: np.ndarray, begins: np.ndarray) -> Batch:
        """The batch of a window [T + 1 + ahead, B], in whose columns `begins` [B] the carried state is forgotten first."""
        raise NotImplementedError

    def batches(self, ids: Ids, batch: int, window: int, seed: int, share: Share = ALL) -> Batches:
        """The batches of a text, `batch` columns of `window` symbols each; with a share, what that device reads of them. All
        devices read arrays of the same shapes."""
        return Batches(self, Windows(ids, batch, window, self.network.carry, seed, self.ahead, share))

    def init(self, key: Array) -> model.Params:
        """Fresh parameters."""
        return model.init(self.network, key)

    def start(self, batch: int) -> Any:
        """The carried state before anything is read."""
        return model.start(self.network, batch)

    def rows_read(self, batch: Batch) -> Array | None:
        """The ids of the embedding's rows that enter the loss, where they are few: then only their gradient is computed. None
        where all rows may enter it."""
        return None

    def loss(self, params: model.Params, state: Any, batch: Batch, key: Array) -> tuple[Array, Any]:
        """Nats [T, B] of the targets, and the state after the batch; `key` draws what is random in training, such as dropout."""
        raise NotImplementedError

    def folded(self, params: model.Params, vocab: Vocab) -> tuple[model.NetworkConfig, model.Params]:
        """The network and the parameters of the model, from those of training."""
        return self.network, params


@dataclass(frozen=True)
class Batches:
    """The batches of a training: `batches[k]` depends on nothing but k, so that a training can be resumed at any step."""

    task: Task
    windows: Windows
    filler: ClassVar[float] = 0.0  # the share of places that hold no text

    @property
    def per_epoch(self) -> int:
        """Steps in one pass over the text."""
        return self.windows.per_epoch

    def __getitem__(self, step: int) -> Batch:
        return self.task.batch(self.windows[step], self.windows.begins(step))
