"""The model that labels: a tag for every symbol, labels for a sequence, each with its probability."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from itertools import chain
from typing import Any

import jax
import numpy as np
from jax import Array

from lmgen.applied.calibrated import Calibrated, Logits
from lmgen.data.vocab import EOS, UNITS
from lmgen.labelled import packing, tagging
from lmgen.labelled.corpus import Coded, encode, symbols_of
from lmgen.labelled.examples import Example
from lmgen.labelled.unlabelled import apart
from lmgen.models import kinds
from lmgen.models.capabilities import ShowsUnits, Taught, each, finite
from lmgen.networks import labelling, words
from lmgen.networks.labelling import LabelConfig
from lmgen.pages import notebook
from lmgen.system.cluster import group

WIDTH = 32  # columns read side by side
AT_ONCE = 1024  # examples that are packed together …
AT_MOST = 1 << 15  # … and symbols that are read at a time, unless one text has more


@dataclass(frozen=True)
class Prediction:
    """What a model predicts for a sequence of `symbols`.

    `labels` are those of the sequence, the likeliest first, each with its probability, of which those in `chosen` hold: the first
    or, of several that may hold at once, all of at least 1/2. `tags` has a tag and its probability for each symbol; `entities`
    are the spans that BIO or IOBES tags mark, each as probable as its least probable tag. `of` names the symbols in JSON, `glue`
    is what is between those of an entity.
    """

    symbols: tuple[str, ...]
    labels: tuple[tuple[str, float], ...] = ()
    chosen: tuple[str, ...] = ()
    tags: tuple[tuple[str, float], ...] = ()
    entities: tuple[tuple[tagging.Span, float], ...] = ()
    text: str = ""
    several: bool = False
    of: str = "tokens"
    glue: str = " "

    def _repr_html_(self) -> str:
        rows = [(name, f"{p:.3f}", "holds" * (name in self.chosen)) for name, p in self.labels]
        labels = notebook.table(("label", "probability", ""), rows) if rows else ""
        tagged = [(symbol, tag, f"{p:.3f}") for symbol, (tag, p) in zip(self.symbols, self.tags, strict=False)]
        tags = notebook.table((self.of, "tag", "probability"), tagged) if tagged else ""
        return notebook.text(self.text or " ".join(self.symbols)) + labels + tags


@dataclass(frozen=True, eq=False)
class Labeller(Calibrated, Taught, ShowsUnits):
    """A network that labels."""

    kind = kinds.LABELLER
    configuration = LabelConfig
    fresh = staticmethod(labelling.init)  # type: ignore[assignment]

    config: LabelConfig

    def own_logits(self, data: Coded) -> Iterator[Logits]:
        spelt = self.spelt(data.others)
        for first in range(0, data.sequences, AT_ONCE):
            yield from self._logits(data, np.arange(first, min(first + AT_ONCE, data.sequences)), spelt)

    def spelt(self, others: Sequence[str] = ()) -> words.Spelt:
        """What is known of each word of the vocabulary, and of others, by its spelling."""
        return words.spelt(self.config, self.vocab.symbols, others, self._letters, self.vocab.ids)

    @cached_property
    def _letters(self) -> np.ndarray | None:
        return words.spelt(self.config, self.vocab.symbols).letters

    def _logits(self, data: Coded, chosen: np.ndarray, spelt: words.Spelt) -> list[Logits]:
        lengths = data.lengths[chosen]
        packing.check(lengths)
        rows = max(packing.ROUND, 1 << (int(lengths.max()) + 1).bit_length())  # powers of two: few shapes to compile
        columns = [chosen[column].tolist() for column in packing.best_fit(lengths, rows)]
        width = min(WIDTH, 1 << (len(columns) - 1).bit_length(), max(1, AT_MOST // rows))
        parts = [columns[i : i + width] for i in range(0, len(columns), width)]
        most = 1 << (max(sum(map(len, part)) for part in parts) - 1).bit_length()
        found: dict[int, Logits] = {}
        blocks = [packing.block(part, data.starts, data.lengths, rows, width, most) for part in parts]

        def read(block: packing.Block) -> Any:
            return _logits(self.config, self.precision, self.params, labelling.inputs_of(data.stream, block, spelt))

        for block, arrays in zip(blocks, group.shared_out(blocks, read), strict=True):
            logits = {name: finite(np.asarray(array)) for name, array in arrays.items()}
            for slot in np.flatnonzero(block.of >= 0):
                place = slice(block.first[slot], block.last[slot] + 1), block.column[slot]
                tags = logits["tags"][place] if "tags" in logits else None
                found[int(block.of[slot])] = Logits(tags, logits["labels"][slot] if "labels" in logits else None)
        return [found[k] for k in chosen.tolist()]

    def judged(self, data: Coded, gathered: Sequence[Logits]) -> tuple[float, dict[str, Any]]:
        """The mean nats of the labels of a text, by its logits at the best temperature, summed over the heads, and these
        temperatures."""
        found = {}
        if data.tags is not None:
            found["tags"] = np.concatenate([one.tags for one in gathered]), data.tags[data.stream != EOS]
        if data.labels is not None:
            found["labels"] = np.stack([one.labels for one in gathered]), data.labels  # type: ignore[misc]
        return self.fitted(found)

    def read(self, examples: Iterable[Example | None]) -> Iterator[tuple[Example, tuple[str, ...], Logits]]:
        """Each example with its symbols and its logits, in order. Many are read at a time; None among them asks for those before
        it."""
        waiting: list[tuple[Example, Example, tuple[str, ...]]] = []
        for example in chain(examples, [None]):
            if example:
                cut = example if example.tags else example._replace(text=self.apart(example.text))
                waiting.append((example, cut, tuple(symbols_of(cut.text, self.vocab))))
            if waiting and (example is None or len(waiting) == AT_ONCE):
                data = encode((cut for _, cut, _ in waiting), self.vocab, self.labels)
                for (given, _, symbols), logits in zip(waiting, self.logits(data), strict=True):
                    yield given, symbols, logits
                waiting = []

    def apart(self, text: Any) -> Any:
        """A text as `unlabelled.apart` makes it; tokens stay as they are."""
        return apart(text, self.vocab, self.config.words) if isinstance(text, str) else text

    def predict(self, texts: Iterable[str | tuple[str, ...] | None]) -> Iterator[Prediction]:
        """The predictions for texts, or for tokens, in order, as `read` reads them."""
        for example, symbols, logits in self.read(
            None if text is None else Example(text) for text in each(texts, (str, tuple), "a text or a tuple of tokens")
        ):
            yield self.prediction(example, symbols, logits)

    def seen(self, symbol: str) -> bool:
        """Whether the training text has a symbol."""
        return self.vocab.ids.get(symbol, self.config.words) < self.config.words

    def prediction(self, example: Example, symbols: tuple[str, ...], logits: Logits) -> Prediction:
        """What the logits of a sequence predict."""
        text, several, unit = example.joined, self.config.several, UNITS[self.vocab.unit]
        symbols = tuple(self.vocab.shown(symbol.removeprefix(unit.lead)) for symbol in symbols)
        labels: tuple[tuple[str, float], ...] = ()
        chosen: tuple[str, ...] = ()
        if logits.labels is not None:
            labels, chosen = self.ranked(logits.labels)
        if logits.tags is None:
            return Prediction(symbols, labels, chosen, text=text, several=several)
        p = self.probabilities(logits.tags, "tags")
        ids = self.tags_of(p)
        tags = tuple((self.config.tags[k], float(p[i, k])) for i, k in enumerate(ids))
        return Prediction(symbols, labels, chosen, tags, self._entities(tags), text, several, glue=unit.lead or unit.glue)

    def tags_of(self, p: np.ndarray) -> np.ndarray:
        """The likeliest tags, from their probabilities [n, L], that obey the scheme of the tags, if they have one and kept it."""
        if self.labels.scheme is None or self.config.loose:
            return p.argmax(-1)
        return tagging.viterbi(np.log(np.maximum(p, 1e-300)), _allowed(self.config.tags))

    def _entities(self, tags: tuple[tuple[str, float], ...]) -> tuple[tuple[tagging.Span, float], ...]:
        """The spans that the tags mark; each is as probable as its least probable tag."""
        if (scheme := self.labels.scheme) is None:
            return ()
        spans = tagging.spans([name for name, _ in tags], scheme)
        return tuple((span, min(p for _, p in tags[span.start : span.end])) for span in spans)


@cache
def _allowed(tags: tuple[str, ...]) -> np.ndarray:
    scheme = tagging.scheme(tags)
    assert scheme
    return tagging.allowed(tags, scheme)


@partial(jax.jit, static_argnums=(0, 1))
def _logits(config: LabelConfig, precision: str, params: Any, inputs: Any) -> dict[str, Array]:
    return labelling.logits(config, precision, params, inputs)
