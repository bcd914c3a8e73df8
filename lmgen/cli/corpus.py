"""The group corpus: a text before training, and the corpora that ship."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from lmgen.cli import console
from lmgen.cli.options import Group, command, output_file
from lmgen.errors import InputError
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
    forms (Unicode NFKC), punctuation, digits and white space. Of labelled text, pairs, trees and graphs it prints sizes, labels
    and tags with their numbers, equal texts with different labels or targets, tags that break their scheme, and what the texts
    share. Of a corpus in shards every file is read and compared with the manifest.
    """
    from lmgen.checks import labels
    from lmgen.checks import plain as check
    from lmgen.data import finding, reading
    from lmgen.data.sharded import reading as shards
    from lmgen.data.sources import tables
    from lmgen.data.writing.normalization import Normalization
    from lmgen.models.provenance import TextSettings
    from lmgen.structured import table

    if address := shards.address_of(files):
        verified = shards.verified(address)
        terminal.note(f"{address}: every file is as the manifest says")
        _put_shards(verified, address, options["json"])
        return
    field, normal = options["field"], Normalization(options["lowercase"], options["normalize"])
    task, target, column = options["task"], options["target"], None
    if field is not None and task not in (None, "language"):  # then it is the column of what is learnt, as in train
        if isinstance(field, str):
            raise table.plain_column(field, task)
        field, column = None, field

    def text_of(paths: Sequence[Path]) -> reading.Text:
        how: dict[str, Any] = {"column": field, "normal": normal}
        return reading.Text(paths, sequence, options["carry"], encoding, options["errors"], **how)

    valid = options["valid"]
    paths = finding.find(files, glob, terminal.note)
    others = [finding.find([name]) if name else None for name in (valid, options["test"])]
    words = ["lmgen", "train", *files, *(["--glob", glob] if glob else []), *(["--valid", valid] if valid else [])]
    words += [] if encoding == "utf-8" else ["--encoding", encoding]
    words += [] if field is None else ["--field", str(field)]
    words += [] if column is None else ["--column", str(column)]
    words += [word for name in ("task", "target") if options[name] for word in (f"--{name}", str(options[name]))]
    words += ["--lowercase"] * normal.lowercase + (["--normalize", normal.normalize] if normal.normalize else [])
    report: Any
    if target:
        found: table.Found | None = table.Found("parallel", "translate", f"{finding.names_of(paths)} has targets in {target}")
    elif field is not None or sequence != "line" or options["carry"] or task == "language":
        found = None
    elif (found := table.recognise(paths, task)) is None and task:
        raise table.nothing(paths, task)
    if found:
        how: dict[str, Any] = {name: options[name] for name in ("errors", "lowercase", "normalize", "target")}
        how |= {"files": (str(paths[0]),), "encoding": encoding, "column": column or found.column}
        how |= {"task": found.task, "form": found.form}
        training, validation, test = (split and TextSettings(**how).examples_like(split) for split in (paths, *others))
        view = table.structure_of(found.task).view
        way = "" if found.form in ("folder", "parallel") else "; --task language checks it as plain text"
        terminal.note(f"{found.reason}: checked as {view.about}{way}")
        report = labels.check(training, validation, test, view, found.form)
    else:
        unit = f"word-{options['segment']}" if options["segment"] else options["unit"]
        valid_text, test_text = (text_of(split) if split else None for split in others)
        report = check.check(text_of(paths), valid_text, test_text, unit)
        terminal.note(*filter(None, map(tables.hint, paths[: field is None])))
        words += [word for one in report.advice for word in one.options]
    if options["json"]:
        console.put_json(asdict(report) | {"command": terminal.command(*words)})
        return
    terminal.note(*report.notes)
    terminal.put(finding.names_of(map(Path, files)))
    _put_labels(report, view) if found else _put_report(report)
    terminal.put(f"\nto train: {terminal.command(*words)}")


SIZES = ("shards", "symbols", "sequences", "characters", "bytes")


def _put_shards(manifest: Any, address: str, json: bool = False) -> None:
    """Write the size of each part of a corpus in shards, and how to train on it."""
    words = terminal.command("lmgen", "train", address)
    if json:
        console.put_json({"address": address, "unit": manifest.unit, **manifest.sizes, "command": words})
        return
    console.table([(p, *(f"{of[n]:,}" for n in SIZES)) for p, of in manifest.sizes.items()], ("", *SIZES), range(1, 6))
    terminal.put(f"\nto train: {words}")


