"""Defaults that suit graphs."""

from __future__ import annotations

from typing import Any

from lmgen.defaults.labelling import until
from lmgen.networks.graph import GraphConfig
from lmgen.options import table
from lmgen.structured.graphs import GraphCorpus

SHAPE = {"size": 64, "embedding": 32, "rounds": 6}
ROOM = 4096  # of a step, about: its nodes and arcs …
MOST_GRAPHS = 64  # … and its graphs at most
LEARNING_RATE = 3e-3


def choose(
    data: GraphCorpus, task: str, carry: bool, wanted: dict[str, Any], start: Any = None
) -> tuple[GraphConfig, dict[str, Any]]:
    """The network and the fields of TrainingConfig for these graphs; what `wanted` gives (not None) is kept."""
    given = {name: value for name, value in wanted.items() if value is not None}
    shape = {**SHAPE, **{name: given[name] for name in table.names("network", "graphs") if name in given}}
    names, graphs = data.labels, data.train.sequences
    network = GraphConfig(
        len(data.vocab), **shape, labels=names.labels, tags=names.tags, several=names.several, edges=names.edges
    )
    nodes, size = data.train.symbols / graphs, (data.train.symbols + len(data.train.kinds)) / graphs
    train: dict[str, Any] = {
        "batch": max(1, min(MOST_GRAPHS, round(ROOM / size))),
        "window": max(1, round(nodes)),  # nodes of a graph
        "learning_rate": LEARNING_RATE,
    }
    train |= {name: given[name] for name in table.names("training", "end") if name in given}
    return network, train | until(train, data, given)
