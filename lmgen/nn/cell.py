"""What a cell is: a class that says what happens at one time step.

Shapes: B batch, D input size, N cell size, G number of gates (vectors of size N computed from the input).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import Array

Params = dict[str, Array]
State = dict[str, Array]
Product = Callable[[Array, Array], Array]
Times = Callable[[Array, str], Array]  # times(h, "U") = h U


class Cell:
    """A recurrent cell. Its state is a dict of [B, …] arrays; "h" [B, N] is the output.

    Most cells define an elementwise `update` of the sum of the inputs and one recurrent product, h_{t-1} U; the others define
    `step`. Sizes are in units of N.
    """

    gates: int = 1
    settings: ClassVar[tuple[str, ...]] = ()  # the fields of NetworkConfig that it takes
    normalises: ClassVar[bool] = False  # whether it has layer norm and residual connections, so that the head must normalise
    biases: tuple[float, ...] = ()  # the initial bias of each gate; 0 without it
    recurrent: ClassVar[dict[str, int]] = {"U": 1}  # recurrent matrices, [N, size N]
    memory: ClassVar[dict[str, int]] = {"h": 1}  # arrays of the state, [B, size N]

    def init(self, key: Array, inputs: int, size: int) -> Params:
        """Initial parameters: matrices uniform in ±1/√N, as in PyTorch, and `vectors`."""
        shapes = {"W": (inputs, self.gates * size)} | {name: (size, n * size) for name, n in self.recurrent.items()}
        keys = jax.random.split(key, len(shapes))
        bound = size**-0.5
        matrices = {
            name: jax.random.uniform(k, shape, minval=-bound, maxval=bound)
            for k, (name, shape) in zip(keys, shapes.items(), strict=True)
        }
        return {**matrices, **self.vectors(size)}

    def vectors(self, size: int) -> Params:
        """The initial biases and other vectors."""
        return {"b": jnp.repeat(jnp.array(self.biases or (0.0,) * self.gates), size)}

    def start(self, batch: int, size: int, dtype: Any = jnp.float32) -> State:
        """The initial state: zeros."""
        return {name: jnp.zeros((batch, n * size), dtype) for name, n in self.memory.items()}

    def inputs(self, p: Params, xs: Array, product: Product) -> Array:
        """The input part of the step, for all time steps at once: W x + b [..., G N] of xs [..., D], row by row."""
        return product(xs, p["W"]) + p["b"]

    def step(self, p: Params, state: State, x: Array, times: Times) -> State:
        """The state after one step, from a row x [B, G N] of `inputs`. Recurrent products must use `times`."""
        return self.update(p, state, x + times(state["h"], "U"))

    def update(self, p: Params, state: State, a: Array) -> State:
        """The state after one step, from a = W x_t + U h_{t-1} + b [B, G N]."""
        raise NotImplementedError
