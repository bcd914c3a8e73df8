"""The Python side: what the commands do, as functions on values. Nothing here prints or exits."""

from __future__ import annotations

import inspect
import os
import secrets
import shutil
import signal
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import fields
from functools import wraps
from itertools import islice
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, overload

from lmgen.data import advice, corpus, finding, reading
from lmgen.errors import DivergedError, InputError, LmgenError
from lmgen.evaluation.scorecard import Judge, Source
from lmgen.evaluation.scores import Measures, PseudoMeasures, Score, measure, scores
from lmgen.generation.filling import Filling, fillings
from lmgen.generation.sampling import Sample, Settings, defaults, distinct_samples, samples
from lmgen.models import loading
from lmgen.models.capabilities import Fills, can, require
from lmgen.models.provenance import TextSettings
from lmgen.models.scoring import BATCH, WINDOW
from lmgen.options import kinds, table
from lmgen.system import directories, lock, terminal
from lmgen.training import counting, run, start
from lmgen.training.display import Display, Loss
from lmgen.training.loop import StepReport

P = ParamSpec("P")
R = TypeVar("R")


def named(function: Callable[P, R]) -> Callable[P, R]:
    """A function that refuses an unknown keyword with a sentence; those after ** are the fields of `Settings`."""
    parameters = inspect.signature(function).parameters.values()
    known = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name != "self"]
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        known += [field.name for field in fields(Settings)]

    @wraps(function)
    def checked(*args: P.args, **options: P.kwargs) -> R:
        table.refuse_unknown(options, known)
        return function(*args, **options)

    return checked


