"""The evaluation temperature of a network, fitted on validation text and put into its weights (Guo et al. 2017)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from lmgen.models import scoring
from lmgen.models.recurrent import Recurrent
from lmgen.nn import model

RANGE = math.log(0.5), math.log(2)  # of ln of the temperature
NEAR = 0.02  # the precision of ln of the temperature, which takes TRIALS
TRIALS = 11
ENOUGH = 1 << 13  # symbols on which it is fitted
GOLDEN = (math.sqrt(5) - 1) / 2


def tempered(network: Recurrent, nats: np.ndarray, valid: np.ndarray) -> tuple[Recurrent, np.ndarray, float]:
    """The network at the temperature that is best on a validation text, the nats of that, and the temperature; as it was, with
    its `nats` and 1, where hardly anything is gained."""
    part = valid[: ENOUGH + 1]

    def at(temperature: float) -> Recurrent | None:
        params = model.tempered(network.params, temperature)
        return None if params is None else replace(network, params=params)

    def of(log: float) -> float:
        other: Any = at(math.exp(log))
        return float(scoring.stream_nats(other, part, exact=False).sum(dtype=np.float64))

    if at(1.0) is None:
        return network, nats, 1.0
    temperature = round(math.exp(_least(of, *RANGE)), 4)
    other: Any = at(temperature)
    found = scoring.stream_nats(other, valid, exact=False)
    gained = float(nats.sum(dtype=np.float64) - found.sum(dtype=np.float64))
    if gained <= math.log(len(nats)) / 2:  # nats that one number more must save (Schwarz 1978)
        return network, nats, 1.0
    return other, found, temperature


def _least(of: Callable[[float], float], low: float, high: float) -> float:
    """Where a function with one minimum is least: a search by golden sections."""
    one, two = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
    of_one, of_two = of(one), of(two)
    while high - low > NEAR:
        if of_one < of_two:
            high, two, of_two = two, one, of_one
            one = high - GOLDEN * (high - low)
            of_one = of(one)
        else:
            low, one, of_one = one, two, of_two
            two = low + GOLDEN * (high - low)
            of_two = of(two)
    return (low + high) / 2
