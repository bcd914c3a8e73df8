"""How good a model is on a text: nats, summed over every symbol once and divided once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

import numpy as np

from lmgen.data.ids import Ids
from lmgen.data.vocab import EOS, UNK, Vocab
from lmgen.errors import InputError
from lmgen.models.capabilities import Generates, Scores, State, finite, require
from lmgen.models.scoring import BATCH, WINDOW, continued_nats, stream_nats, symbols_counted
from lmgen.pages import notebook

BLOCK, BLOCKS = 256, 4096  # the least symbols in a block of running text, and the most blocks
RESAMPLES = 1000


def _exp(nats: float) -> float:
    return math.exp(nats) if nats < 700 else math.inf


def _ratio(total: float, count: int) -> float | None:
    return total / count if count else None


def _perplexity(nats: float, count: int) -> float | None:
    return _exp(nats / count) if count else None


@dataclass(frozen=True, repr=False)
class _Report:
    """What both kinds of measures share; their first two fields are the total nats and the number of symbols."""

    shown: ClassVar[tuple[str, ...]]  # by repr

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return asdict(self)

    def __repr__(self) -> str:
        nats, symbols = (getattr(self, field.name) for field in fields(self)[:2])
        values = {name: getattr(self, name) for name in self.shown}
        found = ", ".join(f"{name}={value:.4g}" for name, value in values.items() if value is not None)
        return f"<{type(self).__name__} {found}; {nats:,.1f} nats, {symbols:,} symbols>"


@dataclass(frozen=True, repr=False)
class Measures(_Report):
    """The measures of one text. Nats are totals; a ratio is None if its denominator is 0."""

    nats: float
    symbols: int
    characters: int
    bytes: int
    unknown: int  # symbols that are not in the vocabulary
    known_nats: float
    unit: str
    carry: bool
    words: int  # separated by white space
    spelt_nats: float  # with the spelling of unknown symbols (see `spelling_nats`)
    window: int | None  # the length of windows that each start from an empty state
    interval: tuple[float, float] | None  # 95 % of the nats per symbol (see `interval_of`)
    nats_per_symbol: float
    perplexity: float
    perplexity_known: float | None  # over the symbols of the vocabulary; unknown ones are read but not counted
    bits_per_character: float | None
    bits_per_byte: float | None
    spelt_bits_per_byte: float | None  # comparable between any two models
    word_perplexity: float | None  # exp(nats ÷ words)
    byte_perplexity: float | None  # exp(nats ÷ bytes)
    character_perplexity: float | None  # exp(nats ÷ characters)

    shown = ("nats_per_symbol", "perplexity", "bits_per_character", "bits_per_byte")


@dataclass(frozen=True, repr=False)
class PseudoMeasures(_Report):
    """The measures of one text by a cloze model: of every symbol given all others, before it and after it (Salazar et al. 2020).

    They are no probability of the text, so there are no bits per byte, and they cannot be compared with `Measures`. The EOS of
    independent sequences are given and not counted.
    """

    pseudo_nats: float
    symbols: int
    unknown: int
    known_pseudo_nats: float
    unit: str
    carry: bool
    pseudo_nats_per_symbol: float
    pseudo_perplexity: float
    pseudo_perplexity_known: float | None

    shown = ("pseudo_nats_per_symbol", "pseudo_perplexity")


def measure(lm: Scores, ids: Ids, batch: int = BATCH, window: int = WINDOW, cold: bool = False) -> Measures | PseudoMeasures:
    """The measures of an encoded text; with `cold`, every window starts from an empty state.

    Raises InputError where a cloze model has no symbol to predict.
    """
    return measures_of(lm, text_nats(lm, ids, batch, window, cold), ids, window if cold else None)


def text_nats(lm: Scores, ids: Ids, batch: int = BATCH, window: int = WINDOW, cold: bool = False) -> np.ndarray:
    """The nats of the symbols of an encoded text, as `measure` reads it."""
    if cold:
        require(lm, Generates, "leave out --protocol")
    return stream_nats(lm, ids.stream, batch, window, cold=cold)


def measures_of(lm: Scores, nats: np.ndarray, ids: Ids, window: int | None = None) -> Measures | PseudoMeasures:
    """The measures of an encoded text from the nats of its symbols, which may be those of a mixture."""
    total = float(finite(nats).sum(dtype=np.float64))
    known = float(nats.sum(dtype=np.float64, where=ids.stream[1:] != UNK))
    if lm.pseudo:
        counted = symbols_counted(lm, ids)
        if not counted:
            raise InputError("the text has only empty sequences, so there is nothing to predict: give one with symbols in it")
        return PseudoMeasures(
            *(total, counted, ids.unknown, known, lm.vocab.unit, lm.carry),
            *(total / counted, _exp(total / counted), _perplexity(known, counted - ids.unknown)),
        )
    each, bits, spelt = total / max(1, ids.symbols), total / math.log(2), total + spelling_nats(ids, lm.vocab)
    return Measures(
        nats=total,
        symbols=ids.symbols,
        characters=ids.characters,
        bytes=ids.bytes,
        unknown=ids.unknown,
        known_nats=known,
        unit=lm.vocab.unit,
        carry=lm.carry,
        words=ids.words,
        spelt_nats=spelt,
        window=window,
        interval=interval_of(nats, ids.stream, lm.carry),
        nats_per_symbol=each,
        perplexity=_exp(each),
        perplexity_known=_perplexity(known, ids.symbols - ids.unknown),
        bits_per_character=_ratio(bits, ids.characters),
        bits_per_byte=_ratio(bits, ids.bytes),
        spelt_bits_per_byte=_ratio(spelt / math.log(2), ids.bytes),
        word_perplexity=_perplexity(total, ids.words),
        byte_perplexity=_perplexity(total, ids.bytes),
        character_perplexity=_perplexity(total, ids.characters),
    )


def spelling_code(vocab: Vocab) -> np.ndarray:
    """The nats [257] of each byte, and of the end, of the spelling of an unknown symbol: a code of bytes from their counts in the
    distinct symbols of the vocabulary, plus one."""
    spelt = "".join(vocab.symbols).encode("utf-8", "surrogatepass")
    counts = np.append(np.bincount(np.frombuffer(spelt, np.uint8), minlength=256), len(vocab.symbols)) + 1.0
    return -np.log(counts / counts.sum())


def spelling_nats(ids: Ids, vocab: Vocab) -> float:
    """The nats of the spelling of all unknown symbols; where the corpus has a mark for these, one bit each tells the mark."""
    code, spelt = spelling_code(vocab), ids.unknown - ids.marked
    marks = ids.unknown * math.log(2) if vocab.unk_token is not None else 0.0
    return float(ids.spelling @ code[:256] + spelt * code[256]) + marks


def interval_of(nats: np.ndarray, stream: np.ndarray, carry: bool) -> tuple[float, float] | None:
    """The 95 % interval of the nats per symbol, by a bootstrap of blocks; None for fewer than 20 blocks.

    A block is a sequence (several, if there are very many), or a stretch of running text that holds most symbols together with
    their context (Künsch 1989). The draws are always the same.
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
    """The nats of one sequence with its EOS, and each symbol as (spelling, nats); the spelling of EOS is "".

    Those of a cloze model are pseudo-nats, without EOS where sequences are independent.
    """

    text: str
    nats: float
    symbols: tuple[tuple[str, float], ...]
    unknown: int

    def __repr__(self) -> str:
        return f"Score({self.text!r}, {self.nats:.2f} nats, {len(self.symbols):,} symbols)"

    def _repr_html_(self) -> str:
        return notebook.surprise(self.symbols, f"{self.nats:.2f} nats")


