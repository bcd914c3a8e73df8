"""The model of graphs: labels for a graph, a tag for each of its nodes, each with its probability."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, pairwise
from typing import Any

import jax
import numpy as np
from jax import Array

from lmgen.applied.calibrated import Calibrated, Logits
from lmgen.applied.labeller import Prediction
from lmgen.errors import InputError
from lmgen.models import kinds
from lmgen.models.capabilities import Taught, each, finite
from lmgen.networks import graph
from lmgen.networks.graph import GraphConfig, Room
from lmgen.structured.graphs import Coded, Graph, encode, parsed
from lmgen.system.cluster import group

AT_ONCE = 1024  # graphs that are read together …
AT_MOST = 1 << 14  # … and nodes and arcs that are computed at a time, unless one graph has more


@dataclass(frozen=True, eq=False)
class GraphLabeller(Calibrated, Taught):
    """A network that labels graphs and their nodes."""

    kind = kinds.GRAPH
    configuration = GraphConfig
    fresh = staticmethod(graph.init)  # type: ignore[assignment]

    config: GraphConfig

    def own_logits(self, data: Coded) -> Iterator[Logits]:
        parts = (np.cumsum(np.diff(data.nodes) + np.diff(data.arcs)) - 1) // AT_MOST
        several = np.split(np.arange(data.sequences), np.flatnonzero(np.diff(parts)) + 1)

        def read(chosen: np.ndarray) -> Any:
            room = Room(*(1 << max(0, n - 1).bit_length() for n in Room.needed(data, chosen)))  # few shapes to compile
            return _logits(self.config, self.precision, self.params, graph.inputs_of(data, chosen, room))

        for chosen, arrays in zip(several, group.shared_out(several, read), strict=True):
            found = {name: finite(np.asarray(array)) for name, array in arrays.items()}
            starts = data.nodes[chosen[0] : chosen[-1] + 2] - data.nodes[chosen[0]]
            for k, (start, end) in enumerate(pairwise(starts.tolist())):
                tags = found["tags"][start:end] if "tags" in found else None
                yield Logits(tags, found["labels"][k] if "labels" in found else None)

    def judged(self, data: Coded, gathered: Sequence[Logits]) -> tuple[float, dict[str, Any]]:
        """The mean nats of labels and of tags of graphs, by their logits at the best temperature, and these temperatures."""
        found = {}
        if data.tags is not None:
            found["tags"] = np.concatenate([one.tags for one in gathered]), data.tags
        if data.labels is not None:
            found["labels"] = np.stack([one.labels for one in gathered]), data.labels  # type: ignore[misc]
        return self.fitted(found)

    def read(self, graphs: Iterable[Graph | None]) -> Iterator[tuple[Graph, Logits]]:
        """Each graph with its logits, in order. Many are read at a time; None among them asks for those before it."""
        waiting: list[Graph] = []
        for one in chain(graphs, [None]):
            if one:
                waiting.append(one)
            if waiting and (one is None or len(waiting) == AT_ONCE):
                data = encode(waiting, self.vocab, self.config.names)
                yield from zip(waiting, self.logits(data), strict=True)
                waiting = []

    def predict(self, graphs: Iterable[Graph | str | dict[str, Any] | None]) -> Iterator[Prediction]:
        """The predictions for graphs, which may be lines of JSON or what these hold, in order, as `read` reads them.

        Raises InputError for a line that is no graph.
        """

        def given() -> Iterator[Graph | None]:
            number = 0
            for one in each(graphs, (Graph, str, dict), "a graph"):
                number += one is not None
                try:
                    yield parsed(one) if isinstance(one, str | dict) else one
                except ValueError as error:
                    raise InputError(f"graph {number:,}: {error}") from None

        return (self.prediction(*pair) for pair in self.read(given()))

    def seen(self, feature: str) -> bool:
        """Whether the training graphs have a feature."""
        return feature in self.vocab.ids

    def prediction(self, graph: Graph, logits: Logits) -> Prediction:
        """What the logits of a graph predict."""
        labels, chosen = ((), ()) if logits.labels is None else self.ranked(logits.labels)
        tags: tuple[tuple[str, float], ...] = ()
        if logits.tags is not None:
            p = self.probabilities(logits.tags, "tags")
            tags = tuple((self.config.tags[k], float(p[v, k])) for v, k in enumerate(p.argmax(-1)))
        text = " ".join(graph.names)
        return Prediction(graph.names, labels, chosen, tags, text=text, several=self.config.several, of="nodes")


@partial(jax.jit, static_argnums=(0, 1))
def _logits(config: GraphConfig, precision: str, params: Any, inputs: Any) -> dict[str, Array]:
    return graph.logits(config, precision, params, inputs)
