"""Fitting n-gram models to a corpus; the order is chosen on validation text unless it is given."""

from __future__ import annotations

import itertools
import json
import math
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
from lmgen.system import checkpoint, directories, files
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
        return len(self.lm)


def fitted(
    train: np.ndarray,
    valid: np.ndarray | None,
    vocab: Vocab,
    carry: bool,
    order: int | None = None,
    most: float = math.inf,
    gain: float = 0.0,
) -> Fitted:
    """Count a stream of ids and smooth the counts.

    Without `order`, orders from 1 upwards are tried on the validation stream until one more does not help by the share `gain`. Of
    more than `most` n-grams of two symbols and more the rarest are left out. Raises InputError for an order out of range.
    """
    if order is not None and not 1 <= order <= ngram.MOST:
        raise InputError(f"order {order} cannot be used: give 1 to {ngram.MOST}")
    counts, characters = ngram.Counts(train, len(vocab), carry), vocab.unit == "char"

    def of(order: int) -> ngram.NGramModel:
        least = next(least for least in itertools.count(1) if ngram.longer(counts, order, least) <= most)
        return ngram.NGramModel(ngram.NGramConfig(len(vocab), order, carry), ngram.smoothed(counts, order, least), vocab)

    if order is not None or valid is None:
        return Fitted(of(order or (UNTRIED if characters else UNTRIED_OF_WORDS)), {})
    best, tried = of(1), {}
    tried[1] = least = _nats(best, valid)
    for candidate in range(2, (HIGHEST if characters else HIGHEST_OF_WORDS) + 1):
        model = of(candidate)
        tried[candidate] = _nats(model, valid)
        if tried[candidate] >= (1 - gain) * least:
            break
        best, least = model, tried[candidate]
    return Fitted(best, tried)


def _nats(model: ngram.NGramModel, valid: np.ndarray) -> float:
    return float(scoring.stream_nats(model, valid, exact=False).mean(dtype=np.float64))


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
    found = fitted(data.train.stream, valid, data.vocab, carry, order)
    model = replace(found.lm, provenance=provenance.Provenance(text, data.known))
    nats = None if valid is None else _nats(model, valid)
    seconds = round(time.monotonic() - begun, 3)
    line = {"step": 0, "symbols": data.train.symbols, "seconds": seconds, "train_nats": None, "valid_nats": nats}
    line["symbols_per_second"] = round(data.train.symbols / max(seconds, 1e-3))
    write(place, model, of_text(data, text, nats), nats, data.sha256, json.dumps(line) + "\n")
    return replace(found, lm=replace(model, provenance=replace(model.provenance, path=place.path))), data


def write(
    place: directories.Place,
    model: ngram.NGramModel,
    rows: dict[str, str],
    valid_nats: float | None = None,
    text_sha256: str = "",
    metrics: str = "",
) -> None:
    """Write the directory of an n-gram model and give it its name; `rows` are for its card."""
    settings = {"lmgen": __version__, "model": asdict(model.config), "train": {}, "text": asdict(model.provenance.text)}
    checkpoint.create(place.folder, {"config.json": checkpoint.config_text(settings), "vocab.json": model.vocab.to_json()})
    if model.known is not None:
        checkpoint.write_known(place.folder, model.known)
    if metrics:
        files.write_bytes(place.folder / "metrics.jsonl", metrics.encode())
    sizes = [len(level.keys) for level in model.levels]
    page = {
        "model": f"{model.config.describe()}, interpolated modified Kneser-Ney",
        "n-grams of length 1, 2, …": ", ".join(f"{size:,}" for size in sizes),
        "read as": reading(model.vocab, model.sequence, model.carry),
        **rows,
    }
    text = card(place.path.name, "An n-gram language model", page)
    files.write_bytes(place.folder / "README.md", text.encode("utf-8", "replace"))
    about = {"step": 0, "valid_nats": valid_nats, "parameters": 2 * sum(sizes), "text_sha256": text_sha256}
    checkpoint.write_model(place.folder, model.arrays(), about)
    place.publish()


def write_foreign(place: directories.Place, model: ngram.NGramModel, source: Path) -> None:
    """Write the directory of a model that another program fitted."""
    write(place, model, {"made from": source.name})
