"""Defaults that suit an amount of text and a time: network size, batch, window, learning rate, dropout, and when to stop.

With a budget the best of many candidates is chosen, by the loss that the law predicts for what each of them can read in the time
(`law`, `pace`). Without one a table by the size of the text chooses, found by trial on two cores. A strong weight decay
(`TrainingConfig`) helps characters and words, long texts and short ones, more than dropout alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import jax
import numpy as np

from lmgen.defaults.config import TrainingConfig
from lmgen.defaults.law import MANY, Facts, law
from lmgen.defaults.pace import Pace, layer_weights
from lmgen.errors import InputError, LmgenError
from lmgen.labelled.spelling import BUCKETS
from lmgen.loading import choices
from lmgen.nn import model
from lmgen.nn.attention import heads_of
from lmgen.nn.cells import CELLS
from lmgen.nn.model import NetworkConfig
from lmgen.options import table
from lmgen.options.kinds import did_you_mean
from lmgen.system import devices, memory
from lmgen.tasks.sampled import rates_of, room_for

SYMBOLS = 8_000_000  # read by a training without --steps, --epochs or --budget, about: minutes on two cores
MOST_A_STEP = 1 << 24  # symbols in a step
SHORT = 24  # symbols of sequences, on average, that need no long window
DEEP = 3  # layers that need residual connections and layer norm to train
PASSES = 30  # over the text, at most, where no end is given or nothing is validated …
LEAST_STEPS = 1_000  # … but at least this number of steps, which even a poem needs
VALIDATIONS = 40  # of a training, at most, so that three without a better one tell more than chance …
LONGEST = 5_000  # … but steps between two of them at most
START = 3.0  # seconds of a budget that go into compiling, about
TRAINED = 0.9  # the share of the time that is left to training where something is validated


@dataclass(frozen=True)
class Size:
    """Network, batch size and learning rate for up to `symbols` symbols of training text."""

    symbols: float
    size: int
    embedding: int
    batch: int
    learning_rate: float
    layer_norm: bool = False
    layers: int | None = None


CHARACTERS = (
    Size(1e5, 192, 64, 16, 5e-3),
    Size(4e5, 192, 64, 64, 5e-3),
    Size(2e6, 384, 64, 16, 1e-2, layer_norm=True),
    Size(float("inf"), 384, 128, 32, 1e-2, layer_norm=True),
)
WORDS = (Size(3e5, 128, 128, 16, 4e-3), Size(float("inf"), 200, 200, 16, 1e-2, layer_norm=True))
ATTENTION = (Size(1e5, 128, 128, 16, 2e-3), Size(float("inf"), 128, 128, 12, 3e-3))  # for cells that normalise
BLOCKS = {"transformer": 4}  # layers
ON_GPU = ("lstm", "gru")  # cells whose time steps a GPU computes in one kernel
CONTEXT = 64  # symbols that attention sees
SETTINGS = {  # of cells: what they are settings of, and a cell that has it
    **dict.fromkeys(("context", "heads"), ("attention", "transformer")),
    "rank": ("gates in rounds", "lstm-mogrifier"),
}
# What a budget chooses from: every size with every number of layers and every batch size.
SIZES = (128, 192, 256, 384, 512, 640, 768, 1024, 1280, 1536)
LAYERS = (1, 2)
BATCHES = (16, 32, 64, 128)
MOST_MEMBERS = 4  # networks that are averaged where one cannot use the time
NEARLY = 1.001  # the smallest network that comes so close to the lowest loss is chosen
EMBEDDING = 64  # of few kinds of symbols
SAMPLED, SAMPLED_FROM = 2048, 8192  # symbols that a step draws to predict among, where there are SAMPLED_FROM kinds or more
NARROW, WIDE = 96, 256  # the least and the largest embedding of many kinds, …
SHARE, SHARE_SAMPLED = 0.25, 0.5  # … and its share of the size, also where a step predicts among few of them
NORMED = 4e5  # symbols of text from which on layer norm helps
DROPOUTS = {"dropout": 1.0}  # what is dropped, and how much of the rate that the law gives
RATE, RATE_OF = 1e-2, 400  # the peak learning rate of networks up to this size; that of larger ones is in proportion smaller
RATE_WITHOUT_NORM = 5e-3
RATE_SAMPLED = 5e-3  # where a step predicts among few


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
    weights = network.rows * network.embedding + head + layer_weights(network)
    kept = config.symbols * network.layers * network.width * (1 + CELLS[network.cell].gates)
    if network.context and network.heads:  # the weights of attention
        kept += config.symbols * network.layers * network.heads * (network.context + config.window)
    without = network.rows * network.embedding if model.reads_few_rows(network, config.symbols) else 0
    letters = BUCKETS * network.embedding if network.hashed else 0
    return 4 * ((4 + bool(config.average)) * (weights + letters) - without + kept)


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


@dataclass(frozen=True)
class Plan:
    """How a text is to be learnt: the fields of NetworkConfig and TrainingConfig; the steps that this takes, the seconds of a
    step and how they are known; what the law knows of it, and the loss that it predicts against that of an n-gram model."""

    shape: dict[str, Any]
    train: dict[str, Any]
    steps: int
    seconds: float
    source: str
    facts: Facts
    ratio: float
    smaller: Plan | None = None  # the best plans with a smaller and with a larger network, where there was a choice
    larger: Plan | None = None


def choose(corpus: Any, carry: bool, wanted: dict[str, Any], pace: Pace = Pace()) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields of NetworkConfig and TrainingConfig for this corpus; what `wanted` gives (not None) is kept."""
    chosen = plan(corpus, carry, wanted, pace)
    return chosen.shape, chosen.train


