"""How likely each symbol of a text was, and which others were likelier, read on from where the text went before."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from lmgen.data.vocab import EOS
from lmgen.models.capabilities import Generates, finite

SIZES = (256, 64, 16, 4, 1)  # symbols read at a time: few shapes to compile
MOST_LOGITS = 1 << 22  # of a read


class Likely(NamedTuple):
    """Of n symbols ln p [n], and the ids and ln p [n, k] of the k likeliest at their places, the likeliest first."""

    log_p: np.ndarray
    ids: np.ndarray
    of_ids: np.ndarray


class Reader:
    """Reads a text that begins with a sequence."""

    def __init__(self, lm: Generates, most: int):
        self._lm, self._most = lm, min(most, len(lm.vocab))
        self._state, self._last = lm.start(1), EOS

    def read(self, ids: np.ndarray) -> Iterator[Likely]:
        """The next ids [n] of the text, some at a time. Raises CheckpointError where the numbers are not finite."""
        at = 0
        while at < len(ids):
            size = next(
                size for size in SIZES if size <= len(ids) - at and (size == 1 or size * len(self._lm.vocab) <= MOST_LOGITS)
            )
            targets = ids[at : at + size].astype(np.int32)
            window = np.concatenate([[self._last], targets[:-1]]).astype(np.int32)
            self._state, logits = self._lm.read(self._state, window[:, None])
            log_p, likeliest, of_ids = map(np.asarray, _likely(self._most, jnp.asarray(logits)[:, 0], targets))
            yield Likely(finite(log_p), likeliest, of_ids)
            self._last, at = int(targets[-1]), at + size


@partial(jax.jit, static_argnums=0)
def _likely(most: int, logits: Array, targets: Array) -> tuple[Array, Array, Array]:
    log_p = jax.nn.log_softmax(logits, -1)
    of_ids, ids = jax.lax.top_k(log_p, most)
    return jnp.take_along_axis(log_p, targets[:, None], -1)[:, 0], ids, of_ids
