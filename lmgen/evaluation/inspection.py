"""What the units of a network do while it reads a text: the state and the gates of every layer at every symbol.

Shapes: T symbols of the text, N units of a layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from lmgen.applied.labeller import Labeller
from lmgen.applied.translator import Translator
from lmgen.data.vocab import EOS, UNK, Vocab
from lmgen.errors import InputError
from lmgen.generation.sampling import BETWEEN
from lmgen.labelled import packing
from lmgen.labelled.corpus import encode
from lmgen.labelled.examples import Example
from lmgen.models.capabilities import Model, ShowsUnits, finite, require
from lmgen.networks import labelling, translating
from lmgen.nn import model, units
from lmgen.nn.model import NetworkConfig, Params

LEAST_ROWS = 32  # a text is padded to powers of two from here on: few shapes to compile
SHOWN = "hcifogzrn"  # the order of a layer's arrays
CONSTANT = 1e-6  # a unit whose values deviate less than this has no correlation


class Layer(NamedTuple):
    """A layer: its title, and [T, N] by name what its units were after each symbol: "h", "c" and the gates of its cell."""

    title: str
    units: dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Trace:
    """What a network held while it read a text: the `pieces` of the text, one for each symbol, and the layers. Those that read
    from the right stand behind the others."""

    pieces: tuple[str, ...]
    layers: tuple[Layer, ...]


class Match(NamedTuple):
    """How well a unit marks a part of a text: the correlation of its values with being inside, and its mean inside and outside.
    Layer and unit count from 0."""

    layer: int
    unit: int
    correlation: float
    inside: float
    outside: float


def spelt(vocab: Vocab, sequence: str, text: str) -> tuple[list[str], np.ndarray]:
    """The pieces of a text, which joined are the text as the model reads it, and the id of each; an EOS is where a sequence ends.

    A text of several sequences is cut where these end in the corpus; of what follows the last end, no EOS is read.
    """
    between = BETWEEN[sequence]
    pieces: list[str] = []
    ids: list[np.ndarray] = []
    text = vocab.normal.of(text)
    for number, part in enumerate(text.split(between) if between else [text]):
        if number:
            pieces.append(between)
            ids.append(np.array([EOS], vocab.dtype))
        last = 0
        for symbol, (start, end) in zip(vocab.split(part), vocab.places(part).tolist(), strict=True):
            shown = vocab.shown(symbol)  # of a part of a character its bytes
            pieces.append(part[last:start] + (part[start:end] if shown == symbol else shown))
            last = end
        ids.append(vocab.encode(part))
    return pieces, np.concatenate(ids).astype(np.int32)


def layers(lm: Model) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The title of each layer, and the names of what is held by its N units; nothing is computed.

    Raises InputError for a model that has no units to show.
    """
    lm = _shows_units(lm)
    inputs, read = _reading(lm, np.array([UNK]), [])
    found = jax.eval_shape(partial(_traced, read, lm.config, lm.precision), lm.params, inputs)
    return tuple((title, tuple(sorted(values, key=SHOWN.index))) for title, values in _titled(found))


def trace(lm: Model, text: str) -> Trace:
    """What every layer of a network holds after each symbol of a text; of pairs, after each symbol of a source.

    Raises InputError for a model that has no units to show, and for a text without symbols.
    """
    lm = _shows_units(lm)
    text = lm.apart(text) if isinstance(lm, Labeller) else text
    pieces, ids = spelt(lm.vocab, "file" if isinstance(lm, Labeller | Translator) else lm.sequence, text)
    if not pieces:
        raise InputError("there is no symbol in this text: write some")
    others: list[str] = []
    if isinstance(lm, Labeller):
        coded = encode([Example(text)], lm.vocab, lm.labels)
        ids, others = coded.stream[int(coded.starts[0]) :][: len(ids)], coded.others
    inputs, read = _reading(lm, ids, others)
    found = _traced(read, lm.config, lm.precision, lm.params, inputs)
    traced = []
    for title, values in _titled(found):
        arrays = {name: finite(np.asarray(values[name]))[1 : len(ids) + 1, 0] for name in sorted(values, key=SHOWN.index)}
        traced.append(Layer(title, arrays))
    return Trace(tuple(pieces), tuple(traced))


