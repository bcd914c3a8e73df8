"""Which precision the kernels are faster at on this processor: measured once, then read by every process.

A processor may have instructions for bfloat16 that are slower than those for float32. All processes have to choose alike, since
what they compute differs in its bits; so the first outcome stays, and where none can be kept nothing is measured.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lmgen._version import __version__
from lmgen.nn import native
from lmgen.system import devices

T, B, N = 16, 32, 256  # of the layer that is measured: times, rows, units
TIMES = 7  # the fastest of so many counts, since other programs make the rest slower
MARGIN = 1.05  # by so much float32 has to be faster


class Speeds(NamedTuple):
    """The milliseconds of a layer's way forth and back at each precision."""

    f32: float
    bf16: float

    @property
    def choice(self) -> str:
        """The faster one, or bf16 where they are about equal."""
        return "f32" if self.bf16 > MARGIN * self.f32 else "bf16"


def measured(folder: Path) -> Speeds | None:
    """What a folder holds of this processor, lmgen, jaxlib and kinds of kernels, measured now if need be; None where nothing can
    be kept there."""
    about = [__version__, jax.lib.__version__, devices.processor(), native.kind("f32"), native.kind("bf16")]
    path = folder / f"precision-{hashlib.sha256(json.dumps(about).encode()).hexdigest()[:32]}.json"
    if found := _read(path):
        return found
    try:
        with tempfile.NamedTemporaryFile("w", dir=folder, suffix=".part") as file:  # before it is measured: whether one can write
            json.dump(_measure()._asdict(), file)
            file.flush()
            if path.exists() and not _read(path):  # damaged
                path.unlink()
            with contextlib.suppress(FileExistsError):  # another process was faster: then all go by what it found
                os.link(file.name, path)
    except OSError:
        return None
    return _read(path)


def _read(path: Path) -> Speeds | None:
    try:
        found = Speeds(**json.loads(path.read_text()))
        return found if all(type(ms) is float and 0 < ms < 1e6 for ms in found) else None
    except (OSError, ValueError, TypeError, RecursionError):
        return None


def _measure() -> Speeds:
    """The fastest of some turns, in which both precisions take part by turns."""
    steps = {precision: _step(precision) for precision in Speeds._fields}
    best = dict.fromkeys(steps, float("inf"))
    for turn in range(1 + TIMES):  # the first one compiles
        for precision, step in steps.items():
            begun = time.perf_counter()
            step()
            if turn:
                best[precision] = min(best[precision], 1e3 * (time.perf_counter() - begun))
    return Speeds(**best)


def _step(precision: str) -> Callable[[], Any]:
    """A layer of an LSTM, forth and back, with the gradients of its weights, as a step of training has it."""
    x, W, b = jnp.ones((T * B, N)), jnp.full((N, 4 * N), 1e-2), jnp.zeros(4 * N)
    zero, forget = jnp.zeros((B, N)), jnp.zeros((T, B), bool)

    @jax.jit
    def layer(x: jax.Array, W: jax.Array) -> Any:
        inputs = native.inputs(x, W, b, 4, (T, B), precision)
        hs, _, kept = native.forward(False, precision, True, inputs, None, W, jnp.zeros(0), zero, zero, forget)
        assert kept
        du = native.backward(False, precision, kept, W, zero, forget, hs, zero, zero)[0].reshape(T * B, -1)
        return native.weight_gradient(x, du, W.shape, precision, c_gates=4)

    return lambda: jax.block_until_ready(layer(x, W))