def _put_labels(r: Any, view: Any, most: int = 20) -> None:
    """Write a section for each part of the report on text with a structure that has content."""
    from lmgen.checks.labels import RARE
    from lmgen.data.advice import number, percent

    of = [*r.examples]
    units, *titles = (name.replace("words", "tokens") if r.is_tokens else name for name in (view.units, *view.sizes))
    sizes = [(f"{view.noun}s", r.examples), (units, r.tokens)]
    sizes += [("without a label", r.unlabelled)] * any(r.unlabelled.values())
    sizes += [("repeat an earlier one", r.repeats)] * any(r.repeats.values())
    console.table([(name, *(f"{counts[s]:,}" for s in of)) for name, counts in sizes], ("", *of), range(1, 4))
    for title, lengths in zip(titles, (r.lengths, *r.further.values()), strict=True):
        _section(title, [(s, *_lengths(lengths[s])) for s in of], ("", *LENGTHS), range(1, 6))
    for kind, noun, names in zip(("labels", "tags"), view.nouns, (r.labels, r.tags), strict=True):
        total = sum(one.counts["training"] for one in names)
        rows = [(_cell(one.name), *(f"{one.counts[s]:,}" for s in of), percent(one.counts["training"], total)) for one in names]
        title = f"{number(r.different[kind], noun)}{f', the {most} most frequent' * (len(rows) > most)}"
        _section(title, rows[:most], ("", *of, "of training"), range(1, len(of) + 2))
    names = " and ".join(f"{noun}s" for noun in view.nouns)
    for title, chosen in ((f"under {RARE} × in training", r.rare), ("in one split alone", r.only)):
        rows = [(_cell(one.name), *(f"{one.counts[s]:,}" for s in of)) for one in chosen[:most]]
        _section(f"{names} {title}: {len(chosen):,}", rows, ("", *of), range(1, len(of) + 1))
    conflicts = r.conflicts
    title = f"{number(conflicts.texts, view.text)} of {number(conflicts.examples, view.noun)} with different {view.answers}"
    _section(title, [(_cell(text), " or ".join(map(_cell, answers))) for text, answers in conflicts.some])
    rows = [
        (i.of, f"{i.sequences:,}", f"{i.file}, line {i.line:,}", " ".join(_cell(t or "·") for t in i.pair)) for i in r.invalid
    ]
    _section(f"tags that break {r.scheme}", rows, ("", "sequences", "first in", "such as"), (1,))
    rows = [(f"{o.of} in {o.within}", f"{o.shared:,}", percent(o.shared, o.examples), _cell(o.example or "")) for o in r.overlaps]
    _section(f"equal {view.text}s", rows, ("", f"{view.noun}s", "", "such as"), (1, 2))
    _section("warnings", [("!", sentence) for sentence in r.warnings])


LENGTHS = ("shortest", "median", "mean", "95% up to", "longest")


def _lengths(of: Any) -> list[str]:
    return [f"{n:,}" for n in (of.shortest, of.median, round(of.mean), of.most, of.longest)]


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
    _section(f"characters in a {r.sequence}", [_lengths(r.lengths)], LENGTHS, range(5))
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
            console.sentence(f"such as: {_cell(o.example)}")
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
        terminal.put("")
        console.sentence(title)
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


@command(
    "lmgen corpus build names.txt -o names.corpus",
    "lmgen corpus build '*.txt' --unit word --min-count 2 -o texts.corpus",
    options=commands.CORPUS_BUILD,
    group=corpus,
)
@click.argument("files", nargs=-1, required=True, metavar="TEXT...")
def corpus_build(files: tuple[str, ...], output: Path, glob: str | None, no_valid: bool, shard: int, **options: Any) -> None:
    """Build a corpus in shards, for texts that are larger than a disk or train on many hosts.

    TEXT is what lmgen train accepts as CORPUS; several make one corpus. The folder has the ids of the text in files of a few
    megabytes, the vocabulary, and a manifest with their hashes. Copy it to where you train, or into a store, and name it:
    lmgen train DIR, lmgen train s3://bucket/DIR. An interrupted build goes on when the same command is given again.
    """
    from lmgen.data import advice, finding, reading
    from lmgen.data.sharded import building
    from lmgen.data.split import WHOLE
    from lmgen.data.writing.normalization import Normalization
    from lmgen.structured.table import recognise

    if options["valid"] and no_valid:
        raise InputError("--valid asks for validation and --no-valid for none: give one of them")
    reads = {name: options.pop(name) for name in ("sequence", "encoding", "errors")}
    unit, carry, field, segment = (options.pop(name) for name in ("unit", "carry", "field", "segment"))
    unit = f"word-{segment}" if segment else unit or "char"
    normal = Normalization(options.pop("lowercase"), options.pop("normalize"))
    paths, valid = finding.find(files, glob, terminal.note), finding.find(options.pop("valid") or ())
    if found := recognise(paths):
        terminal.note(f"{found.reason}, but a corpus in shards is plain text")

    def text_of(paths: Sequence[Path]) -> reading.Text:
        return reading.Text(paths, keep_blank=carry, column=field, normal=normal, **reads)

    split = WHOLE if no_valid else None
    texts = text_of(paths), text_of(valid) if valid else None
    try:
        built = building.build(output, *texts, unit, carry, shard, terminal.note, split=split, **options)
    except KeyboardInterrupt:
        terminal.note("stopped: the same command goes on after the last complete shard")
        raise
    terminal.note(*built.notes, *(f"warning: {warning}" for warning in advice.warnings(built.signs)), f"wrote {output}")
    _put_shards(built, str(output))


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
