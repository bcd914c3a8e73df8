"""What notebooks show in place of a repr: fragments of HTML that bring their colours along and leave the notebook's own alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache

from lmgen.pages.document import asset, escape
from lmgen.pages.surprise import in_text, level, named, visible

Point = tuple[float, float]
MOST = 5_000  # symbols of a text that are coloured
WIDTH, HEIGHT = 560, 150  # of curves, in pixels
COLOURS = ("#8a8780", "#2f81b7")  # of the curves of training and validation
_CELL = 'style="text-align: left; padding: 0 1em 0 0; vertical-align: top"'
_TEXT = "white-space: pre-wrap; font-family: monospace; line-height: 1.7"


@cache
def _backgrounds() -> list[str]:
    """The colours of base.css for s0 … s9, which inherit nothing."""
    style = asset("base.css")
    heat = re.search(r"--heat: (.*?);", style)[1]  # type: ignore[index]
    return [colour.replace("var(--heat)", heat) for colour in re.findall(r"\.s\d \{ background: (.*?); \}", style)]


class Several(list):
    """A list whose items a notebook shows one below the other."""

    def _repr_html_(self) -> str:
        return "\n".join(one._repr_html_() for one in self)


def text(content: str, note: str = "") -> str:
    """A text, and a note on it."""
    return f'<div style="{_TEXT}">{escape(visible_lines(content))}{_faint(note)}</div>'


def coloured(symbols: Iterable[tuple[str, str, float, str]], note: str = "") -> str:
    """Symbols on the colour of their surprise: for each what stands before it, itself, its nats, and what a pointer sees."""
    spans: list[str] = []
    for before, symbol, nats, title in symbols:
        if len(spans) == MOST:
            spans.append("…")
            break
        style = f'style="background: {_backgrounds()[level(nats)]}"'
        spans.append(f'{escape(visible(before))}<span {style} title="{escape(title)}">{escape(in_text(symbol))}</span>')
    return f'<div style="{_TEXT}">{"".join(spans)}{_faint(note)}</div>'


def surprise(symbols: Iterable[tuple[str, float]], note: str = "") -> str:
    """Symbols on the colour of their surprise, from their spellings and nats."""
    return coloured((("", symbol, nats, f"{named(symbol)} {nats:.2f} nats") for symbol, nats in symbols), note)


def facts(title: str, rows: Mapping[str, object]) -> str:
    """Names and values, side by side."""
    pairs = ((escape(visible(str(part))) for part in row) for row in rows.items())
    cells = "".join(f"<tr><th {_CELL}>{name}</th><td {_CELL}>{value}</td></tr>" for name, value in pairs)
    return f"<div><strong>{escape(visible(title))}</strong><table>{cells}</table></div>"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Rows of text under a head."""
    titles = "".join(f"<th {_CELL}>{escape(title)}</th>" for title in head)
    cells = ("".join(f"<td {_CELL}>{escape(visible(cell))}</td>" for cell in row) for row in rows)
    return f"<table><thead><tr>{titles}</tr></thead><tbody>{''.join(f'<tr>{row}</tr>' for row in cells)}</tbody></table>"


def curves(training: Sequence[Point], validation: Sequence[Point], title: str) -> str:
    """The nats of a training by step, as a picture."""
    points = [*training, *validation]
    if len(points) < 2:
        return ""
    (left, right), (low, high) = ((min(axis), max(axis)) for axis in zip(*points, strict=True))

    def at(step: float, nats: float) -> str:
        x, y = (step - left) / ((right - left) or 1), (high - nats) / ((high - low) or 1)
        return f"{40 + x * (WIDTH - 50):.1f},{10 + y * (HEIGHT - 30):.1f}"

    lines = "".join(
        f'<polyline points="{" ".join(at(*point) for point in line)}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
        for line, colour in zip((training, validation), COLOURS, strict=True)
    )
    labels = (
        (36, 14, "end", f"{high:.2f}"),
        (36, HEIGHT - 18, "end", f"{low:.2f}"),
        (WIDTH - 10, HEIGHT - 4, "end", f"step {right:,.0f}"),
    )
    words = "".join(
        f'<text x="{x}" y="{y}" text-anchor="{anchor}" font-size="11" fill="currentColor">{word}</text>'
        for x, y, anchor, word in labels
    )
    return f'<svg role="img" aria-label="{escape(title)}" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}">{lines}{words}</svg>'


def visible_lines(content: str) -> str:
    """A text of several lines, whose other characters are seen."""
    return "\n".join(map(visible, content.split("\n")))


def _faint(note: str) -> str:
    return f' <small style="opacity: .7">{escape(note)}</small>' if note else ""
