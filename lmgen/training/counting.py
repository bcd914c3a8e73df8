"""Fitting n-gram models to a corpus, in one go; the order is chosen on validation text unless it is given."""

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
from lmgen.system import arrayfile, checkpoint, directories
from lmgen.training import run

HIGHEST = {"char": 16}  # the highest order that is tried, by unit …
HIGHEST_OF_WORDS = 6  # … and of words
UNTRIED = {"char": 6}  # the order where there is no validation text
UNTRIED_OF_WORDS = 3


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
    """Count a stream of ids and smooth the counts; without `order` the one that suits the validation stream, from 1 upwards until
    one more does not help. `attributes` are those of NGramModel. Raises InputError for an order that cannot be.
    """
    if order is not None and not 1 <= order <= ngram.MOST:
        raise InputError(f"order {order} cannot be used: give 1 to {ngram.MOST}")
    counts = ngram.Counts(train, len(vocab), carry)

    def of(order: int) -> ngram.NGramModel:
        config = ngram.NGramConfig(len(vocab), order, carry)
        return ngram.NGramModel(config, ngram.smoothed(counts, order), vocab, **attributes)

    if order is not None or valid is None:
        return Fitted(of(order or UNTRIED.get(vocab.unit, UNTRIED_OF_WORDS)), {})
    tried: dict[int, float] = {}
    best = None
    for candidate in range(1, HIGHEST.get(vocab.unit, HIGHEST_OF_WORDS) + 1):
        model = of(candidate)
        tried[candidate] = float(scoring.stream_nats(model, valid, exact=False).mean(dtype=np.float64))
        if best and tried[candidate] >= tried[best.config.order]:
            break
        best = model
    assert best
    return Fitted(best, tried)


def new(
    path: Path,
    text: provenance.TextSettings,
    unit: str = "char",
    carry: bool = False,
    min_count: int = 1,
    vocab_size: int | None = None,
    unk_token: str | None = None,
    force: bool = False,
    order: int | None = None,
    count_on: bool = False,
) -> tuple[Fitted, corpus.Corpus]:
    """Read the text, fit a model to it and write its directory.

    Raises InputError for a text or a directory that cannot be used.
    """
    begun = time.monotonic()
    with directories.new(path, force, count_on) as place:
        data = corpus.load(*text.open(carry), unit, carry, min_count, vocab_size, unk_token, split=text.split)
        text = replace(text, split=data.split)
        valid = data.valid.stream if data.valid else None
        found = fitted(data.train.stream, valid, data.vocab, carry, order, provenance=provenance.Provenance(text, data.known))
        nats = None
        if data.valid:
            total = scoring.stream_nats(found.lm, data.valid.stream, exact=False).sum(dtype=np.float64)
            nats = float(total) / max(1, data.valid.symbols)
        about = {"step": 0, "valid_nats": nats, "parameters": 2 * found.ngrams, "text_sha256": data.sha256}
        seconds = round(time.monotonic() - begun, 3)
        line = {"step": 0, "symbols": data.train.symbols, "seconds": seconds, "train_nats": None, "valid_nats": nats}
        line["symbols_per_second"] = round(data.train.symbols / max(seconds, 1e-3))
        rows = {
            "text": text.title,
            "trained on": f"{data.train.symbols:,} symbols in {data.train.sequences:,} sequences, vocabulary {len(data.vocab):,}",
        }
        if nats is not None and data.valid:
            rows["validation"] = f"{nats:.4f} nats a symbol over {data.valid.symbols:,} symbols"
        write(place, found.lm, {"train": {}, "text": asdict(text)}, about, rows, json.dumps(line) + "\n")
    return replace(found, lm=replace(found.lm, provenance=replace(found.lm.provenance, path=place.path))), data


def write(
    place: directories.Place,
    model: ngram.NGramModel,
    settings: dict[str, Any],
    about: dict[str, Any],
    rows: dict[str, str],
    metrics: str = "",
) -> None:
    """Write the directory of an n-gram model and give it its name; `rows` are for its card."""
    settings = {"lmgen": __version__, "model": asdict(model.config), **settings}
    checkpoint.create(place.folder, {"config.json": checkpoint.config_text(settings), "vocab.json": model.vocab.to_json()})
    if model.known is not None:
        arrayfile.write_arrays(place.folder / "known.safetensors", "known", {"known": model.known}, {})
    if metrics:
        arrayfile.write_bytes(place.folder / "metrics.jsonl", metrics.encode())
    arrayfile.write_bytes(place.folder / "README.md", card(place.path, model, rows).encode("utf-8", "replace"))
    checkpoint.write_model(place.folder, model.arrays(), about)
    place.publish()


def card(path: Path, model: ngram.NGramModel, rows: dict[str, str]) -> str:
    """README.md of the directory of an n-gram model."""
    counts = ", ".join(f"{len(level.keys):,}" for level in model.levels)
    unit = corpus.unit_noun(model.vocab)
    reach = "contexts reach back into the one before" if model.carry else "each on its own"
    rows = {
        "model": f"{model.config.describe()}, interpolated modified Kneser-Ney",
        "n-grams of length 1, 2, …": counts,
        "read as": f"{unit}s ({model.vocab.unit}), one {model.sequence} a sequence, {reach}",
        **rows,
    }
    return run.card(path.name, "An n-gram language model", rows, fills=False)


def write_foreign(place: directories.Place, model: ngram.NGramModel, source: Path) -> None:
    """Write the directory of a model that another program fitted."""
    about = {"step": 0, "valid_nats": None, "parameters": 2 * sum(len(level.keys) for level in model.levels), "text_sha256": ""}
    write(place, model, {"train": {}, "text": asdict(model.provenance.text)}, about, {"made from": source.name})
