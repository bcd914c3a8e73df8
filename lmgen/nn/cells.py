"""Recurrent cells: one small class for each, which computes one time step, and the table of their names.

Shapes: B batch, D input size, N cell size, G number of gates (vectors of size N computed from the input).
Letters: W input weights, U recurrent weights, b bias, σ the logistic function.
The time loop and its gradient are in recurrence.py; stacking and resetting the state at EOS are in model.py.

To add a cell, write its class and add it to CELLS. The command line, the tests and the benchmark use the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array

from lmgen.nn.attention import Attention, Transformer
from lmgen.nn.cell import Cell, Params, Product, State, Times


# The gradients of these two use their results, which a step keeps anyway. Automatic differentiation would keep more arrays.
@jax.custom_vjp
def sigmoid(a: Array) -> Array:
    """The logistic function, in its fastest form on CPUs."""
    return 0.5 * jnp.tanh(0.5 * a) + 0.5


@jax.custom_vjp
def tanh(a: Array) -> Array:
    """The hyperbolic tangent."""
    return jnp.tanh(a)


sigmoid.defvjp(lambda a: (s := sigmoid(a), s), lambda s, g: (g * s * (1 - s),))
tanh.defvjp(lambda a: (t := tanh(a), t), lambda t, g: (g * (1 - t * t),))


# ---- simple networks ---------------------------------------------------------------------------------------------------


class Elman(Cell):
    """The simple recurrent network: h_t = φ(W x_t + U h_{t-1} + b), φ = tanh (Elman 1990)."""

    activation = staticmethod(tanh)

    def update(self, p: Params, state: State, a: Array) -> State:
        return {"h": self.activation(a)}


class ElmanRelu(Elman):
    """The simple recurrent network with φ(a) = max(a, 0) (Elman 1990; Le et al. 2015)."""

    activation = staticmethod(jax.nn.relu)


class ElmanLinear(Elman):
    """The simple recurrent network with φ(a) = a: its memory depends on the powers of U alone."""

    activation = staticmethod(lambda a: a)


class Jordan(Cell):
    """A network that feeds back its output y instead of its hidden layer (Jordan 1986); "h" of the state is y.

    h_t = tanh(W x_t + U y_{t-1} + b),  y_t = tanh(U_y h_t + b_y).  U_y is stored under the name V.
    """

    recurrent: ClassVar[dict[str, int]] = {"U": 1, "V": 1}

    def vectors(self, size: int) -> Params:
        return {"b": jnp.zeros(size), "b_y": jnp.zeros(size)}

    def step(self, p: Params, state: State, x: Array, times: Times) -> State:
        h = tanh(x + times(state["h"], "U"))
        return {"h": tanh(times(h, "V") + p["b_y"])}


class TDNN(Cell):
    """A time-delay network: its output depends on the current input and the last K = 4 (Waibel et al. 1989).

    h_t = tanh(Σ_{k=0..K} W_k x_{t-k} + b).  Each input is multiplied once, by all W_k; "due" of the state holds the partial sums
    of h_{t+1}, …, h_{t+K}.
    """

    delays = 4
    gates = 1 + delays
    biases = (0.0,)  # of all W_k together
    recurrent: ClassVar[dict[str, int]] = {}
    memory: ClassVar[dict[str, int]] = {"h": 1, "due": delays}

    def inputs(self, p: Params, xs: Array, product: Product) -> Array:
        return product(xs, p["W"]) + jnp.pad(p["b"], (0, self.delays * p["b"].size))

    def step(self, p: Params, state: State, x: Array, times: Times) -> State:
        now, later = jnp.split(x, [state["h"].shape[-1]], axis=-1)
        due, further = jnp.split(state["due"], [now.shape[-1]], axis=-1)
        h = tanh(now + due)
        return {"h": h, "due": self.fed_back(h, later + jnp.pad(further, ((0, 0), (0, now.shape[-1]))), times)}

    def fed_back(self, h: Array, due: Array, times: Times) -> Array:
        """The partial sums plus the recurrent products of the output: none here."""
        return due


class NARX(TDNN):
    """Delayed inputs and delayed outputs, K = 4 of each (Lin et al. 1996).

    y_t = tanh(Σ_{k=0..K} W_k x_{t-k} + Σ_{k=1..K} U_k y_{t-k} + b): the delays are shortcuts over K steps.
    """

    recurrent: ClassVar[dict[str, int]] = {"U": TDNN.delays}

    def fed_back(self, h: Array, due: Array, times: Times) -> Array:
        return due + times(h, "U")


# ---- long short-term memory --------------------------------------------------------------------------------------------


class LSTM(Cell):
    """Long short-term memory: a memory cell c with an input gate i, a forget gate f and an output gate o (Gers et al. 2000).

    i, f, o = σ(W x_t + U h_{t-1} + b),  g = tanh(W x_t + U h_{t-1} + b),
    c_t = f ⊙ c_{t-1} + i ⊙ g,  h_t = o ⊙ tanh(c_t).  The forget gate's bias starts at 1.
    """

    gates = 4
    biases: tuple[float, ...] = (0.0, 1.0, 0.0, 0.0)
    recurrent: ClassVar[dict[str, int]] = {"U": 4}
    memory: ClassVar[dict[str, int]] = {"h": 1, "c": 1}

    def update(self, p: Params, state: State, a: Array) -> State:
        i, f, o, g = jnp.split(a, 4, axis=-1)
        c = sigmoid(f) * state["c"] + sigmoid(i) * tanh(g)
        return {"h": sigmoid(o) * tanh(c), "c": c}


class PeepholeLSTM(LSTM):
    """An LSTM whose gates also read the memory cell: i and f read c_{t-1}, o reads c_t (Gers & Schmidhuber 2000).

    i, f = σ(W x_t + U h_{t-1} + w ⊙ c_{t-1} + b),  o = σ(W x_t + U h_{t-1} + w ⊙ c_t + b);  the rest as in `lstm`.
    The peephole weights w_i, w_f, w_o are stored under the name v.
    """

    def vectors(self, size: int) -> Params:
        return super().vectors(size) | {"v": jnp.zeros(3 * size)}

    def update(self, p: Params, state: State, a: Array) -> State:
        i, f, o, g = jnp.split(a, 4, axis=-1)
        w_i, w_f, w_o = jnp.split(p["v"], 3)
        c = sigmoid(f + w_f * state["c"]) * state["c"] + sigmoid(i + w_i * state["c"]) * tanh(g)
        return {"h": sigmoid(o + w_o * c) * tanh(c), "c": c}


class CoupledLSTM(LSTM):
    """An LSTM with coupled gates, f = 1 − i: it forgets as much as it writes (Greff et al. 2015).

    i, o = σ(W x_t + U h_{t-1} + b),  g = tanh(…),  c_t = (1 − i) ⊙ c_{t-1} + i ⊙ g,  h_t = o ⊙ tanh(c_t).
    The bias of i starts at −1, equivalent to a forget bias of 1.
    """

    gates = 3
    biases = (-1.0, 0.0, 0.0)
    recurrent: ClassVar[dict[str, int]] = {"U": 3}
    forget = staticmethod(lambda i: 1 - i)

    def update(self, p: Params, state: State, a: Array) -> State:
        i, o, g = jnp.split(a, 3, axis=-1)
        i = sigmoid(i)
        c = self.forget(i) * state["c"] + i * tanh(g)
        return {"h": sigmoid(o) * tanh(c), "c": c}


class NoForgetLSTM(CoupledLSTM):
    """The original LSTM, without a forget gate: f = 1 (Hochreiter & Schmidhuber 1997).

    i, o = σ(W x_t + U h_{t-1} + b),  g = tanh(…),  c_t = c_{t-1} + i ⊙ g,  h_t = o ⊙ tanh(c_t).
    """

    biases = (0.0, 0.0, 0.0)
    forget = staticmethod(lambda i: 1)


class CappedLSTM(LSTM):
    """An LSTM with a capped input gate, i ≤ 1 − f: it writes at most as much as it forgets (Melis et al. 2018).

    As `lstm` with c_t = f ⊙ c_{t-1} + min(i, 1 − f) ⊙ g, so that no memory is larger than 1.
    """

    def update(self, p: Params, state: State, a: Array) -> State:
        i, f, o, g = jnp.split(a, 4, axis=-1)
        f = sigmoid(f)
        c = f * state["c"] + jnp.minimum(sigmoid(i), 1 - f) * tanh(g)
        return {"h": sigmoid(o) * tanh(c), "c": c}


@dataclass(frozen=True)
class MogrifierLSTM(LSTM):
    """An LSTM before which input and last output gate each other in turn, in `rounds` (Melis et al. 2020).

    From x = x_t and h = h_{t-1}, round k is  x ← 2σ(B_k A_k h) ⊙ x  if k is odd,  h ← 2σ(B_k A_k x) ⊙ h  if it is even;
    then as `lstm` with the last x and h in place of x_t and h_{t-1}.  A_k has `rank` rows, so a round has few weights.
    """

    rounds: int = 5
    rank: int = 32

    settings: ClassVar[tuple[str, ...]] = ("rounds", "rank")

    def init(self, key: Array, inputs: int, size: int) -> Params:
        """As other cells', with A_k and B_k: a gate of a fresh cell is about 1."""
        p, rank = super().init(key, inputs, size), min(self.rank, inputs, size)
        for k in range(1, self.rounds + 1):
            read, gated = (size, inputs) if k % 2 else (inputs, size)
            for name, shape in ((f"A_{k}", (read, rank)), (f"B_{k}", (rank, gated))):
                key, own = jax.random.split(key)
                p[name] = jax.random.uniform(own, shape, minval=-(shape[0] ** -0.5), maxval=shape[0] ** -0.5)
        return p

    def inputs(self, p: Params, xs: Array, product: Product) -> Array:
        """The inputs as they are: what W multiplies depends on the state."""
        return xs

    def step(self, p: Params, state: State, x: Array, times: Times) -> State:
        h = state["h"]
        for k in range(1, self.rounds + 1):
            gate = 2 * sigmoid(times(times(h if k % 2 else x, f"A_{k}"), f"B_{k}"))
            x, h = (gate * x, h) if k % 2 else (x, gate * h)
        return self.update(p, state, times(x, "W") + p["b"] + times(h, "U"))


