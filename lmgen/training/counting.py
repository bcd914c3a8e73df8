"""Fitting n-gram models to a corpus; the order is chosen on validation text unless it is given."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lmgen._version import __version__
from lmgen.data import corpus
from lmgen.data.vocab import Vocab
from lmgen.errors import InputError
from lmgen.models import ngram, provenance, scoring
from lmgen.system import arrayfile, checkpoint, directories, files
from lmgen.training.card import card, of_text, reading

HIGHEST, HIGHEST_OF_WORDS = 16, 6  # the highest order that is tried, of characters and of words
UNTRIED, UNTRIED_OF_WORDS = 6, 3  # the order where there is no validation text


@dataclass(frozen=True)
class Fitted:
    """An n-gram model, and of each order that was tried the mean nats of the validation text."""

    lm: ngram.NGramModel
    tried: dict[int, float]

    @property
    def ngrams(self) -> int:
        """How many n-grams it holds, of all lengths."""
        return sum(len(level.keys) for level in self.lm.levels)


def fitted(
    train: np.ndarray, valid: np.ndarray | None, vocab: Vocab, carry: bool, order: int | None = None, **attributes: Any
) -> Fitted:
    """Count a stream of ids and smooth the counts; `attributes` are those of NGramModel.

    Without `order`, orders from 1 upwards are tried on the validation stream until one more does not help. Raises InputError for
    an order out of range.
    """
    if order is not None and not 1 <= order <= ngram.MOST:
        raise InputError(f"order {order} cannot be used: give 1 to {ngram.MOST}")
    counts, characters = ngram.Counts(train, len(vocab), carry), vocab.unit == "char"

    def of(order: int) -> ngram.NGramModel:
        config = ngram.NGramConfig(len(vocab), order, carry)
        return ngram.NGramModel(config, ngram.smoothed(counts, order), vocab, **attributes)

    if order is not None or valid is None:
        return Fitted(of(order or (UNTRIED if characters else UNTRIED_OF_WORDS)), {})
    tried: dict[int, float] = {}
    best = None
    for candidate in range(1, (HIGHEST if characters else HIGHEST_OF_WORDS) + 1):
        model = of(candidate)
        tried[candidate] = float(scoring.stream_nats(model, valid, exact=False).mean(dtype=np.float64))
        if best and tried[candidate] >= tried[best.config.order]:
            break
        best = model
    assert best
    return Fitted(best, tried)


def new(
    place: directories.Place, text: provenance.TextSettings, order: int | None = None, **vocabulary: Any
) -> tuple[Fitted, corpus.Corpus]:
    """Read the text, fit a model to it and write its directory; `vocabulary` holds options of the vocabulary.

    Raises InputError for a text or an order that cannot be used.
    """
    begun = time.monotonic()
    data, carry = text.load(**vocabulary), vocabulary.get("carry", False)
    text = replace(text, split=data.split)
    valid = data.valid.stream if data.valid else None
    found = fitted(data.train.stream, valid, data.vocab, carry, order, provenance=provenance.Provenance(text, data.known))
    nats = None
    if data.valid:
        total = scoring.stream_nats(found.lm, data.valid.stream, exact=False).sum(dtype=np.float64)
        nats = float(total) / max(1, data.valid.symbols)
    seconds = round(time.monotonic() - begun, 3)
    line = {"step": 0, "symbols": data.train.symbols, "seconds": seconds, "train_nats": None, "valid_nats": nats}
    line["symbols_per_second"] = round(data.train.symbols / max(seconds, 1e-3))
    write(place, found.lm, text, of_text(data, text, nats), nats, data.sha256, json.dumps(line) + "\n")
    return replace(found, lm=replace(found.lm, provenance=replace(found.lm.provenance, path=place.path))), data


def write(
    place: directories.Place,
    model: ngram.NGramModel,
    text: provenance.TextSettings,
    rows: dict[str, str],
    valid_nats: float | None = None,
    text_sha256: str = "",
    metrics: str = "",
) -> None:
    """Write the directory of an n-gram model and give it its name; `rows` are for its card."""
    settings = {"lmgen": __version__, "model": asdict(model.config), "train": {}, "text": asdict(text)}
    checkpoint.create(place.folder, {"config.json": checkpoint.config_text(settings), "vocab.json": model.vocab.to_json()})
    if model.known is not None:
        arrayfile.write_arrays(place.folder / "known.safetensors", "known", {"known": model.known}, {})
    if metrics:
        files.write_bytes(place.folder / "metrics.jsonl", metrics.encode())
    files.write_bytes(place.folder / "README.md", _card(place.path, model, rows).encode("utf-8", "replace"))
    ngrams = sum(len(level.keys) for level in model.levels)
    about = {"step": 0, "valid_nats": valid_nats, "parameters": 2 * ngrams, "text_sha256": text_sha256}
    checkpoint.write_model(place.folder, model.arrays(), about)
    place.publish()


def _card(path: Path, model: ngram.NGramModel, rows: dict[str, str]) -> str:
    rows = {
        "model": f"{model.config.describe()}, interpolated modified Kneser-Ney",
        "n-grams of length 1, 2, …": ", ".join(f"{len(level.keys):,}" for level in model.levels),
        "read as": reading(model.vocab, model.sequence, model.carry),
        **rows,
    }
    return card(path.name, "An n-gram language model", rows)


def write_foreign(place: directories.Place, model: ngram.NGramModel, source: Path) -> None:
    """Write the directory of a model that another program fitted."""
    write(place, model, model.provenance.text, {"made from": source.name})
