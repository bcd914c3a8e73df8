"""The command train: what is asked for, how the training is shown, how it is stopped."""

from __future__ import annotations

import contextlib
import shlex
from contextlib import closing
from itertools import chain, islice
from pathlib import Path
from typing import Any

import click

from lmgen.cli.options import command, given
from lmgen.errors import DivergedError, LmgenError
from lmgen.options import commands, table
from lmgen.system import signals, terminal
from lmgen.training.display import Display, Loss

EXAMPLES = 1000  # lines that are tried


@command("lmgen train names.txt", "lmgen train cities --budget 1m -o checkpoints/towns", options=commands.TRAIN)
@click.argument("files", nargs=-1, metavar="CORPUS...")
def train(files: tuple[str, ...], quiet: bool, **_: Any) -> None:
    """Train a model on a text.

    CORPUS is a file or several, a folder (of *.txt files, or of those below it that --glob names), - for standard input, or the
    name of a corpus that ships (lmgen corpus list). Options you omit are chosen from the amount of text. Ctrl-C saves; --resume
    goes on.
    """
    named = [option.name for option in table.TRAIN]
    options = table.checked({name: value for name, value in given().items() if name in named}, bool(files))
    with signals.heeded() as stop:
        from lmgen.system import devices, directories, lock
        from lmgen.training import counting, start
        from lmgen.training import run as runs

        devices.prepare()
        stop.check()
        settings = start.text_settings(files, options, (lambda _: None) if quiet else terminal.note) if files else None
        if options["resume"]:
            path = directories.find(str(options["resume"]))
            with lock.locked(path):
                ends = table.belonging(options, "end")
                run, complaints = runs.resume(path, settings, options["changed_text"], **ends)
                for complaint in complaints:
                    terminal.note(complaint)
                if run.progress.finished:
                    _say_that_it_is_finished(run)
                    return
                if not quiet:
                    terminal.note(f"going on with {path} from step {run.progress.step:,}")
                _drive(run, quiet, stop)
            return
        assert settings
        place = start.place(files, options)
        if options["cell"] == "ngram":
            found = counting.new(text=settings, **place, **start.counted(options))
            if not quiet:
                _say_what_was_counted(*found, options, _look_at(files, options))
            return
        with directories.new(**place) as made:
            run = runs.new(made, settings, **start.learnt(options))
            stop.check()
            if not quiet:
                _say_what_was_chosen(run, options, _look_at(files, options))
            _drive(run, quiet, stop)


def _drive(run: Any, quiet: bool, stop: signals.Stop) -> None:
    """Run a training to its end or to a signal, showing it, and say how to go on."""
    from lmgen import api

    fills = run.network.direction == "both"
    loss = Loss(run.data.vocab.unit, run.data.characters_per_symbol, fills)
    display = Display(loss, quiet)
    trouble = ""
    stop.finishing = True
    with closing(iter(run)) as reports, display:
        for report in reports:
            if display.live and report.valid_nats is not None and not fills:
                with contextlib.suppress(LmgenError):  # weights may be too large to draw with, and become smaller again
                    display.sample = api.Model(run.language_model()).sample(1, seed=report.step, max_length=60)[0].text
            display.show(report)
            if report.trouble and not trouble:
                display.note(f"warning: {report.trouble}; training goes on, and the next save tries again")
            trouble = report.trouble or trouble * bool(run.trouble)
            if stop.code and not run.progress.finished:
                break
    if stop.code and not run.progress.finished:
        run.save()
        if not run.place.published:  # what is not finite is not saved
            raise KeyboardInterrupt
        terminal.note(f"stopped at step {run.progress.step:,} and saved; go on with: lmgen train --resume {_named(run.path)}")
        raise SystemExit(stop.code)
    stop.finishing = False
    if run.trouble:
        way_out = f"go on from the last save with lmgen train --resume {_named(run.path)}"
        if not run.place.published:
            run.place.rescue()
            way_out = f"train again (the weights saved are in {run.path})" if run.place.published else "train again"
        raise LmgenError(f"{run.trouble}: free some space, then {way_out}")
    if not run.place.published:
        raise DivergedError("no validation gave a finite loss: train again with a smaller --learning-rate")
    if not quiet:
        progress = run.progress
        terminal.note(f"done after {progress.step:,} steps in {terminal.duration(progress.seconds)}: {progress.finished}")
        if progress.best_nats is not None:
            kept = "" if run.config.keep == "best" else "; the last weights are kept"
            terminal.note(f"best validation: {loss(progress.best_nats)} at step {progress.best_step:,}{kept}")
        _say_what_is_next(run.path, "fill" if fills else "sample", _example(run) if fills else "")


