"""What predict and eval print of a model that translates: lines, JSON; figures beside baselines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import exp
from pathlib import Path
from typing import Any

import click

from lmgen.applied import records
from lmgen.cli import console
from lmgen.cli.predictions import rivals
from lmgen.options import commands
from lmgen.system import terminal
from lmgen.training import display

FIGURES = {  # by their names in a card: the title, and the format
    "nats_per_symbol": ("nats per symbol", ".4f"),
    "bleu": ("BLEU", ".2f"),
    "chrf": ("chrF", ".2f"),
    "exact": ("exact match", ".2%"),
    "copied": ("copied", ".2%"),
    "novel": ("new", ".2%"),
}
ABOUT = {"copied": "the output is the source", "novel": "the output is no target of the training text"}
QUALITY = ("bleu", "chrf", "exact")


def inputs(lm: Any, file: str, encoding: str, errors: str, field: str | int | None = None) -> Iterator[Any]:
    """The sources of a file or of standard input; None where more of it has to be waited for."""
    from lmgen.data import reading
    from lmgen.data.advice import number
    from lmgen.structured.pairs import recognise, source_of

    are_pairs = field is None and file != "-" and Path(file).exists() and recognise([Path(file)])
    opened, several = reading.once(file, "line", True, encoding, errors, field), 0  # a blank line for a blank line
    for line in reading.arriving(opened):
        several += line is not None and "\t" in line and not are_pairs
        yield line if line is None else source_of(line)
    terminal.note(*opened.notes)
    if several:
        terminal.note(f"{number(several, 'line')} with a TAB: what follows it is a target, and was not looked at")


def put(one: Any, weights: bool, plot: str | None) -> None:
    """Print a translation as a line; where others were asked for, each with its probability before it."""
    if weights:
        raise click.UsageError("--weights belongs to --json: give both")
    _draw(one, plot)
    if not one.others:
        terminal.put(one.text)
    for each in (one, *one.others) if one.others else ():
        terminal.put(f"{exp(-each.nats):.4f}\t{each.text}")


def record(one: Any, weights: bool, plot: str | None) -> dict[str, Any]:
    """A translation as JSON."""
    _draw(one, plot)
    return records.pairs(one, weights)


def _draw(one: Any, path: str | None) -> None:
    """Draw where a translation looked."""
    from lmgen.evaluation import alignment

    if path:
        alignment.plot(one, Path(path))
        terminal.note(f"wrote {path}")


def evaluate(loaded: Any, files: tuple[str, ...], options: dict[str, Any]) -> None:
    """The command eval for a model that translates: its figures beside baselines, or those of two models and their difference."""
    decoding = {one.name: options[one.name] for one in commands.DECODING if one.name in options}
    for card, theirs in rivals.cards(loaded, files, options, **decoding):
        differences = _differences(card, theirs) if theirs else {}
        if options["json"]:
            console.put_json(card.as_dict() | ({"difference": differences} if theirs else {}))
            continue
        _put_card(card)
        for name, (low, high) in differences.items():
            title, digits = FIGURES[name]
            value = getattr(card, name) - getattr(theirs, name)
            console.sentence(f"{title} {value:+{digits}} against the other model [{low:+{digits}}, {high:+{digits}}]")


def _differences(card: Any, theirs: Any) -> dict[str, tuple[float, float]]:
    from lmgen.evaluation.cards import paircard

    return paircard.difference(card, theirs)


def _cells(one: Any, names: Iterable[str]) -> list[str]:
    """Figures of a card, a row or a baseline as text."""
    return [format(getattr(one, name), FIGURES[name][1]) for name in names]


def _put_card(card: Any) -> None:
    console.sentence(f"{card.name}: {card.pairs:,} pairs, {card.symbols:,} target symbols, {card.unknown:,} of them unknown")
    terminal.put("")
    rows, there = [], [name for name in FIGURES if getattr(card, name) is not None]
    for name, cell in zip(there, _cells(card, there), strict=True):
        title, digits = FIGURES[name]
        low, high = (format(bound, digits) for bound in card.intervals.get(name, (0, 0)))
        interval = f" [{low}, {high}]" if name in card.intervals else ""
        rows.append((f"  {title}", cell + interval + (f"   ({ABOUT[name]})" if name in ABOUT else "")))
        if name == "nats_per_symbol":
            rows.append(("  perplexity", f"{display.perplexity(card.perplexity)} per target symbol"))
    if card.overlap:
        rows.append(("  overlap", card.overlap.sentence.format("sources")))
    console.table(rows)
    quality = [name for name in QUALITY if name in there]
    titles = [FIGURES[name][0] for name in quality]
    if card.baselines:
        terminal.put("")
        beside = [("this model", *_cells(card, quality)), *((rule.name, *_cells(rule, quality)) for rule in card.baselines)]
        console.table(beside, ("", *titles), range(1, 1 + len(titles)))
    terminal.put("")
    table = [
        (
            f"{row.shortest}" if row.shortest == row.longest else f"{row.shortest} to {row.longest}",
            f"{row.pairs:,}",
            *_cells(row, ("nats_per_symbol", *quality)),
        )
        for row in card.by_length
    ]
    console.table(table, ("symbols of the source", "pairs", "nats per symbol", *titles), range(1, 3 + len(titles)))
    if card.signatures:
        terminal.put("")
        console.table([(f"  {FIGURES[name][0]}", signature) for name, signature in card.signatures.items()])
    terminal.note(*card.notes)
