"""What a text is like before a training: size, symbols, repeats, overlap of its parts, damage, and what follows from that.

It is counted in a few passes over the text, which is never held whole: a sequence costs two fingerprints of 64 bits, a kind of
word its place in a table (census.py).
"""

from __future__ import annotations

import hashlib
import unicodedata
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from lmgen.data import census, damage
from lmgen.data.advice import LEAK, MUCH, Advice, Lines, advise, leak, number, percent, quantile, warnings
from lmgen.data.census import Symbols, Unknown, counted, excerpt, unknown_shares
from lmgen.data.corpus import among, fingerprint, runs
from lmgen.data.damage import Shape, Signs
from lmgen.data.finding import name_of
from lmgen.data.reading import Text
from lmgen.errors import InputError

MOST_SIGNS = 1_000  # different ones of a kind of damage that are told apart


@dataclass(frozen=True)
class Lengths:
    """Of sequences, in characters; 95 of 100 are no longer than `most`."""

    shortest: int
    median: int
    mean: float
    most: int
    longest: int


@dataclass(frozen=True)
class Repeats:
    """How many sequences repeat an earlier one; how many distinct ones repeat an earlier one nearly, as `nearly` says."""

    exact: int
    near: int
    most_frequent: list[tuple[int, str]]
    alike: list[tuple[str, str]]


