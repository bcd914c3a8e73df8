"""Two texts that sound alike: which one a model finds likelier, where they differ, and by how much."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from difflib import SequenceMatcher
from typing import Any

from lmgen.errors import InputError
from lmgen.evaluation.explanation import Explanation
from lmgen.pages import notebook
from lmgen.pages.surprise import named, visible

MOST = 2_000  # symbols of a text; finding what two share takes the square of that


@dataclass(frozen=True)
class Part:
    """A run of symbols of both texts: the text of each and its nats. What both have in common costs differently, too, where it
    follows something else."""

    same: bool
    texts: tuple[str, str]
    nats: tuple[float, float]

    @property
    def difference(self) -> float:
        """The nats that the second text costs more here than the first."""
        return self.nats[1] - self.nats[0]

    def row(self) -> list[str]:
        """Both texts, each with its nats, and the difference, for people."""
        sides = zip(self.texts, self.nats, strict=True)
        cells = [cell for text, nats in sides for cell in (visible(text) if self.same else named(text), f"{nats:.2f}")]
        return [*cells, f"{self.difference:+.2f}"]


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
        rows = [part.row() for part in self.parts]
        return notebook.Several(self.sides)._repr_html_() + notebook.table(("A", "nats", "B", "nats", "difference"), rows)

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        parts = [{**asdict(part), "difference": part.difference} for part in self.parts]
        texts = [side.as_dict() for side in self.sides]
        return {"likelier": self.likelier, "difference": self.difference, "parts": parts, "texts": texts}


def contrast(a: Explanation, b: Explanation) -> Contrast:
    """Compare two texts, each explained on its own.

    Raises InputError for texts of too many symbols.
    """
    if max(len(a), len(b)) > MOST:
        raise InputError(f"texts of over {MOST:,} symbols are not compared: give two sentences, or explain each in a file")
    return Contrast((a, b), tuple(_parts(a, b)))


def _parts(a: Explanation, b: Explanation) -> Iterator[Part]:
    symbols = [[*side] for side in (a, b)]
    first, second = ([one.symbol for one in side] for side in symbols)
    for kind, *edges in SequenceMatcher(None, first, second, autojunk=False).get_opcodes():
        runs = [side[low:high] for side, low, high in zip(symbols, edges[::2], edges[1::2], strict=True)]
        one, other = ("".join(s.before * (k > 0) + s.symbol for k, s in enumerate(run)) for run in runs)
        nats, others = (sum(s.nats for s in run) for run in runs)
        yield Part(kind == "equal", (one, other), (nats, others))
