"""Labelled text: its examples, read as a stream, and the signs by which its form is recognised."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from lmgen.data import formats
from lmgen.data.advice import FINAL, number
from lmgen.data.finding import name_of, opened
from lmgen.data.reading import combined, known_encoding
from lmgen.data.writing.normalization import AS_IT_IS, Normalization
from lmgen.errors import InputError
from lmgen.labelled.forms import (
    FOLDER,
    FORMS,
    LABEL,
    LABELS,
    MARK,
    SEQ_IN,
    SEQ_OUT,
    TAGS,
    TEXTS,
    Example,
    Source,
    field_of,
    labels_of,
    place_of,
    places,
    places_in,
    sentences,
    table,
)

MOST_CLASSES_OF_NUMBERS = 11  # numbers that are labels are few, such as 0 and 1, or 0 to 10
LONGEST_LABEL = 60  # characters
SUFFIXES = {".conll", ".conllu", ".bio", ".iob", ".iob2", ".iobes"}
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
_CHUNK = re.compile(r"O|[BIESLUM][-_].+")
_CAPITALS = re.compile(r"[A-Z][A-Z0-9$:|+=_-]*|[^\w\s]+")  # parts of speech, such as NOUN, PRP$ or ,


_TASKS = {FOLDER: "tag-classify", (SEQ_IN, SEQ_OUT): "tag", (SEQ_IN, LABEL): "classify"}

# Forms that names of files promise, and what may be learnt of them.
_NAMED = {".tsv": ("tsv", "classify"), ".csv": ("csv", "classify"), ".jsonl": ("jsonl", "tag-classify")}
_NAMED |= dict.fromkeys(SUFFIXES, ("columns", "tag"))


class Examples:
    """The examples of some paths of one form, to be iterated over as often as needed; they are never held.

    `column` is the number, from 1, of the column with the tags (form "columns") or the label ("csv", "tsv"); None chooses it by
    the first path. `separator` stands between several labels of one text. After a whole pass `sha256` is the fingerprint of the
    bytes (of several files, of their fingerprints) and `notes` has sentences on the text, as for `lmgen.data.reading.Text`. The
    text of an example may be empty. Raises InputError, with file and line, for a line that does not have the form.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        form: str,
        column: int | None = None,
        separator: str = ",",
        encoding: str = "utf-8",
        errors: str = "strict",
        normal: Normalization = AS_IT_IS,
    ):
        self.normal = normal
        self.paths, self.form, self.column, self.separator = tuple(paths), form, column, separator
        self.encoding, self.errors = known_encoding(encoding), errors
        self.sha256 = ""
        self.notes: dict[str, None] = {}

    def __iter__(self) -> Iterator[Example]:
        digests: list[str] = []
        for path in self.paths:
            yield from self.of(path, digests)
        self.sha256 = combined(digests)

    def of(self, path: Path, digests: list[str] | None = None) -> Iterator[Example]:
        """The examples of one of the paths; `digests` gets the fingerprints of its files."""
        column = self.column
        if column is None and self.form in _SIGNS and (found := _SIGNS[self.form](head_of(self.paths[0]))):
            column = found.column
        how = (column, self.separator, self.encoding, self.errors, self.notes, [] if digests is None else digests)
        examples = FORMS[self.form].read(Source(path, *how))
        return examples if self.normal == AS_IT_IS else (example.read_in(self.normal) for example in examples)


class Found(NamedTuple):
    """A form that was recognised, what can be learnt ("classify", "tag" or "tag-classify"), the reason, and the column of the
    labels where the form leaves it open, to be passed on to `Examples`."""

    form: str
    task: str
    reason: str
    column: int | None = None


class Head(NamedTuple):
    """What a file shows of itself: the whole lines among its first 64 KB, and those among its last."""

    path: Path
    lines: list[str]  # the whole ones at the beginning of a file …
    last: list[str]  # … and at the end of a larger one

    @property
    def name(self) -> str:
        """The file's name without its folder."""
        return name_of(Path(self.path.name))

    @property
    def where(self) -> str:
        """The lines, in words."""
        return f"{'its first ' * bool(self.last)}{number(len([*filter(str.strip, self.lines)]), 'line')}"


