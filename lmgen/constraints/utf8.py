"""Automata over the bytes of UTF-8, for models whose symbols may be parts of a character.

An automaton over one character of each class that no expression tells apart becomes one over bytes: a step that reads a character
of several bytes leads through states that know which steps its first bytes leave open. Bytes that are not UTF-8 lead to DEAD.
Shapes: S states, C classes of characters, U code points.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from lmgen.constraints.automata import DEAD, MOST_CELLS, MOST_STATES, Automaton, TooLargeError, leaves

CODE_POINTS = 0x110000
CONTINUED = 64  # bytes that can continue a character: 80 to BF
SURROGATES = slice(0xD800, 0xE000)
CONDITIONS = tuple(map(re.compile, (r"\w", r"(?a:\w)", r"\n")))  # what \b, ^ and $ look at


@dataclass(frozen=True)
class Alphabet:
    """The classes of characters that expressions tell apart: a character of each, and the class of every code point [U]."""

    characters: list[str]
    class_of: np.ndarray


def alphabet(expressions: Iterable[str]) -> Alphabet:
    """The classes of characters for these regular expressions. Raises InputError for what is no regular expression."""
    found = [leaf for expression in expressions for leaf in leaves(expression)]
    changes = [_changes(leaf) for leaf in dict.fromkeys([*CONDITIONS, *found])]
    starts = np.unique(np.concatenate([[0], *changes]))  # of runs of code points of one class
    matched = np.array([np.searchsorted(each, starts, side="right") % 2 for each in changes])
    _, first, kinds = np.unique(matched, axis=1, return_index=True, return_inverse=True)
    return Alphabet([chr(starts[k]) for k in first], np.repeat(kinds.reshape(-1), np.diff([*starts, CODE_POINTS])))


@lru_cache(maxsize=256)
def _changes(leaf: re.Pattern[str]) -> np.ndarray:
    """The code points from which on an expression of one character matches, does not, matches again, …"""
    matched = np.zeros(CODE_POINTS, np.int8)
    matched[_code_points("".join(leaf.findall(_every_character())))] = 1
    return np.flatnonzero(np.diff(matched, prepend=0))


@lru_cache(maxsize=1)
def _every_character() -> str:
    return "".join(map(chr, range(CODE_POINTS)))


def _code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


def bytes_of(text: str) -> str:
    """The bytes of a text as U+0000 to U+00FF."""
    return text.encode("utf-8", "surrogatepass").decode("latin-1")


def read_bytes(automaton: Automaton, alphabet: Alphabet) -> Automaton:
    """The automaton that reads U+0000 to U+00FF, the bytes of the texts that one over an alphabet reads. Raises TooLargeError."""
    nowhere = automaton.next.shape[1]
    steps = np.hstack([automaton.next, np.full((len(automaton.next), 1), DEAD, np.int32)])  # [S, C + 1]
    column = np.array([automaton.class_of[c] for c in alphabet.characters])[alphabet.class_of]  # [U]
    column[SURROGATES] = nowhere

    def encoded(first: int, end: int, whole: int) -> np.ndarray:
        """The columns of the code points first … end, which take a number of bytes that could spell `whole` of them."""
        return np.concatenate([np.full(first, nowhere), column[first:end], np.full(whole - end, nowhere)])

    two, three, four = encoded(0x80, 0x800, 0x800), encoded(0x800, 0x10000, 0x10000), encoded(0x10000, CODE_POINTS, 0x140000)
    last, ids = _distinct(np.concatenate([two, three, four]).reshape(-1, CONTINUED))  # before the last byte
    after_two, inner = ids[:32], ids[32:].reshape(-1, CONTINUED)
    middle, ids = _distinct(inner)  # before the last but one
    after_three, after_four = ids[:16], ids[16:].reshape(-1, CONTINUED)
    if len(steps) * last.size > MOST_CELLS * 4:
        raise TooLargeError

    table = np.full((len(steps), 256), DEAD, np.int32)
    further: dict[bytes, int] = {np.full(CONTINUED, DEAD, np.int32).tobytes(): DEAD}
    count = len(steps)

    def states(targets: np.ndarray) -> np.ndarray:
        """The states [n] from which the bytes that continue a character lead to targets [n, 64]."""
        nonlocal count
        found = []
        for row in targets.astype(np.int32):
            key = row.tobytes()
            if key not in further:
                further[key], count = count, count + 1
            found.append(further[key])
        if count > MOST_STATES:
            raise TooLargeError
        return np.array(found, np.int32)

    for state, step in enumerate(steps):
        before_last = states(step[last])
        before_two = states(before_last[middle])
        table[state, :0x80] = step[column[:0x80]]
        table[state, 0xC0:0xE0] = before_last[after_two]
        table[state, 0xE0:0xF0] = before_two[after_three]
        table[state, 0xF0:0xF5] = states(before_two[after_four])
    continued = np.full((count - len(steps), 256), DEAD, np.int32)
    rows = [np.frombuffer(key, np.int32) for key, state in further.items() if state != DEAD]
    continued[:, 0x80:0xC0] = np.array(rows, np.int32).reshape(-1, CONTINUED)
    table, class_of = np.unique(np.vstack([table, continued]), axis=1, return_inverse=True)
    accepting = np.concatenate([automaton.accepting, np.zeros(len(continued), bool)])
    return Automaton({chr(byte): int(k) for byte, k in enumerate(class_of.reshape(-1))}, table, accepting)


def _distinct(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows that differ, and for each row the number of the one that it equals."""
    numbers: dict[bytes, int] = {}
    found = [numbers.setdefault(row.tobytes(), len(numbers)) for row in rows]
    return np.array([np.frombuffer(row, rows.dtype) for row in numbers]), np.array(found)
