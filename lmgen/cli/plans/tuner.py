"""What the command tune prints: the text, each result, what goes on, how it ended, and what to type next."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from lmgen.cli.watch import Watcher
from lmgen.data.corpus import Corpus
from lmgen.defaults.config import StepReport
from lmgen.system.terminal import duration, note, plain
from lmgen.training.display import Display, Loss
from lmgen.training.run import Run
from lmgen.training.train import named
from lmgen.training.tuning.described import length, lengths, words
from lmgen.training.tuning.study import Study, Trial
from lmgen.training.tuning.tune import BESIDE, Observer


class Tuner(Watcher, Observer):
    """Whoever typed the command: reads stderr, and stops the study by a signal."""

    study: Study | None = None
    folder = Path()
    is_last = False

    def begun(self, study: Study, data: Corpus, folder: Path) -> None:
        self.study, self.folder, self.loss = study, folder, Loss.on(data)
        self._text(data)
        many = f"up to {study.most:,} trials" if study.most else "trials"
        within = f" within {duration(study.searching)}" if study.searching else ""
        then = f"; then the best one for the rest of {duration(study.budget)}" if study.budget else ""
        self.note(f"{many}{within}, each trained for {lengths(study)}{then}, in {folder}")
        if study.trials:
            self.note(f"going on after {len(study.trials)} trials, {duration(study.elapsed)}")

    def found(self, study: Study, trial: Trial) -> None:
        result, number, took = trial.results[-1], study.trials.index(trial), length(study, study.lengths[len(trial.results) - 1])
        if result.nats is None:
            self.note(f"trial {number} failed: {words(result)}")
        else:
            end = "goes on" if study.goes_on(trial) else "the best so far" if trial is study.best() else "stops"
            self.note(f"trial {number} after {took}: {self.loss.valid(result.nats)}, {end}; {words(result)}")
        self.stop.check()

    def last(self, study: Study, trial: Trial, seconds: float) -> None:
        self.is_last = True
        self.note(f"training trial {study.trials.index(trial)} for {duration(seconds)}: {words(trial.results[-1])}")

    def resume(self, run: Run, complaints: list[str]) -> None:
        self.is_last = True
        super().resume(run, complaints)

    @contextlib.contextmanager
    def watch(self, run: Run) -> Iterator[Callable[[StepReport], bool]]:
        if self.is_last:
            with super().watch(run) as go_on:
                yield go_on
            return
        self.stop.finishing = True
        try:
            with Display(Loss.of(run), self.quiet or plain(sys.stderr)) as display:

                def go_on(report: StepReport) -> bool:
                    display.show(report)
                    return not self.stop.code

                yield go_on
        finally:
            self.stop.finishing = False

    def stopped(self, run: Run) -> None:
        raise KeyboardInterrupt

    def end(self, run: Run) -> None:
        self.stop.finishing = False
        if self.is_last:
            took = f"{run.progress.step:,} steps in {duration(run.progress.seconds)}"
            self.note(f"done after {took}: {run.progress.finished}")

    def interrupted(self) -> None:
        """Say what is kept of a study that a signal ended."""
        if self.study is None or not self.study.trials:
            note("stopped before the first training ended, so nothing is kept")
            return
        name = self.folder.with_name(self.folder.name.removesuffix(BESIDE))
        note(f"stopped and kept after {duration(self.study.elapsed)}; go on with: lmgen tune --resume {named(name)}")

    def ended(self, path: Path, study: Study) -> None:
        """Say how good the model is, and what to type next."""
        best = study.best()
        assert best
        plan, found = study.trials[0].results[-1].nats, best.results[-1].nats
        if best.variation and plan and found:
            self.note(f"the best trial has {1 - found / plan:.1%} fewer nats than the plan")
        else:
            self.note("no trial was better than the plan")
        self.note(f"the model is in {path}; the validation text has chosen it, so measure it on another:")
        self.note(f"    lmgen eval {named(path)} FILE")