class Model:
    """A trained model: `sample` writes, `score` and `evaluate` measure; a cloze model fills blanks instead of writing.

    `lm` is the model within, as the other modules of lmgen take it.
    """

    def __init__(self, lm: Any):
        self.lm = lm

    def __repr__(self) -> str:
        config = self.lm.config
        return f"<lmgen.Model {config.describe()}, {config.vocab} symbols, {self.lm.path}>"

    @property
    def fills(self) -> bool:
        """Whether it fills blanks instead of writing."""
        return can(self.lm, Fills)

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
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as part:
                copy = shutil.copytree(self.path, Path(part, target.name), ignore=shutil.ignore_patterns(".*", "lock"))
                copy.rename(target)
        except OSError as error:
            raise LmgenError(f"cannot save {target}: {error.strerror or error}") from None
        return target

    @named
    def sample(
        self,
        count: int | None = None,
        *,
        prompt: str = "",
        seed: int | None = None,
        novel: bool = False,
        distinct: bool = False,
        **settings: Any,
    ) -> list[Sample]:
        """`count` samples (10, or 1 with a carried state), drawn anew each time; the `seed` in each draws them again.

        `settings` are the fields of `Settings`: temperature, top_k, top_p, min_p, max_length, lines, unknown. `distinct` leaves
        out repeats, `novel` also samples that are in the corpus; there are fewer than `count` where the model draws no more.
        Raises InputError for a setting that cannot be used.
        """
        return list(self.samples(count, prompt=prompt, seed=seed, novel=novel, distinct=distinct, **settings))

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
        """As `sample`, one by one as they are drawn."""
        count = self.defaults["count"] if count is None else table.check("count", kinds.Whole(0), count)
        prompt = table.check("prompt", kinds.Text(), prompt)
        seed = secrets.randbelow(1 << 31) if seed is None else table.check("seed", table.SEED, seed)
        drawn = samples(self.lm, Settings(**settings), seed, prompt, wanted=count)
        return distinct_samples(drawn, count, novel) if novel or distinct else islice(drawn, count)

    @named
    def fill(self, text: str, count: int = 5, blank: str = "_") -> list[Filling]:
        """The `count` likeliest fillings of the blanks of a text: each mark is one character, a run of marks one word.

        Raises InputError for a text without a blank and for a model that does not fill blanks.
        """
        lm = require(self.lm, Fills, "train one with --direction both")
        text, blank = (table.check(name, kinds.Text(), value) for name, value in {"text": text, "blank": blank}.items())
        return fillings(lm, text, table.check("count", kinds.Whole(), count), blank)

    @overload
    def score(self, sequences: str) -> Score: ...  # type: ignore[overload-overlap]

    @overload
    def score(self, sequences: Iterable[str | None]) -> Iterator[Score]: ...

    @named
    def score(self, sequences: str | Iterable[str | None]) -> Score | Iterator[Score]:
        """The nats of a sequence, or of each of several; with a carried state each continues the one before.

        Several are scored many at a time; None among them asks for the scores of those before it.
        """
        if isinstance(sequences, str):
            return next(scores(self.lm, [sequences]))
        if not isinstance(sequences, Iterable):
            raise InputError(f"{kinds.said(sequences)} is not a text: give a string, or several")
        return scores(self.lm, map(_sequence, sequences))

    @named
    def evaluate(
        self, *files: Any, encoding: str = "utf-8", errors: str = "strict", batch: int = BATCH, window: int = WINDOW
    ) -> Measures | PseudoMeasures:
        """The measures of files, read as the corpus was read; without files, of the validation text.

        Raises InputError for a file that cannot be read.
        """
        ids = self.source(*files, encoding=encoding, errors=errors).ids if files else self.lm.origin.validation()
        return measure(self.lm, ids, batch, window)

    @named
    def judge(
        self,
        other: Model | str | Path | None = None,
        precision: str = "auto",
        *,
        batch: int = BATCH,
        window: int = WINDOW,
        cold: bool = False,
    ) -> Judge:
        """What makes scorecards: measures beside baselines; with another model, of the mixture of both; with `cold`, every window
        starts from an empty state."""
        second = load(other, precision) if isinstance(other, str | Path) else other
        return Judge(self.lm, second.lm if second else None, batch, window, cold)

    @named
    def source(self, *files: Any, encoding: str = "utf-8", errors: str = "strict") -> Source:
        """Files, or whatever else `train` takes, as one text to measure.

        Raises InputError for a text that is empty or cannot be read.
        """
        names = start.files(files, {"sequence": self.lm.sequence, "encoding": encoding})
        return self._source(finding.find(names), encoding, errors, None)

    @named
    def sources(
        self, *files: str | Path, encoding: str = "utf-8", errors: str = "strict", note: Callable[[str], None] | None = None
    ) -> Iterator[Source]:
        """Each of the files as a text to measure; `note` is called with sentences about oddities of the text."""
        paths = [path for name in files for path in finding.find([str(name)])]
        return (self._source([path], encoding, errors, note) for path in paths)

    def _source(self, paths: list[Path], encoding: str, errors: str, note: Callable[[str], None] | None) -> Source:
        encoding, errors = table.ENCODING.check(encoding), table.ERRORS.check(errors)
        text = reading.Text(paths, self.lm.sequence, self.lm.carry, encoding, errors)
        ids = corpus.encode(iter(text), self.lm.vocab)
        for line in text.notes:
            if note:
                note(line)
        if not ids.symbols:
            raise InputError(f"there is no text in {finding.names_of(text.paths)}: give a file with at least one line of it")
        return Source(finding.names_of(paths), ids, lambda: iter(text))


def _sequence(one: str | None) -> str | None:
    """A sequence that can be scored."""
    if not (one is None or isinstance(one, str)):
        raise InputError(f"{kinds.said(one)} is not a string, so it cannot be scored: give strings")
    return one


@named
def load(name: str | Path | None = None, precision: str = "auto") -> Model:
    """The model of a directory, of a name under checkpoints/, or the newest there. Raises CheckpointError if there is none."""
    return Model(loading.load(name, table.PRECISION.check(precision)))


