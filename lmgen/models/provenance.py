"""The text that a model was made from: where it is, how it was read, and what was held out of it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmgen.data import corpus
from lmgen.data.finding import PYTHON, STDIN, name_of
from lmgen.data.reading import Piece, Text
from lmgen.data.split import Split, split_of_format_1
from lmgen.data.vocab import Vocab
from lmgen.errors import CheckpointError, InputError
from lmgen.models import loading, networks, schema
from lmgen.system import checkpoint


@dataclass(frozen=True)
class TextSettings:
    """Where the text is and how it was read: enough to read it again."""

    files: tuple[str, ...]
    valid_files: tuple[str, ...]
    sequence: str
    encoding: str
    errors: str
    split: Split | None = None  # what was held out; None before the text is read, and in models of format 1

    @classmethod
    def of(cls, content: dict[str, Any]) -> TextSettings:
        """From config.json."""
        if why := schema.wrong(content, schema.TEXT):
            raise CheckpointError(f"config.json does not say how the text was read ({why}): copy the model again")
        split = Split(**content["split"]) if content.get("split") else None
        return cls(**content | {name: tuple(content[name]) for name in ("files", "valid_files")} | {"split": split})

    @property
    def title(self) -> str:
        """The names of the files of the training text, without their folders."""
        return ", ".join(dict.fromkeys(name_of(Path(Path(f).name)) for f in self.files))

    def open(self, carry: bool) -> tuple[Text, Text | None]:
        """The training text, and the validation text where one was given."""

        def text(files: tuple[str, ...]) -> Text:
            return Text([Path(f) for f in files], self.sequence, carry, self.encoding, self.errors)

        return text(self.files), text(self.valid_files) if self.valid_files else None

    def load(self, unit: str = "char", carry: bool = False, **vocabulary: Any) -> corpus.Corpus:
        """The text, encoded; `vocabulary` holds options of `corpus.load`."""
        return corpus.load(*self.open(carry), unit, carry, split=self.split, **vocabulary)


@dataclass(frozen=True)
class Origin:
    """The text that a model was made from: encoded, and as it is read."""

    data: corpus.Corpus
    text: Text
    valid: Text | None

    def training(self) -> Iterator[Piece]:
        """The pieces that were trained on."""
        return self.data.split.part(self.text, False)

    def held_out(self) -> Iterator[Piece]:
        """The pieces that were validated on."""
        return iter(self.valid) if self.valid else self.data.split.part(self.text, True)

    def validation(self) -> corpus.Ids:
        """The ids that were validated on. Raises InputError where nothing was."""
        if self.data.valid is None:
            raise InputError("no text was held out when the model was trained: name a file to measure it on")
        return self.data.valid


def text_of(of: networks.Recurrent | networks.Cloze | loading.NGramModel) -> TextSettings:
    """Where the text is that a model was trained on, and how it was read."""
    assert of.path is not None
    return TextSettings.of(json.loads(checkpoint.read_texts(of.path, of.about)["config.json"])["text"])


def origin(of: networks.Recurrent | networks.Cloze | loading.NGramModel) -> Origin:
    """The text that a model was made from. Raises InputError where it is gone or changed."""
    assert of.path is not None
    if not of.about.get("text_sha256"):
        raise InputError(f"{of.path} was made from no text that is known here: name a file to measure it on")
    settings = text_of(of)
    data = same_text(of.path, settings, of.vocab, of.carry, of.about["text_sha256"])
    return Origin(data, *settings.open(of.carry))


def same_text(path: Path, text: TextSettings, vocab: Vocab, carry: bool, sha256: str | None) -> corpus.Corpus:
    """The text that a model was trained on, encoded again; InputError where it is gone or, given its sha256, has changed."""
    for name in (*text.files, *text.valid_files):
        if not os.path.exists(name):
            said = name_of(Path(name))
            came = {STDIN: "came from standard input and is gone", PYTHON: "came from Python and is gone"}
            gone = came.get(said, f"({name}) is not there any more")
            raise InputError(f"the text that {path} was trained on {gone}: name a file")
    opened, valid = text.open(carry)
    split = text.split or (None if valid else split_of_format_1(opened, carry))
    data = corpus.load(opened, valid, vocab.unit, carry, vocab=vocab, unk_token=vocab.unk_token, split=split)
    if sha256 is not None and data.sha256 != sha256:
        raise InputError(
            f"the text has changed since {path} was trained on it (sha256 {sha256[:12]} then, {data.sha256[:12]} now): "
            "bring the old text back, or name it; to go on with another one, lmgen train --resume has --changed-text"
        )
    return data
