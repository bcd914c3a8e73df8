"""The commands about model directories: list, remove, rename."""

from __future__ import annotations

import os
import shutil
import sys

import click

from lmgen.cli import console
from lmgen.cli.options import JSON
from lmgen.errors import printable
from lmgen.system import terminal


@click.command(name="list")
@JSON
def list_(as_json: bool) -> None:
    """List the models in checkpoints/, the newest first."""
    put_models(as_json)


@click.command()
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@click.option("-y", "--yes", is_flag=True, help="Remove without asking.")
def remove(models: tuple[str, ...], yes: bool) -> None:
    """Remove models.

    Asks first. Refuses a directory that is being trained, a link, and one that holds anything but a model.
    """
    from lmgen.system import directories

    paths = [*dict.fromkeys(directories.removable(name) for name in models)]
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("remove asks before it removes, and there is no terminal to answer on: add --yes")
        names = ", ".join(printable(os.path.relpath(path), 4096) for path in paths)
        if not click.confirm(terminal.shown(f"Remove {names} for good?", sys.stderr), err=True):
            terminal.note("nothing was removed")
            raise SystemExit(1)
    for path in paths:
        directories.remove(path)
        terminal.note(f"removed {printable(os.path.relpath(path), 4096)}")


@click.command()
@click.argument("model")
@click.argument("new")
def rename(model: str, new: str) -> None:
    """Give MODEL the name NEW, in the folder where it is.

    Refuses a name that is taken, and a directory that is being trained.
    """
    from lmgen.system import directories

    path = directories.rename(directories.removable(model), new)
    terminal.note(f"the model is in {os.path.relpath(path)}")


def put_models(as_json: bool) -> None:
    """The models in checkpoints/: as objects, or as a table with a row for each."""
    from lmgen.models import facts

    rows = facts.models()
    if as_json:
        for row in rows:
            console.put_json(row)
    elif rows:
        cells = [{title: facts.words(value) for title, value in row.items()} for row in rows]
        if sys.stdout.isatty():
            cells = _narrowed(cells, shutil.get_terminal_size().columns)
        console.table([[*row.values()] for row in cells], head=[*cells[0]], numbers=(2, 3, 4))
    else:
        terminal.note("there is no model in checkpoints: train one with lmgen train FILE")


LEAST = 10  # columns that are left of a name


def _narrowed(rows: list[dict[str, str]], width: int) -> list[dict[str, str]]:
    """Rows that fit so many columns, with shorter words but whole figures; the same rows where that is impossible."""
    from rich.cells import cell_len

    def widest(title: str) -> int:
        return max(cell_len(title), *(cell_len(row[title]) for row in rows))

    fitting, over = rows, sum(widest(title) + 3 for title in rows[0]) - 3 - width
    for title in ("text", "name", "model"):
        most = min(widest(title), max(LEAST, widest(title) - max(0, over)))
        over -= widest(title) - most
        fitting = [{**row, title: _shortened(row[title], most)} for row in fitting]
        if title == "text" and over > 0:
            over -= most + 3
            fitting = [{name: cell for name, cell in row.items() if name != title} for row in fitting]
    return rows if over > 0 else fitting


def _shortened(word: str, most: int) -> str:
    from rich.cells import cell_len

    if cell_len(word) <= most:
        return word
    while cell_len(word) > most - 1:
        word = word[:-1]
    return f"{word}…"
