"""Predictions as JSON: what lmgen predict --json prints and the server answers, by the kind of model."""

from __future__ import annotations

from collections.abc import Callable
from math import exp
from typing import Any

from lmgen.errors import InputError
from lmgen.models import kinds


def labels(one: Any, top: int = 1, above: float = 0.0) -> dict[str, Any]:
    """Of labels and tags; null stands for one below `above`."""
    found: dict[str, Any] = {"text": one.text}
    if one.labels:
        first, p = one.labels[0]
        found |= {"label": first if p >= above else None, "probability": p}
        if one.several:
            found["labels"] = [{"label": name, "probability": p} for name, p in one.labels if name in one.chosen and p >= above]
        if top > 1:
            found["top"] = [{"label": name, "probability": p} for name, p in one.labels[:top]]
    if one.tags:
        found |= {one.of: one.symbols, "tags": [tag if p >= above else None for tag, p in one.tags]}
        found["probabilities"] = [p for _, p in one.tags]
        found.setdefault("probability", min(found["probabilities"]))  # of all tags together at most
        found["entities"] = [
            {
                "label": span.label,
                "start": span.start,
                "end": span.end,
                "text": one.glue.join(one.symbols[span.start : span.end]),
                "probability": p,
            }
            for span, p in one.entities
            if p >= above
        ]
    return found


def pairs(one: Any, weights: bool = False) -> dict[str, Any]:
    """Of a translation, with the others that were asked for, the likeliest first. Raises InputError for `weights` of a model that
    attends to nothing."""
    found = {"text": one.text, "source": one.source, "probability": exp(-one.nats), "nats": one.nats, "ended": one.ended}
    others = [{"text": each.text, "probability": exp(-each.nats), "nats": each.nats} for each in one.others]
    if weights:
        if one.text and not one.weights.any():
            raise InputError("this model attends to nothing, so it has no weights: train one with --attention")
        rows = [[round(weight, 4) for weight in row] for row in one.weights.tolist()]
        found |= {"symbols": [*one.symbols, *[""] * one.ended], "read": one.read, "weights": rows}
    return found | ({"others": others} if others else {})


def trees(one: Any, above: float = 0.0) -> dict[str, Any]:
    """Of a tree; null stands for a label below `above`. A node has the words from `start` on, before `end`."""
    sure = [label if p >= above else None for label, p in zip(one.labels, one.probabilities, strict=True)]
    nodes = [
        {"label": label, "probability": p, "start": start, "end": end}
        for label, p, (start, end) in zip(sure, one.probabilities, one.tree.spans, strict=True)
    ]
    root = {"label": sure[0], "probability": one.probabilities[0]}
    return {"text": one.tree.joined, **root, "tree": one.brackets, "nodes": nodes}


RECORDS: dict[kinds.Kind, Callable[..., dict[str, Any]]] = {
    kinds.LABELLER: labels,
    kinds.TRANSLATOR: pairs,
    kinds.TREES: trees,
    kinds.GRAPH: labels,
}
