"""The kinds of models, described without their code, so that `lmgen show` and `list` need no JAX."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lmgen.errors import InputError
from lmgen.options import table

# Parts of options that are for some kinds of models alone.
PARTS = {"n-grams", "plain", "labels", "letters", "pairs", "graphs", "mixture", "members"}
NETWORK = ("layers", "size", "residual", "layer_norm", "direction", "embedding", "tie", "dropout")


@dataclass(frozen=True)
class Kind:
    """A kind of model: its `noun` in messages, with an article; the `command` to try first; the `summary` in `lmgen list`, a
    format of the facts; the `facts` of the configuration that `lmgen show` prints; the --direction and --cell that make it, where
    None stands for the cells of networks; the tasks, where these make it; the `parts` of options that are for such models, and
    the names of other options that are `useless` to them; whether it `counts`: it is fitted in one go, without training steps.
    `title` heads its card, `nats` are `per` this. `nouns` are what it reads: symbols of a text, or the parts of something that is
    no text.
    """

    noun: str
    command: str
    summary: str
    facts: tuple[str, ...]
    direction: str = "forward"
    cell: str | None = None
    counts: bool = False
    tasks: tuple[str, ...] = ()
    parts: tuple[str, ...] = ("plain",)
    useless: tuple[str, ...] = ()
    title: str = "A language model"
    nats: str = "nats"
    per: str = "symbol"
    nouns: tuple[str, str] = ("symbol", "")

    def lacks(self, option: table.Option) -> bool:
        """Whether such a model has no use for an option."""
        alone = PARTS & {*option.of.split()}
        return option.name in self.useless or (bool(alone) and alone.isdisjoint(self.parts))

    def settings(self, options: Iterable[table.Option], given: Mapping[str, Any]) -> dict[str, Any]:
        """The values of those of the options that such a model has a use for, checked and completed.

        Raises InputError for another name.
        """
        known = [option for option in options if not self.lacks(option)]
        table.refuse_unknown(given, [option.name for option in known])
        return {option.name: option.check(given.get(option.name)) for option in known}


RECURRENT = Kind(
    "a language model", "sample", "{cell} {layers} × {size}", NETWORK, parts=("plain", "letters", "mixture", "members")
)
CLOZE = Kind(
    "a cloze network", "fill", "{cell} {layers} × {size}, both directions", NETWORK, direction="both", nats="pseudo-nats"
)
NGRAM = Kind(
    "an n-gram model", "sample", "{cell} order {order}", ("order",), cell="ngram", counts=True, parts=("plain", "n-grams")
)
LABELLER = Kind(
    "a labelling network",
    "predict",
    "{cell} {layers} × {size}, {task}",
    ("task", "labels", "tags", "several", *(name for name in NETWORK if name != "tie"), "pool", "hashed", "vectors"),
    tasks=("tag", "classify", "tag-classify"),
    parts=("labels", "members"),
    useless=("tie", "carry", "sequence"),
    title="A labelling model",
    per="label",
)
WRITER = Kind(
    "a network that writes by label",
    "sample",
    "{cell} {layers} × {size}, by label",
    ("task", "labels", *NETWORK),
    tasks=("generate",),
    parts=(),
    useless=("carry", "sequence", "direction"),
    title="A language model that writes by label",
)
GRAPH = Kind(
    "a network of graphs",
    "predict",
    "{cell} {size}, {rounds} rounds",
    ("task", "labels", "tags", "several", "edges", "size", "rounds", "embedding", "dropout"),
    tasks=("graph",),
    parts=("labels", "graphs", "members"),
    useless=(
        *("layers", "residual", "layer_norm", "direction", "tie", "carry", "sequence", "unit", "column", "separator"),
        *("pool", "input", "vectors", "from_", "tune", "balance", "field", "lowercase", "normalize", "segment"),
    ),
    title="A model of graphs",
    per="label",
    nouns=("node", "graph"),
)
TRANSLATOR = Kind(
    "a network that translates",
    "predict",
    "{cell} {layers} × {size}, translates",
    ("task", *(name for name in NETWORK if name != "direction"), "attention", "copy"),
    tasks=("translate",),
    parts=("pairs",),
    useless=("carry", "sequence", "direction", "column", "separator"),
    title="A model that translates",
)
TREES = Kind(
    "a network over trees",
    "predict",
    "{cell} {size} over trees",
    ("task", "labels", "size", "embedding", "dropout", "hashed", "vectors"),
    tasks=("tree",),
    parts=("labels", "members"),
    useless=(
        *("column", "separator", "unit", "sequence", "carry", "layers", "residual", "layer_norm", "direction", "tie"),
        *("pool", "from_", "balance", "window", "top", "field", "lowercase", "normalize", "segment"),
    ),
    title="A model that labels the nodes of trees",
    nouns=("node", "tree"),
    per="label",
)
STRUCTURED = (LABELLER, WRITER, TRANSLATOR, TREES, GRAPH)  # whose task the text may decide
KINDS = (RECURRENT, CLOZE, NGRAM, *STRUCTURED)


def kind_of(config: Mapping[str, Any]) -> Kind:
    """The kind of model that a configuration describes, or that options of `train` ask for."""
    cell, direction, task = config.get("cell"), config.get("direction") or "forward", config.get("task")
    alone = [kind for kind in KINDS if kind.cell and kind.cell == cell]
    labelled = [kind for kind in KINDS if task in kind.tasks]
    networks = [kind for kind in KINDS if not (kind.cell or kind.tasks) and kind.direction == direction]
    return next(iter(alone or labelled or networks), RECURRENT)


def wanted(options: Mapping[str, Any], task: str | None = None) -> Kind:
    """The kind of model that the options of a training ask for; `task` is what the text decided, None before it is known.

    Raises InputError for an option that such a model, whatever its text, has no use for.
    """
    task = task or options["task"]
    kind = kind_of({**options, "task": task})
    possible = [kind] if task or kind.counts else [kind, *STRUCTURED]
    asked = [option for option in table.TRAIN if options[option.name] != option.default]
    lacking = (one for one in asked if all((kind.counts and not one.counts) or kind.lacks(one) for kind in possible))
    if useless := sorted(option.flag[2:] for option in lacking):
        raise InputError(f"{kind.noun} has no {', '.join(useless)}: leave that out, or choose another --cell or --task")
    return kind
