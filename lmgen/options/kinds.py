"""The types of options: each checks a Python value and parses a word of the command line."""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Any, ClassVar

from lmgen.options import suggestions

LARGEST = (1 << 31) - 1  # integer
LARGEST_SEED = (1 << 63) - 1
LARGEST_FLOAT = 3e38  # about the largest of 32 bits
MOST_BEAM = 100
MOST_ALTERNATIVES = 100  # symbols that are shown in place of one
MOST_PROCESSES = 4096
MOST_LAYERS = 200
MOST_CONTEXT = 16_384  # symbols that attention sees
MOST_ORDER = 32  # of an n-gram model
MOST_NETWORKS = 32  # whose probabilities are averaged
LONGEST_SAMPLE = 1_000_000  # symbols; a sample is held in memory until it is whole


def quoted(value: object) -> str:
    """A value in an error message: its repr, shortened where it is long."""
    try:
        text = repr(value)
    except Exception:  # of another's class, or an integer of thousands of digits
        text = f"this {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}…"


@dataclass(frozen=True)
class Kind:
    """The type of an option: `word` names it in a help page, `hint` in a signature, `noun` in "VALUE is not NOUN"."""

    word: ClassVar[str]
    hint: ClassVar[str]
    noun: ClassVar[str]
    accepts: ClassVar[type] = object
    words: ClassVar[int] = 1  # of the command line that an option of this type takes

    def fits(self, value: Any) -> bool:
        """Whether a value is of this type at all."""
        return isinstance(value, self.accepts)

    def check(self, value: Any) -> Any:
        """Return the value in the form the program uses. Raises ValueError for an invalid value."""
        if not self.fits(value):
            raise ValueError(f"{quoted(value)} is not {self.noun}")
        return value

    def parse(self, text: str) -> Any:
        """Return the value of a word of the command line."""
        return self.check(text)

    @property
    def bounds(self) -> str:
        """The valid values, in words; empty where the type says enough."""
        return ""


@dataclass(frozen=True)
class Bounded(Kind):
    """A finite number from `low` to `high`, without `low` itself if `open_low`."""

    low: float
    high: float = math.inf
    open_low: bool = False
    word = "number"
    hint = "float"
    noun = "a number"
    accepts = Real
    convert: ClassVar[type] = float

    def fits(self, value: Any) -> bool:
        return super().fits(value) and not isinstance(value, bool)

    def check(self, value: Any) -> Any:
        try:
            number = self.convert(super().check(value))
        except OverflowError:
            number = math.inf
        if not self.low <= number <= self.high or number == math.inf or (self.open_low and number == self.low):
            raise ValueError(f"{quoted(number)} cannot be used: give {self.bounds}")
        return number

    def parse(self, text: str) -> Any:
        try:
            number = self.convert(text)
        except ValueError:
            raise ValueError(f"{quoted(text)} is not {self.noun}") from None
        return self.check(number)

    @property
    def bounds(self) -> str:
        low = f"more than {self.low:,}" if self.open_low else f"{self.low:,} or more"
        return low if self.high == math.inf else f"{low}, {self.high:,} at most"


@dataclass(frozen=True)
class Whole(Bounded):
    """An integer from `low` to `high`."""

    low: int = 1
    high: int = LARGEST
    word = "integer"
    hint = "int"
    noun = "a whole number"
    accepts = Integral
    convert = int


class Duration(Kind):
    """Seconds, as a number or as 90s, 5m, 1h30m; also as 1.5h, 1h30 and "5 minutes"."""

    word = "duration"
    hint = "float | str"
    SECONDS: ClassVar = Bounded(0, 1e9, open_low=True)
    NUMBER: ClassVar = r"(\d+(?:\.\d+)?)"
    UNITS: ClassVar = {"h": ("h", "hr", "hrs", "hour", "hours"), "m": ("m", "min", "mins", "minute", "minutes")} | {
        "s": ("s", "sec", "secs", "second", "seconds")
    }

    def check(self, value: Any) -> float:
        seconds = value
        if isinstance(value, str):
            text = re.sub(r"\s*([a-z]+)\s*", lambda unit: self.unit(unit[1]), value.strip().lower())
            text = re.sub(r"(?<=h)\d+$", r"\g<0>m", text)  # 1h30 is not 1h30s
            match = re.fullmatch(rf"(?:{self.NUMBER}h)?(?:{self.NUMBER}m)?(?:{self.NUMBER}s?)?", text, re.ASCII)
            parts = zip(match.groups(), (3600, 60, 1), strict=True) if match else ()
            seconds = sum(float(part) * unit for part, unit in parts if part)
        with contextlib.suppress(ValueError):
            return self.SECONDS.check(seconds)
        raise ValueError(f"{quoted(value)} is not a duration: give seconds, or for instance 90s, 5m or 1h30m")

    @classmethod
    def unit(cls, word: str) -> str:
        """The letter of a unit of time; another word as it is."""
        return next((letter for letter, words in cls.UNITS.items() if word.lower() in words), word)


