"""Text as the numbers that a model did not expect: compression by arithmetic coding, which proves the bits that `eval` claims.

A file is a header, what does not fit the model's sequences (line ends, blank lines, white space between words that is no single
space), and the words of a range coder (constriction's; Martin 1979): each symbol costs −log2 of its probability. An unknown
symbol is coded as UNK, then by the bytes of its spelling, as `evaluate.spelling_nats` counts it.

Independent sequences are read in columns side by side; a column that has reached EOS takes the next sequence. Every probability
comes from the same compiled step when the file is written and when it is read, so both see the same bits.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import struct
import zlib
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from lmgen.data.reading import SEQUENCES
from lmgen.data.vocab import EOS, UNITS, UNK, Vocab
from lmgen.errors import InputError
from lmgen.evaluation.scores import spelling_code
from lmgen.models.loading import NGramModel, level_arrays
from lmgen.models.networks import Cloze, Recurrent, sound
from lmgen.system import trees

COLUMNS = 64  # sequences read side by side
HEADER = struct.Struct("<4sB8s8s8sQII")  # magic, flags, model, content, file, length, sequences, bytes of the rest
MAGIC = b"lmz\x01"
MARK, WINDOWS = 1, 2  # flags: a byte-order mark came first; lines end with CR LF
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
END = 256  # the end of a spelling
MUCH = 1 << 22  # bytes that may come of compressed ones, however few these are

Model = Recurrent | NGramModel


def compress(lm: Model | Cloze, content: bytes) -> bytes:
    """Any bytes at all, compressed by a model; `decompress` gives them back.

    Raises InputError for a model that gives no probability of a text, or that drops a part of it.
    """
    model = _usable(lm)
    flags, text = _plain(content)
    parts = _cut(text, model)
    words = [model.vocab.split(part) for part in parts.sequences]
    rest = {name: value for name, value in parts.odd(model.sequence).items() if value}
    spaces = {k: found for k, part in enumerate(parts.sequences) if (found := _spaces(model.vocab, part, words[k]))}
    if spaces:
        rest["spaces"] = spaces
    extra = _packed(rest) if rest else b""
    coder = _Writer(model.vocab)
    _through(model, coder, len(words), words)
    body = extra + coder.words()
    known = (identity(model), _hash(content))
    sizes = (len(content), len(words), len(extra))
    file = _hash(HEADER.pack(MAGIC, flags, *known, b"", *sizes), body)
    return HEADER.pack(MAGIC, flags, *known, file, *sizes) + body


def decompress(lm: Model | Cloze, data: bytes) -> bytes:
    """What `compress` was given. Raises InputError for another model, or where the data or what comes of them is damaged."""
    model = _usable(lm)
    if len(data) < HEADER.size or not data.startswith(MAGIC[:3]):
        raise InputError("this is no file that lmgen compress wrote: give one")
    magic, flags, who, content, file, length, sequences, extra = HEADER.unpack_from(data)
    if magic != MAGIC:
        raise InputError("the file was written by a newer lmgen: install that")
    body = data[HEADER.size :]
    if file != _hash(HEADER.pack(magic, flags, who, content, b"", length, sequences, extra), body) or extra > len(body):
        raise InputError("the file is damaged (its content does not match its hash): copy it again")
    if who != identity(model):
        raise InputError("the file was compressed by another model: name the one that compressed it")
    rest = _unpacked(body[:extra]) if extra else {}
    coder = _Reader(model.vocab, body[extra:], length + sequences)
    words = _through(model, coder, sequences, None)
    spaces = rest.pop("spaces", {})
    found = [_joined(model.vocab, symbols, spaces.get(str(k))) for k, symbols in enumerate(words)]
    result = _bytes(flags, _Parts.joined(found, rest, model.sequence))
    if _hash(result) != content:
        raise InputError(
            "what came of the file is not what went into it: it was compressed with other versions, or on another processor"
        )
    return result


def identity(lm: Model) -> bytes:
    """Eight bytes that tell a model from any other: of its vocabulary, its settings and its weights."""
    arrays = level_arrays(lm.levels) if isinstance(lm, NGramModel) else trees.flatten(lm.params)
    parts = chain(*((name.encode(), a.tobytes()) for name, a in sorted(arrays.items())))
    return _hash(lm.vocab.to_json().encode(), repr((lm.config, lm.sequence)).encode(), *parts)


def _usable(lm: Model | Cloze) -> Model:
    if isinstance(lm, Cloze):
        raise InputError("a model of both directions gives no probability of a text, so it cannot compress: name another")
    if lm.vocab.unit == "word-only":
        raise InputError("the model reads words alone and drops what is between them: train one with --unit word or word-punct")
    return lm


def _packed(rest: dict[str, Any]) -> bytes:
    """What does not fit the sequences; stored as it is where it would be compressed so far that nobody should unpack it."""
    text = json.dumps(rest, separators=(",", ":")).encode()
    packed = zlib.compress(text, 9)
    return packed if len(text) <= _most(packed) else zlib.compress(text, 0)


def _most(packed: bytes) -> int:
    """How many bytes may come of some that were compressed: a few hundred could otherwise fill the memory."""
    return MUCH + 8 * len(packed)


def _unpacked(packed: bytes) -> dict[str, Any]:
    """What `_packed` was given. Raises InputError for anything else."""
    try:
        unpacking = zlib.decompressobj()
        text = unpacking.decompress(packed, _most(packed))
        if not unpacking.eof:
            raise ValueError("more than there can be")
        rest = json.loads(text)
        gaps, spaces, after = rest.get("gaps", {}), rest.get("spaces", {}), rest.get("after", [""])
        strings = [rest.get("before", ""), *gaps.values(), *chain(*spaces.values())]
        if not all(isinstance(s, str) for s in strings) or type(after) is not list or [type(s) for s in after] != [str]:
            raise ValueError("what should be text is none")
        return rest
    except (zlib.error, ValueError, TypeError, AttributeError, RecursionError):
        raise InputError("the file is damaged (what is beside its words cannot be read): copy it again") from None


def _hash(*parts: bytes) -> bytes:
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        digest.update(part)
    return digest.digest()


# ---- bytes <-> sequences -----------------------------------------------------------------------------------------------


def _plain(content: bytes) -> tuple[int, str]:
    """The text of any bytes (what is no UTF-8 as surrogates), without what flags can say."""
    flags = MARK * content.startswith(BYTE_ORDER_MARK)
    text = content[3 * bool(flags) :].decode("utf-8", "surrogateescape")
    if text.count("\r\n") == text.count("\n") > 0:
        return flags | WINDOWS, text.replace("\r\n", "\n")
    return flags, text


def _bytes(flags: int, text: str) -> bytes:
    text = text.replace("\n", "\r\n") if flags & WINDOWS else text
    return (BYTE_ORDER_MARK if flags & MARK else b"") + text.encode("utf-8", "surrogateescape")


class _Parts(NamedTuple):
    """A text as its sequences and what stands before, between and after them."""

    before: str
    sequences: list[str]
    gaps: list[str]
    after: str

    def odd(self, sequence: str) -> dict[str, Any]:
        """What is not as it mostly is: {"before": …, "gaps": {number: gap}, "after": …}."""
        usual, end = _usual(sequence)
        gaps = {k: gap for k, gap in enumerate(self.gaps) if gap != usual}
        after = None if self.after == (end if self.sequences else "") else [self.after]
        return {"before": self.before, "gaps": gaps, "after": after}

    @staticmethod
    def joined(sequences: list[str], odd: dict[str, Any], sequence: str) -> str:
        usual, end = _usual(sequence)
        gaps = odd.get("gaps", {})
        after = odd.get("after", [end if sequences else ""])[0]
        pieces = chain(*zip(sequences, (gaps.get(str(k), usual) for k in range(len(sequences) - 1)), strict=False))
        return odd.get("before", "") + "".join(pieces) + "".join(sequences[-1:]) + after


def _usual(sequence: str) -> tuple[str, str]:
    return {"line": ("\n", "\n"), "paragraph": ("\n\n", "\n"), "file": ("", "")}[sequence]


def _cut(text: str, lm: Model) -> _Parts:
    """The sequences that the model would read; where it passes over blank ones they belong to what is between."""
    boundary = SEQUENCES[lm.sequence]
    if boundary is None:
        return _Parts("", [text] if text else [], [], "")
    fields = re.split(f"({boundary.pattern})", text)
    before, held = "", ""
    sequences: list[str] = []
    gaps: list[str] = []
    for k in range(0, len(fields), 2):
        piece, gap = fields[k], "".join(fields[k + 1 : k + 2])
        last = k == len(fields) - 1
        if not piece.strip() and (not lm.carry or (last and not piece)):
            held += piece + gap
            continue
        if sequences:
            gaps.append(held)
        else:
            before = held
        sequences.append(piece)
        held = gap
    if not sequences:
        return _Parts(held, [], [], "")
    last_line = re.search(r"\n*\Z", sequences[-1])  # of a paragraph: its end is none of the boundaries
    assert last_line
    sequences[-1] = sequences[-1][: last_line.start()]
    return _Parts(before, sequences, gaps, last_line[0] + held)


def _spaces(vocab: Vocab, text: str, symbols: list[str]) -> list[str] | None:
    """The white space around words, where it is no single space between them."""
    if UNITS[vocab.unit].join(symbols) == text:
        return None
    return re.split(r"\S+", text)


def _joined(vocab: Vocab, symbols: list[str], spaces: list[str] | None) -> str:
    if spaces is None:
        return UNITS[vocab.unit].join(symbols)
    if len(spaces) != len(symbols) + 1:
        raise InputError("the file is damaged (its words and the space between them differ in number): copy it again")
    return spaces[0] + "".join(chain(*zip(symbols, spaces[1:], strict=True)))


# ---- symbols <-> words of the coder ------------------------------------------------------------------------------------


def _through(lm: Model, coder: _Writer | _Reader, sequences: int, texts: list[list[str]] | None) -> list[list[str]]:
    """Bring all sequences through the coder: `texts` into it, or, without them, out of it. They are what is returned."""
    if not sequences:
        return []
    columns = 1 if lm.carry else min(COLUMNS, sequences)
    waiting = iter(range(sequences))
    at: list[int | None] = [next(waiting) for _ in range(columns)]
    found: list[list[str]] = [[] for _ in range(columns)]  # more come as they begin: so many as a header says need not be there
    state, inputs = lm.start(columns), np.full(columns, EOS, np.int32)
    while active := [k for k in range(columns) if at[k] is not None]:
        state, logits = lm.read(state, inputs[None])
        p = _probabilities(sound(np.asarray(logits)[0, active]))
        numbers = [number for k in active if (number := at[k]) is not None]
        symbols = coder.step(p, [_next(texts[n], found[n]) if texts else "" for n in numbers])
        for k, number, (id, symbol) in zip(active, numbers, symbols, strict=True):
            inputs[k] = id
            if id == EOS:
                at[k] = next(waiting, None)
                if at[k] is not None:
                    found.append([])
            else:
                found[number].append(symbol)
    return found


def _next(symbols: list[str], found: list[str]) -> str:
    return symbols[len(found)] if len(found) < len(symbols) else ""


def _probabilities(logits: np.ndarray) -> np.ndarray:
    p = np.exp((logits - logits.max(-1, keepdims=True)).astype(np.float64))
    return (p / p.sum(-1, keepdims=True)).astype(np.float32)


def _constriction() -> Any:
    try:
        import constriction
    except ImportError:
        raise InputError("compression needs constriction, which is not installed: pip install constriction") from None
    return constriction.stream


class _Coder:
    """What writing and reading have in common: the models of ids, of spellings, and of the corpus's own mark."""

    def __init__(self, vocab: Vocab):
        stream = _constriction()
        self.vocab = vocab
        self.ids = stream.model.Categorical(perfect=False)
        self.letters = stream.model.Categorical(np.exp(-spelling_code(vocab)).astype(np.float32), perfect=False)
        self.marked = stream.model.Uniform(2)

    @property
    def mark(self) -> str:
        """The corpus's own spelling of what is unknown."""
        return self.vocab.spell(UNK)


