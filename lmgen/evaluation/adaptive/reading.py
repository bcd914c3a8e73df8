"""A text measured by a network that adapts while it reads: by a neural cache, by dynamic evaluation, or by both.

The text is read once, from left to right, and each symbol is scored before anything is learnt from it. What is learnt stays
until the end of the text, over all its sequences; the state is carried over them or not, as the network was trained. All
settings are fitted to the beginning of a validation text. The model itself does not change.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np

from lmgen.data.ids import Ids
from lmgen.errors import InputError
from lmgen.evaluation.adaptive import cache, dynamic
from lmgen.evaluation.adaptive.cache import Block, Cache
from lmgen.evaluation.adaptive.dynamic import Dynamic
from lmgen.evaluation.scores import Measures, measures_of
from lmgen.models.capabilities import Adapts, Model, require
from lmgen.models.mixed import Mixed
from lmgen.nn import model
from lmgen.nn.model import NetworkConfig, Params
from lmgen.options import kinds, table

WAYS = ("cache", "dynamic", "both")
FITTED = 16_384, 50_000  # symbols of the validation text that the settings of dynamic evaluation, and of the cache, are fitted to
BLOCK = 256  # symbols


@dataclass(frozen=True, eq=False)
class Adaptation:
    """A network and how it adapts."""

    lm: Adapts
    how: str
    cache: Cache | None
    dynamic: Dynamic | None
    fitted: np.ndarray  # the stream to which

    def nats(self, stream: np.ndarray) -> np.ndarray:
        """−ln p [n − 1] of every symbol of a stream after its first."""
        blocks = _read(self.lm, stream, self.dynamic)
        found = self.cache.nats(blocks) if self.cache else map(cache.only_text, blocks)
        return np.concatenate([np.empty(0, np.float32), *(nats.astype(np.float32) for nats in found)])

    def measure(self, ids: Ids) -> Adapted:
        """The measures of an encoded text. Raises InputError for the text that the settings are fitted to."""
        if np.array_equal(ids.stream, self.fitted):
            raise InputError("--adapt is fitted to this very text, so measure another, or name another with --valid")
        measures = measures_of(self.lm, self.nats(ids.stream), ids)
        assert isinstance(measures, Measures)
        return Adapted(self.how, self.settings, measures)

    @property
    def settings(self) -> dict[str, float]:
        """The fitted settings by name: window, theta and network's share of the cache, rate and decay of the steps."""
        found: dict[str, float] = {} if self.dynamic is None else {"rate": self.dynamic.rate, "decay": self.dynamic.decay}
        return found if self.cache is None else found | vars(self.cache)


@dataclass(frozen=True)
class Adapted:
    """The measures of a text by a network that adapted while it read, and its settings."""

    how: str
    settings: dict[str, float]
    measures: Measures

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {"how": self.how, "settings": self.settings, **self.measures.as_dict()}


def adaptation(lm: Model, how: str, valid: Ids) -> Adaptation:
    """The adaptation of a network (of a model of several parts the first one), fitted to a validation text.

    Raises InputError for a model that is no network which reads from left to right, and for a text without symbols.
    """
    lm = lm.network if isinstance(lm, Mixed) else lm
    table.check("adapt", kinds.Choice(WAYS), how)
    network = require(lm, Adapts, "leave out --adapt, or name a network that reads in one direction")
    if valid.symbols < 1:
        raise InputError("the validation text is empty, so --adapt cannot be fitted to it: name another with --valid")
    learning = None if how == "cache" else dynamic.fit(network, valid.stream[: FITTED[0] + 1])
    if how == "dynamic":
        return Adaptation(network, how, None, learning, valid.stream)
    remembering = cache.fit([*_read(network, valid.stream[: FITTED[1] + 1], learning)])
    return Adaptation(network, how, remembering, learning, valid.stream)


def _read(lm: Adapts, stream: np.ndarray, learning: Dynamic | None) -> Iterator[Block]:
    """The blocks of a stream in their order."""
    if learning is not None:
        yield from learning.read(lm, stream)
        return
    state = lm.start(1)
    for window, counts in dynamic.segments(stream, BLOCK):
        state, h, nats = _plainly(lm.config, lm.precision, lm.params, state, window)
        yield np.asarray(h), np.where(counts, window[1:, 0], cache.EMPTY), np.asarray(nats)


@partial(jax.jit, static_argnums=(0, 1))
def _plainly(config: NetworkConfig, precision: str, params: Params, state: Any, window: Any) -> Any:
    state, hs = model.read(config, precision, params, state, window[:-1])
    return state, hs[:, 0], model.nats(params, hs, window[1:], precision)[:, 0]
