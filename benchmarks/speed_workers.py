"""The processes that benchmarks/speed.py compares: each builds a model, warms up and works on request.

Shapes: T window, B batch, N size, V vocabulary.
"""

from __future__ import annotations

import faulthandler
import math
import os
import re
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import cycle, islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lmgen.defaults.config import TrainingConfig
from lmgen.nn.precision import precision_of

SECONDS = 0.7  # of work in a round
TRIAL = 0.3  # seconds to measure a way of computing
HOPELESS = 3  # a way whose first step takes this many times the best is given up
WINDOWS = 32  # random windows, read over and over
Work = Callable[[int], None]  # does so many steps


@dataclass(frozen=True)
class Shape:
    """A network (its embedding is as wide as its layers) and the windows that it reads."""

    name: str
    vocab: int
    size: int
    layers: int
    batch: int
    window: int

    @property
    def symbols(self) -> int:
        """Symbols read, or drawn, in a step."""
        return self.batch * self.window


# ---- a worker ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """The work of a worker; if it is not `tuned`, its program has default settings."""

    program: str
    precision: str
    task: str
    cell: str
    shape: Shape
    tuned: bool = True


class Reply(NamedTuple):
    """The result of one round: seconds a step, and the peak resident memory after the imports and now, in MiB."""

    seconds: float
    imports: float
    peak: float


def serve(pipe: Connection, job: Job) -> None:
    """Warm up, report it, then work one round for each request of the pipe."""
    faulthandler.enable()
    ids = np.random.default_rng(0).integers(
        job.shape.vocab, size=(WINDOWS, job.shape.window + 1, job.shape.batch), dtype=np.int32
    )
    if job.program in ("torch", "graph"):
        import speed_torch

        from lmgen.system import memory

        memory.keep_freed()
        imports = peak_memory()
        work = speed_torch.TASKS[job.task](job.shape, job.cell, job.precision, ids)
        if job.tuned:
            speed_torch.take(fastest(speed_torch.ways(job.task), speed_torch.take, work))
        elif job.program == "graph":
            work(1)
            speed_torch.take(True)
    else:
        os.environ.pop("LMGEN_NATIVE", None)
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # a GPU's memory is shared with the other workers
        if job.program == "pure":
            os.environ["LMGEN_NATIVE"] = "off"
        from lmgen.system import devices
        from lmgen.training import loop  # noqa: F401 (for the memory of its imports)

        devices.prepare()
        imports = peak_memory()
        work = TASKS[job.task](job.shape, job.cell, precision_of(job.precision, job.cell), ids)
    work(2)
    steps = max(1, round(SECONDS / taken(work, 2)))
    pipe.send("ready")
    with suppress(EOFError):  # the pipe was closed
        while pipe.recv():
            pipe.send(Reply(taken(work, steps), imports, peak_memory()))


def taken(work: Work, steps: int) -> float:
    """Seconds a step."""
    start = time.perf_counter()
    work(steps)
    return (time.perf_counter() - start) / steps


def fastest(ways: Iterable[Any], take: Callable[[Any], None], work: Work) -> Any:
    """The fastest way of computing this work."""
    work(1)
    times: dict[Any, float] = {}
    for way in ways:
        take(way)
        first = taken(work, 1)
        if first < HOPELESS * min(times.values(), default=math.inf):
            times[way] = taken(work, max(1, round(TRIAL / first)))
    return min(times, key=times.__getitem__)


def peak_memory() -> float:
    """The peak resident memory of this process so far, in MiB."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) / 1024


# ---- lmgen's side: JAX is imported by its workers alone ----------------------------------------------------------------


def network(shape: Shape, cell: str) -> Any:
    """The configuration of a network of plain layers with a carried state."""
    from lmgen.nn import model

    return model.NetworkConfig(
        shape.vocab, cell, shape.size, shape.layers, shape.size, carry=True, residual=False, layer_norm=False, dropout=0.0
    )


def language_model(shape: Shape, cell: str, precision: str, ends: bool = True) -> Any:
    """A language model with random weights; unless it `ends`, it never predicts EOS."""
    import jax

    from lmgen.data.vocab import EOS, SPECIAL, Vocab
    from lmgen.models import recurrent
    from lmgen.nn import model

    config = network(shape, cell)
    params = model.init(config, jax.random.key(0))
    if not ends:
        params["head"]["b"] = params["head"]["b"].at[EOS].set(-1e9)
    vocab = Vocab("char", tuple(chr(0x4E00 + k) for k in range(shape.vocab - SPECIAL)))
    return recurrent.Recurrent(config, params, vocab, precision)


@dataclass(frozen=True)
class Again:
    """A few windows read over and over, in place of those of a text."""

    task: Any
    ids: np.ndarray
    per_epoch: int = WINDOWS

    def __getitem__(self, step: int) -> Any:
        return self.task.batch(self.ids[step % WINDOWS], np.zeros(self.ids.shape[2], bool))


def training(shape: Shape, cell: str, precision: str, ids: np.ndarray) -> Work:
    """Training steps, by lmgen's own loop."""
    from lmgen.tasks import task_of
    from lmgen.training import loop

    config = TrainingConfig(shape.batch, shape.window, 1e-3, steps=10**9, precision=precision)
    task = task_of(network(shape, cell), precision)
    run = loop.Training(config, task, Again(task, ids), None)
    reports = iter(run)

    def work(steps: int) -> None:
        for _ in islice(reports, steps):
            pass
        run.settle()

    return work


def evaluation(shape: Shape, cell: str, precision: str, ids: np.ndarray) -> Work:
    """−ln p of every symbol of a window, the state carried from window to window."""
    lm = language_model(shape, cell, precision)
    state, windows = lm.start(shape.batch), cycle(ids)

    def work(steps: int) -> None:
        nonlocal state
        for window in islice(windows, steps):
            state, nats = lm.nats(state, window)
            np.asarray(nats)

    return work


def sampling(shape: Shape, cell: str, precision: str, ids: np.ndarray) -> Work:
    """T symbols of B streams, by lmgen's own loop."""
    from lmgen.generation import sampling

    lm, settings = language_model(shape, cell, precision, ends=False), sampling.Settings(max_length=shape.window)

    def work(steps: int) -> None:
        for _ in range(steps):
            for _ in islice(sampling.samples(lm, settings, wanted=shape.batch), shape.batch):
                pass

    return work


def text(shape: Shape, cell: str, precision: str, ids: np.ndarray) -> Work:
    """−ln p of every symbol of all windows as one text, as validation reads it."""
    from lmgen.models import scoring

    lm = language_model(shape, cell, precision)

    def work(steps: int) -> None:
        for _ in range(steps):
            scoring.stream_nats(lm, ids[:, :-1].ravel(), exact=False)

    return work


TASKS: dict[str, Callable[[Shape, str, str, np.ndarray], Work]] = {
    "training": training,
    "evaluation": evaluation,
    "sampling": sampling,
    "text": text,
}
