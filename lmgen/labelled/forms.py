"""The forms in which labelled text is kept: each has a reader, which makes a stream of examples of a file."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

from lmgen.data.finding import name_of
from lmgen.data.reading import Text, whole
from lmgen.data.sources.tables import table, wrong
from lmgen.data.writing.normalization import Normalization
from lmgen.errors import InputError
from lmgen.options.kinds import quoted

MARK = "__label__"
SEQ_IN, SEQ_OUT, LABEL = FOLDER = ("seq.in", "seq.out", "label")
# The names of columns and fields that hold a text or its labels, the surest first.
TEXTS = (
    *("text", "sentence", "review", "utterance", "question", "query", "message", "tweet", "comment", "content", "document"),
    *("body", "description", "headline", "title", "name"),
)
LABELS = ("label", "labels", "class", "category", "sentiment", "intent", "target", "topic", "emotion", "language", "tag")
TAGS = ("tags", "ner_tags", "pos_tags", "chunk_tags")
BY_COLUMN = ("tsv", "csv", "columns")  # forms whose columns have numbers
CONLL_U = 10  # columns, of which the fourth has the universal parts of speech
_LABELS_AT_START = re.compile(rf"\s*(?:{MARK}\S*(?:\s+|\Z))*")
_SETTING = re.compile(r"#\s*[\w:.]+\s*=")  # "# sent_id = 3"

Lines = Iterable[tuple[int, str]]  # with their numbers


class Example(NamedTuple):
    """A text, or its tokens where the form has them, with the labels of the whole, and a tag for each token."""

    text: str | tuple[str, ...]
    labels: tuple[str, ...] = ()
    tags: tuple[str, ...] | None = None
    line: int = 0  # where it begins in its file

    def read_in(self, normal: Normalization) -> Example:
        """The example with its text, or each token, in this form."""
        text = normal.of(self.text) if isinstance(self.text, str) else tuple(map(normal.of, self.text))
        return self._replace(text=text)

    @property
    def joined(self) -> str:
        """The text as one string."""
        return self.text if isinstance(self.text, str) else " ".join(self.text)


@dataclass(frozen=True)
class Source:
    """One path of a labelled text, and how it is read; readers add to `notes` and `digests`."""

    path: Path
    column: int | None
    separator: str
    encoding: str
    errors: str
    notes: dict[str, None]
    digests: list[str]

    def lines(self, path: Path) -> Iterator[tuple[int, str]]:
        """The lines of a file; after the last, its notes and its fingerprint are there."""
        text = Text([path], "line", True, self.encoding, self.errors)
        yield from enumerate(whole(text), 1)
        self.notes.update(text.notes)
        self.digests.append(text.sha256)

    def written(self) -> Iterator[tuple[int, str]]:
        """The lines of the file that are not blank."""
        blank = 0
        for number, line in self.lines(self.path):
            if line.strip():
                yield number, line
            else:
                blank += 1
        if blank:
            self.notes[f"{name_of(self.path)}: passed over {blank:,} blank line{'s' * (blank > 1)}"] = None

    def labels(self, words: str) -> tuple[str, ...]:
        """The different labels that a field holds."""
        return _distinct(words.split(self.separator) if self.separator else [words])


def _distinct(labels: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(filter(None, map(str.strip, labels))))


def _tsv(source: Source) -> Iterator[Example]:
    if source.column not in (None, 1, 2):
        raise InputError(f"{name_of(source.path)} has two columns, so there is no column {source.column}: give --column 1 or 2")
    for number, line in source.written():
        label, tab, text = line.partition("\t") if source.column != 2 else line.rpartition("\t")[::-1]
        if not tab:
            raise wrong(source.path, number, "no TAB: put one between the label and the text")
        yield Example(text, source.labels(label), None, number)


def _fasttext(source: Source) -> Iterator[Example]:
    for number, line in source.written():
        marked = _LABELS_AT_START.match(line)[0]  # type: ignore[index]
        labels = [word.removeprefix(MARK) for word in marked.split()]
        if "" in labels:
            raise wrong(source.path, number, f"{MARK} without a name: write the label right after it")
        yield Example(line[len(marked) :], _distinct(labels), None, number)


def fields_of(line: str) -> list[str]:
    """The columns of a line: separated by TABs where it has any, else by spaces; no other white space separates."""
    line = line.strip(" \t")
    return list(filter(None, line.split("\t" if "\t" in line else " ")))


def sentences(lines: Lines, width: int = 0) -> Iterator[list[tuple[int, list[str]]]]:
    """The columns of the lines of each sentence, without comments. A line that begins with # is a token, not a comment, if it
    has as many columns as the first token, or `width`, if that is known."""
    rows = list[tuple[int, list[str]]]()
    for number, line in chain(lines, [(0, "")]):
        fields = fields_of(line)
        if not fields:
            if rows:
                yield rows
            rows = []
            continue
        if line.startswith("#"):
            likely = len(fields) == width if width else len(fields) > 1 and not line.startswith("# ")
            if not likely or _SETTING.match(line):
                continue
        if fields[0] != "-DOCSTART-":
            width = width or len(fields)
            rows.append((number, fields))


def places(rows: Sequence[tuple[int, list[str]]]) -> tuple[int, int]:
    """The columns of the tokens and of the tags, from 0 on, by the first sentence: first and last, but for a first column that
    counts the tokens (1, 2, 3 …), and in CoNLL-U the universal parts of speech."""
    width = len(rows[0][1])
    counts = [fields[0] for _, fields in rows if not re.fullmatch(r"\d+[-.]\d+", fields[0])]
    counted = width > 2 and counts == [str(k + 1) for k in range(len(counts))] and (len(rows) > 1 or width == CONLL_U)
    return int(counted), 3 if counted and width == CONLL_U else width - 1


def token_rows(rows: list[tuple[int, list[str]]], of_token: int) -> list[tuple[int, list[str]]]:
    """The rows that are tokens: where a first column counts them, 1-2 is the spelling of two words, 8.1 a word left out."""
    return [row for row in rows if row[1][0].isdecimal()] if of_token else rows


def _columns(source: Source) -> Iterator[Example]:
    width = of_token = of_tag = 0
    for rows in sentences(source.lines(source.path)):
        first = rows[0][0]
        if not width:
            width = len(rows[0][1])
            of_token, of_tag = places(rows)
            of_tag = of_tag if source.column is None else source.column - 1
            if width == 1:
                raise wrong(source.path, first, "only one column: give each token its tag beside it")
            if not 0 <= of_tag < width or of_tag == of_token:
                way = f"give a --column of 1 to {width} other than {of_token + 1}, which has the tokens"
                raise wrong(source.path, first, f"there is no tag in column {of_tag + 1}: {way}")
        for number, fields in rows:
            if len(fields) != width:
                columns = f"{len(fields)} column{'s' * (len(fields) > 1)}"
                raise wrong(source.path, number, f"{columns} where the lines before have {width}: give every token as many")
        rows = token_rows(rows, of_token)
        yield Example(tuple(f[of_token] for _, f in rows), (), tuple(f[of_tag] for _, f in rows), first)


def place_of(names: Sequence[str], wanted: Sequence[str]) -> int | None:
    """The place of the first of the wanted names."""
    names = [name.strip().casefold() for name in names]
    return next((names.index(name) for name in wanted if name in names), None)


def places_in(header: Sequence[str], column: int | None = None) -> tuple[int | None, int | None]:
    """The columns of the text and of the label, from 0 on, by their names or by the number of the label's; of two columns the one
    that no name tells is the other one."""
    of_text, of_label = place_of(header, TEXTS), place_of(header, LABELS) if column is None else column - 1
    if len(header) == 2 and of_text is None and of_label in (0, 1):
        of_text = 1 - of_label
    elif len(header) == 2 and of_label is None and of_text is not None:
        of_label = 1 - of_text
    return of_text, of_label


def _csv(source: Source) -> Iterator[Example]:
    rows = table(source.path, (line for _, line in source.lines(source.path)))
    _, header = next(rows, (1, []))
    of_text, of_label = places_in(header, source.column)
    if of_text is None:
        raise wrong(source.path, 1, "no header that says which column has the text: name it text, and that of the label label")
    if of_label is None:
        raise wrong(source.path, 1, "no header that says which column has the label: name it label, or give its --column")
    if of_label == of_text or not 0 <= of_label < len(header):
        way = f"give a --column of 1 to {len(header)} other than {of_text + 1}, which has the text"
        raise wrong(source.path, 1, f"there is no label in column {of_label + 1}: {way}")
    for number, row in rows:
        if len(row) != len(header):
            what = f"{len(row)} columns where the header has {len(header)}: quote texts with delimiters"
            raise wrong(source.path, number, what)
        yield Example(row[of_text], source.labels(row[of_label]), None, number)


def labels_of(value: Any) -> list[str] | None:
    """The labels in the value of a field; None where it is no label: a fraction, an object."""
    values = value if isinstance(value, list) else [] if value is None else [value]
    good = all(isinstance(v, str | int) or (isinstance(v, float) and v.is_integer()) for v in values)
    return [v if isinstance(v, str) else json.dumps(v) for v in values] if good else None


def field_of(record: dict[str, Any], wanted: Sequence[str]) -> str | None:
    """The first of the wanted names that a record has."""
    return next((name for name in wanted if name in record), None)


def _is_tokens(value: Any) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(one and isinstance(one, str) for one in value)


def _jsonl(source: Source) -> Iterator[Example]:
    for number, line in source.written():
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if not isinstance(record, dict):
            raise wrong(source.path, number, "not a JSON object: write one a line")
        of_text, of_label = field_of(record, ("tokens", *TEXTS)), field_of(record, LABELS)
        text, of_tags = record.get(of_text), field_of(record, TAGS)
        tags = record.get(of_tags)
        tags = labels_of(tags) or tags if isinstance(tags, list) else tags  # numbers as strings
        labels = labels_of(record.get(of_label))
        if labels is None:
            raise wrong(source.path, number, f"{of_label} is {quoted(record[of_label])}: give a string, or a list of strings")
        if of_text != "tokens":
            if not isinstance(text, str):
                raise wrong(source.path, number, "no text: give it as a string in the field text, or its tokens in a list")
            yield Example(text, _distinct(labels), None, number)
        elif not _is_tokens(text) or not (tags is None or _is_tokens(tags)):
            raise wrong(source.path, number, "tokens and tags are lists of strings that are not empty: write them so")
        elif tags is not None and len(tags) != len(text):
            raise wrong(source.path, number, f"{len(tags)} tags for {len(text)} tokens: give each token one")
        else:
            yield Example(tuple(text), _distinct(labels), tags if tags is None else tuple(tags), number)


def _folder(source: Source) -> Iterator[Example]:
    files = [source.path / name for name in FOLDER if name == SEQ_IN or (source.path / name).is_file()]
    for number, lines in enumerate(zip_longest(*map(source.lines, files)), 1):
        found: dict[str, str] = {}
        for path, line in zip(files, lines, strict=True):
            if line is None:
                raise wrong(path, number, "the file ends, and those beside it go on: give all as many lines")
            found[path.name] = line[1]
        tokens, label = fields_of(found[SEQ_IN].replace("\t", " ")), found.get(LABEL, "")
        tags = fields_of(found[SEQ_OUT].replace("\t", " ")) if SEQ_OUT in found else None
        if tags is not None and len(tags) != len(tokens):
            raise wrong(source.path / SEQ_OUT, number, f"{len(tags)} tags for {len(tokens)} tokens: give each token one")
        if tokens:
            yield Example(tuple(tokens), source.labels(label), tags if tags is None else tuple(tags), number)


def unlabelled(
    line: str, form: str | None, column: int | None, known: Container[str], separator: str = ","
) -> str | tuple[str, ...]:
    """The text, or the tokens, in a line of this form, without its label. A line of another form, and a line of a TSV without a
    `known` label, stay as they are."""
    if form == "fasttext":
        return line[_LABELS_AT_START.match(line).end() :]  # type: ignore[union-attr]
    if form == "jsonl":
        with suppress(ValueError, RecursionError):
            record = json.loads(line)
            if isinstance(record, dict):
                text = record.get(field_of(record, ("tokens", *TEXTS)))
                return tuple(text) if _is_tokens(text) else text if isinstance(text, str) else line
    if form == "tsv" and "\t" in line:
        label, _, text = line.partition("\t") if column != 2 else line.rpartition("\t")[::-1]
        if all(one.strip() in known for one in (label.split(separator) if separator else [label])):
            return text
    return line


class Form(NamedTuple):
    """A form of labelled text: a sentence about it, and the reader of one path."""

    about: str
    read: Callable[[Source], Iterator[Example]]


FORMS: dict[str, Form] = {
    "tsv": Form("A label, a TAB and a text on each line, or the text first.", _tsv),
    "csv": Form("A table with a header that names the columns of the text and of the label.", _csv),
    "fasttext": Form(f"{MARK}NAME, once or several times, and a text on each line.", _fasttext),
    "columns": Form("A token and its tags in columns on each line, a blank line after each sentence (CoNLL).", _columns),
    "jsonl": Form("A JSON object on each line, with text and label, or tokens and tags.", _jsonl),
    "folder": Form(f"A folder with {SEQ_IN}, {SEQ_OUT} and {LABEL}, a line of each for one text.", _folder),
}
