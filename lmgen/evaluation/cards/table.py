"""How well models of structured text predict, beside baselines: a module for each kind, named in CARDS."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from lmgen.evaluation.cards import graphcard, labelcard, paircard, treecard
from lmgen.evaluation.cards.overlap import Overlap
from lmgen.labelled.corpus import noted
from lmgen.models import kinds

CARDS: dict[kinds.Kind, Callable[..., Any]] = {
    kinds.LABELLER: labelcard.card,
    kinds.TRANSLATOR: paircard.card,
    kinds.TREES: treecard.card,
    kinds.GRAPH: graphcard.card,
}


def card(lm: Any, name: str, examples: Iterable[Any], baselines: bool = True, **settings: Any) -> Any:
    """The card of a text by a model of a kind in CARDS; with `baselines`, also how much of it the model was trained on.

    Raises InputError for a text without what the model predicts.
    """
    hashes = array("Q")
    found = CARDS[lm.kind](lm, name, noted(examples, hashes), baselines, **settings)
    return replace(found, overlap=Overlap.with_training(hashes, lm)) if baselines else found
