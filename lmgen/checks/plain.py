"""A report on a text before a training: size, symbols, repeats, overlap of its parts, damage, and the advice that follows.

It takes a few passes over the text, which is never held whole: a sequence costs two fingerprints of 64 bits, a kind of word its
entry in a table.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from lmgen.data.advice import LEAK, MUCH, Advice, Lines, Shape, Signs, advise, leak, number, percent, quantile, warnings
from lmgen.data.corpus import among, runs
from lmgen.data.damage import Damage, Tally
from lmgen.data.finding import name_of, names_of
from lmgen.data.reading import Piece, Text
from lmgen.data.split import WHOLE, Choice, utf_8
from lmgen.data.symbols import Counts, Symbols, Unknown, excerpt, unknown_shares
from lmgen.errors import InputError


@dataclass(frozen=True)
class Lengths:
    """Lengths of sequences, in characters or in words; 95 of 100 are no longer than `most`."""

    shortest: int
    median: int
    mean: float
    most: int
    longest: int

    @classmethod
    def of(cls, lengths: Counter[int]) -> Lengths:
        """The lengths, from the number of sequences of each."""
        mean = sum(length * n for length, n in lengths.items()) / lengths.total()
        return cls(min(lengths), quantile(lengths, 0.5), mean, quantile(lengths, 0.95), max(lengths))


@dataclass(frozen=True)
class Repeats:
    """The number of sequences that repeat an earlier one, and of distinct ones that repeat an earlier one nearly (as `nearly`
    defines it)."""

    exact: int
    near: int
    most_frequent: list[tuple[int, str]]
    alike: list[tuple[str, str]]


@dataclass(frozen=True)
class Overlap:
    """The number of sequences of one text that are in another, exactly and nearly, of all and of the distinct ones; and of its
    runs of three sequences."""

    of: str
    within: str
    sequences: int
    exact: int
    near: int
    distinct: int
    exact_distinct: int
    near_distinct: int
    runs: int
    shared_runs: int
    example: str | None


@dataclass(frozen=True)
class TextReport:
    """The findings of `check`; `characters` are those that training reads, line ends included, as `train` and `eval` count."""

    files: list[str]
    sequence: str
    carry: bool
    bytes: int
    characters: int
    lines: int
    blank_lines: int
    paragraphs: int
    sequences: int
    lengths: Lengths
    line_ends: dict[str, int]
    symbols: list[Symbols]
    repeats: Repeats
    overlaps: list[Overlap]
    unknown: list[Unknown]
    damage: list[Damage]
    notes: list[str]
    warnings: list[str]
    advice: list[Advice]


def check(text: Text, valid: Text | None = None, test: Text | None = None, unit: str = "word") -> TextReport:
    """Examine a training text and the texts for validation and test; words are counted in `unit`.

    Without a validation text, unknown symbols are counted in the part that `lmgen train` would hold out. Raises InputError where
    a text is empty.
    """
    given = {name: t for name, t in (("training", text), ("validation", valid), ("test", test)) if t}
    lines, damage = _lines(text)
    choice = Choice(text, text.keep_blank, given=WHOLE if valid else None)
    sequences = {name: _Sequences() for name in given}
    for name, t in given.items():
        measured = sequences[name].measured(t)
        deque(choice.sides(measured) if t is text else measured, maxlen=0)
        if not sequences[name].lengths:
            raise InputError(f"there is no text in {names_of(t.paths)}: give a file with a line of it")
    read, line_ends = sequences["training"], text.line_ends
    parts = {"training": Counts(unit), "held-out": Counts(unit)}
    for held_out, piece in choice.split.sides(text):
        parts["held-out" if held_out else "training"].add(piece)
    if choice.split == WHOLE:
        del parts["held-out"]
    whole = parts["training"] + parts["held-out"] if "held-out" in parts else parts["training"]
    parts |= {name: Counts(unit, t) for name, t in given.items() if name != "training"}
    symbols = [whole.symbols("char"), whole.symbols(unit)]
    pairs = [("validation", "training"), ("test", "training"), ("test", "validation")]
    overlaps = [_overlap(given, sequences, *pair) for pair in pairs if given.keys() >= {*pair}]
    repeats = _repeats(text, read)
    words = whole.words if unit == "word" else Counts("word", text).words
    advice = advise(lines, words, symbols[0].kinds, len(text.paths))
    apart = not any(one.options for one in advice if one.about == "sequence")  # each line is an item of its own
    running = text.keep_blank or (text.sequence == "line" and not apart)
    repeated = 0 if running else repeats.exact  # in running text a short line occurs again by chance
    damaged = Counter({one.kind: one.characters for one in damage})
    total = len(read.exact)
    signs = Signs(
        "character", text.sequence, text.keep_blank, read.characters, total, repeated, damaged, read.longest, read.repetition
    )
    return TextReport(
        files=[name_of(path) for path in text.paths],
        sequence=text.sequence,
        carry=text.keep_blank,
        bytes=text.size,
        characters=read.characters,
        lines=lines.lines,
        blank_lines=lines.blank,
        paragraphs=lines.paragraphs,
        sequences=total,
        lengths=Lengths.of(read.lengths),
        line_ends={name: n for name, n in line_ends.items() if n},
        symbols=symbols,
        repeats=repeats,
        overlaps=overlaps,
        unknown=[one for kind in ("char", unit) for one in unknown_shares(kind, parts)],
        damage=damage,
        notes=list(dict.fromkeys(note for t in given.values() for note in t.notes)),
        warnings=[*_warnings(overlaps, signs, repeats.near, running, line_ends["CR"])],
        advice=advice,
    )


def _warnings(overlaps: list[Overlap], signs: Signs, near: int, running: bool, alone: int) -> Iterator[str]:
    """All warnings: also those on overlaps, on `near` repeats and on line ends that are a CR `alone`."""
    noun = f"{signs.sequence}s"
    for o in overlaps:
        where = f"of the {o.of} text are also in the {o.within} text"
        if running:
            if o.shared_runs >= LEAK * o.runs > 0:
                yield leak(o.shared_runs, o.runs, f"runs of three {noun} {where}")
        elif o.exact >= LEAK * o.sequences:
            yield leak(o.exact, o.sequences, f"{noun} {where}")
        elif o.near >= LEAK * o.sequences:
            yield leak(o.near, o.sequences, f"{noun} {where}, but for case, marks, digits or spaces")
    yield from warnings(signs)
    if not running and near >= MUCH * signs.sequences:
        part = f"{percent(near, signs.sequences)} of the {noun} repeat an earlier one but for case, marks, digits or spaces"
        yield f"{part}, so the held-out part has near copies: remove unwanted ones"
    if alone:
        ends = f"{number(alone, 'line end')} {'is' if alone == 1 else 'are'} a CR alone, which lmgen reads as a character"
        yield f"{ends}: replace them, for instance by tr '\\r' '\\n'"


def _lines(text: Text) -> tuple[Lines, list[Damage]]:
    """The lines of the files, whatever their sequences are, and the damage in them."""
    lines, found = Lines(), Tally()
    for path in text.paths:
        before = lines.lines
        for piece in replace(text, paths=[path], sequence="line", keep_blank=True):
            found.add(piece.text, name_of(path), lines.lines - before + 1)
            lines.add(piece)
    return lines, found.report()


class _Dropped(dict[int, int | None]):
    """For str.translate: drops marks, digits, white space and invisible characters."""

    def __missing__(self, point: int) -> int | None:
        category = unicodedata.category(chr(point))
        self[point] = None if category[0] in "PZ" or category in ("Nd", "Cc", "Cf") else point
        return self[point]


_DROPPED = _Dropped()


def nearly(sequence: str) -> str:
    """A key that nearly equal sequences share: compatible characters made equal (NFKC), case folded, punctuation, digits, white
    space and invisible characters dropped. The key of a sequence without letters is the sequence."""
    key = (sequence if sequence.isascii() else unicodedata.normalize("NFKC", sequence)).casefold().translate(_DROPPED)
    return key if any(map(str.isalpha, key)) else sequence


class _Sequences(Shape):
    """The shape of a text, and of each sequence that is not blank two fingerprints (of itself and of its near key) and the
    length."""

    def __init__(self) -> None:
        super().__init__()
        self._exact, self._near, self.lengths = bytearray(), bytearray(), Counter[int]()

    def measured(self, pieces: Iterable[Piece]) -> Iterator[Piece]:
        exact, near = hashlib.blake2b(digest_size=8), hashlib.blake2b(digest_size=8)
        for piece in super().measured(pieces):
            if piece.begins:
                exact, near = hashlib.blake2b(digest_size=8), hashlib.blake2b(digest_size=8)
            exact.update(utf_8(piece.text))
            near.update(utf_8(nearly(piece.text)))
            if piece.ends and not (piece.begins and not piece.text.strip()):
                self.lengths[self.length] += 1
                self._exact += exact.digest()
                self._near += near.digest()
            yield piece
        self.exact, self.near = np.frombuffer(self._exact, "<u8"), np.frombuffer(self._near, "<u8")


def _repeats(text: Text, read: _Sequences, most: int = 5) -> Repeats:
    """The repeats among the sequences of a text, with the most frequent ones."""
    distinct, first, counts = np.unique(read.exact, return_index=True, return_counts=True)
    near = read.near[first]
    keys, alike = np.unique(near, return_counts=True)
    often = [k for k in np.lexsort((first, -counts))[:most] if counts[k] > 1]
    groups = [np.sort(first[near == keys[k]])[:2] for k in np.argsort(-alike, kind="stable")[:3] if alike[k] > 1]
    shown = _excerpts(text, {*(int(first[k]) for k in often), *(int(place) for pair in groups for place in pair)})
    return Repeats(
        exact=len(read.exact) - len(distinct),
        near=len(distinct) - len(keys),
        most_frequent=[(int(counts[k]), shown[int(first[k])]) for k in often],
        alike=[(shown[int(a)], shown[int(b)]) for a, b in groups],
    )


def _overlap(texts: dict[str, Text], read: dict[str, _Sequences], of: str, within: str) -> Overlap:
    one, other = read[of], read[within]
    exact, near = among(one.exact, np.unique(other.exact)), among(one.near, np.unique(other.near))
    distinct, first = np.unique(one.exact, return_index=True)
    its_runs = runs(one.exact)
    shared = exact if exact.any() else near
    example = int(np.argmax(shared)) if shared.any() else None
    return Overlap(
        of=of,
        within=within,
        sequences=len(one.exact),
        exact=int(exact.sum()),
        near=int(near.sum()),
        distinct=len(distinct),
        exact_distinct=int(exact[first].sum()),
        near_distinct=int(near[first].sum()),
        runs=len(its_runs),
        shared_runs=int(among(its_runs, np.unique(runs(other.exact))).sum()),
        example=None if example is None else _excerpts(texts[of], {example})[example],
    )


def _excerpts(text: Text, places: set[int]) -> dict[int, str]:
    """The beginnings of the sequences with these numbers, not counting blank ones."""
    beginnings = (piece for piece in text if piece.begins and (not piece.ends or piece.text.strip()))
    up_to_last = islice(beginnings, max(places, default=-1) + 1)
    return {place: excerpt(piece.text) for place, piece in enumerate(up_to_last) if place in places}
