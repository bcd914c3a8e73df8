"""Pairs of a source and a target: TSV, JSONL, or two files side by side; recognised, and read as a stream."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations, count, zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from lmgen.data.advice import number
from lmgen.data.finding import STDIN, name_of, names_of
from lmgen.data.reading import combined, known_encoding
from lmgen.data.writing.normalization import AS_IT_IS, Normalization
from lmgen.errors import InputError
from lmgen.labelled.examples import Found, Head, are_numbers, head_of
from lmgen.labelled.forms import Source, wrong

FORMS = {  # with what each has
    "tsv": "tsv (a source, a TAB and a target)",
    "jsonl": "jsonl (the fields source and target)",
    "parallel": "parallel (sources, and the file of their targets as --target)",
}
MOST_COLUMNS = 12  # of a table in which pairs are looked for


class Pair(NamedTuple):
    """A source and its target, and the line where it begins."""

    source: str
    target: str
    line: int = 0

    def read_in(self, normal: Normalization) -> Pair:
        """The pair with both texts in this form."""
        return Pair(normal.of(self.source), normal.of(self.target), self.line)

    @property
    def joined(self) -> str:
        """The text that decides on which side of a split the pair is: the source."""
        return self.source


class Pairs:
    """The pairs of some files, to be iterated over as often as needed; they are never held.

    Each file has a pair a line, separated by a TAB or as JSON (`source` and `target`). With an `example`, a file of sources and a
    file of targets, files have sources alone, whose targets stand line by line in the file that belongs to them in the same way.
    After a whole pass `sha256` is the fingerprint of the bytes, and `notes` has sentences on the text. Raises InputError, with
    file and line, for a line that is not a pair.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        example: tuple[Path, Path] | None = None,
        encoding: str = "utf-8",
        errors: str = "strict",
        normal: Normalization = AS_IT_IS,
    ):
        self.normal = normal
        self.paths, self.example = tuple(paths), example
        self.encoding, self.errors = known_encoding(encoding), errors
        self.sha256 = ""
        self.notes: dict[str, None] = {}

    def __iter__(self) -> Iterator[Pair]:
        digests: list[str] = []
        for path in self.paths:
            source = Source(path, None, "", self.encoding, self.errors, self.notes, digests)
            pairs = _beside(source, beside(path, *self.example)) if self.example else _of_lines(source)
            yield from pairs if self.normal == AS_IT_IS else (pair.read_in(self.normal) for pair in pairs)
        self.sha256 = combined(digests)

    @property
    def how(self) -> str:
        """How the bytes become pairs: files with the same bytes that are read alike have the same pairs."""
        return f"pairs-{self.example is not None}-{self.encoding}-{self.errors}-{self.normal}"


def open_(paths: Sequence[Path], how: Any) -> Pairs:
    """The pairs of files, read as the fields of TextSettings say."""
    example = (Path(how.files[0]), Path(how.target)) if how.form == "parallel" else None
    return Pairs(paths, example, how.encoding, how.errors, how.normal)


def beside(path: Path, source: Path, target: Path) -> Path:
    """The file of targets of a file of sources: `target` is that of `source`, and has the suffix of the others.

    Raises InputError where it is missing.
    """
    found = target if path.absolute() == source.absolute() else path.with_suffix(target.suffix)
    if found == path or not found.is_file():
        missing = "" if found == path else f": there is no file {found}"
        raise InputError(f"the targets of {path.name} are missing{missing}; name them alike, or give pairs as TSV")
    return found


def parsed(line: str, at: int = 0) -> Pair:
    """The pair of a line, source TAB target or JSON. Raises ValueError with the reason for another line."""
    if line.lstrip().startswith("{"):
        try:
            record = json.loads(line)
            left, right = record["source"], record["target"]
        except (ValueError, TypeError, KeyError, RecursionError):
            left = right = None
        if not isinstance(left, str) or not isinstance(right, str):
            raise ValueError("no JSON object with the strings source and target: write one a line")
    else:
        left, tab, right = line.partition("\t")
        if not tab:
            raise ValueError("no source, TAB and target: put one TAB between them")
    if empty := [side for side, text in (("source", left), ("target", right)) if not text.strip()]:
        raise ValueError(f"the {' and the '.join(empty)} of the pair {'is' if len(empty) == 1 else 'are'} empty: leave it out")
    return Pair(left, right, at)


def source_of(line: str) -> str:
    """The source in a line: all of it or, of a pair, what stands before the first TAB or in the field of the JSON object."""
    if line.lstrip().startswith("{"):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if isinstance(record, dict) and isinstance(record.get("source"), str):
            return record["source"]
    return line.partition("\t")[0]


