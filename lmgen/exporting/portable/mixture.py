"""The mixture of a network and n-grams of the same text, whose weight depends on the length of the context that they know."""

from __future__ import annotations

import numpy as np

from lmgen.exporting.portable.given import W
from lmgen.exporting.portable.network import empty, read_network
from lmgen.exporting.portable.ngrams import no_context, read_ngrams
from lmgen.exporting.portable.norms import log_softmax


def empty_mixture():
    """The state of both before anything is read."""
    return empty(), no_context()


def read_mixture(state, id, by=0.0):
    """The state of both after reading an id, and ln p [V] of what follows."""
    (network, logits), (contexts, log_p) = read_network(state[0], id), read_ngrams(state[1], id)
    weight = float(W["mixture"]["weights"][sum(node >= 0 for node in contexts)])
    with np.errstate(divide="ignore"):
        return (network, contexts), np.logaddexp(np.log1p(-weight) + log_softmax(logits), np.log(weight) + log_p)
