"""The neural cache: what followed places like this one, a little earlier in the text (Grave et al. 2017).

A place is known by the vector h that the head reads there. The cache remembers the last W pairs of a vector and the symbol
that followed it, and gives symbol s the probability p_cache(s) ∝ Σ_i 1[x_{i+1} = s] exp(θ h · h_i). It is mixed with the
network's: p = λ p_network + (1 − λ) p_cache (equations 2 and 3 of the paper, with λ for the network's share). Shapes: T the
places of a block, W window, N size of h, C settings.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from lmgen.models.mixed import mixed_nats, mixing_weight

WINDOWS = (100, 500, 2000)
SHARPNESS = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)  # θ times the mean of |h|²
EMPTY = -1  # in place of a symbol: in an empty cache, and behind the end of a text
Block = tuple[np.ndarray, np.ndarray, np.ndarray]  # vectors [T, N], the symbols that follow [T], their nats by the network [T]


@dataclass(frozen=True)
class Cache:
    """The settings: the window, θ, and the network's share."""

    window: int
    theta: float
    weight: float

    def nats(self, blocks: Iterator[Block]) -> Iterator[np.ndarray]:
        """The nats [T] of the symbols of each block. Each symbol is scored before it enters the cache."""
        thetas, windows = np.array([self.theta], np.float32), np.array([self.window], np.int32)
        for nats, cached in _against(blocks, thetas, windows):
            yield mixed_nats(nats, cached[0], self.weight)


def only_text(block: Block) -> np.ndarray:
    """The nats of the symbols of a block by the network."""
    _, symbols, nats = block
    return nats[symbols != EMPTY]


def fit(blocks: list[Block]) -> Cache:
    """The settings that give a text the fewest nats."""
    squares = sum(float(np.square(h, dtype=np.float64).sum()) for h, *_ in blocks) / max(1, sum(len(h) for h, *_ in blocks))
    settings = [(sharpness / max(squares, 1e-30), window) for sharpness, window in product(SHARPNESS, WINDOWS)]
    thetas, windows = (np.array(column) for column in zip(*settings, strict=True))
    found = [*_against(iter(blocks), thetas.astype(np.float32), windows.astype(np.int32))]
    nats, cached = np.concatenate([n for n, _ in found]), np.concatenate([c for _, c in found], 1)
    weights = [mixing_weight(nats, each) for each in cached]
    totals = [float(mixed_nats(nats, each, weight).sum()) for each, weight in zip(cached, weights, strict=True)]
    best = int(np.argmin(totals))
    return Cache(int(windows[best]), float(thetas[best]), weights[best])


def _against(blocks: Iterator[Block], thetas: np.ndarray, windows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The nats of the symbols of each block by the network and, for each setting, by the cache alone [C, …]. Blocks have one
    shape wherever the text ends, so that what follows changes no rounding."""
    memory: Any = None
    for h, symbols, nats in blocks:
        if memory is None:
            memory = jnp.zeros((int(windows.max()), h.shape[1]), h.dtype), jnp.full(int(windows.max()), EMPTY, jnp.int32)
        memory, cached = _looked_up(memory, jnp.asarray(h), jnp.asarray(symbols, jnp.int32), nats, thetas, windows)
        text = symbols != EMPTY
        yield nats[text], np.asarray(cached)[:, text]


@jax.jit
def _looked_up(memory: tuple[Array, Array], h: Array, symbols: Array, nats: Array, thetas: Array, windows: Array) -> Any:
    """The memory (vectors [W, N] and what followed them [W]) after a block, and −ln p_cache [C, T] of its symbols; where the
    cache is empty, that of the network."""
    W, T = len(memory[1]), len(symbols)
    vectors, followed = jnp.concatenate([memory[0], h]), jnp.concatenate([memory[1], symbols])
    place = jnp.arange(W + T) - W - jnp.arange(T)[:, None]  # of each pair, counted from the symbol that is scored [T, W + T]
    known = (place < 0) & (followed != EMPTY)
    like = jnp.matmul(h, vectors.T, precision="highest")
    same = followed == symbols[:, None]

    def at(setting: tuple[Array, Array]) -> Array:
        theta, window = setting
        scores = jnp.where(known & (place >= -window), theta * like, -jnp.inf)
        total = jax.nn.logsumexp(scores, -1)
        return jnp.where(total == -jnp.inf, nats, total - jax.nn.logsumexp(jnp.where(same, scores, -jnp.inf), -1))

    return (vectors[T:], followed[T:]), jax.lax.map(at, (thetas, windows))
