"""Defaults that suit labelled text, and what a training on it starts from: vectors made elsewhere, another model."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import numpy as np

from lmgen import loading
from lmgen.data.vocab import EOS, SPECIAL, UNK
from lmgen.defaults import language
from lmgen.errors import InputError
from lmgen.labelled.corpus import LabelledCorpus
from lmgen.labelled.packing import sizes
from lmgen.models.capabilities import RunsCompiled, require
from lmgen.networks import labelling
from lmgen.networks.labelling import LabelConfig
from lmgen.networks.writing import WriterConfig
from lmgen.nn.model import NetworkConfig, Params
from lmgen.options import table

WORDS = {"size": 128, "embedding": 100, "dropout": 0.5}
CHARACTERS = {"size": 128, "embedding": 64, "dropout": 0.4}
WRITING = 128  # the embedding size with which, and with layer norm, samples are more typical of their label
RATE = 3e-3  # with a larger one samples of short texts are less typical, at equal nats
SYMBOLS = 640  # of a step, about
PASSES = 40  # over the text, at most, where no end is given; validation mostly ends a training before …
LEAST_STEPS, LEAST_UNSEEN = 4_000, 1_000  # … but at least this number of steps, fewer where nothing is validated
AVERAGE = 0.99  # decay, a step, of the average of the weights: few held-out texts tell a better step from a lucky one
TAKEN = ("embedding", "layers", "norms")  # from another model


def start_of(wanted: dict[str, Any]) -> RunsCompiled | None:
    """The model that --from names. Raises InputError for one that is no language model."""
    name = wanted.get("from_")
    return None if name is None else require(loading.load(name), RunsCompiled, "give --from a language model")


def choose(
    data: LabelledCorpus, task: str, carry: bool, wanted: dict[str, Any], start: RunsCompiled | None
) -> tuple[NetworkConfig, dict[str, Any]]:
    """The network and the fields of TrainingConfig for this text; what `wanted` gives (not None) is kept.

    Raises InputError for an option that means nothing here.
    """
    if task == "generate":
        given = {name: value for name, value in wanted.items() if value is not None}
        fixed = {"embedding": WRITING, "members": 1, **language.stacked(given, layer_norm=True)}
        if data.train.symbols <= language.NORMED:
            fixed["learning_rate"] = RATE
        fit, pace = language.choose(data, carry, fixed | given)
        names = data.labels
        return WriterConfig(len(data.vocab), **fit, labels=names.labels, several=names.several), pace
    characters = data.vocab.unit == "char"
    given = {name: value for name, value in wanted.items() if value is not None}
    if data.labels.several and given.get("balance"):
        raise InputError("--balance weighs the one label of a text, and here a text may have several: leave it out")
    if "tune" in given and start is None and data.vectors is None:
        raise InputError("--tune is about what --vectors or --from gives: give one of them, or leave it out")
    if "pool" in given and not data.labels.labels:
        raise InputError("--pool is about the labels of texts, and here are only tags: leave it out")
    shape: dict[str, Any] = {**(CHARACTERS if characters else WORDS), "direction": "both", **language.stacked(given)}
    if start:
        shape |= {name: getattr(start.config, name) for name in ("cell", "size", "layers", "embedding", "residual", "layer_norm")}
        shape |= {name: value for name in ("context", "heads") if (value := getattr(start.config, name)) is not None}
    shape |= {name: given[name] for name in table.names("network") if name in given}
    shape |= language.attending(shape)
    frozen = TAKEN * (start is not None and given.get("tune") is False)
    frozen += ("vectors",) * (data.vectors is not None and not given.get("tune"))
    network = LabelConfig(
        vocab=len(data.vocab),
        **shape,
        task=task,
        labels=data.labels.labels,
        tags=data.labels.tags,
        several=data.labels.several,
        pool=given.get("pool", "both"),
        words=data.seen,
        hashed=given.get("input", "symbol" if data.vocab.unit in ("char", "subword") else "hash") == "hash",
        vectors=0 if data.vectors is None else data.vectors.shape[1],
        frozen=frozen,
        balanced=given.get("balance", False),
        loose=data.loose,
    )
    rows = sizes(data.train.lengths)[0]
    train: dict[str, Any] = {
        "batch": max(1, min(64, round(SYMBOLS / rows))),
        "window": rows,
        "learning_rate": RATE,
        "average": AVERAGE,
    }
    train |= {name: given[name] for name in table.names("training", "end") if name in given}
    return network, train | until(train, data, given)


def until(train: dict[str, Any], data: Any, given: dict[str, Any]) -> dict[str, Any]:
    """The end of a training that has none, how often it validates, and how many networks a budget trains."""
    found: dict[str, Any] = {}
    a_step = train["batch"] * train["window"]
    a_pass = max(1, data.train.symbols // a_step)
    least = LEAST_STEPS if data.valid else LEAST_UNSEEN
    if not given.keys() & {"steps", "epochs", "budget"}:
        found = {"steps": least} if PASSES * a_pass < least else {"epochs": float(PASSES)}
    elif "budget" in given:
        found["epochs"] = float(max(PASSES, round(least / a_pass)))
    if data.valid:
        found["validate_every"] = max(20, min(a_pass, 500), round(3 * data.valid.symbols / a_step))
    return found | members(data, given)


def members(data: Any, given: dict[str, Any]) -> dict[str, int]:
    """Of a training with a budget and validation, which one network seldom uses up: as many networks as there is time for."""
    return {"members": language.MOST_MEMBERS} if "budget" in given and data.valid and "members" not in given else {}


def given(network: Any, data: Any, start: RunsCompiled | None) -> Params:
    """The parameters with which a network of labelled text begins: vectors made elsewhere, and what is taken from another model.

    A symbol that the other model does not know has its vector of UNK, as that model reads it. Raises InputError for a model of
    another shape and for one that knows no symbol of the text.
    """
    vectors = {} if data.vectors is None else {"vectors": np.asarray(data.vectors)}
    if start is None:
        return vectors
    rows = np.array([EOS, UNK, *(start.vocab.ids.get(symbol, UNK) for symbol in data.vocab.symbols[: data.seen - SPECIAL])])
    if (rows <= UNK).all():
        raise InputError("the model of --from knows no symbol of this text: give one that was trained on such text")
    taken = {name: jax.tree.map(np.asarray, start.params[name]) for name in TAKEN if name in start.params}
    taken["embedding"] = taken["embedding"][rows]
    fresh = jax.eval_shape(partial(labelling.init, network), jax.random.key(0))
    ours, theirs = ({name: jax.tree.map(np.shape, some.get(name)) for name in TAKEN} for some in (fresh, taken))
    if ours != theirs:
        shape = f"{start.config.describe()}, embedding {start.config.embedding}"
        raise InputError(f"the layers of --from ({shape}) do not fit: leave out --vectors and the options of the network")
    return vectors | taken
