"""What happens at one time step: one small class a cell, and the table of their names.

Shapes: B batch, D inputs, N cell size, G how many vectors of size N the cell computes from its input (its gates).
The letters are those of the papers: W weighs the input, U what is fed back, b is the bias.
All times at once, stacking, forgetting at EOS and the gradient of the time loop live in recurrence.py and model.py.

To add a cell: write its class here and name it in CELLS. The command line, the tests and the benchmark follow from the table.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

Params = dict[str, Array]
State = dict[str, Array]
Product = Callable[[Array, Array], Array]
# (weights, state, inputs of all times [T, B, G N], forget [T, B]) -> (state, outputs [T, B, N])
Whole = Callable[[Params, State, Array, Array], tuple[State, Array]]


def sigmoid(a: Array) -> Array:
    """The logistic function, in the form that is fastest on a CPU."""
    return 0.5 * jnp.tanh(0.5 * a) + 0.5


class Cell:
    """A cell whose step is one recurrent product, h_{t-1} U, and an elementwise update after it.

    Such a cell names its number of gates and its memory, and writes `update`; the fast time loop and its gradient come for
    nothing. Another kind of cell overrides what is different: `init` and `inputs` (other weights, other inputs), `step` with
    `one_product` set to False (other products in a step; it then takes the plain loop), or `whole` (all times at once).
    The state is a dict of [B, N] arrays; "h" is what the cell outputs and feeds back. A `product` is the matrix product in the
    precision that was asked for.
    """

    gates = 1
    memory: tuple[str, ...] = ("h",)
    one_product = True
    whole: Whole | None = None

    def init(self, key: Array, inputs: int, size: int) -> Params:
        """Weights uniform in ±1/√N, as PyTorch draws them; biases zero, but for what `biases` says."""
        w, u = jax.random.split(key)
        bound = size**-0.5
        return {
            "W": jax.random.uniform(w, (inputs, self.gates * size), minval=-bound, maxval=bound),
            "U": jax.random.uniform(u, (size, self.gates * size), minval=-bound, maxval=bound),
            **self.biases(size),
        }

    def biases(self, size: int) -> Params:
        """The vectors among the weights."""
        return {"b": jnp.zeros(self.gates * size)}

    def start(self, batch: int, size: int, dtype: Any = jnp.float32) -> State:
        """The state before anything is read: zero."""
        return {name: jnp.zeros((batch, size), dtype) for name in self.memory}

    def inputs(self, p: Params, xs: Array, product: Product) -> Array:
        """What the step needs of the inputs [..., D], of all times at once: W x + b, [..., G N]. Each row stands for itself."""
        return product(xs, p["W"]) + p["b"]

    def step(self, p: Params, state: State, x: Array, product: Product) -> State:
        """The state after one step, from one row of `inputs` for each column [B, G N]."""
        return self.update(p, state, x, product(state["h"], p["U"]))

    def update(self, p: Params, state: State, x: Array, u: Array) -> State:
        """The state after one step, from x = W x_t + b and u = U h_{t-1}, both [B, G N]."""
        raise NotImplementedError


class Elman(Cell):
    """The simple recurrent network: h_t = φ(W x_t + U h_{t-1} + b), φ = tanh (Elman 1990)."""

    activation = staticmethod(jnp.tanh)

    def update(self, p: Params, state: State, x: Array, u: Array) -> State:
        return {"h": self.activation(x + u)}


class ElmanRelu(Elman):
    """The simple recurrent network with φ(a) = max(a, 0) (Elman 1990; Le et al. 2015)."""

    activation = staticmethod(jax.nn.relu)


class ElmanLinear(Elman):
    """The simple recurrent network with φ(a) = a: what it can carry is what its weights' powers keep."""

    activation = staticmethod(lambda a: a)


class LSTM(Cell):
    """Long short-term memory: a memory cell c behind gates that write (i), keep (f) and show (o) it (Gers et al. 2000).

    i, f, o = σ(W x_t + U h_{t-1} + b),  g = tanh(W x_t + U h_{t-1} + b),
    c_t = f ⊙ c_{t-1} + i ⊙ g,  h_t = o ⊙ tanh(c_t).  The forget gate's bias starts at 1.
    """

    gates = 4
    memory = ("h", "c")

    def biases(self, size: int) -> Params:
        return {"b": jnp.zeros(4 * size).at[size : 2 * size].set(1.0)}

    def update(self, p: Params, state: State, x: Array, u: Array) -> State:
        i, f, o, g = jnp.split(x + u, 4, axis=-1)
        c = sigmoid(f) * state["c"] + sigmoid(i) * jnp.tanh(g)
        return {"h": sigmoid(o) * jnp.tanh(c), "c": c}


class GRU(Cell):
    """The gated recurrent unit, its reset gate after the product: the form of PyTorch, Keras and cuDNN (Cho 2014, Chung 2014).

    z, r = σ(W x_t + U h_{t-1} + b),  n = tanh(W x_t + b + r ⊙ (U h_{t-1} + b_u)),  h_t = z ⊙ n + (1 − z) ⊙ h_{t-1}.
    z says how much to write; PyTorch's z is our 1 − z.
    """

    gates = 3

    def biases(self, size: int) -> Params:
        return {"b": jnp.zeros(3 * size), "b_u": jnp.zeros(size)}

    def update(self, p: Params, state: State, x: Array, u: Array) -> State:
        x_z, x_r, x_n = jnp.split(x, 3, axis=-1)
        u_z, u_r, u_n = jnp.split(u, 3, axis=-1)
        z, r = sigmoid(x_z + u_z), sigmoid(x_r + u_r)
        n = jnp.tanh(x_n + r * (u_n + p["b_u"]))
        return {"h": z * n + (1 - z) * state["h"]}


CELLS: dict[str, Cell] = {
    "lstm": LSTM(),
    "gru": GRU(),
    "elman": Elman(),
    "elman-relu": ElmanRelu(),
    "elman-linear": ElmanLinear(),
}
