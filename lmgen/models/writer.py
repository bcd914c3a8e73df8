"""The model that writes by label."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from lmgen.data.corpus import fingerprint
from lmgen.errors import InputError
from lmgen.labelled.corpus import labelled
from lmgen.models import kinds
from lmgen.models.capabilities import Conditions, State, Taught
from lmgen.models.networks import Recurrent
from lmgen.nn import writing
from lmgen.nn.writing import WriterConfig
from lmgen.options.kinds import did_you_mean

LISTED = 20  # labels in a message


@dataclass(frozen=True, eq=False)
class Writer(Recurrent, Taught, Conditions):
    """A recurrent language model that reads a label before it writes; `chosen` are the labels that it writes by."""

    kind = kinds.WRITER
    configuration = WriterConfig
    fresh = staticmethod(writing.init)  # type: ignore[assignment]

    config: WriterConfig
    chosen: tuple[str, ...] = ()

    @property
    def opening(self) -> np.ndarray:
        if not self.chosen:
            raise InputError(f"this model writes by label: give --label, one of {self._listed}")
        return np.array([self.config.first_label + self.config.labels.index(self.chosen[0])], np.int32)

    @property
    def _listed(self) -> str:
        names = ", ".join(self.config.labels[:LISTED])
        return names + ", …" * (len(self.config.labels) > LISTED)

    def by(self, weights: Mapping[str, float]) -> Writer:
        """The model that writes by a label or, of several with their weights, by the mean of their vectors.

        Raises InputError for a label that it does not know and for a weight that is not positive.
        """
        for name, weight in weights.items():
            if not 0 < weight < math.inf:
                raise InputError(f"the label {name!r:.60} has the weight {weight}: give positive ones, as A:0.7,B:0.3")
            if name not in self.config.labels:
                meant = did_you_mean(name, self.config.labels) or f": the labels are {self._listed}"
                raise InputError(f"this model knows no label {name!r:.60}{meant}")
        ids = jnp.array([self.config.first_label + self.config.labels.index(name) for name in weights])
        shares = jnp.array([*weights.values()]) / sum(weights.values())
        mean = (shares[:, None] * self.params["embedding"][ids]).sum(0)  # in the place of the first label
        params = {**self.params, "embedding": self.params["embedding"].at[ids[0]].set(mean)} if len(weights) > 1 else self.params
        return replace(self, params=params, chosen=tuple(weights))

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

    def counted(self, targets: np.ndarray) -> np.ndarray:
        """All symbols: labels are given."""
        return targets < self.config.first_label

    def nats(self, state: State, window: ArrayLike) -> tuple[State, Array]:
        state, nats = super().nats(state, window)
        return state, jnp.where(jnp.asarray(window)[1:] < self.config.first_label, nats, 0)

    def fingerprints(self, text: str) -> list[int]:
        """Those of a text by each of the labels that the model writes by."""
        return [fingerprint(labelled(label, text)) for label in self.chosen]
