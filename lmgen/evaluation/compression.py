"""Compression by arithmetic coding with a model: it proves the bits that `eval` claims.

A file holds a header, the parts of the text that are not in the model's sequences (line ends, blank lines, white space other than
single spaces between words), and the words of a range coder (constriction's; Martin 1979), in which a symbol takes −log2 of its
probability. An unknown symbol is coded as UNK and then by the bytes of its spelling, as `scores.spelling_nats` counts it.

Independent sequences are read in columns side by side; a column that has reached EOS takes the next sequence. Writing and reading
take every probability from the same compiled step, so both see the same bits.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import struct
import zlib
from dataclasses import asdict, fields, replace
from itertools import chain
from typing import Any

import numpy as np

from lmgen.data.reading import BETWEEN, SEQUENCES
from lmgen.data.vocab import EOS, UNK, Vocab
from lmgen.data.writing.normalization import AS_IT_IS
from lmgen.errors import InputError
from lmgen.evaluation.scores import spelling_code
from lmgen.models.capabilities import Generates, Model, finite, require
from lmgen.models.mixed import Mixed
from lmgen.nn.model import NetworkConfig

COLUMNS = 64  # sequences read side by side
HEADER = struct.Struct("<4sB8s8s8sQII")  # magic, flags, hashes of model, content and file, length, sequences, bytes of the rest
MAGIC = b"lmz\x01"
MARK, WINDOWS = 1, 2  # flags: the text begins with a byte-order mark; all its lines end with CR LF
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
END = 256  # the end of a spelling
MUCH = 1 << 22  # bytes that the rest may always unpack to
DAMAGED = "the file is damaged: copy it again, or name the model that compressed it"


def compress(lm: Model, content: bytes) -> bytes:
    """Any bytes, compressed by a model; `decompress` restores them.

    Raises InputError for a model that gives no probability of a text, or that drops a part of it.
    """
    model = _usable(lm)
    flags, text = _plain(content)
    sequences, rest = _cut(text, model)
    vocab = replace(model.vocab, normal=AS_IT_IS)  # what another form of the text would lose is spelt as unknown symbols
    words = [vocab.split(one) for one in sequences]
    join = vocab.join
    rest["spaces"] = {k: re.split(r"\S+", one) for k, one in enumerate(sequences) if join(words[k]) != one}
    packed = _packed({name: value for name, value in rest.items() if value})
    coder = _Writer(model.vocab)
    _code(model, coder, len(words), words)
    body = packed + coder.words()
    return _header((MAGIC, flags, identity(model), checksum(content)), (len(content), len(words), len(packed)), body) + body


def decompress(lm: Model, data: bytes) -> bytes:
    """The bytes that `compress` was given. Raises InputError for another model, and where the data or the result is damaged."""
    model = _usable(lm)
    if data.startswith(b"lmo"):
        raise InputError("the file was compressed with --online: leave the model out")
    if len(data) < HEADER.size or not data.startswith(MAGIC[:3]):
        raise InputError("this is no file that lmgen compress wrote: give one")
    magic, flags, who, wanted, _, length, sequences, packed = HEADER.unpack_from(data)
    if magic != MAGIC:
        raise InputError("the file was written by a newer lmgen: install that")
    head, body = data[: HEADER.size], data[HEADER.size :]
    if head != _header((magic, flags, who, wanted), (length, sequences, packed), body) or packed > len(body):
        raise InputError("the file is damaged (its content does not match its hash): copy it again")
    if isinstance(lm, Mixed) and who == identity(lm.network):
        raise InputError("the file was compressed by the network of this model alone: add --no-mixture")
    if who != identity(model):
        raise InputError("the file was compressed by another model: name the one that compressed it")
    rest = _unpacked(body[:packed])
    found = _code(model, _Reader(model.vocab, body[packed:], length + sequences), sequences, None)
    text = _joined(found, rest, model)
    text = text.replace("\n", "\r\n") if flags & WINDOWS else text
    content = BYTE_ORDER_MARK * (flags & MARK) + text.encode("utf-8", "surrogateescape")
    if checksum(content) != wanted:
        raise InputError("the restored file differs from the original: use the versions and the processor that compressed it")
    return content


def _header(head: tuple[bytes, int, bytes, bytes], sizes: tuple[int, int, int], body: bytes) -> bytes:
    return HEADER.pack(*head, checksum(HEADER.pack(*head, b"", *sizes), body), *sizes)


# Fields that models of the first version do not have: they count where they are set.
_NAMES = [field.name for field in fields(NetworkConfig)]
LATER = {name: getattr(NetworkConfig, name) for name in _NAMES[_NAMES.index("direction") + 1 :]}


def identity(lm: Model) -> bytes:
    """A hash of eight bytes of a model: of its vocabulary, its settings and its weights."""
    parts = chain(*((name.encode(), a.tobytes()) for name, a in sorted(lm.arrays().items())))
    config = {name: value for name, value in asdict(lm.config).items() if name not in LATER or value != LATER[name]}
    fields = ", ".join(f"{name}={value!r}" for name, value in config.items())
    settings = f"(Config({fields}), {lm.sequence!r})"  # part of the format
    return checksum(lm.vocab.to_json().encode(), settings.encode(), *parts)


def _usable(lm: Model) -> Generates:
    model = require(lm, Generates, "name a model that reads in one direction to compress with")
    if model.vocab.unit == "word-only":
        raise InputError("this model drops the text between words: train one with --unit word or word-punct")
    return model


def _packed(rest: dict[str, Any]) -> bytes:
    """The rest of a text, compressed; stored as it is where that could unpack to more than `_unpacked` accepts."""
    if not rest:
        return b""
    text = json.dumps(rest, separators=(",", ":")).encode()
    packed = zlib.compress(text, 9)
    return packed if len(text) <= MUCH + 8 * len(packed) else zlib.compress(text, 0)


def _unpacked(packed: bytes) -> dict[str, Any]:
    """What `_packed` was given. Raises InputError for anything else, before a few damaged bytes fill the memory."""
    if not packed:
        return {}
    try:
        unpacking = zlib.decompressobj()
        rest = json.loads(unpacking.decompress(packed, MUCH + 8 * len(packed)))
        after = rest.get("after", [""])
        strings = [rest.get("before", ""), *rest.get("gaps", {}).values(), *chain(*rest.get("spaces", {}).values()), *after]
        if not (unpacking.eof and type(after) is list and len(after) == 1 and all(isinstance(s, str) for s in strings)):
            raise ValueError
        return rest
    except (zlib.error, ValueError, TypeError, AttributeError, RecursionError):
        raise InputError(DAMAGED) from None


def checksum(*parts: bytes) -> bytes:
    """Eight bytes that change if any byte of the parts does."""
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        digest.update(part)
    return digest.digest()


def _plain(content: bytes) -> tuple[int, str]:
    """Flags, and the text of any bytes without what these say; bytes that are no UTF-8 become surrogates."""
    flags = MARK * content.startswith(BYTE_ORDER_MARK)
    text = content[3 * bool(flags) :].decode("utf-8", "surrogateescape")
    if text.count("\r\n") == text.count("\n") > 0:
        return flags | WINDOWS, text.replace("\r\n", "\n")
    return flags, text


def _cut(text: str, lm: Generates) -> tuple[list[str], dict[str, Any]]:
    """The sequences that the model reads, and the text before, between (by number) and after them where it is not the usual one.
    Blank sequences that the model skips belong to that."""
    boundary, between = SEQUENCES[lm.sequence], BETWEEN[lm.sequence]
    if boundary is None:
        return [text] if text else [], {}
    fields = re.split(f"({boundary.pattern})", text)
    sequences: list[str] = []
    gaps = [""]  # before each sequence, and after the last
    for k in range(0, len(fields), 2):
        piece, gap = fields[k], "".join(fields[k + 1 : k + 2])
        last = k == len(fields) - 1
        if not piece.strip() and (not lm.carry or (last and not piece)):
            gaps[-1] += piece + gap
        else:
            sequences.append(piece)
            gaps.append(gap)
    if not sequences:
        return [], {"before": gaps[0]}
    end = sequences[-1].rstrip("\n")  # the line end of the last paragraph is no boundary
    after = sequences[-1][len(end) :] + gaps[-1]
    unusual = {k: gap for k, gap in enumerate(gaps[1:-1]) if gap != between}
    rest = {"before": gaps[0], "gaps": unusual, "after": None if after == between[:1] else [after]}
    return [*sequences[:-1], end], rest


def _joined(found: list[list[str]], rest: dict[str, Any], lm: Generates) -> str:
    """The text of sequences of symbols, with the rest of it."""
    join, between = lm.vocab.join, BETWEEN[lm.sequence]
    spaces, gaps = rest.get("spaces", {}), rest.get("gaps", {})
    parts = [rest.get("before", "")]
    for number, symbols in enumerate(found):
        around = spaces.get(str(number))
        if around and len(around) != len(symbols) + 1:
            raise InputError(DAMAGED)
        parts += chain(around[:1], *zip(symbols, around[1:], strict=True)) if around else [join(symbols)]
        parts.append(gaps.get(str(number), between) if number + 1 < len(found) else "")
    return "".join(parts) + rest.get("after", [between[:1] if found else ""])[0]


def _code(lm: Generates, coder: _Writer | _Reader, sequences: int, texts: list[list[str]] | None) -> list[list[str]]:
    """Write the sequences `texts` with a coder; without `texts`, read this number of sequences. Returns them."""
    if not sequences:
        return []
    columns = 1 if lm.carry else min(COLUMNS, sequences)
    waiting = iter(range(columns, sequences))
    at: list[int | None] = [*range(columns)]  # the sequence of each column
    found: list[list[str]] = [[] for _ in range(columns)]  # grows as sequences begin: a damaged header may claim too many
    state, inputs = lm.start(columns), np.full(columns, EOS, np.int32)
    while active := [(k, number) for k, number in enumerate(at) if number is not None]:
        state, logits = lm.read(state, inputs[None])
        rows = finite(np.asarray(logits)[0, [k for k, _ in active]])
        p = np.exp((rows - rows.max(-1, keepdims=True)).astype(np.float64))
        p = (p / p.sum(-1, keepdims=True)).astype(np.float32)
        wanted = ["".join(texts[n][len(found[n]) : len(found[n]) + 1]) if texts else "" for _, n in active]
        for (k, number), (id, symbol) in zip(active, coder.step(p, wanted), strict=True):
            inputs[k] = id
            if id != EOS:
                found[number].append(symbol)
                continue
            at[k] = next(waiting, None)
            if at[k] is not None:
                found.append([])
    return found


class _Coder:
    """What writing and reading share: the models of ids, of spellings, and of the corpus's mark for unknown symbols."""

    def __init__(self, vocab: Vocab):
        try:
            from constriction import stream
        except ImportError:
            raise InputError("compression needs constriction, which is not installed: pip install constriction") from None
        self.vocab, self.mark, self.queue = vocab, vocab.spell(UNK), stream.queue
        self.ids = stream.model.Categorical(perfect=False)
        self.letters = stream.model.Categorical(np.exp(-spelling_code(vocab)).astype(np.float32), perfect=False)
        self.marked = stream.model.Uniform(2)


