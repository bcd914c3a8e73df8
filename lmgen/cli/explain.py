"""The command explain: a text coloured by surprise on a terminal, as a table, as JSON, as a page; two texts compared."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lmgen.cli import console
from lmgen.cli.options import command, load, output_file
from lmgen.errors import InputError
from lmgen.options import commands
from lmgen.pages.surprise import EOS, LEVELS, in_text, level, named, visible
from lmgen.system import terminal

if TYPE_CHECKING:
    from lmgen.api import Model
    from lmgen.evaluation.contrast import Contrast, Part
    from lmgen.evaluation.explanation import Explanation, Symbol
    from lmgen.pages.explained import Page

HEAD = ("symbol", "probability", "nats", "rank", "likeliest", "n-gram", "notes")
PALEST, HEAT = (255, 240, 225), (226, 96, 58)  # the colours of one bit and of nine


@command("lmgen explain cities names.txt", 'lmgen explain cities --compare "San Juan" "San Yuan"', options=commands.EXPLAIN)
@click.argument("model")
@click.argument("file", default="-")
def explain(model: str, file: str, compare: tuple[str, str] | None, label: str | None, precision: str, **options: Any) -> None:
    """Show how surprising each symbol of a text is.

    Prints the text of FILE (or standard input) coloured by the bits that each symbol costs MODEL; into a pipe, and with --table,
    a line for each symbol: its probability, its rank, the likeliest symbols in its place, what an n-gram model of the training
    text expected, and whether the training text has it in a longer span, too. EOS is shown as ⏎.
    """
    if compare and file != "-":
        raise click.UsageError("--compare takes the two texts itself: leave FILE out")
    from lmgen.data import finding, reading
    from lmgen.evaluation import contrast, explanation
    from lmgen.models.capabilities import Scores, require

    loaded = load(model, precision)
    loaded = loaded.by(label) if label is not None else loaded
    lm = require(loaded.lm, Scores, "use lmgen {command}, or train one with --task language")
    behind = explanation.background(lm, terminal.note) if options["background"] else explanation.Background()
    limits = behind, options["top"], options["copied"]
    if compare:
        sides = (next(explanation.explanations(lm, [reading.Piece(text, True, True, 1)], *limits)) for text in compare)
        _put_contrast(loaded, contrast.contrast(*sides), options)
    else:
        opened = reading.once(file, lm.sequence, lm.carry, options["encoding"], options["errors"])
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
        page = Page(_name(loaded))
        for one in found:
            page.add(one.as_dict())
            if page.full:
                terminal.note(f"the page has the first {page.symbols:,} symbols: --json has them all")
                break
        _put_page(page, options["output"], loaded)
    elif options["json"]:
        for one in found:
            console.put_json(one.as_dict())
    elif options["table"] or terminal.plain(sys.stdout):
        _put_tables(found)
    else:
        _put_coloured(found)


def _put_contrast(loaded: Model, found: Contrast, options: dict[str, Any]) -> None:
    """Write which of two texts is likelier, and where they differ."""
    from lmgen.pages import explained

    value = found.as_dict()
    if options["output"]:
        page = explained.Page(_name(loaded))
        for name, text in zip("AB", value["texts"], strict=True):
            page.add(text, name)
        _put_page(page, options["output"], loaded, explained.differences(value))
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
    console.table([*map(_part, found.parts)], head=("symbols", "A", "nats", "B", "nats", "difference"), numbers=(2, 4, 5))


def _part(part: Part) -> list[str]:
    """The row of a part of two texts."""
    a, b = (visible(text) if part.same else named(text) for text in part.texts)
    return ["same" if part.same else "other", a, f"{part.nats[0]:.2f}", b, f"{part.nats[1]:.2f}", f"{part.difference:+.2f}"]


def _name(loaded: Model) -> str:
    return loaded.path.name if loaded.path else "the model"


def _put_page(page: Page, path: Path, loaded: Model, differences: str = "") -> None:
    with output_file(path, text=True) as file:
        file.writelines(page.written(len(loaded.lm.vocab), loaded.lm.kind.nats, differences))


def _put_coloured(found: Iterable[Explanation]) -> None:
    """Write texts on a terminal, each symbol on the colour of its surprise, and the scale of colours."""
    from rich.console import Console
    from rich.style import Style
    from rich.text import Text

    rich = Console(highlight=False, emoji=False, markup=False, width=max(2, shutil.get_terminal_size().columns))
    colours = [[round(a + (b - a) * k / (LEVELS - 2)) for a, b in zip(PALEST, HEAT, strict=True)] for k in range(LEVELS - 1)]
    styles = [Style(), *(Style(color="#000000", bgcolor="#{:02x}{:02x}{:02x}".format(*colour)) for colour in colours)]

    def put(*parts: tuple[str, Style]) -> None:
        line = Text(overflow="fold")
        for text, style in parts:
            line.append(terminal.shown(text, sys.stdout), style)
        with rich.capture() as captured:
            rich.print(line)
        terminal.write(captured.get())

    copied = Style(underline=True)
    for one in found:
        symbols = ((s, styles[level(s.nats)] + (Style() if s.copied is None else copied)) for s in one)
        put(*(part for s, style in symbols for part in ((visible(s.before), Style()), (in_text(s.symbol), style))))
    scale = ((f" {k}{'+' * (k == LEVELS - 1)} ", style) for k, style in enumerate(styles))
    marks = (f" {EOS} end, ", Style()), ("in the training text", copied)
    put(("\nbits of surprise ", Style()), *scale, *marks)


def _put_tables(found: Iterable[Explanation]) -> None:
    """Write a line for each symbol and an empty one after each text: aligned on a terminal, elsewhere with tabs between cells."""
    aligned = sys.stdout.isatty()
    if not aligned:
        terminal.put("\t".join(HEAD))
    for one in found:
        if aligned:
            console.table([*map(_row, one)], head=HEAD, numbers=(1, 2, 3))
        for symbol in () if aligned else one:
            terminal.put("\t".join(_row(symbol)))
        terminal.put("")


def _row(one: Symbol) -> list[str]:
    ngram = f"{one.ngram.probability:.3g} ({_likeliest(one.ngram.alternatives[:1])})" if one.ngram else ""
    notes = ", ".join(["unknown"] * (not one.known) + ["copied"] * (one.copied is not None))
    return [
        named(one.symbol),
        f"{one.probability:.3g}",
        f"{one.nats:.2f}",
        str(one.rank),
        _likeliest(one.alternatives),
        ngram,
        notes,
    ]


def _likeliest(alternatives: Iterable[tuple[str, float]]) -> str:
    return " ".join(f"{named(symbol)}:{p:.2f}" for symbol, p in alternatives)
