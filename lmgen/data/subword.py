"""Byte-level BPE: words cut into subwords, strings of bytes that occur often (Sennrich et al. 2016; Radford et al. 2019).

The symbols are the 256 bytes and then the subwords, in the order in which they were learnt; together they define how a word is
cut. Its bytes are merged, pair by pair: of all neighbours that make a subword, those whose subword was learnt first, until none
are left. A symbol is kept as a string: its bytes as UTF-8, where a byte that is only a part of a character is U+DC80 to U+DCFF.
"""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import chain
from types import ModuleType
from typing import Any

from lmgen.errors import InputError

# A word or a run of marks, 100 characters of it at most, with the space before it (Radford et al. 2019). To `re`, signs of vowels
# and accents are no letters: whatever is between U+0300 and U+1FFF belongs to a word.
PATTERN = (
    r"'(?:[sdmt]|ll|ve|re)| ?(?:[^\W\d_]|[\u0300-\u1fff]){1,100}| ?\d{1,100}| ?(?:[^\w\s]|_){1,100}|\s{1,100}(?!\S)|\s{1,100}"
)
BYTES = 256
LONGEST = 64  # bytes of a subword
FEWEST, MOST = 500, 8_000  # symbols that are chosen for a text, at least and at most
LEAST_PAIRS = 2  # times that a pair occurs to become a subword
KINDS = 1 << 20  # kinds of words that are counted, and about as many whose ids are remembered
# What bounds the time to learn: bytes of different words, the most frequent first, and words in all (more are scaled down).
MOST_BYTES, MOST_WORDS = 1 << 21, 1 << 22
BETWEEN = "\u0100"  # parts the words on their way to the library, in which a byte is a character up to U+00FF
_PARTIAL, _HALVES = re.compile("[\udc80-\udcff]"), re.compile("[\ud800-\udfff]")


def bytes_of(symbol: str) -> bytes:
    """The bytes of a symbol, or of several joined."""
    return symbol.encode("utf-8", "surrogateescape")


def symbol_of(content: bytes) -> str:
    """The symbol of these bytes."""
    return content.decode("utf-8", "surrogateescape")


def text_of(symbols: str) -> str:
    """The text of joined symbols; bytes that are no UTF-8, which only a model writes, become U+FFFD."""
    if not _PARTIAL.search(symbols):
        return symbols
    content = bytes_of(symbols)
    try:
        return content.decode("utf-8", "surrogatepass")  # a text may hold halves of characters
    except UnicodeDecodeError:
        return content.decode("utf-8", "replace")


def written(text: str) -> str:
    """A text that a model wrote, with U+FFFD for the halves of characters that its bytes spell."""
    return _HALVES.sub("\ufffd", text)


def characters(symbol: str) -> int:
    """The number of characters that begin in a symbol: all but the bytes that continue one."""
    return len(re.sub("[\udc80-\udcbf]", "", symbol))


def shown(symbol: str) -> str:
    """A symbol for people: a byte that is only a part of a character as \\xe2."""
    return _PARTIAL.sub(lambda match: f"\\x{ord(match[0]) - 0xDC00:02x}", symbol)


def fault(symbols: Sequence[str]) -> str:
    """Why these are not the symbols of a vocabulary of subwords; empty if they are."""
    if [*symbols[:BYTES]] != ALPHABET:
        return "its first symbols are not the 256 bytes"
    for symbol in symbols[BYTES:]:
        try:
            content = bytes_of(symbol)
        except UnicodeEncodeError:
            content = b""
        if symbol_of(content) != symbol or len(content) > LONGEST:
            return f"{symbol[:LONGEST]!r} is no subword"
    return ""


ALPHABET = [symbol_of(bytes([byte])) for byte in range(BYTES)]


def fewer(words: Counter[str]) -> Counter[str]:
    """The counts without the rarest words where there are more than `KINDS`, so that a text of any size is counted."""
    return words if len(words) <= KINDS else Counter(dict(words.most_common(KINDS // 2)))


def size_for(words: Counter[str]) -> int:
    """The number of symbols for a text of these words, where none is asked for: twice the square root of its bytes, rounded."""
    content = sum(len(_as_latin_1(word)) * n for word, n in words.items())
    return min(MOST, max(FEWEST, round(2 * math.sqrt(content) / 100) * 100))


def learn(words: Counter[str], size: int, least: int = LEAST_PAIRS) -> tuple[str, ...]:
    """The symbols learnt from the counts of words: the bytes, and subwords until there are `size` symbols or until no pair of
    neighbours occurs `least` times.

    The same counts give the same symbols. Raises InputError where the library tokenizers is missing.
    """
    library = _library()
    tokenizer = library.Tokenizer(library.models.BPE())
    tokenizer.pre_tokenizer = library.pre_tokenizers.CharDelimiterSplit(BETWEEN)
    trainer = library.trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=max(LEAST_PAIRS, least),
        initial_alphabet=[*map(chr, range(BYTES))],
        max_token_length=LONGEST,
        special_tokens=[],
        show_progress=False,
    )
    tokenizer.train_from_iterator(_repeated(words), trainer)
    ids = tokenizer.get_vocab()
    return tuple(symbol_of(spelt.encode("latin-1")) for spelt in sorted(ids, key=ids.__getitem__))


def _repeated(words: Counter[str]) -> Iterator[str]:
    """Each word as often as it occurs, in parts of moderate size."""
    scale, content = min(1.0, MOST_WORDS / max(1, words.total())), 0
    for word in sorted(words, key=lambda word: (-words[word], word)):
        part, left = BETWEEN + _as_latin_1(word), round(words[word] * scale)
        content += len(part)
        if content > MOST_BYTES:
            break
        while left > 0:
            yield part * min(left, 1 << 12)
            left -= 1 << 12


def _as_latin_1(word: str) -> str:
    """A word as the library reads it: a character for each byte."""
    return word.encode("utf-8", "surrogatepass").decode("latin-1")


class Encoder:
    """Cuts words into the ids of their symbols, of which the first is `first`. Raises InputError where tokenizers is missing."""

    def __init__(self, symbols: Sequence[str], first: int):
        self._of_bytes = {bytes_of(symbol): id for id, symbol in enumerate(symbols, first)}
        self._known: dict[str, list[int]] = {}

    def ids(self, words: Sequence[str]) -> Iterable[int]:
        """The ids of words, one after the other."""
        if len(self._known) > KINDS:
            self._known = {}
        known = self._known
        if new := [word for word in dict.fromkeys(words) if word not in known]:
            found = self._tokenizer.encode_batch_fast([*map(_as_latin_1, new)], add_special_tokens=False)
            known.update(zip(new, (one.ids for one in found), strict=True))
        return chain.from_iterable(map(known.__getitem__, words))

    @cached_property
    def _tokenizer(self) -> Any:
        """That of the library, with every pair of symbols whose bytes are those of a later one as a merge."""
        library, ids = _library(), self._of_bytes
        merges = [
            (whole[:k].decode("latin-1"), whole[k:].decode("latin-1"))
            for whole, id in ids.items()
            for k in range(1, len(whole))
            if ids.get(whole[:k], id) < id and ids.get(whole[k:], id) < id
        ]
        return library.Tokenizer(library.models.BPE({content.decode("latin-1"): id for content, id in ids.items()}, merges))


def _library() -> ModuleType:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # its threads gain nothing here, and warn where a process forks
    try:
        import tokenizers
    except ImportError:
        raise InputError("subwords need tokenizers, which is not installed: pip install 'lmgen[subword]'") from None
    return tokenizers
