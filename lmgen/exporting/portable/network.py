"""The network: stacked cells between an embedding and a head."""

from __future__ import annotations

from typing import Any

import numpy as np

from lmgen.exporting.portable.cells import CELLS
from lmgen.exporting.portable.given import EOS, MODEL, W
from lmgen.exporting.portable.norms import normalised


def empty():
    """The state of the layers before anything is read."""
    zeros = {name: np.zeros(n or (0, MODEL["size"]), np.float32) for name, n in MODEL["state"].items()}
    return [zeros for _ in W["layers"]]


def step(stack, state, x):
    """The next state of a stack of layers that reads x [D], and its output: that of the last layer [N], or of all layers."""
    cell: Any = CELLS[MODEL["cell"]]
    after: list[Any] = []
    symbol, outs = x, []
    for k, p in stack["layers"].items():
        read = np.append(x, symbol) if MODEL["skip"] and after else x
        s = cell(p, state[int(k)], normalised(read, **stack["norms"][k]) if "norms" in stack else read)
        x = x + s["h"] if MODEL["residual"] and after else s["h"]
        after.append(s)
        outs.append(x)
    return after, np.concatenate(outs) if MODEL["skip"] else x


def outputs(stack, xs):
    """The state of a stack after inputs xs [n, D], read from an empty one, and its outputs [n, N]."""
    state, hs = empty(), []
    for x in xs:
        state, h = step(stack, state, x)
        hs.append(h)
    return state, np.array(hs)


def read_network(state, id, by=0.0):
    """The state after reading an id, and the logits [V] of what follows; `by` is added to what the first layer reads."""
    if id == EOS and not MODEL["carry"]:
        state = empty()
    state, h = step(W, state, W["embedding"][id] + by)
    return state, logits(head_input(h))


def head_input(h):
    """What the head reads: the output of the last layer, normalised if the head has a norm."""
    return normalised(h, W["head"]["gain"], W["head"]["shift"]) if "gain" in W["head"] else h


def logits(h):
    """The logits of all that can follow, from what the head reads."""
    head = W["head"]
    if "W" in head:
        return h @ head["W"] + head["b"]
    return (h @ head["P"] if "P" in head else h) @ W["embedding"][: len(head["b"])].T + head["b"]
