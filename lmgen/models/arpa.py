"""N-gram models as ARPA files, the text format of KenLM, SRILM and others (log10 probabilities, separated by tabs).

Where sequences are independent, EOS is <s> at the beginning of an n-gram and </s> at its end; where contexts reach back over EOS
it is an ordinary word, <eos>. White space, backslashes and lone surrogates in a symbol, and the first character of a symbol
that is spelled like these marks, are escaped with \\x and \\u. A comment at the top of the file names unit, sequence and carry;
without it the symbols are words.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import IO, NoReturn

import numpy as np

from lmgen.data import subword
from lmgen.data.finding import finite
from lmgen.data.reading import SEQUENCES
from lmgen.data.split import WHOLE
from lmgen.data.vocab import EOS, SPECIAL, UNITS, UNK, Vocab
from lmgen.errors import InputError
from lmgen.models import ngram
from lmgen.models.capabilities import HoldsNGrams
from lmgen.models.ngram import Level, NGramConfig, NGramModel
from lmgen.models.provenance import Provenance, TextSettings

BEGIN, END, UNKNOWN, BOUNDARY = "<s>", "</s>", "<unk>", "<eos>"
MARKS = {BEGIN, END, UNKNOWN, BOUNDARY}
NEVER = -99.0  # log10 of a probability of 0, in this format
LN10 = math.log(10)
ROUNDING = 1e-6  # a log10 of a probability may be so much above 0
LARGEST_SUM = 1.01  # of the probabilities in one context


def escaped(symbol: str) -> str:
    """A symbol as it is written in the file."""

    def escape(character: str) -> str:
        return f"\\x{ord(character):02x}" if ord(character) < 256 else f"\\u{ord(character):04x}"

    if symbol in MARKS:
        return escape(symbol[0]) + symbol[1:]
    return re.sub(r"[\s\\\x00-\x1f\x7f-\xa0\ud800-\udfff]", lambda m: escape(m[0]), symbol)


def unescaped(word: str) -> str:
    """The symbol that a word of the file stands for."""
    return re.sub(r"\\x([0-9a-f]{2})|\\u([0-9a-f]{4})", lambda m: chr(int(m[1] or m[2], 16)), word)


def write(model: HoldsNGrams, file: IO[str]) -> None:
    """Write an n-gram model as an ARPA file."""
    vocab, levels, carry = model.vocab, model.levels, model.carry
    file.write(f"# lmgen unit={vocab.unit} sequence={model.sequence} carry={str(carry).lower()}\n\n\\data\\\n")
    first = _unigrams(model)
    for k, size in enumerate([len(first), *(len(level.keys) for level in levels[1:])], 1):
        file.write(f"ngram {k}={size}\n")
    file.write("\n\\1-grams:\n" + "".join(first))
    names = np.array([BOUNDARY if carry else END, UNKNOWN, *map(escaped, vocab.symbols)], object)
    ids, V = np.arange(len(vocab))[:, None], np.uint64(len(vocab))
    for k, level in enumerate(levels[1:], 2):
        file.write(f"\n\\{k}-grams:\n")
        ids = np.column_stack([ids[(level.keys // V).astype(np.int64)], (level.keys % V).astype(np.int64)])
        words = names[ids]
        if not carry:
            words[ids[:, 0] == EOS, 0] = BEGIN
        for row, p, b in zip(words, (level.log_p / LN10).tolist(), (level.backoff / LN10).tolist(), strict=True):
            file.write(f"{p:.7g}\t{' '.join(row)}" + (f"\t{b:.7g}\n" if k < len(levels) else "\n"))
    file.write("\n\\end\\\n")


def _unigrams(model: HoldsNGrams) -> list[str]:
    """The lines of the 1-grams: <s>, </s> where EOS is another word, and every symbol."""
    level, carry = model.levels[0], model.carry
    log_p, backoff = (level.log_p / LN10).tolist(), (level.backoff / LN10).tolist()
    lines = [f"{NEVER:g}\t{BEGIN}\t{0 if carry else backoff[EOS]:.7g}\n"] + [f"{NEVER:g}\t{END}\t0\n"] * carry
    for id, name in enumerate([BOUNDARY if carry else END, UNKNOWN, *map(escaped, model.vocab.symbols)]):
        lines.append(f"{log_p[id]:.7g}\t{name}\t{backoff[id] if carry or id != EOS else 0:.7g}\n")
    return lines


def read(path: Path, unit: str | None = None) -> NGramModel:
    """The n-gram model of an ARPA file; `unit` is that of its words where the file does not name one (else "word").

    Raises InputError with the line where it cannot be read.
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
        header: dict[str, str] = {}
        while (line := self.line("there is no \\data\\")) != "\\data\\":
            if line.startswith("# lmgen"):
                header |= dict(pair.split("=", 1) for pair in line.split() if "=" in pair)
        sizes: list[int] = []
        while not (line := self.line()).startswith("\\"):
            match = re.fullmatch(r"ngram\s+(\d{1,9})\s*=\s*(\d{1,18})", line)
            if not match or int(match[1]) != len(sizes) + 1 or len(sizes) == ngram.MOST:
                self.fail(f"{line[:60]!r} does not give the number of {len(sizes) + 1}-grams")
            sizes.append(int(match[2]))
        if not sizes:
            self.fail("there are no n-grams")
        carry, unit = header.get("carry") == "true", unit or header.get("unit", "word")
        if unit not in UNITS:
            self.fail(f"{unit[:20]!r} is no unit")
        vocab, ids, first = self.unigrams(sizes[0], line, unit, carry)
        levels = [first]
        for size in sizes[1:]:
            levels.append(self.level(size, ids, levels, len(vocab)))
        if self.line() != "\\end\\":
            self.fail("the last n-grams are not followed by \\end\\")
        sequence = header.get("sequence", "line")
        text = TextSettings((str(self.path.absolute()),), sequence=sequence if sequence in SEQUENCES else "line", split=WHOLE)
        return NGramModel(NGramConfig(len(vocab), len(sizes), carry), levels, vocab, Provenance(text))

    def unigrams(self, size: int, head: str, unit: str, carry: bool) -> tuple[Vocab, dict[str, int], Level]:
        """The vocabulary, the ids of words as the beginning of an n-gram or within it, and the first level."""
        rows, log_p, backoff = self.section(1, size, head)
        words = [word for (word,) in rows]
        boundary = BOUNDARY if carry else END
        if boundary not in words:
            self.fail(f"there is no {boundary} among the 1-grams")
        names = [word for word in dict.fromkeys(words) if word not in (BEGIN, END, boundary, UNKNOWN)]
        vocab = Vocab(unit, tuple(map(unescaped, names)))
        if UNITS[unit].learns and (fault := subword.fault(vocab.symbols)):
            self.fail(fault)
        if len({*words}) < len(words) or len({*vocab.symbols}) < len(names):
            self.fail("a word stands among the 1-grams twice")
        ids = {boundary: EOS, UNKNOWN: UNK} | {word: id for id, word in enumerate(names, SPECIAL)}
        contexts = ids if carry else {**ids, BEGIN: EOS}
        p, b = np.full(len(vocab), NEVER * LN10, np.float32), np.zeros(len(vocab), np.float32)
        for word, one_p, one_b in zip(words, log_p, backoff, strict=True):
            if word in ids:
                p[ids[word]] = one_p
            if word in contexts and (carry or word != END):
                b[contexts[word]] = one_b
        self.check_sums(np.zeros(len(vocab), np.int64), p)
        return vocab, contexts, Level(np.arange(len(vocab), dtype=np.uint64), p, b)

    def level(self, size: int, ids: dict[str, int], levels: list[Level], vocab: int) -> Level:
        """The next level above those that have been read."""
        k = len(levels) + 1
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
        self.check_sums(nodes, np.array(log_p))
        keys = nodes.astype(np.uint64) * np.uint64(vocab) + rows[:, -1].astype(np.uint64)
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        if (keys[1:] == keys[:-1]).any():
            self.fail("an n-gram is there twice")
        return Level(keys, np.array(log_p, np.float32)[order], np.array(backoff, np.float32)[order])

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
            log_p.append(min(0.0, self.log(fields[0], ROUNDING)))
            backoff.append(self.log(fields[k + 1], -NEVER) if len(fields) == k + 2 else 0.0)
        return words, log_p, backoff

    def log(self, field: str, largest: float) -> float:
        """The natural logarithm of a field that holds a log10."""
        try:
            value = float(field)
        except ValueError:
            value = math.nan
        if math.isnan(value):
            self.fail(f"{field[:20]!r} is not a number")
        if value > largest:
            self.fail(f"{field[:20]} is above {largest:g}, the largest logarithm that can stand there")
        return max(NEVER, value) * LN10

    def check_sums(self, contexts: np.ndarray, log_p: np.ndarray) -> None:
        """Refuse n-grams whose probabilities sum to more than 1 in one of the contexts."""
        if (largest := np.bincount(contexts, np.exp(log_p), 1).max()) > LARGEST_SUM:
            self.fail(f"the probabilities in one context sum to {largest:.3g}")

    def line(self, otherwise: str = "the file ends too soon") -> str:
        """The next line that is not blank."""
        for line in self.file:
            self.number += 1
            if line := line.strip(" \t\r\n"):
                return line
        self.fail(otherwise)

    def fail(self, why: str) -> NoReturn:
        raise InputError(f"{self.path}, line {self.number:,}: {why}, so this ARPA file cannot be read: write it again")
