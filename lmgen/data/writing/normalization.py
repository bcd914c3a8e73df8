"""Letters made equal before a text is read: lower case, and the normal forms of Unicode."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Normalization:
    """The form in which a model reads every text: in lower case, and in a normal form of Unicode (Standard Annex 15): nfc, in
    which é is one character however it was typed, or nfkc, in which wide letters, ligatures and ½ are plain characters, too."""

    lowercase: bool = False
    normalize: str | None = None

    def of(self, text: str) -> str:
        """A text in this form; a text that has it stays as it is."""
        text = self._normal(text)
        return self._normal(text.lower()) if self.lowercase else text

    def _normal(self, text: str) -> str:
        form: Any = (self.normalize or "").upper()
        return unicodedata.normalize(form, text) if form else text


AS_IT_IS = Normalization()
