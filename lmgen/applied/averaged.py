"""Networks that label together: the logits of the mean of the probabilities that each of them gives.

In a model directory the first network is that of model.safetensors, and mixture.safetensors has the others. K labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from lmgen.models import mixed
from lmgen.models.provenance import Provenance
from lmgen.models.recurrent import Network
from lmgen.system.arrayfile import Arrays


@dataclass(frozen=True, eq=False)
class Averaged(Network):
    """A network that labels, alone or as the first of several `networks`. What looks into it sees the first one alone."""

    networks: tuple[Any, ...] = ()
    joined_by: ClassVar[str] = "averaged with"

    def own_logits(self, data: Any) -> Iterator[Any]:
        """The logits of each example of a text by this network alone, in order."""
        raise NotImplementedError

    def logits(self, data: Any) -> Iterator[Any]:
        """The logits of each example of a text by all networks together, in order."""
        if not self.networks:
            return self.own_logits(data)
        return map(self.together, zip(*(one.own_logits(data) for one in self.networks), strict=True))

    def together(self, several: Sequence[Any]) -> Any:
        """The logits of the mean of the probabilities that the logits of each network give."""
        return of_one(several)

    def judged(self, data: Any, gathered: Sequence[Any]) -> tuple[float, dict[str, Any]]:
        """The mean nats of the labels of a text, by its logits at the best temperature, and facts to keep with the weights."""
        raise NotImplementedError

    def validate(self, data: Any) -> tuple[float, dict[str, Any]]:
        return self.judged(data, [*self.logits(data)])

    def joined(self, networks: Sequence[Any], provenance: Provenance) -> Averaged:
        """This network as the first of several, which it is one of."""
        return replace(self, networks=tuple(networks), provenance=provenance)

    @property
    def network(self) -> Any:
        """The first network, as it is without the others."""
        return self.networks[0] if self.networks else self

    @property
    def described(self) -> str:
        """The other networks, in words."""
        return mixed.more(self.networks)

    def parts(self) -> Arrays:
        """The arrays of the other networks."""
        return mixed.further(self.networks)

    def facts(self) -> dict[str, Any]:
        """What the file of these networks says of them."""
        return {"temperature": self.provenance.about["temperature"]}


def of_one(several: Sequence[np.ndarray]) -> np.ndarray:
    """Logits [..., K] of the mean of softmax(logits) of each network: its logarithm."""
    z = np.stack(several).astype(np.float64)
    log_p = z - np.logaddexp.reduce(z, -1, keepdims=True)
    return np.logaddexp.reduce(log_p) - np.log(len(z))


def of_several(several: Sequence[np.ndarray]) -> np.ndarray:
    """Logits [..., K] of the mean of sigmoid(logits) of each network: ln p − ln(1 − p)."""
    z = np.stack(several).astype(np.float64)
    return np.logaddexp.reduce(-np.logaddexp(0, -z)) - np.logaddexp.reduce(-np.logaddexp(0, z))