@dataclass(frozen=True)
class Choice(Kind):
    """One of some names."""

    names: tuple[str, ...]
    word = "choice"
    hint = "str"

    def check(self, value: Any) -> str:
        if isinstance(value, str) and value in self.names:
            return value
        raise ValueError(f"{quoted(value)} is not one of {self.bounds}{did_you_mean(value, self.names)}")

    @property
    def bounds(self) -> str:
        return ", ".join(self.names)


class Flag(Kind):
    """Yes or no."""

    word = "flag"
    hint = "bool"
    noun = "True or False"
    accepts = bool


class Text(Kind):
    """A string."""

    word = "text"
    hint = "str"
    noun = "a string"
    accepts = str


class Column(Kind):
    """A column of a table: its name, or its number from 1."""

    word = "column"
    hint = "str | int"
    noun = "the name of a column, or its number from 1"

    def fits(self, value: Any) -> bool:
        if isinstance(value, Integral) and not isinstance(value, bool):
            return 1 <= int(value) <= LARGEST
        return isinstance(value, str) and value != ""

    def check(self, value: Any) -> Any:
        return int(super().check(value)) if isinstance(value, Integral) else super().check(value)

    def parse(self, text: str) -> Any:
        return self.check(int(text) if re.fullmatch(r"\d{1,9}", text, re.ASCII) else text)


class TwoTexts(Text):
    """Two strings."""

    word = "A B"
    words = 2


class Texts(Text):
    """Strings that are not empty: one each time the option is given, or from Python one or several."""

    hint = "str | Iterable[str]"

    def check(self, value: Any) -> tuple[str, ...]:
        several = [value] if isinstance(value, str) or not isinstance(value, Iterable) else value
        texts = tuple(super(Texts, self).check(one) for one in several)
        if "" in texts:
            raise ValueError("'' is in every text: give one of a character or more")
        return texts

    def parse(self, text: str) -> str:
        return self.check(text)[0]


class Extent(Kind):
    """A range of lengths, as A:B, A: or :B, or A alone, as a string or a pair: a tuple of two integers, the last None for any."""

    word = "range"
    hint = "str | int | tuple[int, int | None]"
    LENGTH: ClassVar = Whole(0, LONGEST_SAMPLE)

    def check(self, value: Any) -> tuple[int, int | None]:
        ends: Any = value if isinstance(value, tuple | list) else (value, value)
        if isinstance(value, str) and value.count(":") == 1 and value != ":":
            first, last = value.split(":")
            ends = first or 0, last or None
        if len(ends) != 2 or ends[0] is None:
            raise ValueError(f"{quoted(value)} is not a range: give for instance 5:8, 5: or :8")
        low, high = (
            end if end is None else (self.LENGTH.parse if isinstance(end, str) else self.LENGTH.check)(end) for end in ends
        )
        if high is not None and low > high:
            raise ValueError(f"{quoted(value)} is an empty range: give the smaller number first, for instance 3:5")
        return low or 0, high


class Name(Text):
    """A name, in upper or lower case: others write LSTM and GRU."""

    word = "name"

    def check(self, value: Any) -> str:
        return super().check(value).lower()


class Place(Kind):
    """A path."""

    word = "path"
    hint = "str | Path"

    def check(self, value: Any) -> Any:
        if not isinstance(value, str | os.PathLike) or not isinstance(path := os.fspath(value), str) or not path or "\0" in path:
            raise ValueError(f"{quoted(value)} is not a path")
        return Path(path)


class Stored(Place):
    """A model directory, or the name of one in checkpoints/."""

    word = "model"


class Weighted(Stored):
    """A model with a weight, as cities:0.3; 0.5 without one."""

    def check(self, value: Any) -> tuple[Path, float]:
        text = os.fspath(super().check(value))
        name, _, weight = text.rpartition(":")
        try:
            return (super().check(name), Bounded(0, 1).parse(weight)) if name else (Path(text), 0.5)
        except ValueError:
            if re.fullmatch(r"[-\d.]+", weight):
                raise
            return Path(text), 0.5


class File(Place):
    """The name of a file; - may stand for standard input."""

    word = "file"

    def check(self, value: Any) -> Any:
        return os.fspath(super().check(value))


class Files(File):
    """Files: one each time the option is given."""


class Source(Kind):
    """A text: a file on the command line; from Python whatever `data.inputs.files` accepts."""

    word = "file"
    hint = "str | Path | IO | Iterable"

    def parse(self, text: str) -> list[str]:
        if not text:
            raise ValueError("'' names no file")
        return [text]


def did_you_mean(value: Any, known: Iterable[str]) -> str:
    """The question whether the closest of the known names was meant, or nothing."""
    if not isinstance(value, str):
        return ""
    known = [*known]
    word = suggestions.OPTIONS.get(value.lower().replace("_", "-"), "").replace("-", "_")
    meant = [word] if word in known else suggestions.closest(value, known)
    return f": did you mean {' or '.join(meant)}?" if meant else ""
