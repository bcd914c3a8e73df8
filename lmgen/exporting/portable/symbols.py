"""Texts as symbols and ids."""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from itertools import pairwise
from typing import Any

from lmgen.exporting.portable.given import EOS, MODEL, UNK


@cache
def symbol_ids():
    """The id of each symbol that has a spelling."""
    ids = {symbol: id for id, symbol in enumerate(MODEL["symbols"], 2)}
    if MODEL["unk_token"] is not None:
        ids[MODEL["unk_token"]] = ids[UNITS[MODEL["unit"]]["lead"] + MODEL["unk_token"]] = UNK
    return ids


def normal(text):
    """A text in the form that the model reads."""
    form: Any = (MODEL["normalize"] or "").upper()

    def formed(some):
        return unicodedata.normalize(form, some) if form else some

    return formed(formed(text).lower()) if MODEL["lowercase"] else formed(text)


def split(text):
    """The symbols of a text."""
    unit, mark, text = UNITS[MODEL["unit"]], MODEL["unk_token"], normal(text)
    pattern = unit["pattern"]
    if mark is not None and not re.fullmatch(pattern, mark):
        pattern = f"(?:{unit['lead']})?{re.escape(mark)}|{pattern}"
    words = re.findall(pattern, unit["lead"] + text) if text else []
    return unit["cut"](words) if "cut" in unit else words


def encode(text):
    """The ids of a text. A symbol that is not in the vocabulary becomes UNK."""
    ids = symbol_ids()
    return [ids.get(symbol, UNK) for symbol in split(text)]


def spell(id):
    """The symbol of an id: nothing for EOS, the mark of the corpus for UNK."""
    if id == UNK:
        return UNITS[MODEL["unit"]]["lead"] + (MODEL["unk_token"] or "\N{REPLACEMENT CHARACTER}")
    return "" if id == EOS else MODEL["symbols"][id - 2]


def join(symbols):
    """The text of symbols."""
    unit = UNITS[MODEL["unit"]]
    text = unit["glue"].join(symbols).removeprefix(unit["lead"])
    return unit["text_of"](text) if "text_of" in unit else text


def decode(ids):
    """The text of ids, with what stands between sequences for each EOS but the last."""
    sequences: list[list[str]] = [[]]
    for id in ids:
        if id == EOS:
            sequences.append([])
        else:
            sequences[-1].append(spell(id))
    if len(sequences) > 1 and not sequences[-1]:
        sequences.pop()
    return MODEL["between"].join(map(join, sequences))


def cut_to_subwords(words):
    """Words cut into subwords: again and again, of all neighbours that make a subword, the first in the table are merged."""
    ids, found = subword_ids(), []
    for word in words:
        parts = [bytes([byte]) for byte in word.encode("utf-8", "surrogatepass")]
        while True:
            pairs = [(ids.get(a + b, len(ids)), len(a), at) for at, (a, b) in enumerate(pairwise(parts))]
            merges = [one for one in pairs if max(ids[parts[one[2]]], ids[parts[one[2] + 1]]) < one[0] < len(ids)]
            if not merges:
                break
            at = min(merges)[2]
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        found += [part.decode("utf-8", "surrogateescape") for part in parts]
    return found


@cache
def subword_ids():
    """The place of each subword, by its bytes."""
    return {bytes_of(symbol): id for id, symbol in enumerate(MODEL["symbols"])}


def bytes_of(symbol):
    """The bytes of a subword, of which those that are no whole character are written U+DC80 to U+DCFF."""
    return symbol.encode("utf-8", "surrogateescape")


def text_of_subwords(symbols):
    """The text of joined subwords; bytes that are no text become U+FFFD."""
    try:
        text = bytes_of(symbols).decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        text = bytes_of(symbols).decode("utf-8", "replace")
    return re.sub("[\ud800-\udfff]", "\ufffd", text)


UNITS: dict[str, Any] = {
    "char": {"pattern": r"(?s:.)", "lead": "", "glue": ""},
    "subword": {
        "pattern": r"'(?:[sdmt]|ll|ve|re)| ?(?:[^\W\d_]|[\u0300-\u1fff]){1,100}| ?\d{1,100}| ?(?:[^\w\s]|_){1,100}"
        r"|\s{1,100}(?!\S)|\s{1,100}",
        "lead": "",
        "glue": "",
        "cut": cut_to_subwords,
        "text_of": text_of_subwords,
    },
    "word": {"pattern": r"\S+", "lead": "", "glue": " "},
    "word-punct": {"pattern": r" ?\w+| ?[^\w\s]|\s+(?= [^\s])|\s+", "lead": " ", "glue": ""},
    "word-only": {"pattern": r"\w+(?:[-'’]\w+)*", "lead": "", "glue": " "},
}
