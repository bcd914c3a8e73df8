"""Text to ids and back where a text is more than one sequence and comes in parts."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

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
        self._begins, self._before = True, ""  # whether the next symbol begins a sequence; what is spelt before the next sequence
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def parts(self, ids: Sequence[int]) -> list[str]:
        """The text that each of the next ids adds."""
        if self._unit.learns:
            found = [self._decoder.decode(self._spelt[id], id == EOS) for id in ids]
        else:
            found = [self._spelt[id] for id in ids]
        lead = self._unit.glue or self._unit.lead
        for at in [0] * self._begins + [at for at, id in enumerate(ids, 1) if id == EOS]:
            if at < len(ids):
                found[at], self._before = self._before + found[at].removeprefix(lead), self._between
        self._begins = ids[-1] == EOS if ids else self._begins
        return found

    def rest(self) -> str:
        """The text of bytes that no other will complete."""
        return self._decoder.decode(b"", True)


@lru_cache(16)
def _spellings(vocab: Vocab) -> list[Any]:
    """Each symbol as it stands behind another, a string of bytes as such; EOS is nothing."""
    unit = UNITS[vocab.unit]
    spelt = [unit.glue + vocab.spell(id) for id in range(len(vocab))]
    spelt[EOS] = ""
    return [*map(subword.bytes_of, spelt)] if unit.learns else spelt
