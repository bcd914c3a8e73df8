"""Which unit and which sequence a text suggests, each with its reason, and the warnings about its faults."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from lmgen.data.reading import Piece
from lmgen.data.split import HELD_OUT, LEAST_HELD_OUT
from lmgen.data.writing import segments

ENOUGH_WORDS = 300_000  # words from which on they can be learnt as symbols …
ENOUGH_OF_EACH = 15  # … where each kind occurs so often
LITTLE = round(LEAST_HELD_OUT / HELD_OUT)  # characters below which nothing is held out, and much is learnt by heart
HUGE = 2_000  # characters of a line that is no item of a list …
MOSTLY = 0.5  # … where it holds so much of the text; and the share of repetition that is worth a warning
LEAK, MUCH = 0.01, 0.05  # the shares of overlap, and of the other faults, that are worth a warning
MARKS = ("<unk>", "<UNK>", "[UNK]")  # by which corpora mark unknown words
FINAL = frozenset(".!?…:;。！？．；：\"'”’»」』)]}")
OPENING = 1 << 18  # characters at the beginning of a text in which repetition is measured
DOUBLINGS = 6  # of the hash of one character, to that of a stretch of 64
_PRIME = 0x9E3779B97F4A7C15


class Shape:
    """The number of characters of a text, line ends included, the length of its longest sequence, and how its opening repeats."""

    def __init__(self) -> None:
        self.characters = self.longest = self.length = self._held = 0
        self._opening: list[str] = []

    def measured(self, pieces: Iterable[Piece]) -> Iterator[Piece]:
        """The pieces of a text, measured as they pass by."""
        for piece in pieces:
            self.characters += len(piece.text) + piece.gap
            self.length = len(piece.text) + self.length * (not piece.begins)
            self.longest = max(self.longest, self.length)
            if self._held < OPENING:
                self._opening.append(piece.text[: OPENING - self._held] + "\n" * piece.ends)
                self._held += len(self._opening[-1])
            yield piece

    @property
    def repetition(self) -> float:
        """The share of the stretches of 64 characters that equal an earlier one, by a hash of each; 0 of a shorter text."""
        hashes = np.frombuffer("".join(self._opening).encode("utf-32-le", "surrogatepass"), "<u4").astype(np.uint64)
        factor = _PRIME
        for k in range(DOUBLINGS):  # the hash of twice as many characters, from those of both halves
            hashes = hashes[: -(1 << k)] * np.uint64(factor) + hashes[1 << k :]
            factor = factor * factor % (1 << 64)
        hashes.sort()  # np.unique is slower
        return np.count_nonzero(hashes[1:] == hashes[:-1]) / len(hashes) if len(hashes) else 0.0


@dataclass(frozen=True)
class Signs:
    """Signs of the faults of a text, in counts; `warnings` makes sentences of them.

    `characters`, `longest` and `repetition` are those of its `Shape`; `repeated` of the `sequences` (empty ones left out) equal
    an earlier one; `damaged` counts the characters of each kind of `damage.KINDS`; `shared` of the `compared` sequences of the
    validation text (with `carry`: runs of three) are in the training text, too; `unknown` of the `held_out` symbols are not in
    the vocabulary; `unspaced` is the language of words that no spaces part (see `segments.language_of`).
    """

    noun: str  # for a symbol
    sequence: str
    carry: bool
    characters: int
    sequences: int
    repeated: int
    damaged: Counter[str]
    longest: int = 0
    repetition: float = 0.0
    compared: int = 0
    shared: int = 0
    held_out: int = 0
    unknown: int = 0
    unspaced: str | None = None


@dataclass(frozen=True)
class Advice:
    """Options of `lmgen train` (none, where its defaults are right) and the reason in one sentence."""

    about: str
    options: list[str]
    reason: str


class Lines:
    """The lines of a text in numbers: of those that are not blank, how many begin indented, begin in lower case after another
    line, and end without a final mark; paragraphs are separated by blank lines."""

    def __init__(self) -> None:
        self.lines = self.blank = self.paragraphs = self.characters = 0
        self.indented = self.following = self.lower = self.unfinished = 0
        self.lengths: Counter[int] = Counter()
        self._length, self._is_blank, self._last_blank, self._last = 0, True, True, ""

    def add(self, piece: Piece) -> None:
        """Count the next line, or the next part of one."""
        text, inner = piece.text, piece.text.strip()
        self.characters += len(text) + piece.gap
        if piece.begins:
            self._length, self._is_blank = 0, True
        self._length += len(text)
        if inner and self._is_blank:
            self.indented += text.startswith(("\t", "  "))
            self.paragraphs += self._last_blank
            self.following += not self._last_blank
            self.lower += not self._last_blank and inner[0].islower()
        if inner:
            self._is_blank, self._last = False, inner[-1]
        if piece.ends:
            self.lines += 1
            self.blank += self._is_blank
            if not self._is_blank:
                self.lengths[self._length] += 1
                self.unfinished += self._last not in FINAL
            self._last_blank = self._is_blank


def quantile(lengths: Mapping[int, int], share: float) -> int:
    """The least length that `share` of them do not exceed; 0 where there is none."""
    up_to = [*accumulate(lengths[length] for length in sorted(lengths))]
    return sorted(lengths)[bisect_left(up_to, math.ceil(share * up_to[-1]))] if up_to else 0


def percent(part: float, whole: float) -> str:
    """38%, 1.2%, 0.03%."""
    share = 100 * part / whole if whole else 0.0
    return f"{share:.0f}%" if share >= 9.95 or not share else f"{share:.1f}%" if share >= 0.095 else f"{max(share, 0.01):.2f}%"


def number(count: int, noun: str) -> str:
    """1 line, 2,000 lines."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def advise(lines: Lines, words: Mapping[str, int], characters: int, files: int) -> list[Advice]:
    """The advice on sequence and unit for a text with these lines, words (by white space), kinds of characters, and files."""
    total = sum(words.values())
    spaced = lines.characters < 15 * max(1, total)
    found = [Advice("sequence", *_sequence(lines, spaced, files)), Advice("unit", *_unit(words, total, spaced, characters))]
    mark = max(MARKS, key=lambda m: words.get(m, 0))
    if words.get(mark, 0) > 1:
        found.append(Advice("unknown", ["--unk-token", mark], f"{mark} marks unknown words, {words[mark]:,} times"))
    return found


