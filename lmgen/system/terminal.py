"""Text out: results on stdout, everything else on stderr; escape codes on terminals only, and never from a text."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Iterator
from typing import Any

from lmgen.errors import LmgenError


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


def write(text: str) -> None:
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
    write(shown(text, sys.stdout) + "\n")


def put_bytes(content: bytes) -> None:
    """Bytes as they are, on stdout; on a terminal as the text that they are."""
    finish()
    if sys.stdout.isatty():
        write(shown(content.decode("utf-8", "replace"), sys.stdout))
        return
    with _writing():
        sys.stdout.buffer.write(content)


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


def plain(stream: Any) -> bool:
    """Whether a stream gets no escape codes: no terminal, or the user said so."""
    return not stream.isatty() or "NO_COLOR" in os.environ or os.environ.get("TERM") in (None, "", "dumb")


def duration(seconds: float) -> str:
    """7 s, 1:05, 2:03:04."""
    seconds = max(0, round(seconds))
    if seconds < 60:
        return f"{seconds} s"
    hours, minutes = divmod(seconds // 60, 60)
    return f"{hours}:{minutes:02d}:{seconds % 60:02d}" if hours else f"{minutes}:{seconds % 60:02d}"