def scores(lm: Scores, sequences: Iterable[str | None]) -> Iterator[Score]:
    """Score sequences in their order, thousands of symbols at a time; None among them asks for the scores of those before it.

    With a carried state each sequence continues the one before; a cloze model then needs all of them before it scores the first.
    """
    state, held, symbols = lm.start(1), [], 0
    largest = math.inf if lm.carry and lm.pseudo else BATCH * WINDOW
    for sequence in sequences:
        if sequence is not None:
            held.append((sequence, lm.vocab.encode(sequence)))
            symbols += len(held[-1][1]) + 1
        if symbols >= largest or (sequence is None and held and largest < math.inf):
            done, state = _scored(lm, held, state)
            yield from done
            held, symbols = [], 0
    yield from _scored(lm, held, state)[0] if held else ()


def _scored(lm: Scores, held: list[tuple[str, np.ndarray]], state: State) -> tuple[list[Score], State]:
    stream = np.concatenate([[EOS], *(part for _, ids in held for part in (ids, [EOS]))])
    if lm.carry and not lm.pseudo:
        nats, state = continued_nats(lm, stream, state)
    else:
        nats = stream_nats(lm, stream)
    finite(nats)
    out, at, ends = [], 0, int(lm.counted(np.array([EOS]))[0])
    for text, ids in held:
        own = nats[at : at + len(ids) + ends].astype(np.float64)
        at += len(ids) + 1
        spelt = [lm.vocab.shown(lm.vocab.spell(int(id))) for id in ids] + [""] * ends
        out.append(Score(text, float(own.sum()), tuple(zip(spelt, own.tolist(), strict=True)), int(np.count_nonzero(ids == UNK))))
    return out, state
