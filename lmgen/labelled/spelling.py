"""Words by their spelling: a word is a set of features, hashed into buckets, so that an unknown word has features that are known.

The features of "Taipei-2": its letters with both ends marked, <taipei-2>; its prefixes and suffixes and all its n-grams of 3 to 6
letters, such as <ta, ei-2> and aipei; its shapes Xxxxxx-d and Xx-d; what is remarkable in it: a capital, a digit, a hyphen.
Word hashing: Huang et al. 2013; n-grams of several lengths, with marked ends: Bojanowski et al. 2017.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np

BUCKETS = 1 << 14
MOST = 64  # features of a word
LENGTHS = range(3, 7)  # of the n-grams, in letters
LONGEST = 100  # letters at each end of a word of which n-grams are made
LONGEST_SHAPE = 10

# What is remarkable in a word. The names are hashed, too: a new name means new buckets for all models.
TRAITS: dict[str, Callable[[str], bool]] = {
    "capital": lambda word: word[:1].isupper(),
    "inner": lambda word: word[1:] != word[1:].lower() and not word.isupper(),
    "upper": str.isupper,
    "digit": lambda word: any(map(str.isdigit, word)),
    "number": lambda word: not any(map(str.isalpha, word)) and any(map(str.isdigit, word)),
    "hyphen": lambda word: "-" in word[1:-1],
    "mark": lambda word: not any(map(str.isalnum, word)),
    "foreign": lambda word: not word.isascii(),
}


def hashed(words: Sequence[str]) -> np.ndarray:
    """The buckets of the features of each word: int32 [n, M], M ≤ MOST, padded with −1.

    The buckets of a word are the same in every process and whatever the other words are: the CRC-32 of each feature in UTF-8,
    modulo BUCKETS. A long word keeps its ends, its shapes and evenly spaced n-grams.
    """
    buckets, most = np.full((len(words), MOST), -1, np.int32), 0
    for row, word in zip(buckets, words, strict=True):
        found = _buckets(word)
        row[: len(found)] = found
        most = max(most, len(found))
    return buckets[:, :most]


def joined(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The buckets [n, M] of some words and of others, from those of each."""
    most = max(some.shape[1], others.shape[1])
    return np.concatenate([np.pad(part, ((0, 0), (0, most - part.shape[1])), constant_values=-1) for part in (some, others)])


@lru_cache(1 << 14)  # words come again
def _buckets(word: str) -> tuple[int, ...]:
    return tuple(zlib.crc32(feature.encode("utf-8", "surrogatepass")) % BUCKETS for feature in _features(word))


def _features(word: str) -> list[str]:
    """At most MOST different features of a word, those that it always keeps first."""
    whole = f"<{word.lower()}>"
    if len(word) > 2 * LONGEST:
        word = word[:LONGEST] + word[-LONGEST:]
    letters, shape = f"<{word.lower()}>", "".join(map(_class, word))
    short = re.sub(r"(.)\1+", r"\1", shape, flags=re.S)
    ends = [end for n in range(2, 6) for end in (letters[:n], letters[-n:])]
    traits = [f"has {name}" for name, has in TRAITS.items() if has(word)]
    kept = dict.fromkeys([whole, *ends, f"shape {shape[:LONGEST_SHAPE]}", f"short {short[:LONGEST_SHAPE]}", *traits])
    grams = dict.fromkeys(letters[i : i + n] for n in LENGTHS for i in range(len(letters) - n + 1))
    others = [gram for gram in grams if gram not in kept]
    room = min(len(others), MOST - len(kept))
    return [*kept, *(others[k * len(others) // room] for k in range(room))]


def _class(letter: str) -> str:
    """The class of a letter in a shape; what is neither a letter nor a digit stands for itself."""
    return "X" if letter.isupper() else "d" if letter.isdigit() else "x" if letter.isalpha() else letter
