"""The commands about texts: a look at one before training, and the corpora that ship."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from lmgen.cli import console
from lmgen.cli.options import ENCODING, ERRORS, GLOB, JSON, SEQUENCE, InOrder
from lmgen.system import terminal


@click.group(cls=InOrder)
def corpus() -> None:
    """Look at a text before training, and the corpora that ship."""


@corpus.command(name="check")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--valid", metavar="FILE", help="The text that is to validate.")
@click.option("--test", metavar="FILE", help="The text that is to measure at the end.")
@GLOB
@SEQUENCE
@click.option("--carry", is_flag=True, help="As in training on running text: blank lines count, the end of the text is held out.")
@click.option(
    "--unit", type=click.Choice(["word", "word-punct", "word-only"]), default="word", show_default=True, help="What a word is."
)
@ENCODING
@ERRORS
@JSON
def corpus_check(
    files: tuple[str, ...],
    valid: str | None,
    test: str | None,
    glob: str | None,
    sequence: str,
    carry: bool,
    unit: str,
    encoding: str,
    errors: str,
    as_json: bool,
) -> None:
    """Look at a text before training on it.

    Prints sizes, repeats, what the texts given share, damage, rare and unknown symbols, and advises on the options of lmgen
    train. FILE is what CORPUS is to lmgen train. Two sequences are nearly equal if they differ in nothing but case, compatible
    forms (Unicode NFKC), punctuation, digits and white space.
    """
    from lmgen.data import check, finding, formats, reading

    def opened(names: Sequence[str], glob: str | None = None) -> reading.Text:
        return reading.Text(finding.find(names, glob, terminal.note), sequence, carry, encoding, errors)

    valid_text, test_text = (opened([name]) if name else None for name in (valid, test))
    whole = opened(files, glob)
    report = check.check(whole, valid_text, test_text, unit)
    for hint in filter(None, map(formats.hint, whole.paths[:1])):
        terminal.note(hint)
    command = ["lmgen", "train", *files, *(["--glob", glob] if glob else []), *(["--valid", valid] if valid else [])]
    command += [word for one in report.advice for word in one.options]
    command += [] if encoding == "utf-8" else ["--encoding", encoding]
    if as_json:
        console.put_json(asdict(report) | {"command": shlex.join(command)})
        return
    for line in report.notes:
        terminal.note(line)
    terminal.put(", ".join("standard input" if name == "-" else name for name in files))
    _put_report(report)
    terminal.put(f"\nto train: {shlex.join(command)}")


def _put_report(r: Any) -> None:
    """The tables, a section each; what is not there has none."""
    from lmgen.data.advice import number, percent

    plural = f"{r.sequence}s"
    characters, words = r.symbols
    size = [
        ("bytes", f"{r.bytes:,}"),
        ("characters", f"{r.characters:,} with line ends, of {number(characters.kinds, 'kind')}"),
        ("words", f"{words.total:,} of {number(words.kinds, 'kind')}"),
        ("lines", f"{r.lines:,}" + f", {r.blank_lines:,} of them blank" * (r.blank_lines > 0)),
        *([("paragraphs", f"{r.paragraphs:,}")] if r.blank_lines else []),
        *([] if r.sequence == "line" else [(plural, f"{r.sequences:,}")]),
        *([("line ends", ", ".join(f"{n:,} {name}" for name, n in r.line_ends.items()))] if len(r.line_ends) > 1 else []),
    ]
    console.table(size)
    of = r.lengths
    lengths = (f"{n:,}" for n in (of.shortest, of.median, round(of.mean), of.most, of.longest))
    _section(f"characters in a {r.sequence}", [[*lengths]], ("shortest", "median", "mean", "95% up to", "longest"), range(5))
    repeats = [("exactly", r.repeats.exact), ("nearly", r.repeats.near)]
    _section(
        f"{plural} that repeat an earlier one",
        [(how, f"{n:,}", percent(n, r.sequences)) for how, n in repeats],
        numbers=(1, 2),
    )
    if r.repeats.most_frequent:
        _section("the most frequent", [(f"{n:,} ×", _cell(text)) for n, text in r.repeats.most_frequent], numbers=(0,))
    if r.repeats.alike:
        _section("nearly equal", [(_cell(a), _cell(b)) for a, b in r.repeats.alike])
    for o in r.overlaps:
        rows = [
            (plural, percent(o.exact, o.sequences), percent(o.near, o.sequences)),
            (f"distinct {plural}", percent(o.exact_distinct, o.distinct), percent(o.near_distinct, o.distinct)),
            *([(f"runs of three {plural}", percent(o.shared_runs, o.runs), "")] if o.runs else []),
        ]
        _section(f"of the {o.of} text in the {o.within} text", rows, ("", "exactly", "nearly"), (1, 2))
        if o.example is not None:
            terminal.put(f"such as: {_cell(o.example)}")
    _section(
        "rare symbols",
        [(f"{_noun(s)}s", f"{s.once:,}", f"{s.rare:,}", f"{s.kinds:,}", _examples(s)) for s in r.symbols],
        ("", "once", "under 5 ×", "kinds", "such as"),
        (1, 2, 3),
    )
    for symbols in r.symbols:
        _put_unknown([u for u in r.unknown if u.unit == symbols.unit], f"{_noun(symbols)}s")
    if r.damage:
        _section(
            "signs of damage",
            [(d.about, f"{d.characters:,}", f"{d.lines:,}", _place(d, len(r.files)), _most(d)) for d in r.damage],
            ("", "count", "lines", "first in", "most often"),
            (1, 2),
        )
    if r.warnings:
        _section("warnings", [("!", sentence) for sentence in r.warnings])
    _section("advice", [(" ".join(a.options) or _DEFAULTS[a.about], a.reason) for a in r.advice])


_DEFAULTS = {"unit": "--unit char", "sequence": "--sequence line"}


def _section(title: str, rows: Sequence[Any], head: Sequence[str] | None = None, numbers: Iterable[int] = ()) -> None:
    terminal.put(f"\n{title}")
    console.table(rows, head, numbers)


def _noun(symbols: Any) -> str:
    return "character" if symbols.unit == "char" else "word"


def _cell(text: str) -> str:
    """A piece of a foreign text as a table takes it: nothing in it steers a terminal, wherever the table is read later."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _examples(symbols: Any) -> str:
    return " ".join(_cell(s) for s in symbols.examples[: 5 if symbols.unit == "char" else 2])