@dataclass(frozen=True)
class Overlap:
    """How many sequences of one text stand in another, exactly and nearly, of all and of the distinct ones; and how many of its
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
class Damage:
    """One kind of damage: how many characters (of what is decomposed: places), in how many lines, which most, where first."""

    kind: str
    about: str
    characters: int
    lines: int
    file: str
    line: int
    most: list[str]


@dataclass(frozen=True)
class TextReport:
    """All that `check` finds; `characters` are those that training reads, line ends included, as `train` and `eval` count."""

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
    """Look at a training text, and at the texts that are to measure it; words are counted in `unit`.

    Without a validation text unknown symbols are counted in what `lmgen train` would hold out. Raises InputError where there is
    nothing to look at.
    """
    given = {name: t for name, t in (("training", text), ("validation", valid), ("test", test)) if t}
    lines, damaged = _lines(text)
    sequences = {name: _sequences(t) for name, t in given.items()}
    for name, read in sequences.items():
        if not len(read.exact):
            raise InputError(f"there is no text in {', '.join(map(name_of, given[name].paths))}: give a file with a line of it")
    read = sequences["training"]
    parts = census.parts(text, valid, test, unit)
    whole = parts["training"] + parts["held-out"] if "held-out" in parts else parts["training"]
    symbols = [whole.symbols("char"), whole.symbols(unit)]
    pairs = [("validation", "training"), ("test", "training"), ("test", "validation")]
    overlaps = [_overlap(given, sequences, *pair) for pair in pairs if sequences.keys() >= {*pair}]
    repeats = _repeats(text, read)
    words = whole.words if unit == "word" else counted(text, "word").words
    found = advise(lines, words, symbols[0].kinds, len(text.paths))
    alone = not any(one.options for one in found if one.about == "sequence")  # each line on its own
    running = text.keep_blank or (text.sequence == "line" and not alone)
    signs = Signs(
        noun="character",
        sequence=text.sequence,
        carry=running,
        characters=read.shape.characters,
        sequences=len(read.exact),
        repeated=repeats.exact,
        damaged={d.kind: d.characters for d in damaged},
        longest=read.shape.longest,
        repetition=read.shape.repetition,
    )
    told = [
        *(_of_overlap(o, text.sequence, running) for o in overlaps),
        *warnings(signs),
        *_of_near_repeats(repeats, len(read.exact), text.sequence, running),
        *_of_line_ends(text.line_ends),
    ]
    return TextReport(
        files=[name_of(path) for path in text.paths],
        sequence=text.sequence,
        carry=text.keep_blank,
        bytes=sum(path.stat().st_size for path in text.paths),
        characters=read.shape.characters,
        lines=lines.lines,
        blank_lines=lines.blank,
        paragraphs=lines.paragraphs,
        sequences=len(read.exact),
        lengths=read.statistics(),
        line_ends={name: n for name, n in text.line_ends.items() if n},
        symbols=symbols,
        repeats=repeats,
        overlaps=overlaps,
        unknown=[one for kind in ("char", unit) for one in unknown_shares(kind, parts)],
        damage=damaged,
        notes=list(dict.fromkeys(note for t in given.values() for note in t.notes)),
        warnings=[sentence for sentence in told if sentence],
        advice=found,
    )


# --- what is told of the texts as a whole ---


def _of_overlap(o: Overlap, sequence: str, running: bool) -> str | None:
    where = f"of the {o.of} text stand in the {o.within} text"
    if running:  # where lines go on from one another, a short one comes again by chance
        shares = o.shared_runs >= LEAK * o.runs > 0
        return leak(o.shared_runs, o.runs, f"runs of three {sequence}s {where}, too") if shares else None
    if o.exact >= LEAK * o.sequences:
        return leak(o.exact, o.sequences, f"{sequence}s {where}, too")
    if o.near >= LEAK * o.sequences:
        return leak(o.near, o.sequences, f"{sequence}s {where} but for case, marks, digits or spaces")
    return None


def _of_near_repeats(repeats: Repeats, sequences: int, sequence: str, running: bool) -> Iterator[str]:
    if not running and repeats.near >= MUCH * sequences:
        yield (
            f"{percent(repeats.near, sequences)} of the {sequence}s repeat an earlier one but for case, marks, digits or spaces, "
            "so the held-out part holds near copies: take them out, if they are not meant"
        )


def _of_line_ends(found: Counter[str]) -> Iterator[str]:
    if found["CR"]:
        yield (
            f"{number(found['CR'], 'line end')} {'is' if found['CR'] == 1 else 'are'} a CR alone, "
            "which lmgen reads as a character: replace them, for instance by tr '\\r' '\\n'"
        )


# --- lines and damage ---


def _lines(text: Text) -> tuple[Lines, list[Damage]]:
    """The lines of the files, whatever their sequences are, and the damage in them, the worst first."""
    lines = Lines()
    found: dict[str, _Found] = {}
    for path in text.paths:
        before = lines.lines
        for piece in Text([path], "line", True, text.encoding, text.errors):
            if not damage.is_clean(piece.text):
                for kind, which in _damage(piece.text):
                    place = (name_of(path), lines.lines - before + 1)
                    found.setdefault(kind, _Found(place)).add(which, place)
            lines.add(piece)
    return lines, [found[kind].told(kind) for kind in damage.KINDS if kind in found]


class _Found:
    """One kind of damage, as it is counted."""

    def __init__(self, first: tuple[str, int]):
        self.first, self.last = first, ("", 0)
        self.characters = self.lines = 0
        self.which: Counter[str] = Counter()

    def add(self, which: Counter[str], place: tuple[str, int]) -> None:
        """What was found in a line, or in a part of one."""
        self.lines += place != self.last
        self.last = place
        self.characters += which.total()
        if len(self.which) < MOST_SIGNS:
            self.which += which

    def told(self, kind: str) -> Damage:
        most = [excerpt(one) for one, _ in self.which.most_common(5)]
        return Damage(kind, damage.KINDS[kind], self.characters, self.lines, *self.first, most)


def _damage(text: str) -> Iterator[tuple[str, Counter[str]]]:
    """Each kind of damage in a line: what was found, and of how many characters."""
    garbled: Counter[str] = Counter()
    for stands, was in damage.garbled(text):
        garbled[f"{stands} for {was}"] += len(was)
    if garbled:
        yield "garbled", garbled
    kinds: dict[str, Counter[str]] = {}
    for character in sorted(set(text)):
        if kind := damage.kind_of(character):
            kinds.setdefault(kind, Counter())[f"U+{ord(character):04X}"] = text.count(character)
    yield from kinds.items()
    if decomposed := Counter(damage.decomposed(text)):
        yield "decomposed", decomposed


# --- sequences ---


class _Dropped(dict[int, int | None]):
    """For str.translate: without marks, digits, white space and what is invisible."""

    def __missing__(self, point: int) -> int | None:
        category = unicodedata.category(chr(point))
        self[point] = None if category[0] in "PZ" or category in ("Nd", "Cc", "Cf") else point
        return self[point]


_DROPPED = _Dropped()


def nearly(sequence: str) -> str:
    """What two nearly equal sequences have in common: compatible characters made equal (NFKC), case folded, punctuation, digits,
    white space and invisible characters left out. A sequence without letters stands for itself."""
    key = (sequence if sequence.isascii() else unicodedata.normalize("NFKC", sequence)).casefold().translate(_DROPPED)
    return key if any(map(str.isalpha, key)) else sequence


@dataclass(frozen=True)
class _Sequences:
    """Two fingerprints of each sequence that is not blank, of itself and of what it is nearly, how many have each length, and the
    shape of the text."""

    exact: np.ndarray
    near: np.ndarray
    lengths: Counter[int]
    shape: Shape

    def statistics(self) -> Lengths:
        of, number = self.lengths, len(self.exact)
        mean = sum(length * n for length, n in of.items()) / number
        return Lengths(min(of), quantile(of, 0.5), mean, quantile(of, 0.95), max(of))


def _sequences(text: Text) -> _Sequences:
    exact, near, lengths, shape = array("Q"), array("Q"), Counter[int](), Shape()
    hashes, length = (hashlib.blake2b(), hashlib.blake2b()), 0
    for piece in text:
        shape.add(piece)
        if piece.begins and piece.ends:
            if not piece.text.strip():
                continue
            lengths[len(piece.text)] += 1
            alike = nearly(piece.text)
            exact.append(fingerprint(piece.text))
            near.append(exact[-1] if alike == piece.text else fingerprint(alike))
            continue
        if piece.begins:
            hashes, length = (hashlib.blake2b(digest_size=8), hashlib.blake2b(digest_size=8)), 0
        length += len(piece.text)
        for one, part in zip(hashes, (piece.text, nearly(piece.text)), strict=True):
            one.update(part.encode("utf-8", "surrogatepass"))
        if piece.ends:
            lengths[length] += 1
            for found, one in zip((exact, near), hashes, strict=True):
                found.append(int.from_bytes(one.digest(), "little"))
    return _Sequences(np.frombuffer(exact, np.uint64), np.frombuffer(near, np.uint64), lengths, shape)


def _repeats(text: Text, read: _Sequences, most: int = 5) -> Repeats:
    """The repeats among the sequences of a text, with those that come most often."""
    distinct, first, counts = np.unique(read.exact, return_index=True, return_counts=True)
    keys, alike = np.unique(read.near[first], return_counts=True)
    often = [k for k in np.lexsort((first, -counts))[:most] if counts[k] > 1]
    groups = [np.sort(first[read.near[first] == keys[k]])[:2] for k in np.argsort(-alike, kind="stable")[:3] if alike[k] > 1]
    shown = _fetch(text, {*(int(first[k]) for k in often), *(int(place) for pair in groups for place in pair)})
    return Repeats(
        exact=len(read.exact) - len(distinct),
        near=len(distinct) - len(keys),
        most_frequent=[(int(counts[k]), shown[int(first[k])]) for k in often],
        alike=[(shown[int(a)], shown[int(b)]) for a, b in groups],
    )


def _overlap(texts: dict[str, Text], read: dict[str, _Sequences], of: str, within: str) -> Overlap:
    one, other = read[of], read[within]
    known, known_nearly = np.unique(other.exact), np.unique(other.near)
    stands, stands_nearly = among(one.exact, known), among(one.near, known_nearly)
    distinct, first = np.unique(one.exact, return_index=True)
    its_runs = runs(one.exact)
    example = int(np.argmax(stands)) if stands.any() else int(np.argmax(stands_nearly)) if stands_nearly.any() else None
    return Overlap(
        of=of,
        within=within,
        sequences=len(one.exact),
        exact=int(stands.sum()),
        near=int(stands_nearly.sum()),
        distinct=len(distinct),
        exact_distinct=int(stands[first].sum()),
        near_distinct=int(stands_nearly[first].sum()),
        runs=len(its_runs),
        shared_runs=int(among(its_runs, np.unique(runs(other.exact))).sum()),
        example=None if example is None else _fetch(texts[of], {example})[example],
    )


def _fetch(text: Text, places: set[int]) -> dict[int, str]:
    """The beginnings of the sequences with these numbers, blank ones not counted."""
    if not places:
        return {}
    found: dict[int, str] = {}
    beginnings = (piece for piece in text if piece.begins and (not piece.ends or piece.text.strip()))
    for place, piece in enumerate(islice(beginnings, max(places) + 1)):
        if place in places:
            found[place] = excerpt(piece.text)
    return found