# ---- gated recurrent units ---------------------------------------------------------------------------------------------


class GRU(Cell):
    """The gated recurrent unit with the reset gate after the product, as in PyTorch, Keras and cuDNN (Cho 2014, Chung 2014).

    z, r = σ(W x_t + U h_{t-1} + b),  n = tanh(W x_t + b + r ⊙ (U h_{t-1} + b_u)),  h_t = z ⊙ n + (1 − z) ⊙ h_{t-1}.
    z is the share that is written; PyTorch's z is 1 − z here.
    """

    gates = 3
    recurrent: ClassVar[dict[str, int]] = {"U": 3}

    def vectors(self, size: int) -> Params:
        return {"b": jnp.zeros(3 * size), "b_u": jnp.zeros(size)}

    def step(self, p: Params, state: State, x: Array, times: Times) -> State:
        x_z, x_r, x_n = jnp.split(x, 3, axis=-1)
        u_z, u_r, u_n = jnp.split(times(state["h"], "U"), 3, axis=-1)
        z, r = sigmoid(x_z + u_z), sigmoid(x_r + u_r)
        n = tanh(x_n + r * (u_n + p["b_u"]))
        return {"h": z * n + (1 - z) * state["h"]}


class ResetBeforeGRU(Cell):
    """The gated recurrent unit with the reset gate before a second product, as in the paper (Cho et al. 2014).

    z, r = σ(W x_t + U h_{t-1} + b),  n = tanh(W x_t + U_n (r ⊙ h_{t-1}) + b),  h_t = z ⊙ n + (1 − z) ⊙ h_{t-1}.
    """

    gates = 3
    recurrent: ClassVar[dict[str, int]] = {"U": 2, "U_n": 1}

    def step(self, p: Params, state: State, x: Array, times: Times) -> State:
        h = state["h"]
        x_z, x_r, x_n = jnp.split(x, 3, axis=-1)
        u_z, u_r = jnp.split(times(h, "U"), 2, axis=-1)
        z, r = sigmoid(x_z + u_z), sigmoid(x_r + u_r)
        n = tanh(x_n + times(r * h, "U_n"))
        return {"h": z * n + (1 - z) * h}


