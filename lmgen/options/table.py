"""Options are declared once: an `Option` has a name, a type with bounds, a default and a help text.

The command line, the Python functions, config.json and docs/options.md follow from the declarations. This file has those of
`train`; commands.py has the others. Nothing here imports JAX, NumPy or click.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lmgen.errors import InputError
from lmgen.options import kinds
from lmgen.options.kinds import Bounded, Choice, Column, Duration, Flag, Kind, Name, Place, Source, Stored, Text, Whole


@dataclass(frozen=True)
class Option:
    """An option. Where `default` is None, `chosen` describes the default in words.

    `of` is the part that uses it: of `train` text, directory, vocabulary, network, training or end, or what some kinds of models
    have: n-grams, labels, letters, pairs, graphs, mixture, members; of other commands plain (text), labels or pairs. `counts`
    marks the options an n-gram model accepts, `resumes` those a resumed training accepts.
    """

    name: str
    kind: Kind
    default: Any
    help: str
    of: str = ""
    chosen: str = ""
    short: str = ""
    counts: bool = False
    resumes: bool = False
    required: bool = False

    @property
    def flag(self) -> str:
        """Its name on the command line."""
        return f"--{self.name.rstrip('_').replace('_', '-')}"

    @property
    def flags(self) -> str:
        """All its names on the command line."""
        if isinstance(self.kind, Flag) and self.default is not False:
            return f"{self.flag}/--no-{self.flag[2:]}"
        return f"{self.short}, {self.flag}" if self.short else self.flag

    @property
    def hint(self) -> str:
        """Its type in a signature."""
        return f"{self.kind.hint} | None" if self.default is None else self.kind.hint

    @property
    def default_in_words(self) -> str:
        """Its default as a help page shows it; empty for a flag that is off."""
        if isinstance(self.default, bool):
            return self.flag * self.default
        return self.chosen if self.default is None else str(self.default)

    @property
    def described(self) -> str:
        """Its help with its default."""
        return self.help + (f"  [default: {self.default_in_words}]" if self.default_in_words else "")

    def is_asked(self, value: Any) -> bool:
        """Whether a value asks for something: it is not None, nor the default of a flag."""
        return value is not None and not (isinstance(self.kind, Flag) and value == self.default)

    def check(self, value: Any) -> Any:
        """Return the value in the form the program uses; None stands for the default. Raises InputError for an invalid value."""
        return self.default if value is None else check(self.name, self.kind, value)


def check(name: str, kind: Kind, value: Any) -> Any:
    """Return the value of an option in the form the program uses. Raises InputError, worded as on the command line."""
    value = value.item() if getattr(value, "shape", None) == () else value  # a number of NumPy
    try:
        return kind.check(value)
    except ValueError as error:
        raise InputError(f"Invalid value for '--{name.rstrip('_').replace('_', '-')}': {error}") from None


MODELS = ("vocabulary", "network", "labels", "pairs", "graphs", "training", "end")  # parts that make a model and its training
SEED = Whole(0, kinds.LARGEST_SEED)
TASK = Choice(("language", "tag", "classify", "tag-classify", "generate", "tree", "graph", "translate"))
UNITS = Choice(("char", "subword", "word", "word-punct", "word-only"))
FITTED = "from the text"
RATE = Bounded(0, 0.95)  # of dropout

GLOB = Option("glob", Text(), None, "Files to read in a folder, such as '*.py'.", "text", "*.txt", counts=True, resumes=True)
SEQUENCE = Option(
    "sequence", Choice(("line", "paragraph", "file")), "line", "Unit of the text that ends with EOS.", "text", counts=True
)
ENCODING = Option("encoding", Text(), "utf-8", "Encoding of the text; auto: by its byte-order mark.", "text", counts=True)
ERRORS = Option(
    "errors", Choice(("strict", "replace")), "strict", "Invalid bytes: refuse the text, or replace them.", "text", counts=True
)
LOWERCASE = Option("lowercase", Flag(), False, "Read the text in lower case.", "text", counts=True)
NORMALIZE = Option(
    "normalize",
    Choice(("nfc", "nfkc")),
    None,
    "Unicode normal form of the text: nfc composes letters, nfkc makes wide letters and ligatures plain, too.",
    "text",
    "as it is",
    counts=True,
)
SEGMENT = Option(
    "segment",
    Choice(("zh", "ja", "th")),
    None,
    "Cut Chinese, Japanese or Thai into words, which are the symbols.",
    "text",
    "none",
    counts=True,
)
PRECISION = Option(
    "precision", Choice(("auto", "f32", "bf16")), "auto", "Precision of the matrix products.", "training", counts=True
)

TRAIN = (
    GLOB,
    Option("valid", Source(), None, "Validation text.", "text", "a part of the corpus", counts=True, resumes=True),
    Option(
        "task",
        TASK,
        None,
        "What to learn: to write plain text (language) or by label (generate), labels of words (tag), of texts (classify) or "
        "both (tag-classify), of trees (tree) or graphs (graph), or to translate (translate).",
        "text",
        "from the data",
    ),
    Option("target", Place(), None, "File of targets, whose lines belong to those of the text: translate.", "pairs", "none"),
    Option(
        "column",
        Column(),
        None,
        "Column of a table: a name, of the text; a number from 1, of the labels or, without labels, of the text.",
        "text",
        "by its form",
        counts=True,
    ),
    Option(
        "field", Column(), None, "Field of the text in JSON Lines, or column of the text in a table.", "text", "none", counts=True
    ),
    Option("separator", Text(), ",", "Separator of several labels of a text.", "text"),
    Option("no_valid", Flag(), False, "Train on the whole text, without validation.", "text", counts=True),
    Option("output", Place(), None, "Model directory.", "directory", "checkpoints/ and the corpus's name", "-o", counts=True),
    Option("force", Flag(), False, "Replace the model of that name.", "directory", counts=True),
    Option("resume", Stored(), None, "Continue the stopped training of this model.", "directory", resumes=True),
    Option(
        "log",
        Choice(("tensorboard", "wandb", "mlflow")),
        None,
        "Draw the curves of the training with this tool, too.",
        "directory",
        "none",
        resumes=True,
    ),
    Option("changed_text", Flag(), False, "Resume although the text has changed.", "directory", resumes=True),
    Option(
        "unit",
        UNITS,
        None,
        "Unit of the text that is one symbol.",
        "vocabulary",
        "char; by its length for labelled text",
        counts=True,
    ),
    SEQUENCE,
    Option("carry", Flag(), False, "Carry the state from sequence to sequence: running text.", "vocabulary", counts=True),
    Option("min_count", Whole(), 1, "Symbols that occur less often become UNK.", "vocabulary", counts=True),
    Option(
        "vocab_size",
        Whole(3),
        None,
        "Largest vocabulary, EOS and UNK included.",
        "vocabulary",
        "unlimited; from the text for subword",
        counts=True,
    ),
    SEGMENT,
    LOWERCASE,
    NORMALIZE,
    Option("unk_token", Text(), None, "Unknown-word token of the corpus, such as <unk>.", "vocabulary", "none", counts=True),
    Option("cell", Name(), None, "Cell (lmgen cells lists them), or ngram.", "network", "lstm", counts=True),
    Option("order", Whole(1, kinds.MOST_ORDER), None, "Order of an n-gram model.", "n-grams", "best on validation", counts=True),
    Option("size", Whole(), None, "Units per layer.", "network", FITTED),
    Option("layers", Whole(1, kinds.MOST_LAYERS), None, "Number of layers.", "network", "1"),
    Option("residual", Flag(), None, "Residual connections.", "network", "from 3 layers on"),
    Option("skip", Flag(), None, "Every layer reads the symbol, and the head all layers.", "network plain", "no"),
    Option("layer_norm", Flag(), None, "Layer normalisation before each layer and the head.", "network", FITTED),
    Option("context", Whole(1, kinds.MOST_CONTEXT), None, "Symbols that attention sees.", "network", "64"),
    Option("heads", Whole(), None, "Heads of attention.", "network", "size / 32"),
    Option("rank", Whole(), None, "Rank of the gates of lstm-mogrifier.", "network plain", "32"),
    Option(
        "direction",
        Choice(("forward", "both")),
        None,
        "forward: for writing; both: for filling blanks and labels.",
        "network",
        "by the task",
    ),
    Option(
        "pool", Choice(("last", "mean", "both")), None, "Predict labels from the last state, the mean, or both.", "labels", "both"
    ),
    Option(
        "input",
        Choice(("symbol", "hash")),
        None,
        "hash: read the letters of a word, too.",
        "labels letters",
        "hash for labels of words",
    ),
    Option("vectors", Place(), None, "Word vectors made elsewhere: GloVe, word2vec or fastText.", "labels", "none"),
    Option("from_", Stored(), None, "Start from embedding and layers of this model.", "labels", "none"),
    Option("tune", Flag(), None, "Train what --vectors or --from gives, too.", "labels", "for --from"),
    Option(
        "rounds",
        Whole(1, kinds.MOST_LAYERS),
        None,
        "Rounds of messages between the nodes of a graph, or of lstm-mogrifier.",
        "network plain graphs",
        "6; 5",
    ),
    Option("balance", Flag(), False, "Weight rare labels as much as frequent ones.", "labels"),
    Option("attention", Flag(), True, "Attend to the source while writing its target.", "pairs"),
    Option("copy", Flag(), False, "Copy symbols of the source by attention.", "pairs"),
    Option("smoothing", Bounded(0, 0.9), None, "Label smoothing: share of the uniform distribution.", "pairs", "0.1; 0 for char"),
    Option("embedding", Whole(), None, "Embedding size.", "network", FITTED),
    Option("tie", Flag(), None, "Tie the output weights to the embedding.", "network", "for units other than char"),
    Option("dropout", RATE, None, "Dropout rate of each layer's outputs.", "network", FITTED),
    Option("input_dropout", RATE, None, "Dropout rate of what the first layer reads.", "network plain", "0"),
    Option("state_dropout", RATE, None, "Dropout rate of the state, one mask a window.", "network plain", "0"),
    Option("weight_dropout", RATE, None, "Dropout rate of the recurrent weights.", "network plain", "0"),
    Option("embedding_dropout", RATE, None, "Dropout rate of whole symbols.", "network plain", "0"),
    Option("output_dropout", RATE, None, "Dropout rate of what the head reads.", "network plain", "as --dropout"),
    Option("ar", Bounded(0, 1000), None, "Weight of activation regularisation: small outputs.", "network plain", "0"),
    Option("tar", Bounded(0, 1000), None, "Weight of its part over time: slow outputs.", "network plain", "0"),
    Option("batch", Whole(), None, "Batch size.", "training", FITTED),
    Option("window", Whole(), None, "Truncated-BPTT length, in symbols.", "training", FITTED),
    Option("steps", Whole(), None, "Train for this many updates.", "end", FITTED, resumes=True),
    Option("epochs", Bounded(0, 1_000_000, open_low=True), None, "Or for this many passes over the text.", "end", resumes=True),
    Option("budget", Duration(), None, "Or for this time: 90s, 5m, 1h30m.", "end", resumes=True),
    Option("learning_rate", Bounded(0, 10, open_low=True), None, "Peak learning rate of AdamW.", "training", FITTED),
    Option("weight_decay", Bounded(0, 10), None, "Weight decay of all matrices.", "training", "0.2"),
    Option("beta1", Bounded(0, 0.99), None, "Decay of AdamW's mean of the gradient; 0: no momentum.", "training", "0.9"),
    Option("beta2", Bounded(0, 0.99999), None, "Decay of AdamW's mean of its square.", "training", "0.999"),
    Option(
        "sampled",
        Whole(0, 1 << 20),
        None,
        "Words drawn to predict among in a step (sampled softmax); 0: all.",
        "training mixture pairs",
        FITTED,
    ),
    Option("clip", Bounded(0, kinds.LARGEST_FLOAT, open_low=True), None, "Largest global norm of the gradient.", "training", "1"),
    Option("patience", Whole(0), None, "Stop after this many validations without improvement; 0: never.", "training", "10"),
    Option("mixture", Flag(), True, "Mix in an n-gram model of the text where validation gains.", "training mixture"),
    Option(
        "members",
        Whole(1, kinds.MOST_NETWORKS),
        None,
        "Networks to train, one after the other, and to average where validation gains; a budget is shared among them.",
        "training members",
        "1",
    ),
    Option("keep", Choice(("best", "last")), None, "Weights to keep: of the best validation, or the last.", "training", "best"),
    PRECISION,
    Option("seed", SEED, 0, "Seed of all random numbers.", "training", counts=True),
    ENCODING,
    ERRORS,
)


def vocabulary(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of the vocabulary, with the unit that --segment makes of words."""
    unit = f"word-{options['segment']}" if options["segment"] else options["unit"]
    return {**belonging(options, "vocabulary"), "unit": unit}


