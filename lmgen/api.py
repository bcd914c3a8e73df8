"""The Python side: what the commands do, as functions on values. Nothing here prints or exits."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields
from functools import cached_property, partial, wraps
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union, overload

from lmgen import loading
from lmgen.applied.labeller import Prediction
from lmgen.data import finding, inputs
from lmgen.defaults.config import StepReport
from lmgen.errors import InputError
from lmgen.evaluation.adaptive.reading import Adapted, adaptation
from lmgen.evaluation.cards import bylabel
from lmgen.evaluation.cards import table as cards
from lmgen.evaluation.cards.bylabel import OfLabel
from lmgen.evaluation.cards.labelcard import LabelCard
from lmgen.evaluation.scorecard import Judge, Source
from lmgen.evaluation.scores import Measures, PseudoMeasures, Score, measure, scores
from lmgen.generation.filling import Filling, fillings
from lmgen.generation.likeliest import Ranking, likeliest
from lmgen.generation.mixture import mixture
from lmgen.generation.sampling import Sample, Settings, defaults, distinct_samples, samples
from lmgen.generation.surprise import Match, match
from lmgen.models import facts
from lmgen.models.capabilities import Conditions, Fills, Predicts, Scores, ScoresPairs, can, require
from lmgen.models.provenance import TextSettings
from lmgen.models.scoring import BATCH, WINDOW
from lmgen.options import commands, kinds, signatures, table
from lmgen.pages import notebook
from lmgen.structured import pairs
from lmgen.system import directories
from lmgen.system.files import explained
from lmgen.training import train as training

if TYPE_CHECKING:  # what most programs do without is imported where it is used
    from lmgen.evaluation.contrast import Contrast
    from lmgen.evaluation.explanation import Background, Explanation

Field = str | int | None
Other = Union["Model", str, Path, None]
Note = Callable[[str], Any]
named = partial(signatures.named, further=[field.name for field in fields(Settings)])


class Model:
    """A trained model: `sample` writes, `score` and `evaluate` measure; a cloze model fills blanks instead of writing.

    `lm` is the model within, as the other modules of lmgen take it.
    """

    def __init__(self, lm: Any):
        self.lm = lm

    def __repr__(self) -> str:
        config = self.lm.config
        return f"<lmgen.Model {config.describe()}, {config.vocab} symbols, {self.lm.path}>"

    def _repr_html_(self) -> str:
        about, kind, config = self.lm.provenance.about, self.lm.kind, self.lm.config
        rows = {"model": config.describe(), "symbols": config.vocab, f"validation {kind.nats}": about.get("valid_nats")}
        rows |= {"trained on": self.trained_on.title, "path": self.path}
        return notebook.facts("lmgen.Model", {name: facts.words(value) for name, value in rows.items()})

    @property
    def fills(self) -> bool:
        """Whether it fills blanks instead of writing."""
        return can(self.lm, Fills)

    @property
    def predicts(self) -> bool:
        """Whether it labels instead of writing."""
        return can(self.lm, Predicts)

    @property
    def conditions(self) -> bool:
        """Whether it writes by label."""
        return can(self.lm, Conditions)

    @property
    def path(self) -> Path | None:
        """The model directory; None if there is none."""
        return self.lm.path

    @property
    def trained_on(self) -> TextSettings:
        """Where the training text is, and how it was read."""
        return self.lm.provenance.text

    @property
    def defaults(self) -> dict[str, int]:
        """The `count` and `lines` of `sample` where these are not given."""
        return defaults(self.lm)

    @named
    def save(self, path: str | Path) -> Path:
        """Copy the model directory to a new place, and return that. Raises InputError where something is there already."""
        if self.path is None:
            raise InputError("this model has no directory to copy: train one")
        target: Path = table.check("path", kinds.Place(), path)
        if os.path.lexists(target):
            raise InputError(
                f"{target} is there already and nothing is overwritten: choose another, as {directories.free(target)}"
            )
        with explained(f"cannot save {target}"):
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as part:
                copy = shutil.copytree(self.path, Path(part, target.name), ignore=shutil.ignore_patterns(".*", "lock"))
                copy.rename(target)
        return target

    def export(self, path: str | Path | None = None, *, format: str | None = None, force: bool = False, **settings: Any) -> Path:
        """Write the model as files that run without lmgen, and return where: docs/export.md shows each format.

        `settings` are the other options of lmgen export. Raises InputError for a model that the format does not hold and, without
        `force`, for a path that is taken.
        """
        table.refuse_unknown(settings, [option.name for option in commands.EXPORT])
        target = None if path is None else Path(table.check("path", kinds.Place(), path))
        from lmgen.exporting import table as exporting

        return exporting.export(self.lm, target, format, force, **settings)

    @named
    def samples(
        self,
        count: int | None = None,
        *,
        prompt: str = "",
        seed: int | None = None,
        novel: bool = False,
        distinct: bool = False,
        **settings: Any,
    ) -> Iterator[Sample]:
        """`count` samples (10, or 1 with a carried state), one by one, drawn anew each time; the `seed` in each draws them again.

        `settings` are the fields of `Settings`, such as temperature, top_p, starts_with, matches, length, stop. `distinct` leaves
        out repeats, `novel` also samples that are in the corpus; there are fewer than `count` where the model draws no more.
        Raises InputError for a setting that cannot be used, and for a constraint that no sample, or hardly one, satisfies.
        """
        count = self.defaults["count"] if count is None else table.check("count", kinds.Whole(0), count)
        prompt = table.check("prompt", kinds.Text(), prompt)
        seed = secrets.randbelow(1 << 31) if seed is None else table.check("seed", table.SEED, seed)
        drawn = samples(self.lm, Settings(**settings), seed, prompt, wanted=count)
        return distinct_samples(drawn, count, novel) if novel or distinct else islice(drawn, count)

    @named
    def by(self, label: str | Mapping[str, float]) -> Model:
        """The model that writes by a label, or by the mean of several with their weights, as in "Irish:0.7,Welsh:0.3".

        Raises InputError for a model that does not write by label, and for a label that it does not know.
        """
        lm: Any = require(self.lm, Conditions, "train one on labelled text with --task generate")
        return Model(lm.by(lm.parsed(label) if isinstance(label, str) else label))

    @named
    def mixed(self, other: Model | str | Path, weight: float = 0.5) -> Model:
        """The model that writes with another: of each symbol, `weight` of the probability is the other's.

        Raises InputError where the two do not have the same symbols.
        """
        second = other if isinstance(other, Model) else load(other)
        return Model(mixture(self.lm, second.lm, table.check("weight", kinds.Bounded(0, 1), weight)))

    @named
    def match_surprise(self, seed: int = 0, prompt: str = "", **settings: Any) -> Match:
        """The temperature at which samples surprise the model as much as held-out text does, all other settings as given."""
        if (held_out := self.lm.provenance.about.get("valid_nats")) is None:
            raise InputError("no text was held out in training, so its surprise is not known: choose a --temperature")
        wanted = {"seed": seed, "prompt": prompt, **settings}
        return match(lambda temperature: self.samples(10**6, **{**wanted, "temperature": temperature}), held_out)

    @named
    def top(self, count: int = 10, *, prompt: str = "", **settings: Any) -> Ranking:
        """The `count` likeliest whole sequences, in their exact order, of those that satisfy the constraints in `settings`."""
        wanted, prompt = table.check("count", kinds.Whole(), count), table.check("prompt", kinds.Text(), prompt)
        return likeliest(self.lm, wanted, Settings(**settings), prompt)

    @named
    @wraps(samples, assigned=())  # with the same signature
    def sample(self, *args: Any, **options: Any) -> list[Sample]:
        """What `samples` gives, in a list."""
        return notebook.Several(self.samples(*args, **options))

    @named
    def fill(self, text: str, count: int = 5, blank: str = "_") -> list[Filling]:
        """The `count` likeliest fillings of the blanks of a text: each mark is one character, a run of marks one word.

        Raises InputError for a text without a blank and for a model that does not fill blanks.
        """
        lm = require(self.lm, Fills, "train one on plain text with --direction both")
        text, blank = (table.check(name, kinds.Text(), value) for name, value in {"text": text, "blank": blank}.items())
        return fillings(lm, text, table.check("count", kinds.Whole(), count), blank)

    @overload
    def score(self, sequences: str) -> Score: ...  # type: ignore[overload-overlap]

    @overload
    def score(self, sequences: Iterable[str | None]) -> Iterator[Score]: ...

    @named
    def score(self, sequences: str | Iterable[str | None]) -> Score | Iterator[Score]:
        """The nats of a sequence, or of each of several; with a carried state each continues the one before. A model of pairs
        scores `source TAB target`: the target, given the source.

        Several are scored many at a time; None among them asks for the scores of those before it.
        """
        lm: Any = self.lm
        if not can(lm, ScoresPairs):
            require(lm, Scores, "use lmgen {command}, or train one with --task language")
        of: Any = (lambda lines: lm.score(pairs.of_lines(lines))) if can(lm, ScoresPairs) else partial(scores, lm)
        if isinstance(sequences, str):
            return next(of([sequences]))
        if not isinstance(sequences, Iterable):
            raise InputError(f"{kinds.quoted(sequences)} is not a text: give a string, or several")

        def strings() -> Iterator[str | None]:
            for one in sequences:
                if not isinstance(one, str | None):
                    raise InputError(f"{kinds.quoted(one)} is not a string, so it cannot be scored: give strings")
                yield one

        return of(strings())

    @cached_property
    def _background(self) -> Background:
        from lmgen.evaluation.explanation import background

        return background(self.lm)

    @named
    def explain(self, text: str, top: int = 5, copied: int = commands.COPIED, background: bool = True) -> Explanation:
        """How likely each symbol of a text is, and which `top` symbols are likeliest in its place; with `background` also what an
        n-gram model of the training text expected, and the spans of at least `copied` characters that the training text has.

        Raises InputError for a model that does not score texts.
        """
        from lmgen.data.reading import Piece
        from lmgen.evaluation.explanation import Background, explanations

        lm = require(self.lm, Scores, "use lmgen {command}, or train one with --task language")
        piece = Piece(table.check("text", kinds.Text(), text), True, True, 1)
        return next(explanations(lm, [piece], self._background if background else Background(), top, copied))

    def compare(self, a: str, b: str, **how: Any) -> Contrast:
        """Which of two texts is likelier, where they differ, and by how much; `how` is as in `explain`.

        Raises InputError for a model that does not score texts, and for texts that are too long.
        """
        from lmgen.evaluation.contrast import contrast

        return contrast(self.explain(a, **how), self.explain(b, **how))

    @overload
    def predict(self, texts: str) -> Prediction: ...  # type: ignore[overload-overlap]

    @overload
    def predict(self, texts: Iterable[str | tuple[str, ...] | None]) -> Iterator[Prediction]: ...

    def predict(self, texts: Any, **settings: Any) -> Any:
        """What belongs to a text, or to each of several, which may be tuples of tokens: labels, tags, a translation.

        Several are read many at a time; None among them asks for the predictions of those before it. `settings` are the options
        of lmgen predict that change what is predicted. Raises InputError for a model that predicts nothing of the kind.
        """
        lm: Any = require(self.lm, Predicts, "use lmgen {command}, or train one on labelled text")
        settings = lm.kind.settings(commands.DECODING, settings)
        if isinstance(texts, str | dict):
            return next(lm.predict([texts], **settings))
        return lm.predict(texts, **settings)

    def cards(
        self, *files: Any, baselines: bool = True, encoding: str = "utf-8", errors: str = "strict", **settings: Any
    ) -> Iterator[Any]:
        """How well it predicts what belongs to the texts of each file, or without files of the validation text, beside baselines.

        `settings` are those of `predict`. Raises InputError for a file without what the model predicts.
        """
        lm: Any = require(self.lm, Predicts, "name a model that predicts, too")
        settings = lm.kind.settings(commands.DECODING, settings)
        for name, examples in self._examples(files, encoding, errors):
            yield cards.card(lm, name, examples, baselines, **settings)

    @named
    def by_label(self, *files: Any, encoding: str = "utf-8", errors: str = "strict") -> Iterator[tuple[str, list[OfLabel]]]:
        """How well it predicts the texts of each label in each of the files, or in the validation text, given the label; the
        first of the measures is that of all labels together."""
        lm: Any = require(self.lm, Conditions, "measure it without labels")
        for name, examples in self._examples(files, encoding, errors):
            yield name, bylabel.measure(lm, name, examples)

    def _examples(self, files: tuple[Any, ...], encoding: str, errors: str) -> Iterator[tuple[str, Iterable[Any]]]:
        """The examples of each of the files, or those on which the model was validated."""
        for path in inputs.files(files, {"sequence": "line", "encoding": encoding}, records=True):
            yield finding.name_of(Path(path)), self.lm.examples_of(finding.find([path]), encoding, errors)
        if not files:
            yield "held-out text", self.lm.held_out_examples()

    @named
    def evaluate(
        self,
        *files: Any,
        encoding: str = "utf-8",
        errors: str = "strict",
        field: Field = None,
        batch: int = BATCH,
        window: int = WINDOW,
        adapt: str | None = None,
        valid: Any = None,
    ) -> Measures | PseudoMeasures | LabelCard | Adapted:
        """The measures of files, read as the corpus was read; without files, of the validation text.

        With `adapt` (cache, dynamic, both) those while it adapts, fitted on `valid` or else on the validation text. Raises
        InputError for a file that cannot be read.
        """
        if can(self.lm, Predicts):
            return next(self.cards(*files, baselines=False, encoding=encoding, errors=errors))
        how: Any = {"encoding": encoding, "errors": errors, "field": field}
        ids = self.source(*files, **how).ids if files else self.lm.origin.validation()
        if adapt is not None:
            fitted = self.lm.origin.validation() if valid is None else self.source(valid, **how).ids
            return adaptation(self.lm, adapt, fitted).measure(ids)
        return measure(self.lm, ids, batch, window)

    @named
    def judge(
        self, other: Other = None, precision: str = "auto", *, batch: int = BATCH, window: int = WINDOW, cold: bool = False
    ) -> Judge:
        """What makes scorecards: measures beside baselines; with another model, of the mixture of both; with `cold`, every window
        starts from an empty state."""
        second = load(other, precision) if isinstance(other, str | Path) else other
        return Judge(self.lm, second.lm if second else None, batch, window, cold)

    @named
    def source(self, *files: Any, encoding: str = "utf-8", errors: str = "strict", field: Field = None) -> Source:
        """Files, or whatever else `train` takes, as one text to measure; `field` is the column of a table.

        Raises InputError for a text that is empty or cannot be read.
        """
        names = inputs.files(files, {"sequence": self.lm.sequence, "encoding": encoding, "field": field})
        return self._source(finding.find(names), encoding, errors, field)

    @named
    def sources(
        self,
        *files: str | Path,
        encoding: str = "utf-8",
        errors: str = "strict",
        field: Field = None,
        note: Note = lambda _: None,
    ) -> Iterator[Source]:
        """Each of the files as a text to measure; `note` is called with sentences about oddities of the text."""
        return (self._source([path], encoding, errors, field, note) for name in files for path in finding.find([str(name)]))

    def _source(self, paths: list[Path], encoding: str, errors: str, field: Field = None, note: Note = lambda _: None) -> Source:
        how = table.ENCODING.check(encoding), table.ERRORS.check(errors), commands.FIELD.check(field)
        return Source.of(self.trained_on.other(paths, self.lm.carry, *how), self.lm.vocab, note)


@named
def load(name: str | Path | None = None, precision: str = "auto", mixture: bool = True) -> Model:
    """The model of a directory, of a name under checkpoints/, or the newest there; without `mixture` its network alone.

    Raises CheckpointError if there is none.
    """
    return Model(loading.load(name, table.PRECISION.check(precision), commands.MIXTURE.check(mixture)))


@partial(signatures.described, options=table.TRAIN)
def train(*files: Any, progress: bool | Callable[[StepReport], Any] = False, **options: Any) -> Model:
    """Train on a text to the end and return the best model.

    The text is names of files, folders or corpora that ship, open files, or strings, each a sequence (a list has names if all of
    it names files or ends in .txt, .tsv …), or with `field` a DataFrame, a Dataset or dicts; or (source, target) or (label, text)
    tuples, or such dicts. With `progress` training is shown on stderr; a function gets each report; False ends it.

    Ctrl-C saves, and `resume` continues. Raises InputError, before anything is written, for a text or an option that cannot be
    used, DivergedError where no step succeeds, LmgenError where the last save fails.

    Options, all by name; those you omit are chosen from the amount of text:
    """
    wanted = table.checked(options, bool(files))
    if not (callable(progress) or isinstance(progress, bool)):
        raise InputError(f"progress {kinds.quoted(progress)} cannot be used: give True, False or a function")

    def sources() -> tuple[list[str], list[str]]:
        valid = wanted["valid"]
        return inputs.files(files, wanted, True), [] if valid is None else inputs.files([valid], wanted, True)

    name = training.default_name(files) if files else ""
    path, precision = training.train(sources, name, wanted, training.Caller(progress))
    return load(path, precision)