def train(*files: Any, progress: bool | Callable[[StepReport], Any] = False, **options: Any) -> Model:
    """Train on a text to the end and return the best model.

    The text is one or several names of files, folders or corpora that ship, open files, or strings, each of which is a sequence
    (a list whose first string names a file is one of names). With `progress` the training is shown on stderr; a function is
    called with each report, and ends the training by returning False.

    Ctrl-C saves, and `resume` goes on. Raises InputError, before anything is written, for a text or an option that cannot be
    used, DivergedError where no step succeeds, LmgenError where the last save fails.

    Options, all by name; those you omit are chosen from the amount of text:
    """
    wanted = table.checked(options, bool(files))
    if not (callable(progress) or isinstance(progress, bool)):
        raise InputError(f"progress {kinds.said(progress)} cannot be used: give True, False or a function")
    place = {} if wanted["resume"] else start.place(files, wanted)
    if wanted["valid"] is not None:
        wanted["valid"] = start.files([wanted["valid"]], wanted)
    note = terminal.note if progress is True else (lambda _: None)
    settings = start.text_settings(start.files(files, wanted), wanted, note) if files else None
    if wanted["resume"]:
        path = directories.find(str(wanted["resume"]))
        with lock.locked(path):
            started, complaints = run.resume(path, settings, wanted["changed_text"], **table.belonging(wanted, "end"))
            for complaint in complaints:
                warnings.warn(complaint, stacklevel=2)
            _train(started, progress)
        return load(path, started.config.precision)
    assert settings
    if wanted["cell"] == "ngram":
        return load(counting.new(text=settings, **place, **start.counted(wanted))[0].lm.path)
    with directories.new(**place) as made:
        started = run.new(made, settings, **start.learnt(wanted))
        for sentence in (*started.data.notes, *(f"warning: {warning}" for warning in advice.warnings(started.data.signs))):
            note(sentence)
        _train(started, progress)
    if not made.published:
        raise DivergedError("no validation gave a finite loss: train again with a smaller --learning-rate")
    return load(started.path, started.config.precision)


def _train(started: run.Run, progress: bool | Callable[[StepReport], Any]) -> None:
    """Run a training to its end, or until it is stopped; then it is saved."""
    loss = Loss(started.data.vocab.unit, started.data.characters_per_symbol, started.network.direction == "both")
    with _interrupts() as interrupts, closing(iter(started)) as reports, Display(loss, progress is not True) as display:
        told = progress if callable(progress) else display.show
        for report in reports:
            try:
                stopped = told(report) is False or bool(interrupts)
            except BaseException:
                started.save()
                raise
            if stopped:
                break
    unfinished = not started.progress.finished
    if unfinished or started.trouble:
        started.save()
    if interrupts and unfinished:
        if not started.place.published:  # what is not finite is not saved
            raise KeyboardInterrupt
        raise KeyboardInterrupt(
            f"stopped at step {started.progress.step:,} and saved; go on with: lmgen.train(resume={str(started.path)!r})"
        )


@contextmanager
def _interrupts() -> Iterator[list[int]]:
    """Collect a Ctrl-C, so that the step is finished before it ends the training; a second one ends it at once.

    Where another handler is installed, or in another thread, nothing is collected.
    """
    seen: list[int] = []

    def handler(number: int, frame: Any) -> None:
        if seen:
            raise KeyboardInterrupt
        seen.append(number)

    ours = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if ours:
        signal.signal(signal.SIGINT, handler)
    try:
        yield seen
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _describe(function: Any) -> None:
    """Give a function with **options the signature and the help of the table of options."""
    signature = inspect.signature(function)
    given = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    named = [inspect.Parameter(o.name, inspect.Parameter.KEYWORD_ONLY, default=o.default, annotation=o.hint) for o in table.TRAIN]
    function.__signature__ = signature.replace(parameters=[*given, *named])
    function.__doc__ = inspect.cleandoc(function.__doc__) + "\n" + "\n".join(f"    {o.name}: {o.described}" for o in table.TRAIN)


_describe(train)
