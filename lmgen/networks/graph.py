"""The network of graphs: K rounds in which each node gets messages from its neighbours and updates its state, a head for the tags
of nodes, and a head for the labels of graphs, which reads all nodes.

Parameters are a pytree of dicts: "embedding" [V, E], "edges" [names, N], "start" [E, N], "message" [N, 2 N], "cell", "readout"
[N + E, 2 N], "heads" {"tags", "labels"}. Shapes: n nodes, A arcs, F features, G graphs, E embedding, N cell size, K rounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from lmgen.data.vocab import UNK
from lmgen.nn import model
from lmgen.nn.cells import CELLS, State
from lmgen.nn.embedding import lookup
from lmgen.nn.model import NetworkConfig, Params
from lmgen.nn.precision import product
from lmgen.structured.graphs import NAMED, Coded, GraphNames

SUMMARIES = 3  # of the nodes of a graph: sum, mean and maximum


@dataclass(frozen=True)
class GraphConfig(NetworkConfig):
    """The architecture of a network of graphs.

    Messages are passed `rounds` times, and `cell` updates the state of a node. `labels` are those of a graph, of which with
    `several` any number may hold; `tags` those of a node; `edges` the names of edges that training has seen.
    """

    cell: str = "gru"
    task: str = "graph"
    rounds: int = 6
    labels: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    several: bool = False
    edges: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("labels", "tags", "edges"):  # lists in JSON
            object.__setattr__(self, name, tuple(getattr(self, name)))

    def describe(self) -> str:
        return f"{self.cell} {self.size}, {self.rounds} rounds of messages"

    @property
    def names(self) -> GraphNames:
        return GraphNames(self.labels, self.tags, self.several, self.edges)

    @property
    def classes(self) -> int:
        return len(self.labels) + len(self.tags)


class Inputs(NamedTuple):
    """What the network reads: the features `ids` [F] of the nodes `owners` [F]; the arcs from `sources` to `targets` [A], in the
    order of their targets, whose names have the numbers `kinds` [A]; and `slots` [n], the graph of each node. The last node and
    the last graph are filler, as are all that stand behind the given ones; `sizes` [G] are the nodes of each graph."""

    ids: Any
    owners: Any
    sources: Any
    targets: Any
    kinds: Any
    slots: Any
    sizes: Any


class Room(NamedTuple):
    """For how many graphs, nodes, features and arcs arrays have room."""

    graphs: int
    nodes: int
    features: int
    arcs: int

    @classmethod
    def needed(cls, data: Coded, chosen: np.ndarray) -> Room:
        """What the chosen graphs need, with a graph and a node of filler."""
        nodes, features, arcs = (int((part[chosen + 1] - part[chosen]).sum()) for part in (data.nodes, data.features, data.arcs))
        return cls(len(chosen) + 1, nodes + 1, features, arcs)


def inputs_of(data: Coded, chosen: np.ndarray, room: Room) -> Inputs:
    """What the network reads of the chosen graphs [k], side by side: the numbers of nodes of one are above those of the others
    before it."""
    begins, last = within(data.nodes, chosen)[1], room.nodes - 1
    shift, sizes = begins[:-1] - data.nodes[chosen], np.diff(begins)
    (features, of_features), (arcs, of_arcs) = (within(part, chosen) for part in (data.features, data.arcs))
    of_features, of_arcs = (np.repeat(shift, np.diff(part)) for part in (of_features, of_arcs))
    return Inputs(
        filled(data.ids[features], room.features, UNK),
        filled(data.owners[features] + of_features, room.features, last),
        filled(data.sources[arcs] + of_arcs, room.arcs, last),
        filled(data.targets[arcs] + of_arcs, room.arcs, last),
        filled(data.kinds[arcs], room.arcs, UNK),
        filled(np.repeat(np.arange(len(chosen)), sizes), room.nodes, room.graphs - 1),
        filled(sizes, room.graphs, 0),
    )


def within(starts: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The places of the parts `chosen`, one part after the other, and where each then begins; `starts` has their beginnings."""
    lengths = starts[chosen + 1] - starts[chosen]
    begins = np.concatenate([[0], np.cumsum(lengths)])
    return np.arange(begins[-1]) + np.repeat(starts[chosen] - begins[:-1], lengths), begins


def filled(numbers: np.ndarray, length: int, filler: int) -> np.ndarray:
    """Numbers [..] in 32 bits, with filler behind them [length]."""
    found = np.full(length, filler, np.int32)
    found[: len(numbers)] = numbers
    return found


