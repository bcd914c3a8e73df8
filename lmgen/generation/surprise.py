"""The temperature at which samples surprise a model as much as held-out text does."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice

from lmgen.errors import InputError
from lmgen.generation.sampling import Sample

SAMPLES = 200  # at each temperature; the same seed at all of them, so that chance moves them together
COLDEST, HOTTEST = 0.2, 3.0
ROUNDS = 12  # bisections of the logarithm: the temperature is known to 0.1 %


@dataclass(frozen=True)
class Match:
    """A temperature, and the mean nats per symbol of samples at it and of held-out text, both by the model as it is."""

    temperature: float
    samples: float
    held_out: float


def match(sample: Callable[[float], Iterable[Sample]], held_out: float) -> Match:
    """The temperature at which the samples that `sample` draws have as many nats per symbol as held-out text, by bisection.

    Raises InputError where no temperature from COLDEST to HOTTEST gives that.
    """

    def surprise(temperature: float) -> float:
        drawn = [*islice(sample(temperature), SAMPLES)]
        return sum(one.nats for one in drawn) / max(1, sum(one.symbols for one in drawn))

    low, high = COLDEST, HOTTEST
    if not surprise(low) < held_out < surprise(high):
        raise InputError(
            f"no temperature from {low} to {high} makes samples as surprising as held-out text ({held_out:.3f} nats per symbol): "
            "choose a --temperature"
        )
    for _ in range(ROUNDS):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if surprise(middle) < held_out else (low, middle)
    temperature = round((low * high) ** 0.5, 4)
    return Match(temperature, surprise(temperature), held_out)
