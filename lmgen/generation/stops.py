"""Stops: where in a text the first of several strings ends it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from itertools import accumulate

import numpy as np

from lmgen.data.vocab import Vocab
from lmgen.models.spelling import Speller


def cut(text: str, stops: Iterable[str], start: int) -> str:
    """A text that a stop ended, without that stop, which is not looked for before a place."""
    found = [(text.find(stop, start) + len(stop), -len(stop)) for stop in stops if stop in text[start:]]
    return text[: sum(min(found))] if found else text


def until(vocab: Vocab, ids: np.ndarray, stops: Iterable[str], prompt: np.ndarray, between: str) -> int:
    """The number of ids behind a prompt up to the end of the stop that ends first; all of them where there is none."""
    speller = Speller(vocab, between)
    speller.parts(prompt.tolist())
    parts = speller.parts(ids.tolist())
    text, ends = "".join(parts), [*accumulate(map(len, parts))]
    found = min((text.find(stop) + len(stop) for stop in stops if stop in text), default=None)
    return len(ids) if found is None else bisect_left(ends, found) + 1
