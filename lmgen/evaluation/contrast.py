"""Two texts that sound alike: which one a model finds likelier, where they differ, and by how much."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from difflib import SequenceMatcher
from itertools import chain
from typing import Any

from lmgen.errors import InputError
from lmgen.evaluation.explanation import Explanation, Symbol
from lmgen.pages import explained, notebook

MOST = 2_000  # symbols of a text; finding what two share takes the square of that


@dataclass(frozen=True)
class Part:
    """A run of words that both texts have or that differ: of each text its part, the number of its symbols, and their nats. What
    both have in common costs differently, too, where it follows something else."""

    same: bool
    texts: tuple[str, str]
    symbols: tuple[int, int]
    nats: tuple[float, float]

    @property
    def difference(self) -> float:
        """The nats that the second text costs more here than the first."""
        return self.nats[1] - self.nats[0]

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {**asdict(self), "difference": self.difference}


@dataclass(frozen=True)
class Contrast:
    """Two explained texts, and the parts that they have in common or not, in order."""

    sides: tuple[Explanation, Explanation]
    parts: tuple[Part, ...]

    @property
    def difference(self) -> float:
        """The nats that the second text costs more than the first, which is exp(difference) times as likely."""
        return self.sides[1].nats - self.sides[0].nats

    @property
    def likelier(self) -> int | None:
        """0 if the first text is likelier, 1 if the second is, None if neither."""
        return None if self.difference == 0 else int(self.difference < 0)

    def _repr_html_(self) -> str:
        rows = [explained.cells(part.as_dict()) for part in self.parts]
        return notebook.Several(self.sides)._repr_html_() + notebook.table(explained.HEAD, rows)

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        parts, texts = ([one.as_dict() for one in some] for some in (self.parts, self.sides))
        return {"likelier": self.likelier, "difference": self.difference, "parts": parts, "texts": texts}


def contrast(a: Explanation, b: Explanation) -> Contrast:
    """Compare two texts, each explained on its own.

    Raises InputError for texts of too many symbols.
    """
    if max(len(a), len(b)) > MOST:
        raise InputError(f"texts of over {MOST:,} symbols are not compared: give two sentences, or explain each in a file")
    return Contrast((a, b), tuple(_parts(a, b)))


def _parts(a: Explanation, b: Explanation) -> Iterator[Part]:
    by_word = any(len(side.text.split()) > 1 for side in (a, b))
    sides = [_words(side, by_word) for side in (a, b)]
    first, second = ([_text(word).lstrip() or _text(word) for word in side] for side in sides)
    for kind, *edges in SequenceMatcher(None, first, second, autojunk=False).get_opcodes():
        one, other = ([*chain(*side[low:high])] for side, low, high in zip(sides, edges[::2], edges[1::2], strict=True))
        nats = sum(symbol.nats for symbol in one), sum(symbol.nats for symbol in other)
        yield Part(kind == "equal", (_text(one), _text(other)), (len(one), len(other)), nats)


def _words(side: Explanation, by_word: bool) -> list[list[Symbol]]:
    """The symbols of a text in groups: those of each word with the space before it, EOS alone; or each symbol alone."""
    groups: list[list[Symbol]] = []
    for one in side:
        if not (groups and by_word and one.symbol) or (one.before + one.symbol)[0].isspace():
            groups.append([])
        groups[-1].append(one)
    return groups


def _text(symbols: list[Symbol]) -> str:
    return "".join(one.before + one.symbol for one in symbols)
