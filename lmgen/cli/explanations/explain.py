"""The command explain: a text coloured by surprise on a terminal, as a table, as JSON or as a page; two texts compared."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lmgen.cli import console
from lmgen.cli.explanations import shown
from lmgen.cli.options import command, load, output_file
from lmgen.errors import InputError
from lmgen.options import commands
from lmgen.pages.surprise import visible
from lmgen.system import terminal

if TYPE_CHECKING:
    from lmgen.api import Model
    from lmgen.evaluation.contrast import Contrast
    from lmgen.evaluation.explanation import Explanation


@command("lmgen explain cities names.txt", 'lmgen explain cities --compare "San Juan" "San Yuan"', options=commands.EXPLAIN)
@click.argument("model")
@click.argument("file", default="-")
def explain(
    model: str, file: str, compare: tuple[str, str] | None, label: str | None, precision: str, mixture: bool, **options: Any
) -> None:
    """Show how surprising each symbol of a text is.

    Prints the text of FILE (or standard input) coloured by the bits that each symbol costs MODEL. Into a pipe, and with --table,
    it prints a line for each symbol: its probability, its rank, the likeliest symbols in its place, what an n-gram model of the
    training text expected, and whether it is in a span that the training text has, too. EOS is shown as ⏎.
    """
    if compare and file != "-":
        raise click.UsageError("--compare takes the two texts itself: leave FILE out")
    from lmgen.data import finding, reading
    from lmgen.evaluation import contrast, explanation
    from lmgen.models.capabilities import Scores, require

    loaded = load(model, precision, mixture)
    loaded = loaded.by(label) if label is not None else loaded
    lm = require(loaded.lm, Scores, "use lmgen {command}, or train one with --task language")
    behind = explanation.background(lm, terminal.note) if options["background"] else explanation.Background()
    limits = behind, options["top"], options["copied"]
    if compare:
        sides = (next(explanation.explanations(lm, [reading.Piece(text, True, True, 1)], *limits)) for text in compare)
        _put_contrast(loaded, contrast.contrast(*sides), options)
    else:
        field = options["field"] or (loaded.trained_on.field_in([Path(file)]) if Path(file).is_file() else None)
        opened = reading.once(file, lm.sequence, lm.carry, options["encoding"], options["errors"], field)
        found = explanation.of_text(lm, opened, *limits)
        if (first := next(found, None)) is None:
            raise InputError(f"there is no text in {finding.names_of(opened.paths)}: give a file with at least one line of it")
        _put(loaded, chain([first], found), options)
        terminal.note(*opened.notes)
    terminal.note(*behind.lacks)


def _put(loaded: Model, found: Iterable[Explanation], options: dict[str, Any]) -> None:
    """Write explained texts in the form that was asked for, or that suits stdout."""
    from lmgen.pages.explained import Page

    if options["output"]:
        with output_file(options["output"], text=True) as file:
            page = Page(_name(loaded))
            for one in found:
                page.add(one.as_dict())
                if page.full:
                    terminal.note(f"the page has the first {page.symbols:,} symbols: --json has them all")
                    break
            file.writelines(page.written(len(loaded.lm.vocab), loaded.lm.kind.nats))
    elif options["json"]:
        for one in found:
            console.put_json(one.as_dict())
    elif options["table"] or terminal.plain(sys.stdout):
        shown.tables(found, aligned=options["table"] or sys.stdout.isatty())
    else:
        shown.coloured(found)


def _put_contrast(loaded: Model, found: Contrast, options: dict[str, Any]) -> None:
    """Write which of two texts is likelier, and where they differ."""
    from lmgen.pages import explained

    value = found.as_dict()
    if options["output"]:
        with output_file(options["output"], text=True) as file:
            page = explained.Page(_name(loaded))
            for name, text in zip("AB", value["texts"], strict=True):
                page.add(text, name)
            file.writelines(page.written(len(loaded.lm.vocab), loaded.lm.kind.nats, explained.differences(value)))
        return
    if options["json"]:
        console.put_json(value)
        return
    if options["table"] or not terminal.plain(sys.stdout):
        _put(loaded, found.sides, options)
        terminal.put("")
    for name, side in zip("AB", found.sides, strict=True):
        terminal.put(f"{name}: {side.nats:.2f} {loaded.lm.kind.nats}, {len(side):,} symbols: {visible(side.text)}")
    terminal.put(f"{explained.verdict(value)}\n")
    console.table([*map(explained.cells, value["parts"])], head=explained.HEAD, numbers=(2, 4, 5))


def _name(loaded: Model) -> str:
    return loaded.path.name if loaded.path else "the model"
