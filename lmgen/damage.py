"""Signs that a text was damaged on its way here: characters that nobody typed, and UTF-8 that was read as something else."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache

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
