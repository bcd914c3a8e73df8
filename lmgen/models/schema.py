"""The fields of a model directory's JSON, a table for each part; a field that is an option of `train` has the option's type.

A directory may be forged to do harm, so every value is checked before it is used.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from lmgen.data.vocab import Vocab
from lmgen.data.writing.normalization import Normalization
from lmgen.errors import CheckpointError
from lmgen.models import kinds as models
from lmgen.models.kinds import CLOZE, GRAPH, LABELLER, NGRAM, RECURRENT, TRANSLATOR, TREES, WRITER, kind_of
from lmgen.options import kinds, table
from lmgen.options.kinds import LARGEST, MOST_NETWORKS, Bounded, Choice, Column, Duration, Flag, Kind, Place, Text, Whole
from lmgen.structured.table import STRUCTURES, structure_of

FLOAT32 = 3.4e38  # about the largest of 32 bits


@dataclass(frozen=True)
class Field:
    """The type of a field, whether it may be null, and whether older models lack it."""

    kind: Kind
    optional: bool = False
    late: bool = False

    def fault(self, value: Any) -> str:
        """The reason why a value is invalid; empty for a valid one."""
        try:
            if value is not None or not self.optional:
                self.kind.check(value)
        except ValueError as error:
            return str(error)
        return ""


@dataclass(frozen=True)
class Names(Kind):
    """A list of at least `least` names."""

    least: int = 0
    noun: ClassVar[str] = "a list of names"

    def fits(self, value: Any) -> bool:
        return isinstance(value, list | tuple) and len(value) >= self.least and all(type(name) is str for name in value)


class DifferentNames(Names):
    """A list of names, no two of which are equal, and none empty."""

    noun = "a list of different names"

    def fits(self, value: Any) -> bool:
        return super().fits(value) and all(value) and len(set(value)) == len(value)


class Digest(Kind):
    """A sha256, or two of them joined by +; the empty string for none."""

    noun = "a sha256"

    def fits(self, value: Any) -> bool:
        return isinstance(value, str) and bool(re.fullmatch(r"(?:[0-9a-f]{64}(?:\+[0-9a-f]{64})?)?", value))


class Division(Kind):
    """The held-out part of a text: a share of its sequences, all after some characters (`head`), or nothing."""

    noun = "a division of a text"

    def fits(self, value: Any) -> bool:
        return isinstance(value, dict) and value.keys() == {"share", "head"}

    def check(self, value: Any) -> Any:
        Bounded(0, 1).check(super().check(value)["share"])
        if value["head"] is not None:
            Whole(0, kinds.LARGEST_SEED).check(value["head"])
        return value


class Temperatures(Kind):
    """The temperature of each head."""

    noun = "temperatures by name"

    def fits(self, value: Any) -> bool:
        return isinstance(value, dict) and value.keys() <= {"labels", "tags", "nodes", "roots"}

    def check(self, value: Any) -> Any:
        for temperature in super().check(value).values():
            Bounded(1 / FLOAT32, FLOAT32).check(temperature)  # so that no quotient overflows
        return value


class Off(Flag):
    """No: what such a model has not."""

    noun = "False"

    def fits(self, value: Any) -> bool:
        return value is False


def like(name: str, kind: Kind | None = None, late: bool = False) -> Field:
    """The field of a training's option, of the option's type unless another is given; null where a training keeps null."""
    option = next(option for option in table.TRAIN if option.name == name)
    seconds = Duration.SECONDS if isinstance(option.kind, Duration) else None
    return Field(kind or seconds or option.kind, option.of == "end", late)


TRUTH, WORDS, LABELS, SHA256 = Field(Flag()), Field(Text()), Field(DifferentNames()), Field(Digest())
COUNT, AMOUNT, NATS = Field(Whole(0)), Field(Bounded(0, FLOAT32)), Field(Bounded(-FLOAT32, FLOAT32), optional=True)

Table = Mapping[str, Field]

OF_NETWORK: Table = {
    "vocab": Field(Whole(2)),
    **{name: like(name) for name in ("cell", "size", "layers", "embedding", "tie", "dropout", "carry")},
    **{name: like(name, late=True) for name in ("residual", "skip", "layer_norm", "direction")},
    "hashed": Field(Flag(), late=True),
    **{
        name: like(name, late=True)
        for name in ("input_dropout", "state_dropout", "weight_dropout", "embedding_dropout", "ar", "tar")
    },
    **{
        name: Field(like(name).kind, optional=True, late=True)
        for name in ("context", "heads", "rounds", "rank", "output_dropout")
    },
}
WITHOUT_LETTERS: Table = {**OF_NETWORK, "hashed": Field(Off(), late=True)}
OF_NGRAM: Table = {
    "vocab": Field(Whole(2)),
    "order": like("order"),
    "carry": like("carry"),
    "cell": like("cell"),
    "direction": like("direction", Choice(("forward",))),
}
OF_LABELLER: Table = {
    **OF_NETWORK,
    "task": Field(Choice(LABELLER.tasks)),
    **dict.fromkeys(("labels", "tags", "frozen"), LABELS),
    **dict.fromkeys(("several", "hashed", "balanced"), TRUTH),
    "loose": Field(Flag(), late=True),
    "pool": like("pool"),
    "words": Field(Whole(2)),
    "vectors": COUNT,
}
OF_WRITER: Table = {
    **WITHOUT_LETTERS,
    "task": Field(Choice(WRITER.tasks)),
    "labels": LABELS,
    "several": TRUTH,
    "direction": like("direction", Choice(("forward",))),
}
OF_GRAPH: Table = {
    **WITHOUT_LETTERS,
    "task": Field(Choice(GRAPH.tasks)),
    "rounds": like("rounds"),
    **dict.fromkeys(("labels", "tags", "edges"), LABELS),
    "several": TRUTH,
}
OF_TRANSLATOR: Table = {
    **WITHOUT_LETTERS,
    "task": Field(Choice(TRANSLATOR.tasks)),
    "targets": Field(Whole(2)),
    **{name: like(name) for name in ("attention", "copy", "smoothing")},
    "direction": like("direction", Choice(("forward",))),
}
OF_TREES: Table = {
    **OF_NETWORK,
    "task": Field(Choice(TREES.tasks)),
    "cell": like("cell", Choice(("lstm", "elman"))),  # as networks.tree.CELLS, which needs JAX
    "labels": Field(DifferentNames(1)),
    "frozen": LABELS,
    "hashed": TRUTH,
    "words": Field(Whole(2)),
    "vectors": COUNT,
}
MODELS: Mapping[Any, Table] = {
    RECURRENT: OF_NETWORK,
    CLOZE: WITHOUT_LETTERS,
    NGRAM: OF_NGRAM,
    LABELLER: OF_LABELLER,
    WRITER: OF_WRITER,
    GRAPH: OF_GRAPH,
    TRANSLATOR: OF_TRANSLATOR,
    TREES: OF_TREES,
}
TRAINING: Table = {
    **{name: like(name) for name in ("batch", "window", "learning_rate", "steps", "epochs", "budget", "clip", "weight_decay")},
    **{name: like(name, late=True) for name in ("beta1", "beta2")},
    "warmup": COUNT,
    "patience": like("patience"),
    "validate_every": Field(Whole()),
    "seed": like("seed"),
    "precision": like("precision", Choice(("f32", "bf16"))),
    "keep": like("keep", late=True),
    "average": Field(Bounded(0, 1), late=True),
    "mixture": like("mixture", late=True),
    "members": like("members", late=True),
    "sampled": like("sampled", late=True),
}
PROGRESS: Table = {
    "step": Field(Whole(0, LARGEST - 1)),
    "seconds": AMOUNT,
    "best_nats": NATS,
    "best_step": COUNT,
    "since_best": COUNT,
    "validating": AMOUNT,
    "sum_nats": Field(Bounded(-FLOAT32, FLOAT32)),
    "counted": COUNT,
    "scale": Field(Bounded(0, FLOAT32), late=True),
    "finished": WORDS,
    "member": Field(Whole(0, MOST_NETWORKS - 1), late=True),
    "first": Field(Whole(0, LARGEST - 1), late=True),
    "begun": Field(Bounded(0, FLOAT32), late=True),
    "ended": Field(Flag(), late=True),
}
FORMS = dict.fromkeys(form for structure in STRUCTURES for form in structure.forms)
TASKS = dict.fromkeys(task for structure in STRUCTURES for task in structure.tasks)
LABELLED = {  # how it is read
    "form": Choice(tuple(FORMS)),
    "column": Whole(),
    "separator": Text(),
    "task": Choice(tuple(TASKS)),
    "target": Place(),
}
TEXT: Table = {
    "files": Field(Names()),
    "valid_files": Field(Names()),
    **{name: like(name) for name in ("sequence", "encoding", "errors")},
    "split": Field(Division(), late=True),
    "lowercase": like("lowercase", late=True),
    **{
        name: Field(kind, optional=True, late=True) for name, kind in (("normalize", like("normalize").kind), ("field", Column()))
    },
    **{name: Field(kind, optional=True, late=True) for name, kind in LABELLED.items()},
}


def text_of(task: str | None, form: Any) -> Table:
    """The fields that say how the text of a model was read: with the model's task and one of its forms; plain text has none."""
    if task is None:
        return {**TEXT, **dict.fromkeys(("form", "task", "target"), Field(Choice(()), optional=True, late=True))}
    return {
        **TEXT,
        "files": Field(Names(1)),
        "form": Field(Choice(tuple(structure_of(task).forms))),
        "task": Field(Choice((task,))),
        "target": Field(Place(), optional=form != "parallel", late=True),
    }


