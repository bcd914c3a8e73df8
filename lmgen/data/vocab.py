"""Symbols and their ids.

Two ids have a fixed meaning. EOS (0) is the boundary: reading it begins a sequence, predicting it ends one. UNK (1) stands for
every symbol that is not in the vocabulary. Neither has a spelling: "<eos>" in a text is five ordinary characters.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import repeat

import numpy as np

from lmgen.data import subword
from lmgen.data.writing import segments
from lmgen.data.writing.normalization import AS_IT_IS, Normalization
from lmgen.errors import CheckpointError, InputError

EOS, UNK = 0, 1
SPECIAL = 2  # the number of ids without a spelling, before all others
_STRING = r'"(?:[^"\\\n]|\\.)*+"'
_WRITTEN = re.compile(rf'{{\n"unit": {_STRING},\n"unk_token": (?:null|{_STRING}),\n"symbols": \[\n(?:{_STRING},?\n)*+\]\n}}\n')
MOST_SYMBOLS = 1 << 20  # symbols of a vocabulary
_MUCH = 1 << 20  # characters of a vocab.json whose form is checked before it is parsed: other JSON takes 20 times its size
WORDS = r"\S+"
UNKNOWN_MARK = "\N{REPLACEMENT CHARACTER}"  # the spelling of UNK where the corpus has none


@dataclass(frozen=True)
class Unit:
    """The rule by which a text is split into symbols and joined again.

    A symbol is a match of `pattern` in `lead + text`; symbols joined with `glue`, without the lead, are the text again. Where the
    unit `learns`, a match is a word that a vocabulary cuts into its symbols, as `subword` says. Where it has a `language`,
    `segments` cuts the text into words, which are the symbols.
    """

    pattern: str
    noun: str
    about: str
    lead: str = ""
    glue: str = ""
    learns: bool = False
    language: str = ""

    def split(self, text: str, pattern: str | None = None, begins: bool = True) -> list[str]:
        """The symbols of a text; the empty text has none. A text that does not begin a sequence gets no lead."""
        if self.language:
            return segments.words(text, self.language)
        pattern = pattern or self.pattern
        if pattern == WORDS:
            return text.split()  # the same, faster
        return re.findall(pattern, self.lead * begins + text) if text else []

    def join(self, symbols: Iterable[str]) -> str:
        """The text of symbols."""
        return self.glue.join(symbols).removeprefix(self.lead)


UNITS: dict[str, Unit] = {
    "char": Unit(r"(?s:.)", "character", "Unicode code points"),
    "subword": Unit(
        subword.PATTERN, "subword", "strings of bytes that occur often, learnt from the text; nothing is unknown", learns=True
    ),
    "word": Unit(WORDS, "word", "split at white space; a run of white space counts as one space", glue=" "),
    # A word or a mark takes the space before it along, so that joining is concatenation; the lead makes the first word of a line
    # the same symbol as the others.
    "word-punct": Unit(
        r" ?\w+| ?[^\w\s]|\s+(?= [^\s])|\s+",
        "word",
        "words and punctuation marks as symbols of their own; nothing is lost",
        lead=" ",
    ),
    "word-only": Unit(r"\w+(?:[-'’]\w+)*", "word", "words alone, punctuation is dropped", glue=" "),
    **{
        f"word-{code}": Unit(r"\s+|\S+", "word", f"words of {one.name}, cut by {one.library}; nothing is lost", language=code)
        for code, one in segments.SEGMENTERS.items()
    },
}


@dataclass(frozen=True)
class Vocab:
    """The symbols of a model in id order, and their unit.

    `symbols[k]` has id `k + SPECIAL`. `unk_token` is the spelling by which the corpus itself marks unknown words (WikiText's
    "<unk>"); it is read as UNK and written for it. Every text is read in the form of `normal`.
    """

    unit: str
    symbols: tuple[str, ...]
    unk_token: str | None = None
    normal: Normalization = AS_IT_IS

    def __post_init__(self) -> None:
        if self.unk_token == "":
            raise InputError("--unk-token is empty: give the mark of unknown words in the corpus, such as <unk>, or leave it out")

    @classmethod
    def of(
        cls, counts: Counter[str], unit: str, min_count: int = 1, size: int | None = None, unk_token: str | None = None
    ) -> Vocab:
        """The symbols seen at least `min_count` times, the most frequent first, `size` ids in all at most (EOS and UNK count)."""
        if UNITS[unit].language and unk_token is not None:
            raise InputError("--segment cuts the mark of unknown words like any other text: leave out --unk-token")
        if UNITS[unit].learns:
            return cls._learnt(counts, unit, min_count, size, unk_token)
        marks = set() if unk_token is None else {unk_token, UNITS[unit].lead + unk_token}
        kept = sorted((s for s, n in counts.items() if n >= min_count and s not in marks), key=lambda s: (-counts[s], s))
        if size is not None:
            kept = kept[: max(0, size - SPECIAL)]
        if len(kept) > MOST_SYMBOLS:
            raise InputError(
                f"the text has over {MOST_SYMBOLS:,} different {UNITS[unit].noun}s, more than a vocabulary holds: "
                "give --vocab-size, such as 50000, or a larger --min-count"
            )
        if not kept:
            raise InputError(
                f"none of {len(counts):,} symbols is kept, so the vocabulary is empty: lower --min-count or raise --vocab-size"
            )
        return cls(unit, tuple(kept), unk_token)

    @classmethod
    def _learnt(cls, words: Counter[str], unit: str, min_count: int, size: int | None, unk_token: str | None) -> Vocab:
        if unk_token is not None:
            raise InputError(f"--unit {unit} spells every text, so it has no use for --unk-token: leave that out")
        size = size or subword.size_for(words)
        if size < (least := SPECIAL + subword.BYTES):
            raise InputError(f"--vocab-size {size} is too small for --unit {unit}: give {least} (EOS, UNK and the bytes) or more")
        return cls(unit, subword.learn(words, size - SPECIAL, min_count))

    def __len__(self) -> int:
        return SPECIAL + len(self.symbols)

    @cached_property
    def ids(self) -> dict[str, int]:
        """The id of each symbol that has a spelling."""
        ids = {symbol: k for k, symbol in enumerate(self.symbols, SPECIAL)}
        if self.unk_token is not None:
            ids[self.unk_token] = ids[UNITS[self.unit].lead + self.unk_token] = UNK
        return ids

    @cached_property
    def dtype(self) -> np.dtype:
        """The smallest unsigned type of an id file: two bytes an id up to 65,536 symbols, else four."""
        return np.dtype("<u2" if len(self) <= 1 << 16 else "<u4")

    @cached_property
    def _by_code_point(self) -> np.ndarray:
        single = {ord(s): k for s, k in self.ids.items() if len(s) == 1}
        table = np.full(max([*single, 255]) + 2, UNK, self.dtype)  # the last entry serves all code points beyond
        table[list(single)] = list(single.values())
        return table

    def encode(self, text: str, begins: bool = True) -> np.ndarray:
        """The ids of one sequence, or of a part that does not begin it, without an EOS; unknown symbols become UNK."""
        if self.by_character:
            points = np.frombuffer(self.normal.of(text).encode("utf-32-le", "surrogatepass"), "<u4")
            return self.of_points(points)
        if self._merges:
            return np.array([*self._encoder.ids(self.words(text, begins))], self.dtype)
        return np.array([*map(self.ids.get, self.words(text, begins), repeat(UNK))], self.dtype)

    def of_points(self, points: np.ndarray) -> np.ndarray:
        """The ids of characters, by their code points (uint8 or uint32); of a vocabulary `by_character`."""
        table = self._by_code_point
        return table[points if points.dtype == np.uint8 else np.minimum(points, len(table) - 1)]

    @property
    def by_character(self) -> bool:
        """Whether each character is a symbol of its own, whatever its neighbours are."""
        return self.unit == "char" and (self.unk_token is None or len(self.unk_token) == 1)

    @property
    def splits_at_space(self) -> bool:
        """Whether the symbols are what white space separates."""
        return self._pattern == WORDS

    def words(self, text: str, begins: bool = True) -> list[str]:
        """What the unit splits one sequence into; the corpus's own mark of an unknown stays in one piece."""
        return UNITS[self.unit].split(self.normal.of(text), self._pattern, begins)

    def split(self, text: str, begins: bool = True) -> list[str]:
        """The symbols of one sequence as strings: its words, but for subwords. A vocabulary of which nothing is learnt yet gives
        the words."""
        return self.cut(self.words(text, begins))

    def cut(self, words: list[str]) -> list[str]:
        """The symbols of words as strings."""
        return [*map(self.spell, self._encoder.ids(words))] if self._merges else words

    def places(self, text: str, begins: bool = True) -> np.ndarray:
        """The place of each symbol in a text, as `normal` makes it [n, 2]: its first character, and the one after its last. Bytes
        share a character."""
        words = self.words(text, begins)
        if self._merges:
            parts = [*map(subword.bytes_of, self.cut(words))]
            ends = np.cumsum([0, *map(len, parts)])
            begun = np.cumsum(np.frombuffer(b"".join(parts), np.uint8) & 0xC0 != 0x80)  # characters up to each byte
            return np.stack([begun[ends[:-1]] - 1, begun[ends[1:] - 1]], axis=1)
        lead = UNITS[self.unit].lead * begins
        found, at, whole = np.empty((len(words), 2), np.int64), 0, lead + self.normal.of(text)
        for k, word in enumerate(words):
            at = whole.index(word, at)
            found[k] = at, at + len(word)
            at += len(word)
        return np.maximum(0, found - len(lead))

    @property
    def _merges(self) -> bool:
        return UNITS[self.unit].learns and bool(self.symbols)

    @cached_property
    def _encoder(self) -> subword.Encoder:
        return subword.Encoder(self.symbols, SPECIAL)

    @cached_property
    def _pattern(self) -> str:
        unit = UNITS[self.unit]
        if self.unk_token is None or re.fullmatch(unit.pattern, self.unk_token):
            return unit.pattern
        return f"(?:{unit.lead})?{re.escape(self.unk_token)}|{unit.pattern}"

    def spell(self, id: int) -> str:
        """The spelling of an id: none of EOS; of UNK the mark of the corpus, or else U+FFFD."""
        if id == EOS:
            return ""
        if id == UNK:
            return UNITS[self.unit].lead + (self.unk_token or UNKNOWN_MARK)
        return self.symbols[id - SPECIAL]

    def shown(self, symbol: str) -> str:
        """A symbol for people: of a subword, a byte that is only a part of a character as \\xe2."""
        return subword.shown(symbol) if self._merges else symbol

    def join(self, symbols: Iterable[str]) -> str:
        """The text of symbols, which may be cut within a character."""
        text = UNITS[self.unit].join(symbols)
        return subword.text_of(text) if self._merges else text

    def decode(self, ids: Iterable[int], between: str = "\n") -> str:
        """The text of ids; an EOS between sequences becomes `between`, one at the very end is dropped."""
        sequences: list[list[str]] = [[]]
        for id in map(int, ids):
            if id == EOS:
                sequences.append([])
            else:
                sequences[-1].append(self.spell(id))
        if len(sequences) > 1 and not sequences[-1]:
            sequences.pop()
        return between.join(map(self.join, sequences))

    def written(self, ids: Iterable[int], between: str = "\n") -> str:
        """As `decode`, for ids that a model drew: of subwords, always text that can be encoded."""
        text = self.decode(ids, between)
        return subword.written(text) if self._merges else text

    def unknown(self, text: str) -> list[str]:
        """The distinct symbols of a text that are not in the vocabulary, in order of appearance."""
        return [s for s in dict.fromkeys(self.split(text)) if s not in self.ids]

    def to_json(self) -> str:
        """The content of vocab.json: the same vocabulary gives the same bytes."""
        content = {"unit": self.unit, "unk_token": self.unk_token, "symbols": self.symbols}
        return json.dumps(content, ensure_ascii=True, indent=0) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Vocab:
        """The vocabulary of a vocab.json. Raises CheckpointError for another content."""
        try:
            if len(text) > _MUCH and not _WRITTEN.fullmatch(text):
                raise ValueError("not a vocabulary of lmgen")
            content = json.loads(text)
            unit, symbols, unk_token = content["unit"], content["symbols"], content["unk_token"]
            named = unit in UNITS and isinstance(unk_token, str | None) and unk_token != ""
            strings = isinstance(symbols, list) and all(isinstance(s, str) and s for s in symbols)
            if not (named and strings) or len(set(symbols)) != len(symbols):
                raise ValueError("not a vocabulary of lmgen")
            if UNITS[unit].learns and (why := "it has a mark" if unk_token else subword.fault(symbols)):
                raise ValueError(why)
            return cls(unit, tuple(symbols), unk_token)
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise CheckpointError(f"vocab.json is damaged ({error}): copy the model again") from None

    @cached_property
    def sha256(self) -> str:
        """The fingerprint of the vocabulary."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()