def plan(corpus: Any, carry: bool, wanted: dict[str, Any], pace: Pace = Pace()) -> Plan:
    """The best plan for this corpus; what `wanted` gives (not None) is kept. Raises InputError for a step that is too large."""
    given = {name: value for name, value in wanted.items() if value is not None}
    draws = draws_for(len(corpus.vocab), given)
    rates = rates_of(corpus.train, len(corpus.vocab)) if draws else None
    plans = [_planned(fit, corpus, carry, given, pace, rates) for fit in _candidates(corpus, given)]
    best = min(one.ratio for one in plans)
    near = [one for one in plans if one.ratio <= NEARLY * best]
    chosen = min(near, key=lambda one: (one.facts.weights, one.ratio))
    smaller = [one for one in plans if one.facts.weights < chosen.facts.weights]
    larger = [one for one in plans if one.facts.weights > chosen.facts.weights]
    nearest = [min(some, key=lambda one: one.ratio, default=None) for some in (smaller, larger)]
    train = {**chosen.train, **_members(chosen, bool(corpus.valid), given)}
    return replace(chosen, train=train, smaller=nearest[0], larger=nearest[1])


def _members(chosen: Plan, validated: bool, given: Mapping[str, Any]) -> dict[str, int]:
    """Several networks, as many as turn out to fit, where one ends before the time does; unless what is given rules them out."""
    alone = "members" in given or given.get("direction") == "both" or given.get("mixture") is False
    if alone or not validated or "epochs" not in chosen.train or "budget" not in given:
        return {}
    return {"members": MOST_MEMBERS}


def _candidates(corpus: Any, given: Mapping[str, Any]) -> list[Size]:
    """What is to be compared: with a budget every candidate that fits into memory (the least of them if none does), else the one
    that suits the amount of text."""
    symbols, kinds, characters = corpus.train.symbols, len(corpus.vocab), corpus.vocab.unit == "char"
    attends = CELLS[given.get("cell", NetworkConfig.cell)].normalises
    if attends or "budget" not in given:
        fits = ATTENTION if attends else CHARACTERS if characters else WORDS
        return [next(size for size in fits if symbols <= size.symbols)]
    norm, among_few = given.get("layer_norm", symbols > NORMED), draws_for(kinds, given) > 0
    grid = {"size": SIZES, "layers": LAYERS, "batch": BATCHES if corpus.valid else BATCHES[:1]}
    found: dict[Size, int] = {}  # with the memory that each needs
    for size, layers, batch in product(*((given[name],) if name in given else values for name, values in grid.items())):
        narrow = max(NARROW, min(WIDE, round((SHARE_SAMPLED if among_few else SHARE) * size / 16) * 16))
        embedding = narrow if kinds > MANY or not characters else EMBEDDING
        peak = RATE_SAMPLED if among_few else RATE if norm else RATE_WITHOUT_NORM
        rate = float(f"{min(peak, RATE * RATE_OF / size):.2g}")
        network = NetworkConfig(kinds, size=size, layers=layers, embedding=embedding)
        fit = Size(symbols, size, embedding, batch, rate, norm, layers)
        found[fit] = memory_needed(network, TrainingConfig(batch, 64, rate))
    free = memory.available() / 2
    return [fit for fit, needed in found.items() if needed < free] or [min(found, key=lambda fit: found[fit])]


