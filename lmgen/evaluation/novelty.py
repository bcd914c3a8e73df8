"""Did it learn or copy? What a text shares with a corpus.

The corpus stands in a suffix array of its UTF-8 bytes, sequence after sequence, each between two line ends. It gives the longest
match of every place of a text; longest span, new n-grams and shared characters follow from these. Spans go over line ends where a
text has them.
"""

from __future__ import annotations

import importlib
from bisect import bisect_left
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import NamedTuple

import numpy as np

from lmgen.data.corpus import among, fingerprint
from lmgen.errors import InputError

NGRAM = 5  # characters
LEAST = 50  # characters of a span that counts as shared, as the studies of memorisation have it (of tokens: Carlini et al. 2023)
MOST = 1 << 31  # bytes of a corpus, whose places are 32-bit integers
EXACT = 1_000_000  # bytes of a corpus up to which every sequence may be the nearest; beyond, one of those …
TRIED = 300  # … whose suffixes stand nearest to those of the text, in the order of all
WINDOW = 32  # bytes of a match that are looked for at first …
LONG = 64  # … and of one after which the starts within it are not tried one by one


class Span(NamedTuple):
    """A run of characters that a text shares with the corpus: from which character of the text on, and the line it comes from."""

    text: str
    line: str
    start: int


