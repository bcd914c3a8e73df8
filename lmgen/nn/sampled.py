"""The sampled softmax: in training a word is predicted among few words instead of all (Jean et al. 2015, section 3).

The words are those of the batch and others drawn by their frequency. From each logit ln π is subtracted, π being the probability
that the word is among them, so that the expected sum over the few is the sum over all. Shapes: T time, B batch, K words.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from jax import Array


class Among(NamedTuple):
    """Targets as places `at` [T, B] among the words `ids` [K], with their ln π [K]; a place of no word has a large one."""

    at: Any
    ids: Any
    log_rates: Any


def narrowed(params: dict[str, Any], targets: Any) -> tuple[dict[str, Any], Array]:
    """The parameters of a head that knows the words of `targets` alone, and their places; what was given for plain targets."""
    if not isinstance(targets, Among):
        return params, targets
    head = {**params["head"], "b": params["head"]["b"][targets.ids] - targets.log_rates}
    if "W" in head:
        return {"head": {**head, "W": head["W"][:, targets.ids]}}, targets.at
    return {"head": head, "embedding": params["embedding"][targets.ids]}, targets.at
