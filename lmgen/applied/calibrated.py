"""What models that predict labels have in common: calibrated probabilities, and the temperatures by which they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from lmgen.applied import averaged
from lmgen.applied.averaged import Averaged
from lmgen.labelled import calibration
from lmgen.labelled.corpus import UNKNOWN
from lmgen.models.capabilities import Predicts
from lmgen.networks import labelling


class Logits(NamedTuple):
    """The logits of one sequence: of its tags [n, L], of its labels [L]; None where it has no such head."""

    tags: np.ndarray | None
    labels: np.ndarray | None


class Calibrated(Averaged, Predicts):
    """A network with a head for `config.labels`, of which with `config.several` any number may hold, or for `config.tags`."""

    config: Any

    def together(self, several: Sequence[Logits]) -> Logits:
        tags, labels = zip(*several, strict=True)
        of_labels = averaged.of_several if self.config.several else averaged.of_one
        return Logits(None if tags[0] is None else averaged.of_one(tags), None if labels[0] is None else of_labels(labels))

    def temperature(self, name: str) -> float:
        """The temperature of the "labels" or the "tags", fitted on held-out text."""
        return float((self.provenance.about.get("temperature") or {}).get(name, 1.0))

    def probabilities(self, logits: np.ndarray, name: str) -> np.ndarray:
        """The calibrated probabilities of "labels" [..., L] or "tags" [..., L]."""
        scaled = logits.astype(np.float64) / self.temperature(name)
        if name == "labels" and self.config.several:
            return np.exp(-np.logaddexp(0, -scaled))
        scaled = np.exp(scaled - scaled.max(-1, keepdims=True))
        return scaled / scaled.sum(-1, keepdims=True)

    def ranked(self, logits: np.ndarray) -> tuple[tuple[tuple[str, float], ...], tuple[str, ...]]:
        """The labels with their probabilities, the likeliest first, and those that hold, from logits [L]."""
        p = self.probabilities(logits, "labels")
        labels = tuple((self.config.labels[k], float(p[k])) for k in np.argsort(-p, kind="stable"))
        return labels, tuple(name for name, p in labels if p >= 0.5) if self.config.several else (labels[0][0],)

    def fitted(self, found: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> tuple[float, dict[str, Any]]:
        """The mean nats at the best temperatures, summed over the heads, and these temperatures.

        `found` has the logits [n, L] of each head and their gold [n], or with several bool [n, L].
        """
        total, temperatures = 0.0, {}
        for name, (logits, gold) in found.items():
            several = gold.ndim == 2
            if not several:
                logits, gold = logits[gold != UNKNOWN], gold[gold != UNKNOWN]
            if not len(gold):
                continue
            fit = calibration.temperature_of_several if several else calibration.temperature
            temperatures[name] = fit(logits, gold)
            nats = labelling.nats(jnp.asarray(logits / temperatures[name]), jnp.asarray(gold))
            total += float(np.asarray(nats).mean(dtype="float64"))
        return total, {"temperature": temperatures}
