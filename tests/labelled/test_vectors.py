"""Vectors made elsewhere: every form is written here and read back; damage of any kind is one sentence with its place."""

from __future__ import annotations

import gzip
import os
import re
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmgen.errors import InputError
from lmgen.labelled import vectors
from lmgen.labelled.vectors import Vectors, read, rows

WORDS = ["the", "Taipei", "é", "\u00a0", "12", ". . .", "at name@domain.com", "😀"]
MATRIX = np.random.default_rng(0).normal(size=(len(WORDS), 5)).astype(np.float32)


def glove(words: list[str], matrix: np.ndarray, end: str = "\n") -> bytes:
    """Text without a first line, the numbers with as many digits as float32 has."""
    return "".join(f"{w} {' '.join(f'{x:.9g}' for x in row)}{end}" for w, row in zip(words, matrix, strict=True)).encode()


def announced(words: list[str], matrix: np.ndarray) -> bytes:
    return f"{len(matrix)} {matrix.shape[1]}\n".encode()


def word2vec(words: list[str], matrix: np.ndarray) -> bytes:
    return announced(words, matrix) + glove(words, matrix)


def fasttext(words: list[str], matrix: np.ndarray) -> bytes:
    return announced(words, matrix) + glove(words, matrix, " \n")


def binary(words: list[str], matrix: np.ndarray, after: bytes = b"") -> bytes:
    rows = (f"{word} ".encode() + row.astype("<f4").tobytes() + after for word, row in zip(words, matrix, strict=True))
    return announced(words, matrix) + b"".join(rows)


FORMS: dict[str, Callable[[list[str], np.ndarray], bytes]] = {
    "glove": glove,
    "glove, CR LF": lambda words, matrix: glove(words, matrix, "\r\n"),
    "glove, blank lines at the end": lambda words, matrix: glove(words, matrix) + b"\n \r\n\n",
    "glove, byte-order mark": lambda words, matrix: b"\xef\xbb\xbf" + glove(words, matrix),
    "spaces before": lambda words, matrix: re.sub(rb"(?m)^", b"  ", glove(words, matrix)).removesuffix(b"  "),
    "tabs": lambda words, matrix: re.sub(rb" (?=[-\d])", b"\t", glove(words, matrix)),
    "word2vec": word2vec,
    "fasttext": fasttext,
    "binary": binary,
    "binary of word2vec itself": lambda words, matrix: binary(words, matrix, b"\n"),
}
BINARY = {name for name in FORMS if name.startswith("binary")}


def file(content: bytes, name: str = "v.txt") -> Path:
    Path(name).write_bytes(content)
    return Path(name)


def same(found: Vectors, words: list[str], matrix: np.ndarray) -> None:
    assert found.words == words
    assert found.matrix.dtype == np.float32
    np.testing.assert_array_equal(found.matrix, matrix)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_recognised_and_read(form, packed):
    words = [word.replace(" ", "_") for word in WORDS] if form in BINARY else WORDS
    content = FORMS[form](words, MATRIX)
    path = file(gzip.compress(content) if packed else content)
    same(read(path), words, MATRIX)
    for most in (1, 3, len(words), 99):
        same(read(path, most), words[:most], MATRIX[:most])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("D", [1, 2, 3, 300])
@pytest.mark.parametrize("values", ["random", "zero", "half"])
def test_a_form_is_recognised_whatever_its_numbers_are(form, D, values):
    matrix = {
        "random": np.random.default_rng(D).normal(scale=0.2, size=(4, D)),
        "zero": np.zeros((4, D)),
        "half": np.full((4, D), -0.5),
    }[values].astype(np.float32)
    words = ["a", "bb", "ccc", "2"]
    same(read(file(FORMS[form](words, matrix))), words, matrix)


def test_a_binary_file_is_read_across_its_blocks(monkeypatch):
    monkeypatch.setattr(vectors, "BLOCK", 7)
    words = [word.replace(" ", "_") for word in WORDS]
    same(read(file(binary(words, MATRIX, b"\n"))), words, MATRIX)


def test_a_word_cut_within_a_character_is_kept():
    """As word2vec cuts long words."""
    long = "é" * 25
    content = binary(["a", long], MATRIX[:2]).replace(long.encode(), long.encode()[:-1])
    assert read(file(content)).words == ["a", long[:-1]]


def test_real_vectors_are_those_of_a_plain_parser(data):
    path = data / "glove" / "glove.6B.50d.head.txt"
    lines = [line.split(" ") for line in path.read_text("utf-8").split("\n")[:-1]]
    same(read(path), [line[0] for line in lines], np.array([line[1:] for line in lines], np.float32))
    assert read(path, 10).words == ["the", ",", ".", "of", "to", "and", "in", "a", '"', "'s"]


