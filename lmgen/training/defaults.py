"""Defaults that work: the size, the batch, the window and the pace that suit an amount of text, with the reasons.

Found by trial on two cores: more text bears a larger network, and text that is read oftener wants more dropout. A strong
weight decay (training.Config) serves characters and words, much text and little, better than dropout does alone.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax

from lmgen.data.corpus import Corpus
from lmgen.errors import InputError, LmgenError
from lmgen.models.loading import choices
from lmgen.nn import model, native
from lmgen.nn.cells import CELLS
from lmgen.options import table
from lmgen.system import devices, memory
from lmgen.training import loop

SYMBOLS = 8_000_000  # about what a training without --steps, --epochs or --budget reads: minutes on two cores
MOST_A_STEP = 1 << 24  # symbols
DEEP = 3  # layers, from which on residual connections and layer norm are what makes them train
HASTE = 1_000_000  # symbols that a budget reads in all, below which a smaller network learns more of them
PASSES = 30  # over the text, at most, where no end is given or no validation says when to stop …
LEAST_STEPS = 1_000  # … but as many steps as this: what even a poem takes to be learnt
ENOUGH_PASSES = 100  # after which validation has ended a training, whatever time is left
PACE, PACE_COMPILED = 75e9, 250e9  # multiply-adds a second, roughly, without kernels and with them: what a budget comes to


@dataclass(frozen=True)
class Size:
    """The network, and the columns read side by side, for up to `symbols` symbols of training text."""

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
IN_HASTE = Size(float("inf"), 256, 64, 16, 1e-2, layer_norm=True)  # for characters, where a budget reads fewer than HASTE
WORDS = (
    Size(3e5, 128, 128, 16, 4e-3),
    Size(float("inf"), 200, 200, 16, 1e-2, layer_norm=True),
)
# Dropout for up to so many passes over the text: the oftener the same text is read, the more.
DROPOUT = ((4, 0.0), (15, 0.1), (50, 0.2), (150, 0.3), (float("inf"), 0.5))


def check(wanted: Mapping[str, Any]) -> None:
    """Raise InputError for a cell or a direction that there is not, and where JAX cannot compute."""
    devices.check()
    for name in ("cell", "direction"):
        value, known = wanted.get(name), choices(name)
        if value is not None and value not in known:
            near = difflib.get_close_matches(str(value), known, 1)
            meant = f"did you mean {near[0]}? There are" if near else "choose from"
            raise InputError(f"there is no {name} {value!r}: {meant} {', '.join(known)}")


def need(network: model.NetworkConfig, config: loop.TrainingConfig) -> int:
    """The bytes that a training takes at least: four numbers for each weight (itself, its gradient, two moments), three for those
    of an embedding of which a step reads few rows, and what the layers keep of a step."""
    weights = network.vocab * (network.embedding + (0 if network.tie else network.outputs)) + _of_layers(network)
    kept = config.batch * config.window * network.layers * network.outputs * (1 + CELLS[network.cell].gates)
    without = network.vocab * network.embedding if model.reads_few_rows(network, config.batch * config.window) else 0
    return 4 * (4 * weights - without + kept)


def _of_layers(network: model.NetworkConfig) -> int:
    """How many weights the layers have, in all stacks."""
    gates, recurrent = CELLS[network.cell].gates, sum(CELLS[network.cell].recurrent.values())
    inputs = network.embedding + (network.layers - 1) * network.size
    return network.outputs * (gates * inputs + recurrent * network.layers * network.size)


def speed(network: model.NetworkConfig) -> float:
    """About how many symbols a second a training reads: each is multiplied with the weights of the layers and of the head, and
    in two ways back."""
    kernels = native.kind("f32") and network.cell in native.CELLS
    return (PACE_COMPILED if kernels else PACE) / (3 * (_of_layers(network) + network.vocab * network.outputs))


def check_memory(network: model.NetworkConfig, config: loop.TrainingConfig) -> None:
    """LmgenError for a training that takes more memory than this machine has, before it takes it; a GPU has its own."""
    if jax.default_backend() == "cpu" and need(network, config) > memory.available():
        raise LmgenError(too_large(network, config))


def too_large(network: model.NetworkConfig, config: loop.TrainingConfig, asked: int = 0) -> str:
    """That the memory does not suffice, what is needed, and three smaller settings: those that spare the most."""
    least = need(network, config)
    smaller = {
        "size": (network.size, replace(network, size=max(1, network.size // 2)), config),
        "embedding": (network.embedding, replace(network, embedding=max(1, network.embedding // 2)), config),
        "vocab-size": (network.vocab, replace(network, vocab=max(3, network.vocab // 2)), config),
        "batch": (config.batch, network, replace(config, batch=max(1, config.batch // 2))),
        "window": (config.window, network, replace(config, window=max(1, config.window // 2))),
    }
    best = sorted(smaller, key=lambda name: need(*smaller[name][1:]))[:3]
    ways = [f"--{name} {smaller[name][0] // 2 or 1}" for name in best]
    free = memory.available()
    return (
        f"the memory does not suffice: this training takes {_bytes(max(least, asked))} or more"
        + (f" and {_bytes(free)} are free" if free < float("inf") else "")
        + f"; give {', '.join(ways[:-1])} or {ways[-1]}"
    )


def _bytes(count: float) -> str:
    """Bytes as people read them."""
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count:,.0f} bytes"


def choose(corpus: Corpus, carry: bool, wanted: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields of model.Config and training.Config for this corpus; what the user wants (what is not None) stands."""
    symbols = corpus.train.symbols
    characters = corpus.vocab.unit == "char"
    fit = next(size for size in (CHARACTERS if characters else WORDS) if symbols <= size.symbols)
    shape = _shape(fit, not characters, wanted)
    a_second = speed(model.NetworkConfig(vocab=len(corpus.vocab), **shape))
    if fit.size > IN_HASTE.size and wanted.get("budget") is not None and wanted["budget"] * a_second < HASTE:
        fit = IN_HASTE
        shape = _shape(fit, not characters, wanted)
    short = not carry and symbols / max(1, corpus.train.sequences) < 24
    train: dict[str, Any] = {
        "batch": min(fit.batch, max(1, symbols // 8)),
        "window": 32 if short else 64,
        "learning_rate": fit.learning_rate if wanted.get("layer_norm") is not False else min(fit.learning_rate, 5e-3),
    }
    train |= {name: wanted[name] for name in table.names("training", "end") if wanted.get(name) is not None}
    per_step = train["batch"] * train["window"]
    if per_step > MOST_A_STEP:
        raise InputError(
            f"a step of {train['batch']:,} × {train['window']:,} symbols is too large: give a smaller --batch or --window"
        )
    train |= _ends(train, symbols, bool(corpus.valid))
    if wanted.get("dropout") is None:
        passes = min(_passes(train, symbols, a_second), ENOUGH_PASSES if corpus.valid else float("inf"))
        shape["dropout"] = next(rate for most, rate in DROPOUT if passes <= most)
    if corpus.valid:  # a validation costs about a third of training on the same symbols: let it take a tenth of the time at most
        cost = corpus.valid.symbols / per_step / 3
        train["validate_every"] = max(10, round(9 * cost), min(250, symbols // per_step))
    return shape, train


def _ends(train: dict[str, Any], symbols: int, validated: bool) -> dict[str, Any]:
    """The end of a training that has none, or has a budget alone and no validation to end it before."""
    if "steps" in train or "epochs" in train or ("budget" in train and validated):
        return {}
    passes = PASSES if "budget" in train else min(PASSES, max(3, round(SYMBOLS / max(1, symbols))))
    few = passes * symbols < LEAST_STEPS * train["batch"] * train["window"]
    return {"steps": LEAST_STEPS} if few else {"epochs": float(passes)}


def _shape(fit: Size, words: bool, wanted: dict[str, Any]) -> dict[str, Any]:
    """The fields of model.Config, without dropout where none is wanted."""
    deep = (wanted.get("layers") or 1) >= DEEP
    shape: dict[str, Any] = {
        "cell": "lstm",
        "size": fit.size,
        "layers": 1,
        "residual": deep,
        "layer_norm": deep or fit.layer_norm,
        "direction": "forward",
        "embedding": fit.embedding,
        "tie": words,
        "dropout": 0.0,
    }
    shape |= {name: wanted[name] for name in shape if wanted.get(name) is not None}
    if shape["tie"] and wanted.get("embedding") is None:
        shape["embedding"] = shape["size"]
    return shape


def _passes(train: dict[str, Any], symbols: int, a_second: float) -> float:
    """How often a text of so many symbols will be read, at so many a second, by what ends the training first."""
    read = {"epochs": symbols, "steps": train["batch"] * train["window"], "budget": a_second}
    return min(train[name] * each / max(1, symbols) for name, each in read.items() if name in train)