WEIGHTS: Table = {
    "step": COUNT,
    "valid_nats": NATS,
    "parameters": Field(Whole(0, 1 << 53)),
    "text_sha256": SHA256,
    "lmgen": WORDS,
    "temperature": Field(Temperatures(), late=True),
    "evaluation_temperature": Field(Bounded(0.1, 10), late=True),
}
AVERAGE: Table = {  # of mixture.safetensors of models that label
    "temperature": Field(Temperatures()),
    "times": Field(Bounded(1, FLOAT32)),
    "networks": Field(Whole(1, MOST_NETWORKS)),
    "network": SHA256,
    "network_nats": Field(Bounded(-FLOAT32, FLOAT32)),
    "valid_nats": Field(Bounded(-FLOAT32, FLOAT32)),
}
MIXTURE: Table = {  # of mixture.safetensors of language models
    "order": like("order"),
    "ngrams": COUNT,
    **{name: field for name, field in AVERAGE.items() if name != "temperature"},
}


def wrong(content: Any, fields: Table) -> str:
    """The reason why content is invalid: a missing or unknown field, or an invalid value; empty for valid content."""
    if not isinstance(content, dict):
        return f"{kinds.quoted(content)} is not an object"
    if missing := [name for name, field in fields.items() if not field.late and name not in content]:
        return f"there is no {missing[0]}"
    if strange := sorted(content.keys() - fields.keys()):
        return f"there is a field {kinds.quoted(strange[0])}"
    faults = (f"{name}: {fault}" for name, value in content.items() if (fault := fields[name].fault(value)))
    return next(faults, "")


