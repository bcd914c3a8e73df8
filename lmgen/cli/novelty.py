"""The command novelty, whose figures lmgen sample --novelty prints, too."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lmgen.cli import console
from lmgen.cli.options import command
from lmgen.errors import InputError
from lmgen.options import commands
from lmgen.system import terminal

if TYPE_CHECKING:
    from lmgen.data.reading import Text
    from lmgen.evaluation.comparison import Reference
    from lmgen.evaluation.novelty import Novelty

SHOWN = 40  # characters of a span or a line of the corpus
UNLIKE = 1.1  # ratio of lengths from which samples and held-out texts are not compared without a warning


@command(
    "lmgen novelty samples.txt --corpus cities.txt",
    "lmgen sample cities | lmgen novelty - --corpus cities.txt",
    options=commands.NOVELTY,
)
@click.argument("samples")
def novelty(samples: str, sequence: str, encoding: str, errors: str, **options: Any) -> None:
    """Measure whether samples are copied.

    For each sequence of SAMPLES (- is standard input): whether it is in the corpus, its longest verbatim span and the line that
    has it, the nearest sequence by edit distance, and its share of new n-grams. Then the same figures for all samples, beside
    those of held-out text of the same size: samples of a model that copies nothing look like that.
    """
    from lmgen.data import finding, reading
    from lmgen.data.writing.normalization import Normalization
    from lmgen.evaluation import novelty as novelties

    lines, ngram, exact = options["json_lines"], options["ngram"], options["exact"]
    normal = Normalization(options["lowercase"], options["normalize"])
    opened = reading.Text(
        finding.find([samples]),
        "line" if lines else sequence,
        encoding=options["samples_encoding"] or encoding,
        errors=errors,
    )
    texts = [normal.of(one) for one in (_texts(opened) if lines else reading.whole(opened))]
    terminal.note(*opened.notes)
    if not texts:
        raise InputError(f"there are no samples in {finding.name_of(opened.paths[0])}: give a file of them, one a {sequence}")
    controls = [options["control"]] if options["control"] else []
    how = {"sequence": sequence, "keep_blank": options["carry"], "encoding": encoding, "errors": errors}
    how |= {"column": options["field"], "normal": normal}
    reference = open_reference(options["corpus"], controls, how, exact, texts)
    found = []
    for one in texts:
        found.append(novelties.check(reference.index, one, ngram, exact=exact))
        if options["json"]:
            console.put_json(asdict(found[-1]))
        else:
            terminal.put(one)
            put_novelty(found[-1], ngram)
    put_report(found, reference, ngram, options["json"])


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
    corpora: Sequence[str], controls: Sequence[str], how: Mapping[str, Any], exact: bool, samples: Sequence[str] | None
) -> Reference:
    """Open and index the corpus and its control, with notes; `how` they are read, as fields of `Text`. Of texts with labels these
    are left out, unless the `samples` have some, too, or are None."""
    from lmgen.data import finding, reading
    from lmgen.evaluation import comparison

    def opened(names: Sequence[str]) -> Text:
        paths = finding.find(names)
        plain = samples is None or how["column"] is not None or how["keep_blank"] or how["sequence"] != "line"
        texts = None if plain else _without_labels(paths, how, samples or ())
        return reading.Text([texts], **{**how, "encoding": "utf-8"}) if texts else reading.Text(paths, **how)

    corpus, control = opened(corpora), opened(controls) if controls else None
    reference = comparison.reference(corpus, control, how["keep_blank"])
    terminal.note(*reference.notes)
    if reference.index.large and not exact:
        terminal.note(
            f"the nearest {how['sequence']} is searched among those with the longest common spans; --exact searches all"
        )
    return reference


def _without_labels(paths: Sequence[Path], how: Mapping[str, Any], samples: Sequence[str]) -> Path | None:
    """A copy of the texts of labelled text, a line each; None of other text, and where the samples have labels beside them."""
    from lmgen.data import finding
    from lmgen.labelled.examples import Examples, recognise
    from lmgen.labelled.forms import MARK

    beside = {"tsv": "\t", "fasttext": MARK, "jsonl": "{"}
    found = recognise(paths)
    if found is None or "classify" not in found.task:
        return None
    if (sign := beside.get(found.form)) and 2 * sum(sign in one for one in samples) > len(samples):
        return None
    terminal.note(f"{found.reason}: samples are compared with the texts, without labels")
    examples = Examples(paths, found.form, found.column, "", how["encoding"], how["errors"], how["normal"])
    return finding.spooled((f"{one.joined}\n".encode("utf-8", "replace") for one in examples), "texts")


def put_novelty(one: Novelty, ngram: int) -> None:
    """Write indented lines on what a sample shares with the corpus."""
    if one.known:
        terminal.put("  is in the corpus")
    elif one.nearly:
        terminal.put("  is in the corpus but for case, or spaces at its ends")
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
    """Write the figures of all samples beside those of held-out text."""
    from lmgen.evaluation import comparison
    from lmgen.evaluation import novelty as novelties

    control = comparison.like([one.text for one in found], reference.held_out)
    if control and len(control) < len(found):
        terminal.note(f"the held-out text has {len(control):,} for {len(found):,} samples: the control is the smaller set")
    report = comparison.compare(found, [novelties.check(reference.index, one, ngram, nearest=False) for one in control])
    if report.control and not UNLIKE > report.control.length / max(1, report.samples.length) > 1 / UNLIKE:
        terminal.note("samples and held-out texts differ in length: the shorter a text, the more of it one span covers")
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
            row("are in the corpus", "known", ".1%"),
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
