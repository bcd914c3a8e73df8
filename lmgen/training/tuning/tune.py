"""The function tune: trials of short trainings around the plan, then one long training of the best, all within a budget.

Each length of a trial is a whole training, whose learning rate falls to its end: what is compared are finished models of equal
time, not the beginnings of longer trainings. The plan is the first trial and is trained for every length. The model is the last
training's, or the best trial's where that is better on validation text, so it is never worse than the plan's longest trial.
"""

from __future__ import annotations

import gc
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax

from lmgen.data.corpus import Corpus
from lmgen.defaults import language
from lmgen.errors import DivergedError, InputError, LmgenError
from lmgen.options import table
from lmgen.system import checkpoint, directories, lock
from lmgen.training import run as runs
from lmgen.training import train
from lmgen.training.plans import measured
from lmgen.training.run import Run
from lmgen.training.tuning import study as studies
from lmgen.training.tuning.drawing import drawn, optuna
from lmgen.training.tuning.space import Variation, space, varied
from lmgen.training.tuning.study import ETA, LEVELS, Result, Study, Trial

BESIDE = ".tune"  # after the name of a model: the folder of its study
LAST = 0.5  # the share of a budget that is kept for the last training …
SPARE = 8.0  # … but at most this multiple of the time that the plan can use; the largest variation takes about as much longer
ENOUGH = 3.0  # times the time that the plan can use, which a trial may take at most
LONGEST = 6  # trials of the longest length that all others together take as long as
LEAST = 10.0  # seconds of a training: a shorter one mostly compiles
LEAST_BUDGET = 60.0
MARGIN = 0.02  # of a budget, for writing at its end
TRIALS = 20  # of a study without a budget
FAULTS = 5  # trials in a row that fail end a study


class Observer(train.Observer):
    """What a study shows to whoever started it, beside its trainings."""

    def begun(self, study: Study, data: Corpus, folder: Path) -> None:
        """A study begins or goes on."""

    def found(self, study: Study, trial: Trial) -> None:
        """A trial has a new result."""

    def last(self, study: Study, trial: Trial, seconds: float) -> None:
        """The last training begins: that of the best trial, which has `seconds`."""


