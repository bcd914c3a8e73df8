"""The commands on model directories: show, list, remove, rename, export; and arpa, n-gram models as files of other programs."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import click

from lmgen.cli import console
from lmgen.cli.options import Group, command, load, output_file
from lmgen.errors import InputError, printable
from lmgen.options import commands
from lmgen.system import terminal

EXPLAINED = {"vocabulary": ", EOS and UNK included"}  # what is said behind a fact


@command("lmgen show cities", "lmgen show cities --json", options=commands.SHOW)
@click.argument("model", required=False)
def show(model: str | None, plot: str | None, json: bool) -> None:
    """Show the settings and results of a model.

    Without MODEL, list the models in checkpoints/, as lmgen list does.
    """
    if plot and not model:
        raise click.UsageError("--plot draws the curves of one model: name it")
    if not model:
        click.get_current_context().invoke(list_, json=json)
        return
    from lmgen.models import facts
    from lmgen.system import directories
    from lmgen.training import metrics

    found, path = facts.model(model), directories.find(model)
    if json:
        console.put_json(found)
    else:
        rows = [(name.replace("_", " "), facts.words(value) + EXPLAINED.get(name, "")) for name, value in found.items()]
        indent = max(len(name) for name, _ in rows)
        console.table([*rows, *_validation(metrics.read(path)["valid_nats"], indent)])
    if plot:
        metrics.plot(path, Path(plot))
        terminal.note(f"wrote {plot}")


def _validation(curve: Any, indent: int) -> list[tuple[str, str]]:
    """A row with the validation curve: its first and last value and, where there is room, a sparkline."""
    from lmgen.training import display

    if len(curve.values) < 2:
        return []
    width = (shutil.get_terminal_size().columns if sys.stdout.isatty() else 80) - indent - 2
    ends = f"{curve.values[0]:.3f} to {curve.values[-1]:.3f}"
    blocks = display.sparkline(curve.values, width - len(ends) - 1, sys.stdout)
    return [("validation", f"{blocks} {ends}".lstrip())]


@command("lmgen list", "lmgen list --json", options=[commands.JSON])
def list_(json: bool) -> None:
    """List the models, newest first."""
    from lmgen.models import facts

    models = facts.models()
    if not json and not models:
        terminal.note("there is no model in checkpoints: train one with lmgen train FILE")
    elif json:
        console.put_json(*models)
    else:
        narrow = sys.stdout.isatty() and shutil.get_terminal_size().columns < 72
        columns = [*models[0]][: -1 if narrow else None]  # the last one names the text
        rows = [[facts.words(model[column]) for column in columns] for model in models]
        console.table(rows, head=columns, numbers=(2, 3, 4), shorten=True)


@command("lmgen remove cities", "lmgen remove cities names --yes", options=commands.REMOVE)
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
def remove(models: tuple[str, ...], yes: bool) -> None:
    """Remove models.

    Asks first. Refuses a model in training, a link, and a directory with files that are not of a model.
    """
    from lmgen.system import directories

    paths = [*dict.fromkeys(directories.removable(name) for name in models)]
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("remove asks before it removes, and there is no terminal to answer on: add --yes")
        names = ", ".join(printable(directories.brief(path), 4096) for path in paths)
        if not click.confirm(terminal.shown(f"Remove {names} for good?", sys.stderr), err=True):
            terminal.note("nothing was removed")
            raise SystemExit(1)
    for path in paths:
        directories.remove(path)
        terminal.note(f"removed {printable(directories.brief(path), 4096)}")


@command("lmgen rename cities towns", "lmgen rename checkpoints/cities-2 towns-2")
@click.argument("model")
@click.argument("new")
def rename(model: str, new: str) -> None:
    """Rename MODEL to NEW, in the same folder.

    Refuses a name that is taken, and a model in training.
    """
    from lmgen.system import directories

    path = directories.rename(directories.removable(model), new)
    terminal.note(f"the model is in {directories.brief(path)}")


@command(
    "lmgen export cities -o cities.html",
    "lmgen export cities --format numpy",
    options=commands.EXPORT,
)
@click.argument("model")
def export(model: str, output: Path | None, format: str | None, mixture: bool, force: bool, **settings: Any) -> None:
    """Write a model as files that run without lmgen.

    docs/export.md shows each format. Nothing is overwritten without --force.
    """
    from lmgen.exporting import table

    lm, format = load(model, mixture=mixture).lm, table.format_of(format, output)
    if sentence := table.left_out(lm, format):
        terminal.note(sentence)
    if output is not None and str(output) == "-":
        made = table.contents(lm, format, **settings)
        if "" not in made:
            raise InputError("this format is a directory, which cannot be piped: give --output a name")
        terminal.put_bytes(made[""])
        return
    path = table.export(lm, output, format, force, **settings)
    target = table.TARGETS[format]
    then = target.then(lm, path)
    terminal.note(f"wrote {path}, {target.about}" + f"; {then}" * bool(then))


@command("lmgen arpa write trigrams -o trigrams.arpa", "lmgen arpa read trigrams.arpa", cls=Group)
def arpa() -> None:
    """Convert n-gram models to ARPA and back.

    KenLM, SRILM and others exchange models as ARPA files.
    """


@command("lmgen arpa write trigrams", "lmgen arpa write trigrams -o trigrams.arpa", options=[commands.OUTPUT], group=arpa)
@click.argument("model")
def arpa_write(model: str, output: Path | None) -> None:
    """Write the n-gram model MODEL to an ARPA file."""
    from lmgen import loading
    from lmgen.models import arpa, capabilities

    loaded = capabilities.require(loading.load(model), capabilities.HoldsNGrams, "train one with --cell ngram")
    with output_file(output, text=True) as file:
        arpa.write(loaded, file)


@command(
    "lmgen arpa read trigrams.arpa",
    "lmgen arpa read trigrams.arpa -o checkpoints/kenlm --unit word",
    options=commands.ARPA_READ,
    group=arpa,
)
@click.argument("file", type=click.Path(path_type=Path))
def arpa_read(file: Path, output: Path | None, force: bool, unit: str | None) -> None:
    """Make a model from the ARPA file FILE."""
    from lmgen.models import arpa
    from lmgen.system import directories
    from lmgen.training import counting

    path = output or directories.HOME / directories.safe_name(file.stem)
    with directories.new(path, force, count_on=not (output or force)) as place:
        counting.write_foreign(place, arpa.read(file, unit), file)
    terminal.note(f"the model is in {place.path}")
