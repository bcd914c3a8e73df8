"""The end of a training: what validation text shows to be better than the network alone goes into the model, and nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lmgen.applied.averaged import Averaged
from lmgen.data.corpus import Corpus
from lmgen.models import scoring
from lmgen.models.mixed import Mixed
from lmgen.models.recurrent import Recurrent
from lmgen.training.counting import Fitted
from lmgen.training.finishing import temperature
from lmgen.training.finishing.mixture import GAIN, averaging, mixture


@dataclass(frozen=True)
class Finished:
    """The first network, at the temperature that was fitted to it (1 for none), with the mean nats of the validation text in the
    metadata of both; `mixed` is that network with others and, of a language model, with n-grams, or None where these gain
    nothing."""

    network: Recurrent | Averaged
    temperature: float
    mixed: Mixed | Averaged | None
    times: float  # how many times as long as by the network alone scoring takes with the other parts

    @property
    def best(self) -> Recurrent | Mixed | Averaged:
        """The model that was made."""
        return self.mixed or self.network

    @property
    def rows(self) -> dict[str, str]:
        """What was added to the network, for the card."""
        rows = {"evaluation temperature": f"{self.temperature:g}, in the weights"} if self.temperature != 1 else {}
        if self.mixed:
            nats = self.network.provenance.about["valid_nats"]
            per = self.network.kind.per
            rows[self.mixed.joined_by] = f"{self.mixed.described}; the network alone: {nats:.4f} nats a {per}"
        return rows

    def sentences(self, shown: Callable[[float], str], several: bool) -> Iterator[str]:
        """What was added to the network, or to the first of several, for whoever trains; `shown` words nats of validation."""
        alone = shown(self.network.provenance.about["valid_nats"])
        if self.temperature != 1:
            of = " of the first network" * several
            yield f"evaluation temperature {self.temperature:g}{of}: validation {alone}"
        if self.mixed:
            yield f"{self.mixed.joined_by} {self.mixed.described}: validation {shown(self.best.provenance.about['valid_nats'])}"


def validations(data: Corpus) -> float:
    """How many validations finishing takes as long as."""
    return 2 + temperature.TRIALS * min(1.0, temperature.ENOUGH / data.valid.symbols) if data.valid else 0.0


def finished(networks: Sequence[Recurrent], ngrams: Fitted, valid: np.ndarray) -> Finished:
    """The best model that can be made of networks and n-grams, by a validation text."""
    begun = time.monotonic()
    alone = [scoring.stream_nats(one, valid, exact=False) for one in networks]
    took = (time.monotonic() - begun) / len(networks)
    tempered = [temperature.tempered(one, nats, valid) for one, nats in zip(networks, alone, strict=True)]
    (network, nats, fitted), *others = tempered
    about: dict[str, Any] = {**network.provenance.about, "valid_nats": float(nats.mean(dtype=np.float64))}
    if fitted != 1:
        about["evaluation_temperature"] = fitted
    chosen = [replace(network, provenance=replace(network.provenance, about=about))]
    sums = np.exp(-nats.astype(np.float64))
    for other, further, _ in others:
        with_it = sums + np.exp(-further.astype(np.float64))
        averaged = np.log(len(chosen) + 1) - np.log(with_it)
        if averaged.mean() < (1 - GAIN) * nats.mean(dtype=np.float64):
            chosen, sums, nats = [*chosen, other], with_it, averaged
    begun = time.monotonic()
    mixed = mixture(chosen, nats, ngrams.lm, valid)
    if not mixed and len(chosen) > 1:
        mixed = averaging(chosen, nats, ngrams.lm)
    times = len(chosen) + (time.monotonic() - begun) / max(took, 1e-9)
    return Finished(chosen[0], fitted, mixed, times)


def averaged(networks: Sequence[Averaged], valid: Any) -> Finished:
    """The best model that can be made of networks that label, by validation text."""
    each = [[*one.logits(valid)] for one in networks]
    nats, facts = networks[0].judged(valid, each[0])
    about = networks[0].provenance.about
    first = replace(networks[0], provenance=replace(networks[0].provenance, about={**about, "valid_nats": nats, **facts}))
    chosen, kept = [first], [each[0]]
    for other, further in zip(networks[1:], each[1:], strict=True):
        together = [first.together(several) for several in zip(*kept, further, strict=True)]
        with_it, found = first.judged(valid, together)
        if with_it < (1 - GAIN) * nats:
            chosen, kept, nats, facts = [*chosen, other], [*kept, further], with_it, found
    origin = replace(first.provenance, about={**about, "valid_nats": nats, **facts})
    return Finished(first, 1.0, first.joined(chosen, origin) if len(chosen) > 1 else None, len(chosen))
