"""Defaults that suit pairs of a source and a target."""

from __future__ import annotations

from typing import Any

from lmgen.defaults import language
from lmgen.errors import InputError
from lmgen.labelled.packing import sizes
from lmgen.networks.translating import TranslatorConfig
from lmgen.options import table
from lmgen.structured.bitext import PairCorpus

WORDS = {"size": 256, "embedding": 256, "dropout": 0.3, "tie": True, "smoothing": 0.1}
CHARACTERS = {"size": 256, "embedding": 64, "dropout": 0.1, "tie": False, "smoothing": 0.0}
SYMBOLS = 2_048  # of a step, about, sources included …
FEW = 512  # … and where there are few
PASSES = 30  # over the text, at most, where no end is given
LEAST_STEPS = 1_000


def choose(
    data: PairCorpus, task: str, carry: bool, wanted: dict[str, Any], start: None
) -> tuple[TranslatorConfig, dict[str, Any]]:
    """The network and the fields of TrainingConfig for this text; what `wanted` gives (not None) is kept.

    A step of a text with many kinds of target symbols predicts among few, as for language models, but for copying: the mixture
    of both needs probabilities. Raises InputError for copying without attention, or with `sampled`.
    """
    given = {name: value for name, value in wanted.items() if value is not None}
    if given.get("copy") and given.get("attention") is False:
        raise InputError("--copy copies what attention looks at: leave out --no-attention, or --copy")
    if given.get("copy") and given.get("sampled"):
        raise InputError("--copy needs the probabilities of all words, and --sampled predicts among few: leave out one of them")
    characters = data.vocab.unit == "char"
    shape: dict[str, Any] = CHARACTERS if characters else WORDS
    shape = shape | {name: given[name] for name in (*table.names("network"), "attention", "copy", "smoothing") if name in given}
    shape = {**language.stacked(given), **shape}
    shape |= language.attending(shape)
    network = TranslatorConfig(len(data.vocab), **shape, targets=data.targets)
    rows, symbols = sizes(data.train.lengths)[0], int(data.train.lengths.sum())
    step = SYMBOLS if symbols > 200 * SYMBOLS else FEW
    train: dict[str, Any] = {"batch": max(1, round(step / rows)), "window": rows, "learning_rate": 3e-3}
    train["sampled"] = 0 if network.copy else language.draws_for(data.targets, given)
    train |= {name: given[name] for name in table.names("training", "end") if name in given}
    a_pass = max(1, symbols // (train["batch"] * train["window"]))
    if not given.keys() & {"steps", "epochs", "budget"}:
        train |= {"steps": LEAST_STEPS} if PASSES * a_pass < LEAST_STEPS else {"epochs": float(PASSES)}
    elif "budget" in given and not data.valid:
        train["epochs"] = float(max(PASSES, LEAST_STEPS / a_pass))
    if data.valid:
        cost = int(data.valid.lengths.sum()) / (train["batch"] * train["window"]) / 3
        train["validate_every"] = max(20, min(a_pass, 500), round(9 * cost))
    return network, train
