"""Writing by label: the language model of `EOS ⟨label⟩ x EOS`, in which the label is read and never predicted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jax import Array

from lmgen.nn import writing
from lmgen.nn.writing import WriterConfig
from lmgen.tasks.language import Language
from lmgen.tasks.task import Batch


@dataclass(frozen=True)
class Generate(Language):
    """Read a label, then from left to right, and predict the next symbol, EOS included."""

    network: WriterConfig

    def batch(self, window: np.ndarray, begins: np.ndarray) -> Batch:
        weights = (window[1:] < self.network.first_label).astype(np.float32)
        return Batch(window[:-1], window[1:], weights, begins)

    def init(self, key: Array) -> Any:
        return writing.init(self.network, key)
