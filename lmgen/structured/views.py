"""How a report sees the examples of each structure of data: their sizes, what is learnt of them, and from what."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lmgen.labelled.forms import Example
from lmgen.structured.pairs import Pair
from lmgen.structured.trees import Tree


@dataclass(frozen=True)
class View:
    """The examples of a structure: `about` all of them, `noun` one of them.

    `text` names what is compared between splits (`joined` of an example), and `answers` what belongs to it. `sizes` are functions
    by their titles, and the sum of the first is called `units`. `labels` are those of the whole and `tags` those of its parts,
    called by `nouns`, where there are any; tags that are `ordered` may follow a scheme. `given` is all that a model reads, in one
    string (None: `joined`), `answer` all that it has to learn.
    """

    about: str
    noun: str
    text: str
    answers: str
    sizes: dict[str, Callable[[Any], int]]
    answer: Callable[[Any], str]
    labels: Callable[[Any], Sequence[str]] = lambda example: ()
    tags: Callable[[Any], Sequence[str]] = lambda example: ()
    nouns: tuple[str, str] = ("label", "tag")
    ordered: bool = False
    given: Callable[[Any], str] | None = None
    units: str = "words"
    way_out: str = "correct or remove the doubtful ones"  # where equal texts have different answers


def _answer(example: Any) -> str:
    """The labels, sorted, and the tags as one string."""
    return " ".join([", ".join(sorted(example.labels)), *(tag or "·" for tag in example.tags or ())]).strip()


def _tokens(example: Example) -> int:
    return len(example.text.split() if isinstance(example.text, str) else example.text)


def _words(of: str) -> Callable[[Pair], int]:
    return lambda pair: len(getattr(pair, of).split())


def _tags(example: Any) -> Sequence[str]:
    return [tag for tag in example.tags or () if tag is not None]


def _bare(tree: Tree) -> str:
    return tree.brackets([""] * len(tree.parents))


LABELS = View(
    "labelled text",
    "example",
    "text",
    "labels",
    {"words in an example": _tokens},
    _answer,
    lambda example: example.labels,
    _tags,
    ordered=True,
)
PAIRS = View(
    "pairs",
    "pair",
    "source",
    "targets",
    {"words in a source": _words("source"), "words in a target": _words("target")},
    lambda pair: pair.target,
    units="words of sources",
    way_out="a model learns all of them and writes one",
)
TREES = View(
    "trees",
    "tree",
    "sentence",
    "labels",
    {"words in a tree": lambda tree: len(tree.leaves), "nodes in a tree": lambda tree: len(tree.parents)},
    Tree.brackets,
    lambda tree: tree.labels[:1],
    lambda tree: tree.labels,
    ("root label", "node label"),
    given=_bare,
)
GRAPHS = View(
    "graphs",
    "graph",
    "graph",
    "labels",
    {"nodes in a graph": lambda graph: len(graph.nodes), "edges in a graph": lambda graph: len(graph.edges)},
    _answer,
    lambda graph: graph.labels,
    _tags,
    units="nodes",
)
