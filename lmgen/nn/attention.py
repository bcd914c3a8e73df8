"""Cells of self-attention. Their state holds the keys and values of the last symbols; all times are computed at once.

Shapes: T time, B batch, D input size, N cell size, C context, H heads of N / H numbers, S = C − 1 + T the symbols before and in a
window. Keys are kept as they are, and turned by their place in the window when they are read: positions are relative, so that
no number grows with the length of a stream.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from lmgen.nn.cell import Cell, Params, Product, State, Times
from lmgen.nn.norm import normalised

HEAD = 32  # the size of a head, about, where their number is not given
BLOCK, BLOCKS = 32, 8  # times that attend together, at least, and the most such blocks: what none of them sees is left out
LONGEST = 10_000  # the slowest pair of numbers turns once in about 2π × LONGEST symbols


def heads_of(size: int) -> int:
    """A number of heads that divides the cell size, each of about `HEAD` numbers or more."""
    return max(n for n in range(1, max(1, size // HEAD) + 1) if size % n == 0)


def turned(x: Array, first: int) -> Array:
    """Rotary positions: pairs of numbers of x [..., T, d], turned by angles in proportion to the places first, first + 1, …, so
    that the product of two depends on their distance alone (Su et al. 2021)."""
    pairs = x.shape[-1] // 2
    angles = np.outer(first + np.arange(x.shape[-2]), LONGEST ** (-np.arange(pairs) / max(1, pairs)))
    cos, sin = (jnp.asarray(f(angles), x.dtype) for f in (np.cos, np.sin))
    a, b, odd = jnp.split(x, [pairs, 2 * pairs], axis=-1)
    return jnp.concatenate([a * cos - b * sin, a * sin + b * cos, odd], axis=-1)


@jax.custom_vjp
def gelu(a: Array) -> Array:
    """a Φ(a), with Φ(a) ≈ σ(√(8/π) (a + 0.044715 a³)) (Hendrycks & Gimpel 2016)."""
    return _gelu(a)[0]


def _gelu(a: Array) -> tuple[Array, Array]:
    """The value and the derivative."""
    scale = (8 / np.pi) ** 0.5
    s = 0.5 * jnp.tanh(scale / 2 * (a + 0.044715 * a * a * a)) + 0.5
    return a * s, s + a * s * (1 - s) * scale * (1 + 3 * 0.044715 * a * a)


gelu.defvjp(_gelu, lambda slope, g: (g * slope,))


@dataclass(frozen=True)
class Attention(Cell):
    """Causal self-attention: each symbol reads a mean of the last `context` symbols, itself included, weighted by how well their
    keys fit its query (Vaswani et al. 2017), with rotary positions R (Su et al. 2021).

    q, k, v = W norm(x_t) + b,  a_ts = softmax_s((R_t q_t)ᵀ R_s k_s / √d),  h_t = x_t + U Σ_s a_ts v_s + b_u,  by heads
    of d units. Where the input has not the size N, x_t is P times it. The state: keys, values and the number of symbols read.
    """

    context: int = 64
    heads: int = 0  # 0: by the size

    settings: ClassVar[tuple[str, ...]] = ("context", "heads")
    normalises: ClassVar[bool] = True
    gates = 3

    def init(self, key: Array, inputs: int, size: int) -> Params:
        """As other cells', with P where the input has another size."""
        p, bound = super().init(key, size, size), size**-0.5
        projection = jax.random.uniform(jax.random.fold_in(key, 1), (inputs, size), minval=-bound, maxval=bound)
        return p | ({"P": projection} if inputs != size else {})

    def vectors(self, size: int) -> Params:
        return super().vectors(size) | {"b_u": jnp.zeros(size), "gain": jnp.ones(size), "shift": jnp.zeros(size)}

    def start(self, batch: int, size: int, dtype: Any = jnp.float32) -> State:
        sizes = {"h": size, "keys": self.context * size, "values": self.context * size, "length": 1}
        return {name: jnp.zeros((batch, n), dtype) for name, n in sizes.items()}

    def inputs(self, p: Params, xs: Array, product: Product) -> Array:
        """x, q, k and v side by side [..., 4 N], row by row."""
        xs = product(xs, p["P"]) if "P" in p else xs
        return jnp.concatenate([xs, product(normalised(p, xs), p["W"]) + p["b"]], axis=-1)

    def step(self, p: Params, state: State, x: Array, times: Times) -> State:
        return self.window(p, state, x[None], jnp.zeros((1, x.shape[0]), bool), times)[0]

    def window(self, p: Params, state: State, xs: Array, forget: Array, times: Times) -> tuple[State, Array]:
        """The state after a window and the outputs [T, B, N], from rows xs [T, B, 4 N] of `inputs`; before the times where
        `forget` [T, B] is true the state is forgotten."""
        (T, B, _), C = xs.shape, self.context
        x, q, k, v = jnp.split(xs, 4, axis=-1)
        N = x.shape[-1]
        H = self.heads or heads_of(N)

        def extended(kept: Array, new: Array) -> Array:  # [B, S, N]
            return jnp.concatenate([kept.reshape(B, C, N)[:, 1:], new.transpose(1, 0, 2)], axis=1)

        def by_head(a: Array) -> Array:  # [B, S, N] -> [B, H, S, N / H]
            return a.reshape(B, -1, H, N // H).transpose(0, 2, 1, 3)

        # How many symbols each one sees, itself included: those since the last one that forgot, C at most.
        now = jnp.arange(T)[:, None]
        begun = jax.lax.cummax(jnp.where(forget, now, -jnp.maximum(state["length"][:, 0], 0)))
        seen = jnp.minimum(now + 1 - begun, C)
        back = now + C - 1 - jnp.arange(C - 1 + T)  # [T, S]: how many symbols ago
        visible = (back >= 0) & (back < seen.T[:, :, None])  # [B, T, S]

        keys, values = extended(state["keys"], k), extended(state["values"], v)
        qs, ks, vs = turned(by_head(q.transpose(1, 0, 2)) * (N // H) ** -0.5, 0), turned(by_head(keys), 1 - C), by_head(values)

        def mean(first: int, end: int) -> Array:  # of the values that the times from first to end see
            see = slice(first, end + C - 1)
            scores = jnp.einsum("bhtd,bhsd->bhts", qs[:, :, first:end], ks[:, :, see])
            scores = jnp.where(visible[:, None, first:end, see], scores, -jnp.inf)
            weights = jnp.exp(scores - jax.lax.stop_gradient(scores.max(-1, keepdims=True)))
            return jnp.einsum("bhts,bhsd->bhtd", weights, vs[:, :, see]) / weights.sum(-1, keepdims=True)

        block = max(BLOCK, -(-T // BLOCKS))
        means = jnp.concatenate([mean(first, min(T, first + block)) for first in range(0, T, block)], axis=2)
        means = means.transpose(2, 0, 1, 3).reshape(T, B, N)
        hs = self.transformed(p, x + times(means, "U") + p["b_u"], times)

        held = (jnp.arange(C)[::-1] < seen[-1][:, None])[..., None]
        keys, values = (jnp.where(held, a[:, T - 1 :], 0).reshape(B, C * N) for a in (keys, values))
        return {"h": hs[-1], "keys": keys, "values": values, "length": seen[-1][:, None]}, hs

    def transformed(self, p: Params, hs: Array, times: Times) -> Array:
        """What follows attention at each time on its own: nothing here."""
        return hs


@dataclass(frozen=True)
class Transformer(Attention):
    """A block of a transformer: self-attention, then two layers for each symbol alone, each after a norm (Radford et al. 2019).

    m_t = h_t of `attention`,  h_t = m_t + W_2 gelu(W_1 norm(m_t) + b_1) + b_2,  with 4 N units between W_1 and W_2.
    """

    recurrent: ClassVar[dict[str, int]] = {"U": 1, "W_1": 4, "W_2": 4}

    def init(self, key: Array, inputs: int, size: int) -> Params:
        p = super().init(key, inputs, size)
        return p | {"W_2": p["W_2"].reshape(4 * size, size) / 2}

    def vectors(self, size: int) -> Params:
        after = {"b_1": jnp.zeros(4 * size), "b_2": jnp.zeros(size), "gain_2": jnp.ones(size), "shift_2": jnp.zeros(size)}
        return super().vectors(size) | after

    def transformed(self, p: Params, hs: Array, times: Times) -> Array:
        inner = times(normalised({"gain": p["gain_2"], "shift": p["shift_2"]}, hs), "W_1") + p["b_1"]
        return hs + times(gelu(inner), "W_2") + p["b_2"]
