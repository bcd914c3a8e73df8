"""The speed of the kernels at each precision: measured once, then read by every process.

On some processors bfloat16 instructions are slower than those for float32. The two give different bits, so all processes must
choose alike: the first result is kept, and nothing is measured where it cannot be kept.
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

T, B, N = 16, 32, 256  # time steps, batch size and cell size of the measured layer
TIMES = 7  # runs, of which the fastest counts: other programs slow the rest
MARGIN = 1.05  # float32 must be faster by this factor


class Speeds(NamedTuple):
    """Milliseconds for a forward and backward pass of a layer."""

    f32: float
    bf16: float

    @property
    def choice(self) -> str:
        """The faster precision; bf16 if they are about equal."""
        return "f32" if self.bf16 > MARGIN * self.f32 else "bf16"


def measured() -> Speeds | None:
    """The speeds on this processor with these versions of lmgen, jaxlib and kernels, by an earlier measurement or a new one.

    None unless there are kernels for both precisions and a folder to keep the result in, which is that of the compiled programs.
    """
    kinds = [native.kind(precision) for precision in Speeds._fields]
    if not all(kinds):
        return None
    about = json.dumps([__version__, jax.lib.__version__, devices.processor(), *kinds])
    try:
        path = devices.compiled_programs() / f"precision-{hashlib.sha256(about.encode()).hexdigest()[:32]}.json"
        if found := _read(path):
            return found
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part") as file:  # first: can it be written?
            file.write(json.dumps(measure()._asdict()).encode())
            file.flush()
            if path.exists() and not _read(path):  # damaged
                path.unlink()
            with contextlib.suppress(FileExistsError):  # another process was faster: its result counts
                os.link(file.name, path)
    except OSError:
        return None
    return _read(path)


def _read(path: Path) -> Speeds | None:
    try:
        found = Speeds(**json.loads(path.read_text("utf-8")))
        return found if all(type(ms) is float and 0 < ms < 1e6 for ms in found) else None
    except (OSError, ValueError, TypeError, RecursionError):
        return None


def measure() -> Speeds:
    """The fastest runs of both precisions, measured alternately."""
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
    """A forward and backward pass of an LSTM layer with its weight gradients, as in training."""
    x, W, b = jnp.ones((T * B, N)), jnp.full((N, 4 * N), 1e-2), jnp.zeros(4 * N)
    zero, forget = jnp.zeros((B, N)), jnp.zeros((T, B), bool)

    @jax.jit
    def layer(x: jax.Array, W: jax.Array) -> Any:
        inputs = native.inputs(x, W, b, 4, (T, B), precision)
        hs, _, *kept = native.forward("lstm", precision, True, inputs, None, W, jnp.zeros(0), zero, zero, forget)
        du = native.backward("lstm", precision, kept, W, zero, forget, hs, zero, zero)[0].reshape(T * B, -1)
        return native.weight_gradient(x, du, W.shape, precision, c_gates=4)

    return lambda: jax.block_until_ready(layer(x, W))
