"""Text to ids and back where a text is more than one sequence and comes in parts."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

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
        self._unit, self._spelt, self._between = UNITS[vocab.unit], _spellings(vocab), between
        self._before, self._begins = "", True  # what is to be spelt before the next symbol; whether that begins a sequence
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def parts(self, ids: Sequence[int]) -> list[str]:
        """The text that each of the next ids adds."""
        spelt, found = self._spelt, [""] * len(ids)
        for at, id in enumerate(ids):
            if id == EOS:
                found[at], self._before, self._begins = self._before + self.rest(), self._between, True
            elif self._unit.learns:
                found[at] = self._before + self._decoder.decode(subword.bytes_of(spelt[id]))
                self._before = ""
            elif self._begins:
                found[at] = self._before + spelt[id].removeprefix(self._unit.glue or self._unit.lead)
                self._before, self._begins = "", False
            else:
                found[at] = spelt[id]
        return found

    def rest(self) -> str:
        """The text of bytes that no other will complete."""
        return self._decoder.decode(b"", True)


@lru_cache(16)
def _spellings(vocab: Vocab) -> list[str]:
    """Each symbol as it stands behind another."""
    return [UNITS[vocab.unit].glue + vocab.spell(id) for id in range(len(vocab))]
