"""What each field of a model directory may hold: one table for each thing that JSON describes there. A file may have been made to
do harm, so whatever it says is checked before it is used."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmgen.data.vocab import Vocab
from lmgen.errors import CheckpointError
from lmgen.models import ngram
from lmgen.options import kinds, table
from lmgen.options.kinds import LARGEST, MOST_LAYERS, Bounded, Choice, Flag, Kind, Text, Whole

FLOAT32 = 3.4e38  # the greatest number of 32 bits, nearly


@dataclass(frozen=True)
class Field:
    """The type of a field, whether it may be null, and whether older models lack it."""

    kind: Kind
    optional: bool = False
    late: bool = False

    def fault(self, value: Any) -> str:
        """Why a value cannot be used; empty where it can be."""
        if value is None and self.optional:
            return ""
        try:
            self.kind.check(value)
            return ""
        except ValueError as error:
            return str(error)


class Names(Kind):
    """Names of files."""

    def check(self, value: Any) -> Any:
        if not (isinstance(value, list | tuple) and all(type(name) is str for name in value)):
            raise ValueError(f"{kinds.said(value)} is not a list of names of files")
        return value


class Digest(Kind):
    """A sha256, or two of them joined by +; the empty string for none."""

    def check(self, value: Any) -> str:
        if not (isinstance(value, str) and re.fullmatch(r"(?:[0-9a-f]{64}(?:\+[0-9a-f]{64})?)?", value)):
            raise ValueError(f"{kinds.said(value)} is not a sha256")
        return value


class Division(Kind):
    """What is held out of a text: a share of its sequences, what comes after some characters, or nothing."""

    def check(self, value: Any) -> Any:
        if not (isinstance(value, dict) and value.keys() == {"share", "head"}):
            raise ValueError(f"{kinds.said(value)} does not say what is held out")
        Bounded(0, 1).check(value["share"])
        if value["head"] is not None:
            Whole(0, kinds.LARGEST_SEED).check(value["head"])
        return value


def whole(low: int, high: int = LARGEST) -> Field:
    return Field(Whole(low, high))


def number(low: float, high: float = FLOAT32) -> Field:
    return Field(Bounded(low, high))


def positive(high: float = FLOAT32) -> Field:
    return Field(Bounded(0, high, open_low=True))


def optional(field: Field) -> Field:
    return Field(field.kind, True, field.late)


def later(field: Field) -> Field:
    return Field(field.kind, field.optional, True)


TRUTH, WORDS, NAMES, SHA256 = Field(Flag()), Field(Text()), Field(Names()), Field(Digest())

Table = Mapping[str, Field]

NETWORK: Table = {
    "vocab": whole(2),
    "cell": WORDS,  # lm.described knows which there are
    "size": whole(1),
    "layers": whole(1, MOST_LAYERS),
    "embedding": whole(1),
    "tie": TRUTH,
    "dropout": number(0, math.nextafter(1, 0)),
    "carry": TRUTH,
    "residual": later(TRUTH),
    "layer_norm": later(TRUTH),
    "direction": later(Field(Choice(("forward", "both")))),
}
NGRAM: Table = {
    "vocab": whole(2),
    "order": whole(1, ngram.MOST),
    "carry": TRUTH,
    "cell": Field(Choice(("ngram",))),
    "direction": Field(Choice(("forward",))),
}
TRAINING: Table = {
    "batch": whole(1),
    "window": whole(1),
    "learning_rate": positive(1e300),
    "steps": optional(whole(1)),
    "epochs": optional(positive(1e9)),
    "budget": optional(positive(1e9)),
    "clip": positive(),
    "weight_decay": number(0),
    "warmup": whole(0),
    "patience": whole(0),
    "validate_every": whole(1),
    "seed": Field(table.SEED),
    "precision": Field(Choice(("f32", "bf16"))),
    "keep": later(Field(table.KEEP)),
}
PROGRESS: Table = {
    "step": whole(0, LARGEST - 1),
    "seconds": number(0),
    "best_nats": optional(number(-FLOAT32)),
    "best_step": whole(0),
    "since_best": whole(0),
    "validating": number(0),
    "sum_nats": number(-FLOAT32),
    "counted": whole(0),
    "scale": later(number(0)),
    "finished": WORDS,
}
TEXT: Table = {
    "files": NAMES,
    "valid_files": NAMES,
    "sequence": Field(table.SEQUENCE.kind),
    "encoding": WORDS,
    "errors": Field(table.ERRORS.kind),
    "split": later(Field(Division())),
}
WEIGHTS: Table = {
    "step": whole(0),
    "valid_nats": optional(number(-FLOAT32)),
    "parameters": whole(0, 1 << 53),
    "text_sha256": SHA256,
    "lmgen": WORDS,
}


def wrong(content: Any, fields: Table) -> str:
    """Why content cannot be used: a field that is missing or not in the table, or a value that none may have; empty where it can
    be."""
    if not isinstance(content, dict):
        return f"{kinds.said(content)} holds no fields"
    if missing := [name for name, field in fields.items() if not field.late and name not in content]:
        return f"there is no {missing[0]}"
    if strange := sorted(content.keys() - fields.keys()):
        return f"there is a field {kinds.said(strange[0])}"
    faults = (f"{name}: {fault}" for name, value in content.items() if (fault := fields[name].fault(value)))
    return next(faults, "")


def weights(path: Path, about: Mapping[str, Any]) -> None:
    """CheckpointError where what is said of the weights in a directory has no usable value."""
    if why := wrong({name: value for name, value in about.items() if name in WEIGHTS}, WEIGHTS):
        raise CheckpointError(f"{path / 'model.safetensors'} is damaged ({why}): copy the model again")


def settings(path: Path, texts: Mapping[str, str]) -> tuple[Vocab, dict[str, Any]]:
    """The vocabulary, and the settings of model, training and text, that a directory's vocab.json and config.json state."""
    vocab = Vocab.from_json(texts.get("vocab.json", ""))
    try:
        content = json.loads(texts.get("config.json", ""))
        counts = content["model"].get("cell") == "ngram"
        tables = {"model": NGRAM if counts else NETWORK, "train": {} if counts else TRAINING, "text": TEXT}
        if whys := [why for name, fields in tables.items() if (why := wrong(content[name], fields))]:
            raise ValueError(whys[0])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path / 'config.json'} is damaged ({error}): copy the model again") from None
    if (said := content["model"]["vocab"]) != len(vocab):
        raise CheckpointError(
            f"{path}: config.json says {said} symbols, vocab.json holds {len(vocab)}: copy the whole directory again"
        )
    return vocab, content