def _planned(fit: Size, corpus: Any, carry: bool, given: dict[str, Any], pace: Pace, rates: np.ndarray | None) -> Plan:
    """The plan of one candidate; `rates` [V] are those of the symbols where a step predicts among few of them."""
    symbols = corpus.train.symbols
    length = MOST_A_STEP if carry else symbols / max(1, corpus.train.sequences)
    train: dict[str, Any] = {
        "batch": min(fit.batch, max(1, symbols // 8)),
        "window": 32 if length < SHORT else 64,
        "learning_rate": fit.learning_rate if given.get("layer_norm") is not False else min(fit.learning_rate, 5e-3),
    }
    train |= {name: given[name] for name in table.names("training", "end") if name in given}
    per_step = train["batch"] * train["window"]
    if per_step > MOST_A_STEP:
        many = f"{train['batch']:,} × {train['window']:,} symbols"
        raise InputError(f"a step of {many} is too large: give a smaller --batch or --window")
    shape = _shape(fit, corpus, given)
    network = NetworkConfig(vocab=len(corpus.vocab), **shape)
    among = None
    if rates is not None:
        train["sampled"] = draws_for(network.vocab, given)
        among = room_for(rates, per_step, train["sampled"])
    seconds = pace.seconds(network, train["batch"], train["window"], among)
    train |= _ends(train, symbols, seconds, bool(corpus.valid), law(network.vocab).most_passes)
    steps = _steps(train, symbols, seconds, bool(corpus.valid))
    facts = Facts(layer_weights(network), symbols, steps * per_step, per_step, length)
    every = facts.weights + network.vocab * (network.embedding + (0 if network.tie else network.outputs))
    rate = law(network.vocab).dropout(every, facts)
    shape |= {name: share * rate for name, share in DROPOUTS.items() if name not in given}
    if corpus.valid:  # a validation costs about a third of training among all: let it take a tenth of the time at most
        cost = corpus.valid.symbols / per_step / 3 * pace.seconds(network, train["batch"], train["window"]) / seconds
        train["validate_every"] = max(10, round(9 * cost), min(LONGEST, steps // VALIDATIONS))
    return Plan(shape, train, steps, seconds, pace.source, facts, law(network.vocab).ratio(facts))


def draws_for(kinds: int, given: Mapping[str, Any]) -> int:
    """The symbols that a step draws to predict among; 0 if it predicts among all kinds."""
    usual = SAMPLED if kinds >= SAMPLED_FROM and given.get("direction") != "both" else 0
    return given.get("sampled", usual)


def _steps(train: Mapping[str, Any], symbols: int, seconds: float, validated: bool) -> int:
    """The steps that a training takes until its end; `seconds` is the time of a step."""
    ends = [train["steps"]] if "steps" in train else []
    if "epochs" in train:
        ends.append(round(train["epochs"] * symbols / (train["batch"] * train["window"])))
    if "budget" in train:
        left = max(train["budget"] / 2, train["budget"] - START)
        ends.append(int((TRAINED if validated else 1) * left / train.get("members", 1) / seconds))
    return max(1, min(ends))


def _ends(train: dict[str, Any], symbols: int, seconds: float, validated: bool, most: int) -> dict[str, Any]:
    """The end of a training that has none; of one with a budget, another end where the time is longer than the text can use."""
    if "steps" in train or "epochs" in train:
        return {}
    a_step = train["batch"] * train["window"]
    if "budget" in train and validated:
        return {"epochs": float(most)} if _steps(train, symbols, seconds, True) * a_step > most * symbols else {}
    passes = PASSES if "budget" in train else min(PASSES, max(3, round(SYMBOLS / max(1, symbols))))
    return {"steps": LEAST_STEPS} if passes * symbols < LEAST_STEPS * a_step else {"epochs": float(passes)}


def _shape(fit: Size, corpus: Any, given: dict[str, Any]) -> dict[str, Any]:
    """The fields of NetworkConfig that are given or suit the text, without dropout where none is given."""
    tie = corpus.vocab.unit != "char" or ("budget" in given and len(corpus.vocab) > MANY)
    shape = {"size": fit.size, "embedding": fit.embedding, "tie": tie, **stacked({"layers": fit.layers, **given}, fit.layer_norm)}
    shape |= {name: given[name] for name in table.names("network") if name in given}
    settings = attending(shape)
    if "rounds" in shape and "rounds" not in CELLS[shape.get("cell", NetworkConfig.cell)].settings:
        raise InputError(
            f"--rounds is a setting of lstm-mogrifier, and the cell is {shape.get('cell', NetworkConfig.cell)}: leave it out"
        )
    fixed = "budget" not in given and shape["tie"]  # the size of a tied embedding, from which no projection leads
    if (fixed or settings) and "embedding" not in given:
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