class SimpleGRU(Cell):
    """A gated recurrent unit without a reset gate (after Cho et al. 2014).

    z = σ(W x_t + U h_{t-1} + b),  n = tanh(W x_t + U h_{t-1} + b),  h_t = z ⊙ n + (1 − z) ⊙ h_{t-1}.
    """

    gates = 2
    recurrent: ClassVar[dict[str, int]] = {"U": 2}

    def update(self, p: Params, state: State, a: Array) -> State:
        z, n = jnp.split(a, 2, axis=-1)
        z = sigmoid(z)
        return {"h": z * tanh(n) + (1 - z) * state["h"]}


# ---- parallel in time --------------------------------------------------------------------------------------------------


class LinearCell(Cell):
    """A cell that is linear in its state: h_t = keep ⊙ h_{t-1} + write, where both factors depend only on the input.

    Two such steps compose to a step of the same form, so an associative scan computes T time steps in O(log T).
    """

    recurrent: ClassVar[dict[str, int]] = {}

    def factors(self, p: Params, x: Array) -> tuple[Array, Array]:
        """`keep` and `write` [..., N], from rows x [..., G N] of `inputs`."""
        raise NotImplementedError

    def step(self, p: Params, state: State, x: Array, times: Times) -> State:
        keep, write = self.factors(p, x)
        return {"h": keep * state["h"] + write}


