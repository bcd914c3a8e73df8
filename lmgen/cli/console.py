"""What people see: results on stdout, everything else on stderr; escape codes on terminals only, and never from a text.

rich draws the tables; it is imported where it is used, so that --help is instant.
"""

from __future__ import annotations

import json
import math
import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from lmgen.system.terminal import plain, put, shown, write


def put_json(value: Any) -> None:
    """One JSON object on one line of stdout; what is not finite becomes null, since JSON has no word for it."""
    line = json.dumps(_finite(value), ensure_ascii=False)
    as_it_is = _utf8(sys.stdout) and _encodable(line) and shown(line, sys.stdout) == line
    write((line if as_it_is else json.dumps(_finite(value)).replace("\x7f", "\\u007f")) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _encodable(text: str) -> bool:
    return not any("\ud800" <= c <= "\udfff" for c in text)


def _utf8(stream: Any) -> bool:
    return (getattr(stream, "encoding", None) or "").lower().replace("-", "") == "utf8"


def table(rows: Sequence[Sequence[str]], head: Sequence[str] | None = None, numbers: Iterable[int] = ()) -> None:
    """Aligned columns on stdout; those in `numbers` are aligned to the right.

    Long cells are folded on narrow terminals; on one so narrow that numbers would be cut, each cell gets a line of its own.
    """
    numbers = set(numbers)
    if sys.stdout.isatty() and head and _narrowest(rows, head, numbers) > shutil.get_terminal_size().columns:
        for row in rows:
            put("\n".join([*(f"{title}: {cell}" if title else cell for title, cell in zip(head, row, strict=True) if cell), ""]))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    width = None if sys.stdout.isatty() else max(80, 2 * len(rows[0] if rows else ()) + sum(_widths(rows, head)))
    dull = plain(sys.stdout)
    colours: Any = None if dull else "auto"
    console = Console(color_system=colours, force_terminal=not dull, no_color=dull, highlight=False, width=width)
    grid = Table(box=box.SIMPLE_HEAD if head else None, show_header=head is not None, pad_edge=False, show_edge=False)
    for k, title in enumerate(head or [""] * (len(rows[0]) if rows else 0)):
        number = k in numbers
        grid.add_column(shown(title, sys.stdout), justify="right" if number else "left", overflow="fold", no_wrap=number)
    for row in rows:
        grid.add_row(*(Text(shown(cell, sys.stdout)) for cell in row))
    with console.capture() as captured:
        console.print(grid)
    write("\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n")


def _narrowest(rows: Sequence[Sequence[str]], head: Sequence[str], numbers: Iterable[int]) -> int:
    """The columns that a table takes at the least: all of a number, some of a text, and what is between."""
    widest = [max(len(row[k]) for row in (*rows, head)) for k in range(len(head))]
    return sum(width if k in numbers else min(width, 10) for k, width in enumerate(widest)) + 2 * (len(head) - 1)


def _widths(rows: Sequence[Sequence[str]], head: Sequence[str] | None) -> list[int]:
    every = [*rows, *([head] if head else [])]
    return [max(2 * len(row[k]) for row in every) for k in range(len(every[0]))] if every else []