class _Writer(_Coder):
    def __init__(self, vocab: Vocab):
        super().__init__(vocab)
        self.coder = self.queue.RangeEncoder()

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
    def __init__(self, vocab: Vocab, data: bytes, symbols: int):
        super().__init__(vocab)
        self.left = symbols  # at most, by the header
        self.bits = 1.001 * 8 * len(data) + 256  # the most that they can have taken
        self.costs = [min(24.0, cost / math.log(2)) for cost in spelling_code(vocab).tolist()]
        self.coder = self.queue.RangeDecoder(np.frombuffer(data[: len(data) // 4 * 4], "<u4").astype(np.uint32))

    def step(self, p: np.ndarray, _: list[str]) -> list[tuple[int, str]]:
        """Read one symbol of each row."""
        ids = self.decode(self.ids, p).tolist()
        self.spend(len(ids), float(-np.log2(np.maximum(p[np.arange(len(ids)), ids], 2.0**-24)).sum(dtype=np.float64)))
        return [(id, self.spelling() if id == UNK else self.vocab.spell(id)) for id in ids]

    def decode(self, *model: Any) -> Any:
        try:
            return self.coder.decode(*model)
        except (AssertionError, ValueError):  # no writer makes such words
            raise InputError(DAMAGED) from None

    def spelling(self) -> str:
        if self.vocab.unk_token is not None and self.decode(self.marked):
            return self.mark
        letters = bytearray()
        while (letter := self.decode(self.letters)) != END:
            self.spend(1, self.costs[letter])
            letters.append(letter)
        return letters.decode("utf-8", "surrogateescape")

    def spend(self, symbols: int, bits: float) -> None:
        """Count symbols and the bits that they took: only damaged data gives more than the header and its length allow."""
        self.left -= symbols
        self.bits -= bits
        if self.left < -(1 << 20) or self.bits < 0:
            raise InputError(DAMAGED)
