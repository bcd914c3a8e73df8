"""The page of an explained text, from the values that `lmgen explain --json` prints."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from heapq import nlargest
from itertools import chain
from typing import Any, NamedTuple

from lmgen.pages.document import asset, document, escape
from lmgen.pages.surprise import EOS, LEVELS, in_text, level, named, visible

MOST = 50_000  # symbols of a page; a browser with many more is slow
SURPRISING = 20  # symbols in the table of those that surprised the model most
HEAD = ("words", "A", "nats", "B", "nats", "difference")  # of the parts of two texts
CONTEXT = 20  # symbols before one in that table

Values = Mapping[str, Any]


class Surprise(NamedTuple):
    nats: float
    number: int
    before: str
    symbol: str
    expected: str
    probability: float


class Page:
    """The page of texts, which are added one by one: the text as HTML, and what its script shows of each symbol."""

    def __init__(self, model: str):
        self.model, self.texts, self.symbols, self.nats = model, 0, 0, 0.0
        self.html: list[str] = []
        self.rows: list[list[Any]] = []  # symbol, nats, rank, unknown, line that has it, likeliest, n-gram: nats, rank, likeliest
        self.names: dict[str, int] = {}
        self.lines: dict[str, int] = {}
        self.surprises: list[Surprise] = []

    def add(self, text: Values, name: str = "") -> None:
        """Add a text, or a part of one, as far as there is room."""
        self.texts += text.get("begins", True)
        shown = text["symbols"][: MOST - self.symbols]
        spans, found, before = [], [], ""
        for k, one in enumerate(shown):
            line = None if one["copied"] is None else text["copies"][one["copied"]]["line"]
            self.rows.append(self._row(one, line))
            marks = f"s{level(one['nats'])}" + " copied" * (line is not None) + " unknown" * (not one["known"])
            label = f' aria-label="{named(one["symbol"])}"' * (one["symbol"] != "" and not one["symbol"].strip())
            spans.append(escape(visible(one["before"])))
            spans.append(f'<span role="option" class="{marks}"{label}>{escape(in_text(one["symbol"]))}</span>')
            expected = next((other for other in one["alternatives"] if other["symbol"] != one["symbol"]), None)
            if expected:
                said = (named(expected["symbol"]), expected["probability"])
                found.append(Surprise(one["nats"], self.symbols + k, before, named(one["symbol"]), *said))
            before = (before + visible(one["before"] + one["symbol"]))[-CONTEXT:]
        self.surprises = nlargest(SURPRISING, [*self.surprises, *found])
        self.symbols += len(shown)
        self.nats += sum(one["nats"] for one in shown)
        if shown:
            label = escape(name or f"text {self.texts:,}", quote=True)
            self.html.append(f'<p class="text" role="group" dir="auto" aria-label="{label}">{"".join(spans)}</p>\n')

    @property
    def full(self) -> bool:
        """Whether there is no room left."""
        return self.symbols >= MOST

    def _row(self, one: Values, line: str | None) -> list[Any]:
        copied = -1 if line is None else self.lines.setdefault(visible(line), len(self.lines))
        ngram = self._guess(one["ngram"]) if "ngram" in one else []
        return [self._name(one["symbol"]), int(not one["known"]), copied, *self._guess(one), *ngram]

    def _guess(self, one: Values) -> list[Any]:
        likeliest = ((self._name(other["symbol"]), _short(other["probability"])) for other in one["alternatives"])
        return [_short(one["nats"]), one["rank"], [*chain.from_iterable(likeliest)]]

    def _name(self, symbol: str) -> int:
        return self.names.setdefault(named(symbol), len(self.names))

    def written(self, kinds: int, nats: str = "nats", differences: str = "") -> Iterator[str]:
        """The page in parts. `kinds` is the number of symbols of the vocabulary, `differences` HTML below the heading."""
        return document(
            f"What {visible(self.model)} expected",
            self._body(nats, differences),
            asset("base.css") + asset("explained.css"),
            asset("explained.js"),
            {"rows": self.rows, "names": [*self.names], "lines": [*self.lines], "kinds": kinds, "nats": nats},
        )

    def _body(self, nats: str, differences: str) -> Iterator[str]:
        each = self.nats / max(1, self.symbols)
        size = f"{self.symbols:,} symbols in {self.texts:,} text{'s' * (self.texts != 1)}"
        mean = f"{self.nats:,.1f} {nats}, {each:.3f} a symbol ({each / math.log(2):.3f} bits)"
        yield f"<header>\n<h1>What {escape(visible(self.model))} expected</h1>\n"
        yield f"<p>{'The first ' * self.full}{size}: {mean}.</p>\n{legend()}</header>\n<main>\n{differences}"
        yield '<div class="beside">\n'
        yield '<div id="text" role="listbox" tabindex="0" aria-label="The text, symbol by symbol" aria-describedby="help">\n'
        yield from self.html
        yield '</div>\n<section id="details" tabindex="0" aria-label="The chosen symbol"><p id="help" class="faint">'
        yield "Choose a symbol with the pointer, or with the arrow keys, to see what the model expected in its place."
        yield "</p></section>\n</div>\n"
        rows = [_row("th", "bits", "after", "came", "expected", "probability"), *map(_surprise, self.surprises)]
        yield _table("What surprised it most", rows) + "</main>\n"


def _surprise(one: Surprise) -> str:
    texts = (_cell(text) for text in (one.before, one.symbol, one.expected))
    return f"<tr>{_number(f'{one.nats / math.log(2):.1f}')}{''.join(texts)}{_number(f'{one.probability:.2g}')}</tr>"


def legend() -> str:
    """The scale of surprise, in words and colours."""
    steps = "".join(f'<span class="s{k}">{k}{"+" * (k == LEVELS - 1)}</span> ' for k in range(LEVELS))
    marks = f'{EOS} the end of a text, <span class="copied">underlined</span>: the training text has it, too'
    return f'<p class="legend">Bits of surprise: {steps}<br>{marks}.</p>\n'


def cells(part: Values) -> list[str]:
    """A part of two texts under `HEAD`."""
    texts = (
        visible(text.strip()) or (named(text) if count else "–")
        for text, count in zip(part["texts"], part["symbols"], strict=True)
    )
    (a, b), (first, second) = texts, part["nats"]
    difference = f"{round(part['difference'], 2) + 0:+.2f}"
    return ["same" if part["same"] else "other", a, f"{first:.2f}", b, f"{second:.2f}", difference]


def differences(value: Values) -> str:
    """What two texts have that the other has not, as HTML."""
    rows = [_row("th", *HEAD)]
    for part in value["parts"]:
        kind, a, first, b, second, difference = cells(part)
        texts = _cell(a) + _number(first) + _cell(b) + _number(second)
        rows.append(f"<tr><td>{kind}</td>{texts}{_number(difference)}</tr>")
    return _table(verdict(value), rows)


def verdict(value: Values) -> str:
    """Which of two texts is likelier, in a sentence."""
    if value["likelier"] is None:
        return "A and B are equally likely"
    nats = abs(value["difference"])
    times = float(f"{math.exp(min(nats, 20)):.3g}")
    much = f"e^{nats:.1f}" if nats > 20 else f"{times:,.0f}" if times >= 100 else f"{times:g}"
    return f"{'AB'[value['likelier']]} is likelier, {much} times ({nats:.2f} nats)"


def _table(title: str, rows: list[str]) -> str:
    """A table that scrolls where it is too wide; its first row is its head."""
    body = "\n".join(rows[1:])
    return (
        f'<section>\n<h2>{escape(title)}</h2>\n<div class="wide" tabindex="0" role="group" aria-label="{escape(title)}">\n'
        f"<table>\n<thead>{rows[0]}</thead>\n<tbody>\n{body}\n</tbody>\n</table>\n</div>\n</section>\n"
    )


def _row(tag: str, *texts: str) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(text)}</{tag}>" for text in texts) + "</tr>"


def _cell(text: str) -> str:
    return f'<td><bdi class="text">{escape(text)}</bdi></td>'


def _number(text: str) -> str:
    return f'<td class="number">{text}</td>'


def _short(value: float) -> float:
    """A number to four digits."""
    return float(f"{value:.4g}")
