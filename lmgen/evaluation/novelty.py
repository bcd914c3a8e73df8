"""Did the model learn or copy? The text that a sample shares with a corpus.

The corpus is held in a suffix array of its UTF-8 bytes, sequence after sequence, each between two line ends. It gives the longest
match from every place of a text, and these give the longest span, new n-grams and shared characters. A span may contain line
ends.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np

from lmgen.data.corpus import among, fingerprint
from lmgen.data.split import utf_8
from lmgen.errors import InputError

NGRAM = 5  # characters
LEAST = 50  # characters of a shared span, as in studies of memorisation (of tokens: Carlini et al. 2023)
MOST = 1 << 31  # bytes of a corpus, because places are 32-bit integers
EXACT = 1_000_000  # bytes of a corpus up to which the nearest is searched in all sequences; beyond that …
TRIED = 300  # … only in this number of sequences, whose suffixes are neighbours of those of the text
WINDOW = 32  # bytes of a match that are compared first
LONG = 64  # bytes of a match after which the starts within it are found by bisection


class Span(NamedTuple):
    """A run of characters that a text shares with the corpus, the line of the corpus that it is from, its place in the text."""

    text: str
    line: str
    start: int


class Index:
    """The sequences of a corpus, in which texts are looked up.

    It takes less than 2³¹ bytes, with five bytes of memory for each, and eight for each sequence. Raises InputError for more, and
    where a library is missing.
    """

    def __init__(self, sequences: Iterable[str]):
        try:
            from pydivsufsort import divsufsort
            from rapidfuzz import process
            from rapidfuzz.distance import Levenshtein
        except ImportError as error:
            package, command = str(error.name).partition(".")[0], "pip install pydivsufsort rapidfuzz"
            raise InputError(f"looking for copies needs {package}, which is not installed: {command}") from None
        self._nearest = partial(process.extractOne, scorer=Levenshtein.distance)
        self.sequences = list(sequences)
        encoded = [utf_8(sequence) for sequence in self.sequences]
        self._starts = np.cumsum([1, *(len(one) + 1 for one in encoded)])[:-1]  # where each begins
        self._bytes = b"\n".join([b"", *encoded, b""]) if encoded else b"\n"
        if len(self._bytes) >= MOST:
            raise InputError(f"a corpus of {len(self._bytes):,} bytes is too large to be indexed: give a part below {MOST:,}")
        self.large = len(self._bytes) > EXACT  # so the nearest sequence is searched among some of the sequences only
        self._folded = np.unique(np.array([fingerprint(folded(sequence)) for sequence in self.sequences], np.uint64))
        self._array = divsufsort(self._bytes)
        self._suffixes = memoryview(self._array).cast("B").cast("i")  # plain integers, faster than those of the array

    def holds(self, sequence: str) -> bool:
        """Whether a sequence is in the corpus, as a whole line (or several consecutive ones)."""
        return self.find(b"\n" + utf_8(sequence) + b"\n") is not None

    def nearly_holds(self, sequence: str) -> bool:
        """Whether a sequence of the corpus equals this one but for case, and white space at the ends."""
        return bool(among(np.array([fingerprint(folded(sequence))], np.uint64), self._folded)[0])

    def find(self, wanted: bytes) -> int | None:
        """A place in the corpus of some bytes."""
        place = self._place(wanted)
        if place < len(self._suffixes) and self._bytes.startswith(wanted, self._suffixes[place]):
            return self._suffixes[place]
        return None

    def line_of(self, wanted: bytes) -> str:
        """The line of the corpus in which some bytes begin that it holds."""
        place = self.find(wanted)
        assert place is not None
        begin, end = self._bytes.rfind(b"\n", 0, place + 1) + 1, self._bytes.find(b"\n", place + 1)
        return self._bytes[begin:end].decode("utf-8", "surrogatepass")

    def longest_match(self, encoded: bytes, start: int) -> tuple[int, int]:
        """The rank among the suffixes of the bytes from `start` on, and how many of them are in the corpus: the neighbours share
        the most."""
        size = WINDOW
        while True:
            wanted = encoded[start : start + size]
            place = self._place(wanted)
            neighbours = self._suffixes[max(0, place - 1) : place + 1]
            length = max(_common(wanted, self._bytes[k : k + size]) for k in neighbours)
            if length < size:
                return place, length
            size *= 4

    def neighbours(self, ranks: list[int]) -> list[str]:
        """The sequences of the suffixes on both sides of these ranks, at most `TRIED`."""
        beside = -(-TRIED // (2 * max(1, len(ranks))))
        starts = np.concatenate([self._array[max(0, rank - beside) : rank + beside] for rank in ranks])
        numbers = np.unique(np.searchsorted(self._starts, starts, side="right") - 1)
        return [self.sequences[number] for number in numbers.tolist() if number >= 0]

    def nearest_of_all(self, text: str) -> tuple[str, int] | None:
        """The sequence at the smallest distance: lengths are tried from that of the text outwards, while they could be nearer."""
        best: tuple[str, int] | None = None
        for length in sorted(self._by_length, key=lambda length: abs(length - len(text))):
            if best and abs(length - len(text)) >= best[1]:
                break
            best = self.nearest_of(text, self._by_length[length], best[1] - 1 if best else None) or best
        return best

    def nearest_of(self, text: str, some: Collection[str], most: int | None = None) -> tuple[str, int] | None:
        """The one of some sequences at the smallest Levenshtein distance in characters, and that, if it is at most `most`."""
        found = self._nearest(text, some, score_cutoff=most)
        return (found[0], int(found[1])) if found else None

    @cached_property
    def _by_length(self) -> dict[int, list[str]]:
        groups: defaultdict[int, list[str]] = defaultdict(list)
        for sequence in dict.fromkeys(self.sequences):
            groups[len(sequence)].append(sequence)
        return groups

    def _place(self, wanted: bytes) -> int:
        """The rank of the first suffix that is not less than some bytes."""
        text, size = self._bytes, len(wanted)
        return bisect_left(self._suffixes, wanted, key=lambda start: text[start : start + size])


class Matches:
    """A text looked up in an index. `lengths` holds for each byte of the text the number of bytes from there on that are in the
    corpus (the matching statistics), `spans` the same for each character, in characters."""

    def __init__(self, index: Index, text: str):
        self.index, self.text = index, text
        self._ranks: list[int] = []
        lengths: list[int] = []
        encoded, start = utf_8(text), 0
        end = len(encoded)
        while start < end:
            rank, length = index.longest_match(encoded, start)
            self._ranks.append(rank)
            stop = start + length
            following = start + 1
            if stop == end:
                following = end
            elif length > LONG:  # the first start whose match ends later
                later = range(following, stop)
                following += bisect_left(later, True, key=lambda k: index.find(encoded[k : stop + 1]) is not None)
            lengths += range(length, stop - following, -1)
            start = following
        self.lengths = np.array(lengths, np.int64)
        self.spans = self.lengths
        if not text.isascii():
            places = np.append(np.flatnonzero(np.frombuffer(encoded, np.uint8) & 0xC0 != 0x80), end)  # where characters begin
            stops = places[:-1] + self.lengths[places[:-1]]
            self.spans = np.searchsorted(places, stops, side="right") - 1 - np.arange(len(text))

    @property
    def longest(self) -> Span:
        """The longest run of characters that is in the corpus; the first, if there are several."""
        if not self.spans.any():
            return Span("", "", 0)
        start = int(np.argmax(self.spans))
        span = self.text[start : start + int(self.spans[start])]
        return Span(span, self.index.line_of(utf_8(span)), start)

    def copies(self, least: int) -> list[Span]:
        """The runs of at least `least` characters that are in the corpus, none within another."""
        ends = np.arange(len(self.spans)) + self.spans
        inside = ends <= np.maximum.accumulate(np.append(0, ends[:-1]))
        places = np.flatnonzero(~inside & (self.spans >= max(1, least)))
        found = [(int(start), self.text[start : ends[start]]) for start in places]
        return [Span(span, self.index.line_of(utf_8(span)), start) for start, span in found]

    def shared(self, least: int = LEAST) -> float:
        """The share of the characters that lie in a span of `least` characters or more."""
        places = np.arange(len(self.spans))
        ends = np.where(self.spans >= max(1, least), places + self.spans, 0)
        return int(np.count_nonzero(np.maximum.accumulate(ends) > places)) / max(1, len(places))

    def nearest(self, exact: bool = False) -> tuple[str, int] | None:
        """The sequence at the smallest Levenshtein distance in characters, and that; None of an empty corpus.

        In a corpus of more than a million bytes only some hundred sequences are tried, unless `exact`: those that share the
        longest spans with the text. In measurements the nearest was among them in six of seven cases, and in the others one about
        two edits further.
        """
        if self._ranks and not exact and self.index.large:
            return self.index.nearest_of(self.text, self.index.neighbours(self._ranks))
        return self.index.nearest_of_all(self.text)


def folded(sequence: str) -> str:
    """A sequence without its case, and without white space at its ends."""
    return sequence.strip().casefold()


def _common(a: bytes, b: bytes) -> int:
    """The length of the common prefix of two byte strings."""
    different = int.from_bytes(a, "little") ^ int.from_bytes(b, "little")
    shorter = min(len(a), len(b))
    return min(shorter, ((different & -different).bit_length() - 1) // 8) if different else shorter


@dataclass(frozen=True)
class Novelty:
    """What one text shares with a corpus."""

    text: str
    known: bool  # it is in the corpus
    nearly: bool  # it is, but for case and white space at its ends
    span: str  # the longest run of characters that is in the corpus
    span_line: str  # the line of the corpus that it is from
    span_share: float  # its share of the text
    shared: float  # the share of the text in spans of 50 characters or more
    nearest: str | None  # the sequence at the smallest Levenshtein distance
    distance: int | None
    ngrams: int  # the number of n-grams of characters
    new_ngrams: float | None  # the share of them that is not in the corpus; None if there are none


def check(index: Index, text: str, ngram: int = NGRAM, nearest: bool = True, exact: bool = False) -> Novelty:
    """What a text shares with a corpus; without `nearest` that is left out, with `exact` all sequences are tried for it."""
    found = Matches(index, text)
    longest = found.longest
    known = len(longest.text) == len(text) and index.holds(text)
    near, distance = (nearest and found.nearest(exact)) or (None, None)
    inside = found.spans[: max(0, len(text) - ngram + 1)]
    return Novelty(
        text=text,
        known=known,
        nearly=known or index.nearly_holds(text),
        span=longest.text,
        span_line=longest.line,
        span_share=len(longest.text) / max(1, len(text)),
        shared=found.shared(),
        nearest=near,
        distance=distance,
        ngrams=len(inside),
        new_ngrams=int(np.count_nonzero(inside < ngram)) / len(inside) if len(inside) else None,
    )
