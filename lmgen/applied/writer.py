"""The model that writes by label."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from numbers import Real
from typing import Any

import jax
import numpy as np
from jax import Array

from lmgen.data.corpus import fingerprint
from lmgen.errors import InputError
from lmgen.labelled import packing
from lmgen.labelled.corpus import Coded, labelled
from lmgen.models import kinds
from lmgen.models.capabilities import Conditions, State, Taught
from lmgen.models.recurrent import Recurrent
from lmgen.networks import writing
from lmgen.networks.writing import WriterConfig
from lmgen.options.kinds import did_you_mean, quoted
from lmgen.system.cluster import group

LISTED = 20  # labels in a message
WIDTH = 32  # columns read side by side


@dataclass(frozen=True, eq=False)
class Writer(Recurrent, Taught, Conditions):
    """A recurrent language model whose inputs have the vector of a label in them; `chosen` are the labels that it writes by."""

    kind = kinds.WRITER
    configuration = WriterConfig
    fresh = staticmethod(writing.init)  # type: ignore[assignment]

    config: WriterConfig
    chosen: tuple[str, ...] = ()

    def start(self, batch: int) -> State:
        if not self.chosen:
            raise InputError(f"this model writes by label: give --label, one of {self._listed}")
        return super().start(batch)

    @property
    def _listed(self) -> str:
        names = ", ".join(self.config.labels[:LISTED])
        return names + ", …" * (len(self.config.labels) > LISTED)

    def by(self, weights: Mapping[str, float]) -> Writer:
        """The model that writes by a label or, of several with their weights, by the mean of their vectors.

        Raises InputError for a label that it does not know, a weight that is not positive, and for no label.
        """
        if not isinstance(weights, Mapping) or not weights:
            raise InputError(f"{quoted(weights)} names no label: give one, such as A, or several with weights, as A:0.7,B:0.3")
        for name, weight in weights.items():
            if not isinstance(weight, Real) or not 0 < weight < math.inf:
                raise InputError(f"the label {name!r:.60} has the weight {weight}: give positive ones, as A:0.7,B:0.3")
            if name not in self.config.labels:
                meant = did_you_mean(name, self.config.labels) or f": the labels are {self._listed}"
                raise InputError(f"this model knows no label {name!r:.60}{meant}")
        shares = np.array([weights.get(name, 0.0) for name in self.config.labels], np.float32) / sum(weights.values())
        return replace(self, params=writing.by(self.params, shares), chosen=tuple(weights))

    def parsed(self, text: str) -> dict[str, float]:
        """The weights in "A:0.7,B:0.3"; a label without one has 1."""
        if text in self.config.labels:
            return {text: 1.0}
        weights = {}
        for part in map(str.strip, text.split(",")):
            label, colon, weight = part.rpartition(":")
            try:
                weights[label if colon else weight] = float(weight) if colon else 1.0
            except ValueError:
                weights[part] = 1.0
        return weights

    def validate(self, data: Coded) -> tuple[float, dict[str, Any]]:
        """The mean nats of held-out texts, given their labels."""

        def read(block: packing.Block) -> np.ndarray:
            *inputs, weights = writing.inputs_of(data, block, self.config.vocab, len(self.config.labels))
            nats = np.asarray(_nats(self.config, self.precision, self.params, *inputs))
            return np.array([(nats * weights).sum(dtype="float64"), weights.sum()])

        total, count = sum(group.shared_out(packing.blocks(data.starts, data.lengths, WIDTH), read))
        return float(total) / max(1.0, float(count)), {}

    def fingerprints(self, text: str) -> list[int]:
        """Those of a text by each of the labels that the model writes by."""
        return [fingerprint(labelled(label, text)) for label in self.chosen]


@partial(jax.jit, static_argnums=(0, 1))
def _nats(config: WriterConfig, precision: str, params: Any, inputs: Any, targets: Any) -> Array:
    return writing.nats(config, precision, params, inputs, targets)
