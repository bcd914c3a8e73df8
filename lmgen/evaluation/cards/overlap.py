"""How much of a text is in the text that a model was trained on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lmgen.data.corpus import among
from lmgen.errors import InputError


@dataclass(frozen=True)
class Overlap:
    """How many sequences of a text are in the training text, word for word."""

    sequences: int
    known: int
    share: float

    @classmethod
    def of(cls, hashes: Iterable[int], training: np.ndarray) -> Overlap:
        """From the fingerprints of the sequences and the sorted ones of the training text."""
        wanted = np.fromiter(hashes, np.uint64)
        known = int(among(wanted, training).sum())
        return cls(len(wanted), known, known / max(1, len(wanted)))

    @classmethod
    def with_training(cls, hashes: Iterable[int], lm: Any) -> Overlap | None:
        """With what a model of text with a structure was trained on; None where that is missing or has changed."""
        try:
            return cls.of(hashes, lm.training_fingerprints)
        except InputError:
            return None

    @property
    def sentence(self) -> str:
        """The figures, with {} for the noun of what is counted."""
        return f"{self.known:,} of {self.sequences:,} {{}} ({self.share:.2%}) are in the training text"