def weights(path: Path, about: Mapping[str, Any]) -> None:
    """Raise CheckpointError for an invalid value in the metadata of a model's weights."""
    if why := wrong({name: value for name, value in about.items() if name in WEIGHTS}, WEIGHTS):
        raise CheckpointError(f"{path / 'model.safetensors'} is damaged ({why}): copy the model again")


def mixture_of(kind: models.Kind) -> Table:
    """The metadata of mixture.safetensors of a kind of model."""
    return MIXTURE if "mixture" in kind.parts else AVERAGE


def mixture(path: Path, about: Mapping[str, Any], kind: models.Kind) -> None:
    """Raise CheckpointError for metadata of mixture.safetensors that is missing or invalid."""
    fields = mixture_of(kind)
    if why := wrong({name: value for name, value in about.items() if name in fields}, fields):
        raise CheckpointError(f"{path} is damaged ({why}): copy the model again")


def settings(path: Path, texts: Mapping[str, str]) -> tuple[Vocab, dict[str, Any]]:
    """Check vocab.json and config.json; return the vocabulary, and the settings of model, training and text."""
    vocab = Vocab.from_json(texts.get("vocab.json", ""))
    try:
        content = json.loads(texts.get("config.json", ""))
        kind = kind_of(content["model"])
        model, task = content["model"], content["model"]["task"] if kind.tasks else None
        text = text_of(task, content["text"].get("form"))
        tables = {"model": MODELS[kind], "train": {} if kind.counts else TRAINING, "text": text}
        if whys := [why for name, fields in tables.items() if (why := wrong(content[name], fields))]:
            raise ValueError(whys[0])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path / 'config.json'} is damaged ({error}): copy the model again") from None
    symbols, targets = model["vocab"], model.get("targets", 0)
    faults = {
        f"{symbols} symbols, vocab.json holds {len(vocab)}": symbols != len(vocab),
        f"{targets} targets of {symbols} symbols": targets > symbols,
        "copy without attention": model.get("copy") and not model["attention"],
    }
    if whys := [why for why, holds in faults.items() if holds]:
        raise CheckpointError(f"{path}: config.json says {whys[0]}: copy the whole directory again")
    normal = Normalization(content["text"].get("lowercase", False), content["text"].get("normalize"))
    return replace(vocab, normal=normal), content
