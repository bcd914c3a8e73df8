"""What predict and eval print of a model that labels: lines, CoNLL columns, JSON; measures beside baselines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from lmgen.applied.records import labels as record
from lmgen.cli import console
from lmgen.cli.predictions import rivals
from lmgen.system import terminal

__all__ = ["evaluate", "inputs", "put", "record"]
ABSTAINED = "?"  # printed instead of a label that is not probable enough
MOST_CONFUSED = 12  # labels of a table of confusion


def inputs(lm: Any, file: str, encoding: str, errors: str, field: str | int | None = None) -> Iterator[Any]:
    """The texts of a file or of standard input; labels in the same lines are left out. None means that the next text is not there
    yet."""
    from lmgen.labelled import unlabelled
    from lmgen.labelled.examples import Examples, recognise

    path = Path(file)
    found = recognise([path]) if field is None and (path.is_file() or path.is_dir()) else None
    if found:
        for example in Examples([path], found.form, found.column, encoding=encoding, errors=errors):
            yield example.text
        return
    given, own = lines(file, encoding, errors, field, keep_blank=field is None), lm.provenance.text
    if field is None:
        yield from unlabelled.texts(path, given, lm.labels, own.form, own.column, own.separator, terminal.note)
    else:
        yield from given


def lines(
    file: str, encoding: str, errors: str, field: str | int | None = None, keep_blank: bool = False
) -> Iterator[str | None]:
    """The lines of a file or of standard input, or the cells of a column; None where more of it has to be waited for."""
    from lmgen.data import reading

    opened = reading.once(file, "line" if field is None else "file", keep_blank, encoding, errors, field)
    yield from reading.arriving(opened)
    terminal.note(*opened.notes)


def put(one: Any, top: int, above: float) -> None:
    """Print a prediction: a line, or columns where it has tags."""
    (_put_columns if one.tags else _put_line)(one, top, above)


def _put_line(one: Any, top: int, above: float) -> None:
    text = re.sub(r"[\r\n]+", " ", one.text)  # a prediction is a line, also where its text is several
    for rank, (label, p) in enumerate(_ranked(one, top, above)):
        terminal.put(f"{label}\t{p:.4f}\t{text if not rank else ''}".rstrip("\t"))


def _ranked(one: Any, top: int, above: float) -> list[tuple[str, float]]:
    """The likeliest labels; of several that may hold at once, all that do, with their least probability."""
    if one.several and top == 1:
        chosen = [(name, p) for name, p in one.labels if name in one.chosen and p >= above] or [(ABSTAINED, one.labels[0][1])]
        return [(",".join(name for name, _ in chosen), chosen[-1][1])]
    return [(name if p >= above else ABSTAINED, p) for name, p in one.labels[:top]]


def _put_columns(one: Any, top: int, above: float) -> None:
    lines = [f"# label: {label}\t{p:.4f}" for label, p in _ranked(one, top, above)]
    for symbol, (tag, p) in zip(one.symbols, one.tags, strict=True):
        lines.append(f"{symbol}\t{tag if p >= above else ABSTAINED}\t{p:.4f}")
    terminal.put("\n".join([*lines, ""]))


def evaluate(loaded: Any, files: tuple[str, ...], options: dict[str, Any]) -> None:
    """The command eval for a model that labels: its figures beside baselines, or those of two models and their difference."""
    if options["plot"] and len(files) > 1:
        raise click.UsageError("--plot draws the confusion of one text: name one FILE")
    for card, theirs in rivals.cards(loaded, files, options):
        if theirs and not _pairs(card, theirs):
            raise click.UsageError("the models have no measure in common: name one --against that learnt the same labels")
        if options["json"]:
            record = card.as_dict()
            if theirs:
                record["difference"] = {part.of: _difference(part, their) for part, their in _pairs(card, theirs)}
            console.put_json(record)
        else:
            _put_card(card)
            for part, their in _pairs(card, theirs) if theirs else ():
                within = _difference(part, their)
                interval = f"[{within[0]:+.2%}, {within[1]:+.2%}]" if within else "(too few texts for an interval)"
                console.sentence(f"{part.of}: {part.title} {part.value - their.value:+.2%} against the other model {interval}")
        if options["plot"]:
            _plot(card, Path(options["plot"]))


def _pairs(card: Any, theirs: Any) -> list[tuple[Any, Any]]:
    """The parts that both models predict."""
    return [(part, their) for part in card.parts for their in theirs.parts if part.of == their.of and part.main == their.main]


def _difference(part: Any, their: Any) -> tuple[float, float] | None:
    from lmgen.evaluation import labels

    return labels.paired(labels.accuracy if part.main == "accuracy" else labels.micro_f1, part.counts, their.counts)


def _plot(card: Any, path: Path) -> None:
    from lmgen.evaluation import labels

    part = next((part for part in card.parts if part.confusion is not None), None)
    if part is None:
        raise click.UsageError("several labels of one text have no confusion to draw: leave out --plot")
    labels.plot(part.confusion, part.names, path)
    terminal.note(f"wrote {path}")


def _put_card(card: Any) -> None:
    console.sentence(
        f"{card.name}: {card.sequences:,} {card.nouns[0]}, {card.symbols:,} {card.nouns[1]}, "
        f"{card.unknown:,} of them not seen in training"
    )
    if card.overlap:
        console.table([("  overlap", card.overlap.sentence.format(card.nouns[0]))])
    for part in card.parts:
        interval = f" [{part.interval[0]:.2%}, {part.interval[1]:.2%}]" if part.interval else ""
        figures = {"entity F1": part.entity_f1, "accuracy": part.accuracy, "micro F1": part.micro_f1, "macro F1": part.macro_f1}
        rows = [
            (f"  {name}", f"{value:.2%}{interval if name == part.title else ''}")
            for name, value in figures.items()
            if value is not None
        ]
        rows += [("  nats a label", f"{part.nats:.4f}"), ("  calibration error", f"{part.calibration_error:.2%}")]
        rows += [("  Brier score", f"{part.brier:.4f}")]
        rows += [(f"  {rule.name} alone", f"{rule.value:.2%} {part.title}") for rule in part.baselines]
        rows += [("  unseen labels", f"{part.unseen:,}")] if part.unseen else []
        terminal.put("")
        terminal.put(f"{part.of} ({part.count:,})")
        console.table(rows)
        terminal.put("")
        shown = part.entities or part.rows
        head = ("entity" if part.entities else part.of.removesuffix("s"), "precision", "recall", "F1", "number")
        table = [(row.label, f"{row.precision:.1%}", f"{row.recall:.1%}", f"{row.f1:.1%}", f"{row.support:,}") for row in shown]
        console.table(table, head, range(1, 5))
        if part.confusion is not None and len(part.names) <= MOST_CONFUSED:
            terminal.put("")
            counts = [(name, *(f"{n:,}" for n in row)) for name, row in zip(part.names, part.confusion, strict=True)]
            console.table(counts, ("gold ↓ predicted →", *part.names), range(1, len(part.names) + 1))
    if further := getattr(card, "further", 0):
        which = "text has" if further == 1 else "texts have"
        terminal.note(f"{further:,} {which} several labels, of which the first counts: this model predicts one")
    if card.lack:
        terminal.note(f"no baselines: {card.lack}")


def evaluate_by_label(loaded: Any, files: tuple[str, ...], options: dict[str, Any]) -> None:
    """The command eval for a model that writes by label: the nats of each label's texts, given the label."""
    for name, (every, *rows) in loaded.by_label(*files, encoding=options["encoding"], errors=options["errors"]):
        if options["json"]:
            console.put_json({"file": name, **every.as_dict(), "labels": [row.as_dict() for row in rows]})
            continue
        console.sentence(f"{name}: {every.sequences:,} texts, {every.unknown:,} symbols not seen in training")
        if every.overlap:
            console.table([("  overlap", every.overlap.sentence.format("texts"))])
        head = ("label", "nats per symbol", "perplexity", "bits per character", "texts", "symbols")
        table = [
            (
                row.label or "all",
                f"{row.nats_per_symbol:.4f}",
                f"{row.perplexity:.3f}",
                f"{row.bits_per_character:.4f}",
                f"{row.sequences:,}",
                f"{row.symbols:,}",
            )
            for row in (every, *rows)
        ]
        console.table(table, head, range(1, 6))