def _say_that_it_is_finished(run: Any) -> None:
    steps, seconds = f"{run.progress.step:,} steps", terminal.duration(run.progress.seconds)
    terminal.note(f"{run.path} is finished: {steps} in {seconds}, {run.progress.finished}; give it more with, for instance:")
    terminal.note(f"    lmgen train --resume {_named(run.path)} --steps {2 * run.progress.step}")


def _example(run: Any) -> str:
    """A line that the model has not seen, with a blank in it, as a shell takes it; nothing where there is none."""
    from lmgen.generation import filling
    from lmgen.models import provenance

    with contextlib.suppress(LmgenError):  # of a text that is gone by now
        origin = provenance.Origin(run.data, *run.text.open(run.network.carry))
        for piece in islice(chain(origin.held_out(), origin.training()), EXAMPLES):
            if found := filling.blanked(piece.text, run.data.vocab.unit):
                return f" {shlex.quote(found)}"
    return ""


def _say_what_was_counted(fitted: Any, data: Any, options: dict[str, Any], look: str) -> None:
    _say_what_was_read(data, options, look)
    terminal.note(f"model: {fitted.lm.config.describe()}, {fitted.ngrams:,} n-grams")
    loss = Loss(data.vocab.unit, data.characters_per_symbol, False)
    for order, nats in fitted.tried.items():
        terminal.note(f"  order {order}: validation {loss(nats)}")
    _say_what_is_next(fitted.lm.path, "sample")


def _say_what_is_next(path: Path, command: str, words: str = "") -> None:
    terminal.note(f"the model is in {path}; next:")
    terminal.note(f"    lmgen {command} {_named(path)}{words}")


def _named(path: Path) -> str:
    """What names a model in a command."""
    return shlex.quote(path.name if path.parent == Path("checkpoints") else str(path))


def _say_what_was_read(data: Any, options: dict[str, Any], look: str) -> None:
    """What was met in the text, and how to look closer."""
    from lmgen.data import advice

    for line in data.notes:
        terminal.note(line)
    for warning in (told := advice.warnings(data.signs))[:MOST_WARNINGS]:
        terminal.note(f"warning: {warning}")
    if told:
        terminal.note(f"for more: {look}")
    terminal.note(f"text: {data.signs.characters:,} characters with line ends")
    kinds, sequences = len(data.vocab.symbols), f"{data.train.sequences:,} {options['sequence']}s"
    symbols = f"symbols, each EOS included: {data.train.symbols:,} of {kinds:,} kinds in {sequences} to train on"
    if data.valid:
        terminal.note(f"{symbols}, {data.valid.symbols:,} in {data.valid.sequences:,} to validate")
    elif options["no_valid"]:
        terminal.note(f"{symbols}, none to validate")
    else:
        terminal.note(f"{symbols}; a tenth of so few is too little to validate, so the model learns all of them")


def _look_at(files: tuple[str, ...], options: dict[str, Any]) -> str:
    """The command that looks at the text, read as this training reads it."""
    words = ["lmgen", "corpus", "check", *files, *(["--glob", options["glob"]] if options["glob"] else [])]
    words += [*(word for name in options["valid"] or () for word in ("--valid", name))]
    for option in (table.SEQUENCE, table.ENCODING, table.ERRORS):
        words += [] if options[option.name] == option.default else [option.flag, options[option.name]]
    return shlex.join([*words, *(["--carry"] if options["carry"] else [])])


MOST_WARNINGS = 3


def _say_what_was_chosen(run: Any, options: dict[str, Any], look: str) -> None:
    """What was met in the text, what was chosen for it and why."""
    from lmgen.nn import model

    data, network, config = run.data, run.network, run.config
    _say_what_was_read(data, options, look)
    parameters = model.parameters(run.training.state.params)
    terminal.note(f"model: {network.describe()}, {parameters:,} parameters, dropout {network.dropout:g}")
    ends = [f"{config.steps:,} steps"] if config.steps else []
    ends += [f"{config.epochs:g} passes over the text"] if config.epochs else []
    ends += [terminal.duration(config.budget)] if config.budget else []
    terminal.note(
        f"training: {config.batch} × {config.window} symbols a step, learning rate {config.learning_rate:g}, {config.precision}, "
        f"{' or '.join(ends)}{' at most' if data.valid or len(ends) > 1 else ''}, in {run.path}"
    )
