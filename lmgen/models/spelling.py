"""Text to ids and back where a text is more than one sequence and comes in parts."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable

import numpy as np

from lmgen.data import subword
from lmgen.data.vocab import EOS, UNITS, Vocab

EOS_NAME = "<EOS>"


def encode(vocab: Vocab, text: str, between: str) -> np.ndarray:
    """The ids [n] of a text, in which <EOS>, and what stands between two sequences of the corpus, is EOS."""
    marks = "|".join(map(re.escape, filter(None, (EOS_NAME, between))))
    first, *others = (vocab.encode(part) for part in re.split(marks, text))
    return np.concatenate([first, *(ids for part in others for ids in ([EOS], part))]).astype(np.int32)


def decode(vocab: Vocab, ids: Iterable[int], between: str) -> str:
    """The text of ids, of which `encode` makes these ids again, where each symbol has a spelling of its own."""
    sequences: list[list[int]] = [[]]
    for id in ids:
        sequences.append([]) if id == EOS else sequences[-1].append(id)
    return (between or EOS_NAME).join(map(vocab.written, sequences))


def name_of(vocab: Vocab, id: int) -> str:
    """A symbol for people; EOS has a name."""
    return EOS_NAME if id == EOS else vocab.shown(vocab.spell(id))


class Speller:
    """Spells ids as they come. An EOS is spelt when another symbol follows it, so the last one is not, and the bytes of a
    character when all are there."""

    def __init__(self, vocab: Vocab, between: str):
        self._vocab, self._unit, self._between = vocab, UNITS[vocab.unit], between
        self._before, self._begins = "", True
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def parts(self, ids: Iterable[int]) -> list[str]:
        """The text that each of the next ids adds."""
        return [*map(self._part, ids)]

    def _part(self, id: int) -> str:
        before, self._before = self._before, ""
        if id == EOS:
            self._before, self._begins = self._between, True
            return before + self.rest()
        symbol = self._vocab.spell(id)
        if self._unit.learns:
            spelt = self._decoder.decode(subword.bytes_of(symbol))
        else:
            spelt = symbol.removeprefix(self._unit.lead) if self._begins else self._unit.glue + symbol
        self._begins = False
        return before + spelt

    def rest(self) -> str:
        """The text of bytes that no other will complete."""
        return self._decoder.decode(b"", True)