class MinGRU(LinearCell):
    """A GRU without recurrent products, parallel in time (Feng et al. 2024).

    z = σ(W x_t + b),  n = W x_t + b,  h_t = (1 − z) ⊙ h_{t-1} + z ⊙ n.
    """

    gates = 2

    def factors(self, p: Params, x: Array) -> tuple[Array, Array]:
        z, n = jnp.split(x, 2, axis=-1)
        z = sigmoid(z)
        return 1 - z, z * n


class MinLSTM(LinearCell):
    """An LSTM without recurrent products and without an output gate, parallel in time (Feng et al. 2024).

    f, i = σ(W x_t + b), both divided by their sum f + i,  n = W x_t + b,  h_t = f ⊙ h_{t-1} + i ⊙ n.
    The forget gate's bias starts at 1.
    """

    gates = 3
    biases = (1.0, 0.0, 0.0)

    def factors(self, p: Params, x: Array) -> tuple[Array, Array]:
        f, i, n = jnp.split(x, 3, axis=-1)
        f = sigmoid(jax.nn.softplus(-i) - jax.nn.softplus(-f))  # = σ(f) / (σ(f) + σ(i)), stable if both are small
        return f, (1 - f) * n


CELLS: dict[str, Cell] = {
    "lstm": LSTM(),
    "lstm-peephole": PeepholeLSTM(),
    "lstm-coupled": CoupledLSTM(),
    "lstm-no-forget": NoForgetLSTM(),
    "lstm-capped": CappedLSTM(),
    "lstm-mogrifier": MogrifierLSTM(),
    "gru": GRU(),
    "gru-reset-before": ResetBeforeGRU(),
    "gru-simple": SimpleGRU(),
    "min-lstm": MinLSTM(),
    "min-gru": MinGRU(),
    "elman": Elman(),
    "elman-relu": ElmanRelu(),
    "elman-linear": ElmanLinear(),
    "jordan": Jordan(),
    "tdnn": TDNN(),
    "narx": NARX(),
    "attention": Attention(),
    "transformer": Transformer(),
}