def names(*of: str) -> tuple[str, ...]:
    """The names of the options of these parts."""
    return tuple(option.name for option in TRAIN if not {*option.of.split()}.isdisjoint(of))


def belonging(options: Mapping[str, Any], *of: str) -> dict[str, Any]:
    """Those of the options that belong to these parts."""
    return {name: options[name] for name in names(*of) if name in options}


def checked(given: Mapping[str, Any], files: bool) -> dict[str, Any]:
    """Check the options of a training and complete them with defaults; None stands for a default.

    `files` tells whether there is a text. Raises InputError for unknown options, invalid values and contradictions.
    """
    refuse_unknown(given, (option.name for option in TRAIN))
    options = {option.name: option.check(given.get(option.name)) for option in TRAIN}
    asked = [option for option in TRAIN if option.is_asked(given.get(option.name))]
    if sum(option.of == "end" for option in asked) > 1:
        raise InputError("--steps, --epochs and --budget each say how long to train: give one of them")
    if options["no_valid"] and (options["keep"] == "best" or options["patience"] is not None):
        raise InputError("--keep best and --patience need validation, which --no-valid leaves out: give one or the other")
    if options["field"] is not None and options["column"] is not None:
        raise InputError("--column and --field each say where the text of a table is: give one of them")
    if options["segment"] and options["unit"] not in (None, "word"):
        raise InputError(f"--segment cuts a text into words, and --unit {options['unit']} into something else: leave one out")
    if options["valid"] and options["no_valid"]:
        raise InputError("--valid asks for validation and --no-valid for none: give one of them")
    if (options["members"] or 1) > 1 and (options["no_valid"] or not options["mixture"]):
        raise InputError("--members are kept where validation gains, and mixed: leave out --no-valid and --no-mixture")
    if options["resume"]:
        if not files and (options["valid"] is not None or options["glob"]):
            raise InputError("--valid and --glob belong to a text: name it, too")
        if options["force"]:
            raise InputError("--force makes a new model and --resume continues an old one: give one of them")
        if other := [option for option in asked if not option.resumes]:
            raise InputError(f"{other[0].flag} cannot be changed with --resume: leave it out, or train anew")
    elif not files:
        raise InputError(
            "there is no text to train on: give a file, - for standard input, or a corpus that ships, such as cities"
        )
    return options


def refuse_unknown(given: Iterable[str], known: Iterable[str]) -> None:
    """Raise InputError, with "did you mean", for the first name that is not known."""
    known = [*known]
    for name in given:
        if name not in known:
            there = f"the options are {', '.join(known)}" if known else "there are none here, so leave it out"
            meant = kinds.did_you_mean(name, known) or f": {there}"
            raise InputError(f"there is no option {kinds.quoted(name)[1:-1]}{meant}")
