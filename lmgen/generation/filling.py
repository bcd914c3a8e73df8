"""Filling blanks: what a cloze model puts where a text has holes.

A blank stands for one symbol. One blank gets the model's probability of each symbol given all the rest. Several are filled from
left to right, each given those before it while those after it are read as unknown, which the model was trained to bear: so the
probability of a filling is a product of conditional ones; what EOS and UNK would have, which fill no blank, is missing from their
sum. A beam search finds the likeliest.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from lmgen.data.vocab import EOS, SPECIAL, UNITS, UNK, Vocab
from lmgen.errors import InputError
from lmgen.models.networks import Cloze, sound

BEAM = 64  # partial fillings kept from blank to blank
SHOWN = 40  # characters of a text that becomes an example
PADDING = 8  # texts are read in lengths of multiples of it: few shapes to compile


@dataclass(frozen=True)
class Filling:
    """A text with its blanks filled, by which symbols, and how probable they are together."""

    text: str
    symbols: tuple[str, ...]
    probability: float

    def __repr__(self) -> str:
        return f"Filling({self.text!r}, probability {self.probability:.4g})"


def fillings(lm: Cloze, text: str, wanted: int = 5, blank: str = "_") -> list[Filling]:
    """The likeliest fillings of a text, the likeliest first, `wanted` at the most. Neither EOS nor UNK fills a blank.

    Raises InputError for a text without a blank, or with one that is a part of a word where words are the symbols.
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
    out = []
    for row, cost in zip(filled[:wanted], nats[:wanted], strict=True):
        spelt = [lm.vocab.spell(int(id)) for id in row]
        whole = list(symbols)
        for place, symbol in zip(places, spelt, strict=True):
            whole[place] = symbol
        unit = UNITS[lm.vocab.unit]
        out.append(Filling(unit.join(whole), tuple(s.removeprefix(unit.lead) for s in spelt), float(np.exp(-cost))))
    return out


def blanks(vocab: Vocab, text: str, blank: str = "_") -> tuple[list[str], list[int]]:
    """The symbols of a text and the places of its blanks among them: each mark is one character, a run of marks is one word."""
    hole = next(c for c in map(chr, range(0x20000, 0x2A6D0)) if c not in text)  # a letter, so that it makes a word
    run = "" if vocab.unit == "char" else "+"
    symbols = vocab.split(re.sub(f"(?:{re.escape(blank)}){run}", hole, text)) if blank else []
    places = [k for k, symbol in enumerate(symbols) if symbol.strip() == hole]
    partly = [symbol for k, symbol in enumerate(symbols) if hole in symbol and k not in places]
    if partly:
        word = partly[0].strip().replace(hole, blank)
        raise InputError(f"a blank stands for a whole word, and in {word!r} there is more around it: put spaces between")
    if not places:
        what = "letter" if vocab.unit == "char" else "word"
        raise InputError(f"there is no blank in {text!r}: write {blank or '_'} for a {what} that is missing")
    return symbols, places


def blanked(text: str, unit: str, blank: str = "_") -> str | None:
    """The beginning of a text with a blank in or for its longest word: an example for `fillings`.

    None where it makes no good argument of a command: of what is blank, cannot be printed, or looks like an option.
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
    """Which ids may stand in a blank: all with a spelling; where words take the space before them along, those that do as it."""
    fitting = np.ones(len(vocab), bool)
    fitting[:SPECIAL] = False
    if UNITS[vocab.unit].lead:
        spaced = symbol[0].isspace()
        fitting[SPECIAL:] = [s[0].isspace() == spaced and not s.isspace() for s in vocab.symbols]
    return fitting


def _log_p(lm: Cloze, texts: np.ndarray, place: int) -> np.ndarray:
    """ln p [H, V] of what stands at a place of each text [H, T + 2], given all the rest of it."""
    held, length = texts.shape
    rows = 1 if held == 1 else -(-held // BEAM) * BEAM
    padded = -(-length // PADDING) * PADDING
    window = np.full((padded, rows), EOS, np.int32)
    window[:length, :held] = texts.T
    beyond = np.repeat(np.arange(padded) >= length, rows).reshape(padded, rows)
    logits = sound(np.asarray(lm.logits(window, beyond, np.full(rows, place)), np.float64)[:held])
    logits -= logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))
