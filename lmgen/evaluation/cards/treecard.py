"""How well a model labels the nodes of trees: all nodes, the roots, and where labels are numbers which side the roots are on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from lmgen.applied.tree import TreeLabeller
from lmgen.errors import InputError
from lmgen.evaluation.baselines import Majority, NaiveBayes
from lmgen.evaluation.cards.labelcard import Baseline, LabelMeasures, Tally
from lmgen.evaluation.cards.overlap import Overlap
from lmgen.labelled.examples import Example
from lmgen.structured.trees import Tree

BELOW, ABOVE = SIDES = ("below", "above")
FEWEST = 3  # labels that have a middle


@dataclass(frozen=True)
class TreeCard:
    """The measures of a text of trees. `parts` are those of all "nodes", of the "roots" and, where the labels are three whole
    numbers or more, of "root_binary": whether the root is below or above the middle of the labels. There neutral roots are left
    out, and the side with the larger sum of probabilities is predicted. Intervals are by a bootstrap over trees."""

    name: str
    sequences: int
    symbols: int  # words
    unknown: int  # words that training has not seen
    parts: list[LabelMeasures]
    lack: str = ""  # why there are no baselines
    overlap: Overlap | None = None
    nouns: ClassVar[tuple[str, str]] = ("trees", "words")

    @property
    def accuracy(self) -> float:
        """That of the roots."""
        return next(part.accuracy for part in self.parts if part.of == "roots")

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON; the accuracy of the roots once more at the top."""
        head: dict[str, Any] = {"file": self.name, "sequences": self.sequences, "symbols": self.symbols, "unknown": self.unknown}
        head |= {"overlap": self.overlap and vars(self.overlap)}
        return {**head, "accuracy": self.accuracy, **{part.of: part.as_dict() for part in self.parts}}


def sides(labels: Sequence[str]) -> dict[str, str] | None:
    """The side of the middle that each label is on, "" for the middle itself; None where labels are not three whole numbers or
    more."""
    try:
        numbers = [int(label) for label in labels]
    except ValueError:
        return None
    if len(labels) < FEWEST:
        return None
    twice = min(numbers) + max(numbers)
    return {label: "" if 2 * n == twice else SIDES[2 * n > twice] for label, n in zip(labels, numbers, strict=True)}


def card(lm: TreeLabeller, name: str, trees: Iterable[Tree], baselines: bool = True) -> TreeCard:
    """The measures of trees by a model, beside baselines fitted on its training text.

    Raises InputError for a text without trees.
    """
    of_side = sides(lm.config.labels)
    parts = {"nodes": lm.config.labels, "roots": lm.config.labels} | ({"root_binary": SIDES} if of_side else {})
    tallies = {of: Tally(of, names, False, None) for of, names in parts.items()}
    rules, lack = {}, ""
    if baselines:
        try:
            rules = _fitted(lm, of_side)
        except InputError as error:
            lack = str(error)
    beside = {of: {rule: Tally(of, parts[of], False, None) for rule in some} for of, some in rules.items()}
    on_side = {side: [k for k, one in enumerate(lm.config.labels) if of_side and of_side[one] == side] for side in SIDES}
    count = symbols = unknown = 0
    for found in lm.predict(trees):
        tree, p = found.tree, found.every
        count, symbols = count + 1, symbols + len(tree.leaves)
        unknown += sum(not lm.seen(word) for word in tree.leaves)
        gold = [label or "" for label in tree.labels]
        seen = {"nodes": (gold, found.labels, p), "roots": (gold[:1], found.labels[:1], p[:1])}
        if of_side and (side := of_side.get(gold[0])):
            weighed = np.array([[p[0, on_side[one]].sum() for one in SIDES]])
            seen["root_binary"] = ([side], (SIDES[int(weighed[0].argmax())],), weighed / weighed.sum())
        for of, (right, predicted, shares) in seen.items():
            tallies[of].weigh(tallies[of].add(right, predicted), shares)
            tallies[of].confidence.extend(shares.max(-1).tolist())
            for rule, its in beside.get(of, {}).items():
                guess = rules[of][rule].predict(Example(tree.leaves))
                its.add(right, guess * len(right))
    if not count:
        raise InputError(f"there is no tree in {name}: give a file with at least one")
    measured = [
        tally.measures([Baseline(rule, its.value()) for rule, its in beside.get(of, {}).items()])
        for of, tally in tallies.items()
        if tally.gold
    ]
    return TreeCard(name, count, symbols, unknown, measured, lack)


def _fitted(lm: TreeLabeller, of_side: dict[str, str] | None) -> dict[str, dict[str, Any]]:
    """The baselines of each part, fitted on the training text of a model. Raises InputError where that is missing or has
    changed."""

    def trees() -> Iterable[Any]:
        return lm.training_examples()

    def nodes() -> Iterable[Example]:
        return (Example((), (label,)) for tree in trees() for label in tree.labels)

    def roots() -> Iterable[Example]:
        return (Example(tree.leaves, tree.labels[:1]) for tree in trees())

    def binary() -> Iterable[Example]:
        return (one._replace(labels=(side,)) for one in roots() if of_side and (side := of_side.get(one.labels[0])))

    found: dict[str, dict[str, Any]] = {"nodes": {"majority": Majority("labels").fit(nodes())}}
    for of, examples in {"roots": roots, **({"root_binary": binary} if of_side else {})}.items():
        found[of] = {"majority": Majority("labels").fit(examples()), "naive Bayes": NaiveBayes().fit(examples())}
    return found
