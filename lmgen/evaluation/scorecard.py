"""How good a model is on a text, beside what simple models and file compressors make of the same bytes, and how much of the text
stands in the training text.

The baselines are fitted on the training text alone: a unigram and a Kneser-Ney model of the model's own symbols (its order chosen
on the validation text), and gzip and xz, whose figure is by how much a compressed file grows when the text is appended to the
training text.
"""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from lmgen.data import corpus
from lmgen.data.reading import Piece, whole
from lmgen.errors import InputError
from lmgen.evaluation import scores
from lmgen.evaluation.scores import Measures, PseudoMeasures
from lmgen.models import loading, networks, provenance, scoring
from lmgen.models.scoring import BATCH, WINDOW
from lmgen.training import counting

PRIMED = 1 << 24  # bytes of the end of the training text that gzip and xz see; gzip reaches back 32 KiB only
ZLIB_LEVEL, XZ_PRESET = 9, 6

Model = networks.Recurrent | networks.Cloze | loading.NGramModel


@dataclass(frozen=True)
class Source:
    """A text to be measured: its name, its ids, and its pieces, to be read again."""

    name: str
    ids: corpus.Ids
    pieces: Callable[[], Iterable[Piece]]


@dataclass(frozen=True)
class Baseline:
    """What something simple makes of the text: bits per byte, spelling included, and nats per symbol where it has symbols."""

    name: str
    bits_per_byte: float | None
    nats_per_symbol: float | None = None


@dataclass(frozen=True)
class Overlap:
    """How many of the text's sequences stand in the training text, word for word."""

    sequences: int
    known: int

    @property
    def share(self) -> float:
        return self.known / max(1, self.sequences)


@dataclass(frozen=True)
class Scorecard:
    """The measures of a text, the baselines, the overlap with the training text, and why some of it is lacking."""

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
    """A model, another one that is mixed in, if any, and what the training text gives to measure them by, read at first use."""

    def __init__(self, model: Model, other: Model | None = None, batch: int = BATCH, window: int = WINDOW, cold: bool = False):
        self.model, self.other, self.batch, self.window, self.cold = model, other, batch, window, cold
        if other is not None:
            if isinstance(model, networks.Cloze) or isinstance(other, networks.Cloze):
                raise InputError("a model of both directions gives no probability of a text, so it cannot be mixed: name another")
            if model.vocab != other.vocab:
                raise InputError(
                    "the two models have different symbols, so their probabilities cannot be mixed: train both alike"
                )

    def weight(self, valid: corpus.Ids) -> float:
        """The share of the first model's probabilities in the mixture that makes a validation text likeliest."""
        assert self.other is not None
        return mixing_weight(self._nats(self.model, valid), self._nats(self.other, valid))

    def card(self, source: Source, baselines: bool = True, weight: float | None = None) -> Scorecard:
        """The scorecard of a text. With a `weight` the two models are mixed."""
        model = self.model
        if isinstance(model, networks.Cloze):
            return Scorecard(source.name, scores.measure(model, source.ids, self.batch, self.window, self.cold))
        nats = self._nats(model, source.ids)
        if weight is not None:
            assert self.other is not None
            nats = mixed(nats, self._nats(self.other, source.ids), weight)
        window = self.window if self.cold else None
        measures = scores.measures_of(nats, source.ids, model.vocab, model.carry, window)
        if not baselines:
            return Scorecard(source.name, measures, weight=weight)
        try:
            training = self._training
        except InputError as error:
            return Scorecard(source.name, measures, lack=str(error), weight=weight)
        return Scorecard(source.name, measures, [*self._baselines(training, source)], training.overlap(source), weight=weight)

    def _nats(self, model: Model, ids: corpus.Ids) -> np.ndarray:
        assert not isinstance(model, networks.Cloze)
        of = scoring.window_nats if self.cold else scoring.stream_nats
        return of(model, ids.stream, self.batch, self.window)

    @cached_property
    def origin(self) -> provenance.Origin:
        """The text that the model was made from. Raises InputError where it is gone or changed."""
        return provenance.origin(self.model)

    @cached_property
    def _training(self) -> _Training:
        return _Training(self.model, self.origin)

    def held_out(self) -> Source:
        """The text that the model was validated on. Raises InputError where there is none."""
        return Source("held-out text", self.origin.validation(), self.origin.held_out)

    def _baselines(self, training: _Training, source: Source) -> Iterator[Baseline]:
        text = content(source.pieces())
        with ThreadPoolExecutor() as pool:
            sizes = {name: pool.submit(size, training.primer + text) for name, size in COMPRESSORS.items()}
            sizes_before = training.sizes(pool)
            yield from self._counted_baselines(training, source)
            for name in COMPRESSORS:
                bits = 8 * (sizes[name].result() - sizes_before[name].result()) / len(text) if text else None
                yield Baseline(f"{name}, primed", bits)

    def _counted_baselines(self, training: _Training, source: Source) -> Iterator[Baseline]:
        for name, model in training.counted():
            of = scores.measures_of(self._nats(model, source.ids), source.ids, model.vocab, model.carry)
            yield Baseline(name, of.spelt_bits_per_byte, of.nats_per_symbol)