class _Writer(_Coder):
    def __init__(self, vocab: Vocab):
        super().__init__(vocab)
        self.coder = _constriction().queue.RangeEncoder()

    def step(self, p: np.ndarray, symbols: list[str]) -> list[tuple[int, str]]:
        """Write one symbol of each row; "" is EOS."""
        ids = np.array([self.vocab.ids.get(s, UNK) if s else EOS for s in symbols], np.int32)
        self.coder.encode(ids, self.ids, p)
        for k in np.flatnonzero(ids == UNK):
            self.spell(symbols[k])
        return list(zip(ids.tolist(), symbols, strict=True))

    def spell(self, symbol: str) -> None:
        if self.vocab.unk_token is not None:
            self.coder.encode(int(symbol == self.mark), self.marked)
            if symbol == self.mark:
                return
        letters = [*symbol.encode("utf-8", "surrogateescape"), END]
        self.coder.encode(np.array(letters, np.int32), self.letters)

    def words(self) -> bytes:
        return self.coder.get_compressed().astype("<u4").tobytes()


class _Reader(_Coder):
    def __init__(self, vocab: Vocab, data: bytes, most: int):
        super().__init__(vocab)
        self.left = most
        self.bits = 1.001 * 8 * len(data) + 256  # what symbols may have cost, that came of so many bytes
        self.costs = [min(24.0, cost / math.log(2)) for cost in spelling_code(vocab).tolist()]
        self.coder = _constriction().queue.RangeDecoder(np.frombuffer(data[: len(data) // 4 * 4], "<u4").astype(np.uint32))

    def step(self, p: np.ndarray, _: list[str]) -> list[tuple[int, str]]:
        """Read one symbol of each row."""
        ids = self.decode(self.ids, p).tolist()
        self.spend(len(ids), float(-np.log2(np.maximum(p[np.arange(len(ids)), ids], 2.0**-24)).sum(dtype=np.float64)))
        return [(id, self.spelt() if id == UNK else self.vocab.spell(id)) for id in ids]

    def decode(self, *model: Any) -> Any:
        try:
            return self.coder.decode(*model)
        except (AssertionError, ValueError):  # no writer makes such words
            raise InputError("the file is damaged: copy it again, or name the model that compressed it") from None

    def spelt(self) -> str:
        if self.vocab.unk_token is not None and self.decode(self.marked):
            return self.mark
        letters = bytearray()
        while (letter := self.decode(self.letters)) != END:
            self.spend(1, self.costs[letter])
            letters.append(letter)
        return letters.decode("utf-8", "surrogateescape")

    def spend(self, symbols: int, bits: float) -> None:
        """Symbols that came, and what they cost; more than the content, or than the bytes, can have come of damaged data only."""
        self.left -= symbols
        self.bits -= bits
        if self.left < -(1 << 20) or self.bits < 0:
            raise InputError("the file is damaged: copy it again, or name the model that compressed it")
