"""An explained text on a terminal, in colours, and as a table."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from lmgen.cli import console
from lmgen.pages.surprise import EOS, LEVELS, in_text, level, named, visible
from lmgen.system import terminal

if TYPE_CHECKING:
    from lmgen.evaluation.explanation import Explanation, Symbol

HEAD = ("symbol", "probability", "nats", "rank", "likeliest", "n-gram", "notes")
PALEST, HEAT = (255, 240, 225), (235, 80, 50)  # the colours of one bit and of nine, all different in 256 colours, too


def coloured(found: Iterable[Explanation]) -> None:
    """Write texts on a terminal, each symbol on the colour of its surprise, and the scale of colours."""
    from rich.console import Console
    from rich.style import Style
    from rich.text import Text

    rich = Console(highlight=False, emoji=False, markup=False, width=max(2, shutil.get_terminal_size().columns))
    colours = [[round(a + (b - a) * k / (LEVELS - 2)) for a, b in zip(PALEST, HEAT, strict=True)] for k in range(LEVELS - 1)]
    styles = [Style(), *(Style(color="#000000", bgcolor="#{:02x}{:02x}{:02x}".format(*colour)) for colour in colours)]

    def put(*parts: tuple[str, Style]) -> None:
        line = Text(overflow="fold")
        for text, style in parts:
            line.append(terminal.shown(text, sys.stdout), style)
        with rich.capture() as captured:
            rich.print(line)
        terminal.write(captured.get())

    copied = Style(underline=True)
    for one in found:
        symbols = ((s, styles[level(s.nats)] + (Style() if s.copied is None else copied)) for s in one)
        put(*(part for s, style in symbols for part in ((visible(s.before), Style()), (in_text(s.symbol), style))))
    scale = ((f" {k}{'+' * (k == LEVELS - 1)} ", style) for k, style in enumerate(styles))
    marks = (f" {EOS} end, ", Style()), ("in the training text", copied)
    put(("\nbits of surprise ", Style()), *scale, *marks)


def tables(found: Iterable[Explanation], aligned: bool) -> None:
    """Write a line for each symbol, with tabs between cells or `aligned`, and an empty one after each text."""
    if not aligned:
        terminal.put("\t".join(HEAD))
    for one in found:
        if aligned:
            console.table([*map(_row, one)], head=HEAD, numbers=(1, 2, 3))
        for symbol in () if aligned else one:
            terminal.put("\t".join(_row(symbol)))
        terminal.put("")


def _row(one: Symbol) -> list[str]:
    ngram = f"{one.ngram.probability:.3g} ({_likeliest(one.ngram.alternatives[:1])})" if one.ngram else ""
    notes = ", ".join(["unknown"] * (not one.known) + ["copied"] * (one.copied is not None))
    return [
        named(one.symbol),
        f"{one.probability:.3g}",
        f"{one.nats:.2f}",
        str(one.rank),
        _likeliest(one.alternatives),
        ngram,
        notes,
    ]


def _likeliest(alternatives: Iterable[tuple[str, float]]) -> str:
    return " ".join(f"{named(symbol)}:{p:.2f}" for symbol, p in alternatives)
