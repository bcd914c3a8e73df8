"""Signs of a damaged text: characters that nobody typed, and UTF-8 that was decoded as something else."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Protocol

from lmgen.data.symbols import excerpt

MOST_SIGNS = 1_000  # different signs of a kind that are counted one by one
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

_OF_CATEGORY = {
    **{"Cc": "control", "Cf": "invisible", "Zl": "invisible", "Zp": "invisible"},
    **{"Co": "private", "Cn": "unassigned", "Cs": "surrogate", "Zs": "space"},
}


@cache
def kind_of(character: str) -> str | None:
    """The kind of damage that a character is a sign of, if any."""
    if character in " \t\n\r":
        return None
    return "replaced" if character == "\N{REPLACEMENT CHARACTER}" else _OF_CATEGORY.get(unicodedata.category(character))


def is_clean(text: str) -> bool:
    """Whether a text is printable ASCII, which has no damage."""
    return text.isascii() and text.isprintable()


class Counts(Protocol):
    """How often each symbol occurs."""

    def items(self) -> Iterable[tuple[str, int]]: ...


def count(symbols: Counts) -> Counter[str]:
    """The number of damaged characters of each kind in a text with these symbols, without garbled ones, which take several."""
    found: Counter[str] = Counter()
    for symbol, times in symbols.items():
        for kind in () if is_clean(symbol) else filter(None, map(kind_of, symbol)):
            found[kind] += times
    return found


# The bytes that Latin-1 and Windows-1252 show as these characters.
_BYTES = {chr(b): b for b in range(0x80, 0x100)} | {
    shown: b for b in range(0x80, 0xA0) if (shown := bytes([b]).decode("cp1252", "ignore"))
}
_TAIL = "[" + "".join(re.escape(c) for c, b in _BYTES.items() if b < 0xC0) + "]"
# Two encoded characters side by side are hardly chance. One alone may be: „Fuß“, «É»; but hardly ever one with these leads.
_GARBLED = re.compile(
    f"(?:[Â-ß]{_TAIL}|[à-ï]{_TAIL}{{2}}|[ð-ô]{_TAIL}{{3}}){{2,}}|[ÂÃ]{_TAIL}|â(?!…){_TAIL}{{2}}|ð[Ÿ\x9f]{_TAIL}{{2}}|ï»¿|ï¿½"
)
_SUSPECT = re.compile(f"[Â-ô]{_TAIL}")  # the beginning of each of them, quickly found to be missing


def garbled(text: str) -> Iterator[tuple[str, str]]:
    """The places of a text that were UTF-8 once, as they are and as they were: ("Ã©", "é")."""
    if text.isascii() or not _SUSPECT.search(text):
        return
    for match in _GARBLED.finditer(text):
        now = match[0]
        if now[0] == "Ã" and len(now) == 2 and text[match.start() - 1 : match.start()].isupper():
            continue  # «MANHû
        try:
            yield now, bytes(_BYTES[c] for c in now).decode("utf-8")
        except UnicodeDecodeError:
            continue


def decomposed(text: str) -> Iterator[str]:
    """The places of a text that are not in the composed form (NFC): a letter with its marks."""
    if not unicodedata.is_normalized("NFC", text):
        for match in re.finditer(r"\w?[^\w\s\x00-\x7f]+|\w", text):
            if not unicodedata.is_normalized("NFC", match[0]):
                yield match[0]


@dataclass
class Damage:
    """One kind of damage: the number of characters (of `decomposed`: places) and of lines, the first place, the most frequent."""

    kind: str
    about: str
    characters: int
    lines: int
    file: str
    line: int
    most: list[str]


class Tally:
    """The damage in the lines of a text, as it is counted."""

    def __init__(self) -> None:
        self._found: dict[str, Damage] = {}
        self._signs: defaultdict[str, Counter[str]] = defaultdict(Counter)  # of each kind
        self._last: dict[str, tuple[str, int]] = {}

    def add(self, text: str, file: str, line: int) -> None:
        """Count the damage in a line, or in a part of one."""
        for kind, signs in _signs(text).items():
            damage = self._found.setdefault(kind, Damage(kind, KINDS[kind], 0, 0, file, line, []))
            damage.characters += signs.total()
            damage.lines += self._last.get(kind) != (file, line)
            self._last[kind] = (file, line)
            if len(self._signs[kind]) < MOST_SIGNS:
                self._signs[kind].update(signs)

    def report(self) -> list[Damage]:
        """The damage of each kind, the worst first."""
        for kind, damage in self._found.items():
            damage.most = [excerpt(sign) for sign, _ in self._signs[kind].most_common(5)]
        return [self._found[kind] for kind in KINDS if kind in self._found]


def _signs(text: str) -> dict[str, Counter[str]]:
    """Each kind of damage in a line: its signs, with their characters."""
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    if is_clean(text):
        return found
    for now, was in garbled(text):
        found["garbled"][f"{now} for {was}"] += len(was)
    for character in sorted(set(text)):
        if kind := kind_of(character):
            found[kind][f"U+{ord(character):04X}"] = text.count(character)
    for place in decomposed(text):
        found["decomposed"][place] += 1
    return found
