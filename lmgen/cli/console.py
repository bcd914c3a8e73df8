"""Results on stdout: JSON lines and tables. rich draws the tables; it is imported where it is used, so that --help is instant."""

from __future__ import annotations

import json
import math
import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from lmgen.system.terminal import plain, put, shown, write


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


def table(
    rows: Sequence[Sequence[str]], head: Sequence[str] | None = None, numbers: Iterable[int] = (), shorten: bool = False
) -> None:
    """Write aligned columns; those in `numbers` are aligned to the right and never cut.

    Text too long for a terminal is wrapped, or cut with an ellipsis if `shorten`. Where the numbers do not fit, each cell gets a
    line of its own.
    """
    from rich import box
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    numbers = set(numbers)
    every = [*rows, *([head] if head else [])]
    widths = [max(map(cell_len, column)) for column in zip(*every, strict=True)]
    narrowest = sum(width if k in numbers else min(width, 10) for k, width in enumerate(widths)) + 2 * (len(widths) - 1)
    terminal = sys.stdout.isatty()
    if terminal and head and narrowest > shutil.get_terminal_size().columns:
        for row in rows:
            put("\n".join([*(f"{title}: {cell}" if title else cell for title, cell in zip(head, row, strict=True) if cell), ""]))
        return
    dull = plain(sys.stdout)
    colours: Any = None if dull else "auto"
    width = None if terminal else max(80, 2 * sum(widths) + 2 * len(widths))
    console = Console(color_system=colours, force_terminal=not dull, no_color=dull, highlight=False, width=width)
    grid = Table(box=box.SIMPLE_HEAD if head else None, show_header=head is not None, pad_edge=False, show_edge=False)
    for k, title in enumerate(head or [""] * len(widths)):
        grid.add_column(
            shown(title, sys.stdout), justify="right" if k in numbers else "left", overflow="fold", no_wrap=k in numbers
        )
    for row in rows:
        cells = [Text(shown(cell, sys.stdout)) for cell in row]
        for cell in cells if shorten and terminal else ():
            cell.no_wrap, cell.overflow = True, "ellipsis"
        grid.add_row(*cells)
    with console.capture() as captured:
        console.print(grid)
    write("\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n")
