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

from lmgen import console
from lmgen.errors import DivergedError, LmgenError
from lmgen.options import ENCODING, ERRORS, PRECISION, SEQUENCE, Bounded, Duration, Whole

INTERRUPTED, TERMINATED = 130, 75


@click.command()
@click.argument("files", nargs=-1, metavar="CORPUS...")
@click.option("--valid", metavar="FILE", help="Text to validate on; without it a part of the corpus is held out.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="The model directory.  [default: checkpoints/ and the corpus's name]"
)
@click.option("--force", is_flag=True, help="Replace the model that --output names.")
@click.option("--resume", type=click.Path(path_type=Path), metavar="MODEL", help="Go on exactly where a training stopped.")
@click.option("--changed-text", is_flag=True, help="Resume although the text has changed.")
@click.option(
    "--unit",
    type=click.Choice(["char", "word", "word-punct", "word-only"]),
    default="char",
    show_default=True,
    help="What a symbol is.",
)
@SEQUENCE
@click.option("--carry", is_flag=True, help="Carry the state from sequence to sequence: running text.")
@click.option("--min-count", type=Whole(), default=1, help="Symbols seen less often are unknown.")
@click.option("--vocab-size", type=Whole(3), help="The most symbols, EOS and UNK among them.")
@click.option("--unk-token", help="How the corpus itself marks unknown words, such as <unk>.")
@click.option("--cell", help="lstm, gru, elman, …: lmgen cells lists them; or ngram, which counts.  [default: lstm]")
@click.option("--order", type=Whole(), help="The n of an n-gram model.  [default: what suits the validation text]")
@click.option("--size", type=Whole(), help="Units in a layer.")
@click.option("--layers", type=Whole(), help="Layers.")
@click.option("--residual/--no-residual", default=None, help="Add what a layer reads to what it gives.")
@click.option("--layer-norm/--no-layer-norm", default=None, help="Normalise what each layer and the head read.")
@click.option("--direction", type=click.Choice(["forward", "both"]), help="both: a model that fills blanks.  [default: forward]")
@click.option("--embedding", type=Whole(), help="Numbers that stand for a symbol.")
@click.option("--tie/--no-tie", default=None, help="Use the embedding as output weights, too.")
@click.option("--dropout", type=Bounded(0, 0.95), help="The share of each layer's outputs dropped in training.")
@click.option("--batch", type=Whole(), help="Columns read side by side.")
@click.option("--window", type=Whole(), help="Symbols through which the gradient flows back.")
@click.option("--steps", type=Whole(), help="Train for so many updates …")
@click.option("--epochs", type=Bounded(0, 1e6, open_low=True), help="… or so many passes over the text …")
@click.option("--budget", type=Duration(), help="… or for so long: 90s, 5m, 1h30m.")
@click.option("--learning-rate", type=Bounded(0, 10, open_low=True), help="Of AdamW, at its peak.")
@click.option("--weight-decay", type=Bounded(0, 10), help="Of AdamW, for all matrices.  [default: 0.2]")
@click.option("--clip", type=Bounded(0, open_low=True), help="The gradient's greatest global norm.  [default: 1]")
@click.option("--patience", type=Whole(0), help="Stop after so many validations without a better one; 0 never.  [default: 10]")
@PRECISION
@click.option("--seed", type=Whole(0), default=0, show_default=True)
@ENCODING
@ERRORS
@click.option("-q", "--quiet", is_flag=True, help="Say nothing while training.")
def train(files: tuple[str, ...], **options: Any) -> None:
    """Train a model on a text.

    CORPUS is a file or several, a folder of *.txt files, - for standard input, or the name of a corpus that ships (lmgen corpus
    list). What is not given is chosen from the amount of text. Ctrl-C saves; --resume goes on.
    """
    if sum(options[name] is not None for name in ("steps", "epochs", "budget")) > 1:
        raise click.UsageError("--steps, --epochs and --budget each say how long to train: give one of them")
    if not files and not options["resume"]:
        raise click.UsageError("what shall it learn? Give a text file, - for standard input, or cities, a corpus that ships")
    from lmgen import api, checkpoint, devices, fit
    from lmgen import run as runs

    devices.prepare()
    wanted = {name: options.pop(name) for name in WANTED}
    quiet = options["quiet"]
    settings = _text_settings(files, options) if files else None
    if options["resume"]:
        _refuse_other_options()
        path = checkpoint.find(str(options["resume"]))
        with checkpoint.locked(path):
            run, complaints = runs.resume(path, settings, options["changed_text"], **wanted)
            for complaint in complaints:
                console.note(complaint)
            if not quiet:
                console.note(f"going on with {path} from step {run.progress.step:,}")
            _drive(run, quiet)
        return
    assert settings
    path = options["output"] or checkpoint.free(checkpoint.HOME / api.default_name([*files]))
    checkpoint.check_free(path, options["force"])
    text_options = {name: options[name] for name in ("unit", "carry", "min_count", "vocab_size", "unk_token", "force")}
    order = options["order"]
    if wanted["cell"] == "ngram":
        _say_what_was_counted(
            path, *fit.new(path, settings, order=order, **text_options, **wanted), quiet, _look_at(files, options)
        )
        return
    if order is not None:
        raise click.UsageError("only an n-gram model (--cell ngram) has an --order: leave it out")
    run = runs.new(path, settings, **text_options, **wanted)
    if not quiet:
        _say_what_was_chosen(run, _look_at(files, options))
    with checkpoint.locked(path):
        _drive(run, quiet)


RESUMABLE = {"files", "valid", "resume", "changed_text", "steps", "epochs", "budget", "quiet"}


def _refuse_other_options() -> None:
    """A training that goes on keeps its network and its pace."""
    context = click.get_current_context()
    given = click.core.ParameterSource.COMMANDLINE
    other = [p for p in context.command.params if p.name not in RESUMABLE and context.get_parameter_source(p.name or "") is given]
    if other:
        raise click.UsageError(f"{other[0].opts[-1]} cannot be changed with --resume: leave it out, or train anew")


WANTED = (
    *("cell", "size", "layers", "residual", "layer_norm", "direction", "embedding", "tie", "dropout", "batch", "window"),
    *("steps", "epochs", "budget", "learning_rate", "weight_decay", "clip", "patience", "precision", "seed"),
)


def _text_settings(files: tuple[str, ...], options: dict[str, Any]) -> Any:
    from lmgen import api, text
    from lmgen import run as runs

    paths = text.find(files)
    valid = text.find([options["valid"]]) if options["valid"] else []
    return runs.TextSettings(
        api.absolute(paths), api.absolute(valid), options["sequence"], options["encoding"], options["errors"]
    )


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
                    with contextlib.suppress(LmgenError):  # weights may be too large to draw with, and become smaller again
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
    words = ["lmgen", "corpus", "check", *files, *(["--valid", options["valid"]] if options["valid"] else [])]
    for name, default in (("sequence", "line"), ("encoding", "utf-8"), ("errors", "strict")):
        words += [] if options[name] == default else [f"--{name}", options[name]]
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