def init(config: GraphConfig, key: Array) -> Params:
    """Fresh parameters: embeddings normal with deviation 1/√E, matrices uniform in ±1/√rows; what UNK adds is zero."""
    embedding, edges, start, message, cell, readout, *heads = jax.random.split(key, 8)
    E, N = config.embedding, config.size
    return {
        "embedding": (jax.random.normal(embedding, (config.vocab, E)) * E**-0.5).at[UNK].set(0),
        "edges": (jax.random.normal(edges, (NAMED + len(config.edges), N)) * N**-0.5).at[UNK].set(0),
        "start": _affine(start, E, N),
        "message": _affine(message, N, 2 * N)["W"],
        "cell": CELLS[config.cell].init(cell, N, N),
        "readout": _affine(readout, N + E, 2 * N),
        "heads": {
            name: _affine(key, rows, len(names))
            for name, key, rows, names in (
                ("tags", heads[0], N + E, config.tags),
                ("labels", heads[1], SUMMARIES * N, config.labels),
            )
            if names
        },
    }


def _affine(key: Array, inputs: int, outputs: int) -> Params:
    return {"W": jax.random.uniform(key, (inputs, outputs), minval=-(inputs**-0.5), maxval=inputs**-0.5), "b": jnp.zeros(outputs)}


def _mapped(p: Params, rows: Array, precision: str) -> Array:
    return product(rows, p["W"], precision) + p["b"]


def messages(W: Array, h: Array, edges: Array, inputs: Inputs, precision: str) -> Array:
    """m_v = Σ_u relu(W_v h_v + W_u h_u + e_uv) [n, N], over the arcs from u to v; `edges` [A, N] has what their names add.

    The matrix that would follow the relu is that by which the cell reads m_v (Gilmer et al. 2017, eq. 1).
    """
    heard, sent = jnp.split(product(h, W, precision), 2, -1)
    passed = jax.nn.relu(heard[inputs.targets] + sent[inputs.sources] + edges)
    return jax.ops.segment_sum(passed, inputs.targets, len(h), indices_are_sorted=True)


def read(config: GraphConfig, precision: str, params: Params, inputs: Inputs, dropout: Array | None = None) -> Array:
    """The state of each node after all rounds, beside its features [n, N + E].

    Where the messages of all rounds are more than `model.KEPT` numbers, the gradient computes those of each round again.
    """
    cell, n = CELLS[config.cell], len(inputs.slots)
    rows = lookup(params["embedding"], inputs.ids, precision)
    x = jax.ops.segment_sum(rows, inputs.owners, n, indices_are_sorted=True)
    edges = lookup(params["edges"], inputs.kinds, precision)
    start: State = {**cell.start(n, config.size), "h": jnp.tanh(_mapped(params["start"], x, precision))}

    def times(h: Array, name: str) -> Array:
        return product(h, params["cell"][name], precision)

    def a_round(state: State, number: Any) -> tuple[State, None]:
        m = model.dropped(config, messages(params["message"], state["h"], edges, inputs, precision), dropout, number)
        read = cell.inputs(params["cell"], m, lambda xs, W: product(xs, W, precision))
        return cell.step(params["cell"], state, read, times), None

    many = inputs.sources.size * config.size * config.rounds > model.KEPT
    state, _ = jax.lax.scan(jax.checkpoint(a_round) if many else a_round, start, jnp.arange(config.rounds))
    return jnp.concatenate([state["h"], x], -1)


def pool(params: Params, hs: Array, inputs: Inputs, precision: str) -> Array:
    """One vector [G, 3 N] for each graph: the sum, the mean and the maximum of σ(i(h_v, x_v)) ⊙ tanh(j(h_v, x_v)) over its nodes
    (Li et al. 2016, eq. 7)."""
    i, j = jnp.split(_mapped(params["readout"], hs, precision), 2, -1)
    parts, G = jax.nn.sigmoid(i) * jnp.tanh(j), len(inputs.sizes)
    total = jax.ops.segment_sum(parts, inputs.slots, G, indices_are_sorted=True)
    most = jax.ops.segment_max(parts, inputs.slots, G, indices_are_sorted=True)
    mean = total / jnp.maximum(inputs.sizes, 1)[:, None]
    return jnp.concatenate([total, mean, jnp.maximum(most, -1)], -1)  # parts are above −1; a graph of filler has none


def logits(config: GraphConfig, precision: str, params: Params, inputs: Inputs, dropout: Array | None = None) -> dict[str, Array]:
    """The logits of the tags [n, L] and of the labels [G, L], as far as the network has them."""
    hs, found = read(config, precision, params, inputs, dropout), {}
    if config.tags:
        found["tags"] = _mapped(params["heads"]["tags"], model.dropped(config, hs, dropout, config.rounds), precision)
    if config.labels:
        pooled = model.dropped(config, pool(params, hs, inputs, precision), dropout, config.rounds + 1)
        found["labels"] = _mapped(params["heads"]["labels"], pooled, precision)
    return found
