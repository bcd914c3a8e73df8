"""The first pass over a large text: symbols are counted and sequences fingerprinted, part by part; then the split is chosen.

A part cannot know which of its sequences are held out, since that depends on the length of the text. So it counts all symbols,
and gives the sequences that may be held out by their hash; when the split is known, the symbols of those that are held out are
subtracted.
"""

from __future__ import annotations

import hashlib
import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain, compress
from pathlib import Path
from typing import Any

import numpy as np

from lmgen.data import damage
from lmgen.data.advice import OPENING, Shape
from lmgen.data.finding import name_of
from lmgen.data.preparing import compiled
from lmgen.data.preparing.lines import LINE_END, Lines, NotInPartsError, Part, counted, parts, points_of
from lmgen.data.preparing.spilling import Hashes, WordCounts
from lmgen.data.preparing.workplace import made, workplace
from lmgen.data.reading import Piece, Text, blank_lines, combined, marked, windows_ends
from lmgen.data.split import Choice, Split, share_of, size_of, utf_8
from lmgen.data.vocab import UNITS, Vocab

BLOCK = 1 << 20  # bytes that are hashed at a time


@dataclass
class Scan:
    """What a pass over a text finds: how often each symbol of the training part occurs, and of the held-out part; the
    fingerprints of all sequences, as the unit writes them; its shape; and the number of damaged characters of each kind."""

    counts: WordCounts
    held_out: Counter[str] = field(default_factory=Counter)
    hashes: Hashes = field(default_factory=Hashes)
    shape: Shape = field(default_factory=Shape)
    damaged: Counter[str] = field(default_factory=Counter)


