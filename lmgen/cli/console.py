"""Results on stdout: JSON lines and tables. rich draws the tables; it is imported where it is used, so that --help is instant."""

from __future__ import annotations

import json
import math
import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from lmgen.system.terminal import plain, put, shown, wrapped, write
from lmgen.system.terminal import width as cell_width


def put_json(*values: Any) -> None:
    """Write each value as a line of JSON; numbers that are not finite become null, since JSON has none."""
    utf8 = (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "") == "utf8"
    for value in map(_finite, values):
        line = json.dumps(value, ensure_ascii=False)
        surrogates = any("\ud800" <= c <= "\udfff" for c in line)
        if not utf8 or surrogates or shown(line, sys.stdout) != line:
            line = json.dumps(value).replace("\x7f", "\\u007f")
        write(line + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


LEAST = 8  # columns to which text is wrapped at most


def sentence(text: str) -> None:
    """Write a sentence of results, on a terminal in lines that fit it."""
    put(wrapped(text, sys.stdout))


def _in_lines(title: str, width: int) -> str:
    """A title in lines of whole words, no wider than its column or its longest word."""
    lines: list[str] = []
    width = max(width, *map(cell_width, title.split() or [""]))
    for word in title.split():
        if lines and cell_width(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return "\n".join(lines)


def table(
    rows: Sequence[Sequence[str]], head: Sequence[str] | None = None, numbers: Iterable[int] = (), shorten: bool = False
) -> None:
    """Write aligned columns; those in `numbers` are aligned to the right and never cut.

    On a terminal that is too narrow the titles take several lines, and text is wrapped, or cut with an ellipsis if `shorten`.
    Where the numbers do not fit all the same, each cell gets a line of its own.
    """
    from rich import box
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    numbers, terminal, room = set(numbers), sys.stdout.isatty(), shutil.get_terminal_size().columns
    of_cells = [max(map(cell_len, column)) for column in zip(*rows, *([] if rows else [head or []]), strict=True)]
    titles = [*(head or [""] * len(of_cells))]

    def needed(titles: Sequence[str], text: int) -> int:
        """The columns of the terminal, if text may be wrapped to this many."""
        widths = [max(width, *map(cell_len, title.split("\n"))) for width, title in zip(of_cells, titles, strict=True)]
        gaps = (3 if head else 2) * (len(widths) - 1)
        return gaps + sum(width if k in numbers else min(width, text) for k, width in enumerate(widths))

    if terminal and head and needed(titles, LEAST) > room:
        titles = [_in_lines(title, width) for title, width in zip(titles, of_cells, strict=True)]
        if needed(titles, LEAST) > room:
            for row in rows:
                named = zip(head, row, strict=True)
                put("\n".join([*(f"{title}: {cell}" if title else cell for title, cell in named if cell), ""]))
            return
    dull = plain(sys.stdout)
    colours: Any = None if dull else "auto"
    width = None if terminal else max(80, 2 * needed(titles, 1 << 20))
    console = Console(color_system=colours, force_terminal=not dull, no_color=dull, highlight=False, width=width)
    grid = Table(box=box.SIMPLE_HEAD if head else None, show_header=head is not None, pad_edge=False, show_edge=False)
    for k, title in enumerate(titles):
        grid.add_column(
            Text(shown(title, sys.stdout)),
            justify="right" if k in numbers else "left",
            overflow="fold",
            no_wrap=k in numbers,
            min_width=min(LEAST, of_cells[k]) if terminal else None,
        )
    for row in rows:
        cells = [Text(shown(cell, sys.stdout)) for cell in row]
        for cell in cells if shorten and terminal else ():
            cell.no_wrap, cell.overflow = True, "ellipsis"
        grid.add_row(*cells)
    with console.capture() as captured:
        console.print(grid)
    write("\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n")