def _shows_units(lm: Model) -> ShowsUnits:
    return require(lm, ShowsUnits, "choose a recurrent model of text, labels or pairs")


def _reading(lm: Any, ids: np.ndarray, others: list[str]) -> tuple[Any, Callable]:
    """What a network reads of a text, in one column whose row k + 1 has the k-th of the ids, and the function that reads it;
    `others` are the words that the ids from V on stand for."""
    rows = max(LEAST_ROWS, 1 << (len(ids) + 1).bit_length())
    if isinstance(lm, Labeller):
        block = packing.block([[0]], np.array([0]), np.array([len(ids)]), rows, 1, 1)
        return labelling.inputs_of(ids, block, lm.spelt(others)), labelling.read
    window, places = np.full((rows, 1), EOS, np.int32), np.arange(rows)[:, None]
    window[1 : len(ids) + 1, 0] = ids
    if isinstance(lm, Translator):
        window[len(ids) + 1] = lm.config.separator
        source = (places > 0) & (places <= len(ids))
        return translating.Inputs(window, np.zeros_like(window), source, places == 0, np.zeros(1, np.int32)), translating.sides
    return (window, places > len(ids)), _sides


def _sides(config: NetworkConfig, precision: str, params: Params, inputs: tuple[Array, Array], layers: tuple[Any, Any]) -> None:
    """Read a text by the stack from the left and by that from the right, where there is one."""
    ids, beyond = inputs
    start = model.start(config, 1)
    model.read(config, precision, params, start, ids, layer=layers[0])
    if "back" in params:
        model.read_back(config, precision, params, start, ids, beyond, layer=layers[1])


def _titled(stacks: list[list[Any]]) -> Iterator[tuple[str, Any]]:
    """The layers of both stacks with their titles."""
    for stack, side in zip(stacks, ("", ", from the right"), strict=True):
        for number, each in enumerate(stack, 1):
            yield f"layer {number}{side}", each


@partial(jax.jit, static_argnums=(0, 1, 2))
def _traced(read: Callable, config: Any, precision: str, params: Params, inputs: Any) -> list[list[dict[str, Any]]]:
    """For each stack what each of its layers holds, [rows, 1, N] by name."""
    left: list[Any] = []
    right: list[Any] = []
    read(config, precision, params, inputs, layers=(units.watched(left), units.watched(right)))
    return [left, [{name: jnp.flip(value, 0) for name, value in each.items()} for each in right]]


def matches(found: Trace, start: int, end: int, of: str = "h") -> list[Match]:
    """The units of all layers, those first that tell the symbols from `start` to `end` from all others best: by the size of the
    correlation of their values with being inside (point-biserial). It is below 0 where a unit is lower inside than outside.

    Raises InputError where no symbol is inside, or none outside.
    """
    symbols = len(found.pieces)
    inside = np.zeros(symbols, bool)
    inside[max(0, start) : max(0, end)] = True
    if inside.all() or not inside.any():
        raise InputError("choose a part of the text: some symbols inside of it, and some outside")
    marks = (inside - inside.mean()) / inside.std()
    matched = []
    for number, layer in enumerate(found.layers):
        values = layer.units[of].astype(np.float64)
        means, deviations = values.mean(0), values.std(0)
        correlations = np.where(deviations > CONSTANT, marks @ (values - means) / symbols / np.maximum(deviations, CONSTANT), 0)
        rows = zip(correlations, values[inside].mean(0), values[~inside].mean(0), strict=True)
        matched += [Match(number, unit, *map(float, row)) for unit, row in enumerate(rows)]
    return sorted(matched, key=lambda match: -abs(match.correlation))
