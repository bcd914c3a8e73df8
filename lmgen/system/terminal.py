"""Text out: results to stdout, everything else to stderr; no escape codes from a text, nor to anything but a terminal."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import shutil
import sys
import unicodedata
from collections.abc import Iterator
from typing import Any

from lmgen.errors import LmgenError

_WINDOWS = os.name == "nt"


class ReaderGoneError(Exception):
    """The reader of our stdout has closed it: a reason to end, not an error."""


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise ReaderGoneError from None
    except OSError as error:
        raise LmgenError(f"cannot write to standard output ({error.strerror}): make room, or send it elsewhere") from None


def begin() -> None:
    """Make sure that stdout takes any text: what it cannot encode becomes question marks.

    Files and pipes get UTF-8 also on Windows, whose usual encoding is another, unless PYTHONIOENCODING names one: what lmgen
    writes it can read.
    """
    stream = sys.stdout
    if not isinstance(stream, io.TextIOWrapper):
        return
    if _WINDOWS and not stream.isatty() and not os.environ.get("PYTHONIOENCODING"):
        stream.reconfigure(encoding="utf-8", newline="\n")
    stream.reconfigure(errors="replace")


def write(text: str) -> None:
    with _writing():
        sys.stdout.write(text)
        if sys.stdout.isatty():
            sys.stdout.flush()


def finish() -> None:
    """Flush stdout."""
    with _writing():
        sys.stdout.flush()


def give_up() -> None:
    """Drop output that cannot be written, so that it is not tried again when the program ends."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def note(*messages: str) -> None:
    """Write sentences for the user to stderr, each on lines of its own; on a terminal they are wrapped between words."""
    with contextlib.suppress(OSError):  # a terminal that is gone does not end a training
        for message in messages:
            print(shown(wrapped(message, sys.stderr), sys.stderr), file=sys.stderr, flush=True)


def wrapped(message: str, stream: Any) -> str:
    """A sentence in lines that fit the terminal; in one line elsewhere."""
    if not stream.isatty():
        return message
    limit = max(20, shutil.get_terminal_size().columns)
    lines, used, spaces = [""], 0, ""
    for token in _TOKENS.findall(message):
        if token.isspace():
            spaces = " " * len(token)
            continue
        needed = width(spaces) + width(token)
        if used and used + needed > limit:
            lines.append(token)
            used = width(token)
        else:
            lines[-1] += spaces + token
            used += needed
        spaces = ""
    return "\n".join(lines)


# What stays on a line: a word, or a wide character with the mark after it, which begins no line.
_WIDE = "\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\U0001f300-\U0003ffff"
_TOKENS = re.compile(f"\\s+|[{_WIDE}][、。〉》」』】〕〗！），．：；？]*|[^\\s{_WIDE}]+")


def width(text: str) -> int:
    """The columns that a text takes on a terminal: two for a wide character (Unicode Standard Annex 11), none for an accent."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.category(c) in ("Mn", "Me", "Cf") for c in text)


def put(text: str) -> None:
    """Write a line of results to stdout."""
    write(shown(text, sys.stdout) + "\n")


def put_bytes(content: bytes) -> None:
    """Write bytes to stdout; a terminal gets them as text."""
    finish()
    if sys.stdout.isatty():
        write(shown(content.decode("utf-8", "replace"), sys.stdout))
        return
    with _writing():
        sys.stdout.buffer.write(content)


def shown(text: str, stream: Any) -> str:
    """The text as a stream gets it: on a terminal, code points that could steer it (control, C1, bidirectional) become pictures;
    characters that the stream cannot encode become question marks."""
    if stream.isatty():
        text = "".join(map(_picture, text))
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)


def _picture(c: str) -> str:
    if c in "\n\t" or c.isprintable() or unicodedata.category(c) in ("Zs", "Co", "Cn"):
        return c
    return chr(0x2400 + ord(c)) if ord(c) < 32 else "\u2421" if ord(c) == 127 else "\N{REPLACEMENT CHARACTER}"


def plain(stream: Any) -> bool:
    """Whether a stream gets no escape codes: it is no terminal, or the environment forbids them."""
    return not stream.isatty() or "NO_COLOR" in os.environ or os.environ.get("TERM") in (None, "", "dumb")


def command(*words: str) -> str:
    """Words as a command that can be pasted into a shell of this system."""
    return " ".join(map(_quoted, words)) if _WINDOWS else shlex.join(words)


def _quoted(word: str) -> str:
    """A word for cmd and PowerShell, by the rules that programs on Windows parse (CommandLineToArgvW)."""
    if re.fullmatch(r"[\w@+=:,./\\-]+", word):
        return word
    return '"' + re.sub(r"(\\+)$", r"\1\1", re.sub(r'(\\*)"', r'\1\1\\"', word)) + '"'


def duration(seconds: float) -> str:
    """7 s, 1:05, 2:03:04."""
    seconds = max(0, round(seconds))
    if seconds < 60:
        return f"{seconds} s"
    hours, minutes = divmod(seconds // 60, 60)
    return f"{hours}:{minutes:02d}:{seconds % 60:02d}" if hours else f"{minutes}:{seconds % 60:02d}"
