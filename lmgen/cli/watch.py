"""What the command train prints: what it chose, the training as it runs, how it ended, and what to type next."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

from lmgen import api
from lmgen.data.corpus import Corpus
from lmgen.defaults.config import StepReport
from lmgen.errors import LmgenError
from lmgen.generation import filling
from lmgen.labelled.corpus import LabelledCorpus
from lmgen.models import provenance
from lmgen.models.kinds import RECURRENT
from lmgen.nn import model, precision
from lmgen.nn.regularisation.dropout import described
from lmgen.options import table
from lmgen.system import signals
from lmgen.system.terminal import command, duration, note
from lmgen.training.counting import Fitted
from lmgen.training.display import Display, Loss
from lmgen.training.run import Run
from lmgen.training.train import Observer, named

EXAMPLES = 1000  # lines that are tried as an example for `lmgen fill`
MOST_WARNINGS = 3


class Watcher(Observer):
    """Whoever typed the command: reads stderr, and stops the training by a signal."""

    def __init__(self, files: tuple[str, ...], options: dict[str, Any], quiet: bool, stop: signals.Stop):
        self.files, self.options, self.quiet, self.stop = files, options, quiet, stop
        self.was_finished = False

    def note(self, message: str) -> None:
        if not self.quiet:
            note(message)

    def begin(self, run: Run) -> None:
        self.stop.check()
        self._text(run.data, run.kind.nouns)
        network, config = run.network, run.config
        parameters = model.parameters(run.training.state.params)
        self.note(f"model: {network.describe()}, {parameters:,} parameters, {described(network)}")
        ends = [f"{config.steps:,} steps"] if config.steps else []
        ends += [f"{config.epochs:g} passes over the text"] if config.epochs else []
        ends += [duration(config.budget)] if config.budget else []
        most = " at most" if run.data.valid or len(ends) > 1 else ""
        share = run.training.batches.filler
        filler = f" ({share:.1%} of them filler)" if share else ""
        up_to = "up to " * bool(config.budget and len(ends) > 1)
        networks = f"{up_to}{config.members} networks one after the other, " if config.members > 1 else ""
        self.note(
            f"training: {networks}{config.batch} × {config.window} {run.kind.nouns[0]}s a step{filler}, "
            f"learning rate {config.learning_rate:g}, {config.precision}, {' or '.join(ends)}{most}, in {run.path}"
        )
        if lack := precision.lacking():
            self.note(f"warning: there are no compiled kernels, so this is slower: {lack}")

    def resume(self, run: Run, complaints: list[str]) -> None:
        for complaint in complaints:
            note(complaint)
        self.was_finished = bool(run.progress.finished)
        if not self.was_finished:
            self.note(f"going on with {run.path} from step {run.progress.step:,}")

    @contextlib.contextmanager
    def watch(self, run: Run) -> Iterator[Callable[[StepReport], bool]]:
        self.stop.finishing, trouble = True, ""
        with Display(Loss.of(run), self.quiet) as display:

            def go_on(report: StepReport) -> bool:
                nonlocal trouble
                if display.live and report.valid_nats is not None and run.kind.command == "sample":
                    with contextlib.suppress(LmgenError):  # weights may be too large to draw with, and become smaller again
                        (sample,) = api.Model(run.language_model()).sample(1, seed=report.step, max_length=60)
                        display.sample = sample.text
                display.show(report)
                if report.trouble and not trouble:
                    display.note(f"warning: {report.trouble}; training continues, and the next save tries again")
                trouble = report.trouble or trouble * bool(run.trouble)
                return not self.stop.code

            yield go_on

    def stopped(self, run: Run) -> None:
        if not run.place.published:
            raise KeyboardInterrupt
        way_out = f"go on with: lmgen train --resume {named(run.path)}"
        note(f"stopped at step {run.progress.step:,} and saved; {way_out}")
        raise SystemExit(self.stop.code or signals.TERMINATED)  # another process was told to stop

    def end(self, run: Run) -> None:
        self.stop.finishing = False
        progress = run.progress
        took = f"{progress.step:,} steps in {duration(progress.seconds)}"
        if self.was_finished:
            note(f"{run.path} is finished: {took}, {progress.finished}; give it more with, for instance:")
            steps, budget = progress.step - progress.first, run.config.budget
            more = f"--budget {max(1, round(2 * budget))}s" if budget else f"--steps {2 * steps}"
            note(f"    lmgen train --resume {named(run.path)} {more}")
            return
        self.note(f"done after {took}: {progress.finished}")
        if progress.best_nats is not None:
            kept = "" if run.config.keep == "best" else "; the last weights are kept"
            of = " of the last network" if progress.member else ""
            self.note(f"best validation{of}: {Loss.of(run).valid(progress.best_nats)} at step {progress.best_step:,}{kept}")
        if run.finished:
            for sentence in run.finished.sentences(Loss.of(run).valid, progress.member > 0):
                self.note(sentence)
        self._next(run.path, f"{run.kind.command} {named(run.path)}{_example(run)}")

    def counted(self, fitted: Fitted, data: Corpus) -> None:
        self._text(data)
        self.note(f"model: {fitted.lm.config.describe()}, {fitted.ngrams:,} n-grams")
        loss = Loss.on(data)
        for order, nats in fitted.tried.items():
            self.note(f"  order {order}: validation {loss.valid(nats)}")
        assert fitted.lm.path
        self._next(fitted.lm.path, f"sample {named(fitted.lm.path)}")

    def _next(self, path: Path, command: str) -> None:
        self.note(f"the model is in {path}; next:")
        self.note(f"    lmgen {command}")

    def _text(self, data: Any, nouns: tuple[str, str] = RECURRENT.nouns) -> None:
        """What was found in the text, its most serious faults, its size."""
        for sentence in data.notes:
            self.note(sentence)
        warnings = data.warnings
        for warning in warnings[:MOST_WARNINGS]:
            self.note(f"warning: {warning}")
        if warnings:
            self.note(f"for more: {self._check()}")
        self.note(f"text: {data.summary}")
        noun = nouns[1] or ("text" if isinstance(data, LabelledCorpus) else self.options["sequence"])
        sequences = f"{data.train.sequences:,} {noun}s"
        symbols = f"{data.train.symbols:,} of {len(data.vocab.symbols):,} kinds in {sequences} to train on"
        if data.valid:
            held_out = f", {data.valid.symbols:,} in {data.valid.sequences:,} to validate"
        elif self.options["no_valid"]:
            held_out = ", none to validate"
        else:
            held_out = (
                "; a tenth of so few is too little to validate, so the model learns all of them: give more text, or --valid FILE"
            )
        self.note(f"{nouns[0]}s{'' if nouns[1] else ', each EOS included'}: {symbols}{held_out}")

    def _check(self) -> str:
        """The command that checks the text, read as this training reads it."""
        options = self.options
        words = ["lmgen", "corpus", "check", *self.files, *(["--glob", options["glob"]] if options["glob"] else [])]
        words += [*(word for name in options["valid"] or () for word in ("--valid", name))]
        column = options["column"] if isinstance(options["column"], str) else options["field"]
        words += [] if column is None else ["--field", str(column)]
        for option in (table.SEQUENCE, table.ENCODING, table.ERRORS, table.SEGMENT, table.NORMALIZE):
            words += [] if options[option.name] == option.default else [option.flag, options[option.name]]
        return command(*words, *(f"--{name}" for name in ("lowercase", "carry") if options[name]))


def _example(run: Run) -> str:
    """A line that the model has not seen, with a blank in it, quoted for a shell; nothing where there is none."""
    if run.kind.command == "predict":
        return " FILE"
    if run.kind.command == "sample":
        return f" --label {command(run.network.names.labels[0])}" if run.network.names else ""
    with contextlib.suppress(LmgenError):  # a text that is gone by now
        origin = provenance.Origin(run.data, run.text, run.network.carry)
        for piece in islice(chain(origin.held_out(), origin.training()), EXAMPLES):
            if found := filling.blanked(piece.text, run.data.vocab.unit):
                return f" {command(found)}"
    return ""