def _sequence(lines: Lines, spaced: bool, files: int) -> tuple[list[str], str]:
    written, median, carry = max(1, lines.lines - lines.blank), quantile(lines.lengths, 0.5), ["--carry"]
    lower, unfinished = lines.lower / max(1, lines.following), lines.unfinished / written
    if files >= 20 and lines.characters < 20_000 * files:
        return ["--sequence", "file"], f"{files:,} small files: each is one sequence"
    if median >= (200 if spaced else 60):
        return carry, f"half of the lines have {number(median, 'character')} or more: paragraphs of running text"
    if lines.indented > 0.2 * written:
        part = percent(lines.indented, written)
        return carry, f"{part} of the lines are indented, as in code: each continues the one before"
    if median >= 30 and unfinished > 0.3 and 0.15 < lower < 0.95:  # if all are in lower case, that is no sign
        part = percent(lines.lower, lines.following)
        return carry, f"{part} of the lines after a line begin in mid-sentence, as in running text"
    if lines.paragraphs >= 10 and written >= 1.8 * lines.paragraphs:
        mean = lines.characters / lines.paragraphs
        if mean >= 1000:
            return carry, f"blank lines part long paragraphs of {mean:,.0f} characters, as in running text"
        reason = (
            f"blank lines part {lines.paragraphs:,} paragraphs of {written / lines.paragraphs:.1f} lines: each is one sequence"
        )
        return ["--sequence", "paragraph"], f"{reason}; --carry instead, if each continues the one before"
    reason = f"half of the lines have {number(median, 'character')} at most: each is one sequence"
    return [], reason + "; --carry, if each continues the one before" * (median >= 30)


