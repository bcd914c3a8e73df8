"""Filling the blanks of a text by a cloze model.

A blank stands for one symbol; the model gives the probability of each symbol given the rest of the text. Several blanks are
filled from left to right, each given those before it, while those after it are read as UNK, as in training; the probability of a
filling is the product. A beam search finds the likeliest. EOS and UNK fill no blank, so all fillings together have less than 1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from lmgen.data.vocab import EOS, SPECIAL, UNITS, UNK, Vocab
from lmgen.errors import InputError
from lmgen.models.capabilities import Fills, finite

BEAM = 64  # partial fillings that are kept
SHOWN = 40  # the most characters of an example
PADDING = 8  # lengths are rounded up to multiples of it: few shapes to compile


@dataclass(frozen=True)
class Filling:
    """A text with its blanks filled, the symbols in them, and their joint probability."""

    text: str
    symbols: tuple[str, ...]
    probability: float

    def __repr__(self) -> str:
        return f"Filling({self.text!r}, probability {self.probability:.4g})"


def fillings(lm: Fills, text: str, wanted: int = 5, blank: str = "_") -> list[Filling]:
    """At most `wanted` fillings of a text, the likeliest first.

    Raises InputError for a text without a blank, or with a blank within a word where words are the symbols.
    """
    symbols, places = blanks(lm.vocab, text, blank)
    ids = np.array([EOS, *(lm.vocab.ids.get(s, UNK) for s in symbols), EOS], np.int32)
    ids[np.array(places) + 1] = UNK
    filled = np.zeros((1, 0), np.int32)
    nats = np.zeros(1)
    for k, place in enumerate(places):
        hypotheses = np.repeat(ids[None], len(filled), 0)
        hypotheses[:, np.array(places[:k], int) + 1] = filled
        following = nats[:, None] - np.where(_fitting(lm.vocab, symbols[place]), _log_p(lm, hypotheses, place + 1), -np.inf)
        best = np.argsort(following, axis=None, kind="stable")[: max(BEAM, wanted)]
        best = best[np.isfinite(following.ravel()[best])]
        rows, chosen = np.unravel_index(best, following.shape)
        filled, nats = np.concatenate([filled[rows], chosen[:, None]], 1), following[rows, chosen]
    out, lead = [], UNITS[lm.vocab.unit].lead
    for row, cost in zip(filled[:wanted], nats[:wanted], strict=True):
        spelt = dict(zip(places, (lm.vocab.spell(int(id)) for id in row), strict=True))
        whole = lm.vocab.join([spelt.get(k, symbol) for k, symbol in enumerate(symbols)])
        out.append(Filling(whole, tuple(s.removeprefix(lead) for s in spelt.values()), float(np.exp(-cost))))
    return out


def blanks(vocab: Vocab, text: str, blank: str = "_") -> tuple[list[str], list[int]]:
    """The symbols of a text and the places of its blanks: each mark is one character, a run of marks is one word."""
    hole = next(c for c in map(chr, range(0x20000, 0x2A6D0)) if c not in text)  # a letter, so that it makes a word
    run = "" if vocab.unit == "char" else "+"
    holed = re.sub(f"(?:{re.escape(blank)}){run}", hole, text) if blank else ""
    parts = re.split(f"({hole})", holed) if UNITS[vocab.unit].language else [holed]  # in which no spaces part a hole from words
    words = [word for part in parts for word in vocab.words(part)]
    symbols = [symbol for word in words for symbol in ([word] if hole in word else vocab.cut([word]))]
    places = [k for k, symbol in enumerate(symbols) if symbol.strip() == hole]
    partly = [symbol for k, symbol in enumerate(symbols) if hole in symbol and k not in places]
    if partly:
        word = partly[0].strip().replace(hole, blank)
        raise InputError(f"a blank stands for a whole word, but {word!r} has more in it: put spaces around the blank")
    if not places:
        what = "letter" if vocab.unit == "char" else "word"
        raise InputError(f"there is no blank in {text!r}: write {blank or '_'} for a missing {what}")
    return symbols, places


def blanked(text: str, unit: str, blank: str = "_") -> str | None:
    """An example for `fillings`: the beginning of a text with a blank in or for its longest word.

    None for a text that is blank, cannot be printed, or looks like an option of a command.
    """
    shown = " ".join(text[:SHOWN].split())
    words = shown.split(" ")
    if len(text) > SHOWN and len(words) > 1:
        words.pop()  # the word that was cut
    if not shown or blank in shown or shown.startswith("-") or not shown.isprintable():
        return None
    place = max(range(len(words)), key=lambda k: len(words[k]))
    word = words[place]
    words[place] = f"{word[: len(word) // 2]}{blank}{word[len(word) // 2 + 1 :]}" if unit == "char" else 3 * blank
    return " ".join(words)


def _fitting(vocab: Vocab, symbol: str) -> np.ndarray:
    """Which ids may fill a blank: all with a spelling; where symbols include the space before them, those of whole characters
    that begin with one if the blank does."""
    fitting = np.ones(len(vocab), bool)
    fitting[:SPECIAL] = False
    if UNITS[vocab.unit].lead or UNITS[vocab.unit].learns:
        spaced = symbol[0].isspace()
        fitting[SPECIAL:] = [s[0].isspace() == spaced and not s.isspace() and vocab.shown(s) == s for s in vocab.symbols]
    return fitting


def _log_p(lm: Fills, texts: np.ndarray, place: int) -> np.ndarray:
    """ln p [H, V] of the symbol at a place of each text [H, T + 2], given the rest of it."""
    held, length = texts.shape
    rows = 1 if held == 1 else -(-held // BEAM) * BEAM
    padded = (length // PADDING + 1) * PADDING  # at least an EOS behind the end, with which reading from the right begins
    window = np.full((padded, rows), EOS, np.int32)
    window[:length, :held] = texts.T
    beyond = np.repeat(np.arange(padded) >= length, rows).reshape(padded, rows)
    logits = finite(np.asarray(lm.logits(window, beyond, np.full(rows, place)), np.float64)[:held])
    logits -= logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))
