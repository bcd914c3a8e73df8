"""Defaults that suit an amount of text: network size, batch, window, learning rate, dropout, and when to stop.

Found by trial on two cores: more text supports a larger network, and text that is read more often needs more dropout. A strong
weight decay (`TrainingConfig`) helps characters and words, long texts and short ones, more than dropout alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax

from lmgen.defaults.config import TrainingConfig
from lmgen.errors import InputError, LmgenError
from lmgen.labelled.spelling import BUCKETS
from lmgen.loading import choices
from lmgen.nn import model, native
from lmgen.nn.attention import heads_of
from lmgen.nn.cells import CELLS
from lmgen.nn.model import NetworkConfig
from lmgen.options import table
from lmgen.options.kinds import did_you_mean
from lmgen.system import devices, memory

SYMBOLS = 8_000_000  # read by a training without --steps, --epochs or --budget, about: minutes on two cores
MOST_A_STEP = 1 << 24  # symbols in a step
DEEP = 3  # layers that need residual connections and layer norm to train
HASTE = 1_000_000  # symbols: a budget that reads fewer in all learns more with a smaller network
PASSES = 30  # over the text, at most, where no end is given or nothing is validated …
LEAST_STEPS = 1_000  # … but at least this number of steps, which even a poem needs
ENOUGH_PASSES = 100  # validation has ended a training by then
PACE, PACE_COMPILED = 75e9, 250e9  # multiply-adds a second, roughly, without and with kernels: to estimate what a budget reads


@dataclass(frozen=True)
class Size:
    """Network, batch size and learning rate for up to `symbols` symbols of training text."""

    symbols: float
    size: int
    embedding: int
    batch: int
    learning_rate: float
    layer_norm: bool = False


CHARACTERS = (
    Size(1e5, 192, 64, 16, 5e-3),
    Size(4e5, 192, 64, 64, 5e-3),
    Size(2e6, 384, 64, 16, 1e-2, layer_norm=True),
    Size(float("inf"), 384, 128, 32, 1e-2, layer_norm=True),
)
IN_HASTE = Size(float("inf"), 256, 64, 16, 1e-2, layer_norm=True)  # for characters and a short budget
WORDS = (Size(3e5, 128, 128, 16, 4e-3), Size(float("inf"), 200, 200, 16, 1e-2, layer_norm=True))
ATTENTION = (Size(1e5, 128, 128, 16, 2e-3), Size(float("inf"), 128, 128, 12, 3e-3))  # for cells that normalise
BLOCKS = {"transformer": 4}  # layers
ON_GPU = ("lstm", "gru")  # cells whose time steps a GPU computes in one kernel
CONTEXT = 64  # symbols that attention sees
SETTINGS = {  # of cells: what they are settings of, and a cell that has it
    **dict.fromkeys(("context", "heads"), ("attention", "transformer")),
    "rank": ("gates in rounds", "lstm-mogrifier"),
}
# (passes over the text, dropout): the more often a text is read, the more dropout.
DROPOUT = ((4, 0.0), (15, 0.1), (50, 0.2), (150, 0.3), (float("inf"), 0.5))


def check(wanted: Mapping[str, Any]) -> None:
    """Raise InputError for an unknown cell or direction, and where JAX cannot compute."""
    devices.check()
    for name in ("cell", "direction"):
        if (value := wanted.get(name)) is not None and value not in (known := choices(name)):
            meant = did_you_mean(value, known) or f": choose from {', '.join(known)}"
            raise InputError(f"there is no {name} {value!r}{meant}")
    cell = wanted.get("cell") or NetworkConfig.cell
    own: Any = CELLS.get(cell)
    for name, (what, other) in SETTINGS.items():
        if wanted.get(name) is not None and name not in getattr(own, "settings", ()):
            raise InputError(f"--{name} is a setting of {what}, which {cell} has not: leave it out, or give --cell {other}")
    if wanted.get("skip") and own and own.normalises:
        raise InputError(
            f"--skip is for recurrent layers, and {cell} has connections of its own: leave it out, or give --cell lstm"
        )
    for name in ("state_dropout", "weight_dropout"):
        if wanted.get(name) and own and (own.normalises or not own.recurrent):
            flag = f"--{name.replace('_', '-')}"
            raise InputError(
                f"{flag} is dropout of the recurrent products, which {cell} has not: leave it out, or give --cell lstm"
            )


def slow(wanted: Mapping[str, Any]) -> str:
    """A sentence about what makes a training slow; empty where nothing does."""
    cell = wanted.get("cell") or NetworkConfig.cell
    if wanted.get("state_dropout") and cell in ON_GPU and jax.default_backend() == "gpu":
        return "warning: with --state-dropout a GPU computes one time step after the other, which is several times slower"
    return ""


def memory_needed(network: NetworkConfig, config: TrainingConfig) -> int:
    """The bytes that training takes at least: weights, gradient and two moments, and the activations that a gradient needs.

    An embedding of which a step reads few rows has no gradient of its own size.
    """
    head = 0 if network.tie else network.classes * network.outputs
    weights = network.rows * network.embedding + head + _layer_weights(network)
    kept = config.symbols * network.layers * network.width * (1 + CELLS[network.cell].gates)
    if network.context and network.heads:  # the weights of attention
        kept += config.symbols * network.layers * network.heads * (network.context + config.window)
    without = network.rows * network.embedding if model.reads_few_rows(network, config.symbols) else 0
    letters = BUCKETS * network.embedding if network.hashed else 0
    return 4 * ((4 + bool(config.average)) * (weights + letters) - without + kept)


def _layer_weights(network: NetworkConfig) -> int:
    """The number of weights in the layers, of all stacks."""
    gates, recurrent = CELLS[network.cell].gates, sum(CELLS[network.cell].recurrent.values())
    inputs = network.embedding + (network.layers - 1) * (network.size + network.embedding * network.skip)
    return network.width * (gates * inputs + recurrent * network.layers * network.size)


def speed(network: NetworkConfig) -> float:
    """Symbols a second in training, roughly: each is multiplied with the weights of the layers and the head, three times."""
    kernels = native.kind("f32") and network.cell in native.CELLS
    return (PACE_COMPILED if kernels else PACE) / (3 * (_layer_weights(network) + network.vocab * network.outputs))


def check_memory(network: NetworkConfig, config: TrainingConfig) -> None:
    """Raise LmgenError for a training on a CPU that needs more memory than is free."""
    if jax.default_backend() == "cpu" and memory_needed(network, config) > memory.available():
        raise LmgenError(too_large(network, config))


def too_large(network: NetworkConfig, config: TrainingConfig, asked: int = 0) -> str:
    """The sentence for a training that does not fit: the memory it needs, and the three smaller settings that save the most."""
    smaller = {
        f"size {max(1, network.size // 2)}": (replace(network, size=max(1, network.size // 2)), config),
        f"embedding {max(1, network.embedding // 2)}": (replace(network, embedding=max(1, network.embedding // 2)), config),
        f"vocab-size {max(3, network.vocab // 2)}": (replace(network, vocab=max(3, network.vocab // 2)), config),
        f"batch {max(1, config.batch // 2)}": (network, replace(config, batch=max(1, config.batch // 2))),
        f"window {max(1, config.window // 2)}": (network, replace(config, window=max(1, config.window // 2))),
    }
    ways = [f"--{way}" for way in sorted(smaller, key=lambda way: memory_needed(*smaller[way]))[:3]]
    needed, free = max(memory_needed(network, config), asked), memory.available()
    takes, have = (f"{n / 1e9:,.1f} GB" if n >= 1e9 else f"{n / 1e6:,.1f} MB" for n in (needed, free))
    less = f" and {have} are free" if free < float("inf") else ""
    return f"not enough memory: this training takes {takes} or more{less}; give {', '.join(ways[:-1])} or {ways[-1]}"


def choose(corpus: Any, carry: bool, wanted: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields of NetworkConfig and TrainingConfig for this corpus; what `wanted` gives (not None) is kept."""
    symbols, characters = corpus.train.symbols, corpus.vocab.unit == "char"
    attends = CELLS[wanted.get("cell") or NetworkConfig.cell].normalises
    fit = next(size for size in (ATTENTION if attends else CHARACTERS if characters else WORDS) if symbols <= size.symbols)
    shape = _shape(fit, not characters, wanted)
    a_second = speed(NetworkConfig(vocab=len(corpus.vocab), **shape))
    if not attends and fit.size > IN_HASTE.size and wanted.get("budget") is not None and wanted["budget"] * a_second < HASTE:
        fit, shape = IN_HASTE, _shape(IN_HASTE, not characters, wanted)
    short = not carry and symbols / max(1, corpus.train.sequences) < 24
    train: dict[str, Any] = {
        "batch": min(fit.batch, max(1, symbols // 8)),
        "window": 32 if short else 64,
        "learning_rate": fit.learning_rate if wanted.get("layer_norm") is not False else min(fit.learning_rate, 5e-3),
    }
    train |= {name: wanted[name] for name in table.names("training", "end") if wanted.get(name) is not None}
    per_step = train["batch"] * train["window"]
    if per_step > MOST_A_STEP:
        many = f"{train['batch']:,} × {train['window']:,} symbols"
        raise InputError(f"a step of {many} is too large: give a smaller --batch or --window")
    train |= _ends(train, symbols, bool(corpus.valid))
    if wanted.get("dropout") is None:
        read = {"epochs": symbols, "steps": per_step, "budget": a_second}  # symbols in a unit of each end
        passes = min(train[name] * each / max(1, symbols) for name, each in read.items() if name in train)
        passes = min(passes, ENOUGH_PASSES) if corpus.valid else passes
        shape["dropout"] = next(rate for most, rate in DROPOUT if passes <= most)
    if corpus.valid:  # a validation costs about a third of training on the same symbols: let it take a tenth of the time at most
        cost = corpus.valid.symbols / per_step / 3
        train["validate_every"] = max(10, round(9 * cost), min(250, symbols // per_step))
    return shape, train


def _ends(train: dict[str, Any], symbols: int, validated: bool) -> dict[str, Any]:
    """The end of a training that has none, or only a budget and no validation that could end it earlier."""
    if "steps" in train or "epochs" in train or ("budget" in train and validated):
        return {}
    passes = PASSES if "budget" in train else min(PASSES, max(3, round(SYMBOLS / max(1, symbols))))
    few = passes * symbols < LEAST_STEPS * train["batch"] * train["window"]
    return {"steps": LEAST_STEPS} if few else {"epochs": float(passes)}


def _shape(fit: Size, words: bool, wanted: dict[str, Any]) -> dict[str, Any]:
    """The fields of NetworkConfig that are wanted or suit the text, without dropout where none is wanted."""
    shape = {"size": fit.size, "embedding": fit.embedding, "tie": words, **stacked(wanted, fit.layer_norm)}
    shape |= {name: wanted[name] for name in table.names("network") if wanted.get(name) is not None}
    settings = attending(shape)
    if "rounds" in shape and "rounds" not in CELLS[shape.get("cell", NetworkConfig.cell)].settings:
        raise InputError(
            f"--rounds is a setting of lstm-mogrifier, and the cell is {shape.get('cell', NetworkConfig.cell)}: leave it out"
        )
    if (shape["tie"] or settings) and wanted.get("embedding") is None:
        shape["embedding"] = shape["size"]
    return shape | settings


def stacked(wanted: Mapping[str, Any], layer_norm: bool = False) -> dict[str, Any]:
    """The number of layers, and what stands around them: nothing around a cell that has residual connections and layer norm."""
    cell = wanted.get("cell") or NetworkConfig.cell
    layers = wanted.get("layers") or BLOCKS.get(cell, 1)
    deep = layers >= DEEP
    around = {"residual": deep, "layer_norm": deep or layer_norm}
    return {"layers": layers, **(dict.fromkeys(around, False) if CELLS[cell].normalises else around)}


def attending(shape: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a cell with attention, chosen where they are not given; nothing for another cell.

    Raises InputError for a number of heads that does not divide the size.
    """
    if "heads" not in CELLS[shape.get("cell", NetworkConfig.cell)].settings:
        return {}
    chosen = {"context": CONTEXT, "heads": heads_of(shape["size"])}
    found = {name: shape.get(name, value) for name, value in chosen.items()}
    if shape["size"] % found["heads"]:
        raise InputError(f"--size {shape['size']} cannot be divided into {found['heads']} heads: give another --heads or --size")
    return found
