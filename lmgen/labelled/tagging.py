"""Schemes of tags: the spans that tags stand for, and the likeliest tags that obey their scheme.

A tag is a letter and the label of a span, "B-city", or a letter alone; every other tag is outside of all spans, as "O" is.
n tokens, K tags.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

# The letters of a scheme: B begins a span, I continues it, E ends it, S is a span of one token. BILOU has L for E and U for S,
# BMES has M for I, and some have W for S.
SCHEMES: dict[str, dict[str, str]] = {
    "BIO": {"B": "B", "I": "I"},
    "IOBES": {"B": "B", "I": "I", "M": "I", "E": "E", "L": "E", "S": "S", "U": "S", "W": "S"},
}
MOST = 4096  # different tags of a scheme
FLOOR = -1e3  # the least log-probability of a tag: e^-1000 is 0 in 64 bits


def scheme(tags: Iterable[str]) -> str | None:
    """The scheme that all tags follow: "BIO", "IOBES", or None.

    Tags with labels are a scheme where a B or an O is among them, letters alone where there are a B and a letter that continues
    it. BILOU and BMES count as IOBES. IOB1, where only a span right after another of its label has a B, looks like BIO. More than
    4,096 different tags, whose table of what is allowed would not fit in memory, are no scheme.
    """
    parts = {tag.partition("-")[::2] for tag in tags}
    letters = {letter for letter, _ in parts - {("O", "")}}
    labelled = all(label for _, label in parts - {("O", "")})
    begun = "B" in letters and (labelled or letters & set("IMEL"))
    if not letters or len(parts) > MOST or not (begun or (labelled and ("O", "") in parts)):
        return None
    return next((name for name, known in SCHEMES.items() if letters <= known.keys()), None)


class Span(NamedTuple):
    """Tokens `start` to `end`, without `end` itself."""

    label: str
    start: int
    end: int


def _parsed(tag: str, scheme: str) -> tuple[str, str]:
    """The letter of a tag, as B, I, E, S or O, and its label."""
    letter, _, label = tag.partition("-")
    return SCHEMES[scheme].get(letter, "O"), label


def spans(tags: Sequence[str], scheme: str) -> list[Span]:
    """The spans of any sequence of tags, in order.

    The rule for invalid sequences is that of conlleval (Tjong Kim Sang and Buchholz 2000; seqscore's "conlleval" repair): an I or
    an E that does not directly follow a B or an I of its label begins a span, and a span without its E ends before the next token
    that does not continue it.
    """
    found: list[Span] = []
    is_open = False
    for at, tag in enumerate(tags):
        letter, label = _parsed(tag, scheme)
        if letter in "IE" and is_open and found[-1].label == label:
            found[-1] = found[-1]._replace(end=at + 1)
        elif letter != "O":
            found.append(Span(label, at, at + 1))
        is_open = letter in "BI"
    return found


def allowed(tags: Sequence[str], scheme: str) -> np.ndarray:
    """Which tag may follow which: bool [K + 1, K + 1], the last row is the start of a sequence, the last column its end.

    A rule binds only where it can be kept: an I-x may begin a span where there is no tag B-x, and IOBES lets a span go without an
    end where there is no E-x.
    """
    parts = [_parsed(tag, scheme) for tag in tags]
    numbers: dict[str, int] = {}
    label = np.array([numbers.setdefault(label, len(numbers)) for _, label in parts], np.intp)
    letter = np.array([letter for letter, _ in parts], "U1")
    opens, continues = np.isin(letter, ["B", "I"]), np.isin(letter, ["I", "E"])
    same = opens[:, None] & continues & (label[:, None] == label)
    follows = same[letter == "B"].any(0)  # tags that only come within a span
    goes_on = same[:, letter == "E"].any(1)  # tags that do not end one
    table = np.ones((len(tags) + 1, len(tags) + 1), bool)
    table[:-1, :-1] = same | ~(follows | goes_on[:, None])
    table[-1, :-1], table[:-1, -1] = ~follows, ~goes_on
    return table


def breaks(tags: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Where two tags follow each other that may not: bool [n − 1], from ids [n] of a stream in which −1 parts the sequences."""
    return ~allowed[tags[:-1], tags[1:]]  # −1 is the last row and the last column


def viterbi(log_p: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """The likeliest allowed sequence of tags: ids [n], from log-probabilities [n, K] of each tag at each token (Viterbi 1967).

    Where no sequence is allowed, it is the likeliest of those that break the fewest rules.
    """
    n, K = log_p.shape
    ids = log_p.argmax(1)
    if allowed[np.append(K, ids), np.append(ids, K)].all():  # nothing is likelier, and mostly it is allowed
        return ids
    score = np.maximum(log_p, FLOOR, dtype=np.float64)
    cost = np.where(allowed.T, 0.0, FLOOR * (n + 1))  # [to, from]; a broken rule outweighs all tags
    between = np.ascontiguousarray(cost[:K, :K])
    best, before = score[0] + cost[:K, K], np.empty((n, K), np.min_scalar_type(K))
    for at in range(1, n):
        reached = between + best
        before[at] = came = reached.argmax(1)
        best = reached[np.arange(K), came] + score[at]
    ids[-1] = (best + cost[K, :K]).argmax()
    for at in range(n - 1, 0, -1):
        ids[at - 1] = before[at, ids[at]]
    return ids