def _most(damage: Any) -> str:
    return ", ".join(map(_cell, damage.most[:3]))


def _place(damage: Any, files: int) -> str:
    return f"line {damage.line:,}" + f" of {damage.file}" * (files > 1)


def _put_unknown(unknown: list[Any], noun: str) -> None:
    """A row for each size of a vocabulary, a column for each part that measures."""
    parts = list(dict.fromkeys(u.of for u in unknown))
    sizes = list(dict.fromkeys(u.size for u in unknown))
    share = {(u.size, u.of): f"{u.share:.2%}" for u in unknown}
    last = [share[None, part] for part in parts]
    telling = [size for size in sizes if size is None or [share[size, part] for part in parts] != last]
    rows = [("all" if size is None else f"{size:,}", *(share[size, part] for part in parts)) for size in telling]
    places = {"held-out": "what is held out", "training": "the training text"}
    head = ("--vocab-size", *(f"in {places.get(part, f'the {part} text')}" for part in parts))
    _section(f"{noun} unknown to a vocabulary of this size", rows, head, range(len(head)))


@corpus.command(name="list")
@JSON
def corpus_list(as_json: bool) -> None:
    """Name the corpora that ship, with their sizes."""
    from lmgen.data import finding

    rows = finding.listing()
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
    """Write the text of the corpus NAME that ships."""
    from lmgen.data import finding
    from lmgen.system import files

    content = finding.shipped(name).read_bytes()
    if output is None:
        terminal.put_bytes(content)
        return
    with files.new(output) as file:
        file.write(content)
    terminal.note(f"wrote {output}")
