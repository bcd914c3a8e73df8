"""The kinds of models, described without their code, so that `lmgen show` and `list` need no JAX."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lmgen.errors import InputError
from lmgen.options import table

NETWORK = ("layers", "size", "residual", "layer_norm", "direction", "embedding", "tie", "dropout")


@dataclass(frozen=True)
class Kind:
    """A kind of model: its `noun` in messages, with an article; the `summary` in `lmgen list`, a format of the facts; the `facts`
    of the configuration that `lmgen show` prints; the --direction and --cell that make it, where None stands for the cells of
    networks; and whether it `counts`: it is fitted in one go, without training steps.
    """

    noun: str
    summary: str
    facts: tuple[str, ...]
    direction: str = "forward"
    cell: str | None = None
    counts: bool = False

    def lacks(self, option: table.Option) -> bool:
        """Whether such a model has no use for an option of `train`."""
        return not option.counts if self.counts else option.of == "n-grams"


RECURRENT = Kind("a recurrent network", "{cell} {layers} × {size}", NETWORK)
CLOZE = Kind("a cloze network", "{cell} {layers} × {size}, both directions", NETWORK, direction="both")
NGRAM = Kind("an n-gram model", "{cell} order {order}", ("order",), cell="ngram", counts=True)
KINDS = (RECURRENT, CLOZE, NGRAM)


def kind_of(config: Mapping[str, Any]) -> Kind:
    """The kind of model that a configuration describes, or that options of `train` ask for."""
    cell, direction = config.get("cell"), config.get("direction") or "forward"
    alone = [kind for kind in KINDS if kind.cell and kind.cell == cell]
    networks = [kind for kind in KINDS if not kind.cell and kind.direction == direction]
    return next(iter(alone or networks), RECURRENT)


def wanted(options: Mapping[str, Any]) -> Kind:
    """The kind of model that the options of a training ask for. Raises InputError for an option that it has no use for."""
    kind = kind_of(options)
    asked = sorted(option.name for option in table.TRAIN if option.is_asked(options[option.name]) and kind.lacks(option))
    if asked:
        raise InputError(f"{kind.noun} has no {', '.join(asked).replace('_', '-')}: leave that out, or choose another --cell")
    return kind
