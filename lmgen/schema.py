"""What each field of a model directory may hold: one table for each thing that JSON describes there.

A file may have been made to do harm, and a value may come from Python; either is checked by the same row before it is used.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lmgen import ngram
from lmgen.errors import CheckpointError, InputError
from lmgen.text import SEQUENCES
from lmgen.vocab import Vocab

MOST_LAYERS = 200
MANY = (1 << 31) - 1
FLOAT32 = 3.4e38  # the greatest number of 32 bits, nearly


class Field(NamedTuple):
    """Whether a value can be used, in words what can be, and whether the field has always been there."""

    fits: Callable[[Any], bool]
    wanted: str
    needed: bool = True


def whole(low: int, high: int = MANY) -> Field:
    return Field(lambda v: type(v) is int and low <= v <= high, f"a whole number from {low:,} to {high:,}")


def number(low: float, high: float = FLOAT32, without: float = math.nan) -> Field:
    """A finite number within bounds, one of which may be left out."""
    least = f"more than {low:g}" if without == low else f"{low:g} or more"
    most = f", below {high:g}" if without == high else f", {high:g} at most" if high < math.inf else ""
    return Field(
        lambda v: type(v) in (int, float) and low <= v <= high and v not in (without, math.inf), f"a number, {least}{most}"
    )


def one_of(*names: str) -> Field:
    return Field(lambda v: type(v) is str and v in names, " or ".join(names))


def optional(field: Field) -> Field:
    return Field(lambda v: v is None or field.fits(v), f"{field.wanted}, or None")


def later(field: Field) -> Field:
    """A field that older models lack."""
    return field._replace(needed=False)


TRUTH = Field(lambda v: type(v) is bool, "True or False")
WORDS = Field(lambda v: type(v) is str, "text")
NAMES = Field(lambda v: isinstance(v, list | tuple) and all(type(name) is str for name in v), "names of files")
SHA256 = Field(lambda v: type(v) is str and bool(re.fullmatch(r"(?:[0-9a-f]{64}(?:\+[0-9a-f]{64})?)?", v)), "a sha256")

Table = Mapping[str, Field]

NETWORK: Table = {
    "vocab": whole(2),
    "cell": WORDS,  # lm.described knows which there are
    "size": whole(1),
    "layers": whole(1, MOST_LAYERS),
    "embedding": whole(1),
    "tie": TRUTH,
    "dropout": number(0, 1, without=1),
    "carry": TRUTH,
    "residual": later(TRUTH),
    "layer_norm": later(TRUTH),
    "direction": later(one_of("forward", "both")),
}
NGRAM: Table = {
    "vocab": whole(2),
    "order": whole(1, ngram.MOST),
    "carry": TRUTH,
    "cell": one_of("ngram"),
    "direction": one_of("forward"),
}
TRAINING: Table = {
    "batch": whole(1),
    "window": whole(1),
    "learning_rate": number(0, 1e300, without=0),
    "steps": optional(whole(1)),
    "epochs": optional(number(0, 1e9, without=0)),
    "budget": optional(number(0, 1e9, without=0)),
    "clip": number(0, without=0),
    "weight_decay": number(0),
    "warmup": whole(0),
    "patience": whole(0),
    "validate_every": whole(1),
    "seed": whole(0, (1 << 63) - 1),
    "precision": one_of("f32", "bf16"),
}
PROGRESS: Table = {
    "step": whole(0, MANY - 1),
    "seconds": number(0),
    "best_nats": optional(number(-FLOAT32)),
    "best_step": whole(0),
    "since_best": whole(0),
    "validating": number(0),
    "sum_nats": number(-FLOAT32),
    "counted": whole(0),
    "finished": WORDS,
}
TEXT: Table = {
    "files": NAMES,
    "valid_files": NAMES,
    "sequence": one_of(*SEQUENCES),
    "encoding": WORDS,
    "errors": one_of("strict", "replace"),
}
WEIGHTS: Table = {
    "step": whole(0),
    "valid_nats": optional(number(-FLOAT32)),
    "parameters": whole(0, 1 << 53),
    "text_sha256": SHA256,
    "lmgen": WORDS,
}


def wrong(content: Any, table: Table) -> str:
    """Why content cannot be used: a field that is missing or not in the table, or a value that none may have; empty where it can
    be."""
    if not isinstance(content, dict):
        return f"{content!r:.40} holds no fields"
    if missing := [name for name, field in table.items() if field.needed and name not in content]:
        return f"there is no {missing[0]}"
    if strange := sorted(content.keys() - table.keys()):
        return f"there is a field {strange[0]!r:.40}"
    unfit = [name for name, value in content.items() if not table[name].fits(value)]
    return f"{unfit[0]} should be {table[unfit[0]].wanted}, not {content[unfit[0]]!r:.40}" if unfit else ""


def usable(value: Any, name: str, field: Field) -> Any:
    """A value from Python, a number of NumPy as one of Python. Raises InputError where the field cannot have it."""
    value = value.item() if hasattr(value, "item") and getattr(value, "ndim", None) == 0 else value
    if not field.fits(value):
        raise InputError(f"{name.replace('_', '-')} {value!r:.60} cannot be used: give {field.wanted}")
    return value


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
        if whys := [why for name, table in tables.items() if (why := wrong(content[name], table))]:
            raise ValueError(whys[0])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path / 'config.json'} is damaged ({error}): copy the model again") from None
    if (said := content["model"]["vocab"]) != len(vocab):
        raise CheckpointError(
            f"{path}: config.json says {said} symbols, vocab.json holds {len(vocab)}: copy the whole directory again"
        )
    return vocab, content
