"""The model over trees: a label for every node, with its probability."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from lmgen.applied.averaged import Averaged
from lmgen.data.finding import PYTHON
from lmgen.data.reading import Piece
from lmgen.labelled import calibration
from lmgen.labelled.corpus import UNKNOWN
from lmgen.models import kinds
from lmgen.models.capabilities import Predicts, Taught, each, finite
from lmgen.networks import labelling, tree, words
from lmgen.networks.tree import TreeConfig
from lmgen.pages import notebook
from lmgen.structured import forest, trees
from lmgen.structured.forest import CodedTrees
from lmgen.structured.trees import Outline, Tree
from lmgen.system.cluster import group

AT_ONCE = 1024  # trees that wait to be read together
NODES = 1 << 13  # nodes that are read together, unless one tree has more
WIDTH = 128  # nodes of a step at most


@dataclass(frozen=True, eq=False)
class TreePrediction:
    """What a model predicts for a tree: the label of each node, in the order of the brackets, with its probability; and the
    probabilities [n, K] of all labels."""

    tree: Tree
    labels: tuple[str, ...]
    probabilities: tuple[float, ...]
    every: np.ndarray

    @property
    def brackets(self) -> str:
        """The tree with the predicted labels."""
        return self.tree.brackets(self.labels)

    def _repr_html_(self) -> str:
        return notebook.text(self.brackets)


@dataclass(frozen=True, eq=False)
class TreeLabeller(Averaged, Taught, Predicts):
    """A network over trees."""

    kind = kinds.TREES
    configuration = TreeConfig
    fresh = staticmethod(tree.init)  # type: ignore[assignment]

    config: TreeConfig

    def own_logits(self, data: CodedTrees) -> Iterator[np.ndarray]:
        """The logits [n, K] of the nodes of each tree by this network alone, in order."""
        spelt = words.spelt(self.config, self.vocab.symbols, data.others, self._letters, self.vocab.ids)
        parts = (np.cumsum(data.own) - data.own) // NODES
        several = np.split(np.arange(data.sequences), np.flatnonzero(np.diff(parts)) + 1)

        def read(chosen: np.ndarray) -> np.ndarray:
            steps = forest.steps(data, chosen, min(WIDTH, forest.rounded(len(chosen))))
            found = _logits(self.config, self.precision, self.params, tree.inputs_of(data, steps, spelt))
            rows = np.flatnonzero(steps.nodes >= 0)
            return finite(np.asarray(found))[rows[np.argsort(steps.nodes[rows])]]

        for chosen, ordered in zip(several, group.shared_out(several, read), strict=True):
            at = data.starts[chosen] - data.starts[chosen[0]]
            yield from (ordered[first : first + own] for first, own in zip(at, data.own[chosen], strict=True))

    @cached_property
    def _letters(self) -> np.ndarray | None:
        return words.spelt(self.config, self.vocab.symbols).letters

    def judged(self, data: CodedTrees, gathered: Sequence[np.ndarray]) -> tuple[float, dict[str, Any]]:
        """The mean nats of the labels of all nodes and that of the roots, added, each at its best temperature; and these."""
        golds = [data.labels[at : at + own] for at, own in zip(data.starts[:-1], data.own, strict=True)]
        heads = {
            "nodes": (np.concatenate(gathered), np.concatenate(golds)),
            "roots": (np.stack([one[0] for one in gathered]), np.stack([gold[0] for gold in golds])),
        }
        total, temperatures = 0.0, {}
        for name, (logits, gold) in heads.items():
            logits, gold = logits[gold != UNKNOWN], gold[gold != UNKNOWN]
            if len(gold):
                temperatures[name] = calibration.temperature(logits, gold)
                nats = labelling.nats(jnp.asarray(logits / temperatures[name]), jnp.asarray(gold))
                total += float(np.asarray(nats).mean(dtype="float64"))
        return total, {"temperature": temperatures}

    def seen(self, word: str) -> bool:
        """Whether the training text has a word."""
        return self.vocab.ids.get(word, self.config.words) < self.config.words

    def predict(self, texts: Iterable[Tree | Outline | str | None]) -> Iterator[TreePrediction]:
        """The predictions for trees, or for brackets, with labels or without, as a text may have several; None among them asks
        for those before it. Raises InputError for a text that is not a tree."""
        waiting: list[Tree] = []
        for one in chain(self._trees(texts), [None]):
            if one:
                waiting.append(one)
            if waiting and (one is None or len(waiting) == AT_ONCE):
                data = forest.encode(waiting, self.vocab, self.labels)
                yield from map(self.prediction, waiting, self.logits(data))
                waiting = []

    def _trees(self, texts: Iterable[Tree | Outline | str | None]) -> Iterator[Tree | None]:
        for number, text in enumerate(each(texts, (Tree, Outline, str), "a tree in brackets"), 1):
            found: Iterable[Any] = [text]
            if isinstance(text, str):
                found = trees.outlines([Piece(text, True, True, 0)], Path(f"{PYTHON}, text {number:,}"))
            for one in found:
                yield trees.tree_of(one, self.config.labels) if isinstance(one, Outline) else one

    def prediction(self, tree: Tree, logits: np.ndarray) -> TreePrediction:
        """What the logits [n, K] of a tree's nodes predict."""
        about = self.provenance.about.get("temperature") or {}
        temperatures = np.full(len(logits), about.get("nodes", 1.0))
        temperatures[0] = about.get("roots", 1.0)
        scaled = logits.astype(np.float64) / temperatures[:, None]
        p = np.exp(scaled - scaled.max(-1, keepdims=True))
        p /= p.sum(-1, keepdims=True)
        best = p.argmax(-1)
        return TreePrediction(tree, tuple(self.config.labels[k] for k in best), tuple(p.max(-1).tolist()), p)


@partial(jax.jit, static_argnums=(0, 1))
def _logits(config: TreeConfig, precision: str, params: Any, inputs: Any) -> Array:
    return tree.logits(config, precision, params, inputs)
