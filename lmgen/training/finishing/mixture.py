"""The n-gram model beside a network: counted before the training, and mixed with what that gave where validation gains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lmgen.data.corpus import Corpus
from lmgen.data.vocab import EOS
from lmgen.models import mixed, scoring
from lmgen.models.mixed import Mixed
from lmgen.models.ngram import NGramModel
from lmgen.models.recurrent import Recurrent
from lmgen.training.counting import Fitted, fitted

MOST_SYMBOLS = 1 << 22  # of the training text that are counted: about 200 MB of memory …
A_SECOND = 50_000  # … and as many for each second of a budget, which takes at most a tenth of it
MOST_NGRAMS = 1 << 20  # of two symbols and more: 17 MB on disk
GAIN = 1e-3  # the least share of the nats that a further order, and the mixture itself, must save


def counted(data: Corpus, carry: bool, budget: float | None) -> Fitted | None:
    """The Kneser-Ney model of a training text, its order chosen on the validation text; None without one."""
    if data.valid is None:
        return None
    most = MOST_SYMBOLS if budget is None else min(MOST_SYMBOLS, max(1, int(A_SECOND * budget)))
    train, valid = (_shortened(part.stream, most) for part in (data.train, data.valid))
    return fitted(train, valid, data.vocab, carry, most=MOST_NGRAMS, gain=GAIN)


def _shortened(stream: np.ndarray, most: int) -> np.ndarray:
    return stream if len(stream) <= most else np.append(stream[:most], EOS)


def mixture(networks: Sequence[Recurrent], nats: np.ndarray, ngrams: NGramModel, valid: np.ndarray) -> Mixed | None:
    """Networks mixed with n-grams; None where the validation text has hardly fewer nats than its `nats` by the networks alone."""
    order = ngrams.config.order
    by_ngrams = scoring.stream_nats(ngrams, valid, exact=False)
    lengths = ngrams.lengths(valid)
    weights = mixed.weights_by_length(by_ngrams, nats, lengths, order)
    mean = float(mixed.mixed_nats(by_ngrams, nats, weights[lengths]).mean(dtype=np.float64))
    if not mean < (1 - GAIN) * nats.mean(dtype=np.float64):
        return None
    origin = networks[0].provenance
    return Mixed(networks, ngrams, weights, replace(origin, about={**origin.about, "valid_nats": mean}))


def averaging(networks: Sequence[Recurrent], nats: np.ndarray, ngrams: NGramModel) -> Mixed:
    """The average of networks, which n-grams do not improve: those of one symbol stand in it, without weight."""
    config, (unigrams, *_) = replace(ngrams.config, order=1), ngrams.levels
    origin = networks[0].provenance
    about = {**origin.about, "valid_nats": float(nats.mean(dtype=np.float64))}
    return Mixed(
        networks, replace(ngrams, config=config, levels=[unigrams]), np.zeros(1, np.float32), replace(origin, about=about)
    )
