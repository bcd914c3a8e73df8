"""How good a model is on a text, beside baselines on the same bytes, and how much of the text is in the training text.

The baselines are fitted on the training text alone: a unigram and a Kneser-Ney model of the model's own symbols (its order chosen
on the validation text), and gzip and xz, whose figure is the growth of a compressed file when the text follows the training text.
"""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np

from lmgen.data import corpus
from lmgen.data.reading import Piece, whole
from lmgen.errors import InputError
from lmgen.evaluation.scores import Measures, PseudoMeasures, measures_of, text_nats
from lmgen.models.capabilities import Generates, Scores, require
from lmgen.models.provenance import Origin
from lmgen.models.scoring import BATCH, WINDOW
from lmgen.training import counting

PRIMED = 1 << 24  # bytes of the end of the training text that gzip and xz see; gzip reaches back 32 KiB only
ZLIB_LEVEL, XZ_PRESET = 9, 6


@dataclass(frozen=True)
class Source:
    """A text to measure: its name, its ids, and its pieces, to be read again."""

    name: str
    ids: corpus.Ids
    pieces: Callable[[], Iterable[Piece]]


@dataclass(frozen=True)
class Baseline:
    """The figures of a baseline: bits per byte, spelling included, and nats per symbol if it has symbols."""

    name: str
    bits_per_byte: float | None
    nats_per_symbol: float | None = None


@dataclass(frozen=True)
class Overlap:
    """How many sequences of the text are in the training text, word for word."""

    sequences: int
    known: int

    @property
    def share(self) -> float:
        return self.known / max(1, self.sequences)


@dataclass(frozen=True)
class Scorecard:
    """The measures of a text, the baselines, the overlap with the training text, and why these are missing."""

    name: str
    measures: Measures | PseudoMeasures
    baselines: list[Baseline] = field(default_factory=list)
    overlap: Overlap | None = None
    lack: str = ""
    weight: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        overlap = self.overlap and {**vars(self.overlap), "share": self.overlap.share}
        mixed = {} if self.weight is None else {"weight": self.weight}
        beside = {"baselines": [vars(b) for b in self.baselines], "overlap": overlap}
        return {"file": self.name, **self.measures.as_dict(), **mixed, **beside}


class Judge:
    """Measures texts by a model, or by its mixture with another, and by baselines, whose training text is read at first use."""

    def __init__(self, model: Scores, other: Scores | None = None, batch: int = BATCH, window: int = WINDOW, cold: bool = False):
        self.model, self.other, self.window = model, other, window if cold else None
        self._nats = partial(text_nats, batch=batch, window=window, cold=cold)
        if other is not None:
            for each in (model, other):
                require(each, Generates, "only models that read in one direction can be mixed, so name another one")
            if model.vocab != other.vocab:
                raise InputError("the two models have different symbols, so they cannot be mixed: train both alike")

    def weight(self, valid: corpus.Ids) -> float:
        """The weight of the first model in the mixture that gives a validation text the fewest nats."""
        assert self.other is not None
        return mixing_weight(self._nats(self.model, valid), self._nats(self.other, valid))

    def card(self, source: Source, baselines: bool = True, weight: float | None = None) -> Scorecard:
        """The scorecard of a text. With a `weight` the two models are mixed."""
        nats = self._nats(self.model, source.ids)
        if weight is not None:
            assert self.other is not None
            nats = mixed(nats, self._nats(self.other, source.ids), weight)
        measures = measures_of(self.model, nats, source.ids, self.window)
        if not baselines or isinstance(measures, PseudoMeasures):
            return Scorecard(source.name, measures, weight=weight)
        try:
            training = self._training
        except InputError as error:
            return Scorecard(source.name, measures, lack=str(error), weight=weight)
        return Scorecard(source.name, measures, [*self._baselines(training, source)], training.overlap(source), weight=weight)

    @cached_property
    def origin(self) -> Origin:
        """The training text of the model. Raises InputError where it is missing or has changed."""
        return self.model.origin

    @cached_property
    def _training(self) -> _Training:
        return _Training(self.model, self.origin)

    def held_out(self) -> Source:
        """The validation text of the model. Raises InputError if there is none."""
        return Source("held-out text", self.origin.validation(), self.origin.held_out)

    def _baselines(self, training: _Training, source: Source) -> Iterator[Baseline]:
        text = content(source.pieces())
        with ThreadPoolExecutor() as pool:
            sizes = {name: pool.submit(size, training.primer + text) for name, size in COMPRESSORS.items()}
            sizes_before = training.sizes(pool)
            for name, model in training.ngram_models.items():
                found = measures_of(model, self._nats(model, source.ids), source.ids)
                assert isinstance(found, Measures)
                yield Baseline(name, found.spelt_bits_per_byte, found.nats_per_symbol)
            for name in COMPRESSORS:
                bits = 8 * (sizes[name].result() - sizes_before[name].result()) / len(text) if text else None
                yield Baseline(f"{name}, primed", bits)


