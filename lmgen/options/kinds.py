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

LARGEST = (1 << 31) - 1  # whole number

MOST_LAYERS = 200
LARGEST_SEED = (1 << 63) - 1

LARGEST_FLOAT = 3e38  # about what 32 bits hold


def said(value: object) -> str:
    """A value in an error message: its repr, cut where it is long."""
    try:
        text = repr(value)
    except Exception:  # of another's class, or an integer of thousands of digits
        text = f"this {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}…"


class Kind:
    """The type of an option: `word` names it in a help page, `hint` in a signature."""

    word: ClassVar[str]
    hint: ClassVar[str]

    def check(self, value: Any) -> Any:
        """The value as it is used; ValueError for one that cannot be."""
        raise NotImplementedError

    def parse(self, text: str) -> Any:
        """The value that a word of the command line stands for."""
        return self.check(text)


@dataclass(frozen=True)
class Whole(Kind):
    """A whole number from `low` to `high`."""

    low: int = 1
    high: int = LARGEST
    word = "integer"
    hint = "int"

    def check(self, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, Integral):
            raise ValueError(f"{said(value)} is not a whole number")
        number = int(value)
        if not self.low <= number <= self.high:
            raise ValueError(f"{said(number)} cannot be used: give {self.low} or more, {self.high:,} at most")
        return number

    def parse(self, text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise ValueError(f"{said(text)} is not a whole number") from None
        return self.check(number)


@dataclass(frozen=True)
class Bounded(Kind):
    """A finite number from `low` (or above it) to `high`."""

    low: float
    high: float = math.inf
    open_low: bool = False
    word = "number"
    hint = "float"

    def check(self, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, Real):
            raise ValueError(f"{said(value)} is not a number")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not self.low <= number <= self.high or number == math.inf or (self.open_low and number == self.low):
            low = f"more than {self.low:g}" if self.open_low else f"{self.low:g} or more"
            high = f", {self.high:g} at most" if self.high < math.inf else ""
            raise ValueError(f"{number:g} cannot be used: give {low}{high}")
        return number

    def parse(self, text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            raise ValueError(f"{said(text)} is not a number") from None
        return self.check(number)


@dataclass(frozen=True)
class Duration(Kind):
    """Seconds, as a number or as 90s, 5m, 1h30m."""

    word = "duration"
    hint = "float | str"

    def check(self, value: Any) -> float:
        seconds = 0.0
        if isinstance(value, str):
            match = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?", value.strip().lower(), re.ASCII)
            parts = zip(match.groups(), (3600, 60, 1), strict=True) if match else ()
            seconds = sum(float(part) * unit for part, unit in parts if part)
        else:
            with contextlib.suppress(ValueError):
                seconds = Bounded(0).check(value)
        if not 0 < seconds < 1e9:
            raise ValueError(f"{said(value)} is not a duration: give seconds, or for instance 90s, 5m or 1h30m")
        return seconds


@dataclass(frozen=True)
class Choice(Kind):
    """One of some names."""

    names: tuple[str, ...]
    word = "choice"
    hint = "str"

    def check(self, value: Any) -> str:
        if isinstance(value, str) and value in self.names:
            return value
        raise ValueError(f"{said(value)} is not one of {', '.join(self.names)}{did_you_mean(value, self.names)}")


@dataclass(frozen=True)
class Flag(Kind):
    """Yes or no."""

    word = "flag"
    hint = "bool"

    def check(self, value: Any) -> bool:
        if not isinstance(value, bool):
            raise ValueError(f"{said(value)} is neither True nor False")
        return value


@dataclass(frozen=True)
class Text(Kind):
    """A string."""

    word = "text"
    hint = "str"

    def check(self, value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError(f"{said(value)} is not a string")
        return value


@dataclass(frozen=True)
class Name(Text):
    """A name, in capitals or not: LSTM and GRU are written in capitals elsewhere."""

    word = "name"

    def check(self, value: Any) -> str:
        return super().check(value).lower()


@dataclass(frozen=True)
class Place(Kind):
    """The path of a directory."""

    word = "path"
    hint = "str | Path"

    def check(self, value: Any) -> Path:
        if not isinstance(value, str | os.PathLike) or not isinstance(path := os.fspath(value), str) or not path or "\0" in path:
            raise ValueError(f"{said(value)} is not a path")
        return Path(path)


@dataclass(frozen=True)
class Stored(Place):
    """A model directory, or a name under checkpoints/."""

    word = "model"


@dataclass(frozen=True)
class Source(Kind):
    """A text: from the command line a file; from Python `inputs.files` says what it may be, and checks it."""

    word = "file"
    hint = "str | Path | IO | Iterable"

    def check(self, value: Any) -> Any:
        return value

    def parse(self, text: str) -> list[str]:
        if not text:
            raise ValueError("'' names no file")
        return [text]


def did_you_mean(value: Any, known: Iterable[str]) -> str:
    """The question whether the nearest of the known names was meant, or nothing."""
    if not isinstance(value, str):
        return ""
    known = [*known]
    word = suggestions.OPTIONS.get(value.lower().replace("_", "-"), "").replace("-", "_")
    near = [word] if word in known else suggestions.closest(value, known)
    return f": did you mean {' or '.join(near)}?" if near else ""