def recognise(paths: Sequence[Path]) -> Found | None:
    """The form of labelled text that all paths have, by the first and the last 64 KB of each; None for plain text.

    Raises InputError for a missing file and for files of different forms.
    """
    first = None
    for path in paths:
        found = _of_folder(path) if path.is_dir() else _of_file(path)
        if found is None:
            return None
        if first and found.form != first.form:
            way = "give files of one form, or --task language to train on plain text"
            raise InputError(f"{first.reason}, but {found.reason}: {way}")
        first = first or found
    return first


def named(paths: Sequence[Path]) -> Found | None:
    """The form that the names of files promise where their content leaves it open; None where they promise none."""
    (suffix, *others) = {path.suffix.lower() for path in paths}
    return None if others or suffix not in _NAMED else Found(*_NAMED[suffix], f"{paths[0].name} ends in {suffix}")


def _of_folder(path: Path) -> Found | None:
    names = tuple(name for name in FOLDER if (path / name).is_file())
    task = _TASKS.get(names)
    return Found("folder", task, f"{path.name} has {', '.join(names)} side by side") if task else None


def _of_file(path: Path) -> Found | None:
    head = head_of(path)
    return next(filter(None, (sign(head) for sign in _SIGNS.values())), None)


def head_of(path: Path) -> Head:
    """The beginning and the end of a file. Raises InputError for a file that cannot be read."""
    with opened(path) as file:
        try:
            start = file.read(formats.HEAD)
            if file.seekable():  # what is unpacked goes on here
                file.seek(max(len(start), path.stat().st_size - formats.HEAD))
            end = file.read(formats.HEAD)
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}") from None
    encoding = next((name for mark, name in formats.BYTE_ORDER_MARKS.items() if start.startswith(mark)), "utf-8-sig")
    lines, last = (part.decode(encoding, "replace").split("\n") for part in (start, end))
    return Head(path, [line.removesuffix("\r") for line in (lines[:-1] if end else lines)], last[1:])


def _jsonl(head: Head) -> Found | None:
    first = next(filter(str.strip, head.lines), "")
    try:
        record = json.loads(first) if first.lstrip().startswith("{") else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict):
        return None
    of_text, of_label = field_of(record, TEXTS), field_of(record, LABELS)
    has_label = of_label is not None and labels_of(record[of_label]) is not None
    of_tags = field_of(record, TAGS)
    if isinstance(record.get("tokens"), list) and of_tags and isinstance(record[of_tags], list):
        names, task = ["tokens", of_tags, *([of_label] if has_label else [])], "tag-classify" if has_label else "tag"
    elif isinstance(record.get("tokens"), list) and has_label:
        names, task = ["tokens", of_label], "classify"
    elif of_text is not None and isinstance(record[of_text], str) and has_label:
        names, task = [of_text, of_label], "classify"
    else:
        return None
    return Found("jsonl", task, f"{head.name} has JSON objects with {' and '.join(map(str, names))}")


def _fasttext(head: Head) -> Found | None:
    written = [*filter(str.strip, head.lines)]
    marked = sum(line.lstrip().startswith(MARK) for line in written)
    if not marked or marked < 0.9 * len(written):
        return None
    return Found("fasttext", "classify", f"{head.name} has {MARK} at the start of {marked:,} of {head.where}")


def _csv(head: Head) -> Found | None:
    rows: list[list[str]] = []
    try:
        for _, row in table(head.path, head.lines):
            rows.append(row)
    except InputError:  # the last row, which may be cut, or one that reading will say more about
        pass
    header, rows = (rows or [[]])[0], rows[1:]
    of_text, of_label = places_in(header)
    whole = [row for row in rows if len(row) == len(header)]
    if of_text is None or of_label is None or not whole or len(whole) < 0.9 * len(rows):
        return None
    labels = Counter(row[of_label].strip() for row in whole)
    if not _are_names(labels) or len(labels) > max(10, len(whole) / 2) or are_numbers(row[of_text] for row in whole):
        return None
    by_name = (place_of(header, TEXTS), place_of(header, LABELS)) == (of_text, of_label)
    if not by_name and (header[of_label].strip() in labels or not _comes_often(labels)):
        return None
    return Found("csv", "classify", f"{head.name} has columns named {header[of_text]!r} and {header[of_label]!r}")