class _Training:
    """The training text of a model, as the baselines need it."""

    def __init__(self, model: Model, origin: provenance.Origin):
        self.model, self.corpus, self.pieces = model, origin.data, origin.training
        self.primer = _last(PRIMED, (content([piece]) for piece in self.pieces()))
        self._counted: list[tuple[str, loading.NGramModel]] = []
        self._sizes: dict[str, Future[int]] = {}

    def counted(self) -> list[tuple[str, loading.NGramModel]]:
        """The n-gram baselines: their names, and models."""
        if not self._counted:
            train, valid = self.corpus.train.stream, self.corpus.valid
            vocab, carry = self.model.vocab, self.model.carry
            unigram = counting.fitted(train, None, vocab, carry, 1).lm
            best = counting.fitted(train, valid.stream if valid else None, vocab, carry).lm
            self._counted = [("unigram", unigram), (f"Kneser-Ney {best.config.order}-gram", best)]
        return self._counted

    def sizes(self, pool: Executor) -> dict[str, Future[int]]:
        """The sizes of the compressed training text alone."""
        if not self._sizes:
            self._sizes = {name: pool.submit(size, self.primer) for name, size in COMPRESSORS.items()}
        return self._sizes

    def overlap(self, source: Source) -> Overlap:
        """How many sequences of a text stand in the training text."""
        wanted = np.array([corpus.fingerprint(s) for s in whole(source.pieces()) if s.strip()], np.uint64)
        if not len(wanted):
            return Overlap(0, 0)
        known = np.array([corpus.fingerprint(s) for s in whole(self.pieces()) if s.strip()], np.uint64)
        return Overlap(len(wanted), int(np.isin(wanted, known).sum()))


def content(pieces: Iterable[Piece]) -> bytes:
    """The bytes of pieces, with their line ends."""
    return "".join(piece.text + "\n" * piece.gap for piece in pieces).encode("utf-8", "surrogatepass")


def _last(size: int, blocks: Iterable[bytes]) -> bytes:
    """So many bytes of the end of all blocks."""
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
    """The nats of each symbol under the mixture of two models' probabilities."""
    with np.errstate(divide="ignore"):
        return -np.logaddexp(np.log(weight) - nats, np.log1p(-weight) - other)


def mixing_weight(nats: np.ndarray, other: np.ndarray) -> float:
    """The weight of the first model with which a mixture gives the symbols the fewest nats, to six digits.

    Σ ln(λ p + (1 − λ) q) is concave in λ, so its slope is bisected.
    """
    ratio = np.exp(np.clip(np.asarray(other, np.float64) - nats, -700, 700)) - 1  # p / q − 1
    low, high = 0.0, 1.0
    for _ in range(30):
        middle = (low + high) / 2
        slope = (ratio / (1 + middle * ratio)).sum()
        low, high = (middle, high) if slope > 0 else (low, middle)
    return round((low + high) / 2, 6)
