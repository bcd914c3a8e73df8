"""How good a model is on a text: nats, summed over every symbol once and divided once.

Shapes: T window, B columns read side by side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lmgen import arguments
from lmgen.errors import InputError
from lmgen.ids import Ids
from lmgen.lm import Cloze, LanguageModel, sound
from lmgen.vocab import EOS, UNK, Vocab

BATCH, WINDOW = 64, 256
BLOCK, BLOCKS = 256, 4096  # symbols in a block of running text at least, and blocks at the most
RESAMPLES = 1000


def stream_nats(
    lm: LanguageModel | Cloze, stream: np.ndarray, batch: int = BATCH, window: int = WINDOW, exact: bool = True
) -> np.ndarray:
    """−ln p of every symbol of a stream after its first, [n − 1] float32, as if it were read from left to right in one go; for a
    cloze model, given all that stands before and after it, and 0 for what is not counted.

    The stream is cut into columns that are read side by side, so that the result depends neither on batch nor on window. Where
    EOS forgets the state, every column starts at one. Where the state is carried there is but one column; without `exact` there
    are many, and each reads a window of what is around it first, which is enough for networks that forget within a window.
    """
    _usable(batch, window)
    n = len(stream) - 1
    window = min(window, 1 << max(0, n - 1).bit_length())
    wanted = min(batch, 1 << (max(1, n // window) - 1).bit_length())
    even = np.arange(wanted, dtype=np.int64) * n // wanted
    warm = 0
    if not lm.carry:
        boundaries = np.flatnonzero(stream[:-1] == EOS)
        starts = np.unique([0, *boundaries[np.searchsorted(boundaries, even[1:], "right") - 1]])
    elif exact:
        starts = even[:1]
    else:
        starts, warm = even, window
    lengths = np.diff(starts, append=n)
    columns = np.resize(starts, 1 << (len(starts) - 1).bit_length())  # few shapes to compile: some columns may come twice
    read_from = np.maximum(0, columns - warm)

    def ids(row: int, count: int) -> tuple[jax.Array, np.ndarray]:
        """`count` ids of each column from a row on, and where there are none any more."""
        place = read_from + row + np.arange(count)[:, None]
        return jnp.asarray(np.where(place <= n, stream[np.minimum(place, n)], EOS).astype(np.int32)), place > n

    rows = range(0, int((lengths + starts - read_from[: len(starts)]).max()), window)
    rights = _right_states(lm, rows, warm, ids, len(columns)) if isinstance(lm, Cloze) else {}
    out = np.empty(n, np.float32)
    state = lm.start(len(columns))
    for row in rows:
        if isinstance(lm, Cloze):
            state, some = lm.nats(state, rights.pop(row), *ids(row, window + 2))
        else:
            state, some = lm.nats(state, ids(row, window + 1)[0])
        nats = np.asarray(some)
        for k, (start, length) in enumerate(zip(starts, lengths, strict=True)):
            low, high = max(row, start - read_from[k]), min(row + window, start - read_from[k] + length)
            if low < high:
                out[read_from[k] + low : read_from[k] + high] = nats[low - row : high - row, k]
    return out


def _usable(batch: int, window: int) -> None:
    arguments.check("batch", arguments.Whole(), batch)
    arguments.check("window", arguments.Whole(), window)


def _right_states(lm: Cloze, rows: range, warm: int, ids: Callable, columns: int) -> dict[int, Any]:
    """A first pass, from the right: the state with which each window is read from there."""
    state = lm.start(columns)
    if warm:
        state = lm.back(state, *ids(rows[-1] + rows.step + 2, rows.step))
    states = {}
    for row in reversed(rows):
        states[row] = state
        state = lm.back(state, *ids(row + 2, rows.step))
    return states


def _shown(kind: str, measures: dict[str, float | None], nats: float, symbols: int) -> str:
    """Measures in a line, as Python shows them."""
    found = [f"{name}={value:.4g}" for name, value in measures.items() if value is not None]
    return f"<{kind} {', '.join(found)}; {nats:,.1f} nats, {symbols:,} symbols>"


@dataclass(frozen=True)
class Measures:
    """The measures of one text; nats are totals, `unknown` counts symbols that the vocabulary lacks.

    `spelt_nats` hold what the spelling of unknown symbols costs, too (see `spelling_nats`), `window` the length of windows that
    were read from an empty state each, `interval` the bounds within which the nats per symbol lie at 95 % (see `interval_of`).
    """

    nats: float
    symbols: int
    characters: int
    bytes: int
    unknown: int
    known_nats: float
    unit: str
    carry: bool
    words: int = 0
    spelt_nats: float = math.nan
    window: int | None = None
    interval: tuple[float, float] | None = None

    def __repr__(self) -> str:
        names = ("nats_per_symbol", "perplexity", "bits_per_character", "bits_per_byte")
        return _shown("Measures", {name: getattr(self, name) for name in names}, self.nats, self.symbols)

    @property
    def nats_per_symbol(self) -> float:
        return self.nats / self.symbols

    @property
    def perplexity(self) -> float:
        return _exp(self.nats_per_symbol)

    @property
    def perplexity_known(self) -> float | None:
        """Perplexity over the symbols that the vocabulary has; the unknown ones are read but not counted."""
        known = self.symbols - self.unknown
        return _exp(self.known_nats / known) if known else None

    @property
    def bits_per_character(self) -> float | None:
        return self.nats / math.log(2) / self.characters if self.characters else None

    @property
    def bits_per_byte(self) -> float | None:
        return self.nats / math.log(2) / self.bytes if self.bytes else None

    @property
    def spelt_bits_per_byte(self) -> float | None:
        """Bits per byte where unknown symbols pay for their spelling: what compares any two models."""
        return self.spelt_nats / math.log(2) / self.bytes if self.bytes else None

    @property
    def word_perplexity(self) -> float | None:
        """exp(nats ÷ words), the words being what white space separates."""
        return _exp(self.nats / self.words) if self.words else None

    @property
    def byte_perplexity(self) -> float | None:
        """exp(nats ÷ bytes)."""
        return _exp(self.nats / self.bytes) if self.bytes else None

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        names = (
            *("nats_per_symbol", "perplexity", "perplexity_known", "bits_per_character", "bits_per_byte"),
            *("spelt_bits_per_byte", "word_perplexity", "byte_perplexity"),
        )
        return {**asdict(self), **{name: getattr(self, name) for name in names}}


def _exp(nats: float) -> float:
    return math.exp(nats) if nats < 700 else math.inf


@dataclass(frozen=True)
class PseudoMeasures:
    """The measures of one text by a cloze model: every symbol given all others, before it and after it (Salazar et al. 2020).

    They are no probability of the text, so there are no bits per byte, and they cannot be compared with those of `Measures`.
    Where sequences are independent their EOS are given and not counted.
    """

    pseudo_nats: float
    symbols: int
    unknown: int
    known_pseudo_nats: float
    unit: str
    carry: bool

    def __repr__(self) -> str:
        names = ("pseudo_nats_per_symbol", "pseudo_perplexity")
        return _shown("PseudoMeasures", {name: getattr(self, name) for name in names}, self.pseudo_nats, self.symbols)

    @property
    def pseudo_nats_per_symbol(self) -> float:
        return self.pseudo_nats / self.symbols

    @property
    def pseudo_perplexity(self) -> float:
        return _exp(self.pseudo_nats_per_symbol)

    @property
    def pseudo_perplexity_known(self) -> float | None:
        """Pseudo-perplexity over the symbols that the vocabulary has; the unknown ones are read but not counted."""
        known = self.symbols - self.unknown
        return _exp(self.known_pseudo_nats / known) if known else None

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        names = ("pseudo_nats_per_symbol", "pseudo_perplexity", "pseudo_perplexity_known")
        return {**asdict(self), **{name: getattr(self, name) for name in names}}


def measure(
    lm: LanguageModel | Cloze, ids: Ids, batch: int = BATCH, window: int = WINDOW, cold: bool = False
) -> Measures | PseudoMeasures:
    """The measures of an encoded text; `cold`: read in windows that start from an empty state each.

    Raises InputError where a cloze model has nothing to guess in it.
    """
    if not isinstance(lm, Cloze):
        nats = window_nats(lm, ids.stream, batch, window) if cold else stream_nats(lm, ids.stream, batch, window)
        return measures_of(nats, ids, lm.vocab, lm.carry, window if cold else None)
    if cold:
        raise InputError("a model of both directions has no protocol of windows: leave out --protocol")
    counted, nats = symbols_counted(lm, ids), sound(stream_nats(lm, ids.stream, batch, window))
    if not counted:
        raise InputError("there is nothing but empty sequences in the text, so nothing to guess: give one with symbols in it")
    known_nats = float(nats.sum(dtype=np.float64, where=ids.stream[1:] != UNK))
    return PseudoMeasures(float(nats.sum(dtype=np.float64)), counted, ids.unknown, known_nats, lm.vocab.unit, lm.carry)


def measures_of(nats: np.ndarray, ids: Ids, vocab: Vocab, carry: bool, window: int | None = None) -> Measures:
    """The measures of an encoded text from the nats of its symbols, however they came about."""
    total = float(sound(nats).sum(dtype=np.float64))
    return Measures(
        nats=total,
        symbols=ids.symbols,
        characters=ids.characters,
        bytes=ids.bytes,
        unknown=ids.unknown,
        known_nats=float(nats.sum(dtype=np.float64, where=ids.stream[1:] != UNK)),
        unit=vocab.unit,
        carry=carry,
        words=ids.words,
        spelt_nats=total + spelling_nats(ids, vocab),
        window=window,
        interval=interval_of(nats, ids.stream, carry),
    )


def window_nats(lm: LanguageModel, stream: np.ndarray, batch: int = BATCH, window: int = WINDOW) -> np.ndarray:
    """−ln p of every symbol of a stream after its first, read in windows that start cold: the state before a window is empty."""
    _usable(batch, window)
    n = len(stream) - 1
    out = np.empty(n, np.float32)
    for first in range(0, n, batch * window):
        starts = np.minimum(first + window * np.arange(batch), n)
        place = starts + np.arange(window + 1)[:, None]
        ids = np.where(place <= n, stream[np.minimum(place, n)], EOS).astype(np.int32)
        nats = np.asarray(lm.nats(lm.start(batch), jnp.asarray(ids))[1]).T.ravel()
        some = min(n - first, batch * window)
        out[first : first + some] = nats[:some]
    return out


def spelling_code(vocab: Vocab) -> np.ndarray:
    """The nats [257] of each byte, and of the end, of an unknown symbol's spelling: a byte code that adds one to the counts of
    the distinct symbols of the vocabulary, which were seen in training."""
    spelt = "".join(vocab.symbols).encode("utf-8", "surrogatepass")
    counts = np.append(np.bincount(np.frombuffer(spelt, np.uint8), minlength=256), len(vocab.symbols)) + 1.0
    return -np.log(counts / counts.sum())


def spelling_nats(ids: Ids, vocab: Vocab) -> float:
    """What the spelling of unknown symbols costs; where the corpus marks its own, a bit says of each whether it is that mark."""
    code, spelt = spelling_code(vocab), ids.unknown - ids.marked
    marks = ids.unknown * math.log(2) if vocab.unk_token is not None else 0.0
    return float(ids.spelling @ code[:256] + spelt * code[256]) + marks


def interval_of(nats: np.ndarray, stream: np.ndarray, carry: bool) -> tuple[float, float] | None:
    """The bounds within which the nats per symbol lie at 95 %, by a bootstrap of blocks; None for fewer than 20 of them.

    A block is a sequence (or some neighbours, where there are very many), or a stretch of running text long enough that what is
    around a symbol stands with it (Künsch 1989). The draws are always the same.
    """
    if carry:
        edges = np.arange(0, len(nats), max(BLOCK, -(-len(nats) // BLOCKS)))
    else:
        edges = np.concatenate([[0], np.flatnonzero(stream[1:-1] == EOS) + 1])
        edges = edges[:: -(-len(edges) // BLOCKS)]
    if len(edges) < 20:
        return None
    sums, sizes = np.add.reduceat(nats.astype(np.float64), edges), np.diff(edges, append=len(nats))
    rng = np.random.default_rng(0)
    means = []
    for _ in range(RESAMPLES // 100):
        times = rng.multinomial(len(edges), np.full(len(edges), 1 / len(edges)), 100)
        means.append(times @ sums / (times @ sizes))
    low, high = np.quantile(np.concatenate(means), [0.025, 0.975])
    return float(low), float(high)


def symbols_counted(lm: LanguageModel | Cloze, ids: Ids) -> int:
    """How many symbols of a text are counted by a model."""
    return int(lm.counted(ids.stream[1:]).sum()) if isinstance(lm, Cloze) else ids.symbols


@dataclass(frozen=True)
class Score:
    """The nats of one sequence, its EOS included: each symbol as (spelling, nats), EOS with the spelling "".

    Those of a cloze model are pseudo-nats, and there is no EOS among them where sequences are independent.
    """

    text: str
    nats: float
    symbols: tuple[tuple[str, float], ...]
    unknown: int

    def __repr__(self) -> str:
        return f"Score({self.text!r}, {self.nats:.2f} nats, {len(self.symbols):,} symbols)"


def scores(lm: LanguageModel | Cloze, sequences: Iterable[str | None]) -> Iterator[Score]:
    """Score sequences in the order in which they come, some thousands of symbols at a time; None among them asks for the scores
    of those before it.

    With a carried state each sequence goes on from the one before, the first from the start; a cloze model then has to see them
    all before it scores the first.
    """
    state, held = lm.start(1), []
    symbols, most = 0, math.inf if lm.carry and isinstance(lm, Cloze) else BATCH * WINDOW
    for sequence in sequences:
        if sequence is not None:
            held.append((sequence, lm.vocab.encode(sequence)))
            symbols += len(held[-1][1]) + 1
        if symbols >= most or (sequence is None and held and most < math.inf):
            done, state = _scored(lm, held, state)
            yield from done
            held, symbols = [], 0
    yield from _scored(lm, held, state)[0] if held else ()


def _scored(lm: LanguageModel | Cloze, held: list[tuple[str, np.ndarray]], state: Any) -> tuple[list[Score], Any]:
    stream = np.concatenate([[EOS], *(part for _, ids in held for part in (ids, [EOS]))])
    if lm.carry and not isinstance(lm, Cloze):
        nats, state = carried_nats(lm, stream, state)
    else:
        nats = stream_nats(lm, stream)
    sound(nats)
    out, at, ends = [], 0, not isinstance(lm, Cloze) or lm.carry
    for text, ids in held:
        own = nats[at : at + len(ids) + ends].astype(np.float64)
        at += len(ids) + 1
        spelt = [lm.vocab.spell(int(id)) for id in ids] + [""] * ends
        out.append(Score(text, float(own.sum()), tuple(zip(spelt, own.tolist(), strict=True)), int(np.count_nonzero(ids == UNK))))
    return out, state


def carried_nats(lm: LanguageModel, stream: np.ndarray, state: Any, window: int = WINDOW) -> tuple[np.ndarray, Any]:
    """−ln p of every symbol of a stream after its first, read in one column from a given state, and the state after it."""
    nats, row = [], 0
    while left := len(stream) - 1 - row:
        length = min(window, 1 << (left.bit_length() - 1))  # powers of two: few shapes to compile
        state, some = lm.nats(state, jnp.asarray(stream[row : row + length + 1, None], jnp.int32))
        nats.append(np.asarray(some)[:, 0])
        row += length
    return np.concatenate(nats), state