def tune(
    sources: train.Sources,
    name: str,
    options: dict[str, Any],
    observer: Observer,
    most: int | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[Path, Study]:
    """Tune the training of a text, or go on with a study, to its end; the model's directory and the study.

    `options` are those of `table.checked`, `most` is the number of trials; the others are as in `train.train`. Raises InputError,
    before anything is written, for a text or an option that cannot be used, and the plan's error where that cannot be trained.
    """
    optuna()
    started = clock()
    if options["resume"]:
        folder = _found(Path(options["resume"]))
        with lock.held(folder, folder):
            study = studies.read(folder)
            data = study.text.load(**table.belonging(study.options, "vocabulary"))
            if data.sha256 != study.sha256:
                raise InputError(f"the text has changed since {folder} was begun: restore it, or tune anew")
            return Tuning(folder, study, data, observer, clock).run()
    path = _free(options["output"], directories.HOME / name, options["force"])
    study, data = _begun(sources, options, observer, most)
    study.elapsed = clock() - started
    folder = path.with_name(path.name + BESIDE)
    with directories.new(folder) as place:
        study.save(place.folder)
        place.publish()
        try:
            return Tuning(folder, study, data, observer, clock).run()
        finally:
            if not study.trials:
                shutil.rmtree(folder, ignore_errors=True)


def _found(path: Path) -> Path:
    """The folder of the study of a model, or of its name. Raises InputError where there is none."""
    for one in (path, directories.HOME / path):
        for folder in (one, one.with_name(one.name + BESIDE) if one.name else one):
            if (folder / "study.json").is_file():
                return folder
    raise InputError(f"there is no study of {path}: begin one with lmgen tune CORPUS --budget 10m")


def _free(output: Path | None, path: Path, force: bool) -> Path:
    """The path of a new model, beside which there is no study. Raises TakenError where it is in use."""
    if not (output or force):
        return directories.free(path, BESIDE)
    path = output or path
    directories.check_free(path, force)
    folder = path.with_name(path.name + BESIDE)
    if os.path.lexists(folder):
        raise lock.TakenError(f"{folder} holds a study: go on with lmgen tune --resume {path}, or remove that folder")
    return path


def _begun(sources: train.Sources, options: dict[str, Any], observer: Observer, most: int | None) -> tuple[Study, Corpus]:
    """A new study, and its text. Raises InputError for a text and for options that leave nothing to tune."""
    budget = options["budget"]
    if budget is not None and budget < LEAST_BUDGET:
        raise InputError(f"--budget is too short to compare trainings in: give {LEAST_BUDGET:.0f}s or more, or lmgen train")
    read = train.planned(sources, {**options, "budget": None}, observer)
    data, kept = read.data, table.belonging(options, "vocabulary", "network", "training", "end")
    if read.plan is None:
        raise InputError("only plain text can be tuned, whose plans can vary: add --task language, or use lmgen train")
    if data.valid is None:
        raise InputError("there is no validation text to compare trainings on: give --valid, or a longer text")
    kept |= table.vocabulary(options)
    if not space(kept):
        raise InputError("every option that could vary is given: leave one out")
    pace = measured.pace(budget)
    ends = dict.fromkeys(table.names("end"))
    if budget is None:
        study = Study(read.text, data.sha256, kept | ends, pace, "steps", _lengths(read.plan.steps), most=most or TRIALS)
    else:
        whole = language.plan(data, kept["carry"], {**kept, "budget": LAST * budget}, pace)
        needed = whole.steps * whole.seconds / language.TRAINED + language.START if "epochs" in whole.train else budget
        searching = budget - min(LAST * budget, SPARE * needed)
        longest = max(LEAST, min(searching / LONGEST, ENOUGH * needed))
        lengths = [one for one in (longest / ETA**k for k in range(LEVELS)) if one >= LEAST][::-1]
        study = Study(read.text, data.sha256, kept | ends, pace, "budget", lengths, budget=budget, searching=searching, most=most)
    study.force = options["force"]
    return study, data


def _lengths(steps: int) -> list[float]:
    """Numbers of steps, the largest as given."""
    return sorted({max(1, steps // ETA**k) for k in range(LEVELS)})


class Tuning:
    """A study at work in its folder, which holds the models of the running trial, of the best one and of the last training."""

    def __init__(self, folder: Path, study: Study, data: Corpus, observer: Observer, clock: Callable[[], float]):
        self.folder, self.study, self.data, self.observer, self.clock = folder, study, data, observer, clock
        self.began = clock() - study.elapsed
        self._known: dict[Any, dict[str, Any]] = {}  # options of a length and a variation
        self.name = folder.name.removesuffix(BESIDE)

    def run(self) -> tuple[Path, Study]:
        """Go on to the end of the study."""
        study = self.study
        if not study.model:
            self.observer.begun(study, self.data, self.folder)
            search(study, self._trial, self._keep, self._options)
            self._keep()
            if study.budget is not None and study.last is None:
                self._last(study.budget)
            self._publish()
        assert study.model
        return Path(study.model), study

    def _trial(self, trial: Trial, length: float) -> Result:
        """Train a trial for a length."""
        folder = self._model(f"trial-{self.study.trials.index(trial)}")
        shutil.rmtree(folder.parent, ignore_errors=True)
        one = {"members": self.study.options["members"] or 1}  # the plan of the last training may have several
        wanted = {**self.study.options, self.study.end: length, **one}
        level, options = len(trial.results), self._options(trial.variation, length)
        for other in self.study.trials:
            if len(other.results) > level and other.results[level].options == options:
                return replace(other.results[level], seconds=0.0)
        if length < self.study.lengths[-1]:  # what is added to a network would only blur the differences between networks
            wanted |= {"mixture": False, "members": 1}
        return self._trained(trial, wanted, lambda options: self._new(folder, options))

    def _last(self, budget: float) -> None:
        """Train the best trial for the time that is left, or go on with that training."""
        study, folder = self.study, self._model("last")
        best = study.best()
        assert best
        if checkpoint.snapshots(folder):
            run, complaints = runs.resume(folder)
            self.observer.resume(run, complaints)
            study.last = self._trained(best, {**study.options, "budget": run.config.budget}, lambda _: run)
        else:
            shutil.rmtree(folder.parent, ignore_errors=True)
            left = max(1.0, (1 - MARGIN) * budget - self._elapsed())
            self.observer.last(study, best, left)
            study.last = self._trained(best, {**study.options, "budget": left}, lambda options: self._new(folder, options))
        self._keep()

    def _new(self, folder: Path, options: dict[str, Any]) -> Run:
        return runs.new(folder, self.study.text, data=self.data, pace=self.study.pace, **options)

    def _trained(self, trial: Trial, wanted: dict[str, Any], begin: Callable[[dict[str, Any]], Run]) -> Result:
        """Train a trial with the options that are wanted and those that it varies. Raises LmgenError where the plan cannot be
        trained; what a variation cannot is a fault of it."""
        began, options = self.clock(), {}
        try:
            options = varied(trial.variation, wanted, self._plan)
            run = begin({**wanted, **options})
            train.drive(run, self.observer)
            nats = run.finished.best.provenance.about["valid_nats"] if run.finished else run.progress.best_nats
            if nats is None:
                raise DivergedError("no validation gave a finite loss: give a smaller --learning-rate")
            return Result(nats, self.clock() - began, options)
        except LmgenError as error:
            if not trial.variation:
                raise
            return Result(None, self.clock() - began, options, str(error))
        finally:
            jax.clear_caches()  # each trial compiles programs of its own
            gc.collect()

    def _options(self, variation: Variation, length: float | None = None) -> dict[str, Any]:
        """The options of a variation in a training of a length, the longest if None."""
        length = length or self.study.lengths[-1]
        key = length, *sorted(variation.items())
        if key not in self._known:
            self._known[key] = varied(variation, {**self.study.options, self.study.end: length}, self._plan)
        return self._known[key]

    def _plan(self, options: dict[str, Any]) -> language.Plan:
        return language.plan(self.data, self.study.options["carry"], options, self.study.pace)

    def _keep(self, trial: Trial | None = None) -> None:
        """Write the study with the new result, and remove the models that are no longer needed."""
        self.study.elapsed = self._elapsed()
        self.study.save(self.folder)
        best = self.study.best()
        kept = {"train", "last"} | ({f"trial-{self.study.trials.index(best)}"} if best else set())
        for path in self.folder.iterdir():
            if path.is_dir() and path.name not in kept:
                shutil.rmtree(path, ignore_errors=True)
        if trial:
            self.observer.found(self.study, trial)

    def _publish(self) -> None:
        """Put the best model in its place."""
        study, best = self.study, self.study.best()
        assert best
        nats, last = best.results[-1].nats, study.last.nats if study.last else None
        better = last is not None and nats is not None and last <= nats
        folder = self._model("last" if better else f"trial-{study.trials.index(best)}")
        place = directories.Place(self.folder.with_name(self.name), folder, study.force)
        if folder.exists():
            place.publish()
        elif not place.path.exists():  # else the process was killed after it had been put there
            raise LmgenError(f"the best model of {self.folder} is gone: remove that folder, and tune anew")
        study.model = str(place.path)
        self._keep()
        for path in self.folder.iterdir():
            if path.is_dir() and path.name != "train":
                shutil.rmtree(path, ignore_errors=True)

    def _model(self, name: str) -> Path:
        """Where a model of the study is. Its own name is that which it gets at the end, as its card has it."""
        return self.folder / name / self.name

    def _elapsed(self) -> float:
        return self.clock() - self.began


def search(
    study: Study,
    trained: Callable[[Trial, float], Result],
    keep: Callable[[Trial], None],
    options: Callable[[Variation], Mapping[str, Any]] = dict,
) -> None:
    """Try variations until time, trials or variations are used up.

    `trained` trains a trial for a length, `keep` keeps the result; two variations are the same if their `options` are.
    Raises LmgenError where several trials in a row fail.
    """
    choices, seed = space(study.options), study.options["seed"]
    while not study.searched:
        trial = study.pending()
        if trial is None and len(study.trials) != study.most:
            variation = drawn(choices, study.ranked(), seed, options)
            trial = None if variation is None else Trial(variation)
        if trial is None or not study.fits(trial):
            study.searched = True
            return
        if study.pending() is None:
            study.trials.append(trial)
        trial.results.append(trained(trial, study.lengths[len(trial.results)]))
        keep(trial)
        if all(one.results[-1].fault for one in study.trials[-FAULTS:]):
            raise LmgenError(study.trials[-1].results[-1].fault)
