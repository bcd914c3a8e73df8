"""Pairs of a source and a target: TSV, JSONL, or two files side by side; recognised, read as a stream, and in numbers."""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lmgen.data import subword
from lmgen.data.advice import number
from lmgen.data.finding import STDIN, name_of, names_of
from lmgen.data.reading import combined, known_encoding
from lmgen.data.split import WHOLE, Split, fingerprint
from lmgen.data.vocab import EOS, SPECIAL, UNITS, Vocab
from lmgen.data.writing.normalization import AS_IT_IS, Normalization
from lmgen.errors import InputError
from lmgen.labelled.corpus import origin, share_of, sides, unit_of
from lmgen.labelled.examples import Found, Head, are_numbers, head_of
from lmgen.labelled.forms import Example, Source, wrong

FORMS = ("tsv", "jsonl", "parallel")
RARE = 2  # where words come often, one that is seen less often is unknown; it may be copied from the source
LONGEST = 2_048  # symbols of a pair: attention costs their square


class Pair(NamedTuple):
    """A source and its target, and the line where it begins."""

    source: str
    target: str
    line: int = 0

    def read_in(self, normal: Normalization) -> Pair:
        """The pair with both texts in this form."""
        return Pair(normal.of(self.source), normal.of(self.target), self.line)

    @property
    def joined(self) -> str:
        """The text that decides on which side of a split the pair is: the source."""
        return self.source


