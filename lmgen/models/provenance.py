"""Where a model comes from: its directory, the text that it was trained on, how that was read, and what was held out of it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from lmgen.data import corpus
from lmgen.data.finding import PYTHON, STDIN, name_of
from lmgen.data.reading import Piece, Text
from lmgen.data.sharded import reading as shards
from lmgen.data.sources import tables
from lmgen.data.split import Split, split_of_format_1
from lmgen.data.vocab import Vocab
from lmgen.data.writing.normalization import AS_IT_IS, Normalization
from lmgen.errors import InputError
from lmgen.structured.table import LABELS, structure_of
from lmgen.system import checkpoint


@dataclass(frozen=True)
class TextSettings:
    """Where the text is and how it is read: enough to read it again. `files` is the training text; `valid_files` the validation
    text, if it is another one."""

    files: tuple[str, ...] = ()
    valid_files: tuple[str, ...] = ()
    sequence: str = "line"
    encoding: str = "utf-8"
    errors: str = "strict"
    split: Split | None = None  # None before the text is read, and in models of format 1
    form: str | None = None  # of text with labels or another structure, where its labels are, what parts several, and …
    column: int | None = None
    separator: str = ","
    task: str | None = None  # … what is learnt of it
    target: str | None = None  # the file of targets beside a file of sources
    field: str | int | None = None  # the column of plain text in a table
    lowercase: bool = False
    normalize: str | None = None

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> TextSettings:
        """From the section "text" of config.json."""
        split = Split(**content["split"]) if content.get("split") else None
        names = {name: tuple(content[name]) for name in ("files", "valid_files")}
        return cls(**{**content, **names, "split": split})

    @property
    def title(self) -> str:
        """The names of the files of the training text, without their folders."""
        return ", ".join(dict.fromkeys(name_of(Path(Path(f).name)) for f in self.files))

    @property
    def normal(self) -> Normalization:
        """The form in which every text is read."""
        return Normalization(self.lowercase, self.normalize)

    def field_in(self, paths: Sequence[Path]) -> str | int | None:
        """The column of the training text, where all of these files are tables with that column."""
        own = self.field
        return own if own is not None and all(tables.has_column(path, own) for path in paths) else None

    def open(self, carry: bool) -> tuple[Text, Text | None]:
        """The training text, and the validation text if it is another one. Raises InputError for a corpus in shards."""
        if address := shards.address_of(self.files):
            raise InputError(f"{address} holds ids and no text: name a file of text")

        def text(files: tuple[str, ...]) -> Text:
            paths = [Path(f) for f in files]
            return Text(paths, self.sequence, carry, self.encoding, self.errors, column=self.field, normal=self.normal)

        return text(self.files), text(self.valid_files) if self.valid_files else None

    def other(self, paths: Sequence[Path], carry: bool, encoding: str, errors: str, field: str | int | None = None) -> Text:
        """Another text, read in the same way; from a table the column `field`, or else that of the training text."""
        column = self.field_in(paths) if field is None else field
        return Text(paths, self.sequence, carry, encoding, errors, column=column, normal=self.normal)

    def examples(self) -> tuple[Any, Any]:
        """The examples of the training text, and of the validation text or None."""
        training, validation = self.files, self.valid_files
        return self.examples_of([*map(Path, training)]), self.examples_of([*map(Path, validation)]) if validation else None

    def examples_of(self, paths: Sequence[Path]) -> Any:
        """The examples of other files that are read in the same way."""
        return structure_of(self.task or "").open(paths, self)

    def examples_like(self, paths: Sequence[Path]) -> Any:
        """The examples of other files, in the form that these show or are named by, or else in this one."""
        structure = structure_of(self.task or "")
        found = structure.recognise(paths) or (structure.named(paths) if structure is LABELS else None)
        if found is None or found.form == self.form:
            return self.examples_of(paths)
        return replace(self, form=found.form, column=found.column).examples_of(paths)

    def load(self, unit: str | None = None, carry: bool = False, **vocabulary: Any) -> Any:
        """The text, encoded; `vocabulary` holds options of `corpus.load`, or of the loading of its structure."""
        if self.form:
            task = self.task or ""
            data = structure_of(task).load(*self.examples(), task, unit, split=self.split, **vocabulary)
        elif address := shards.address_of(self.files):
            data = shards.load(address, vocabulary.get("vocab"), carry, self.split)
        else:
            data = corpus.load(*self.open(carry), unit or "char", carry, split=self.split, **vocabulary)
        return replace(data, vocab=replace(data.vocab, normal=self.normal)) if self.normal != AS_IT_IS else data


@dataclass(frozen=True, eq=False)
class Provenance:
    """Where a model comes from: how its text was read, the sorted fingerprints of the sequences of the corpus (None if they are
    not known), the model directory (None if there is none), and the metadata of model.safetensors."""

    text: TextSettings = TextSettings()
    known: np.ndarray | None = None
    path: Path | None = None
    about: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, path: Path, text: Mapping[str, Any], about: dict[str, Any]) -> Provenance:
        """From a model directory. Raises CheckpointError where known.safetensors is damaged or of another model."""
        return cls(TextSettings.of(text), checkpoint.read_known(path), path, about)

    @property
    def weights(self) -> str:
        """The file of the weights."""
        return str((self.path or Path()) / "model.safetensors")

    @property
    def held_out(self) -> tuple[str, Split | None]:
        """What decides which text was held out: models for which it is equal held out the same."""
        return self.about.get("text_sha256", ""), self.text.split

    def origin(self, vocab: Vocab, carry: bool) -> Origin:
        """The text, encoded again. Raises InputError where it is missing or has changed."""
        if self.path is None or not self.about.get("text_sha256"):
            raise InputError(f"the text that {self.path or 'this model'} was trained on is not known: name a file to measure")
        return Origin(same_text(self.path, self.text, vocab, carry, self.about["text_sha256"]), self.text, carry)


@dataclass(frozen=True)
class Origin:
    """The text that a model was trained on: encoded, and as it is read. Of a corpus in shards there are only the ids, so reading
    it raises InputError."""

    data: corpus.Corpus
    text: TextSettings
    carry: bool

    def training(self) -> Iterator[Piece]:
        """The pieces of the training text."""
        return self.data.split.part(self.text.open(self.carry)[0], False)

    def held_out(self) -> Iterator[Piece]:
        """The pieces of the validation text."""
        text, valid = self.text.open(self.carry)
        return iter(valid) if valid else self.data.split.part(text, True)

    def validation(self) -> corpus.Ids:
        """The ids of the validation text. Raises InputError if there is none."""
        if self.data.valid is None:
            raise InputError("no text was held out in training: name a file to measure")
        return self.data.valid


def same_text(path: Path, text: TextSettings, vocab: Vocab, carry: bool, sha256: str | None, labels: Any = None) -> Any:
    """The training text of a model, encoded again, with the names of its `labels` if it has some.

    Raises InputError where it is missing or, given its sha256, has changed.
    """
    address = None if text.form else shards.address_of(text.files)
    for name in () if address else (*text.files, *text.valid_files):
        if not os.path.exists(name):
            came_from = {STDIN: "came from standard input", PYTHON: "came from Python"}.get(name_of(Path(name)))
            gone = f"{came_from} and is gone" if came_from else f"({name}) is missing"
            raise InputError(f"the text that {path} was trained on {gone}: name a file")
    if text.form:
        data = text.load(vocab.unit, vocab=vocab, unk_token=vocab.unk_token, **({"labels": labels} if labels else {}))
    elif address:
        data = text.load(vocab.unit, carry, vocab=vocab)
    else:
        opened, valid = text.open(carry)
        split = text.split or (None if valid else split_of_format_1(opened, carry))
        data = corpus.load(opened, valid, vocab.unit, carry, vocab=vocab, unk_token=vocab.unk_token, split=split)
    if sha256 is not None and data.sha256 != sha256:
        raise InputError(
            f"the text has changed since {path} was trained on it (sha256 {sha256[:12]} then, {data.sha256[:12]} now): "
            "restore the old text or name it; to continue with another text, give lmgen train --resume the option --changed-text"
        )
    return data
