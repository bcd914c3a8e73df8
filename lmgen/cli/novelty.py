"""The commands about texts, without a model: novelty."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from lmgen.cli import console
from lmgen.cli.options import CONTROL, ENCODING, ERRORS, EXACT, JSON, NGRAM
from lmgen.errors import InputError
from lmgen.system import terminal

if TYPE_CHECKING:
    from lmgen.data.reading import Text
    from lmgen.evaluation.comparison import Reference
    from lmgen.evaluation.novelty import Novelty

SHOWN = 40  # characters of a span or a line of the corpus
UNLIKE = 1.1  # times as long: held-out texts to which one does not compare samples without a warning


@click.command()
@click.argument("samples")
@click.option(
    "--corpus", "corpora", multiple=True, required=True, metavar="FILE", help="What the model was trained on; may be repeated."
)
@CONTROL
@click.option("--carry", is_flag=True, help="Hold out the end of the corpus, as lmgen train --carry does.")
@NGRAM
@EXACT
@click.option(
    "--sequence",
    type=click.Choice(["line", "paragraph", "file"]),
    default="line",
    show_default=True,
    help="What a sample is, and a sequence of the corpus.",
)
@click.option("--json-lines", is_flag=True, help='SAMPLES has an object with "text" a line, as lmgen sample --json writes.')
@click.option("--samples-encoding", metavar="TEXT", help="How SAMPLES is encoded, where it is not as the corpus.")
@ENCODING
@ERRORS
@JSON
def novelty(
    samples: str,
    corpora: tuple[str, ...],
    control: str | None,
    carry: bool,
    ngram: int,
    exact: bool,
    sequence: str,
    json_lines: bool,
    samples_encoding: str | None,
    encoding: str,
    errors: str,
    as_json: bool,
) -> None:
    """Tell whether samples are new or copied.

    For each sequence of SAMPLES (- is standard input): whether it stands in the corpus, its longest verbatim span and the line
    that comes from, the nearest sequence by edits, its share of new n-grams; and for all of them the same figures beside those
    of held-out text of the same size, which is what samples of a model that copies nothing look like.
    """
    from lmgen.data import finding, reading
    from lmgen.evaluation import novelty as novelties

    opened = reading.Text(
        finding.find([samples]), "line" if json_lines else sequence, False, samples_encoding or encoding, errors
    )
    texts = list(_texts(opened) if json_lines else reading.whole(opened))
    for line in opened.notes:
        terminal.note(line)
    if not texts:
        raise InputError(f"there are no samples in {finding.name_of(opened.paths[0])}: give a file of them, one a {sequence}")
    reference = open_reference(corpora, (control,) if control else (), sequence, carry, encoding, errors, exact)
    found = []
    for one in texts:
        found.append(novelties.check(reference.index, one, ngram, exact=exact))
        if as_json:
            console.put_json(asdict(found[-1]))
        else:
            terminal.put(one)
            put_novelty(found[-1], ngram)
    put_report(found, reference, ngram, as_json)


def _texts(opened: Text) -> Iterator[str]:
    from lmgen.data import finding, reading

    for number, line in enumerate(reading.whole(opened), 1):
        try:
            value = json.loads(line)["text"]
        except (ValueError, TypeError, LookupError):
            value = None
        if not isinstance(value, str):
            raise InputError(
                f'{finding.name_of(opened.paths[0])} has no object with "text" as its sample {number:,}: give what '
                "lmgen sample --json writes, or leave out --json-lines"
            )
        yield value


def open_reference(
    corpora: Sequence[str],
    controls: Sequence[str],
    sequence: str,
    carry: bool,
    encoding: str,
    errors: str,
    exact: bool,
) -> Reference:
    """The corpus and its control, opened and indexed, with notes on the way."""
    from lmgen.data import finding, reading
    from lmgen.evaluation import comparison

    corpus = reading.Text(finding.find(corpora), sequence, carry, encoding, errors)
    other = reading.Text(finding.find(controls), sequence, carry, encoding, errors) if controls else None
    reference = comparison.reference(corpus, other, carry)
    for line in reference.notes:
        terminal.note(line)
    if reference.index.large and not exact:
        terminal.note(f"the nearest {sequence} is looked for among those that share the longest spans; --exact tries them all")
    return reference


def fields(one: Novelty, known: bool | None) -> dict[str, Any]:
    """What is added to a sample as JSON; a sample is known, too, where the model says that it is."""
    return asdict(one) | {"known": bool(known or one.known)}


def put_novelty(one: Novelty, ngram: int) -> None:
    """What a sample shares with the corpus, in lines that are indented."""
    if one.known:
        terminal.put("  stands in the corpus")
    elif one.nearly:
        terminal.put("  stands in the corpus but for case, or spaces at its ends")
    else:
        span = f"span {len(one.span)} of {len(one.text)} characters"
        terminal.put(f"  {span}: {_short(one.span)!r} in {_short(one.span_line)!r}" if one.span else f"  {span}")
        if one.nearest is not None:
            terminal.put(f"  nearest, {one.distance} edit{'s' * (one.distance != 1)} away: {_short(one.nearest)!r}")
    if one.new_ngrams is not None:
        terminal.put(f"  {one.new_ngrams:.0%} of its {ngram}-grams are new")


def _short(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[: SHOWN // 2]} … {text[-SHOWN // 2 :]}"


def put_report(found: Sequence[Novelty], reference: Reference, ngram: int, as_json: bool) -> None:
    """The figures of a set beside those of its control."""
    from lmgen.evaluation import comparison
    from lmgen.evaluation import novelty as novelties

    control = comparison.like([one.text for one in found], reference.held_out)
    if control and len(control) < len(found):
        terminal.note(f"the held-out text has {len(control):,} for {len(found):,} samples: the control is the smaller set")
    report = comparison.compare(found, [novelties.check(reference.index, one, ngram, nearest=False) for one in control])
    if report.control and not UNLIKE > report.control.length / max(1, report.samples.length) > 1 / UNLIKE:
        terminal.note(
            "the held-out texts are not of the length of the samples: the shorter a text, the more of it one span covers"
        )
    if as_json:
        console.put_json(asdict(report))
        return
    sides: list[Any] = [side for side in (report.samples, report.control) if side]

    def row(label: str, name: str, form: str) -> tuple[str, ...]:
        values = (getattr(side, name) for side in sides)
        return label, *("–" if value is None else format(value, form) for value in values)

    terminal.put("")
    console.table(
        [
            row("number", "count", ",d"),
            row("characters, mean", "length", ",.1f"),
            row("stand in the corpus", "known", ".1%"),
            row("… or nearly (case, end spaces)", "nearly", ".1%"),
            row(f"one span covers {comparison.COPIED:.0%} or more", "copied", ".1%"),
            row("longest span, characters, mean", "span", ",.1f"),
            row("longest span, share, mean", "span_share", ".1%"),
            row(f"in spans of {novelties.LEAST} or more", "shared", ".1%"),
            row(f"new {ngram}-grams", "new_ngrams", ".1%"),
        ],
        head=("", "samples", "held out")[: 1 + len(sides)],
        numbers=range(1, 1 + len(sides)),
    )
    terminal.put("\n" + terminal.wrapped(report.verdict, sys.stdout))
