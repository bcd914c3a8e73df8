"""The pace of this machine: a few training steps of three shapes are timed once, then read by every process."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from pathlib import Path

import jax
import numpy as np

from lmgen._version import __version__
from lmgen.defaults.config import TrainingConfig
from lmgen.defaults.pace import LARGE, SMALL, Pace, counted
from lmgen.errors import InputError, LmgenError
from lmgen.nn import native
from lmgen.nn.model import NetworkConfig
from lmgen.nn.precision import precision_of
from lmgen.options.kinds import Bounded
from lmgen.system import devices, files
from lmgen.tasks import task_of
from lmgen.tasks.task import Batch
from lmgen.training.step import begin, step

BATCH, WINDOW = 32, 64
NETWORKS = {  # small layers, large ones, and a head that takes longer than its layers
    "small": NetworkConfig(64, size=SMALL, embedding=64, layer_norm=True, carry=True),
    "large": NetworkConfig(64, size=LARGE, embedding=64, layer_norm=True, carry=True),
    "head": NetworkConfig(1 << 14, size=SMALL, embedding=64, tie=True, layer_norm=True, carry=True),
}
STEPS, SECONDS = 3, 0.3  # of each shape, at least; the fastest counts: other programs slow the rest
LEAST_BUDGET = 60.0  # seconds: measuring takes about ten, which a shorter budget cannot spare
BUSY = 0.7  # of a processor: a measurement in which this process had less is used, but not kept
SANE = Bounded(1e-4, 1e4)


def pace(budget: float | None) -> Pace:
    """The pace on this machine with this version, by an earlier measurement or, for a budget that can spare it, a new one.

    The environment variable LMGEN_SPEED, for tests, is how many times faster than counted the machine is taken to be. Raises
    InputError if that is not a number.
    """
    devices_here = jax.device_count()
    if given := os.environ.get("LMGEN_SPEED"):
        try:
            factor = 1 / SANE.parse(given)
        except ValueError as error:
            raise InputError(f"LMGEN_SPEED: {error}") from None
        return Pace(factor, factor, factor, "given by LMGEN_SPEED", devices_here)
    about = [__version__, jax.__version__, devices.processor(), native.kind("f32"), native.kind("bf16"), native.threads()]
    about += [str(jax.devices()[0].device_kind)]
    name = f"pace-{hashlib.sha256(json.dumps(about).encode()).hexdigest()[:32]}.json"
    try:
        path = devices.compiled_programs() / name
    except OSError:
        path = None
    factors = _read(path) if path else None
    source = "measured on this machine"
    if not factors:
        if budget is None or budget < LEAST_BUDGET:
            return Pace(devices=devices_here)
        factors, share = measure()
        if share < BUSY:
            source += " while it was busy"
        elif path:
            with contextlib.suppress(LmgenError):  # a full disk
                files.write_bytes(path, json.dumps(factors).encode())
    return Pace(**factors, source=source, devices=devices_here)


def _read(path: Path) -> dict[str, float] | None:
    """A kept measurement; None if it is missing or damaged."""
    try:
        factors = {name: SANE.check(value) for name, value in json.loads(path.read_text()).items()}
        return factors if factors.keys() == NETWORKS.keys() else None
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return None


def measure() -> tuple[dict[str, float], float]:
    """How many times longer than counted the layers of both sizes take, and the head; and the least share of a processor that
    this process had meanwhile, 1 where a GPU computes."""
    found: dict[str, float] = {}
    shares = []
    for name, network in NETWORKS.items():
        layers, head = counted(network, BATCH, WINDOW)
        took, share = _seconds(network)
        rest = took - found["small"] * layers if name == "head" else took - head
        found[name] = min(SANE.high, max(0.1, rest / (head if name == "head" else layers)))
        shares.append(share)
    return found, min(shares) if jax.default_backend() == "cpu" else 1.0


def _seconds(network: NetworkConfig) -> tuple[float, float]:
    """The fastest of a few training steps, after one that compiles, and the processors that it had."""
    config = TrainingConfig(BATCH, WINDOW, 1e-3, precision=precision_of("auto", network.cell))
    task = task_of(network, config.precision)
    ids = np.random.default_rng(0).integers(0, network.vocab, (WINDOW + 1, BATCH)).astype(np.int32)
    batch, state = Batch(ids[:-1], ids[1:], None, np.zeros(BATCH, bool)), begin(task, config)
    times: list[tuple[float, float]] = []
    while len(times) <= STEPS or sum(wall for wall, _ in times[1:]) < SECONDS:
        started, used = time.perf_counter(), time.process_time()
        state, *_ = step(task, config.optimiser, state, batch, 0.0, 0)
        jax.block_until_ready(state)
        times.append((time.perf_counter() - started, time.process_time() - used))
    wall, processors = min(times[1:])
    return wall, processors / wall
