"""What tests of n-grams share: texts of four letters, and a model fitted on one."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from lmgen.data.vocab import EOS, Vocab
from lmgen.models import ngram
from lmgen.training import counting

LETTERS = "abcd"
VOCAB = Vocab("char", tuple(LETTERS))
lines = st.lists(st.text(LETTERS, max_size=8), min_size=1, max_size=12)


def stream_of(sequences: list[str]) -> np.ndarray:
    return np.concatenate([[EOS], *([*VOCAB.encode(s), EOS] for s in sequences)]).astype(np.int64)


def fitted(sequences: list[str], order: int, carry: bool = False) -> ngram.NGramModel:
    return counting.fitted(stream_of(sequences), None, VOCAB, carry, order).lm
