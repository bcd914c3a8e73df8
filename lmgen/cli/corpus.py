"""The group corpus: a text before training, and the corpora that ship."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from lmgen.cli import console
from lmgen.cli.options import Group, command, output_file
from lmgen.options import commands
from lmgen.system import terminal


@command("lmgen corpus list", "lmgen corpus check names.txt", cls=Group)
def corpus() -> None:
    """Check texts; list the corpora that ship."""


@command(
    "lmgen corpus check cities",
    "lmgen corpus check train.txt --valid valid.txt --test test.txt",
    options=commands.CORPUS_CHECK,
    group=corpus,
)
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
def corpus_check(files: tuple[str, ...], glob: str | None, sequence: str, encoding: str, **options: Any) -> None:
    """Check a text before training.

    Prints sizes, repeats, overlap of the texts, damage, rare and unknown symbols, and advice on options of lmgen train. FILE may
    be anything that lmgen train accepts as CORPUS. Two sequences are nearly equal if they differ in nothing but case, compatible
    forms (Unicode NFKC), punctuation, digits and white space.
    """
    from lmgen.data import check, finding, formats, reading

    def opened(names: Sequence[str], glob: str | None = None) -> reading.Text:
        paths = finding.find(names, glob, terminal.note)
        return reading.Text(paths, sequence, options["carry"], encoding, options["errors"])

    valid = options["valid"]
    valid_text, test_text = (opened([name]) if name else None for name in (valid, options["test"]))
    whole = opened(files, glob)
    report = check.check(whole, valid_text, test_text, options["unit"])
    terminal.note(*filter(None, map(formats.hint, whole.paths[:1])))
    words = ["lmgen", "train", *files, *(["--glob", glob] if glob else []), *(["--valid", valid] if valid else [])]
    words += [word for one in report.advice for word in one.options]
    words += [] if encoding == "utf-8" else ["--encoding", encoding]
    if options["json"]:
        console.put_json(asdict(report) | {"command": shlex.join(words)})
        return
    terminal.note(*report.notes)
    terminal.put(", ".join("standard input" if name == "-" else name for name in files))
    _put_report(report)
    terminal.put(f"\nto train: {shlex.join(words)}")


def _put_report(r: Any) -> None:
    """Write a section for each part of the report that has content."""
    from lmgen.data.advice import number, percent

    plural = f"{r.sequence}s"
    characters, words = r.symbols
    size = [
        ("bytes", f"{r.bytes:,}"),
        ("characters", f"{r.characters:,} with line ends, of {number(characters.kinds, 'kind')}"),
        ("words", f"{words.total:,} of {number(words.kinds, 'kind')}"),
        ("lines", f"{r.lines:,}" + f", {r.blank_lines:,} of them blank" * (r.blank_lines > 0)),
    ]
    if r.blank_lines:
        size.append(("paragraphs", f"{r.paragraphs:,}"))
    if r.sequence != "line":
        size.append((plural, f"{r.sequences:,}"))
    if len(r.line_ends) > 1:
        size.append(("line ends", ", ".join(f"{n:,} {name}" for name, n in r.line_ends.items())))
    console.table(size)
    of = r.lengths
    lengths = [f"{n:,}" for n in (of.shortest, of.median, round(of.mean), of.most, of.longest)]
    _section(f"characters in a {r.sequence}", [lengths], ("shortest", "median", "mean", "95% up to", "longest"), range(5))
    repeats = [(how, f"{n:,}", percent(n, r.sequences)) for how, n in (("exactly", r.repeats.exact), ("nearly", r.repeats.near))]
    _section(f"{plural} that repeat an earlier one", repeats, numbers=(1, 2))
    _section("the most frequent", [(f"{n:,} ×", _cell(text)) for n, text in r.repeats.most_frequent], numbers=(0,))
    _section("nearly equal", [(_cell(a), _cell(b)) for a, b in r.repeats.alike])
    for o in r.overlaps:
        rows = [
            (plural, percent(o.exact, o.sequences), percent(o.near, o.sequences)),
            (f"distinct {plural}", percent(o.exact_distinct, o.distinct), percent(o.near_distinct, o.distinct)),
        ]
        if o.runs:
            rows.append((f"runs of three {plural}", percent(o.shared_runs, o.runs), ""))
        _section(f"of the {o.of} text in the {o.within} text", rows, ("", "exactly", "nearly"), (1, 2))
        if o.example is not None:
            terminal.put(f"such as: {_cell(o.example)}")
    rare = [
        (_noun(s), f"{s.once:,}", f"{s.rare:,}", f"{s.kinds:,}", " ".join(map(_cell, s.examples[: 5 if s.unit == "char" else 2])))
        for s in r.symbols
    ]
    _section("rare symbols", rare, ("", "once", "under 5 ×", "kinds", "such as"), (1, 2, 3))
    for symbols in r.symbols:
        _put_unknown([u for u in r.unknown if u.unit == symbols.unit], _noun(symbols))
    damage = []
    for d in r.damage:
        first = f"line {d.line:,}" + f" of {d.file}" * (len(r.files) > 1)
        damage.append((d.about, f"{d.characters:,}", f"{d.lines:,}", first, ", ".join(map(_cell, d.most[:3]))))
    _section("signs of damage", damage, ("", "count", "lines", "first in", "most often"), (1, 2))
    _section("warnings", [("!", sentence) for sentence in r.warnings])
    _section("advice", [(" ".join(a.options) or _DEFAULTS[a.about], a.reason) for a in r.advice])


_DEFAULTS = {"unit": "--unit char", "sequence": "--sequence line"}


def _section(title: str, rows: Sequence[Any], head: Sequence[str] | None = None, numbers: Iterable[int] = ()) -> None:
    if rows:
        terminal.put(f"\n{title}")
        console.table(rows, head, numbers)


def _noun(symbols: Any) -> str:
    return "characters" if symbols.unit == "char" else "words"


def _cell(text: str) -> str:
    """A piece of the text as a cell of a table, without codes that could steer a terminal, now or when read later."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _put_unknown(unknown: list[Any], noun: str) -> None:
    """Write a row for each vocabulary size, with a column for each text measured."""
    parts = list(dict.fromkeys(u.of for u in unknown))
    sizes = list(dict.fromkeys(u.size for u in unknown))
    share = {(u.size, u.of): f"{u.share:.2%}" for u in unknown}
    last = [share[None, part] for part in parts]
    useful = [size for size in sizes if size is None or [share[size, part] for part in parts] != last]
    rows = [("all" if size is None else f"{size:,}", *(share[size, part] for part in parts)) for size in useful]
    places = {"held-out": "held-out part", "training": "training text"}
    head = ("--vocab-size", *(f"in the {places.get(part, f'{part} text')}" for part in parts))
    _section(f"{noun} unknown to a vocabulary of this size", rows, head, range(len(head)))


@command("lmgen corpus list", "lmgen corpus list --json", options=[commands.JSON], group=corpus)
def corpus_list(json: bool) -> None:
    """List the corpora that ship, with their sizes."""
    from lmgen.data import finding

    rows = finding.listing()
    if json:
        console.put_json(*rows)
    else:
        console.table([(r["name"], f"{r['bytes']:,}", r["about"]) for r in rows], head=("name", "bytes", "content"), numbers=(1,))


@command("lmgen corpus write cities", "lmgen corpus write cities -o cities.txt", options=[commands.OUTPUT], group=corpus)
@click.argument("name")
def corpus_write(name: str, output: Path | None) -> None:
    """Write the text of the corpus NAME to a file."""
    from lmgen.data import finding

    content = finding.shipped(name).read_bytes()
    with output_file(output) as file:
        file.write(content)
