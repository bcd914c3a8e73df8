"""N-gram models as ARPA files, the text format that KenLM, SRILM and others read (log10 probabilities, tab-separated).

Where sequences are independent, EOS is <s> at the beginning of an n-gram and </s> at its end; where contexts reach back over EOS
it is the ordinary word <eos>. White space, backslashes and lone surrogates of a symbol, and the first character of one spelt like
these marks, are written with \\x and \\u escapes. A comment in front of the file says what lmgen needs to know; a file without it
holds words.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NoReturn

import numpy as np

from lmgen.data.finding import finite
from lmgen.data.vocab import EOS, SPECIAL, UNITS, UNK, Vocab
from lmgen.errors import InputError
from lmgen.models import ngram
from lmgen.models.loading import NGramModel

BEGIN, END, UNKNOWN, BOUNDARY = "<s>", "</s>", "<unk>", "<eos>"
MARKS = {BEGIN, END, UNKNOWN, BOUNDARY}
NEVER = -99.0  # the log10 that the format has for a probability of 0
LN10 = math.log(10)
ROUNDED = 1e-6  # by so much a log10 of a probability may lie above 0
MOST = 1.01  # what the probabilities of one context may sum to


def escaped(symbol: str) -> str:
    """A symbol as it stands in the file."""
    if symbol in MARKS:
        return f"\\x{ord(symbol[0]):02x}{symbol[1:]}"
    return re.sub(r"[\s\\\x00-\x1f\x7f-\xa0\ud800-\udfff]", lambda m: _escape(m[0]), symbol)


def _escape(character: str) -> str:
    return f"\\x{ord(character):02x}" if ord(character) < 256 else f"\\u{ord(character):04x}"


def unescaped(word: str) -> str:
    """The symbol that a word of the file means."""
    return re.sub(r"\\x([0-9a-f]{2})|\\u([0-9a-f]{4})", lambda m: chr(int(m[1] or m[2], 16)), word)


# ---- writing -----------------------------------------------------------------------------------------------------------


def write(model: NGramModel, file: IO[str]) -> None:
    """Write an n-gram model as an ARPA file."""
    vocab, levels = model.vocab, model.levels
    carry = str(model.carry).lower()
    file.write(f"# lmgen unit={vocab.unit} sequence={model.sequence} carry={carry}\n\n\\data\\\n")
    extra = 2 if model.carry else 1  # <s>, and </s> where it is not EOS
    for k, level in enumerate(levels, 1):
        file.write(f"ngram {k}={len(level.keys) + extra * (k == 1)}\n")
    names = np.array([BOUNDARY if model.carry else END, UNKNOWN, *map(escaped, vocab.symbols)], object)
    ids = np.arange(len(vocab))[:, None]
    for k, level in enumerate(levels, 1):
        file.write(f"\n\\{k}-grams:\n")
        if k == 1:
            file.write("".join(_unigrams(model, names)))
        else:
            parents = (level.keys // np.uint64(len(vocab))).astype(np.int64)
            ids = np.column_stack([ids[parents], (level.keys % np.uint64(len(vocab))).astype(np.int64)])
            words = names[ids]
            if not model.carry:
                words[ids[:, 0] == EOS, 0] = BEGIN
            last = k == len(levels)
            for row, p, b in zip(words, (level.log_p / LN10).tolist(), (level.backoff / LN10).tolist(), strict=True):
                file.write(f"{p:.7g}\t{' '.join(row)}\n" if last else f"{p:.7g}\t{' '.join(row)}\t{b:.7g}\n")
    file.write("\n\\end\\\n")


def _unigrams(model: NGramModel, names: np.ndarray) -> Iterator[str]:
    level = model.levels[0]
    backoff = (level.backoff / LN10).tolist()
    yield f"{NEVER:g}\t{BEGIN}\t{0 if model.carry else backoff[EOS]:.7g}\n"
    if model.carry:
        yield f"{NEVER:g}\t{END}\t0\n"
    for id, (p, b) in enumerate(zip((level.log_p / LN10).tolist(), backoff, strict=True)):
        yield f"{p:.7g}\t{names[id]}\t{b if model.carry or id != EOS else 0:.7g}\n"


# ---- reading -----------------------------------------------------------------------------------------------------------


def read(path: Path, unit: str | None = None) -> NGramModel:
    """The n-gram model of an ARPA file; `unit` says what its words are where the file does not (else "word").

    Raises InputError with the line for what is not such a file.
    """
    try:
        with open(finite(path), encoding="utf-8") as file:
            return _Reader(file, path).model(unit)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8, as an ARPA file has to be: convert it, for instance with iconv") from None


class _Reader:
    def __init__(self, file: IO[str], path: Path):
        self.file, self.path, self.number = file, path, 0

    def model(self, unit: str | None) -> NGramModel:
        said: dict[str, str] = {}
        while (line := self.line("there is no \\data\\")) != "\\data\\":
            said |= dict(pair.split("=", 1) for pair in line.split() if "=" in pair) if line.startswith("# lmgen") else {}
        sizes: list[int] = []
        while not (line := self.line()).startswith("\\"):
            match = re.fullmatch(r"ngram\s+(\d{1,9})\s*=\s*(\d{1,18})", line)
            if not match or int(match[1]) != len(sizes) + 1 or len(sizes) == ngram.MOST:
                self.fail(f"{line[:60]!r} does not say how many {len(sizes) + 1}-grams there are")
            sizes.append(int(match[2]))
        if not sizes:
            self.fail("there are no n-grams")
        carry = said.get("carry") == "true"
        unit = unit or said.get("unit", "word")
        if unit not in UNITS:
            self.fail(f"{unit[:20]!r} is no unit")
        words, log_p, backoff = self.section(1, sizes[0], line)
        boundary = BOUNDARY if carry else END
        seen = {word: None for (word,) in words}
        if boundary not in seen:
            self.fail(f"there is no {boundary} among the 1-grams")
        names = [word for word in seen if word not in (BEGIN, END, boundary, UNKNOWN)]
        vocab = Vocab(unit, tuple(map(unescaped, names)))
        if len(seen) < len(words) or len(set(vocab.symbols)) < len(names):
            self.fail("a word stands among the 1-grams twice")
        ids = {boundary: EOS, UNKNOWN: UNK} | {word: id for id, word in enumerate(names, SPECIAL)}
        p, b = np.full(len(vocab), NEVER * LN10, np.float32), np.zeros(len(vocab), np.float32)
        for (word,), one_p, one_b in zip(words, log_p, backoff, strict=True):
            if word in ids:
                p[ids[word]] = one_p
            if word in ids and (carry or word != END):
                b[ids[word]] = one_b
            elif word == BEGIN and not carry:
                b[EOS] = one_b
        self.sums_to_one(np.zeros(len(vocab), np.int64), p)
        levels = [ngram.Level(np.arange(len(vocab), dtype=np.uint64), p, b)]
        for k in range(2, len(sizes) + 1):
            levels.append(self.level(k, sizes[k - 1], ids | ({} if carry else {BEGIN: EOS}), levels, len(vocab)))
        if self.line() != "\\end\\":
            self.fail("the last n-grams are not followed by \\end\\")
        config = ngram.NGramConfig(len(vocab), len(sizes), carry)
        sequence = said.get("sequence", "line")
        return NGramModel(config, levels, vocab, sequence if sequence in ("line", "paragraph", "file") else "line")

    def level(self, k: int, size: int, ids: dict[str, int], levels: list[ngram.Level], vocab: int) -> ngram.Level:
        words, log_p, backoff = self.section(k, size)
        try:
            rows = np.array([[ids[word] for word in row] for row in words], np.int64).reshape(-1, k)
        except KeyError as error:
            self.fail(f"{error.args[0][:40]!r} is not among the 1-grams")
        nodes = rows[:, 0]
        for j in range(1, k - 1):
            nodes = ngram.child(levels[j].keys, nodes, rows[:, j], vocab)
        if (nodes < 0).any():
            self.fail(f"the first {k - 1} words of {' '.join(words[int(np.argmin(nodes))])[:60]!r} are no n-gram of their own")
        self.sums_to_one(nodes, np.array(log_p))
        keys = nodes.astype(np.uint64) * np.uint64(vocab) + rows[:, -1].astype(np.uint64)
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        if (keys[1:] == keys[:-1]).any():
            self.fail("an n-gram stands there twice")
        return ngram.Level(keys, np.array(log_p, np.float32)[order], np.array(backoff, np.float32)[order])

    def section(self, k: int, size: int, head: str | None = None) -> tuple[list[list[str]], list[float], list[float]]:
        """The words, ln p and ln backoff of the n-grams of length k."""
        if (head or self.line()) != f"\\{k}-grams:":
            self.fail(f"\\{k}-grams: was expected")
        words, log_p, backoff = [], [], []
        for _ in range(size):
            fields = re.split(r"[ \t]+", self.line())
            if len(fields) not in (k + 1, k + 2):
                self.fail(f"a {k}-gram has {k} words between its probability and its backoff")
            words.append(fields[1 : k + 1])
            log_p.append(min(0.0, self.log(fields[0], ROUNDED)))
            backoff.append(self.log(fields[k + 1], -NEVER) if len(fields) == k + 2 else 0.0)
        return words, log_p, backoff

    def log(self, field: str, most: float) -> float:
        """ln of what a field says the log10 of."""
        try:
            value = float(field)
        except ValueError:
            value = math.nan
        if math.isnan(value):
            self.fail(f"{field[:20]!r} is not a number")
        if value > most:
            self.fail(f"{field[:20]} is more than the logarithm of a probability or a backoff can be ({most:g})")
        return max(NEVER, value) * LN10

    def sums_to_one(self, contexts: np.ndarray, log_p: np.ndarray) -> None:
        """Refuse n-grams whose probabilities sum to more than 1 in one of the contexts."""
        if (most := np.bincount(contexts, np.exp(log_p), 1).max()) > MOST:
            self.fail(f"the probabilities of what follows one context sum to {most:.3g}")

    def line(self, otherwise: str = "the file ends too soon") -> str:
        """The next line with something in it."""
        for line in self.file:
            self.number += 1
            if line := line.strip(" \t\r\n"):
                return line
        self.fail(otherwise)

    def fail(self, why: str) -> NoReturn:
        raise InputError(f"{self.path}, line {self.number:,}: {why}, so it is no ARPA file that can be read: write it anew")
