"""What the trials of a study vary: the choices of a plan, in whole steps up and down.

A variation says how many steps each choice is away from the plan, which adapts to the time of a training. So a network twice as
large as planned is a small one in a short training and a large one in a long one, and twice the dropout is none where the law
drops nothing: what short trainings teach of a text holds for the long one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lmgen.defaults import language
from lmgen.defaults.config import TrainingConfig
from lmgen.defaults.language import DROPOUTS, Plan
from lmgen.errors import InputError
from lmgen.nn.model import NetworkConfig
from lmgen.options.kinds import MOST_LAYERS

MOST_DROPOUT = 0.8
SHARE = 0.25  # of the dropout rate by the law: a step


@dataclass(frozen=True)
class Choice:
    """An option that varies by `down` steps below the plan to `up` steps above it; `applied` gives its value, from the planned
    one (for dropout the rate that the law gives) and the steps."""

    name: str
    down: int
    up: int
    applied: Callable[[Any, int], Any]


Variation = Mapping[str, int]  # the steps of each choice that is not as planned


def _times(factor: float, multiple: int = 1) -> Callable[[int, int], int]:
    """Whole numbers, a step `factor` times as large as the one before, rounded to a multiple."""
    return lambda planned, steps: max(multiple, round(planned * factor**steps / multiple) * multiple)


def _scaled(factor: float) -> Callable[[float, int], float]:
    return lambda planned, steps: float(f"{planned * factor**steps:.3g}")


def _other(planned: bool, steps: int) -> bool:
    return not planned


def _share(name: str, down: int, up: int) -> Choice:
    """Dropout, as a share of the rate that the law gives; a step below none is none."""
    share = DROPOUTS.get(name, 0.0)
    return Choice(
        name,
        min(down, round(share / SHARE)),
        up,
        lambda rate, steps: round(min(MOST_DROPOUT, max(0.0, share + SHARE * steps) * rate), 3),
    )


# Choices to which the plan adapts the others: they are made first.
SHAPES = (
    Choice("size", 2, 2, _times(2**0.5, 32)),
    Choice("layers", 1, 1, lambda planned, steps: min(MOST_LAYERS, max(1, planned + steps))),
    Choice("embedding", 1, 1, _times(2, 16)),
    Choice("batch", 1, 1, _times(2)),
    Choice("window", 1, 1, _times(2)),
    Choice("tie", 0, 1, _other),
    Choice("layer_norm", 0, 1, _other),
    Choice("skip", 0, 1, _other),
)
RATES = (
    Choice("learning_rate", 3, 3, _scaled(2**0.5)),
    Choice("weight_decay", 2, 2, _scaled(2)),
    Choice("beta1", 0, 1, lambda planned, steps: 0.0 if planned else TrainingConfig.beta1),
    _share("dropout", 3, 2),
    _share("input_dropout", 2, 4),
    _share("state_dropout", 2, 4),
    _share("weight_dropout", 2, 4),
    _share("embedding_dropout", 2, 2),
)
SPACE = SHAPES + RATES
USUAL = {**vars(TrainingConfig(1, 1, 1.0)), **vars(NetworkConfig(2))}  # where a plan is silent
_DROPPED = [choice.name for choice in RATES if choice.name.endswith("dropout")]
CHOICES = {choice.name: choice for choice in SPACE}
NOT_WITH_ATTENTION = ("embedding", "tie", "layer_norm")  # cells that normalise have their own


def space(wanted: Mapping[str, Any]) -> tuple[Choice, ...]:
    """The choices that vary: those that `wanted` does not fix and that its cell has."""
    fixed = {name for name, value in wanted.items() if value is not None}
    if language.CELLS[wanted.get("cell") or NetworkConfig.cell].normalises:
        fixed.update(NOT_WITH_ATTENTION)
    return tuple(choice for choice in SPACE if choice.name not in fixed and _has(wanted, choice.name))


def _has(wanted: Mapping[str, Any], name: str) -> bool:
    try:
        language.check({**wanted, name: 0.5})
    except InputError:
        return False
    return True


def varied(variation: Variation, wanted: Mapping[str, Any], plan: Callable[[dict[str, Any]], Plan]) -> dict[str, Any]:
    """Those options of a variation that are not as `plan` has them for the `wanted` ones."""
    found: dict[str, Any] = {}
    for choices in (SHAPES, RATES):
        steps = [(choice, variation[choice.name]) for choice in choices if choice.name in variation]
        if steps:
            made = plan({**wanted, **found})
            planned = {**USUAL, **made.shape, **made.train}
            bases = planned | dict.fromkeys(_DROPPED, made.shape["dropout"] / DROPOUTS["dropout"])
            values = {choice.name: choice.applied(bases[choice.name], by) for choice, by in steps}
            found |= {name: value for name, value in values.items() if value != planned[name]}
    return found
