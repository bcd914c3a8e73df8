"""What is computed of the lines of a part of a text all at once, compiled where there is a compiler: fingerprints and words.

Without the compiled library Python computes the same, more slowly.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from lmgen.data.split import fingerprint_of
from lmgen.system.library import library

BYTES_A_SLOT = 12  # bytes of a text for each place of the table of its words, at first
_SEED = int.from_bytes(os.urandom(8), "little")  # so that no text can be made of words that collide


class Words(NamedTuple):
    """The words of some lines: `numbers` [n] has one for each word, from 1, and 0 for the end of a line; `words` are those that
    differ, in the order of their numbers. `joined` is the text with one space between two words; its lines are from each of
    `starts` to `stops`."""

    numbers: np.ndarray
    words: list[str]
    joined: bytes
    starts: np.ndarray
    stops: np.ndarray


def fingerprints(text: bytes, starts: np.ndarray, stops: np.ndarray) -> np.ndarray:
    """The fingerprint of each line of a text, by its places in bytes [n]."""
    functions = library_functions()
    if functions is None:
        places = zip(starts.tolist(), stops.tolist(), strict=True)
        return np.fromiter((fingerprint_of(text[a:b]) for a, b in places), np.uint64, len(starts))
    found = np.empty(len(starts), np.uint64)
    starts, stops = (np.ascontiguousarray(places, np.int64) for places in (starts, stops))
    functions.lmgen_fingerprints(text, _at(starts), _at(stops), len(starts), _at(found))
    return found


def words(text: bytes, keep_blank: bool) -> Words:
    """The words of lines of UTF-8; a line without one is left out unless `keep_blank`."""
    functions = library_functions()
    numbers, found, joined = _words(text, keep_blank) if functions is None else _compiled_words(functions, text, keep_blank)
    stops = np.flatnonzero(np.frombuffer(joined, np.uint8) == ord("\n"))
    return Words(numbers, found, joined, np.append(0, stops[:-1] + 1)[: len(stops)], stops)


def _words(text: bytes, keep_blank: bool) -> tuple[np.ndarray, list[str], bytes]:
    lines = text.decode("utf-8", "surrogatepass").split("\n")
    if not lines[-1]:
        lines.pop()
    split = [found for line in lines if (found := line.split()) or keep_blank]
    known: dict[str, int] = {}
    numbers = [number for line in split for number in (*(known.setdefault(word, len(known) + 1) for word in line), 0)]
    joined = "".join(f"{' '.join(line)}\n" for line in split)
    return np.array(numbers, np.int32), [*known], joined.encode("utf-8", "surrogatepass")


def _compiled_words(functions: Any, text: bytes, keep_blank: bool) -> tuple[np.ndarray, list[str], bytes]:
    most = len(text) + 2
    numbers, places, counts = np.empty(most, np.int32), np.empty(most, np.int32), np.zeros(3, np.int64)
    joined, found = np.empty(most, np.uint8), np.empty(most, np.uint8)
    slots = 1 << (len(text) // BYTES_A_SLOT + 2).bit_length()
    while True:
        table = np.zeros(slots, np.uint64)
        scratch = (_at(a) for a in (numbers, joined, found, places, table))
        if functions.lmgen_words(text, len(text), keep_blank, *scratch, slots, _SEED, _at(counts)):
            break
        slots *= 4
    number, different, length = counts.tolist()
    content = found[: places[different]].tobytes().decode("utf-8", "surrogatepass")
    return numbers[:number].copy(), content.split("\n")[:-1], joined[:length].tobytes()


@cache
def library_functions() -> Any:
    """The compiled functions; None where there are none, or the library was built for an older lmgen."""
    functions = library().functions
    if functions is None or not hasattr(functions, "lmgen_words"):
        return None
    long, pointer = ctypes.c_int64, ctypes.c_void_p
    functions.lmgen_fingerprints.argtypes = [ctypes.c_char_p, pointer, pointer, long, pointer]
    functions.lmgen_fingerprints.restype = None
    functions.lmgen_words.argtypes = [ctypes.c_char_p, long, ctypes.c_bool, *5 * [pointer], long, ctypes.c_uint64, pointer]
    functions.lmgen_words.restype = ctypes.c_bool
    return functions


def _at(array: np.ndarray) -> int:
    return array.ctypes.data
