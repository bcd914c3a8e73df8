"""The time of each part of a training step, and the step's share of the machine's limit; a part of benchmarks/speed.py."""

from __future__ import annotations

import collections
import gzip
import json
import re
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from speed_workers import Shape, network

from lmgen.defaults.config import TrainingConfig
from lmgen.nn.precision import precision_of

STEPS = 10
LARGE = 2048  # rows, columns and inner dimension of the product that measures the limit
PARTS = {
    "forward": "time loops, forward",
    "backward": "time loops, back",
    "product": "other products of the layers and the head's gradient",
    "head": "head and cross-entropy, forward",
    "sum_rows": "gradient of looked-up rows",
    "adamw": "clip and AdamW",
}
REST = "compiled by XLA: dropout's keys, padding, copies, scatter"
BETWEEN = "between: Python, waiting"


def profile(shape: Shape, cell: str) -> dict[str, Any]:
    """Milliseconds of a step by part, and 10⁹ multiply-adds a second of the step and of one large product."""
    import jax

    from lmgen.system import devices
    from lmgen.tasks import task_of
    from lmgen.training.step import begin, step

    devices.prepare()
    precision = precision_of("auto", cell)
    config, net = TrainingConfig(shape.batch, shape.window, 1e-3, steps=1, precision=precision), network(shape, cell)
    window = np.random.default_rng(0).integers(shape.vocab, size=(shape.window + 1, shape.batch), dtype=np.int32)
    task = task_of(net, precision)
    batch, state = task.batch(window, np.zeros(shape.batch, bool)), begin(task, config)
    program = step.lower(task, config.optimiser, state, batch, 1e-3, 0).compile().as_text()

    def steps(state: Any) -> Any:
        for k in range(STEPS):
            state, nats, _ = step(task, config.optimiser, state, batch, 1e-3, k)
            nats.block_until_ready()
        return jax.block_until_ready(state)

    state = steps(steps(state))
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            begun = time.perf_counter()
            steps(state)
            wall = 1e3 * (time.perf_counter() - begun) / STEPS
        spent = by_part(Path(folder), program)
    spent[BETWEEN] = max(0.0, wall - sum(spent.values()))
    rate = multiply_adds(shape, cell) / wall / 1e6
    return {"parts": spent, "wall": wall, "rate": rate, "limit": limit(precision), "precision": precision}


def by_part(folder: Path, program: str) -> collections.Counter[str]:
    """Milliseconds a step of each part, from a trace and from the compiled program, which names the kernels."""
    targets = dict(re.findall(r"(\S+) = [^\n]*custom_call_target=\"lmgen_(\w+)\"", program.replace("%", "")))
    (trace,) = folder.rglob("*.trace.json.gz")
    with gzip.open(trace) as file:
        events = json.load(file)["traceEvents"]
    spent: collections.Counter[str] = collections.Counter()
    for event in events:
        if event.get("ph") == "X" and (op := (event.get("args") or {}).get("hlo_op")):
            spent[PARTS.get(targets.get(op, ""), REST)] += event["dur"] / 1e3 / STEPS
    return spent


def limit(precision: str) -> float:
    """10⁹ multiply-adds a second of one large product, with its left operand as kernels store it: the fastest of 20."""
    import jax

    from lmgen.nn import native

    b = jax.numpy.asarray(np.random.default_rng(0).normal(size=(LARGE, LARGE)).astype(np.float32))
    a = b.astype(jax.numpy.bfloat16) if precision == "bf16" else b
    times = []
    for _ in range(20):
        begun = time.perf_counter()
        jax.block_until_ready(native.product(a, b, precision) if native.kind(precision) else b @ b)
        times.append(time.perf_counter() - begun)
    return LARGE**3 / min(times) / 1e9


def multiply_adds(shape: Shape, cell: str) -> float:
    """Multiply-adds of a training step: three products (forward and two gradients) of each matrix.

    With a small vocabulary the first layer multiplies the whole embedding once and looks up the rows.
    """
    from lmgen.nn.cells import CELLS

    symbols, gates, N = shape.symbols, CELLS[cell].gates, shape.size
    looked_up = shape.vocab <= symbols
    of_layers = symbols * N * gates * N * (2 * shape.layers - looked_up) + looked_up * shape.vocab * N * gates * N
    return 3.0 * (of_layers + symbols * N * shape.vocab)


def rows(shapes: tuple[Shape, ...], cell: str) -> list[tuple[str, ...]]:
    """A table: each part in per cent of a step, then the milliseconds of the step and its share of the limit."""
    found = {}
    for shape in shapes:
        print(f"profile, {shape.name} …", flush=True)
        found[shape.name] = profile(shape, cell)
    body = [
        (part, *(f"{100 * f['parts'][part] / f['wall']:.0f} %" for f in found.values()))
        for part in (*PARTS.values(), REST, BETWEEN)
    ]
    best = max(f["limit"] for f in found.values())
    return [
        (f"{cell.upper()}, auto", *(f"{name} ({f['precision']})" for name, f in found.items())),
        *body,
        ("ms a step", *(f"{f['wall']:,.1f}" for f in found.values())),
        ("multiply-adds, 10⁹ a second", *(f"{f['rate']:,.0f}" for f in found.values())),
        (f"the same of one product of {LARGE}³", *(f"{f['limit']:,.0f}" for f in found.values())),
        ("share of the limit", *(f"**{100 * f['rate'] / f['limit']:.0f} %**" for f in found.values())),
        ("ms of the products alone at the highest limit", *(f"{f['wall'] * f['rate'] / best:,.1f}" for f in found.values())),
    ]
