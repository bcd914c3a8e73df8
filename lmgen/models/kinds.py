"""The kinds of models, described without their code, so that `lmgen show` and `list` need no JAX."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

NETWORK = ("layers", "size", "residual", "layer_norm", "direction", "embedding", "tie", "dropout")


@dataclass(frozen=True)
class Kind:
    """A kind of model: its `noun` in messages, with an article; the `command` to try first; the `summary` in `lmgen list`, a
    format of the facts; the `facts` of the configuration that `lmgen show` prints; and the --direction and --cell that make it,
    where None stands for the cells of networks.
    """

    noun: str
    command: str
    summary: str
    facts: tuple[str, ...]
    direction: str = "forward"
    cell: str | None = None


RECURRENT = Kind("a recurrent network", "sample", "{cell} {layers} × {size}", NETWORK)
CLOZE = Kind("a cloze network", "fill", "{cell} {layers} × {size}, both directions", NETWORK, direction="both")
NGRAM = Kind("an n-gram model", "sample", "{cell} order {order}", ("order",), cell="ngram")
KINDS = (RECURRENT, CLOZE, NGRAM)


def kind_of(config: Mapping[str, Any]) -> Kind:
    """The kind of model that a configuration describes."""
    cell, direction = config["cell"], config.get("direction", "forward")
    alone = next((kind for kind in KINDS if kind.cell == cell), None)
    return alone or next(kind for kind in KINDS if not kind.cell and kind.direction == direction)
