"""Words of text that is written without spaces between them: Chinese, Japanese, Thai, cut by a library for each."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache
from typing import NamedTuple

from lmgen.errors import InputError

MOSTLY = 0.5  # the share of the letters of a text that tells its language
LONG = {"zh": 2.5, "ja": 2.5, "th": 7.0, "": 7.0}  # characters of a run without spaces, on average, that is longer than words are
# White space is a symbol of its own, and so is a half of a character, which no library reads; at most so much is cut at once.
_PARTS = re.compile(r"(\s+|[\ud800-\udfff])|[^\s\ud800-\udfff]{1,10000}")
# The letters of scripts without spaces between words, and the language that is cut; none where no library does.
_SCRIPTS = {
    "ja": re.compile("[\u3041-\u30ff\u31f0-\u31ff\uff66-\uff9f]"),
    "zh": re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"),
    "th": re.compile("[\u0e00-\u0e7f]"),
    "": re.compile("[\u0e80-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff]"),  # Lao, Tibetan, Burmese, Khmer
}
KANA = 0.1  # of the letters of Japanese at least, which has those of Chinese, too


def _rjieba() -> Callable[[str], list[str]]:
    import rjieba

    return rjieba.cut


def _budoux(language: str) -> Callable[[str], list[str]]:
    import budoux

    models = {"ja": budoux.load_default_japanese_parser, "th": budoux.load_default_thai_parser}
    return models[language]().parse


class Segmenter(NamedTuple):
    """The name of a language, the library that cuts it into words, and what loads the function of that."""

    name: str
    library: str
    loaded: Callable[[], Callable[[str], list[str]]]


SEGMENTERS = {
    "zh": Segmenter("Chinese", "rjieba", _rjieba),
    "ja": Segmenter("Japanese", "budoux", lambda: _budoux("ja")),
    "th": Segmenter("Thai", "budoux", lambda: _budoux("th")),
}


@cache
def _segmenter(language: str) -> Callable[[str], list[str]]:
    one = SEGMENTERS[language]
    try:
        return one.loaded()
    except ImportError:
        raise InputError(f"words of {one.name} need {one.library}, which is not installed: pip install 'lmgen[words]'") from None


def words(text: str, language: str) -> list[str]:
    """The words of a text, its marks and its white space: joined, they are the text again.

    Raises InputError where the library of the language is missing.
    """
    cut = _segmenter(language)
    return [word for part in _PARTS.finditer(text) for word in ([part[0]] if part[1] else cut(part[0]))]


def language_of(counts: Iterable[tuple[str, int]]) -> str | None:
    """The language of a text without spaces between words, from the number of each of its words by white space or marks: one of
    `SEGMENTERS`, or an empty string for a language that none cuts; None for a text whose words are apart."""
    total = letters = runs = 0
    found = dict.fromkeys(_SCRIPTS, 0)
    for symbol, number in counts:
        total += len(symbol) * number
        own = sum(map(str.isalpha, symbol))
        letters, runs = letters + own * number, runs + number * (own > 0)
        if not symbol.isascii():
            for language, script in _SCRIPTS.items():
                found[language] += number * len(script.findall(symbol))
    east = found["ja"] + found["zh"]
    found["ja"], found["zh"] = (east, 0) if found["ja"] > KANA * east else (0, east)
    language = max(found, key=found.__getitem__)
    return language if found[language] > MOSTLY * letters and total > LONG[language] * runs else None
