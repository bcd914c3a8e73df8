"""The speed of lmgen on an NVIDIA GPU compared with PyTorch, which uses cuDNN: writes the section `gpu` of benchmarks/RESULTS.md.

    python benchmarks/gpu.py [--print]

Each contestant is a process that has the GPU for itself: others that only wait for their turn slow down those that read every
loss. The median of its rounds counts. With --print the section is printed. Needs PyTorch and JAX, both with CUDA.
The tests of the kernels: LMGEN_OPTIMISE=1 python -m pytest -m gpu tests/nn/test_persistent.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from report import Commands, section_of, table, write
from speed import SHAPES, Worker, shapes_in_words, verdict
from speed_workers import SECONDS, Job, Shape

ROUNDS = 5
TIMED = SHAPES[:4]
TARGET = 1.0
# The contestants: program and precision. f32 rounds the operands of products to 11 bits (TF32), in both libraries. `graph` is a
# training step as one CUDA graph, `pure` is lmgen with a scan in place of its kernels.
PYTORCH = {f"PyTorch {precision}{how}": (program, kind) for precision, kind in (("f32", "tf32"), ("bf16", "bf16"))
           for how, program in (("", "torch"), (", CUDA graph", "graph"))}  # fmt: skip
OURS = {"lmgen f32": ("lmgen", "f32"), "lmgen bf16": ("lmgen", "bf16")}
SCAN = {"scan bf16": ("pure", "bf16")}


def measured(cell: str, shape: Shape, contestants: dict[str, tuple[str, str]]) -> dict[str, float]:
    """Seconds a step of each contestant, one after the other."""
    found = {}
    for name, (program, precision) in contestants.items():
        with closing(Worker(Job(program, precision, "training", cell, shape, tuned=False))) as worker:
            worker.ready()
            found[name] = statistics.median(worker.round().seconds for _ in range(ROUNDS))
        print(f"{cell}, {shape.name}, {name}: {1e3 * found[name]:.3f} ms", flush=True)
    return found


def against(seconds: dict[str, float], ours: str, theirs: str) -> str:
    """The speed of one of ours relative to the fastest of theirs whose names begin so."""
    best = min(seconds[name] for name in seconds if name.startswith(theirs))
    return verdict(f"{best / seconds[ours]:.2f}×", best >= TARGET * seconds[ours])


def training(cell: str, contestants: dict[str, tuple[str, str]]) -> str:
    """A table with a row for each shape."""
    compared = [("lmgen bf16", "PyTorch"), ("lmgen f32", "PyTorch f32")]
    rows = [(cell.upper(), *contestants, "lmgen bf16 against PyTorch's best", "lmgen f32 against PyTorch's best f32")]
    for shape in TIMED:
        found = measured(cell, shape, contestants)
        figures = (f"{1e3 * seconds:.2f} ({shape.symbols / seconds / 1e3:,.0f})" for seconds in found.values())
        rows.append((shape.name, *figures, *(against(found, *pair) for pair in compared)))
    return table(*rows)


# ---- the time loop alone -----------------------------------------------------------------------------------------------


def loops(shape: Shape) -> dict[str, tuple[Callable, tuple[Any, ...]]]:
    """Forward and backward pass of one LSTM layer, with the product of its inputs: functions and arguments by name."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    from jax.experimental import rnn

    from lmgen.nn import recurrence
    from lmgen.nn.cells import CELLS
    from lmgen.nn.precision import product

    T, B, N, rng, cell = shape.window, shape.batch, shape.size, np.random.default_rng(0), CELLS["lstm"]

    def array(*size: int) -> Any:
        return jnp.asarray(rng.normal(0, 0.05, size), jnp.float32)

    p, state, rows, forget = cell.init(jax.random.key(0), N, N), cell.start(B, N), array(T, B, N), jnp.zeros((T, B), bool)

    def gradient(layer: Callable) -> Callable:
        def run(arguments: Any, cotangent: Any) -> Any:
            out, pullback = jax.vjp(layer, *arguments)
            return out, pullback(cotangent)

        return run

    def scan(p: Any, state: Any, rows: Any, precision: str) -> Any:
        xs = cell.inputs(p, rows, partial(product, precision=precision))
        return recurrence.hoisted(cell, precision, p, state, xs, forget)

    def ours(p: Any, state: Any, rows: Any, precision: str) -> Any:
        return recurrence.layer(cell, p, state, rows, None, forget, precision)

    def cudnn(h: Any, c: Any, rows: Any, weights: Any) -> Any:
        return rnn.lstm(rows, h, c, weights, jnp.full((B,), T, jnp.int32), N, N, 1, 0.0, False)

    theirs = (array(1, B, N), array(1, B, N), array(B, T, N), array(rnn.get_num_params_in_lstm(N, N, 1, False)))
    found: dict[str, tuple[Callable, tuple[Any, ...]]] = {
        "cuDNN f32, by jax.experimental.rnn": (gradient(cudnn), (theirs, (array(B, T, N), array(1, B, N), array(1, B, N))))
    }
    for precision in ("f32", "bf16"):
        for name, layer in (("scan", scan), ("lmgen", ours)):
            run = gradient(partial(layer, precision=precision))
            found[f"{name} {precision}"] = (run, ((p, state, rows), (state, array(T, B, N))))
    return found


