"""How well a model that writes by label predicts labelled text: nats of each label's texts, given the label."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from lmgen.applied.writer import Writer
from lmgen.data.split import fingerprint
from lmgen.errors import InputError
from lmgen.evaluation.cards.overlap import Overlap
from lmgen.evaluation.scores import scores
from lmgen.labelled.examples import Example


@dataclass(frozen=True)
class OfLabel:
    """The measures of the texts of one label, EOS included; `unknown` symbols are not in the vocabulary."""

    label: str
    sequences: int
    symbols: int
    characters: int
    unknown: int
    nats: float
    overlap: Overlap | None = None  # of all labels together, with the training text

    @property
    def nats_per_symbol(self) -> float:
        return self.nats / max(1, self.symbols)

    @property
    def perplexity(self) -> float:
        return math.exp(min(700.0, self.nats_per_symbol))

    @property
    def bits_per_character(self) -> float:
        return self.nats / math.log(2) / max(1, self.characters)

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        derived = ("nats_per_symbol", "perplexity", "bits_per_character")
        found = asdict(self) | {name: getattr(self, name) for name in derived}
        return {name: value for name, value in found.items() if not (name == "overlap" and self.label)}


def measure(lm: Writer, name: str, examples: Iterable[Example]) -> list[OfLabel]:
    """The measures of labelled text by label, the first of all labels together ("").

    Raises InputError for a text without a label, or with one that the model does not know.
    """
    texts: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
    for example in examples:
        if not example.labels:
            raise InputError(f"{name}, line {example.line:,} has no label: give a text that has them")
        texts[example.labels].append(example.joined)
    if not texts:
        raise InputError(f"there is no text in {name}: give a file with at least one line of it")
    found = []
    for labels, own in sorted(texts.items()):
        scored = [*scores(lm.by(dict.fromkeys(labels, 1.0)), own)]
        symbols, nats = sum(len(one.symbols) for one in scored), sum(one.nats for one in scored)
        unknown, characters = sum(one.unknown for one in scored), sum(len(text) + 1 for text in own)
        found.append(OfLabel(", ".join(labels), len(own), symbols, characters, unknown, nats))
    columns = ("sequences", "symbols", "characters", "unknown", "nats")
    hashes = (fingerprint(text) for own in texts.values() for text in own)
    total = {name: sum(getattr(one, name) for one in found) for name in columns}
    return [OfLabel("", **total, overlap=Overlap.with_training(hashes, lm)), *found]
