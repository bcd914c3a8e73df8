"""How well models of structured text predict, beside baselines: a module for each kind, named in CARDS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lmgen.evaluation.cards import graphcard, labelcard, paircard, treecard
from lmgen.models import kinds

CARDS: dict[kinds.Kind, Callable[..., Any]] = {
    kinds.LABELLER: labelcard.card,
    kinds.TRANSLATOR: paircard.card,
    kinds.TREES: treecard.card,
    kinds.GRAPH: graphcard.card,
}