class Pairs:
    """The pairs of some files, to be iterated over as often as needed; they are never held.

    Each file has a pair a line, separated by a TAB or as JSON (`source` and `target`). With an `example`, a file of sources and a
    file of targets, files have sources alone, whose targets stand line by line in the file that belongs to them in the same way.
    After a whole pass `sha256` is the fingerprint of the bytes, and `notes` has sentences on the text. Raises InputError, with
    file and line, for a line that is not a pair.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        example: tuple[Path, Path] | None = None,
        encoding: str = "utf-8",
        errors: str = "strict",
        normal: Normalization = AS_IT_IS,
    ):
        self.normal = normal
        self.paths, self.example = tuple(paths), example
        self.encoding, self.errors = known_encoding(encoding), errors
        self.sha256 = ""
        self.notes: dict[str, None] = {}

    def __iter__(self) -> Iterator[Pair]:
        digests: list[str] = []
        for path in self.paths:
            source = Source(path, None, "", self.encoding, self.errors, self.notes, digests)
            pairs = _beside(source, beside(path, *self.example)) if self.example else _of_lines(source)
            yield from pairs if self.normal == AS_IT_IS else (pair.read_in(self.normal) for pair in pairs)
        self.sha256 = combined(digests)


def open_(paths: Sequence[Path], how: Any) -> Pairs:
    """The pairs of files, read as the fields of TextSettings say."""
    example = (Path(how.files[0]), Path(how.target)) if how.form == "parallel" else None
    return Pairs(paths, example, how.encoding, how.errors, how.normal)


def beside(path: Path, source: Path, target: Path) -> Path:
    """The file of targets of a file of sources: `target` is that of `source`, and has the suffix of the others.

    Raises InputError where it is missing.
    """
    found = target if path.absolute() == source.absolute() else path.with_suffix(target.suffix)
    if found == path or not found.is_file():
        missing = "" if found == path else f": there is no file {found}"
        raise InputError(f"the targets of {path.name} are missing{missing}; name them alike, or give pairs as TSV")
    return found


def parsed(line: str, at: int = 0) -> Pair:
    """The pair of a line, source TAB target or JSON. Raises ValueError with the reason for another line."""
    if line.lstrip().startswith("{"):
        try:
            record = json.loads(line)
            source, target = record["source"], record["target"]
            if isinstance(source, str) and source.strip() and isinstance(target, str) and target.strip():
                return Pair(source, target, at)
        except (ValueError, TypeError, KeyError, RecursionError):
            pass
        raise ValueError("no JSON object with the strings source and target: write one a line")
    left, tab, right = line.partition("\t")
    if not tab or not right.strip() or not left.strip():
        raise ValueError("no source, TAB and target: put one TAB between them")
    return Pair(left, right, at)


def source_of(line: str) -> str:
    """The source in a line: all of it or, of a pair, what stands before the first TAB or in the field of the JSON object."""
    if line.lstrip().startswith("{"):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if isinstance(record, dict) and isinstance(record.get("source"), str):
            return record["source"]
    return line.partition("\t")[0]


def of_lines(lines: Iterable[str | None]) -> Iterator[Pair | None]:
    """The pairs of lines, None for None. Raises InputError for another line."""
    for at, line in enumerate(lines, 1):
        try:
            yield None if line is None else parsed(line, at)
        except ValueError as error:
            raise InputError(f"line {at:,}: {error}") from None


def _of_lines(source: Source) -> Iterator[Pair]:
    several = 0
    for at, line in source.written():
        try:
            pair = parsed(line, at)
        except ValueError as error:
            raise wrong(source.path, at, str(error)) from None
        several += "\t" in pair.target and line.count("\t") > 1
        yield pair
    if several:
        name = name_of(source.path)
        source.notes[f"{name}: {number(several, 'line')} with several TABs, of which all behind the first is the target"] = None


def _beside(source: Source, target: Path) -> Iterator[Pair]:
    for at, lines in enumerate(zip_longest(source.lines(source.path), source.lines(target)), 1):
        if None in lines:
            short = source.path if lines[0] is None else target
            raise wrong(short, at, "the file ends, and the one beside it goes on: give both as many lines")
        (_, left), (_, right) = lines
        if bool(left.strip()) != bool(right.strip()):
            raise wrong(target if left.strip() else source.path, at, "a blank line beside a line of text: give both, or neither")
        if left.strip():
            yield Pair(left, right, at)


# ---- recognition -------------------------------------------------------------------------------------------------------


def recognise(paths: Sequence[Path]) -> Found | None:
    """Pairs, if all files have them, by the beginning of each: JSON with source and target, or two columns of text."""
    found = [_of_file(head_of(path)) if not path.is_dir() else None for path in paths]
    return found[0] if found and all(found) and len({one.form for one in found if one}) == 1 else None


def hint(paths: Sequence[Path]) -> str:
    """For files whose first two of several columns look like pairs, how to keep these; empty for others."""
    for head in map(head_of, filter(Path.is_file, paths)):
        cut = [line.split("\t") for line in head.lines if line.strip()]
        columns = max(map(len, cut), default=0)
        if columns < 3 or not _of_file(head._replace(lines=["\t".join(fields[:2]) for fields in cut])):
            return ""
        return f"{head.name} has pairs in its first two of {columns} columns: to learn them keep these, {_cut(head)}"
    return ""


def _cut(head: Head) -> str:
    named = "" if head.name == STDIN else f" {head.name} > pairs.tsv"
    return f"as in cut -f1,2{named}"


def named(paths: Sequence[Path]) -> Found | None:
    """Pairs where --task translate says so: each file has a TAB in each line. Raises InputError where most have several."""
    for head in map(head_of, filter(Path.is_file, paths)):
        tabs = [line.count("\t") for line in head.lines if line.strip()]
        if not all(tabs):
            return None
        if 2 * sum(n > 1 for n in tabs) > len(tabs):
            raise InputError(f"{head.name} has {max(tabs) + 1} columns: keep the source and the target, {_cut(head)}")
    return Found("tsv", "translate", f"{names_of(paths)} has a TAB in each line")


def _of_file(head: Head) -> Found | None:
    lines = [line for line in head.lines if line.strip()]
    if lines and lines[0].lstrip().startswith("{"):
        try:
            parsed(lines[0])
        except ValueError:
            return None
        return Found("jsonl", "translate", f"{head.name} has JSON objects with source and target")
    pairs = [parts for line in lines if len(parts := line.split("\t")) == 2 and all(map(str.strip, parts))]
    if len(pairs) < 2 or len(pairs) < 0.98 * len(lines):
        return None
    left, right = zip(*pairs, strict=True)
    various = all(len(set(side)) >= 0.3 * len(side) for side in (left, right))
    spelt = sum(any(map(str.isalpha, text)) for text in left)
    if not various or 2 * spelt < len(left) or are_numbers(left) or are_numbers(right):
        return None
    return Found("tsv", "translate", f"{head.name} has a text on each side of a TAB in {head.where}")


# ---- in numbers --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CodedPairs:
    """Pairs in numbers.

    `stream` is `EOS x SEP y EOS x SEP y EOS`, where SEP is the id behind the vocabulary, and ids beyond it are the words of
    `others`, which are not in the vocabulary. Pair k has `lengths[k]` symbols from `starts[k]` on, SEP included, of which the
    first `sources[k]` are the source.
    """

    stream: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    sources: np.ndarray
    words: tuple[str, ...] = ()
    others: list[str] = field(default_factory=list)

    @cached_property
    def characters_per_symbol(self) -> float:
        """Of the symbols of targets, with one for each EOS."""
        sizes = np.array([1] * SPECIAL + [*map(subword.characters, self.words), 1, *map(len, self.others)])
        ends = np.cumsum(sizes[self.stream])
        start, last = self.starts + self.sources, self.starts + self.lengths
        return float((ends[last] - ends[start]).sum()) / max(1, self.symbols)

    def predicted(self, most: int) -> np.ndarray:
        """The first symbols that are predicted: those of whole targets, at most so many."""
        each = self.lengths - self.sources
        ends = np.cumsum(each)
        k = int(np.searchsorted(ends, most, "right"))
        first = self.starts[:k] + self.sources[:k] + 1 - (ends - each)[:k]
        return self.stream[np.repeat(first, each[:k]) + np.arange(ends[k - 1] if k else 0)]

    @property
    def symbols(self) -> int:
        """The number of symbols that are predicted: those of the targets, with an EOS for each."""
        return int((self.lengths - self.sources).sum())

    @property
    def sequences(self) -> int:
        return len(self.lengths)


@dataclass(frozen=True)
class PairCorpus:
    """The data of a training on pairs. The first `targets` ids of the vocabulary can be predicted; the others are of sources."""

    train: CodedPairs
    valid: CodedPairs | None
    vocab: Vocab
    targets: int
    known: np.ndarray
    sha256: str
    notes: tuple[str, ...] = ()
    split: Split = WHOLE
    vectors: None = None
    warnings: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """What there is to learn, in words."""
        return f"pairs, whose targets have {self.targets - SPECIAL:,} different symbols"


def encode(pairs: Iterable[tuple[Sequence[str], Sequence[str]]], vocab: Vocab) -> CodedPairs:
    """Pairs of symbols in numbers."""
    separator = len(vocab)
    others: dict[str, int] = {}
    stream, lengths, sources = array("i", [EOS]), array("q"), array("q")

    def ids(symbols: Sequence[str]) -> list[int]:
        known = vocab.ids
        return [known[one] if one in known else separator + 1 + others.setdefault(one, len(others)) for one in symbols]

    for source, target in pairs:
        stream.extend([*ids(source), separator, *ids(target), EOS])
        lengths.append(len(source) + 1 + len(target))
        sources.append(len(source))
    of_pairs, of_sources = (np.frombuffer(some, np.int64) if some else np.zeros(0, np.int64) for some in (lengths, sources))
    starts = np.cumsum(of_pairs + 1) - of_pairs
    return CodedPairs(np.frombuffer(stream, np.int32), starts, of_pairs, of_sources, vocab.symbols, [*others])


def load(
    pairs: Pairs,
    valid: Pairs | None,
    task: str,
    unit: str | None,
    min_count: int = 1,
    vocab_size: int | None = None,
    unk_token: str | None = None,
    vocab: Vocab | None = None,
    split: Split | None = None,
    labels: int | None = None,
) -> PairCorpus:
    """Split and encode pairs, with the vocabulary of a model and the number of its ids that can be predicted (`labels`) if given.

    Without validation text a tenth of the pairs is held out, chosen by their sources. The vocabulary comes from the training part
    only; ids of symbols that targets have come first. Pairs of more than `LONGEST` symbols are left out. Raises InputError where
    there is nothing to train on.
    """
    unit = unit or (vocab.unit if vocab else unit_of(Example(text) for pair in pairs for text in (pair.source, pair.target)))
    reader = vocab or Vocab(unit, (), unk_token)
    count = sum(1 for _ in pairs)
    if not count:
        raise InputError(f"there is no pair in {names_of(pairs.paths)}: give a file with at least one")
    split = split or (WHOLE if valid else share_of(count))
    if split != WHOLE and all(held for held, _ in sides(pairs, split)):
        split = WHOLE
    notes: dict[str, None] = {}

    def coded(text: Pairs, held_out: bool, vocab: Vocab) -> CodedPairs:
        long = 0

        def symbols() -> Iterator[tuple[list[str], list[str]]]:
            nonlocal long
            for held, pair in sides(text, split if text is pairs else WHOLE):
                if text is pairs and held != held_out:
                    continue
                both = vocab.split(pair.source), vocab.split(pair.target)
                if sum(map(len, both)) > LONGEST:
                    long += 1
                else:
                    yield both

        found = encode(symbols(), vocab)
        if long:
            notes[f"left out {number(long, 'pair')} of more than {LONGEST:,} symbols"] = None
        return found

    if vocab is None:
        of_sources, of_targets = Counter[str](), Counter[str]()
        for held, pair in sides(pairs, split):
            if not held:
                of_sources.update(reader.split(pair.source))
                of_targets.update(reader.split(pair.target))
        vocab, labels = _vocabulary(of_sources, of_targets, unit, min_count, vocab_size, unk_token)
    known = {fingerprint(pair.target) for pair in pairs}
    train = coded(pairs, False, vocab)
    if not train.sequences:
        raise InputError(f"all pairs of {names_of(pairs.paths)} are too long: give parts of at most {LONGEST:,} symbols")
    rest = coded(valid or pairs, True, vocab) if valid or split != WHOLE else None
    sha256, said = origin(pairs, valid)
    fingerprints = np.sort(np.fromiter(known, np.uint64, len(known)))
    rest = rest if rest and rest.sequences else None
    return PairCorpus(train, rest, vocab, labels or len(vocab), fingerprints, sha256, (*said, *notes), split)


def _vocabulary(
    of_sources: Counter[str], of_targets: Counter[str], unit: str, min_count: int, size: int | None, unk_token: str | None
) -> tuple[Vocab, int]:
    """The vocabulary of both sides, and the number of its ids that can be predicted, which are the first."""
    if UNITS[unit].learns:
        vocab = Vocab.of(of_sources + of_targets, unit, min_count, size, unk_token)
        return vocab, len(vocab)
    least = max(min_count, RARE) if unit != "char" and of_targets.total() > 10 * len(of_targets) else min_count
    targets = Vocab.of(of_targets, unit, least, size, unk_token)
    rest = of_sources + of_targets
    for symbol in targets.symbols:
        del rest[symbol]
    kept = [s for s, n in sorted(rest.items(), key=lambda one: (-one[1], one[0])) if n >= least and s not in targets.ids]
    kept = kept[: None if size is None else max(0, size - len(targets))]
    return Vocab(unit, (*targets.symbols, *kept), unk_token), len(targets)
