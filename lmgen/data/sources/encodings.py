"""The likeliest encodings of bytes that are not UTF-8: offered by name, each with what it makes of them, and never chosen."""

from __future__ import annotations

import codecs
import re
from typing import Any

MOST = 3  # encodings that are offered
SHOWN = 20  # characters of the text in each
HEAD = 1 << 15  # bytes of the text that tell
PAIRS, DOUBTFUL = 0.3, 0.1  # the share of bytes read with another, and the disorder of a reading
# Among encodings that are about as likely the more usual comes first.
_USUAL = ("cp1252", "cp1251", "gb18030", "big5", "cp932", "euc_jp", "euc_kr", "koi8_r", "cp1250", "iso8859_2", "cp874")


def way_out(content: bytes, at: int, encoding: str) -> str:
    """What to do about bytes that an encoding cannot decode from place `at` on, as a part of a sentence."""
    lines = content[content.rfind(b"\n", 0, at) + 1 :].split(b"\n")
    sample = b"\n".join(line for line in lines if not line.isascii())[:HEAD]
    decoded = sample.decode("utf-8", "replace")
    if encoding != "utf-8" and decoded and "\ufffd" not in decoded[:-1]:  # the last character may be cut
        return "it is UTF-8: leave out --encoding"
    if len(re.findall("[^\x00-\x7f\ufffd]", decoded)) > 2 * decoded.count("\ufffd"):
        return "most of it is UTF-8, so these bytes are damaged: give another --encoding"
    found = likeliest(sample)
    if found is None:
        return "give its --encoding, such as latin-1 (pip install 'lmgen[encodings]' lets lmgen name the likeliest)"
    if not found:
        return "give its --encoding, such as latin-1"
    several = ", ".join(f"{name} ({excerpt!r})" for name, excerpt in found)
    return f"likeliest is {several}: add --encoding {found[0][0]}, if that reads right"


def likeliest(content: bytes) -> list[tuple[str, str]] | None:
    """The names of the likeliest encodings, each with the first words that are not ASCII in it; none where none fits, and None
    where charset-normalizer is missing."""
    try:
        import charset_normalizer
    except ImportError:
        return None
    found, ranks = [*charset_normalizer.from_bytes(content)], dict[tuple[float, float], int]()

    def rank(match: Any) -> tuple[bool, int, int]:
        """By the detector's order, but first what reads most bytes in pairs: hardly any text of single bytes can be read so."""
        likely = ranks.setdefault((round(match.chaos, 2), round(match.coherence, 2)), len(ranks))
        return match.multi_byte_usage < PAIRS or match.chaos > DOUBTFUL, likely, [*_USUAL, match.encoding].index(match.encoding)

    readings: dict[str, str] = {}
    for match in sorted(found, key=rank):
        readings.setdefault(str(match), codecs.lookup(match.encoding).name)
    return [(name, _excerpt(text)) for text, name in readings.items()][:MOST]


def _excerpt(text: str) -> str:
    """The first words that tell encodings apart."""
    match = re.search(r"\S*[^\x00-\x7f].*", text)
    return match[0][:SHOWN].strip() if match else ""
