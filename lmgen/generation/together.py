"""Texts of many users, written side by side: each begins, ends and draws as if it were alone.

A text keeps its row of the state between the calls of the loop of sampling.py. A call takes as many texts as the loop has rows
and gives each the same number of symbols, so texts come and go between calls. What is written does not depend on the neighbours:
rows do not, and the random numbers of a row depend only on its seed, its number and the place in the text. Shapes: B rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from lmgen.data.vocab import EOS
from lmgen.generation.compiled import DRAWN, TRANSFORMS, Rows
from lmgen.generation.conditional import axes_of
from lmgen.generation.sampling import Settings, Values, active, loop_of, values_of
from lmgen.generation.transforms import OF_SEEN
from lmgen.models.capabilities import Generates, finite

SIZES = (1, 4, 16, 64)  # rows of a call, where the loop allows any number: few shapes to compile
LONG = 4 * DRAWN  # symbols of a call where all texts have as many already, so that few end within it


class Text:
    """A text in the making: the sample `number` of a seed, behind a prompt [n].

    It is done after `lines` EOS, or after `max_length` symbols of its settings. `ids` are those drawn so far.
    """

    def __init__(self, settings: Settings, seed: int, number: int, prompt: np.ndarray, lines: int):
        self.settings, self.names = settings, active(settings)
        self.prompt, self.left = prompt, lines
        self.seed, self.number = seed, number
        self.key: np.ndarray | None = None  # its random key, once it is begun
        self.ids: list[int] = []
        self.read = 0
        self.row: tuple[list[np.ndarray], int] | None = None  # the arrays of its last call, and its row of them

    @property
    def done(self) -> bool:
        return not self.left or len(self.ids) >= self.settings.max_length

    @property
    def by_kernels(self) -> bool:
        """Whether the kernels have all its transforms. Texts of one call are alike in this, as each would be alone."""
        return TRANSFORMS.issuperset(self.names)

    def take(self, ids: list[int]) -> None:
        """Add what a call drew, up to where the text ends."""
        drawn = ids[max(0, len(self.prompt) - self.read) :][: self.settings.max_length - len(self.ids)]
        ends = drawn.count(EOS)
        if ends >= self.left:
            drawn = drawn[: [at for at, id in enumerate(drawn, 1) if id == EOS][self.left - 1]]
        self.left -= min(ends, self.left)
        self.ids += drawn
        self.read += len(ids)


class Call(NamedTuple):
    """Texts, what they draw by, and their rows."""

    texts: list[Text]
    names: tuple[str, ...]
    values: Values
    rows: Rows


class Together:
    """Writes texts of a model. The rows that a call leaves are those of the next call, if it is of the same texts."""

    def __init__(self, lm: Generates):
        self.lm, self._loop = lm, cache(partial(loop_of, lm))
        leaves, self._tree = jax.tree.flatten(lm.start(1))
        # A row of a new text: its state, the id that it reads next, and the ids that it has read.
        self._fresh = [*map(np.asarray, leaves), np.array([EOS], np.int32), np.zeros((1, len(lm.vocab)), bool)]
        self._axes = (*axes_of(lm), 0, 0)
        self._last: Call | None = None

    def most(self, by_kernels: bool) -> int:
        """The number of texts that a call takes at most."""
        return self._loop(by_kernels).most

    def write(self, texts: Sequence[Text]) -> None:
        """Give each of the texts DRAWN symbols more, of the prompt or of what follows it, or LONG where all have as many already.

        Raises CheckpointError where the numbers are not finite.
        """
        loop = self._loop(texts[0].by_kernels)
        if self._last and self._last.texts == [*texts]:
            call = self._last
        else:
            call = self._gathered(texts, loop.most if loop.always else next(size for size in SIZES if size >= len(texts)))
        size = len(call.rows.last)
        steps = LONG if loop.length >= LONG and min(text.read for text in texts) >= LONG else DRAWN
        forced = np.full((steps, size), -1, np.int32)
        for row, text in enumerate(texts):
            if text.read < len(text.prompt):
                part = text.prompt[text.read : text.read + steps]
                forced[: len(part), row] = part
        at = np.array([text.read for text in texts] + [0] * (size - len(texts)))
        rows, ids, nats = loop.steps(call.names, call.values, call.rows, forced, at, steps)
        finite(np.asarray(nats))
        self._last = call._replace(rows=rows)
        after = [*map(np.asarray, jax.tree.leaves((rows.state, rows.last, rows.seen)))]
        for row, (text, drawn) in enumerate(zip(texts, np.asarray(ids).T.tolist(), strict=False)):
            text.row = after, row
            text.take(drawn)

    def _gathered(self, texts: Sequence[Text], size: int) -> Call:
        """A call of texts, whose rows are those that their last calls left."""
        spare = size - len(texts)
        names = tuple(dict.fromkeys(name for text in texts for name in text.names))
        begins = self._fresh if OF_SEEN & {*names} else self._fresh[:-1]
        arrays = [begin.repeat(size, axis) for begin, axis in zip(begins, self._axes, strict=False)]
        for key, source in {id(text.row[0]): text.row[0] for text in texts if text.row}.items():
            pairs = [(row, text.row[1]) for row, text in enumerate(texts) if text.row and id(text.row[0]) == key]
            ours, theirs = (np.array(rows) for rows in zip(*pairs, strict=True))
            for array, before, axis in zip(arrays, source, self._axes, strict=False):
                np.moveaxis(array, axis, 0)[ours] = np.moveaxis(before, axis, 0)[theirs]
        if new := [text for text in texts if text.key is None]:
            for text, its in zip(new, _keys(new, size), strict=False):
                text.key = its
        count = len(self._fresh) - 2
        state, (last, *seen) = jax.tree.unflatten(self._tree, arrays[:count]), arrays[count:]
        left = np.array([text.left for text in texts] + [0] * spare, np.int32)
        everyone = [*texts] + [texts[0]] * spare
        random_keys = jax.random.wrap_key_data(jnp.asarray(np.array([text.key for text in everyone])))
        values = values_of([text.settings for text in everyone])
        return Call([*texts], names, values, Rows(state, last, left, random_keys, *seen))


def _keys(texts: Sequence[Text], size: int) -> np.ndarray:
    """The random keys of texts, as `sampling.keys` makes them of `devices.random_key`, and others up to a size."""
    seeds, numbers = np.zeros(size, np.int64), np.zeros(size, np.int64)
    seeds[: len(texts)], numbers[: len(texts)] = [text.seed for text in texts], [text.number for text in texts]
    return np.asarray(
        _key_data((seeds & 0xFFFFFFFF).astype(np.uint32), (seeds >> 32).astype(np.uint32), numbers.astype(np.uint32))
    )


@jax.jit
@jax.vmap
def _key_data(low: Array, high: Array, number: Array) -> Array:
    seed = jax.random.key(low)
    seed = jnp.where(high > 0, jax.random.fold_in(seed, high), seed)
    return jax.random.key_data(jax.random.fold_in(seed, number))
