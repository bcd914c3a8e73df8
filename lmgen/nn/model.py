"""The network: embedding, stacked cells, head; with two directions a second stack that reads from the right.

Parameters are a pytree of dicts: "embedding" [V, E], "layers" (a list, the parameters of each cell), "head" {"W": [N, V],
"b": [V]}; with layer norm "norms" (one before each layer) and one in the head; with two directions "back", the stack that reads
from the right. The state is a list of the layers' states. Shapes: T time, B batch, E embedding, N cell size, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from lmgen.data.vocab import EOS, UNK
from lmgen.labelled.spelling import BUCKETS
from lmgen.nn import cross_entropy, recurrence
from lmgen.nn.cell import Cell, State
from lmgen.nn.cells import CELLS
from lmgen.nn.embedding import Rows, lookup
from lmgen.nn.norm import init_norm, normalised
from lmgen.nn.precision import product
from lmgen.nn.regularisation.activations import regularised
from lmgen.nn.regularisation.dropout import mask, mask_of

Params = dict[str, Any]
States = list[State]
KEPT = 1 << 26  # numbers that the softmax keeps for its gradient at most; beyond, it works in parts and computes them again
BLANKED = 0.1  # the share of symbols that a cloze model reads as UNK in training, so that it learns to do without them


@dataclass(frozen=True)
class NetworkConfig:
    """The architecture. With `carry` the state flows on over EOS; without it every sequence starts from an empty state.

    `residual` adds a layer's input to its output, from the second layer on (He et al. 2015); with `layer_norm` every layer and
    the head read normalised vectors (Ba et al. 2016). `direction` is forward, or both for a cloze model. With `hashed` a word is
    read with its letters, the vectors of whose n-grams are learnt, too. Cells with attention see `context` symbols by `heads`
    heads; `rounds` and `rank` are those of `lstm-mogrifier`. With `skip` every layer also reads the
    symbol, and the head all layers (Graves 2013). The rates of dropout are those of `regularisation.dropout`, `ar` and
    `tar` those of `regularisation.activations`.
    """

    vocab: int
    cell: str = "lstm"
    size: int = 256
    layers: int = 1
    embedding: int = 256
    tie: bool = False
    dropout: float = 0.0
    carry: bool = False
    residual: bool = False
    layer_norm: bool = False
    direction: str = "forward"
    hashed: bool = False
    context: int | None = None
    heads: int | None = None
    rounds: Any = None  # a number or None; in GraphConfig a number
    rank: int | None = None
    skip: bool = False
    input_dropout: float = 0.0
    state_dropout: float = 0.0
    weight_dropout: float = 0.0
    embedding_dropout: float = 0.0
    output_dropout: float | None = None
    ar: float = 0.0
    tar: float = 0.0

    def describe(self) -> str:
        """In words: cell, layers × size, and what is unusual."""
        unusual = {
            "residual": self.residual,
            "skip connections": self.skip,
            "layer norm": self.layer_norm,
            "both directions": self.direction == "both",
        }
        return ", ".join([f"{self.cell} {self.layers} × {self.size}", *(name for name, on in unusual.items() if on)])

    @property
    def head_norm(self) -> bool:
        """Whether the head reads normalised vectors."""
        return self.layer_norm or CELLS[self.cell].normalises

    @property
    def task(self) -> str:
        """The name of its task."""
        return "cloze" if self.direction == "both" else "language"

    @property
    def folded(self) -> NetworkConfig:
        """The language model that reads and predicts the same without letters."""
        return replace(self, hashed=False, tie=False) if self.hashed else self

    @property
    def names(self) -> Any:
        """The names of labels that it predicts; None for a language model."""
        return None

    @property
    def rows(self) -> int:
        """The number of rows of the embedding."""
        return self.vocab

    @property
    def classes(self) -> int:
        """The number of symbols, or labels, that the head tells apart."""
        return self.vocab

    @property
    def outputs(self) -> int:
        """Size of the vectors that the head reads."""
        return self.width * (self.layers if self.skip else 1)

    @property
    def width(self) -> int:
        """Size of the outputs of a layer, of all directions."""
        return self.size * (2 if self.direction == "both" else 1)


def init(config: NetworkConfig, key: Array) -> Params:
    """Fresh parameters: the embedding is normal with deviation 1/√E, the head uniform in ±1/√N, its bias zero."""
    embedding, head, *layers = jax.random.split(key, 2 + config.layers)
    bound = config.size**-0.5
    params: Params = {
        "embedding": jax.random.normal(embedding, (config.vocab, config.embedding)) * config.embedding**-0.5,
        "head": {"b": jnp.zeros(config.vocab)} | (init_norm(config.outputs) if config.head_norm else {}),
        **init_stack(config, layers, config.embedding),
    }
    if not config.tie or config.outputs != config.embedding:
        name, columns = ("P", config.embedding) if config.tie else ("W", config.vocab)
        params["head"][name] = jax.random.uniform(head, (config.outputs, columns), minval=-bound, maxval=bound)
    if config.direction == "both":
        params["back"] = init_stack(config, [jax.random.fold_in(key, 1) for key in layers], config.embedding)
    if config.hashed:
        params["letters"] = init_letters(config, jax.random.fold_in(key, 1))
    return params


def init_stack(config: NetworkConfig, keys: list[Array], size: int) -> Params:
    """The fresh layers of one direction, the first of which reads vectors of this size."""
    inputs = [size] + [config.size + size * config.skip] * (config.layers - 1)
    stack: Params = {"layers": [cell_of(config).init(k, d, config.size) for k, d in zip(keys, inputs, strict=True)]}
    return stack | ({"norms": [init_norm(d) for d in inputs]} if config.layer_norm else {})


def init_letters(config: NetworkConfig, key: Array) -> Array:
    return jax.random.normal(key, (BUCKETS, config.embedding)) * config.embedding**-0.5


def cell_of(config: NetworkConfig) -> Cell:
    """The cell, with those of its settings that the configuration gives."""
    cell: Any = CELLS[config.cell]
    given = {name: value for name in cell.settings if (value := getattr(config, name)) is not None}
    return replace(cell, **given) if given else cell


def parameters(params: Params) -> int:
    """The number of parameters."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def tempered(params: Params, temperature: float) -> Params | None:
    """The parameters whose logits are divided by a temperature; None where the head is the embedding alone, which the layers
    read, too."""
    head = params["head"]
    last = next((names for names in (("gain", "shift"), ("W",), ("P",)) if names[0] in head), ())
    if not last:
        return None
    return {**params, "head": {name: w / temperature if name in ("b", *last) else w for name, w in head.items()}}


