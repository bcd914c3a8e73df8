"""The options of a training, each declared once: name, type and bounds, default, help, and what it belongs to.

The command line, `lmgen.train`, its signature and its help follow from the table `TRAIN`; a new option is an entry there and the
code that uses it. A type checks a Python value and parses a word of the command line: ValueError with what is wrong and what can
be given. Nothing here imports JAX, NumPy or click.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Any, ClassVar

from lmgen import suggestions
from lmgen.errors import InputError

LARGEST = (1 << 31) - 1  # whole number
MOST_LAYERS = 200
LARGEST_SEED = (1 << 63) - 1
LARGEST_FLOAT = 3e38  # about what 32 bits hold


def said(value: object) -> str:
    """A value in an error message: its repr, cut where it is long."""
    try:
        text = repr(value)
    except Exception:  # of another's class, or an integer of thousands of digits
        text = f"this {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}…"


class Kind:
    """The type of an option: `word` names it in a help page, `hint` in a signature."""

    word: ClassVar[str]
    hint: ClassVar[str]

    def check(self, value: Any) -> Any:
        """The value as it is used; ValueError for one that cannot be."""
        raise NotImplementedError

    def parse(self, text: str) -> Any:
        """The value that a word of the command line stands for."""
        return self.check(text)


@dataclass(frozen=True)
class Whole(Kind):
    """A whole number from `low` to `high`."""

    low: int = 1
    high: int = LARGEST
    word = "integer"
    hint = "int"

    def check(self, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, Integral):
            raise ValueError(f"{said(value)} is not a whole number")
        number = int(value)
        if not self.low <= number <= self.high:
            raise ValueError(f"{said(number)} cannot be used: give {self.low} or more, {self.high:,} at most")
        return number

    def parse(self, text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise ValueError(f"{said(text)} is not a whole number") from None
        return self.check(number)


@dataclass(frozen=True)
class Bounded(Kind):
    """A finite number from `low` (or above it) to `high`."""

    low: float
    high: float = math.inf
    open_low: bool = False
    word = "number"
    hint = "float"

    def check(self, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, Real):
            raise ValueError(f"{said(value)} is not a number")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not self.low <= number <= self.high or number == math.inf or (self.open_low and number == self.low):
            low = f"more than {self.low:g}" if self.open_low else f"{self.low:g} or more"
            high = f", {self.high:g} at most" if self.high < math.inf else ""
            raise ValueError(f"{number:g} cannot be used: give {low}{high}")
        return number

    def parse(self, text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            raise ValueError(f"{said(text)} is not a number") from None
        return self.check(number)


@dataclass(frozen=True)
class Duration(Kind):
    """Seconds, as a number or as 90s, 5m, 1h30m."""

    word = "duration"
    hint = "float | str"

    def check(self, value: Any) -> float:
        seconds = 0.0
        if isinstance(value, str):
            match = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?", value.strip().lower(), re.ASCII)
            parts = zip(match.groups(), (3600, 60, 1), strict=True) if match else ()
            seconds = sum(float(part) * unit for part, unit in parts if part)
        else:
            with contextlib.suppress(ValueError):
                seconds = Bounded(0).check(value)
        if not 0 < seconds < 1e9:
            raise ValueError(f"{said(value)} is not a duration: give seconds, or for instance 90s, 5m or 1h30m")
        return seconds


@dataclass(frozen=True)
class Choice(Kind):
    """One of some names."""

    names: tuple[str, ...]
    word = "choice"
    hint = "str"

    def check(self, value: Any) -> str:
        if isinstance(value, str) and value in self.names:
            return value
        raise ValueError(f"{said(value)} is not one of {', '.join(self.names)}{did_you_mean(value, self.names)}")


@dataclass(frozen=True)
class Flag(Kind):
    """Yes or no."""

    word = "flag"
    hint = "bool"

    def check(self, value: Any) -> bool:
        if not isinstance(value, bool):
            raise ValueError(f"{said(value)} is neither True nor False")
        return value


@dataclass(frozen=True)
class Text(Kind):
    """A string."""

    word = "text"
    hint = "str"

    def check(self, value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError(f"{said(value)} is not a string")
        return value


@dataclass(frozen=True)
class Name(Text):
    """A name, in capitals or not: LSTM and GRU are written in capitals elsewhere."""

    word = "name"

    def check(self, value: Any) -> str:
        return super().check(value).lower()


@dataclass(frozen=True)
class Place(Kind):
    """The path of a directory."""

    word = "path"
    hint = "str | Path"

    def check(self, value: Any) -> Path:
        if not isinstance(value, str | os.PathLike) or not isinstance(path := os.fspath(value), str) or not path or "\0" in path:
            raise ValueError(f"{said(value)} is not a path")
        return Path(path)


@dataclass(frozen=True)
class Stored(Place):
    """A model directory, or a name under checkpoints/."""

    word = "model"


@dataclass(frozen=True)
class Source(Kind):
    """A text: from the command line a file; from Python `start.files` says what it may be, and checks it."""

    word = "file"
    hint = "str | Path | IO | Iterable"

    def check(self, value: Any) -> Any:
        return value

    def parse(self, text: str) -> list[str]:
        if not text:
            raise ValueError("'' names no file")
        return [text]


@dataclass(frozen=True)
class Option:
    """An option: `default` is its value where none is given, `chosen` says in words what None stands for.

    `of` is what it belongs to: the text, the directory, the vocabulary, the network, the training or its end. `counts` says
    whether an n-gram model accepts it, `resumes` whether a training that goes on does.
    """

    name: str
    kind: Kind
    default: Any
    help: str
    of: str
    chosen: str = ""
    short: str = ""
    counts: bool = False
    resumes: bool = False

    @property
    def flag(self) -> str:
        """Its name on the command line."""
        return f"--{self.name.replace('_', '-')}"

    def is_asked(self, value: Any) -> bool:
        """Whether a value asks for something: neither None nor that a flag is not set."""
        return value is not None and (value is not False or self.default is None)

    @property
    def hint(self) -> str:
        """Its type in a signature."""
        return f"{self.kind.hint} | None" if self.default is None else self.kind.hint

    @property
    def described(self) -> str:
        """Its help with its default."""
        default = self.chosen if self.default is None else "" if self.default is False else str(self.default)
        return self.help + (f"  [default: {default}]" if default else "")

    def check(self, value: Any) -> Any:
        """A Python value as it is used; None stands for the default. Raises InputError for one that cannot be used."""
        if value is None:
            return self.default
        return check(self.name, self.kind, value)


def check(name: str, kind: Kind, value: Any) -> Any:
    """The value of an option as it is used. Raises InputError, as the command line words it, for one that cannot be."""
    value = value.item() if getattr(value, "shape", None) == () else value  # a number of NumPy
    try:
        return kind.check(value)
    except ValueError as error:
        raise InputError(f"Invalid value for '--{name.replace('_', '-')}': {error}") from None


SEQUENCE = Option("sequence", Choice(("line", "paragraph", "file")), "line", "What ends with an EOS.", "text", counts=True)
ENCODING = Option("encoding", Text(), "utf-8", "How the bytes of the text are encoded.", "text", counts=True)
ERRORS = Option(
    "errors", Choice(("strict", "replace")), "strict", "What happens to bytes that are not text.", "text", counts=True
)
SEED = Whole(0, LARGEST_SEED)
KEEP = Choice(("best", "last"))
UNITS = Choice(("char", "word", "word-punct", "word-only"))
GLOB = Option("glob", Text(), None, "Files below a folder, such as '*.py'.", "text", "its *.txt files", counts=True, resumes=True)
PRECISION = Option("precision", Choice(("auto", "f32", "bf16")), "auto", "Of the matrix products.", "training", counts=True)

TRAIN = (
    GLOB,
    Option("valid", Source(), None, "Text to validate on.", "text", "a part of the corpus", counts=True, resumes=True),
    Option("no_valid", Flag(), False, "Train on all of the text: hold nothing out to validate on.", "text", counts=True),
    Option("output", Place(), None, "The model directory.", "directory", "checkpoints/ and the corpus's name", "-o", counts=True),
    Option("force", Flag(), False, "Replace the model of that name.", "directory", counts=True),
    Option("resume", Stored(), None, "Go on exactly where a training stopped.", "directory", resumes=True),
    Option("changed_text", Flag(), False, "Resume although the text has changed.", "directory", resumes=True),
    Option("unit", UNITS, "char", "What a symbol is.", "vocabulary", counts=True),
    SEQUENCE,
    Option("carry", Flag(), False, "Carry the state from sequence to sequence: running text.", "vocabulary", counts=True),
    Option("min_count", Whole(), 1, "Symbols seen less often are unknown.", "vocabulary", counts=True),
    Option("vocab_size", Whole(3), None, "The most symbols, EOS and UNK among them.", "vocabulary", counts=True),
    Option("unk_token", Text(), None, "How the corpus itself marks unknown words, such as <unk>.", "vocabulary", counts=True),
    Option("cell", Name(), None, "lstm, gru, elman, …: lmgen cells lists them; or ngram.", "network", "lstm", counts=True),
    Option("order", Whole(), None, "The n of an n-gram model.", "n-grams", "what suits the validation text", counts=True),
    Option("size", Whole(), None, "Units in a layer.", "network"),
    Option("layers", Whole(1, MOST_LAYERS), None, "Layers.", "network"),
    Option("residual", Flag(), None, "Residual connections.", "network"),
    Option("layer_norm", Flag(), None, "Layer normalisation of what each layer and the head read.", "network"),
    Option("direction", Choice(("forward", "both")), None, "both: a model that fills blanks.", "network", "forward"),
    Option("embedding", Whole(), None, "Embedding size.", "network"),
    Option("tie", Flag(), None, "Tie the output weights to the embedding.", "network"),
    Option("dropout", Bounded(0, 0.95), None, "The share of each layer's outputs dropped in training.", "network"),
    Option("batch", Whole(), None, "Batch size.", "training"),
    Option("window", Whole(), None, "Truncated-BPTT length, in symbols.", "training"),
    Option("steps", Whole(), None, "Train for so many updates …", "end", resumes=True),
    Option("epochs", Bounded(0, 1e6, open_low=True), None, "… or so many passes over the text …", "end", resumes=True),
    Option("budget", Duration(), None, "… or for so long: 90s, 5m, 1h30m.", "end", resumes=True),
    Option("learning_rate", Bounded(0, 10, open_low=True), None, "Peak learning rate of AdamW.", "training"),
    Option("weight_decay", Bounded(0, 10), None, "Of AdamW, for all matrices.", "training", "0.2"),
    Option("clip", Bounded(0, LARGEST_FLOAT, open_low=True), None, "The gradient's greatest global norm.", "training", "1"),
    Option("patience", Whole(0), None, "Stop after so many validations without a better one; 0 never.", "training", "10"),
    Option("keep", KEEP, None, "Which weights become the model: of the best validation, or the last.", "training", "best"),
    PRECISION,
    Option("seed", SEED, 0, "Decides all random numbers.", "training", counts=True),
    ENCODING,
    ERRORS,
)


def names(*of: str) -> tuple[str, ...]:
    """The names of the options that belong to these."""
    return tuple(option.name for option in TRAIN if option.of in of)


def belonging(options: Mapping[str, Any], *of: str) -> dict[str, Any]:
    """Those of the options that belong to these."""
    return {name: options[name] for name in names(*of)}


def checked(given: Mapping[str, Any], files: bool) -> dict[str, Any]:
    """Every option of a training by name: checked, and at its default where it is not given or None.

    `files` says whether a text is named. Raises InputError for a name or a value that cannot be used, and for options that
    contradict each other.
    """
    refuse_unknown(given, (option.name for option in TRAIN))
    options = {option.name: option.check(given.get(option.name)) for option in TRAIN}
    asked = [option for option in TRAIN if option.is_asked(given.get(option.name))]
    if sum(option.of == "end" for option in asked) > 1:
        raise InputError("--steps, --epochs and --budget each say how long to train: give one of them")
    if options["no_valid"] and (options["keep"] == "best" or options["patience"] is not None):
        raise InputError("--no-valid leaves nothing to choose the best by: leave --keep and --patience out")
    if options["valid"] and options["no_valid"]:
        raise InputError("--valid names a text to validate on and --no-valid wants none: give one of them")
    if options["resume"]:
        if not files and (options["valid"] is not None or options["glob"]):
            raise InputError("--valid and --glob go with a text: name it, too")
        if options["force"]:
            raise InputError("--force makes a new model and --resume goes on with an old one: give one of them")
        if other := [option for option in asked if not option.resumes]:
            raise InputError(f"{other[0].flag} cannot be changed with --resume: leave it out, or train anew")
    elif not files:
        raise InputError("what shall it learn? Give a text file, - for standard input, or cities, a corpus that ships")
    elif options["cell"] == "ngram":
        if foreign := sorted(option.name for option in asked if not option.counts):
            raise InputError(f"an n-gram model has no {', '.join(foreign).replace('_', '-')}: leave out what is of networks")
    elif options["order"] is not None:
        raise InputError("only an n-gram model (--cell ngram) has an --order: leave it out")
    return options


def refuse_unknown(given: Iterable[str], known: Iterable[str]) -> None:
    """InputError for the first name that is not known, with what was meant."""
    known = [*known]
    for name in given:
        if name not in known:
            meant = did_you_mean(name, known) or f": the options are {', '.join(known)}"
            raise InputError(f"there is no option {said(name)[1:-1]}{meant}")


def did_you_mean(value: Any, known: Iterable[str]) -> str:
    """The question whether the nearest of the known names was meant, or nothing."""
    if not isinstance(value, str):
        return ""
    known = [*known]
    word = suggestions.OPTIONS.get(value.lower().replace("_", "-"), "").replace("-", "_")
    near = [word] if word in known else suggestions.closest(value, known)
    return f": did you mean {' or '.join(near)}?" if near else ""
