"""The command train: what is asked for, how the training is shown, how it is stopped."""

from __future__ import annotations

import contextlib
import shlex
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import FrameType
from typing import Any

import click

from lmgen import arguments, console
from lmgen.errors import DivergedError, LmgenError
from lmgen.options import declared, given

INTERRUPTED, TERMINATED = 130, 75


@click.command()
@click.argument("files", nargs=-1, metavar="CORPUS...")
@declared(arguments.TRAIN)
@click.option("-q", "--quiet", is_flag=True, help="Say nothing while training.")
def train(files: tuple[str, ...], quiet: bool, **_: Any) -> None:
    """Train a model on a text.

    CORPUS is a file or several, a folder of *.txt files, - for standard input, or the name of a corpus that ships (lmgen corpus
    list). Options you omit are chosen from the amount of text. Ctrl-C saves; --resume goes on.
    """
    named = [option.name for option in arguments.TRAIN]
    options = arguments.checked({name: value for name, value in given().items() if name in named}, bool(files))
    from lmgen import checkpoint, devices, fit, start
    from lmgen import run as runs

    devices.prepare()
    settings = start.text_settings(files, options) if files else None
    if options["resume"]:
        path = checkpoint.find(str(options["resume"]))
        with checkpoint.locked(path):
            ends = arguments.belonging(options, "end")
            run, complaints = runs.resume(path, settings, options["changed_text"], **ends)
            for complaint in complaints:
                console.note(complaint)
            if not quiet:
                console.note(f"going on with {path} from step {run.progress.step:,}")
            _drive(run, quiet)
        return
    assert settings
    path = start.directory(files, options)
    if options["cell"] == "ngram":
        _say_what_was_counted(path, *fit.new(path, settings, **start.counted(options)), quiet, _look_at(files, options))
        return
    run = runs.new(path, settings, **start.learnt(options))
    if not quiet:
        _say_what_was_chosen(run, _look_at(files, options))
    with checkpoint.locked(path):
        _drive(run, quiet)


class Stop:
    """Set by the first signal, which asks for an end after the step; a second Ctrl-C ends at once, a third without a word."""

    code = 0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.code and number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            raise KeyboardInterrupt
        self.code = INTERRUPTED if number == signal.SIGINT else TERMINATED


@contextlib.contextmanager
def _stopping() -> Iterator[Stop]:
    stop = Stop()
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    before[signal.SIGHUP] = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a closed terminal does not end a training
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if stop.code else handler)  # who is about to end needs no more asking


def _drive(run: Any, quiet: bool) -> None:
    """Run a training to its end or to a signal, showing it, and say how to go on."""
    from lmgen import api

    name = shlex.quote(run.path.name if run.path.parent == Path("checkpoints") else str(run.path))
    fills = run.network.direction == "both"
    loss = console.Loss(run.data.vocab.unit, run.data.characters_per_symbol, fills)
    display = console.Display(loss, quiet)
    trouble = ""
    with _stopping() as stop:
        with closing(iter(run)) as reports, display:
            for report in reports:
                if display.live and report.valid_nats is not None and not fills:
                    display.sample = api.Model(run.language_model()).sample(1, seed=report.step, max_length=60)[0].text
                display.show(report)
                if report.trouble and not trouble:
                    console.note(f"warning: {report.trouble}; training goes on, and the next save tries again")
                trouble = report.trouble or trouble * bool(run.trouble)
                if stop.code and not run.progress.finished:
                    break
        if stop.code and not run.progress.finished:
            run.save()
            console.note(f"stopped at step {run.progress.step:,} and saved; go on with: lmgen train --resume {name}")
            raise SystemExit(stop.code)
    if run.trouble:
        raise LmgenError(f"{run.trouble}: free some space, then go on from the last save with lmgen train --resume {name}")
    if not (run.path / "model.safetensors").exists():
        raise DivergedError("no validation gave a finite loss: train again with a smaller --learning-rate")
    if not quiet:
        progress = run.progress
        console.note(f"done after {progress.step:,} steps in {console.duration(progress.seconds)}: {progress.finished}")
        if progress.best_nats is not None:
            console.note(f"best validation: {loss(progress.best_nats)} at step {progress.best_step:,}")
        blanks = " '…_…'" if run.data.vocab.unit == "char" else " '… ___ …'"
        _say_what_is_next(run.path, "fill" if fills else "sample", blanks * fills)


def _say_what_was_counted(path: Path, fitted: Any, data: Any, quiet: bool, look: str) -> None:
    if quiet:
        return
    _say_what_was_read(data, fitted.lm.sequence, look)
    console.note(f"model: {fitted.lm.config.describe()}, {fitted.ngrams:,} n-grams")
    loss = console.Loss(data.vocab.unit, data.characters_per_symbol, False)
    for order, nats in fitted.tried.items():
        console.note(f"  order {order}: validation {loss(nats)}")
    _say_what_is_next(path, "sample")


def _say_what_is_next(path: Path, command: str, words: str = "") -> None:
    name = shlex.quote(path.name if path.parent == Path("checkpoints") else str(path))
    console.note(f"the model is in {path}; next:")
    console.note(f"    lmgen {command} {name}{words}")


def _say_what_was_read(data: Any, sequence: str, look: str) -> None:
    """What was met in the text, and how to look closer."""
    from lmgen import check

    for line in data.notes:
        console.note(line)
    for warning in (told := check.warnings(data.signs))[:MOST_WARNINGS]:
        console.note(f"warning: {warning}")
    if told:
        console.note(f"for more: {look}")
    console.note(
        f"text: {data.train.symbols:,} symbols of {len(data.vocab):,} kinds in {data.train.sequences:,} {sequence}s"
        + (
            f", {data.valid.symbols:,} more to validate"
            if data.valid
            else "; too little to hold any out, so nothing is validated"
        )
    )


def _look_at(files: tuple[str, ...], options: dict[str, Any]) -> str:
    """The command that looks at the text, read as this training reads it."""
    words = ["lmgen", "corpus", "check", *files, *(word for name in options["valid"] or () for word in ("--valid", name))]
    for option in (arguments.SEQUENCE, arguments.ENCODING, arguments.ERRORS):
        words += [] if options[option.name] == option.default else [option.flag, options[option.name]]
    return shlex.join([*words, *(["--carry"] if options["carry"] else [])])


MOST_WARNINGS = 3


def _say_what_was_chosen(run: Any, look: str) -> None:
    """What was met in the text, what was chosen for it and why."""
    from lmgen import model

    data, network, config = run.data, run.network, run.config
    _say_what_was_read(data, run.text.sequence, look)
    parameters = model.parameters(run.training.state.params)
    console.note(f"model: {network.describe()}, {parameters:,} parameters, dropout {network.dropout:g}")
    ends = [f"{config.steps:,} steps"] if config.steps else []
    ends += [f"{config.epochs:g} passes over the text"] if config.epochs else []
    ends += [console.duration(config.budget)] if config.budget else []
    console.note(
        f"training: {config.batch} × {config.window} symbols a step, learning rate {config.learning_rate:g}, {config.precision}, "
        f"{' or '.join(ends)} at most, in {run.path}"
    )