def start(config: NetworkConfig, batch: int) -> States:
    """The state before anything is read."""
    return [cell_of(config).start(batch, config.size) for _ in range(config.layers)]


def read(
    config: NetworkConfig,
    precision: str,
    params: Params,
    state: States,
    ids: Array,
    dropout: Array | None = None,
    layer: Any = recurrence.layer,
) -> tuple[States, Array]:
    """Read ids [T, B]; return the state after them and the head's inputs [T, B, N].

    `dropout` is a random key in training and None otherwise: the table of `regularisation.dropout` says what is dropped. Of a
    cell that normalises what it adds to its input is dropped. `params` may hold `Rows`, those of the ids, in place of the
    embedding. `layer` computes each layer: those of units.py also show its units, or hold them.
    """
    after, hs = read_stack(config, precision, params, params["embedding"], state, ids, _forget(config, ids), dropout, layer)
    return after, head_inputs(config, params, hs, dropout)


def reads_few_rows(config: NetworkConfig, symbols: int) -> bool:
    """Whether a loss over this number of symbols needs only their rows of the embedding, and these are fewer than V."""
    return config.direction == "forward" and not config.tie and config.vocab > symbols


def _forget(config: NetworkConfig, ids: Array) -> Array:
    return jnp.zeros(ids.shape, bool) if config.carry else ids == EOS


def read_stack(
    config: NetworkConfig,
    precision: str,
    stack: Params,
    table: Any,
    state: States,
    ids: Array,
    forget: Array,
    dropout: Any,
    layer: Any = recurrence.layer,
) -> tuple[States, Array]:
    """The state of a stack after ids [T, B], and the outputs of its top layer, or with `skip` of all layers.

    `table` is the embedding or its `Rows`.
    """
    hs: Any = table
    named: Array | None = None
    after: States = []
    read: Any = ids  # the rows of the embedding that are read
    if isinstance(table, Rows):
        hs, read = table.values, table.ids
    elif config.vocab <= ids.size and (dropout is None or not config.input_dropout):
        named, read = ids, slice(None)  # fewer products: take every row of the embedding once, then look up
    else:
        hs = lookup(table, ids, precision)
    cell, outs = cell_of(config), []
    symbols = lookup(table, ids, precision) if config.skip and named is not None else hs
    for k, (p, s) in enumerate(zip(stack["layers"], state, strict=True)):
        rows = jnp.concatenate([hs, symbols], -1) if config.skip and k else hs
        rows = normalised(stack["norms"][k], rows) if config.layer_norm else rows
        if not k:
            rows = _dropped_inputs(config, rows, read, dropout)
        elif not cell.normalises:
            rows = dropped(config, rows, dropout, k - 1)
        s, outputs = layer(cell, _noisy(config, cell, p, s, dropout, k), s, rows, named, forget, precision)
        if k and cell.normalises and dropout is not None and config.dropout:  # not what it adds to
            outputs = rows + dropped(config, outputs - rows, dropout, config.layers + k)
        hs, named = hs + outputs if config.residual and k else outputs, None
        after.append(s)
        outs.append(hs)
    hs = jnp.concatenate(outs, -1) if config.skip else hs
    return after, hs if dropout is None or not (config.ar or config.tar) else regularised(config.ar, config.tar, hs)


def _dropped_inputs(config: NetworkConfig, rows: Array, ids: Any, dropout: Array | None) -> Array:
    """What the first layer reads: rows of the embedding, those that ids name."""
    symbols = mask_of(config, "embedding_dropout", dropout, (config.rows, 1))
    inputs = mask_of(config, "input_dropout", dropout, rows.shape)
    rows = rows if symbols is None else rows * symbols[ids]
    return rows if inputs is None else rows * inputs


