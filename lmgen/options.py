"""What an option may be: kinds of numbers whose errors say what is wanted, options that several commands share, and a group that
lists its commands in the order of their use."""

from __future__ import annotations

import re
from typing import Any

import click


class Duration(click.ParamType):
    """Seconds, from 90, 90s, 5m, 1h30m."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        match = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?", value.strip().lower())
        seconds = (
            sum(float(part) * unit for part, unit in zip(match.groups(), (3600, 60, 1), strict=True) if part) if match else 0
        )
        if not 0 < seconds < 1e9:
            self.fail(f"{value!r} is no time: give seconds, or for instance 90s, 5m or 1h30m", param, ctx)
        return seconds


class Bounded(click.ParamType):
    """A number within bounds; NaN and infinities are not numbers here."""

    name = "number"

    def __init__(self, low: float, high: float = float("inf"), open_low: bool = False):
        self.low, self.high, self.open_low = low, high, open_low

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            number = float(value)
        except ValueError:
            self.fail(f"{value!r} is not a number", param, ctx)
        fine = self.low <= number <= self.high and number < float("inf") and not (self.open_low and number == self.low)
        if not fine:
            low = f"more than {self.low:g}" if self.open_low else f"{self.low:g} or more"
            self.fail(
                f"{value} cannot be used: give {low}" + (f", {self.high:g} at most" if self.high < float("inf") else ""),
                param,
                ctx,
            )
        return number


class Whole(click.ParamType):
    """A whole number from `low` up to what 31 bits hold."""

    name = "integer"

    def __init__(self, low: int = 1):
        self.low = low

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            number = int(value)
        except ValueError:
            self.fail(f"{value!r} is not a whole number", param, ctx)
        if not self.low <= number < 1 << 31:
            self.fail(f"{value} cannot be used: give {self.low} or more, below {1 << 31:,}", param, ctx)
        return number


class InOrder(click.Group):
    """A group that lists its commands in the order in which a user meets them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object a line on stdout.")
SEQUENCE = click.option(
    "--sequence",
    type=click.Choice(["line", "paragraph", "file"]),
    default="line",
    show_default=True,
    help="What ends with an EOS.",
)
GLOB = click.option("--glob", metavar="PATTERN", help="Which files below a folder, such as '*.py'.  [default: its *.txt files]")
ENCODING = click.option("--encoding", default="utf-8", show_default=True, help="How the bytes of the text are encoded.")
ERRORS = click.option(
    "--errors", type=click.Choice(["strict", "replace"]), default="strict", help="What becomes of bytes that are not text."
)
CONTROL = click.option("--control", metavar="FILE", help="Held-out text to compare with.  [default: the text that validates]")
NGRAM = click.option("--ngram", type=Whole(), default=5, show_default=True, help="Characters of the n-grams that may be new.")
EXACT = click.option("--exact", is_flag=True, help="Try every sequence as the nearest, also of a corpus beyond 1 MB.")
PRECISION = click.option(
    "--precision", type=click.Choice(["auto", "f32", "bf16"]), default="auto", help="Of the matrix products."
)
