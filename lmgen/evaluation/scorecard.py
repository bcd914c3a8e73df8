"""How good a model is on a text, beside baselines on the same bytes, and how much of the text is in the training text.

The baselines are fitted on the training text alone: a unigram and a Kneser-Ney model of the model's own symbols (its order chosen
on the validation text), and gzip and xz, whose figure is the growth of a compressed file when the text follows the training text.
"""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import numpy as np

from lmgen.data import corpus
from lmgen.data.finding import names_of
from lmgen.data.reading import Piece, Text, whole
from lmgen.data.vocab import Vocab
from lmgen.errors import InputError
from lmgen.evaluation.cards.overlap import Overlap
from lmgen.evaluation.scores import Measures, PseudoMeasures, measures_of, text_nats
from lmgen.models.capabilities import Generates, Scores, require
from lmgen.models.mixed import Mixed, mixed_nats, mixing_weight
from lmgen.models.provenance import Origin
from lmgen.models.scoring import BATCH, WINDOW
from lmgen.training import counting

PRIMED = 1 << 24  # bytes of the end of the training text that gzip and xz see; gzip reaches back 32 KiB only


@dataclass(frozen=True)
class Source:
    """A text to measure: its name, its ids, and its pieces, to be read again."""

    name: str
    ids: corpus.Ids
    pieces: Callable[[], Iterable[Piece]]

    @classmethod
    def of(cls, text: Text, vocab: Vocab, note: Callable[[str], Any] = lambda _: None) -> Source:
        """A text read and encoded; `note` is called with sentences about its oddities. Raises InputError for an empty text."""
        ids = corpus.encode(iter(text), vocab)
        for sentence in text.notes:
            note(sentence)
        if not ids.symbols:
            raise InputError(f"there is no text in {names_of(text.paths)}: give a file with at least one line of it")
        return cls(names_of(text.paths), ids, lambda: iter(text))


@dataclass(frozen=True)
class Baseline:
    """The figures of a baseline: bits per byte, spelling included, and nats per symbol if it has symbols."""

    name: str
    bits_per_byte: float | None
    nats_per_symbol: float | None = None


@dataclass(frozen=True)
class Scorecard:
    """The measures of a text, the baselines, the overlap with the training text, and why these are missing."""

    name: str
    measures: Measures | PseudoMeasures
    baselines: list[Baseline] = field(default_factory=list)
    overlap: Overlap | None = None
    lack: str = ""
    weight: float | None = None
    adapted: Any = None  # the measures with adaptation (`adaptive.reading.Adapted`)
    alone: Baseline | None = None  # the network of the model, without its other parts

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        mixed: dict[str, Any] = {} if self.weight is None else {"weight": self.weight}
        mixed |= {} if self.alone is None else {"network_alone": vars(self.alone)}
        beside = {"baselines": [vars(b) for b in self.baselines], "overlap": self.overlap and vars(self.overlap)}
        apart = {} if self.adapted is None else {"adapted": self.adapted.as_dict()}
        return {"file": self.name, **self.measures.as_dict(), **mixed, **beside, **apart}


class Judge:
    """Measures texts by a model, or by its mixture with another, and by baselines, whose training text is read at first use."""

    def __init__(self, model: Scores, other: Scores | None = None, batch: int = BATCH, window: int = WINDOW, cold: bool = False):
        self.model, self.other, self.window = model, other, window if cold else None
        self._nats = partial(text_nats, batch=batch, window=window, cold=cold)
        self._primed: dict[str, Future[int]] = {}  # the sizes of the compressed training text alone
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
            nats = mixed_nats(nats, self._nats(self.other, source.ids), weight)
        measures = measures_of(self.model, nats, source.ids, self.window)
        card = Scorecard(source.name, measures, weight=weight, alone=self._alone(source))
        if not baselines or isinstance(measures, PseudoMeasures):
            return card
        try:
            _ = self._primer  # the first to read the training text
        except InputError as error:
            return replace(card, lack=str(error))
        return replace(card, baselines=[*self._baselines(source)], overlap=self._overlap(source))

    def _alone(self, source: Source) -> Baseline | None:
        """The figures of the network of a model that has other parts."""
        if not isinstance(self.model, Mixed):
            return None
        network = self.model.network
        found: Any = measures_of(network, self._nats(network, source.ids), source.ids, self.window)
        return Baseline("its network alone", found.spelt_bits_per_byte, found.nats_per_symbol)

    @cached_property
    def origin(self) -> Origin:
        """The training text of the model. Raises InputError where it is missing or has changed."""
        return self.model.origin

    def held_out(self) -> Source:
        """The validation text of the model. Raises InputError if there is none."""
        return Source("held-out text", self.origin.validation(), self.origin.held_out)

    @cached_property
    def _ngram_models(self) -> dict[str, Scores]:
        data, vocab, carry = self.origin.data, self.model.vocab, self.model.carry
        unigram = counting.fitted(data.train.stream, None, vocab, carry, 1).lm
        best = counting.fitted(data.train.stream, data.valid.stream if data.valid else None, vocab, carry).lm
        return {"unigram": unigram, f"Kneser-Ney {best.config.order}-gram": best}

    @cached_property
    def _primer(self) -> bytes:
        """The end of the training text."""
        kept = bytearray()
        for piece in self.origin.training():
            kept += content([piece])
            if len(kept) > 2 * PRIMED:
                del kept[:-PRIMED]
        return bytes(kept[-PRIMED:])

    def _baselines(self, source: Source) -> Iterator[Baseline]:
        text, primer = content(source.pieces()), self._primer
        with ThreadPoolExecutor() as pool:
            sizes = {name: pool.submit(size, primer + text) for name, size in COMPRESSORS.items()}
            self._primed = self._primed or {name: pool.submit(size, primer) for name, size in COMPRESSORS.items()}
            for name, model in self._ngram_models.items():
                found = measures_of(model, self._nats(model, source.ids), source.ids)
                assert isinstance(found, Measures)
                yield Baseline(name, found.spelt_bits_per_byte, found.nats_per_symbol)
            for name, size in sizes.items():
                bits = 8 * (size.result() - self._primed[name].result()) / len(text) if text else None
                yield Baseline(f"{name}, primed", bits)

    def _overlap(self, source: Source) -> Overlap:
        wanted, known = (
            (corpus.fingerprint(s) for s in whole(pieces) if s.strip()) for pieces in (source.pieces(), self.origin.training())
        )
        return Overlap.of(wanted, np.sort(np.fromiter(known, np.uint64)))


def content(pieces: Iterable[Piece]) -> bytes:
    """The bytes of pieces, with their line ends."""
    return "".join(piece.text + "\n" * piece.gap for piece in pieces).encode("utf-8", "surrogatepass")


def xz_size(data: bytes) -> int:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": max(1 << 20, min(1 << 28, 2 * len(data)))}]
    return len(lzma.compress(data, format=lzma.FORMAT_RAW, filters=filters))


COMPRESSORS: dict[str, Callable[[bytes], int]] = {"gzip": lambda data: len(zlib.compress(data, 9)), "xz": xz_size}
