"""The scale of surprise, and symbols as people can see them: on pages, in notebooks and on terminals."""

from __future__ import annotations

import math
import unicodedata

LEVELS = 10
EOS = "⏎"  # how the end of a sequence is shown
_SHOWN = {"\n": "↵", "\t": "⇥", "\x7f": "␡"} | {chr(k): chr(0x2400 + k) for k in range(32) if chr(k) not in "\n\t"}


def level(nats: float) -> int:
    """The whole bits of surprise, 0 to 9: the class s0 … s9 of base.css."""
    bits = nats / math.log(2)
    return int(min(LEVELS - 1, max(0.0, bits))) if bits == bits else LEVELS - 1


def visible(text: str) -> str:
    """A text whose every character is seen, but for spaces: what steers a terminal or a page, or has no picture, is named."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _SHOWN.get(c) or f"⟨U+{ord(c):04X}⟩" for c in text)


def in_text(symbol: str) -> str:
    """A symbol in its text: EOS and line ends are seen, and a line end ends the line."""
    return "↵\n".join(map(visible, symbol.split("\n"))) if symbol else EOS


def named(symbol: str) -> str:
    """A symbol that stands alone: spaces are seen, too, and an accent has something to stand on."""
    lone = "◌" * (symbol != "" and unicodedata.combining(symbol[0]) > 0)
    return lone + visible(symbol).replace(" ", "␣") if symbol else EOS