def _columns(head: Head) -> Found | None:
    found = [*sentences(enumerate(head.lines, 1))]
    rows = [fields for sentence in found for _, fields in sentence]
    width = len(rows[0]) if rows else 0
    even = [row for row in rows if len(row) == width]
    if width < 2 or len(even) < 0.98 * len(rows):
        return None
    of_token, of_tag = places(found[0])
    tags, tokens = Counter(row[of_tag] for row in even), {row[of_token] for row in even}
    chunks = all(map(_CHUNK.fullmatch, tags)) and any(tag != "O" for tag in tags)
    if not chunks and head.path.suffix.lower() not in SUFFIXES:
        apart = all(map(_CAPITALS.fullmatch, tags)) or all("\t" in line for line in head.lines if line.strip())
        if len(found) < 3 or not apart or not _comes_often(tags) or len(tokens) < 1.5 * len(tags) or are_numbers(tags):
            return None
    reason = f"{number(len(tags), 'different tag')} in column {of_tag + 1} of {width} in {head.where}"
    return Found("columns", "tag", f"{head.name} has {reason}")


def _tsv(head: Head) -> Found | None:
    lines = [line for line in head.lines if line.strip()]
    pairs = [tuple(parts) for line in lines if len(parts := line.split("\t")) == 2 and all(map(str.strip, parts))]
    if not pairs or len(pairs) < 0.98 * len(lines):
        return None
    last = [tuple(parts) for line in head.last if len(parts := line.split("\t")) == 2]
    sides = [(labels, k) for k in (0, 1) if (labels := _labels_on(k, pairs)) or (labels := _labels_on(k, pairs + last))]
    if not sides:
        return None
    labels, side = min(sides, key=lambda one: len(one[0]))
    reason = f"{len(labels):,} different labels {('before', 'after')[side]} a TAB in {head.where}"
    return Found("tsv", "classify", f"{head.name} has {reason}", side + 1)


def _labels_on(side: int, pairs: Sequence[tuple[str, ...]]) -> Counter[str] | None:
    """The labels with their numbers, if the texts on this side are labels of those on the other."""
    labels = Counter(label.strip() for pair in pairs for label in pair[side].split(","))
    texts = [pair[1 - side] for pair in pairs]
    spelt = sum(n for label, n in labels.items() if len(label) > LONGEST_LABEL or label[-1:] in FINAL or label.count(" ") > 4)
    various = len(set(texts)) >= max(1.5 * len(labels), 0.3 * len(texts))
    good = len(labels) > 1 and various and spelt <= 0.02 * labels.total() and not are_numbers(texts) and _comes_often(labels)
    return labels if good and _are_names(labels) else None


def _comes_often(labels: Counter[str]) -> bool:
    """Whether there are as few as classes have: each comes often, and not many once, as words do."""
    total, once = labels.total(), sum(n == 1 for n in labels.values())
    return (total >= 5 * len(labels) and once <= max(1, len(labels) / 4)) or (total < 50 and total >= 2 * len(labels))


def are_numbers(texts: Iterable[str]) -> bool:
    """Whether most of the texts are numbers."""
    some = [*islice(texts, 1000)]
    return 2 * sum(map(bool, map(_NUMBER.fullmatch, some))) > len(some)


def _are_names(labels: Counter[str]) -> bool:
    """Whether these are the names of classes, and not counts or measures."""
    few = len(labels) <= MOST_CLASSES_OF_NUMBERS and all(re.fullmatch(r"[+-]?\d{1,2}(\.0)?", label) for label in labels)
    return few or not are_numbers(labels)


_SIGNS: dict[str, Callable[[Head], Found | None]] = {
    "jsonl": _jsonl,
    "fasttext": _fasttext,
    "csv": _csv,
    "columns": _columns,
    "tsv": _tsv,
}
