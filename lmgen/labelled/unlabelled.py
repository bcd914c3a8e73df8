"""Texts to label, line by line as they come: plain, or with labels beside them, which are left out."""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

from lmgen.data.advice import number
from lmgen.data.reading import blank_lines
from lmgen.data.sources.tables import SHORT, delimiter_of, record, unreadable, wrong
from lmgen.data.vocab import Vocab
from lmgen.labelled.corpus import Labels
from lmgen.labelled.forms import TEXTS, fields_of, place_of, places, sentences, token_rows, unlabelled

HEAD = 1_000  # lines that decide, at most

Given = str | tuple[str, ...] | None


def texts(
    path: Path,
    lines: Iterator[str | None],
    names: Labels,
    form: str | None = None,
    column: int | None = None,
    separator: str = ",",
    note: Callable[[str], None] = lambda _: None,
) -> Iterator[Given]:
    """The texts, or the tokens, in lines, for a model of these labels; None among the lines comes before a wait for more, and is
    passed on. `form`, `column` and `separator` are those of the text that the model learnt from.

    The first lines, up to a blank one or a wait, decide: they are a table with a header, where the model learnt from one or the
    file is named so; columns of tokens, where the model tags; or else each is a text. Raises InputError for a damaged row.
    """
    head, first = list[str | None](), list[str]()
    for line in islice(lines, HEAD):
        head.append(line)
        if line and line.strip() and not line.startswith("-DOCSTART-"):
            first.append(line)
        elif first:
            break
    both = chain(head, lines)
    is_table = form == "csv" or path.suffix.lower() == ".csv"
    if first and is_table and (place := _place_of_text(first[0])) is not None:
        yield from _cells(path, both, place)
    elif names.tags and _are_columns(first, column, names.tag_ids, ends=head[-1] == ""):
        yield from _tokens(both)
    else:
        blank = beside = 0
        for line in both:
            if line is None or line.strip():
                text = line if line is None else unlabelled(line, form, column, names.label_ids, separator)
                beside += text != line
                yield text
            else:
                blank += 1
        if blank:
            note(blank_lines(blank))
        if beside:
            note(f"{number(beside, 'line')} with a label beside the text, which was not looked at")


def _place_of_text(header: str) -> int | None:
    """The column of the text, from 0 on, where this is the header of a table."""
    try:
        row = record(header, delimiter_of(header))
    except csv.Error:
        return None
    return place_of(row, TEXTS) if len(row) > 1 else None


def _cells(path: Path, lines: Iterable[str | None], place: int) -> Iterator[Given]:
    """The cells of a column of a table with a header; a line end within quotes belongs to its cell."""
    delimiter, width, text, at, begins = "", 0, "", 0, 1
    for line in lines:
        if line is None:
            yield None
            continue
        at += 1
        delimiter = delimiter or (delimiter_of(line) if line.strip() else "")
        text, begins = (f"{text}\n{line}", begins) if text else (line, at)
        if not text.strip() or (delimiter != "\t" and text.count('"') % 2 and len(text) < SHORT):
            continue
        row, text = _row(path, text, delimiter, begins), ""
        if width and len(row) != width:
            raise wrong(path, begins, f"{len(row)} columns where the header has {width}: quote texts with delimiters")
        if width:
            yield row[place]
        width = len(row)
    if text.strip():
        _row(path, text, delimiter, begins)


def _row(path: Path, text: str, delimiter: str, begins: int) -> list[str]:
    try:
        return record(text, delimiter)
    except csv.Error as error:
        raise unreadable(path, begins, error) from None


def _are_columns(lines: Sequence[str], column: int | None, tags: dict[str, int], ends: bool) -> bool:
    """Whether the first lines are of columns: separated by TABs, or with tags that the model knows; or single tokens, several in
    a sentence that ends with a blank line."""
    rows = [row for sentence in sentences(enumerate(lines, 1)) for row in sentence]
    width = len(rows[0][1]) if rows else 0
    if not width or any(len(fields) != width for _, fields in rows):
        return False
    if width == 1:
        return len(rows) > 1 and ends
    of_tag = places(rows)[1] if column is None else min(column, width) - 1
    known = sum(fields[of_tag] in tags for _, fields in rows)
    return all("\t" in line for line in lines if not line.startswith("#")) or (len(rows) > 1 and 2 * known > len(rows))


def _tokens(lines: Iterable[str | None]) -> Iterator[Given]:
    """The tokens of each sentence of columns."""
    block: list[str] = []
    width = of_token = 0
    for line in chain(lines, [""]):
        if line is None:
            yield None
        elif fields_of(line):
            block.append(line)
        else:
            for rows in sentences(enumerate(block, 1), width):
                if not width:
                    width, of_token = len(rows[0][1]), places(rows)[0]
                yield tuple(fields[min(of_token, len(fields) - 1)] for _, fields in token_rows(rows, of_token))
            block = []


def apart(text: str, vocab: Vocab, seen: int) -> str:
    """A text with spaces before or after the marks at the ends of unknown words: "in Oslo." becomes "in Oslo .", if training has
    seen "." as a word, and has not seen "Oslo.".

    A text in which a mark stands alone stays as it is: all marks that should stand alone do so already. `seen` is the number of
    ids that training has seen.
    """
    words = vocab.split(text) if vocab.unit == "word" else []
    if not words or any(map(_is_mark, words)):
        return text
    parts = [part for word in words for part in _parts(word, vocab.ids, seen)]
    return " ".join(parts) if len(parts) > len(words) else text


def _parts(word: str, ids: dict[str, int], seen: int) -> list[str]:
    """A word without the marks at its ends, and these; marks are cut off until the rest is a known word."""
    begin, end = 0, len(word)

    def cuts(at: int) -> bool:
        return end - begin > 1 and word[begin:end] not in ids and _is_mark(word[at]) and ids.get(word[at], seen) < seen

    while cuts(begin):
        begin += 1
    while cuts(end - 1):
        end -= 1
    return [*word[:begin], word[begin:end], *word[end:]]


def _is_mark(word: str) -> bool:
    return len(word) == 1 and unicodedata.category(word)[0] in "PS"