def scan(text: Text, choice: Choice, unit: str, unk_token: str | None) -> Scan:
    """Scan a text part by part, and choose its split. Raises NotInPartsError, and InputError as reading does."""
    cut = parts(text)
    size = sum(part.stop - part.start for part in cut)
    largest = choice.given or Split(share_of(size // 4) if choice.by_item else 0.0)  # of UTF-8 without blank lines
    how = {"unit": unit, "unk_token": unk_token, "keep_blank": text.keep_blank, "errors": text.errors}
    found, seen, answers = Scan(WordCounts(lossy=UNITS[unit].learns)), [0], []
    candidates: list[tuple[int, Piece]] = []
    with workplace(f"{cut} {how} {largest.share}") as folder, _Digests(text.paths) as digests:
        tasks = [{"part": part, "share": largest.share, **how} for part in cut]
        for answer, arrays in made(folder, f"{__name__}:scan_part", tasks, size):
            counts = arrays["counts"].tolist()
            found.counts.update(dict(zip(_strings(arrays["symbols"], len(counts)), counts, strict=True)))
            found.hashes.add(arrays["hashes"])
            found.damaged.update(answer["damaged"])
            found.shape.longest = max(found.shape.longest, answer["longest"])
            gaps = arrays["gaps"].tolist()
            texts = _strings(arrays["texts"], len(gaps))
            pieces = (Piece(one, True, True, gap) for one, gap in zip(texts, gaps, strict=True))
            candidates += zip(arrays["own"].tolist(), pieces, strict=True)
            seen.append(seen[-1] + answer["characters"])
            answers.append(answer)
        text.sha256, text.size = combined(digests.result()), size
    _note(text, cut, answers)
    _open(found.shape, cut, text)
    found.shape.characters = seen[-1]

    def held_out(split: Split) -> Iterator[Piece]:
        if split.head is None:
            yield from (piece for hash, piece in candidates if split.holds_out(hash))
            return
        for k in range(max(0, bisect_left(seen, split.head) - 1), len(cut)):
            lines = Lines(cut[k], text.errors, text.keep_blank)
            yield from compress(lines.pieces(), lines.held_out(split, seen[k]).tolist())

    if not choice.given:
        choice.decide(seen[-1], lambda split: sum(map(size_of, held_out(split))))
        if choice.split.share > largest.share:  # most of the text is blank
            raise NotInPartsError
    symbols_of = Vocab(unit, (), unk_token).split
    for piece in held_out(choice.split):
        found.held_out.update(piece.text if _plain(unit, unk_token) else symbols_of(piece.text, piece.begins))
    found.counts.subtract(found.held_out)
    text.parts = [*zip(cut, seen[:-1], strict=True)]
    return found


def scan_part(part: list, unit: str, unk_token: str | None, keep_blank: bool, errors: str, share: float) -> Any:
    """Count the symbols of a part; with the lines whose hash is in the share."""
    lines = Lines(Part(*part), errors, keep_blank)
    symbols, counts, damaged, hashes = _counted(lines, unit, unk_token, keep_blank)
    may_be = Split(share).among(lines.fingerprints) if share else np.zeros(len(lines.starts), bool)
    texts = [lines.line(k) for k in np.flatnonzero(may_be).tolist()]
    arrays = {
        **{"symbols": _packed(symbols), "counts": np.asarray(counts, np.int64), "hashes": hashes, "texts": _packed(texts)},
        **{"gaps": lines.gaps[may_be], "own": lines.fingerprints[may_be] if share else np.zeros(0, np.uint64)},
    }
    answer = {
        "characters": int(lines.sizes.sum()),
        "longest": int(lines.lengths.max(initial=0)),
        "blank": int(np.count_nonzero(~lines.kept)),
        "marked": lines.marked,
        "line_ends": lines.line_ends,
        "damaged": damaged + Counter(garbled=sum(len(was) for _, was in damage.garbled(lines.string))),
    }
    return answer, arrays


def _counted(
    lines: Lines, unit: str, unk_token: str | None, keep_blank: bool
) -> tuple[Iterable[str], Iterable[int], Counter[str], np.ndarray]:
    """The symbols of a part, how often each occurs, the damage in them, and the fingerprints of the lines as the unit writes
    them."""
    vocab = Vocab(unit, (), unk_token)
    if _plain(unit, unk_token):
        found = counted(lines.points)
        found[LINE_END] = 0
        for k in np.flatnonzero(~lines.kept).tolist():
            for character in lines.any_line(k):
                found[ord(character)] -= 1
        counts = _by_character(found)
        return counts.keys(), [*counts.values()], damage.count(counts), lines.fingerprints
    if vocab.splits_at_space:
        words = compiled.words(lines.text, keep_blank)
        counts_of_words = np.bincount(words.numbers, minlength=len(words.words) + 1)[1:]
        damaged = damage.count(_by_character(counted(points_of(words.joined))))
        return words.words, counts_of_words, damaged, compiled.fingerprints(words.joined, words.starts, words.stops)
    counted_symbols, joined = Counter[str](), []
    for piece in lines.pieces():
        symbols = vocab.split(piece.text)
        counted_symbols.update(symbols)
        joined.append(utf_8(UNITS[unit].join(symbols)))
    stops = np.cumsum([len(one) for one in joined], dtype=np.int64)
    starts = np.append(0, stops[:-1])[: len(stops)]
    hashes = compiled.fingerprints(b"".join(joined), starts, stops)
    return counted_symbols.keys(), [*counted_symbols.values()], damage.count(counted_symbols), hashes


def _by_character(found: np.ndarray) -> dict[str, int]:
    points = np.flatnonzero(found)
    return dict(zip(map(chr, points.tolist()), found[points].tolist(), strict=True))


def _plain(unit: str, unk_token: str | None) -> bool:
    return unit == "char" and not unk_token


def _packed(texts: Iterable[str]) -> np.ndarray:
    """Strings without line ends as the bytes of one."""
    return np.frombuffer(utf_8("\n".join(texts)), np.uint8)


def _strings(content: np.ndarray, number: int) -> list[str]:
    """The strings that were packed."""
    return content.tobytes().decode("utf-8", "surrogatepass").split("\n") if number else []


# ---- the rest of what reading finds ------------------------------------------------------------------------------------


class _Digests:
    """The sha256 of files, computed in a thread."""

    def __init__(self, paths: Sequence[Path]):
        self._paths, self._stop = paths, threading.Event()
        self._thread = ThreadPoolExecutor(1)
        self._found = self._thread.submit(lambda: [*map(self._digest, paths)])

    def __enter__(self) -> _Digests:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.shutdown()

    def result(self) -> list[str]:
        return self._found.result()

    def _digest(self, path: Path) -> str:
        digest = hashlib.sha256()
        with open(path, "rb") as file:
            while not self._stop.is_set() and (block := file.read(BLOCK)):
                digest.update(block)
        return digest.hexdigest()


def _pieces(cut: Sequence[Part], text: Text) -> Iterator[Piece]:
    return chain.from_iterable(Lines(part, text.errors, text.keep_blank).pieces() for part in cut)


def _open(shape: Shape, cut: Sequence[Part], text: Text) -> None:
    """Give a shape the opening of a text."""
    longest = shape.longest
    for _ in shape.measured(_pieces(cut, text)):
        if shape.characters >= OPENING:
            break
    shape.longest = longest


def _note(text: Text, cut: Sequence[Part], answers: Sequence[dict[str, Any]]) -> None:
    """The notes on a text and its line ends, as after reading it whole."""
    text.line_ends = Counter()
    for path in text.paths:
        own = [answer for part, answer in zip(cut, answers, strict=True) if part.path == str(path)]
        ends = sum((Counter(answer["line_ends"]) for answer in own), Counter[str]())
        text.line_ends += ends
        shown = name_of(path)
        if own and own[0]["marked"]:
            text.notes[marked(shown)] = None
        if ends["CR LF"]:
            text.notes[windows_ends(shown, ends["CR LF"])] = None
    if blank := sum(answer["blank"] for answer in answers):
        text.notes[blank_lines(blank)] = None
