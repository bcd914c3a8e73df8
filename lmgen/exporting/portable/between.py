"""Scoring by a network that reads from both sides."""

from __future__ import annotations

import numpy as np

from lmgen.exporting.portable.given import EOS, MODEL, W
from lmgen.exporting.portable.network import head_input, logits, outputs
from lmgen.exporting.portable.norms import log_softmax
from lmgen.exporting.portable.symbols import encode, spell


def pseudo_score(text):
    """The symbols of a text, each with its nats given all others before it and after it."""
    ids = [EOS, *encode(text), EOS] + [EOS] * MODEL["carry"]  # the last one is given
    xs = W["embedding"][ids]
    lefts, rights = outputs(W, xs)[1], outputs(W["back"], xs[::-1])[1][::-1]
    found = []
    for at in range(1, len(ids) - 1):
        h = head_input(np.append(lefts[at - 1], rights[at + 1]))
        found.append((spell(ids[at]), float(-log_softmax(logits(h))[ids[at]])))
    return found