def of_lines(lines: Iterable[str | None]) -> Iterator[Pair | None]:
    """The pairs of lines, None for None. Raises InputError for another line."""
    numbers = count(1)
    for line in lines:
        at = 0 if line is None else next(numbers)
        try:
            yield None if line is None else parsed(line, at)
        except ValueError as error:
            raise InputError(f"line {at:,}: {error}") from None


def _of_lines(source: Source) -> Iterator[Pair]:
    several = 0
    for at, line in source.written():
        try:
            pair = parsed(line, at)
        except ValueError as error:
            raise wrong(source.path, at, str(error)) from None
        several += "\t" in pair.target and line.count("\t") > 1
        yield pair
    if several:
        name = name_of(source.path)
        source.notes[f"{name}: {number(several, 'line')} with several TABs, of which all behind the first is the target"] = None


def _beside(source: Source, target: Path) -> Iterator[Pair]:
    for at, lines in enumerate(zip_longest(source.lines(source.path), source.lines(target)), 1):
        if None in lines:
            short = source.path if lines[0] is None else target
            raise wrong(short, at, "the file ends, and the one beside it goes on: give both as many lines")
        (_, left), (_, right) = lines
        if bool(left.strip()) != bool(right.strip()):
            raise wrong(target if left.strip() else source.path, at, "a blank line beside a line of text: give both, or neither")
        if left.strip():
            yield Pair(left, right, at)


# ---- recognition -------------------------------------------------------------------------------------------------------


def recognise(paths: Sequence[Path]) -> Found | None:
    """Pairs, if all files have them, by the beginning of each: JSON with source and target, or two columns of text."""
    found = [_of_file(head_of(path)) if not path.is_dir() else None for path in paths]
    return found[0] if found and all(found) and len({one.form for one in found if one}) == 1 else None


def hint(paths: Sequence[Path]) -> str:
    """For files that look like pairs, but leave open that they are, or have other columns, too, how to learn them; empty for
    others."""
    for head in map(head_of, filter(Path.is_file, paths)):
        cut = [line.split("\t") for line in head.lines if line.strip()]
        if len(cut) > 1 and all(len(fields) == 2 and all(map(str.strip, fields)) for fields in cut):
            if are_numbers(left for left, _ in cut):  # of the lines
                return ""
            way = "to learn to write the second for the first add --task translate"
            return f"{head.name} has two columns and is read as it is: {way}"
        columns = max(map(len, cut), default=0)
        if columns < 3 or not (found := _texts_among(head, cut)):
            return ""
        where = " and ".join(map(str, found))
        return f"{head.name} has pairs in columns {where} of {columns}: to learn them keep these, {_cut(head, found)}"
    return ""


def _texts_among(head: Head, cut: Sequence[Sequence[str]]) -> tuple[int, int] | None:
    """The first two columns, counted from 1, that look like pairs."""
    for left, right in combinations(range(min(MOST_COLUMNS, max(map(len, cut), default=0))), 2):
        both = [f"{fields[left]}\t{fields[right]}" for fields in cut if right < len(fields)]
        if len(both) >= 0.98 * len(cut) and _of_file(head._replace(lines=both)):
            return left + 1, right + 1
    return None


def _cut(head: Head, columns: tuple[int, int]) -> str:
    named = "" if head.name == STDIN else f" {head.name} > pairs.tsv"
    return f"as in cut -f{columns[0]},{columns[1]}{named}"


def named(paths: Sequence[Path]) -> Found | None:
    """Pairs where --task translate says so: each file has a TAB in each line. Raises InputError where most have several."""
    for head in map(head_of, filter(Path.is_file, paths)):
        cut = [line.split("\t") for line in head.lines if line.strip()]
        if not cut or min(map(len, cut)) < 2:
            return None
        if 2 * sum(len(fields) > 2 for fields in cut) > len(cut):
            way = f"keep the source and the target, {_cut(head, _texts_among(head, cut) or (1, 2))}"
            raise InputError(f"{head.name} has {max(map(len, cut))} columns: {way}")
    return Found("tsv", "translate", f"{names_of(paths)} has a TAB in each line")


def _of_file(head: Head) -> Found | None:
    lines = [line for line in head.lines if line.strip()]
    if lines and lines[0].lstrip().startswith("{"):
        try:
            parsed(lines[0])
        except ValueError:
            return None
        return Found("jsonl", "translate", f"{head.name} has JSON objects with source and target")
    pairs = [parts for line in lines if len(parts := line.split("\t")) == 2 and all(map(str.strip, parts))]
    if len(pairs) < 2 or len(pairs) < 0.98 * len(lines):
        return None
    left, right = zip(*pairs, strict=True)
    various = all(len(set(side)) >= 0.3 * len(side) for side in (left, right))
    spelt = sum(any(map(str.isalpha, text)) for text in left)
    if not various or 2 * spelt < len(left) or are_numbers(left) or are_numbers(right):
        return None
    return Found("tsv", "translate", f"{head.name} has a text on each side of a TAB in {head.where}")