def _noisy(config: NetworkConfig, cell: Cell, p: Params, state: State, dropout: Array | None, layer: int) -> Params:
    """The parameters of a layer with dropout of its weights, and with the mask of its state, where there is one."""
    of_state = mask_of(config, "state_dropout", dropout, state["h"].shape, layer)
    of_weights = {
        name: own
        for k, name in enumerate(cell.recurrent)
        if (own := mask_of(config, "weight_dropout", dropout, p[name].shape, layer * len(cell.recurrent) + k)) is not None
    }
    p = {**p, **{name: p[name] * own for name, own in of_weights.items()}}
    return p if of_state is None else {**p, "mask": of_state}


def head_inputs(config: NetworkConfig, params: Params, hs: Array, dropout: Array | None) -> Array:
    """The top layer's outputs, normalised, and with dropout in training."""
    hs = normalised(params["head"], hs) if config.head_norm else hs
    return dropped(config, hs, dropout, config.layers - 1, config.output_dropout)


def dropped(config: NetworkConfig, rows: Array, dropout: Array | None, number: int, rate: float | None = None) -> Array:
    """Rows in training: a share of them, the network's `dropout` where no rate is given, becomes 0, the others are scaled up; a
    place in a network has a number of its own."""
    rate = config.dropout if rate is None else rate
    return rows if dropout is None or not rate else rows * mask(jax.random.fold_in(dropout, number), rate, rows.shape)


def read_between(
    config: NetworkConfig,
    precision: str,
    params: Params,
    left: States,
    right: States,
    window: Array,
    beyond: Array | None = None,
    dropout: Array | None = None,
) -> tuple[States, Array]:
    """Read a window [T + 2, B] from both sides; return the left state after it and the head's inputs [T, B, 2 N] for each of the
    T inner symbols.

    Neither stack sees symbol t: the left one has read up to t − 1, the right one from the other end down to t + 1. `left` and
    `right` are their states before the window, `beyond` is as in `read_back`. In training (with `dropout`, a random key) some
    symbols are read as UNK.
    """
    other = None
    if dropout is not None:
        dropout, blanks = jax.random.split(dropout)
        window = jnp.where((window != EOS) & jax.random.bernoulli(blanks, BLANKED, window.shape), UNK, window)
        other = jax.random.fold_in(dropout, config.layers)
    ids = window[:-2]
    left, lefts = read_stack(config, precision, params, params["embedding"], left, ids, _forget(config, ids), dropout)
    _, rights = read_back(config, precision, params, right, window[2:], None if beyond is None else beyond[2:], other)
    return left, head_inputs(config, params, jnp.concatenate([lefts, rights], -1), dropout)


def read_back(
    config: NetworkConfig,
    precision: str,
    params: Params,
    state: States,
    ids: Array,
    beyond: Any = None,
    dropout: Any = None,
    layer: Any = recurrence.layer,
) -> tuple[States, Array]:
    """Read ids [T, B] from the last to the first by the right stack; return its state, and its outputs [T, B, N] after each id.

    `beyond` [T, B] is true behind the end of the text, where each EOS is read from an empty state.
    """
    forget = _forget(config, ids) if beyond is None else _forget(config, ids) | beyond
    back = params["back"]
    after, hs = read_stack(config, precision, back, params["embedding"], state, ids[::-1], forget[::-1], dropout, layer)
    return after, hs[::-1]


def counted(config: NetworkConfig, targets: Array) -> Array:
    """Which targets are counted: all but EOS in a cloze model of independent sequences, whose ends are given."""
    return (targets != EOS) if config.direction == "both" and not config.carry else jnp.ones(targets.shape, bool)


def _factors(params: Params, hs: Array, precision: str) -> tuple[Array, Array, bool]:
    """The vectors and the matrix whose product gives the logits but for the bias, and whether the matrix is transposed."""
    head = params["head"]
    if "W" in head:
        return hs, head["W"], False
    return product(hs, head["P"], precision) if "P" in head else hs, params["embedding"], True


def logits(params: Params, hs: Array, precision: str) -> Array:
    """Logits [..., V] from the head's inputs [..., N]."""
    hs, W, transposed = _factors(params, hs, precision)
    return product(hs, W, precision, transposed) + params["head"]["b"]


def nats(params: Params, hs: Array, targets: Array, precision: str) -> Array:
    """−ln p of each target [T, B], from the head's inputs [T, B, N]; the memory for the gradient is bounded by `KEPT`."""
    b = params["head"]["b"]

    def of(rows: tuple[Array, Array]) -> Array:
        hs, W, transposed = _factors(params, rows[0], precision)
        return cross_entropy.nats(precision, transposed, hs, W, b, rows[1])

    chunks = -(-targets.size // max(1, KEPT // b.size))
    rows = hs.reshape(-1, hs.shape[-1]), targets.reshape(-1)
    return cross_entropy.in_chunks(of if chunks == 1 else jax.checkpoint(of), rows, chunks).reshape(targets.shape)
