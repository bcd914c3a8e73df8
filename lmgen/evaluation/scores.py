"""How good a model is on a text: nats, summed over every symbol once and divided once.

Shapes: T window, B columns read side by side.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lmgen.data.ids import Ids
from lmgen.data.vocab import EOS, UNK, Vocab
from lmgen.errors import InputError
from lmgen.models.networks import Cloze, LanguageModel, sound
from lmgen.models.scoring import BATCH, WINDOW, carried_nats, stream_nats, symbols_counted, window_nats

BLOCK, BLOCKS = 256, 4096  # symbols in a block of running text at least, and blocks at the most
RESAMPLES = 1000


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
