"""The model that writes a target for a source: a translation, the result of a sum, a date in another form."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import jax
import numpy as np
from jax import Array

from lmgen.data import subword
from lmgen.data.vocab import EOS, UNITS
from lmgen.errors import InputError
from lmgen.labelled import packing
from lmgen.models import kinds
from lmgen.models.capabilities import ScoresPairs, ShowsUnits, Taught, each, finite
from lmgen.models.recurrent import Network
from lmgen.networks import translating
from lmgen.networks.decoding import Found, Search, decode
from lmgen.networks.translating import Inputs, TranslatorConfig
from lmgen.pages import notebook
from lmgen.structured.bitext import LONGEST, CodedPairs, encode
from lmgen.structured.pairs import Pair
from lmgen.system import devices
from lmgen.system.cluster import group

WIDTH = 32  # columns read side by side
AT_ONCE = 512  # sources that are sorted by length together
ROUND = 16  # rows of a source and of its target are multiples of it: few shapes to compile
MOST = 1 << 26  # attention weights of the pairs that are read side by side
STRETCH, EXTRA = 2, 20  # a target has at most this many times as many symbols as its source, and these more


@dataclass(frozen=True)
class Translation:
    """What a model writes for a source.

    `nats` are −ln p of the text with its EOS; `symbols` are those of the text; `weights` [symbols + 1, source symbols] say where
    each looked (the last row is that of EOS), and `read` are the source's symbols. It `ended` unless it grew too long. `others`
    are the next best.
    """

    source: str
    text: str
    nats: float
    symbols: tuple[str, ...]
    read: tuple[str, ...]
    weights: np.ndarray
    ended: bool = True
    others: tuple[Translation, ...] = ()

    @property
    def probability(self) -> float:
        return float(np.exp(-self.nats))

    def _repr_html_(self) -> str:
        rows = [(one.text, f"{one.nats:.2f}") for one in (self, *self.others)]
        return notebook.text(self.source) + notebook.table(("translation", "nats"), rows)


@dataclass(frozen=True)
class PairScore:
    """−ln p of a target given its source, in all and for each of its `symbols`, EOS included, of which some are `unknown`."""

    text: str
    nats: float
    symbols: tuple[tuple[str, float], ...]
    unknown: int

    def _repr_html_(self) -> str:
        return notebook.surprise(self.symbols, f"{self.nats:.2f} nats")


@dataclass(frozen=True, eq=False)
class Translator(Network, Taught, ScoresPairs, ShowsUnits):
    """A network that writes a target for a source."""

    kind = kinds.TRANSLATOR
    configuration = TranslatorConfig
    fresh = staticmethod(translating.init)  # type: ignore[assignment]

    config: TranslatorConfig

    def predict(
        self,
        texts: Iterable[str | None],
        *,
        beam: int = 1,
        length_penalty: float = 1.0,
        temperature: float = 0.0,
        best: int = 1,
        seed: int = 0,
    ) -> Iterator[Translation]:
        """The translations of sources, in order. Many are read at a time; None among them asks for those before it.

        Greedy search, or with `beam` beam search, whose score is log p ÷ length^`length_penalty`; drawn at random with a
        temperature above 0. `best` translations of each are found. Raises InputError for a source that is too long.
        """
        hypotheses = max(beam, best)
        if temperature and beam > 1:
            raise InputError("--beam searches and --temperature draws: give one of them")
        search = Search(hypotheses, length_penalty, temperature)
        waiting: list[str] = []
        keys = (jax.random.fold_in(devices.random_key(seed), k) for k in range(1 << 31))
        for text in chain(each(texts, str, "a source"), [None]):
            if text is not None:
                waiting.append(text)
            if waiting and (text is None or len(waiting) == AT_ONCE):
                yield from self._translated(waiting, search, best, keys)
                waiting = []

    def _translated(self, sources: list[str], search: Search, best: int, keys: Iterator[Array]) -> Iterator[Translation]:
        data = encode(((self.vocab.split(source), ()) for source in sources), self.vocab)
        if (longest := int(data.sources.max())) > LONGEST:
            raise InputError(f"a source of {longest:,} symbols is too long to be read whole: give its parts as sources")
        found: list[Any] = [Translation(source, "", 0.0, (), (), np.zeros((0, 0), np.float32)) for source in sources]
        order = np.argsort(data.sources, kind="stable")
        order = order[data.sources[order] > 0]  # a blank line has a blank translation
        first, width = 0, min(WIDTH, 1 << (len(sources) - 1).bit_length())
        while first < len(order):
            chosen = order[first : first + width]
            rows = ROUND * -(-(int(data.sources[chosen].max()) + 2) // ROUND)
            longest = ROUND * -(-(STRETCH * rows + EXTRA) // ROUND)
            if width > 1 and rows * longest * width * search.beam > MOST:
                width //= 2  # what follows is as long
                continue
            first += width
            inputs = _right_aligned(data, chosen, rows, width)
            how = Search(search.beam, search.penalty, search.temperature, longest)
            batch: Any = Found(*map(np.asarray, decode(self.config, self.precision, self.params, inputs, how, next(keys))))  # type: ignore[arg-type]
            finite(batch.nats[: len(chosen), 0])
            for b, k in enumerate(chosen.tolist()):
                each = [self._translation(sources[k], data, k, batch, b, rank) for rank in range(best)]
                found[k] = Translation(**{**vars(each[0]), "others": tuple(each[1:])})
        yield from found

    def _translation(self, source: str, data: CodedPairs, k: int, batch: Any, b: int, rank: int) -> Translation:
        length = int(batch.lengths[b, rank])
        ended = bool(batch.ended[b, rank])
        ids, unit = batch.ids[: length - ended, b, rank].tolist(), UNITS[self.vocab.unit]
        symbols = [self._spelt(one, data.others[k]) for one in ids]
        text = subword.written(self.vocab.join(symbols)) if unit.learns else unit.join(symbols)
        start, many = int(data.starts[k]), int(data.sources[k])
        read = [self._spelt(one, data.others[k]) for one in data.stream[start : start + many].tolist()]
        rows = batch.weights.shape[-1]
        weights = batch.weights[:length, b, rank, rows - 1 - many : rows - 1]
        shown, seen = (tuple(self.vocab.shown(one).removeprefix(unit.lead) for one in some) for some in (symbols, read))
        return Translation(source, text, float(batch.nats[b, rank]), shown, seen, weights, ended)

    def _spelt(self, id: int, others: Sequence[str]) -> str:
        return others[id - len(self.vocab) - 1] if id > len(self.vocab) else self.vocab.spell(id)

    def score(self, pairs: Iterable[Pair | None]) -> Iterator[PairScore]:
        """−ln p of the target of each pair given its source, in order. None among them asks for the scores of those before it.

        Raises InputError for a pair that is too long.
        """
        waiting: list[tuple[Pair, list[str], list[str]]] = []
        for pair in chain(pairs, [None]):
            if pair is not None:
                waiting.append((pair, self.vocab.split(pair.source), self.vocab.split(pair.target)))
            if waiting and (pair is None or len(waiting) == AT_ONCE):
                data = encode(((source, target) for _, source, target in waiting), self.vocab)
                if (longest := int(data.lengths.max())) > 2 * LONGEST:
                    raise InputError(f"a pair of {longest:,} symbols is too long to be read whole: give its parts as pairs")
                for (pair, _, target), nats in zip(waiting, self._nats(data), strict=True):
                    unknown = sum(self.vocab.ids.get(symbol, self.config.targets) >= self.config.targets for symbol in target)
                    symbols = tuple(zip([*target, ""], nats.tolist(), strict=True))
                    yield PairScore(pair.target, float(nats.sum(dtype="float64")), symbols, unknown)
                waiting = []

    def _nats(self, data: CodedPairs) -> list[np.ndarray]:
        """−ln p of each symbol of each target."""
        found: list[Any] = [None] * data.sequences
        predicted = data.lengths - data.sources
        blocks = [*packing.blocks(data.starts, data.lengths, WIDTH, MOST)]
        room = max(int(predicted[block.of[block.of >= 0]].sum()) for block in blocks)
        room = 1 << (room - 1).bit_length()

        read = [translating.inputs_of(data, block, room) for block in blocks]
        each = group.shared_out(read, lambda some: _nats(self.config, self.precision, self.params, *some[:2]))
        for block, (inputs, _, weights), nats in zip(blocks, read, each, strict=True):
            at = inputs.at[weights > 0]
            nats = finite(np.asarray(nats))[: len(at)]
            of = np.append(block.of, -1)[block.slots].reshape(-1)[at]
            order = np.lexsort((at, at % block.places.shape[1]))  # down each column, as the text goes
            of, nats = of[order], nats[order]
            edges = np.flatnonzero(np.diff(of)) + 1
            for k, part in zip(of[np.append(0, edges)].tolist(), np.split(nats, edges), strict=True):
                found[k] = part
        return found

    def validate(self, data: CodedPairs) -> tuple[float, dict[str, Any]]:
        """The mean nats of the symbols of held-out targets, given their sources."""
        total = sum(float(nats.sum(dtype="float64")) for nats in self._nats(data))
        return total / max(1, data.symbols), {}


def _right_aligned(data: CodedPairs, chosen: np.ndarray, rows: int, width: int) -> Inputs:
    """Sources in columns that end with SEP; columns beyond the last source have SEP alone."""
    ids, source = np.full((rows, width), EOS, np.int32), np.zeros((rows, width), bool)
    fresh = np.ones((rows, width), bool)
    ids[-1], fresh[-1] = -1, False
    for b, k in enumerate(chosen.tolist()):
        start, many = int(data.starts[k]), int(data.sources[k])
        ids[rows - 1 - many :, b] = data.stream[start : start + many + 1]
        source[rows - 1 - many : rows - 1, b] = True
        fresh[rows - 1 - many :, b] = False
    ids[-1] = ids[-1, 0]
    slots = np.where(fresh, width, np.arange(width, dtype=np.int32))
    return Inputs(ids, slots, source, fresh, np.zeros(1, np.int32))


@partial(jax.jit, static_argnums=(0, 1))
def _nats(config: TranslatorConfig, precision: str, params: Any, inputs: Any, targets: Any) -> Array:
    return translating.nats(config, precision, params, inputs, targets, None)
