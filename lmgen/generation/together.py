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
from jax import Array

from lmgen.data.vocab import EOS
from lmgen.generation.compiled import DRAWN, TRANSFORMS, Rows
from lmgen.generation.conditional import axes_of
from lmgen.generation.sampling import Settings, active, loop_of, values_of
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
        self.read, self.last = 0, EOS
        self.state: tuple[list[np.ndarray], int] | None = None  # the arrays of a call, and the row; None before anything is read
        self.seen: np.ndarray | None = None

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
        ends = [at for at, id in enumerate(drawn) if id == EOS][: self.left] if EOS in drawn else []
        self.left -= len(ends)
        self.ids += drawn if self.left else drawn[: ends[-1] + 1]
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
        """Give each of the texts DRAWN symbols more, of the prompt or of what follows it, or LONG where all have as many already.

        Raises CheckpointError where the numbers are not finite.
        """
        names = tuple(dict.fromkeys(name for text in texts for name in text.names))
        loop = loop_of(self.lm, texts[0].by_kernels)
        size = loop.most if loop.always else next(size for size in SIZES if size >= len(texts))
        spare = size - len(texts)
        steps = LONG if loop.length >= LONG and min(text.read for text in texts) >= LONG else DRAWN
        forced = np.full((steps, size), -1, np.int32)
        for row, text in enumerate(texts):
            if text.read < len(text.prompt):
                part = text.prompt[text.read : text.read + steps]
                forced[: len(part), row] = part
        if new := [text for text in texts if text.key is None]:
            for text, key in zip(new, _keys(new, size), strict=False):
                text.key = key
        rows = Rows(
            jax.tree.unflatten(self._tree, self._state(texts, size)),
            np.array([text.last for text in texts] + [EOS] * spare, np.int32),
            np.array([text.left for text in texts] + [0] * spare, np.int32),
            jax.random.wrap_key_data(jnp.asarray(np.array([text.key for text in (*texts, *[texts[0]] * spare)]))),
            self._seen(texts, names, size),
        )
        values = values_of([text.settings for text in texts] + [texts[0].settings] * spare)
        at = np.array([text.read for text in texts] + [0] * spare)
        rows, ids, nats = loop.steps(names, values, rows, forced, at, steps)
        finite(np.asarray(nats))
        after = [*map(np.asarray, jax.tree.leaves(rows.state))]
        columns, last = np.asarray(ids).T.tolist(), np.asarray(rows.last).tolist()
        for row, text in enumerate(texts):
            text.state, text.last = (after, row), last[row]
            if OF_SEEN & {*text.names}:
                text.seen = np.asarray(rows.seen)[row]
            text.take(columns[row])

    def _state(self, texts: Sequence[Text], size: int) -> list[np.ndarray]:
        """The arrays of a call, each with the rows of the texts, from those of the calls before."""
        arrays = [fresh.repeat(size, axis) for fresh, axis in zip(self._fresh, self._axes, strict=True)]
        sources = {id(text.state[0]): text.state[0] for text in texts if text.state}
        for key, source in sources.items():
            ours, theirs = zip(
                *[(row, t.state[1]) for row, t in enumerate(texts) if t.state and id(t.state[0]) == key], strict=True
            )
            for array, before, axis in zip(arrays, source, self._axes, strict=True):
                np.moveaxis(array, axis, 0)[[*ours]] = np.moveaxis(before, axis, 0)[[*theirs]]
        return arrays

    def _seen(self, texts: Sequence[Text], names: tuple[str, ...], size: int) -> np.ndarray | None:
        if not OF_SEEN & {*names}:
            return None
        seen = np.zeros((size, len(self.lm.vocab)), bool)
        for row, text in enumerate(texts):
            seen[row] = text.seen if text.seen is not None else False
        return seen


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
