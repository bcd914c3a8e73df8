"""Signs that a text was damaged on its way here: characters that nobody typed, and UTF-8 that was read as something else."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from lmgen.data.reading import Piece

# The kinds of damage, the worst first.
KINDS = {
    "garbled": "UTF-8 read as Latin-1 or Windows-1252",
    "replaced": "U+FFFD, for bytes that were no text",
    "surrogate": "halves of a character",
    "control": "control characters",
    "private": "private-use characters",
    "unassigned": f"not in Unicode {unicodedata.unidata_version}",
    "invisible": "invisible: zero-width, soft hyphens, direction",
    "space": "spaces other than the space",
    "decomposed": "not in Unicode's NFC (e and ´ for é)",
}
SERIOUS = ("garbled", "replaced", "surrogate", "control")  # those worth a warning; the others have good uses, too

_OF_CATEGORY = {"Cc": "control", "Cf": "invisible", "Zl": "invisible", "Zp": "invisible"} | {
    "Co": "private",
    "Cn": "unassigned",
    "Cs": "surrogate",
    "Zs": "space",
}


@cache
def kind_of(character: str) -> str | None:
    """The kind of damage that one character is a sign of, if any. A carriage return is a matter of line ends."""
    if character in " \t\n\r":
        return None
    return "replaced" if character == "\N{REPLACEMENT CHARACTER}" else _OF_CATEGORY.get(unicodedata.category(character))


def is_clean(text: str) -> bool:
    """Whether a look at a text suffices: printable ASCII."""
    return text.isascii() and text.isprintable()


def count(symbols: Mapping[str, int]) -> Counter[str]:
    """How many damaged characters of each kind stand in a text of so many symbols each; what is garbled takes more than one."""
    found: Counter[str] = Counter()
    for symbol, times in symbols.items():
        if not is_clean(symbol):
            for kind in filter(None, map(kind_of, symbol)):
                found[kind] += times
    return found


# The bytes that Latin-1 and Windows-1252 show as these characters.
_BYTES = {chr(b): b for b in range(0x80, 0x100)} | {
    shown: b for b in range(0x80, 0xA0) if (shown := bytes([b]).decode("cp1252", "ignore"))
}
_TAIL = "[" + "".join(re.escape(c) for c, b in _BYTES.items() if b < 0xC0) + "]"
# Two encoded characters side by side are hardly chance. One alone may be: „Fuß“, «É»; but these leads hardly ever are.
_GARBLED = re.compile(
    f"(?:[Â-ß]{_TAIL}|[à-ï]{_TAIL}{{2}}|[ð-ô]{_TAIL}{{3}}){{2,}}|[ÂÃ]{_TAIL}|â(?!…){_TAIL}{{2}}|ð[Ÿ\x9f]{_TAIL}{{2}}|ï»¿|ï¿½"
)
_SUSPECT = re.compile(f"[Â-ô]{_TAIL}")  # with which each of them begins; quickly seen not to be there


def garbled(text: str) -> Iterator[tuple[str, str]]:
    """The places of a text that were UTF-8 once, as they stand and as they were: ("Ã©", "é")."""
    if text.isascii() or not _SUSPECT.search(text):
        return
    for match in _GARBLED.finditer(text):
        stands = match[0]
        if stands[0] == "Ã" and len(stands) == 2 and text[match.start() - 1 : match.start()].isupper():
            continue  # «MANHû
        try:
            yield stands, bytes(_BYTES[c] for c in stands).decode("utf-8")
        except UnicodeDecodeError:
            continue


def decomposed(text: str) -> Iterator[str]:
    """The places of a text that are not in the composed form (NFC): a letter with its marks."""
    if not unicodedata.is_normalized("NFC", text):
        for match in re.finditer(r"\w?[^\w\s\x00-\x7f]+|\w", text):
            if not unicodedata.is_normalized("NFC", match[0]):
                yield match[0]


OPENING = 1 << 18  # characters of a text in which repetition is looked for
DOUBLINGS = 6
STRETCH = 1 << DOUBLINGS  # characters of what may repeat
_PRIME = 0x9E3779B97F4A7C15


@dataclass(frozen=True)
class Signs:
    """What a reading shows of the faults of a text, in counts; `advice.warnings` makes sentences of them.

    `characters` are those of the text with line ends, `longest` those of its longest sequence; `repeated` of the `sequences`
    (those that are not empty) equal an earlier one; `repetition` is the share of the stretches of 64 characters of its opening
    that equal an earlier one; `damaged` counts the characters of each kind of `damage.KINDS`; `shared` of the `compared`
    sequences of the validation text (with `carry`: runs of three) stand in the training text, too; `unknown` of the `held_out`
    symbols the vocabulary lacks.
    """

    noun: str  # of a symbol
    sequence: str
    carry: bool
    characters: int
    sequences: int
    repeated: int
    damaged: dict[str, int]
    longest: int = 0
    repetition: float = 0.0
    compared: int = 0
    shared: int = 0
    held_out: int = 0
    unknown: int = 0


class Shape:
    """How many characters a text has, line ends included, how many its longest sequence has, and how its opening repeats."""

    def __init__(self) -> None:
        self.characters = self.longest = self._length = self._held = 0
        self._opening: list[str] = []

    def add(self, piece: Piece) -> None:
        """Take in the next part of the text."""
        self.characters += len(piece.text) + piece.gap
        self._length = len(piece.text) + self._length * (not piece.begins)
        self.longest = max(self.longest, self._length)
        if self._held < OPENING:
            self._opening.append(piece.text[: OPENING - self._held] + "\n" * piece.ends)
            self._held += len(self._opening[-1])

    @property
    def repetition(self) -> float:
        """The share of the stretches of 64 characters that equal an earlier one, by a hash of each; 0 of a shorter text."""
        hashes = np.frombuffer("".join(self._opening).encode("utf-32-le", "surrogatepass"), "<u4").astype(np.uint64)
        factor = _PRIME
        for k in range(DOUBLINGS):  # the hash of twice as many characters, from those of both halves
            hashes = hashes[: -(1 << k)] * np.uint64(factor) + hashes[1 << k :]
            factor = factor * factor % (1 << 64)
        return 1 - len(np.unique(hashes)) / len(hashes) if len(hashes) else 0.0
