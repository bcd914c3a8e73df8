"""Texts of many users, written side by side: each begins, ends and draws as if it were alone.

A text keeps its row of the state between the calls of the loop of sampling.py. A call takes as many texts as the loop has rows
and gives each the same number of symbols, so texts come and go between calls. What is written does not depend on the neighbours:
rows do not, and the random numbers of a row depend only on its seed, its number and the place in the text. Shapes: B rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from lmgen.data.vocab import EOS
from lmgen.generation.compiled import DRAWN, TRANSFORMS, Rows
from lmgen.generation.conditional import axes_of
from lmgen.generation.sampling import Settings, active, keys, loop_of, values_of
from lmgen.generation.transforms import OF_SEEN
from lmgen.models.capabilities import Generates, finite
from lmgen.system import devices

SIZES = (1, 4, 16, 64)  # rows of a call, where the loop allows any number: few shapes to compile


class Text:
    """A text in the making: the sample `number` of a seed, behind a prompt [n].

    It is done after `lines` EOS, or after `max_length` symbols of its settings. `ids` are those drawn so far.
    """

    def __init__(self, settings: Settings, seed: int, number: int, prompt: np.ndarray, lines: int):
        self.settings, self.names = settings, active(settings)
        self.prompt, self.left = prompt, lines
        self.key = np.asarray(jax.random.key_data(keys(devices.random_key(seed), np.array([number]))))[0]
        self.ids: list[int] = []
        self.read, self.last = 0, EOS
        self.state: list[np.ndarray] | None = None  # a row of each array, or before anything is read None
        self.seen: np.ndarray | None = None

    @property
    def done(self) -> bool:
        return not self.left or len(self.ids) >= self.settings.max_length

    @property
    def by_kernels(self) -> bool:
        """Whether the kernels have all its transforms. Texts of one call are alike in this, as each would be alone."""
        return TRANSFORMS.issuperset(self.names)

    def take(self, ids: np.ndarray) -> None:
        """Add what a call drew, up to where the text ends."""
        drawn = ids[max(0, len(self.prompt) - self.read) :][: self.settings.max_length - len(self.ids)]
        ends = np.flatnonzero(drawn == EOS)[: self.left]
        if len(ends) == self.left:
            drawn = drawn[: ends[-1] + 1]
        self.left -= len(ends)
        self.ids += drawn.tolist()
        self.read += len(ids)


class Together:
    """Writes texts of a model."""

    def __init__(self, lm: Generates):
        self.lm = lm
        leaves, self._tree = jax.tree.flatten(lm.start(1))
        self._fresh, self._axes = [*map(np.asarray, leaves)], axes_of(lm)

    def most(self, by_kernels: bool) -> int:
        """The number of texts that a call takes at most."""
        return loop_of(self.lm, by_kernels).most

    def write(self, texts: Sequence[Text]) -> None:
        """Give each of the texts DRAWN symbols more, of the prompt or of what follows it. Raises CheckpointError where the
        numbers are not finite."""
        names = tuple(dict.fromkeys(name for text in texts for name in text.names))
        loop = loop_of(self.lm, texts[0].by_kernels)
        size = loop.most if loop.always else next(size for size in SIZES if size >= len(texts))
        spare = size - len(texts)
        parts = zip(*[text.state or self._fresh for text in texts], *[self._fresh] * spare, strict=True)
        state = [np.concatenate(part, axis) for part, axis in zip(parts, self._axes, strict=True)]
        forced = np.full((DRAWN, size), -1, np.int32)
        for row, text in enumerate(texts):
            part = text.prompt[text.read : text.read + DRAWN]
            forced[: len(part), row] = part
        rows = Rows(
            jax.tree.unflatten(self._tree, state),
            np.array([text.last for text in texts] + [EOS] * spare, np.int32),
            np.array([text.left for text in texts] + [0] * spare, np.int32),
            jax.random.wrap_key_data(jnp.stack([text.key for text in texts] + [texts[0].key] * spare)),
            self._seen(texts, names, size),
        )
        values = values_of([text.settings for text in texts] + [texts[0].settings] * spare)
        at = np.array([text.read for text in texts] + [0] * spare)
        rows, ids, nats = loop.steps(names, values, rows, forced, at, DRAWN)
        finite(np.asarray(nats))
        after = [*map(np.asarray, jax.tree.leaves(rows.state))]
        ids, last = np.asarray(ids), np.asarray(rows.last)
        for row, text in enumerate(texts):
            text.state = [leaf.take([row], axis) for leaf, axis in zip(after, self._axes, strict=True)]
            text.last = int(last[row])
            if OF_SEEN & {*text.names}:
                text.seen = np.asarray(rows.seen)[row]
            text.take(ids[:, row])

    def _seen(self, texts: Sequence[Text], names: tuple[str, ...], size: int) -> np.ndarray | None:
        if not OF_SEEN & {*names}:
            return None
        seen = np.zeros((size, len(self.lm.vocab)), bool)
        for row, text in enumerate(texts):
            seen[row] = text.seen if text.seen is not None else False
        return seen
