"""The function train, the same for the command line and for Python: text, directory, training or counting, the end."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from lmgen.data import finding
from lmgen.data.corpus import Corpus
from lmgen.data.inputs import are_names, unseen
from lmgen.data.sharded import reading as shards
from lmgen.data.sharded.stores import ShardError
from lmgen.data.sources import packed, tables
from lmgen.data.split import WHOLE
from lmgen.defaults import language
from lmgen.defaults.config import StepReport
from lmgen.errors import DivergedError, InputError, LmgenError
from lmgen.labelled.forms import BY_COLUMN
from lmgen.models import kinds
from lmgen.models.provenance import TextSettings
from lmgen.options import table
from lmgen.structured import pairs
from lmgen.structured.table import LABELS, Found, learnt, nothing, plain_column, recognise
from lmgen.system import directories, lock, signals, terminal
from lmgen.system.cluster import group, watching
from lmgen.training import counting, loggers
from lmgen.training import run as runs
from lmgen.training.display import Display, Loss
from lmgen.training.run import Run

Sources = Callable[[], tuple[Sequence[str], Sequence[str]]]  # the names of the training text's and the validation text's files


class Observer:
    """What a training shows to whoever started it, and when it stops. This one shows nothing and never stops."""

    def note(self, message: str) -> None:
        """Something that was found in the text."""

    def begin(self, run: Run) -> None:
        """A new training is about to start."""

    def resume(self, run: Run, complaints: list[str]) -> None:
        """A training continues; `complaints` are about snapshots that could not be used."""

    @contextmanager
    def watch(self, run: Run) -> Iterator[Callable[[StepReport], bool]]:
        """Around the loop: yields what is called with each report, and stops the training by returning False."""
        yield lambda report: True

    def stopped(self, run: Run) -> None:
        """The training was stopped before its end, and is saved if it could be."""

    def end(self, run: Run) -> None:
        """The training is at its end."""

    def counted(self, fitted: counting.Fitted, data: Corpus) -> None:
        """An n-gram model was fitted."""


class Caller(Observer):
    """A Python program that trains: it sees the training on stderr or by a function, and stops it by False or Ctrl-C."""

    def __init__(self, progress: bool | Callable[[StepReport], Any]):
        self.progress = progress

    def note(self, message: str) -> None:
        if self.progress is True:
            terminal.note(message)

    def begin(self, run: Run) -> None:
        for sentence in (*run.data.notes, *(f"warning: {warning}" for warning in run.data.warnings)):
            self.note(sentence)

    def resume(self, run: Run, complaints: list[str]) -> None:
        for complaint in complaints:
            warnings.warn(complaint, stacklevel=4)

    @contextmanager
    def watch(self, run: Run) -> Iterator[Callable[[StepReport], bool]]:
        with signals.waiting() as self.stop, Display(Loss.of(run), quiet=self.progress is not True) as display:
            show = self.progress if callable(self.progress) else display.show

            def go_on(report: StepReport) -> bool:
                try:
                    return show(report) is not False and not self.stop.code
                except BaseException:
                    run.save()
                    raise

            yield go_on

    def stopped(self, run: Run) -> None:
        if self.stop.code and run.place.published:
            way_out = f"go on with: lmgen.train(resume={str(run.path)!r})"
            raise KeyboardInterrupt(f"stopped at step {run.progress.step:,} and saved; {way_out}")
        self.stop.check()


def train(sources: Sources, name: str, options: dict[str, Any], observer: Observer) -> tuple[Path, str]:
    """Train on a text, or go on with a training, to its end; the model's directory, and the precision it was trained with.

    `options` are those of `table.checked`; without an output the directory is called `name`, or `name-2` where that is taken.
    Raises InputError, before anything is written, for a text or an option that cannot be used, DivergedError where no step
    succeeds, LmgenError where the last save fails.
    """
    if options["resume"]:
        loggers.check(options["log"])
        path = directories.find(str(options["resume"]))
        with lock.locked(path):
            text = _text(sources, options, observer)
            run, complaints = runs.resume(path, text, options["changed_text"], **table.belonging(options, "end"))
            observer.resume(run, complaints)
            drive(run, observer, options["log"])
        return path, run.config.precision
    kinds.wanted(options)
    loggers.check(options["log"])
    language.check(options)
    if sentence := language.slow(options):
        observer.note(sentence)
    path, force = options["output"] or directories.HOME / name, options["force"]
    count_on = not (options["output"] or force)
    if not count_on:
        directories.check_free(path, force)
    text = _text(sources, options, observer)
    assert text
    kind = kinds.wanted(options, text.task or "language")
    vocabulary = table.vocabulary(options)
    with directories.new(path, force, count_on) as place:
        if kind.counts:
            observer.counted(*counting.new(place, text, order=options["order"], **vocabulary))
            return place.path, "auto"
        run = runs.new(place, text, **vocabulary, **table.belonging(options, *table.MODELS[1:]))
        observer.begin(run)
        drive(run, observer, options["log"])
    return run.path, run.config.precision


def planned(sources: Sources, options: dict[str, Any], observer: Observer) -> runs.Chosen:
    """What `train` would train with these options; nothing is written. Raises InputError, and LmgenError for too little memory,
    as `train` does, and where nothing is to be planned."""
    if options["resume"]:
        raise InputError("--resume continues a training whose plan is made: leave it out to plan a new one")
    language.check(options)
    text = _text(sources, options, observer)
    assert text
    if kinds.wanted(options, text.task or "language").counts:
        raise InputError("an n-gram model is counted in one go, so there is nothing to plan: leave out --cell ngram")
    found = runs.chosen(text, **table.vocabulary(options), **table.belonging(options, *table.MODELS[1:]))
    language.check_memory(found.network, found.config)
    return found


def _text(sources: Sources, options: dict[str, Any], observer: Observer) -> TextSettings | None:
    """The files of the text and how to read them, which of a corpus in shards is decided, so that `options` follow; None if none
    is named. Raises InputError for a missing file."""
    files, valid = sources()
    if not files:
        return None
    if address := shards.address_of(files):
        manifest = shards.manifest_of(shards.store_of(address))
        options |= shards.settled(manifest, options)
        how = {name: getattr(manifest, name) for name in ("sequence", "encoding", "errors", "split", "lowercase", "normalize")}
        return TextSettings((address,), (), **how)
    found = finding.find(files, options["glob"], observer.note), finding.find(valid)
    names = ("sequence", "encoding", "errors", "lowercase", "normalize")
    how = {name: options[name] for name in names} | _structured(found[0], options, observer)
    if how.get("task") in LABELS.tasks:
        _same_form(found[1], how["form"])
    if not how.keys() & {"form", "field"}:
        unseen_pairs = options["task"] is None and recognise(found[0]) is None
        if hint := (unseen_pairs and pairs.hint(found[0])) or tables.hint(found[0][0]):
            observer.note(hint)
    training, validation = (tuple(str(path.absolute()) for path in paths) for paths in found)  # for resuming from another folder
    return TextSettings(training, validation, **how, split=WHOLE if options["no_valid"] else None)


def _structured(paths: Sequence[Path], options: dict[str, Any], observer: Observer) -> dict[str, Any]:
    """How text with a structure is read and what is learnt of it; nothing for plain text.

    Raises InputError where the task that the options name cannot be learnt from the text.
    """
    task, column = options["task"], options["column"]
    target = options["target"]
    if (field := column if isinstance(column, str) else options["field"]) is not None:
        if task not in (None, "language"):
            raise plain_column(field, task)
        return {"field": field}
    if target:
        found: Found | None = Found("parallel", "translate", f"{finding.names_of(paths)} has targets in {target}")
    else:
        found = None if task == "language" else recognise(paths, task)
    if found is None and task is None and (first := recognise(paths[:1])):
        other = next(path for path in paths if recognise([path]) is None)
        observer.note(f"{first.reason}, but {finding.name_of(other)} is not such text, so all of it is read as plain text")
    reads = {"--carry": options["carry"], "--sequence": options["sequence"] != "line", "--cell": kinds.kind_of(options).counts}
    if found and (plain := [flag for flag, on in reads.items() if on]):
        observer.note(f"{found.reason}, but with {plain[0]} it is read as plain text: leave that out to {learnt(found.task)}")
        found = None
    if found is None:
        if task in (None, "language"):
            if rows := [path for path in paths if path.name.endswith(finding.RECORDS)]:
                raise unseen(rows[0])
            return {} if column is None else {"field": column}
        raise nothing(paths, task)
    task = task or found.task
    if not {*task.replace("generate", "classify").split("-")} <= {*found.task.split("-")}:
        raise InputError(f"{found.reason}, so there is nothing to {learnt(task)}: leave out --task")
    if column is not None and found.form not in BY_COLUMN:
        raise InputError(f"{found.reason}, and no columns with numbers: leave out --column")
    reason = found.reason if column is None else f"{finding.names_of(paths)} has in column {column}, by --column, what to predict"
    observer.note(f"{reason}: learning to {learnt(task)} (--task language: plain text)")
    how = {"form": found.form, "column": column or found.column, "separator": options["separator"], "task": task}
    return {**how, "target": str(Path(target).absolute()) if target else None}


def _same_form(valid: Sequence[Path], form: str) -> None:
    """Raise InputError for a validation text with labels in another form than those of the training text."""
    found = LABELS.recognise(valid) if valid else None
    if found and found.form != form:
        way = "give a validation text in the same form"
        raise InputError(f"{found.reason}, but the training text is in the form {form}: {way}")


def drive(run: Run, observer: Observer, log: str | None = None) -> None:
    """Run a training until it ends or is stopped, and save it. The other processes of the training follow."""
    if group.count() > 1:
        group.sent(runs.invitation(run))
        group.agree("")
    with loggers.logging(log, run, observer.note) as add:
        with closing(iter(run)) as reports, observer.watch(run) as go_on, _kept(run):
            for report in reports:
                add(report)
                if run.place.published:
                    watching.tell(resuming(run.path))
                if report.valid_nats is not None and (sentence := group.straggler()):
                    observer.note(sentence)
                if run.training.clock.stop(not go_on(report)):
                    break
        if not run.progress.finished:
            run.save()
    if not run.progress.finished:
        observer.stopped(run)
    elif run.trouble:
        way_out = f"go on from the last save with lmgen train --resume {named(run.path)}"
        if not run.place.published:
            run.place.rescue()
            way_out = f"train again (the weights saved are in {run.path})" if run.place.published else "train again"
        raise LmgenError(f"{run.trouble}: free some space, then {way_out}")
    if not run.place.published:
        raise DivergedError("no validation gave a finite loss: train again with a smaller --learning-rate")
    if run.progress.finished:
        observer.end(run)


@contextmanager
def _kept(run: Run) -> Iterator[None]:
    """Save a training before text that cannot be read ends it. Several processes save together, so they keep the last save."""
    try:
        yield
    except ShardError as error:
        if group.count() == 1 and run.progress.step > run.saved:
            run.save()
        if run.place.published:
            raise type(error)(f"{error}; then go on with {resuming(run.path)}") from None
        raise


def follow(stop: signals.Stop) -> None:
    """Take part in a training that process 0 leads."""
    invited, fault = group.sent(), ""
    try:
        run = runs.follow(invited)
    except LmgenError as error:
        fault = str(error)
    group.agree(fault)
    stop.finishing = True
    with closing(iter(run)) as reports:
        for report in reports:
            if report.valid_nats is not None:  # then process 0 has saved
                watching.tell(resuming(run.path))
            if run.training.clock.stop(bool(stop.code)):
                break
    if not run.progress.finished:
        run.save()


def resuming(path: Path) -> str:
    """The command that goes on with a training."""
    return f"lmgen train --resume {named(path)}"


def named(path: Path) -> str:
    """A model as a command names it: by its name alone in checkpoints/, quoted for a shell."""
    return terminal.command(path.name if path.parent == directories.HOME else str(path))


def default_name(given: Sequence[Any]) -> str:
    """The name of a model: that of its first file, or of the file's folder where the file's name says nothing."""
    first = given[0]
    if are_names(first):
        return default_name(first)
    first = getattr(first, "name", None) if hasattr(first, "read") else first
    if not isinstance(first, str | os.PathLike):
        return "python"
    if first == "-":
        return "stdin"
    path = Path(first).absolute()
    path = path.with_suffix("") if path.suffix.lower() in packed.SUFFIXES and path.stem else path
    says_nothing = path.stem in ("train", "all", "input", "text", "data", "corpus", "manifest") or "*" in path.stem
    return directories.safe_name((path.parent.name if says_nothing else path.stem) or path.stem)