def _unit(words: Mapping[str, int], total: int, spaced: bool, characters: int) -> tuple[list[str], str]:
    if not spaced:
        language = segments.language_of(words.items())
        way = f"; --segment {language} cuts it into words" if language else ""
        return [], f"few spaces part words: characters ({number(characters, 'kind')}) are the symbols{way}"
    kinds = max(1, len(words))
    each = f"{number(total, 'word')} of {number(kinds, 'kind')}, {total / kinds:.1f} of each"
    if total < ENOUGH_WORDS or total < ENOUGH_OF_EACH * kinds:
        return [], f"{each}, are too few to learn words by: characters ({number(characters, 'kind')}) need less text"
    apart = words.get(",", 0) + words.get(".", 0)
    attached = sum(n for word, n in words.items() if len(word) > 1 and word[-1] in ",.")
    unit, why = "word-punct", "; marks are symbols of their own, so that nothing is lost"
    if apart > attached:
        unit, why = "word", "; marks stand apart already"
    rare = ["--min-count", "2"] if 1 in words.values() else []  # a word that occurs once cannot be learnt
    return ["--unit", unit, *rare], f"{each}, are enough to learn words by{why}"


def warnings(signs: Signs) -> list[str]:
    """Sentences on the faults of a text, the most serious first."""
    found, noun, damaged = [], f"{signs.sequence}s", signs.damaged
    if signs.shared >= LEAK * signs.compared > 0:
        shared = f"runs of three {noun}" if signs.carry else noun
        way = "" if signs.carry else ", or add --carry, if each continues the one before"
        found.append(leak(signs.shared, signs.compared, f"{shared} of the validation text are also in the training text") + way)
    if signs.unspaced is not None:
        way = f"--segment {signs.unspaced} to cut it into words, or --unit char" if signs.unspaced else "--unit char or subword"
        found.append(f"the text is written without spaces between words, so whole phrases are its {signs.noun}s: add {way}")
    if n := damaged["garbled"]:
        look = f"{number(n, 'character')} {'looks' if n == 1 else 'look'} like UTF-8 read as Latin-1 or Windows-1252 (Ã© for é)"
        found.append(f"{look}: repair the text, or the model will write them, too")
    if n := damaged["replaced"]:
        way = "read the original text with its --encoding, or remove it"
        found.append(f"U+FFFD stands for {number(n, 'character')} that could not be decoded: {way}")
    if n := damaged["control"]:
        found.append(f"{number(n, 'control character')} in the text, which the model will write, too: remove unwanted ones")
    if signs.unknown >= MUCH * signs.held_out > 0:
        part = percent(signs.unknown, signs.held_out)
        way = "give more text" if signs.noun == "character" else "give more text, a larger --vocab-size, or --unit char"
        found.append(f"{part} of the {signs.noun}s of the validation text are not in the vocabulary: {way}")
    if not signs.carry and signs.repeated >= MUCH * signs.sequences > 0:
        way = "add --carry, if each continues the one before, or remove the repeats"
        part = percent(signs.repeated, signs.sequences)
        found.append(f"{part} of the {noun} repeat an earlier one, and the model memorises repeats: {way}")
    elif signs.repetition >= MOSTLY:
        part = percent(signs.repetition, 1)
        found.append(f"{part} of the text repeats an earlier part, and the model memorises repeats: remove them")
    if not signs.carry and signs.sequence != "file" and signs.longest >= max(HUGE, MOSTLY * signs.characters):
        long = f"one {signs.sequence} of {number(signs.longest, 'character')} is {percent(signs.longest, signs.characters)}"
        way = "add --carry, if it is running text, or put each item on a line of its own"
        found.append(f"{long} of the text, and the model reads it as one sequence: {way}")
    if signs.characters < LITTLE:
        way = "give more text, or leave the copies out with lmgen sample --novel"
        found.append(f"only {number(signs.characters, 'character')} of text, so expect copies and near copies: {way}")
    return found


def leak(part: int, whole: int, shared: str) -> str:
    """The warning of a training text that holds a part of the text for validation or test."""
    return f"{percent(part, whole)} of the {shared}, so the measures will be too good: remove them from one of the two"
