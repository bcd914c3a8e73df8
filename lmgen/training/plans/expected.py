"""The loss that a plan is expected to reach, with an interval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lmgen.defaults.language import Plan
from lmgen.defaults.law import MANY, law
from lmgen.models import ngram, scoring

ORDER, ORDER_OF_MANY = 6, 4  # of the n-gram model: of few and of many kinds of symbols
MOST = 4_000_000  # symbols that it counts, and a tenth of them that it predicts
LEAST = 2_000  # symbols of text that let anything be expected


@dataclass(frozen=True)
class Expected:
    """Nats a symbol of the validation text: the n-gram model's, and the plan's with the interval that holds nine of ten."""

    counted: float
    nats: float
    low: float
    high: float


def expected(plan: Plan, data: Any, carry: bool) -> Expected | None:
    """The loss that a plan reaches on the held-out text, or would on a last tenth; None for a text that is too short."""
    stream = np.asarray(data.train.stream[: MOST + 1])
    if len(stream) < LEAST:
        return None
    cut = len(stream) * 9 // 10
    train, valid = (stream, data.valid.stream[: MOST // 10 + 1]) if data.valid else (stream[:cut], stream[cut:])
    kinds = len(data.vocab)
    order = ORDER if kinds <= MANY else ORDER_OF_MANY
    counts = ngram.Counts(train, kinds, carry)
    model = ngram.NGramModel(ngram.NGramConfig(kinds, order, carry), ngram.smoothed(counts, order), data.vocab)
    nats = float(scoring.stream_nats(model, valid, exact=False).mean(dtype=np.float64))
    most, spread = nats * plan.ratio, law(kinds).spread
    return Expected(nats, most, most / spread, most * spread)
