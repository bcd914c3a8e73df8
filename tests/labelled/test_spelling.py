"""Words by their spelling: which features a word has, that they are the same for ever, and what words share."""

from __future__ import annotations

import os
import subprocess
import sys
import zlib
from itertools import pairwise

import numpy as np
import pytest

from lmgen.labelled.spelling import BUCKETS, MOST, hashed
from support import invented_words


def features(word: str) -> set[int]:
    return {int(bucket) for bucket in hashed([word])[0] if bucket >= 0}


def buckets(*names: str) -> set[int]:
    return {zlib.crc32(name.encode()) % BUCKETS for name in names}


BY_HAND = {
    "": ["<>", "shape ", "short ", "has mark"],
    "a": ["<a>", "<a", "a>", "shape x", "short x"],
    "Ab": ["<ab>", "<a", "b>", "<ab", "ab>", "shape Xx", "short Xx", "has capital"],
    "1-2": [
        *("<1-2>", "<1", "<1-", "<1-2", "2>", "-2>", "1-2>", "1-2"),
        *("shape d-d", "short d-d", "has digit", "has number", "has hyphen"),
    ],
    "NATO": [
        *("<nato>", "<n", "<na", "<nat", "<nato", "o>", "to>", "ato>", "nato>", "nat", "ato", "nato"),
        *("shape XXXX", "short X", "has capital", "has upper"),
    ],
    "iPé": [
        *("<ipé>", "<i", "<ip", "<ipé", "é>", "pé>", "ipé>", "ipé"),
        *("shape xXx", "short xXx", "has inner", "has foreign"),
    ],
    "…": ["<…>", "<…", "…>", "shape …", "short …", "has mark", "has foreign"],
}


@pytest.mark.parametrize("word", BY_HAND)
def test_the_features_of_a_word_are_those_written_down(word):
    assert features(word) == buckets(*BY_HAND[word])


def test_every_n_gram_of_a_word_of_usual_length_is_there():
    marked = "<taipei-2>"
    grams = {marked[i:j] for i in range(len(marked)) for j in range(i + 3, min(i + 6, len(marked)) + 1)}
    assert buckets(*grams, marked, "<t", "2>", "shape Xxxxxx-d", "short Xx-d") <= features("Taipei-2")


def test_buckets_are_the_same_for_ever():
    """The buckets of a model's words are stored nowhere: they must never change."""
    assert hashed(["to", "2nd"]).tolist() == [
        [12874, 7717, 14396, 1501, 13149, 15497, 3412, -1, -1, -1, -1],
        [1938, 14976, 8695, 7624, 3120, 2707, 14868, 9263, 9022, 2525, 2948],
    ]


def test_buckets_depend_neither_on_the_process_nor_on_the_other_words():
    words = ["Taipei", "November", "2nd", "", "\ud800", "x" * 300]
    program = f"from lmgen.labelled.spelling import hashed; print(hashed({words!r}).tolist())"
    environments = [os.environ | {"PYTHONHASHSEED": seed} for seed in ("1", "2")]
    runs = [
        subprocess.run([sys.executable, "-c", program], env=env, stdout=subprocess.PIPE, check=True).stdout
        for env in environments
    ]
    assert runs[0] == runs[1] == f"{hashed(words).tolist()}\n".encode()
    for word, row in zip(words, hashed(words), strict=True):
        alone = hashed([word])[0]
        assert row[: len(alone)].tolist() == alone.tolist()
        assert (row[len(alone) :] == -1).all()


def test_related_words_share_more_than_others():
    def shared(one: str, other: str) -> float:
        return len(features(one) & features(other)) / len(features(one) | features(other))

    assert shared("arrive", "arrived") > 2 * shared("arrive", "leaving")
    assert shared("London", "Londoner") > 2 * shared("London", "Taipei")
    assert buckets("shape dddd", "short d", "has number", "has digit") <= features("1999") & features("2024")
    assert buckets("ing>") <= features("arriving") & features("leaving")


@pytest.mark.parametrize("word", ["x" * 17, "Donaudampfschifffahrtsgesellschaft", "ab" * 10**6, "é\n\0" * 99, "漢" * 40])
def test_a_long_word_has_as_many_features_as_fit(word):
    """Both ends are kept, and the n-grams in between come from everywhere."""
    assert hashed([word]).shape[1] <= MOST
    low = word.lower()
    assert buckets(f"<{low[:4]}", f"{low[-4:]}>", f"<{low}>") <= features(word)


def test_a_long_word_is_thinned_evenly():
    word = "".join(chr(0x4E00 + k) for k in range(60))
    kept = features(word)
    for n in range(3, 7):
        places = [i for i in range(60 - n) if buckets(word[i : i + n]) <= kept]
        assert len(places) >= 8
        assert max(b - a for a, b in pairwise(places)) <= 8


def test_buckets_are_used_evenly():
    words = invented_words(3000)
    grams = {f"<{word}>"[i : i + 4] for word in words for i in range(len(word) - 1)}
    taken = np.bincount([*(zlib.crc32(gram.encode()) % BUCKETS for gram in grams)], minlength=BUCKETS)
    assert (taken > 0).sum() > 0.9 * BUCKETS * (1 - np.exp(-len(grams) / BUCKETS))
    table = hashed(words)
    assert table.dtype == np.int32
    assert table.min() == -1
    assert table.max() < BUCKETS
    assert ((table >= 0).sum(axis=1) > 4).all()


def test_no_words_have_no_rows():
    assert hashed([]).shape == (0, 0)
