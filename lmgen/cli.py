"""The command line: parse, call, print. What computes is imported inside the commands, so that --help is instant."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import FrameType
from typing import Any

import click

from lmgen import __version__, console
from lmgen.errors import DivergedError, InputError, LmgenError
from lmgen.options import ENCODING, ERRORS, JSON, PRECISION, Bounded, Duration, InOrder, Whole

INTERRUPTED, TERMINATED = 130, 75


@click.group(
    cls=InOrder, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}, no_args_is_help=True
)
@click.version_option(__version__, message="lmgen %(version)s")
def cli() -> None:
    """Train a small recurrent language model on your own text, write new text with it, measure it.

    \b
    lmgen train names.txt        trains, and says what it chose
    lmgen sample                 writes new names with the newest model
    lmgen eval names test.txt    perplexity and bits per byte of a text
    """


# ---- train ------------------------------------------------------------------------------------------------------------


@cli.command()
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
@click.option(
    "--sequence",
    type=click.Choice(["line", "paragraph", "file"]),
    default="line",
    show_default=True,
    help="What ends with an EOS.",
)
@click.option("--carry", is_flag=True, help="Carry the state from sequence to sequence: running text.")
@click.option("--min-count", type=Whole(), default=1, help="Symbols seen less often are unknown.")
@click.option("--vocab-size", type=Whole(3), help="The most symbols, EOS and UNK among them.")
@click.option("--unk-token", help="How the corpus itself marks unknown words, such as <unk>.")
@click.option("--cell", help="lstm, gru, elman, …  [default: lstm]")
@click.option("--size", type=Whole(), help="Units in a layer.")
@click.option("--layers", type=Whole(), help="Layers.")
@click.option("--embedding", type=Whole(), help="Numbers that stand for a symbol.")
@click.option("--tie/--no-tie", default=None, help="Use the embedding as output weights, too.")
@click.option("--dropout", type=Bounded(0, 0.95), help="The share of each layer's outputs dropped in training.")
@click.option("--batch", type=Whole(), help="Columns read side by side.")
@click.option("--window", type=Whole(), help="Symbols through which the gradient flows back.")
@click.option("--steps", type=Whole(), help="Train for so many updates …")
@click.option("--epochs", type=Bounded(0, 1e6, open_low=True), help="… or so many passes over the text …")
@click.option("--budget", type=Duration(), help="… or for so long: 90s, 5m, 1h30m.")
@click.option("--learning-rate", type=Bounded(0, 10, open_low=True), help="Of AdamW, at its peak.")
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
    from lmgen import api, cells, checkpoint, devices
    from lmgen import run as runs

    if options["cell"] not in (None, *cells.CELLS):
        raise click.UsageError(f"there is no cell {options['cell']!r}: choose from {', '.join(cells.CELLS)}")
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
    run = runs.new(path, settings, **text_options, **wanted)
    if not quiet:
        _say_what_was_chosen(run)
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
    *("cell", "size", "layers", "embedding", "tie", "dropout", "batch", "window", "steps", "epochs", "budget"),
    *("learning_rate", "clip", "patience", "precision", "seed"),
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
    """Set by the first signal, which asks for an end after the step; a second Ctrl-C ends at once."""

    code = 0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.code and number == signal.SIGINT:
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
            signal.signal(number, handler)


def _drive(run: Any, quiet: bool) -> None:
    """Run a training to its end or to a signal, showing it, and say how to go on."""
    from lmgen import api

    name = shlex.quote(run.path.name if run.path.parent == Path("checkpoints") else str(run.path))
    loss = console.Loss(run.data.vocab.unit, run.data.characters_per_symbol)
    display = console.Display(loss, quiet)
    with _stopping() as stop, closing(iter(run)) as reports, display:
        for report in reports:
            if display.live and report.valid_nats is not None:
                display.sample = api.Model(run.language_model()).sample(1, seed=report.step, max_length=60)[0].text
            display.show(report)
            if stop.code and not run.progress.finished:
                break
    if stop.code and not run.progress.finished:
        run.save()
        console.note(f"stopped at step {run.progress.step:,} and saved; go on with: lmgen train --resume {name}")
        raise SystemExit(stop.code)
    if not (run.path / "model.safetensors").exists():
        raise DivergedError("no validation gave a finite loss: train again with a smaller --learning-rate")
    if not quiet:
        progress = run.progress
        console.note(f"done after {progress.step:,} steps in {console.duration(progress.seconds)}: {progress.finished}")
        if progress.best_nats is not None:
            console.note(f"best validation: {loss(progress.best_nats)} at step {progress.best_step:,}")
        console.note(f"the model is in {run.path}; next:")
        console.note(f"    lmgen sample {name}")


def _say_what_was_chosen(run: Any) -> None:
    """What was met in the text, what was chosen for it and why."""
    from lmgen import model

    data, network, config = run.data, run.network, run.config
    for line in data.notes:
        console.note(line)
    console.note(
        f"text: {data.train.symbols:,} symbols of {len(data.vocab):,} kinds in {data.train.sequences:,} {run.text.sequence}s"
        + (
            f", {data.valid.symbols:,} more to validate"
            if data.valid
            else "; too little to hold any out, so nothing is validated"
        )
    )
    parameters = model.parameters(run.training.state.params)
    console.note(
        f"model: {network.cell} {network.layers} × {network.size}, {parameters:,} parameters, dropout {network.dropout:g}"
    )
    ends = [f"{config.steps:,} steps"] if config.steps else []
    ends += [f"{config.epochs:g} passes over the text"] if config.epochs else []
    ends += [console.duration(config.budget)] if config.budget else []
    console.note(
        f"training: {config.batch} × {config.window} symbols a step, learning rate {config.learning_rate:g}, {config.precision}, "
        f"{' or '.join(ends)} at most, in {run.path}"
    )


# ---- sample -----------------------------------------------------------------------------------------------------------


@cli.command()
@click.argument("model", required=False)
@click.option("-n", "--count", "wanted", type=Whole(), help="How many samples.  [default: 10; 1 with a carried state]")
@click.option("-p", "--prompt", default="", help="What each sample begins with.")
@click.option("-t", "--temperature", type=Bounded(0), default=1.0, show_default=True, help="0 takes the likeliest symbol.")
@click.option("--top-k", type=Whole(0), default=0, help="Draw from the k likeliest symbols; 0 from all.")
@click.option(
    "--top-p", type=Bounded(0, 1, open_low=True), default=1.0, help="Draw from the fewest whose probabilities sum to p."
)
@click.option("--min-p", type=Bounded(0, 1), default=0.0, help="Draw from those at least p times as likely as the likeliest.")
@click.option("--max-length", type=Whole(), default=1000, show_default=True, help="The most symbols in a sample.")
@click.option("--lines", type=Whole(), help="Lines in a sample, where the state is carried.  [default: 10]")
@click.option("--novel", is_flag=True, help="Only samples that are not in the corpus, and no repeats.")
@click.option("--unknown", is_flag=True, help="Allow UNK to be drawn.")
@click.option("--strict", is_flag=True, help="Fail where the prompt has symbols that the model does not know.")
@click.option("--seed", type=Whole(0), default=0, show_default=True)
@PRECISION
@JSON
def sample(
    model: str | None,
    wanted: int | None,
    prompt: str,
    novel: bool,
    strict: bool,
    seed: int,
    precision: str,
    as_json: bool,
    **settings: Any,
) -> None:
    """Write new text.

    MODEL is a directory or a name under checkpoints/; without it the newest there writes. A sample ends where the model says
    EOS. On a terminal, samples that stand in the corpus are marked.
    """
    from lmgen import api, devices

    devices.prepare()
    loaded = api.load(model, precision)
    if unknown := loaded.lm.vocab.unknown(prompt):
        listed = " ".join(map(repr, unknown[:10]))
        if strict:
            raise InputError(f"the model does not know {listed} of the prompt: leave it out, or leave out --strict")
        console.note(f"the model does not know {listed}: read as unknown")
    carried = loaded.lm.carry
    settings["lines"] = settings["lines"] or (10 if carried else 1)
    wanted = wanted or (1 if carried else 10)
    found = 0
    for one in loaded.samples(wanted, prompt=prompt, seed=seed, novel=novel, **settings):
        found += 1
        if as_json:
            console.put_json({name: getattr(one, name) for name in ("text", "nats", "symbols", "ended", "known")})
        else:
            separator = "" if (loaded.lm.sequence == "line" and settings["lines"] == 1) or found == 1 else "\n"
            mark = "  (in the corpus)" if one.known and sys.stdout.isatty() else "" if one.ended else " …" * sys.stdout.isatty()
            console.put(separator + one.text + mark)
    if novel and found < wanted:
        console.note(
            f"found {found} new sample{'s' * (found != 1)} of {wanted}: the model draws little else; try a higher --temperature"
        )


# ---- eval and score ---------------------------------------------------------------------------------------------------


@cli.command(name="eval")
@click.argument("model")
@click.argument("files", nargs=-1, metavar="[FILE]...")
@click.option("--batch", type=Whole(), help="Columns read side by side; changes the speed, not the result.")
@click.option("--window", type=Whole(), help="Symbols read at a time; changes the speed, not the result.")
@ENCODING
@ERRORS
@PRECISION
@JSON
def eval_(
    model: str,
    files: tuple[str, ...],
    batch: int | None,
    window: int | None,
    encoding: str,
    errors: str,
    precision: str,
    as_json: bool,
) -> None:
    """Measure how well a model predicts a text.

    Prints perplexity, bits per character and bits per byte. Without a FILE the text is measured on which the model was validated.
    """
    from lmgen import api, devices, text

    devices.prepare()
    loaded = api.load(model, precision)
    paths = [path for name in files for path in text.find([name])]
    options: dict[str, Any] = {name: value for name, value in (("batch", batch), ("window", window)) if value}
    if not files:
        _put_measures("held-out text", loaded.evaluate(**options), loaded.lm, as_json)
    for path in paths:
        opened = text.Text([path], loaded.lm.sequence, loaded.lm.carry, encoding, errors)
        measures = loaded.measure(opened, **options)
        for line in opened.notes:
            console.note(line)
        _put_measures(text.name_of(path), measures, loaded.lm, as_json)


def _put_measures(name: str, m: Any, lm: Any, as_json: bool) -> None:
    from lmgen import corpus

    if as_json:
        console.put_json({"file": name, **m.as_dict()})
        return
    noun = corpus.unit_noun(lm.vocab)
    without = f"; perplexity without them {m.perplexity_known:.3f}" if m.unknown and m.perplexity_known else ""
    bound = ", at least: what is unknown or dropped is not spelt" if m.unknown or m.unit == "word-only" else ""

    def bits(value: float | None, count: int, what: str) -> str:
        return "–" if value is None else f"{value:.4f}   ({count:,} {what}{bound})"

    rows = [
        ("  nats per symbol", f"{m.nats_per_symbol:.4f}   ({m.nats:,.1f} nats, {m.symbols:,} symbols)"),
        ("  perplexity", f"{m.perplexity:.3f} per symbol   ({noun}s, and an EOS for every {lm.sequence})"),
        ("  bits per character", bits(m.bits_per_character, m.characters, "characters")),
        ("  bits per byte", bits(m.bits_per_byte, m.bytes, "bytes")),
        ("  unknown", f"{m.unknown:,} symbols ({m.unknown / max(1, m.symbols):.2%}){without}"),
        ("  state", f"carried from one {lm.sequence} to the next" if m.carry else f"each {lm.sequence} on its own"),
    ]
    console.put(name)
    console.table(rows)


@cli.command()
@click.argument("model")
@click.argument("file", default="-")
@click.option("--symbols", is_flag=True, help="The nats of every symbol, too.")
@ENCODING
@ERRORS
@PRECISION
@JSON
def score(model: str, file: str, symbols: bool, encoding: str, errors: str, precision: str, as_json: bool) -> None:
    """Score each line of a text.

    Prints the nats of each sequence of FILE (or standard input) under MODEL, its EOS included: the fewer, the likelier.
    """
    from lmgen import api, devices, text

    devices.prepare()
    loaded = api.load(model, precision)
    (path,) = text.find([file])
    opened = text.Text([path], loaded.lm.sequence, True, encoding, errors)
    for one in loaded.score(text.whole(opened)):
        if as_json:
            value = {"text": one.text, "nats": one.nats, "symbols": len(one.symbols), "unknown": one.unknown}
            console.put_json(value | ({"each": one.symbols} if symbols else {}))
        elif symbols:
            console.put(" ".join(f"{s or '<EOS>'}:{nats:.2f}" for s, nats in one.symbols))
        else:
            console.put(f"{one.nats:.3f}\t{one.text}")
    for line in opened.notes:
        console.note(line)


# ---- show, corpus, doctor ---------------------------------------------------------------------------------------------


@cli.command()
@click.argument("model", required=False)
@JSON
def show(model: str | None, as_json: bool) -> None:
    """Show what a model holds.

    Without a name: a table of the models in checkpoints/, the newest first.
    """
    from lmgen import look

    if model:
        facts = look.model(model)
        console.put_json(facts) if as_json else console.table([(k.replace("_", " "), look.words(v)) for k, v in facts.items()])
        return
    rows = look.models()
    if as_json:
        for row in rows:
            console.put_json(row)
    elif rows:
        console.table([[look.words(v) for v in row.values()] for row in rows], head=[*rows[0]], numbers=(2, 3, 4))
    else:
        console.note("there is no model in checkpoints: train one with lmgen train FILE")


@cli.group()
def corpus() -> None:
    """The corpora that ship with lmgen."""


@corpus.command(name="list")
@JSON
def corpus_list(as_json: bool) -> None:
    """Name them, with their sizes."""
    from lmgen import shelf

    rows = shelf.listing()
    if as_json:
        for row in rows:
            console.put_json(row)
    else:
        console.table(
            [(r["name"], f"{r['bytes']:,}", r["about"]) for r in rows], head=("name", "bytes", "what it is"), numbers=(1,)
        )


@corpus.command(name="write")
@click.argument("name")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The file.  [default: stdout]")
def corpus_write(name: str, output: Path | None) -> None:
    """Write the text of the corpus NAME."""
    from lmgen import shelf

    content = shelf.text(name)
    if output is None:
        console.put_bytes(content.encode())
        return
    try:
        with open(output, "xb") as file:
            file.write(content.encode())
    except OSError as error:
        raise InputError(f"cannot write {output}: {error.strerror}; choose another --output") from None
    console.note(f"wrote {output}")


@cli.command()
def doctor() -> None:
    """Describe this machine, for a bug report."""
    from lmgen import look

    console.table(look.surroundings())


# ---- the way in -------------------------------------------------------------------------------------------------------


OUT_OF_MEMORY = "lmgen: the memory does not suffice: give a smaller --size, --batch, --window or --vocab-size"


def main() -> None:
    """Run the command line: an error a user can cause is one sentence on stderr and an exit code, never a traceback."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started us
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    try:
        code = cli.main(standalone_mode=False) or 0
        console.finish()
    except click.exceptions.NoArgsIsHelpError as help_text:
        click.echo(help_text.format_message())
        code = 2
    except click.ClickException as error:
        console.note(f"lmgen: {error.format_message().rstrip('.')}" + _see_help(error))
        code = 2
    except LmgenError as error:
        console.note(f"lmgen: {error}")
        code = error.exit_code
    except MemoryError:
        console.note(OUT_OF_MEMORY)
        code = 1
    except RuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error) and "emory" not in str(error):
            raise
        console.note(OUT_OF_MEMORY)
        code = 1
    except (KeyboardInterrupt, click.Abort):
        code = INTERRUPTED
    except console.ReaderGoneError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except OSError as error:
        console.note(f"lmgen: {error.strerror or error}{f': {error.filename}' if error.filename else ''}")
        code = 1
    sys.exit(code if isinstance(code, int) else 0)


def _see_help(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    return f" (see {context.command_path} --help)" if context else ""


if __name__ == "__main__":
    main()