class _Training:
    """The training text of a model, as the baselines need it."""

    def __init__(self, model: Scores, origin: Origin):
        self.model, self.corpus, self.pieces = model, origin.data, origin.training
        self.primer = _last(PRIMED, (content([piece]) for piece in self.pieces()))
        self._sizes: dict[str, Future[int]] = {}

    @cached_property
    def ngram_models(self) -> dict[str, Scores]:
        """The n-gram baselines by name."""
        train, valid = self.corpus.train.stream, self.corpus.valid
        vocab, carry = self.model.vocab, self.model.carry
        unigram = counting.fitted(train, None, vocab, carry, 1).lm
        best = counting.fitted(train, valid.stream if valid else None, vocab, carry).lm
        return {"unigram": unigram, f"Kneser-Ney {best.config.order}-gram": best}

    def sizes(self, pool: Executor) -> dict[str, Future[int]]:
        """The sizes of the compressed training text alone."""
        if not self._sizes:
            self._sizes = {name: pool.submit(size, self.primer) for name, size in COMPRESSORS.items()}
        return self._sizes

    def overlap(self, source: Source) -> Overlap:
        """How many sequences of a text are in the training text."""
        wanted = _fingerprints(source.pieces())
        return Overlap(len(wanted), int(np.isin(wanted, _fingerprints(self.pieces())).sum()) if len(wanted) else 0)


def _fingerprints(pieces: Iterable[Piece]) -> np.ndarray:
    return np.array([corpus.fingerprint(s) for s in whole(pieces) if s.strip()], np.uint64)


def content(pieces: Iterable[Piece]) -> bytes:
    """The bytes of pieces, with their line ends."""
    return "".join(piece.text + "\n" * piece.gap for piece in pieces).encode("utf-8", "surrogatepass")


def _last(size: int, blocks: Iterable[bytes]) -> bytes:
    """The last `size` bytes of all blocks."""
    kept = bytearray()
    for block in blocks:
        kept += block
        if len(kept) > 2 * size:
            del kept[:-size]
    return bytes(kept[-size:])


def gzip_size(data: bytes) -> int:
    return len(zlib.compress(data, ZLIB_LEVEL))


def xz_size(data: bytes) -> int:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": XZ_PRESET, "dict_size": max(1 << 20, min(1 << 28, 2 * len(data)))}]
    return len(lzma.compress(data, format=lzma.FORMAT_RAW, filters=filters))


COMPRESSORS: dict[str, Callable[[bytes], int]] = {"gzip": gzip_size, "xz": xz_size}


# ---- mixtures ----------------------------------------------------------------------------------------------------------


def mixed(nats: np.ndarray, other: np.ndarray, weight: float) -> np.ndarray:
    """The nats of each symbol under a mixture of two models, with the weight of the first."""
    with np.errstate(divide="ignore"):
        return -np.logaddexp(np.log(weight) - nats, np.log1p(-weight) - other)


def mixing_weight(nats: np.ndarray, other: np.ndarray) -> float:
    """The weight of the first model in the mixture with the fewest nats, to six digits: the slope of the concave function
    Σ ln(λ p + (1 − λ) q) of λ is bisected."""
    ratio = np.exp(np.clip(np.asarray(other, np.float64) - nats, -700, 700)) - 1  # p / q − 1
    low, high = 0.0, 1.0
    for _ in range(30):
        middle = (low + high) / 2
        slope = (ratio / (1 + middle * ratio)).sum()
        low, high = (middle, high) if slope > 0 else (low, middle)
    return round((low + high) / 2, 6)
