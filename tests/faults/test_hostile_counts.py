"""Hostile models of n-grams and hostile compressed files are refused with a sentence, at once, in little memory."""

from __future__ import annotations

import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from hostile import SECONDS, altered, of_model
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import faults
import lmgen
from lmgen import loading
from lmgen.errors import CheckpointError, InputError
from lmgen.evaluation.compression import HEADER, MAGIC, checksum, compress, decompress, identity

# ---- n-gram models -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def counted(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("counted")
    (folder / "t.txt").write_text("the cat sat\non the mat\n" * 20)
    lmgen.train(folder / "t.txt", cell="ngram", order=3, output=folder / "m")
    return folder / "m"


def with_level(name: str, change):
    return lambda arrays: {**arrays, name: change(arrays[name].copy())}


def put(place, value):
    def change(array):
        array[place] = value
        return array

    return change


@pytest.mark.parametrize(
    "change",
    [
        with_level("1/keys", put(-1, 2**64 - 1)),
        with_level("1/keys", put(0, 2**63)),
        with_level("1/keys", lambda a: a[::-1].copy()),
        with_level("1/keys", lambda a: a.astype(np.int64)),
        with_level("1/keys", lambda a: a[:-1]),
        with_level("1/keys", lambda a: a.reshape(1, -1)),
        with_level("0/keys", lambda a: a + np.uint64(1)),
        with_level("0/log_p", put(0, np.nan)),
        with_level("0/log_p", put(0, np.inf)),
        with_level("2/log_p", put(0, 3e38)),
        with_level("1/backoff", put(0, -np.inf)),
        with_level("1/backoff", put(0, 3e38)),
        lambda arrays: {
            **arrays,
            "0/keys": np.zeros(0, np.uint64),
            "0/log_p": np.zeros(0, np.float32),
            "0/backoff": np.zeros(0, np.float32),
        },
        lambda arrays: {**arrays, "3/keys": np.zeros(0, np.uint64)},
        lambda arrays: {},
    ],
)
def test_hostile_ngrams_are_refused(counted, tmp_path, change):
    """Keys that lead out of their level, numbers that are none, levels that are missing or too many."""
    path = altered(counted, tmp_path / "m", arrays=change)
    start = time.process_time()
    with pytest.raises(CheckpointError):
        loading.load(path)
    assert time.process_time() - start < SECONDS


@pytest.mark.parametrize(
    "change",
    [{"order": 0}, {"order": 33}, {"order": 1 << 60}, {"order": True}, {"order": 2.0}, {"vocab": 3}, {"carry": 1}],
    ids=str,
)
def test_hostile_orders_are_refused(counted, tmp_path, change):
    with pytest.raises(CheckpointError):
        loading.load(altered(counted, tmp_path / "m", config=of_model(counted, **change)))


# ---- compressed files ------------------------------------------------------------------------------------------------------


def lmz(model, body: bytes, length: int, sequences: int, extra: int, flags: int = 0) -> bytes:
    """A compressed file with hashes that fit."""
    known, sizes = (identity(model), bytes(8)), (length, sequences, extra)
    file = checksum(HEADER.pack(MAGIC, flags, *known, b"", *sizes), body)
    return HEADER.pack(MAGIC, flags, *known, file, *sizes) + body


BOMB = zlib.compress(bytes(1 << 28), 9)

LISTS = zlib.compress(b"[" * 1_000_000)


@pytest.mark.parametrize(
    ("extra", "words", "length", "sequences"),
    [
        (BOMB, b"", 1, 0),
        (BOMB, b"", 1 << 60, 0),
        (LISTS, b"", 10, 1),
        (zlib.compress(b"[]"), b"", 10, 1),
        (zlib.compress(b'{"gaps": 7}'), b"", 10, 1),
        (zlib.compress(b'{"gaps": {"0": 7}}'), b"", 10, 2),
        (zlib.compress(b'{"spaces": {"0": [7, 8]}}'), b"", 10, 1),
        (zlib.compress(b'{"spaces": {"0": []}}'), b"", 10, 1),
        (zlib.compress(b'{"after": []}'), b"", 10, 1),
        (zlib.compress(b'{"after": "x"}'), b"", 10, 1),
        (zlib.compress(b'{"before": 7}'), b"", 10, 1),
        (zlib.compress(b"{}")[:-1], b"", 10, 1),
        (b"\0\0", b"", 10, 1),
        (b"", b"", 1 << 63, (1 << 32) - 1),
        (b"", b"", 1 << 63, 1 << 20),
        (b"", bytes(40), 1 << 63, (1 << 32) - 1),
        (b"", b"\xff" * 40, 1 << 63, (1 << 32) - 1),
        (b"", b"\xff" * 40, 1 << 63, 1),
        (b"", b"\x7a" * 400, 1 << 63, 1),
        (b"", b"\xff" * 3, 5, 1),
        (b"", b"", 0, 1),
    ],
)
def test_hostile_compressed_files_are_refused_at_once(counted, extra, words, length, sequences):
    """A zip bomb, other JSON, counts that no file has: little is unpacked and little is read before it is noticed."""
    pytest.importorskip("constriction")
    model = loading.load(counted)
    start = time.process_time()
    with pytest.raises(InputError, match=r"damaged|restored file differs"):
        decompress(model, lmz(model, extra + words, length, sequences, len(extra)))
    assert time.process_time() - start < SECONDS


@settings(max_examples=500 if faults.LONG else 60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    words=st.binary(max_size=64), length=st.integers(0, 2**64 - 1), sequences=st.integers(0, 2**32 - 1), flags=st.integers(0, 255)
)
def test_any_words_of_the_coder_end(counted, words, length, sequences, flags):
    pytest.importorskip("constriction")
    model = loading.load(counted)
    try:
        decompress(model, lmz(model, words, length, sequences, 0, flags))
    except InputError:
        return


def test_what_compresses_beyond_measure_comes_back(counted, monkeypatch):
    """Much odd white space is stored as it is where it would otherwise look like a bomb."""
    pytest.importorskip("constriction")
    monkeypatch.setattr("lmgen.evaluation.compression.MUCH", 1000)
    model = loading.load(counted)
    for content in (b"\n" * 5_000 + b"the cat\n", b"\n" * 100 + b"the cat\n"):
        assert decompress(model, compress(model, content)) == content
    assert len(compress(model, b"\n" * 5_000 + b"the cat\n")) > 10_000