# ---- damage --------------------------------------------------------------------------------------------------------------

GOOD = b"a 1 2 3\nb 4 5 6\nc 7 8 9\n"
FLOATS = struct.pack("<3f", 0.1, 0.2, 0.3)
DAMAGED = {
    "empty": (b"", "line 1: a vector has 1 to 32,768 numbers, not 0"),
    "blank": (b"\n\n", "line 1: a vector has 1 to 32,768 numbers, not 0"),
    "only words": (b"a\nb\nc\n", "line 1: a vector has 1 to 32,768 numbers, not 0"),
    "prose": (b"It was the best\nof times , it\nwas the worst of\n", "line 1: 'was' is not a number"),
    "a missing number": (GOOD.replace(b"4 ", b""), "line 2: there are 2 numbers where a vector has 3"),
    "a number too many": (GOOD.replace(b"4", b"4 4"), "line 2: there are 4 numbers where a vector has 3"),
    "a lost line end": (GOOD.replace(b"6\n", b"6 "), "line 2: there are 6 numbers where a vector has 3"),
    "cut off": (GOOD[:-4], "line 3: there are 1 numbers where a vector has 3"),
    "no number": (GOOD.replace(b"5", b"5x"), "line 2: '5x' is not a number"),
    "no word": (GOOD.replace(b"b", b""), "line 2: there are 2 numbers where a vector has 3"),
    "a blank line": (GOOD.replace(b"b", b"\nb"), "line 2: there are 0 numbers where a vector has 3"),
    "NaN": (GOOD.replace(b"5", b"nan"), "line 2: a number is not finite"),
    "infinity": (GOOD.replace(b"5 6", b"inf -inf"), "line 2: a number is not finite"),
    "too large": (GOOD.replace(b"5", b"1e39"), "line 2: a number is too large for 32 bits"),
    "Latin-1": ("a 1 2 3\nréel 4 5 6\n".encode("latin-1"), "line 2: the word 'réel' is not UTF-8"),
    "UTF-16": (GOOD.decode().encode("utf-16"), "looks like UTF-16 text"),
    "NUL": (GOOD.replace(b"5", b"\0"), r"line 2: '\?' is not a number"),
    "fewer than announced": (b"4 3\n" + GOOD, "line 4: there are 3 vectors where the first line announces 4"),
    "more than announced": (b"2 3\n" + GOOD, "line 4: there are 3 vectors where the first line announces 2"),
    "fewer numbers than announced": (b"3 4\n" + GOOD, "line 2: there are 3 numbers where a vector has 4"),
    "more numbers than announced": (b"3 2\n" + GOOD, "line 2: there are 3 numbers where a vector has 2"),
    "NaN after a first line": (b"3 3\n" + GOOD.replace(b"5", b"nan"), "line 3: a number is not finite"),
    "only announced": (b"3 3\n", "line 2: there are 0 vectors where the first line announces 3"),
    "none announced": (b"0 3\n", "line 2: there are no vectors"),
    "no numbers announced": (b"3 0\n" + GOOD, "line 1: a vector has 1 to 32,768 numbers, not 0"),
    "a billion numbers": (b"3 1000000000\n" + GOOD, "line 1: a vector has 1 to 32,768 numbers, not 1,000,000,000"),
    "a billion billion vectors": (b"999999999999999999 3\n" + GOOD, "where the first line announces 999,999,999,999,999,999"),
    "binary, a billion vectors": (b"1000000000 3\na " + FLOATS, "vector 2: the file ends within it, and 1,000,000,000"),
    "binary, cut in a word": (b"2 3\na " + FLOATS + b"bcd", "vector 2: the file ends within it, and 2 vectors are announced"),
    "binary, cut in a vector": (b"2 3\na " + FLOATS + b"b " + FLOATS[:-1], "vector 2: the file ends within it"),
    "binary, longer": (b"1 3\na " + FLOATS + b"b " + FLOATS, "vector 1: more follows it, and 1 vectors are announced"),
    "binary, NaN": (b"2 3\na " + FLOATS + b"b " + struct.pack("<3f", 1, np.nan, 1), "vector 2: a number is not finite"),
    "binary, Latin-1": (b"2 3\na " + FLOATS + b"r\xe9el " + FLOATS, "vector 2: the word 'réel' is not UTF-8"),
    "zip": (b"PK\x03\x04\x14\0\0\0", "looks like a zip archive: unpack or convert it"),
    "fastText's own": (b"\xba\x16\x4f\x2f\x0c\0\0\0", r"looks like a model of fastText \(.bin\)"),
    "gzip, cut": (gzip.compress(GOOD * 99)[:40], "cannot be unpacked"),
    "gzip, only its mark": (b"\x1f\x8b", "cannot be unpacked"),
    "gzip, changed": (gzip.compress(GOOD)[:-6] + b"\0\0\0\0\0\0", "cannot be unpacked"),
    "gzip, no deflate": (gzip.compress(GOOD)[:10] + b"\xff" * 30, "cannot be unpacked"),
    "gzip of a zip": (gzip.compress(b"PK\x03\x04"), "looks like a zip archive"),
    "gzip, a missing number": (gzip.compress(GOOD.replace(b"4 ", b"")), "line 2: there are 2 numbers where a vector has 3"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_damage_is_a_sentence_that_names_its_place(kind):
    content, sentence = DAMAGED[kind]
    with pytest.raises(InputError, match=sentence) as error:
        read(file(content))
    assert "\n" not in str(error.value)
    assert "v.txt" in str(error.value)


def test_what_lies_behind_the_vectors_asked_for_does_no_harm():
    same(read(file(GOOD + b"d 1\n"), 3), ["a", "b", "c"], np.arange(1, 10, dtype=np.float32).reshape(3, 3))


def test_a_missing_file_a_folder_and_a_device_are_sentences():
    for path, sentence in {"none.txt": "No such file", ".": "Is a directory", os.devnull: "is a device"}.items():
        with pytest.raises(InputError, match=sentence):
            read(Path(path))


@pytest.mark.posix
def test_a_pipe_is_a_sentence():
    end, other = os.pipe()
    os.write(other, GOOD)
    os.close(other)
    with pytest.raises(InputError, match="cannot read"):
        read(Path(f"/dev/fd/{end}"))
    os.close(end)


ENDLESS = {"a line": b"a" * (64 << 20), "numbers": b"a" + b" 1" * (32 << 20), "a word": b"2 3\na" + b"\xff" * (64 << 20)}


@pytest.mark.parametrize("kind", ENDLESS)
def test_an_endless_line_or_word_is_refused_before_it_is_held(kind):
    path = file(gzip.compress(ENDLESS[kind], 1))
    tracemalloc.start()
    with pytest.raises(InputError, match=r"(line 1|vector 1): "):
        read(path)
    assert tracemalloc.get_traced_memory()[1] < 48 << 20
    tracemalloc.stop()


def test_vectors_for_which_there_is_no_memory_are_a_sentence(monkeypatch):
    monkeypatch.setattr(vectors.memory, "available", lambda: 40)
    monkeypatch.setattr(vectors, "CHECKED", 2)
    with pytest.raises(InputError, match="not enough memory for over 4 vectors"):
        read(file(GOOD + GOOD))
    assert len(read(file(GOOD + GOOD), 3).words) == 3


# ---- any words ----------------------------------------------------------------------------------------------------------

words = st.text(st.characters(exclude_characters=" \t\n\r\f\v\ufeff", exclude_categories=["Cs"]), min_size=1, max_size=5)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(words, min_size=1, max_size=4), st.integers(6, 9), st.integers(0, 99), st.sampled_from(list(FORMS)), st.booleans()
)
def test_any_words_and_numbers_come_back(words, D, seed, form, packed):
    matrix = np.random.default_rng(seed).normal(size=(len(words), D)).astype(np.float32)
    content = FORMS[form](words, matrix)
    same(read(file(gzip.compress(content) if packed else content)), words, matrix)


# ---- rows ----------------------------------------------------------------------------------------------------------------


def test_symbols_get_the_vector_of_their_spelling_or_of_their_lower_case():
    known = Vectors(["paris", "Rome", "rome", "a", "a"], np.arange(10, dtype=np.float32).reshape(5, 2))
    matrix, found = rows(known, ["Paris", "paris", "Rome", "ROME", "rome", "Oslo", "A", ""])
    assert found.tolist() == [True, True, True, True, True, False, True, False]
    assert matrix.dtype == np.float32
    assert matrix.tolist() == [[0, 1], [0, 1], [2, 3], [4, 5], [4, 5], [0, 0], [6, 7], [0, 0]]


def test_no_symbols_have_no_rows():
    matrix, found = rows(Vectors(["a"], MATRIX[:1]), [])
    assert matrix.shape == (0, 5)
    assert found.shape == (0,)
