"""The second pass over a large text: each part becomes ids of both its sides."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import repeat
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lmgen.data.ids import COUNTS, Encoded, Encoder, bytes_in
from lmgen.data.preparing import compiled
from lmgen.data.preparing.lines import LINE_END, Lines, Part, spaces
from lmgen.data.preparing.workplace import Arrays, made, workplace
from lmgen.data.reading import Text
from lmgen.data.split import Split
from lmgen.data.vocab import EOS, UNK, Vocab
from lmgen.system import files

SIDES = ("training", "held_out")


def encode(text: Text, split: Split, vocab: Vocab) -> Iterator[tuple[bool, Encoded]]:
    """The ids of each part of a text that was scanned in parts, and each side of it."""
    cut = [part for part, _ in text.parts]
    size = sum(part.stop - part.start for part in cut)
    how = {"share": split.share, "head": split.head, "keep_blank": text.keep_blank, "errors": text.errors}
    with workplace(f"{cut} {how} {vocab.sha256}") as folder:
        vocab_file = folder / "vocab.json"
        files.write_bytes(vocab_file, vocab.to_json().encode())
        tasks = [{"part": part, "seen": seen, "vocab": str(vocab_file), **how} for part, seen in text.parts]
        for answer, arrays in made(folder, f"{__name__}:encode_part", tasks, size):
            for name in SIDES:
                if len(arrays[name]):
                    yield name == "held_out", Encoded(arrays[name].data, np.array(answer[name], np.int64))


def encode_part(
    part: list, seen: int, vocab: str, share: float, head: int | None, keep_blank: bool, errors: str
) -> tuple[dict[str, list[int]], Arrays]:
    """The ids of each side of a part, before which there are `seen` characters, and their counts as an `Encoder` has them."""
    lines, split, known = Lines(Part(*part), errors, keep_blank), Split(share, head), _vocab(vocab)
    held_out = lines.held_out(split, seen)
    if known.by_character:
        found = _of_characters(lines, known)
    elif known.splits_at_space:
        found = _of_words(lines, known, keep_blank)
    else:
        return _piece_by_piece(lines, held_out, known)
    answer, arrays = {}, {}
    sizes = lines.stops - lines.starts + lines.gaps
    for name, own in zip(SIDES, (~held_out, held_out), strict=True):
        ids, words, unknown, marked, spelt = found.of(own, known)
        counts = np.zeros(COUNTS, np.int64)
        counts[:4] = len(ids), np.count_nonzero(own), lines.sizes[own].sum(), sizes[own].sum()
        counts[4:7] = unknown, words, marked
        counts[7:] = bytes_in(spelt)
        answer[name], arrays[name] = counts.tolist(), ids
    return answer, arrays


@lru_cache(maxsize=1)
def _vocab(path: str) -> Vocab:
    return Vocab.from_json(Path(path).read_text("utf-8"))


class _Stream(NamedTuple):
    """The ids [n] of the lines of a part, which begin and end (with their EOS) at places [lines] of it; where words begin [n];
    and a number of each symbol [n], which `spell` makes strings of."""

    ids: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    begins: np.ndarray
    numbers: np.ndarray
    spell: Callable[[np.ndarray], list[str]]

    def of(self, own: np.ndarray, vocab: Vocab) -> tuple[np.ndarray, int, int, int, str]:
        """Of some lines: the ids, the number of words, of unknown symbols and of marks of unknown ones among these, and the text
        of the others."""
        starts, ends = self.starts[own], self.ends[own]
        gaps = starts[1:] != ends[:-1]
        first, last = np.append(True, gaps)[: len(starts)], np.append(gaps, True)[: len(ends)]
        runs = [slice(a, b) for a, b in zip(starts[first].tolist(), ends[last].tolist(), strict=True)]
        ids = np.concatenate([self.ids[:0], *(self.ids[run] for run in runs)])
        words = sum(int(np.count_nonzero(self.begins[run])) for run in runs)
        unknown = ids == UNK
        if not unknown.any():
            return ids, words, 0, 0, ""
        symbols = self.spell(np.concatenate([self.numbers[run] for run in runs])[unknown])
        spelt = [symbol for symbol in symbols if symbol not in vocab.ids]
        return ids, words, len(symbols), len(symbols) - len(spelt), "".join(spelt)


def _of_characters(lines: Lines, vocab: Vocab) -> _Stream:
    points = np.append(lines.points, np.array(LINE_END, lines.points.dtype)) if lines.open else lines.points
    starts, stops = lines.places
    ids = vocab.of_points(points)
    ids[stops] = EOS
    space = spaces(points)
    begins = ~space
    begins[1:] &= space[:-1]

    def spell(numbers: np.ndarray) -> list[str]:
        return [*numbers.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")]

    return _Stream(ids, starts[lines.kept], stops[lines.kept] + 1, begins, points, spell)


def _of_words(lines: Lines, vocab: Vocab, keep_blank: bool) -> _Stream:
    found = compiled.words(lines.text, keep_blank)
    ids = np.array([EOS, *map(vocab.ids.get, found.words, repeat(UNK))], vocab.dtype)[found.numbers]
    ends = np.flatnonzero(found.numbers == 0) + 1
    starts = np.append(0, ends[:-1])[: len(ends)]
    return _Stream(
        ids, starts, ends, found.numbers > 0, found.numbers, lambda numbers: [found.words[k - 1] for k in numbers.tolist()]
    )


def _piece_by_piece(lines: Lines, held_out: np.ndarray, vocab: Vocab) -> tuple[dict[str, list[int]], Arrays]:
    encoders = Encoder(vocab), Encoder(vocab)
    contents: tuple[list[bytes | memoryview], ...] = [], []
    for side, piece in zip(held_out.tolist(), lines.pieces(), strict=True):
        contents[side].append(encoders[side].encoded(piece))
    answer, arrays = {}, {}
    for name, encoder, content in zip(SIDES, encoders, contents, strict=True):
        encoder.counts[0] -= 1  # the first EOS is not of this part
        answer[name], arrays[name] = encoder.counts.tolist(), np.frombuffer(b"".join(content), vocab.dtype)
    return answer, arrays
