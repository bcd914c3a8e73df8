"""What people see: results on stdout, everything else on stderr; escape codes on terminals only, and never from a text.

rich draws the tables; it is imported where it is used, so that --help is instant.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from lmgen.errors import LmgenError

LARGEST = 1_000_000  # perplexity that is printed


class ReaderGoneError(Exception):
    """Whoever read our stdout has closed it: a reason to end, not an error."""


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise ReaderGoneError from None
    except OSError as error:
        raise LmgenError(f"cannot write to standard output ({error.strerror}): make room, or send it elsewhere") from None


def _write(text: str) -> None:
    with _writing():
        sys.stdout.write(text)
        if sys.stdout.isatty():
            sys.stdout.flush()


def finish() -> None:
    """Hand over what is still held back of stdout."""
    with _writing():
        sys.stdout.flush()


def give_up() -> None:
    """Drop what cannot be handed over, so that it is not tried again when the program ends."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def note(message: str) -> None:
    """A sentence for the user, on stderr; on a terminal it is wrapped between words."""
    with contextlib.suppress(OSError):  # a terminal that is gone does not end a training
        print(shown(wrapped(message, sys.stderr), sys.stderr), file=sys.stderr, flush=True)


def wrapped(message: str, stream: Any) -> str:
    """A sentence of ours in lines that fit the terminal, and in one line elsewhere."""
    if not stream.isatty():
        return message
    width = max(20, shutil.get_terminal_size().columns)
    return textwrap.fill(message, width, break_long_words=False, break_on_hyphens=False)


def put(text: str) -> None:
    """A line of results, on stdout."""
    _write(shown(text, sys.stdout) + "\n")


def put_bytes(content: bytes) -> None:
    """Bytes as they are, on stdout; on a terminal as the text that they are."""
    finish()
    if sys.stdout.isatty():
        _write(shown(content.decode("utf-8", "replace"), sys.stdout))
        return
    with _writing():
        sys.stdout.buffer.write(content)


def put_json(value: Any) -> None:
    """One JSON object on one line of stdout; what is not finite becomes null, since JSON has no word for it."""
    line = json.dumps(_finite(value), ensure_ascii=False)
    as_it_is = _utf8(sys.stdout) and _encodable(line) and shown(line, sys.stdout) == line
    _write((line if as_it_is else json.dumps(_finite(value)).replace("\x7f", "\\u007f")) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def shown(text: str, stream: Any) -> str:
    """On a terminal every code point that could steer it (control, C1, bidirectional) becomes a picture; a pipe gets it as it is.

    What the stream cannot encode becomes a question mark.
    """
    if stream.isatty():
        text = "".join(map(_picture, text))
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)


def _picture(c: str) -> str:
    if c in "\n\t" or c.isprintable() or unicodedata.category(c) in ("Zs", "Co", "Cn"):
        return c
    return chr(0x2400 + ord(c)) if ord(c) < 32 else "\u2421" if ord(c) == 127 else "\N{REPLACEMENT CHARACTER}"


def _encodable(text: str) -> bool:
    return not any("\ud800" <= c <= "\udfff" for c in text)


def _utf8(stream: Any) -> bool:
    return (getattr(stream, "encoding", None) or "").lower().replace("-", "") == "utf8"


def plain(stream: Any) -> bool:
    """Whether a stream gets no escape codes: no terminal, or the user said so."""
    return not stream.isatty() or "NO_COLOR" in os.environ or os.environ.get("TERM") in (None, "", "dumb")


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
    _write("\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n")


def _narrowest(rows: Sequence[Sequence[str]], head: Sequence[str], numbers: Iterable[int]) -> int:
    """The columns that a table takes at the least: all of a number, some of a text, and what is between."""
    widest = [max(len(row[k]) for row in (*rows, head)) for k in range(len(head))]
    return sum(width if k in numbers else min(width, 10) for k, width in enumerate(widest)) + 2 * (len(head) - 1)


def _widths(rows: Sequence[Sequence[str]], head: Sequence[str] | None) -> list[int]:
    every = [*rows, *([head] if head else [])]
    return [max(2 * len(row[k]) for row in every) for k in range(len(every[0]))] if every else []


def duration(seconds: float) -> str:
    """7 s, 1:05, 2:03:04."""
    seconds = max(0, round(seconds))
    if seconds < 60:
        return f"{seconds} s"
    hours, minutes = divmod(seconds // 60, 60)
    return f"{hours}:{minutes:02d}:{seconds % 60:02d}" if hours else f"{minutes}:{seconds % 60:02d}"


def perplexity(value: float, digits: int = 3) -> str:
    """A perplexity as people read it: beyond a million its digits say nothing."""
    return f"{value:,.{digits}f}" if value <= LARGEST else f"over {LARGEST:,}"


class Loss:
    """Nats per symbol as the user of a unit thinks of them: bits per character, or perplexity per word.

    Those of a cloze model are `pseudo`: no bits of the text.
    """

    def __init__(self, unit: str, characters_per_symbol: float, pseudo: bool = False):
        self.unit, self.ratio, self.pseudo = unit, characters_per_symbol, pseudo

    def __call__(self, nats: float | None) -> str:
        if nats is None:
            return "–"
        if self.pseudo:
            return f"{nats:.3f} pseudo-nats (pseudo-perplexity {perplexity(math.exp(min(nats, 50)), 2)})"
        if self.unit == "char":
            return f"{nats:.3f} nats ({nats / math.log(2) / self.ratio:.3f} bits/char)"
        return f"{nats:.3f} nats (perplexity {perplexity(math.exp(min(nats, 50)), 1)})"
