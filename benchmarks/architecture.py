"""Draw docs/architecture.svg: the packages of lmgen from top to bottom, their modules, and which imports which.

    python benchmarks/architecture.py

The imports are read from the code, the order of the rows from tests/test_layers.py, the words from the map in README.md. The
same code gives the same picture, byte for byte.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterator
from graphlib import TopologicalSorter
from html import escape
from itertools import cycle

from report import ROOT

sys.path.insert(0, str(ROOT / "tests"))

from test_layers import LAYERS, MODULES, dotted, imports

PICTURE = ROOT / "docs" / "architecture.svg"
MAP = re.compile(r"\| `lmgen/(\w+)/` \| (.+?) \|")  # a row of the README's map: a package and what it holds
TOP = {
    "__main__": "python -m lmgen",
    "api": "what Python users call",
    "loading": "models of any kind",
    "errors": "errors, version",
}  # modules in no package
WIDTH, RIM, NAMES, LANES = 1000, 16, 226, 64  # of the picture; of its rim, the column of names, and the arrows on the right
HEIGHT, GAP, BETWEEN, LINE = 26, 7, 16, 14  # of a module's box; space around it; space between rows; a line of words
LETTER = 7.25  # width of a letter in a box
INK = "#7b818c"  # of the arrows
COLOURS = (
    *("#7a4a78", "#96466a", "#a8504f", "#a4662f", "#8d7a26", "#66802f", "#3f8250", "#2f805f", "#2a7f74"),
    *("#2b7790", "#3b6aa3", "#5559a0", "#6f529a", "#86509a", "#6a6472", "#6c6f78", "#5f6b6b", "#7b818c"),
)
STYLE = f"""
text {{ font-family: Helvetica, Arial, 'DejaVu Sans', sans-serif; fill: #2b2f36; }}
.package {{ font-size: 16px; font-weight: bold; }}
.words {{ font-size: 11px; fill: #5c626d; }}
.module {{ font-size: 12px; font-family: Menlo, Consolas, 'DejaVu Sans Mono', monospace; text-anchor: middle; }}
.arrow {{ fill: none; stroke: {INK}; stroke-width: 1.6; marker-end: url(#head); }}
"""
HEAD = (
    '<marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    f'<path d="M0 0.5 8 4 0 7.5z" fill="{INK}"/></marker>'
)
Graph = dict[str, set[str]]


# ---- the imports -------------------------------------------------------------------------------------------------------


def row_of(module: str) -> str:
    """The row in which a module stands: its package, or one for each of the few modules that are in none."""
    first = module.partition(".")[0]
    return "errors" if first == "_version" else first


def rows(modules: Graph) -> dict[str, list[str]]:
    """The modules of each row from left to right: a module imports only modules to its right, or in rows below."""
    found: dict[str, list[str]] = {row_of(name): [] for name in LAYERS}
    order = TopologicalSorter({name: sorted(modules[name]) for name in sorted(modules)}).static_order()
    for module in reversed([*order]):
        found[row_of(module)].append(module)
    return {row: some for row, some in found.items() if some}


def arrows(modules: Graph) -> Graph:
    """The rows that each row imports from; an arrow that two or more others make up is left out."""
    direct: Graph = {row_of(module): set() for module in modules}
    for module, imported in modules.items():
        direct[row_of(module)] |= {row_of(other) for other in imported} - {row_of(module)}
    below: Graph = {}  # all rows that can be reached
    for row in TopologicalSorter(direct).static_order():
        below[row] = direct[row].union(*(below[other] for other in direct[row]))
    return {row: {one for one in some if not any(one in below[other] for other in some)} for row, some in direct.items()}


def lanes(edges: list[tuple[int, int]]) -> dict[tuple[int, int], int]:
    """A lane for each arrow that passes rows: two that pass the same row have two lanes, and short arrows the inner ones."""
    found: dict[tuple[int, int], int] = {}
    for edge in sorted(edges, key=lambda edge: (edge[1] - edge[0], edge)):
        taken = {lane for other, lane in found.items() if other[0] < edge[1] and edge[0] < other[1]}
        found[edge] = next(lane for lane in range(len(edges)) if lane not in taken)
    return found


# ---- the picture -------------------------------------------------------------------------------------------------------


def name_of(module: str) -> str:
    """What a module's box shows; a package that is a module itself is its __init__."""
    return module.rpartition(".")[2] if "." in module or row_of(module) in TOP else "__init__"


def width(module: str) -> float:
    return LETTER * len(name_of(module)) + 18


def wrapped(some: list[str]) -> list[list[str]]:
    """The modules of a row in lines that fit beside the column of names."""
    found: list[list[str]] = [[]]
    for module in some:
        if sum(width(one) + GAP for one in [*found[-1], module]) > WIDTH - NAMES - LANES - 2 * RIM:
            found.append([])
        found[-1].append(module)
    return found


def box(module: str, imported: set[str], x: float, y: float, colour: str) -> str:
    """A module; a browser that shows the picture alone lists its imports when the pointer is over it."""
    title = f"{module} imports {', '.join(sorted(imported)) or 'nothing of lmgen'}"
    return (
        f'<g><title>{title}</title><rect x="{x:g}" y="{y:g}" width="{width(module):g}" height="{HEIGHT}" rx="5" fill="#fff" '
        f'stroke="{colour}"/>\n<text class="module" x="{x + width(module) / 2:g}" y="{y + HEIGHT / 2 + 4:g}">{name_of(module)}'
        "</text></g>"
    )


def band(
    row: str, boxes: list[list[str]], modules: Graph, words: list[str], y: float, height: float, colour: str
) -> Iterator[str]:
    """A row: its name, what it holds, and its modules."""
    for wide, opacity in ((WIDTH - LANES - RIM, 0.1), (5, 1)):
        yield (
            f'<rect x="{RIM}" y="{y:g}" width="{wide}" height="{height:g}" rx="{min(8, wide / 2):g}" fill="{colour}" '
            f'fill-opacity="{opacity:g}"/>'
        )
    titled = row not in TOP
    at = y + (height - LINE * (len(words) + 1.4 * titled)) / 2 + 10
    if titled:
        yield f'<text class="package" x="{RIM + 16}" y="{at + 4:g}" style="fill: {colour}">{row}</text>'
    for k, line in enumerate(words):
        yield f'<text class="words" x="{RIM + 16}" y="{at + LINE * (k + 1.4 * titled):g}">{escape(line)}</text>'
    for k, line in enumerate(boxes):
        x, at = float(RIM + NAMES), y + (height - len(boxes) * (HEIGHT + GAP) + GAP) / 2 + k * (HEIGHT + GAP)
        for module in line:
            yield box(module, modules[module], x, at, colour)
            x += width(module) + GAP


def picture() -> str:
    """The whole picture, as SVG."""
    modules = {dotted(path): imports(path) for path in MODULES}
    about = TOP | dict(MAP.findall((ROOT / "README.md").read_text("utf-8")))
    shown, body, y, places = rows(modules), [], float(RIM), []
    for (row, some), colour in zip(shown.items(), cycle(COLOURS), strict=False):
        boxes, words = wrapped(some), textwrap.wrap(about.get(row, ""), 36)
        height = max(len(boxes) * (HEIGHT + GAP) + 9, LINE * (len(words) + 1.4) + 8 if row not in TOP else 0)
        body += band(row, boxes, modules, words, y, height, colour)
        places.append((y, y + height))
        y += height + BETWEEN
    order = [*shown]
    edges = sorted((order.index(row), order.index(other)) for row, some in arrows(modules).items() for other in some)
    for above, below in (edge for edge in edges if edge[1] - edge[0] == 1):
        body.append(f'<path class="arrow" d="M{RIM + NAMES / 2:g} {places[above][1] + 1:g}V{places[below][0] - 1:g}"/>')
    for (above, below), lane in lanes([edge for edge in edges if edge[1] - edge[0] > 1]).items():
        start, end, right = places[above][1] - 12, places[below][0] + 12, WIDTH - LANES
        x = right + 22 + 14 * lane
        body.append(f'<path class="arrow" d="M{right + 1} {start:g}H{x - 8}q8 0 8 8V{end - 8:g}q0 8-8 8H{right + 2}"/>')
    whole = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y:g}" width="{WIDTH}" height="{y:g}">',
        f"<style>{STYLE}</style><defs>{HEAD}</defs>",
        f'<rect width="{WIDTH}" height="{y:g}" rx="10" fill="#fff"/>',
        *body,
        "</svg>\n",
    )
    return "\n".join(whole)


if __name__ == "__main__":
    PICTURE.write_text(picture(), "utf-8")