class Index:
    """The sequences of a corpus, to look texts up in.

    Bytes of them below 2³¹ in all, five bytes of memory for each, and eight for each sequence. Raises InputError
    for more, and where a library is missing.
    """

    def __init__(self, sequences: Iterable[str]):
        divsufsort, self._process, self._levenshtein = map(
            _library, ("pydivsufsort", "rapidfuzz.process", "rapidfuzz.distance.Levenshtein")
        )
        self.sequences = list(sequences)
        encoded = [_encoded(sequence) for sequence in self.sequences]
        self._starts = np.cumsum([1, *(len(one) + 1 for one in encoded)])[:-1]  # where each begins
        self._bytes = b"\n".join([b"", *encoded, b""]) if encoded else b"\n"
        if len(self._bytes) >= MOST:
            raise InputError(f"a corpus of {len(self._bytes):,} bytes is too large to be indexed: give a part below {MOST:,}")
        self._folded = np.unique(np.array([fingerprint(folded(sequence)) for sequence in self.sequences], np.uint64))
        self._array = divsufsort.divsufsort(self._bytes)
        self._suffixes = memoryview(self._array).cast("B").cast("i")  # gives plain integers, and faster than the array does

    def holds(self, sequence: str) -> bool:
        """Whether a sequence stands in the corpus, as a whole line (or several, one after another)."""
        return self._find(b"\n" + _encoded(sequence) + b"\n") is not None

    def nearly_holds(self, sequence: str) -> bool:
        """Whether a sequence of the corpus is equal to this one but for case, and white space at the ends."""
        return bool(among(np.array([fingerprint(folded(sequence))], np.uint64), self._folded)[0])

    def matches(self, text: str) -> np.ndarray:
        """For each byte of the text, how many bytes from there on stand in the corpus together: the matching statistics."""
        return self._walk(text)[0]

    def longest(self, text: str) -> Span:
        """The longest run of characters of a text that stands in the corpus; the first, where there are several."""
        return self._longest(text, _characters(text, self.matches(text)))

    def shared(self, text: str, least: int = LEAST) -> float:
        """The share of the characters of a text that lie in a span of `least` characters or more."""
        return _shared(_characters(text, self.matches(text)), least)

    def nearest(self, text: str, exact: bool = False) -> tuple[str, int] | None:
        """The sequence with the smallest Levenshtein distance in characters, and that; None of an empty corpus.

        Of a corpus beyond a million bytes only some hundred sequences are tried, unless `exact`: those that share the longest
        spans with the text from any place of it on. In six of seven cases that were measured the nearest was among them, and in
        the others one about two edits further.
        """
        return self._nearest(text, self._walk(text)[1], exact)

    def _nearest(self, text: str, places: list[int], exact: bool) -> tuple[str, int] | None:
        if places and not exact and self.large:
            return self._nearest_of(text, self._beside(places))
        return self._nearest_of_all(text)

    @property
    def large(self) -> bool:
        """Whether the nearest sequence is looked for among some only."""
        return len(self._bytes) > EXACT

    def _nearest_of_all(self, text: str) -> tuple[str, int] | None:
        """Lengths are tried from that of the text outwards, for as long as one of them could be nearer."""
        best: tuple[str, int] | None = None
        for length in sorted(self._by_length, key=lambda length: abs(length - len(text))):
            if best and abs(length - len(text)) >= best[1]:
                break
            best = self._nearest_of(text, self._by_length[length], best[1] - 1 if best else None) or best
        return best

    def _nearest_of(self, text: str, some: Collection[str], most: int | None = None) -> tuple[str, int] | None:
        found = self._process.extractOne(text, some, scorer=self._levenshtein.distance, score_cutoff=most)
        return found and found[:2]

    def _beside(self, places: list[int]) -> list[str]:
        """The sequences that hold the suffixes on both sides of these places: `TRIED` of them, or fewer that differ."""
        beside = -(-TRIED // (2 * max(1, len(places))))
        starts = np.concatenate([self._array[max(0, place - beside) : place + beside] for place in places])
        numbers = np.unique(np.searchsorted(self._starts, starts, side="right") - 1)
        return [self.sequences[number] for number in numbers.tolist() if number >= 0]

    @cached_property
    def _by_length(self) -> dict[int, list[str]]:
        groups: dict[int, list[str]] = {}
        for sequence in dict.fromkeys(self.sequences):
            groups.setdefault(len(sequence), []).append(sequence)
        return groups

    def _walk(self, text: str) -> tuple[np.ndarray, list[int]]:
        """The matches of a text, and where among the suffixes it would stand, from each start that was looked up."""
        encoded = _encoded(text)
        end = len(encoded)
        lengths: list[int] = []
        places = []
        start = 0
        while start < end:
            place, length = self._longest_at(encoded, start)
            places.append(place)
            stop = start + length
            following = start + 1
            if stop == end:
                following = end
            elif length > LONG:  # to the first start whose match ends later, by halving
                later = range(following, stop)
                following += bisect_left(later, True, key=lambda k: self._find(encoded[k : stop + 1]) is not None)
            lengths += range(length, stop - following, -1)
            start = following
        return np.array(lengths, np.int64), places

    def _longest(self, text: str, spans: np.ndarray) -> Span:
        if not spans.any():
            return Span("", "", 0)
        start = int(np.argmax(spans))
        span = text[start : start + int(spans[start])]
        place = self._find(_encoded(span))
        assert place is not None
        line = self._bytes[self._bytes.rfind(b"\n", 0, place + 1) + 1 : self._bytes.find(b"\n", place + 1)]
        return Span(span, line.decode("utf-8", "surrogatepass"), start)

    def _find(self, wanted: bytes) -> int | None:
        """Where in the corpus some bytes stand: one of the places."""
        place = self._place(wanted)
        if place < len(self._suffixes) and self._bytes.startswith(wanted, self._suffixes[place]):
            return self._suffixes[place]
        return None

    def _place(self, wanted: bytes) -> int:
        """The first suffix, in their order, that does not come before some bytes."""
        text, size = self._bytes, len(wanted)
        return bisect_left(self._suffixes, wanted, key=lambda start: text[start : start + size])

    def _longest_at(self, encoded: bytes, start: int) -> tuple[int, int]:
        """The place of what begins at `start`, and how much of it stands in the corpus: the suffixes beside it share most."""
        size = WINDOW
        while True:
            wanted = encoded[start : start + size]
            place = self._place(wanted)
            beside = self._suffixes[max(0, place - 1) : place + 1]
            length = max(_common(wanted, self._bytes[k : k + size]) for k in beside)
            if length < size:
                return place, length
            size *= 4


def _library(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError:
        package = name.split(".")[0]
        way = "pip install pydivsufsort rapidfuzz"
        raise InputError(f"looking for copies needs {package}, which is not installed: {way}") from None


def folded(sequence: str) -> str:
    """What is left of a sequence without its case, and without white space at its ends."""
    return sequence.strip().casefold()


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _common(a: bytes, b: bytes) -> int:
    """The length of what two byte strings begin with alike."""
    different = int.from_bytes(a, "little") ^ int.from_bytes(b, "little")
    shorter = min(len(a), len(b))
    return min(shorter, ((different & -different).bit_length() - 1) // 8) if different else shorter


def _characters(text: str, matches: np.ndarray) -> np.ndarray:
    """Matches in whole characters, for each character."""
    if text.isascii():
        return matches
    units = np.frombuffer(_encoded(text), np.uint8)
    places = np.append(np.flatnonzero(units & 0xC0 != 0x80), len(units))  # where characters begin
    stops = places[:-1] + matches[places[:-1]]
    return np.searchsorted(places, stops, side="right") - 1 - np.arange(len(text))


def _shared(spans: np.ndarray, least: int) -> float:
    starts = np.flatnonzero(spans >= max(1, least))
    covers = np.zeros(len(spans) + 1, np.int64)
    np.add.at(covers, starts, 1)
    np.add.at(covers, starts + spans[starts], -1)
    return int(np.count_nonzero(covers.cumsum())) / max(1, len(spans))


@dataclass(frozen=True)
class Novelty:
    """What one text shares with a corpus.

    `known`: it stands there; `nearly`: exactly, or but for case and white space at its ends; `span`, `span_line`, `span_share`:
    the longest run of characters that stands there, the line it comes from, its share of the text; `shared`: the share of the
    text in spans of 50 characters or more; `nearest`, `distance`: the sequence at the smallest Levenshtein distance; `ngrams`,
    `new_ngrams`: how many runs of n characters the text has, and which share of them does not stand there (None where it has
    none).
    """

    text: str
    known: bool
    nearly: bool
    span: str
    span_line: str
    span_share: float
    shared: float
    nearest: str | None
    distance: int | None
    ngrams: int
    new_ngrams: float | None


def check(index: Index, text: str, ngram: int = NGRAM, nearest: bool = True, exact: bool = False) -> Novelty:
    """Look a text up; without `nearest` its nearest sequence is not looked for, with `exact` it is among all of them."""
    matches, places = index._walk(text)
    spans = _characters(text, matches)
    longest = index._longest(text, spans)
    known = len(longest.text) == len(text) and index.holds(text)
    near, distance = (nearest and index._nearest(text, places, exact)) or (None, None)
    inside = spans[: max(0, len(text) - ngram + 1)]
    new = int(np.count_nonzero(inside < ngram)) / len(inside) if len(inside) else None
    share = len(longest.text) / max(1, len(text))
    nearly, shared = known or index.nearly_holds(text), _shared(spans, LEAST)
    return Novelty(text, known, nearly, longest.text, longest.line, share, shared, near, distance, len(inside), new)