def time_loops() -> str:
    """A table of microseconds a time step of each implementation, for one layer of each shape."""
    import jax

    cases = {(shape.name, name): case for shape in TIMED for name, case in loops(shape).items()}
    with ThreadPoolExecutor() as threads:
        compiled = list(threads.map(lambda case: jax.jit(case[0]).lower(*case[1]).compile(), cases.values()))
    took: dict[str, dict[str, str]] = {}
    for (shape, name), (_, arguments), run in zip(cases, cases.values(), compiled, strict=True):
        times = []
        jax.block_until_ready(run(*arguments))
        for _ in range(ROUNDS):
            begun = time.perf_counter()
            jax.block_until_ready([run(*arguments) for _ in range(20)])
            times.append((time.perf_counter() - begun) / 20)
        steps = next(s.window for s in TIMED if s.name == shape)
        took.setdefault(name, {})[shape] = f"{1e6 * statistics.median(times) / steps:.1f}"
        print(f"{shape}, {name}: {took[name][shape]} µs a time step", flush=True)
    shapes = [shape.name for shape in TIMED]
    return table(
        ("one layer, forward and back", *shapes), *((name, *(of[shape] for shape in shapes)) for name, of in took.items())
    )


def section() -> Iterator[str]:
    from torch.backends import cudnn

    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    card = subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines()[0]
    yield (
        f"{card}; PyTorch {metadata.version('torch')} with cuDNN {cudnn.version()}, bf16 by autocast, and in f32 with TF32 "
        f"allowed everywhere, as in JAX. Medians of {ROUNDS} rounds of {SECONDS:g} s; each contestant is a process, alone on "
        "the GPU. lmgen runs its own loop, which reads every loss and sends every batch; PyTorch's batches are on the GPU, and "
        "it reads no loss. Random ids, dropout 0, state carried from window to window. A step is loss, gradient, clip by global "
        "norm and AdamW: ms a step (thousand symbols a second). `scan` is lmgen without its kernels."
    )
    yield shapes_in_words(TIMED)
    yield training("lstm", PYTORCH | SCAN | OURS)
    yield training("gru", {name: PYTORCH[name] for name in PYTORCH if "graph" in name} | OURS)
    yield "The time loop alone, with the product of its inputs: µs a time step."
    yield time_loops()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        text = section_of("Speed on a GPU, against PyTorch", section(), Commands(Path(folder), ["python benchmarks/gpu.py"]))
    if "--print" in sys.argv[1:]:
        print(text)
    else:
        write("gpu", text)


if __name__ == "__main__":
    main()
