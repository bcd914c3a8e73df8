"""Networks over trees: the state of a node is made of its children's, a leaf's of its word, and a head labels every node.

Parameters are a pytree of dicts: "embedding" and what else `words` reads of a word, "cell" {"W" [E, G N], "U" [2 N, G N],
"b" [G N]}, "head" {"W" [N, K], "b" [K]}. Shapes: L leaves, S steps of W nodes each, M = L + S W, E inputs, N cell size, G gates,
K labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from lmgen.labelled.corpus import Labels
from lmgen.networks import words
from lmgen.networks.words import WordsConfig
from lmgen.nn import model
from lmgen.nn.cells import sigmoid, tanh
from lmgen.nn.model import Params
from lmgen.nn.precision import product
from lmgen.structured.forest import CodedTrees, Steps


class TreeCell:
    """What happens at a node. Its state is a vector of `memory` parts of size N, the first of which is its output h.

    The left and the right child have matrices of their own, so that their order counts. A child that is not there has the state
    zero. A node of more than two children reads them from left to right, two at a time (`structured.forest.folded`).
    """

    gates: int
    memory: int
    biases: tuple[float, ...]

    def state(self, a: Array, left: Array, right: Array) -> Array:
        """The state [n, memory N] of nodes, from a = W x + U [h_left, h_right] + b [n, G N] and their children's states."""
        raise NotImplementedError


class Recursive(TreeCell):
    """The recursive network: h = tanh(U [h_left, h_right] + b), and of a leaf h = tanh(W x + b) (Socher et al. 2011)."""

    gates, memory, biases = 1, 1, (0.0,)

    def state(self, a: Array, left: Array, right: Array) -> Array:
        return tanh(a)


class TreeLSTM(TreeCell):
    """The binary Tree-LSTM, with a forget gate for each child (Tai et al. 2015, equations 9 to 14, N = 2).

    i, f_left, f_right, o = σ(W x + U [h_left, h_right] + b),  g = tanh(W x + U [h_left, h_right] + b),
    c = i ⊙ g + f_left ⊙ c_left + f_right ⊙ c_right,  h = o ⊙ tanh(c).  x is the word of a leaf, and zero at other nodes.  The
    biases of the forget gates start at 1.
    """

    gates, memory, biases = 5, 2, (0.0, 1.0, 1.0, 0.0, 0.0)

    def state(self, a: Array, left: Array, right: Array) -> Array:
        i, f_left, f_right, o, g = jnp.split(a, 5, axis=-1)
        N = g.shape[-1]
        c = sigmoid(i) * tanh(g) + sigmoid(f_left) * left[..., N:] + sigmoid(f_right) * right[..., N:]
        return jnp.concatenate([sigmoid(o) * tanh(c), c], -1)


CELLS: dict[str, TreeCell] = {"lstm": TreeLSTM(), "elman": Recursive()}


@dataclass(frozen=True)
class TreeConfig(WordsConfig):
    """The architecture of a network over trees, whose nodes have one of `labels`."""

    task: str = "tree"
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("labels", "frozen"):  # lists in JSON
            object.__setattr__(self, name, tuple(getattr(self, name)))

    @property
    def names(self) -> Labels:
        return Labels(self.labels)

    @property
    def classes(self) -> int:
        return len(self.labels)


class Inputs(NamedTuple):
    """What the network reads: the words of the leaves, `ids` [L], with `words` and `buckets` as `words.inputs_of` gives them, and
    the rows `left` and `right` [S, W] of the children (`structured.forest.Steps`)."""

    ids: Any
    left: Any
    right: Any
    words: Any = None
    buckets: Any = None


def inputs_of(data: CodedTrees, steps: Steps, spelt: words.Spelt, full: bool = False) -> Inputs:
    """What the network reads in some steps; `full` is as for `letters.words_of`."""
    ids = np.where(steps.nodes < 0, 0, data.words[steps.nodes])[: steps.leaves].astype(np.int32)
    ids, *letters = words.inputs_of(ids, spelt, full)
    return Inputs(ids, steps.left, steps.right, *letters)


def init(config: TreeConfig, key: Array) -> Params:
    """Fresh parameters: the embedding as in `words.init`, the matrices uniform in ±1/√N."""
    embedding, letters, W, U, head = jax.random.split(key, 5)
    cell, N = CELLS[config.cell], config.size
    uniform = partial(jax.random.uniform, minval=-(N**-0.5), maxval=N**-0.5)
    return {
        **words.init(config, embedding, letters),
        "cell": {
            "W": uniform(W, (config.inputs, cell.gates * N)),
            "U": uniform(U, (2 * N, cell.gates * N)),
            "b": jnp.repeat(jnp.array(cell.biases), N),
        },
        "head": {"W": uniform(head, (N, len(config.labels))), "b": jnp.zeros(len(config.labels))},
    }


def states(cell: TreeCell, precision: str, p: Params, xs: Array, left: Array, right: Array) -> Array:
    """The states [M + 1, memory N] of all nodes, from the leaves' inputs xs [L, E]; the last row is zero."""
    size = p["b"].size // cell.gates
    nothing = jnp.zeros((len(xs), cell.memory * size), xs.dtype)
    leaves = cell.state(product(xs, p["W"], precision) + p["b"], nothing, nothing)
    buffer = jnp.concatenate([leaves, jnp.zeros((left.size + 1, leaves.shape[1]), xs.dtype)])

    def step(buffer: Array, now: tuple[Array, Array, Array]) -> tuple[Array, None]:
        at, one, other = now
        lefts, rights = buffer[one], buffer[other]
        hs = jnp.concatenate([lefts[:, :size], rights[:, :size]], -1)
        state = cell.state(product(hs, p["U"], precision) + p["b"], lefts, rights)
        return lax.dynamic_update_slice(buffer, state, (at, 0)), None

    at = len(xs) + left.shape[1] * jnp.arange(len(left))
    return lax.scan(step, buffer, (at, left, right))[0]


def logits(config: TreeConfig, precision: str, params: Params, inputs: Inputs, dropout: Array | None = None) -> Array:
    """The logits [M, K] of the labels of all nodes; `dropout` is a random key in training, for the words and the head."""
    xs = words.embedded(config, precision, params, inputs, dropout)
    hs = states(CELLS[config.cell], precision, params["cell"], xs, inputs.left, inputs.right)[:-1, : config.size]
    hs = model.dropped(config, hs, dropout, 0)
    return product(hs, params["head"]["W"], precision) + params["head"]["b"]
