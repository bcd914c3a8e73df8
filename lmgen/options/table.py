"""The options of a training, each declared once: name, type and bounds, default, help, and what it belongs to.

The command line, `lmgen.train`, its signature and its help follow from the table `TRAIN`; a new option is an entry there and the
code that uses it. A type checks a Python value and parses a word of the command line: ValueError with what is wrong and what can
be given. Nothing here imports JAX, NumPy or click.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lmgen.errors import InputError
from lmgen.options.kinds import (
    LARGEST_FLOAT,
    LARGEST_SEED,
    MOST_LAYERS,
    Bounded,
    Choice,
    Duration,
    Flag,
    Kind,
    Name,
    Place,
    Source,
    Stored,
    Text,
    Whole,
    did_you_mean,
    said,
)


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


def taken(given: Mapping[str, Any], *of: str) -> dict[str, Any]:
    """Those of the given options that belong to these."""
    return {name: given[name] for name in names(*of) if name in given}


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
