"""How fast lmgen is, against PyTorch: measures side by side, and writes the tables into benchmarks/RESULTS.md.

    python benchmarks/speed.py [PART ...] [--shapes NAME,...] [--rounds N]

Every contestant is a process of its own that builds its model and warms up; then the processes work one after the other, round by
round, and the median of the rounds counts. With --shapes or --rounds the tables are printed and RESULTS.md stays as it is. Needs
PyTorch. Shapes: T window, B batch, N size, V vocabulary.
"""

from __future__ import annotations

import argparse
import faulthandler
import math
import multiprocessing
import os
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, replace
from importlib import metadata
from itertools import cycle, islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from report import Commands, quietly, section_of, table, write

ROUNDS = 5
SECONDS = 1.0  # of work in a round
PAUSE = 0.05  # seconds before it, in which the threads of the process before it come to rest
TRIAL = 0.3  # seconds in which a way of computing shows how fast it is
HOPELESS = 3  # a way whose first step takes so many times the best is not tried further
WINDOWS = 32  # random windows, read over and over
SYMBOLS = 256  # drawn from each stream of a sampling step
SPAWN = multiprocessing.get_context("spawn")
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
        """How many a step reads, or draws."""
        return self.batch * self.window


SHAPES = (
    Shape("char256", 65, 256, 1, 32, 128),
    Shape("char512", 65, 512, 2, 64, 128),
    Shape("word200", 10_000, 200, 2, 20, 35),
    Shape("word650", 10_000, 650, 2, 20, 35),
    Shape("char384", 101, 384, 1, 50, 100),  # nothing was tuned on this one and those below
    Shape("byte300", 257, 300, 3, 24, 90),
    Shape("word320", 20_011, 320, 1, 33, 47),
)
SAMPLED = ("char256", "char512")  # the shapes whose networks are sampled from
# The contestants: program and precision. `pure` is lmgen without its compiled kernels.
TORCH = {"PyTorch f32": ("torch", "f32"), "PyTorch bf16": ("torch", "bf16")}
PURE = {"pure JAX f32": ("pure", "f32"), "pure JAX bf16": ("pure", "bf16")}
AUTO = {"lmgen auto": ("lmgen", "auto")}
EVERY = TORCH | PURE | {"lmgen f32": ("lmgen", "f32")} | AUTO


# ---- a worker ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """What a worker does; one that is not `tuned` computes as its program does by default."""

    program: str
    precision: str
    task: str
    cell: str
    shape: Shape
    tuned: bool = True


class Reply(NamedTuple):
    """Of one round: seconds a step, and the peak of resident memory after the imports and now, in MiB."""

    seconds: float
    imports: float
    peak: float


def serve(pipe: Connection, job: Job) -> None:
    """Warm up, say so, then work one round each time the pipe asks for it."""
    faulthandler.enable()
    ids = np.random.default_rng(0).integers(
        job.shape.vocab, size=(WINDOWS, job.shape.window + 1, job.shape.batch), dtype=np.int32
    )
    if job.program == "torch":
        import speed_torch

        speed_torch.keep_freed_memory()
        imports = peak_memory()
        work = speed_torch.TASKS[job.task](job.shape, job.cell, job.precision, ids)
        if job.tuned:
            speed_torch.take(fastest(speed_torch.WAYS, speed_torch.take, work))
    else:
        os.environ.pop("LMGEN_NATIVE", None)
        if job.program == "pure":
            os.environ["LMGEN_NATIVE"] = "off"
        from lmgen import devices, training  # noqa: F401 (its imports are counted before the work)

        devices.prepare()
        imports = peak_memory()
        work = TASKS[job.task](job.shape, job.cell, devices.precision_of(job.precision), ids)
    work(2)
    steps = max(1, round(SECONDS / taken(work, 2)))
    pipe.send("ready")
    with suppress(EOFError):  # nobody asks any more
        while pipe.recv():
            pipe.send(Reply(taken(work, steps), imports, peak_memory()))


def taken(work: Work, steps: int) -> float:
    """Seconds a step."""
    start = time.perf_counter()
    work(steps)
    return (time.perf_counter() - start) / steps


def fastest(ways: Iterable[Any], take: Callable[[Any], None], work: Work) -> Any:
    """The way of computing that does this work in the least time."""
    work(1)
    times: dict[Any, float] = {}
    for way in ways:
        take(way)
        first = taken(work, 1)
        if first < HOPELESS * min(times.values(), default=math.inf):
            times[way] = taken(work, max(1, round(TRIAL / first)))
    return min(times, key=times.__getitem__)


def peak_memory() -> float:
    """The most resident memory that this process had so far, in MiB."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) / 1024


# ---- lmgen's side: JAX is imported by its workers alone ----------------------------------------------------------------


def network(shape: Shape, cell: str) -> Any:
    """The configuration of a network without anything around its layers, which carries its state."""
    from lmgen import model

    return model.Config(
        shape.vocab, cell, shape.size, shape.layers, shape.size, carry=True, residual=False, layer_norm=False, dropout=0.0
    )


def language_model(shape: Shape, cell: str, precision: str, ends: bool = True) -> Any:
    """Random weights, as a language model; unless it `ends`, it never says EOS."""
    import jax

    from lmgen import lm, model
    from lmgen.vocab import EOS, SPECIAL, Vocab

    config = network(shape, cell)
    params = model.init(config, jax.random.key(0))
    if not ends:
        params["head"]["b"] = params["head"]["b"].at[EOS].set(-1e9)
    vocab = Vocab("char", tuple(chr(0x4E00 + k) for k in range(shape.vocab - SPECIAL)))
    return lm.Recurrent(config, params, vocab, precision)


@dataclass(frozen=True)
class Again:
    """Windows read over and over, in the place of lmgen.corpus.Windows."""

    ids: np.ndarray
    per_epoch: int = WINDOWS

    def __getitem__(self, step: int) -> np.ndarray:
        return self.ids[step % WINDOWS]

    def begins(self, step: int) -> np.ndarray:
        return np.zeros(self.ids.shape[2], bool)


def training(shape: Shape, cell: str, precision: str, ids: np.ndarray) -> Work:
    """Training steps, by lmgen's own loop."""
    from lmgen import training

    config = training.Config(shape.batch, shape.window, 1e-3, steps=10**9, precision=precision)
    run = training.Training(config, network(shape, cell), Again(ids), None)
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
    from lmgen import sample

    lm, settings = language_model(shape, cell, precision, ends=False), sample.Settings(max_length=shape.window)

    def work(steps: int) -> None:
        for _ in range(steps):
            for _ in islice(sample.samples(lm, settings), shape.batch):
                pass

    return work


def text(shape: Shape, cell: str, precision: str, ids: np.ndarray) -> Work:
    """−ln p of every symbol of all windows as one text, as validation reads it."""
    from lmgen import evaluate

    lm = language_model(shape, cell, precision)

    def work(steps: int) -> None:
        for _ in range(steps):
            evaluate.stream_nats(lm, ids[:, :-1].ravel(), exact=False)

    return work


TASKS: dict[str, Callable[[Shape, str, str, np.ndarray], Work]] = {
    "training": training,
    "evaluation": evaluation,
    "sampling": sampling,
    "text": text,
}


# ---- rounds ------------------------------------------------------------------------------------------------------------


class Worker:
    """A worker that is ready: it rests but when a round is asked for."""

    def __init__(self, job: Job):
        self.job = job
        self.pipe, its_end = SPAWN.Pipe()
        self.process = SPAWN.Process(target=serve, args=(its_end, job), daemon=True)
        self.process.start()
        its_end.close()
        self._heard()

    def round(self) -> Reply:
        """What one round took."""
        time.sleep(PAUSE)
        self.pipe.send("work")
        return self._heard()

    def close(self) -> None:
        """End it."""
        self.pipe.close()
        self.process.join()

    def _heard(self) -> Any:
        try:
            return self.pipe.recv()
        except EOFError:
            self.process.join()
            raise SystemExit(f"a worker ended with exit code {self.process.exitcode}: {self.job}") from None


def raced(jobs: dict[str, Job], rounds: int) -> dict[str, float]:
    """The seconds a step of each job: the medians of interleaved rounds."""
    with ExitStack() as stack:
        workers = {name: stack.enter_context(closing(Worker(job))) for name, job in jobs.items()}
        replies = [{name: worker.round().seconds for name, worker in workers.items()} for _ in range(rounds)]
    return {name: statistics.median(reply[name] for reply in replies) for name in jobs}


def verdict(shown: str, reached: bool) -> str:
    """A figure that has a target: bold where it is reached."""
    return f"**{shown}**" if reached else f"{shown} (missed)"


@dataclass(frozen=True)
class Ratio:
    """How many times as fast the fastest of ours is as the fastest of theirs, and what that should be."""

    ours: tuple[str, ...]
    target: float
    theirs: tuple[str, ...] = tuple(TORCH)

    @property
    def head(self) -> str:
        theirs = self.theirs[0] if len(self.theirs) == 1 else "PyTorch's best"
        ours = self.ours[0] if len(self.ours) == 1 else "pure JAX's best"
        return f"{ours} against {theirs} (target {self.target:g}×)"

    def of(self, seconds: dict[str, float]) -> str:
        best = min(self.ours, key=seconds.__getitem__)
        ratio = min(seconds[name] for name in self.theirs) / seconds[best]
        return verdict(f"{ratio:.2f}×", ratio >= self.target) + (f" {best}" if len(self.ours) > 1 else "")


def a_step(seconds: float, shape: Shape) -> str:
    """Milliseconds a step, and thousand symbols a second."""
    return f"{1e3 * seconds:,.1f} ({shape.symbols / seconds / 1e3:,.1f})"


def a_symbol(seconds: float, shape: Shape) -> str:
    """Microseconds a symbol, and symbols a second."""
    return f"{1e6 * seconds / shape.symbols:,.1f} ({shape.symbols / seconds:,.0f})"


def compared(
    task: str,
    cell: str,
    shapes: Iterable[Shape],
    rounds: int,
    contestants: dict[str, tuple[str, str]],
    ratios: tuple[Ratio, ...],
    figure: Callable[[float, Shape], str] = a_step,
) -> str:
    """A table with a row for each shape: what each contestant took, and the ratios."""
    rows = [(cell.upper(), *contestants, *(ratio.head for ratio in ratios))]
    for shape in shapes:
        print(f"{task}, {cell}, {shape.name} …", flush=True)
        jobs = {name: Job(program, kind, task, cell, shape) for name, (program, kind) in contestants.items()}
        seconds = raced(jobs, rounds)
        rows.append((shape.name, *(figure(seconds[name], shape) for name in jobs), *(ratio.of(seconds) for ratio in ratios)))
    return table(*rows)


# ---- the parts ---------------------------------------------------------------------------------------------------------


def method(rounds: int) -> str:
    """How it was measured, in words."""
    from lmgen import devices

    return (
        f"Medians of {rounds} interleaved rounds of about {SECONDS:g} s; every contestant is a process of its own with the same "
        f"settings of the allocator, and only one works at a time. PyTorch {metadata.version('torch')}, bf16 by autocast, "
        "computes with one or all threads, with or without oneDNN, whichever was faster when it warmed up. lmgen auto is "
        f"{devices.precision_of('auto')} here; pure JAX is lmgen without its compiled kernels. Random ids, dropout 0, state "
        "carried from window to window."
    )


def shapes_in_words(shapes: Iterable[Shape]) -> str:
    """What the names of the shapes stand for."""
    head = ("shape", "vocabulary", "embedding = hidden", "layers", "batch", "window")
    rows = ((s.name, f"{s.vocab:,}", f"{s.size}", f"{s.layers}", f"{s.batch}", f"{s.window}") for s in shapes)
    return table(head, *rows)


def training_part(shapes: tuple[Shape, ...], rounds: int, run: Commands) -> Iterator[str]:
    yield f"{method(rounds)} A step is loss, gradient, clip by global norm and AdamW: ms a step (thousand symbols a second)."
    yield shapes_in_words(shapes)
    ratios = (Ratio(("lmgen auto",), 1.6), Ratio(("lmgen f32",), 1.3, ("PyTorch f32",)), Ratio(tuple(PURE), 0.6))
    yield compared("training", "lstm", shapes, rounds, EVERY, ratios)
    yield compared("training", "gru", shapes, rounds, TORCH | AUTO, (Ratio(("lmgen auto",), 2.0),))


def evaluation_part(shapes: tuple[Shape, ...], rounds: int, run: Commands) -> Iterator[str]:
    yield f"{method(rounds)} Forward pass and loss of a window: ms (thousand symbols a second)."
    for cell in ("lstm", "gru"):
        yield compared("evaluation", cell, shapes, rounds, TORCH | AUTO, (Ratio(("lmgen auto",), 1.4),))


def peaks(job: Job, processes: int) -> Reply:
    """The medians of some processes one after the other, each of which does nothing but this job."""
    replies = []
    for _ in range(processes):
        with closing(Worker(job)) as worker:
            replies.append(worker.round())
    return Reply(*map(statistics.median, zip(*replies, strict=True)))


def memory_part(shapes: tuple[Shape, ...], rounds: int, run: Commands) -> Iterator[str]:
    yield (
        f"The peak of resident memory (VmHWM) of a process that trains an LSTM, in MiB, and what it was after the imports; "
        f"medians of {rounds} processes. PyTorch {metadata.version('torch')} computes as it does by default."
    )
    contestants = TORCH | AUTO
    rows = [("shape", *(f"{name}: peak (imports)" for name in contestants), "lmgen auto against PyTorch's least")]
    for shape in shapes:
        print(f"memory, {shape.name} …", flush=True)
        found = {
            name: peaks(Job(program, kind, "training", "lstm", shape, tuned=False), rounds)
            for name, (program, kind) in contestants.items()
        }
        ratio = found["lmgen auto"].peak / min(found[name].peak for name in TORCH)
        rows.append((shape.name, *(f"{r.peak:,.0f} ({r.imports:,.0f})" for r in found.values()), f"{ratio:.2f}×"))
    yield table(*rows)


def sampling_part(shapes: tuple[Shape, ...], rounds: int, run: Commands) -> Iterator[str]:
    yield (
        f"{method(rounds)} {SYMBOLS} symbols of every stream, none of which ends before: µs a symbol (symbols a second of all "
        "streams). lmgen is its own loop, from the random keys to the text; PyTorch a loop with softmax and multinomial."
    )
    for streams, target in ((1, 20.0), (64, 3.0)):
        wanted = [
            replace(shape, name=f"{shape.size} × {shape.layers}, {streams} at a time", batch=streams, window=SYMBOLS)
            for shape in shapes
            if shape.name in SAMPLED
        ]
        yield compared("sampling", "lstm", wanted, rounds, TORCH | AUTO, (Ratio(("lmgen auto",), target),), a_symbol)


STARTS = {"--help": 0.15, "sample tiny --count 10": 1.5, "train cities --steps 1 --output first --force --quiet": 2.5}


def starting_part(shapes: tuple[Shape, ...], rounds: int, run: Commands) -> Iterator[str]:
    yield (
        f"Seconds of whole processes, from their start to their end; medians of {rounds}, compiled programs cached by a run "
        "before. That of the training bounds the time to the end of its first step: it validates and saves, too."
    )
    run("train cities --steps 200 --output tiny --quiet")
    for command in STARTS:
        run(command)  # fills the cache
    took: dict[str, list[float]] = {command: [] for command in STARTS}
    for _ in range(rounds):
        for command in STARTS:
            quietly(run, command)
            took[command].append(run.seconds)
    rows = [("command", "seconds", "target")]
    for command, target in STARTS.items():
        seconds = statistics.median(took[command])
        rows.append((f"`lmgen {command}`", verdict(f"{seconds:.2f}", seconds <= target), f"{target:g}"))
    yield table(*rows)


def linear_part(shapes: tuple[Shape, ...], rounds: int, run: Commands) -> Iterator[str]:
    shape = shapes[0]
    yield (
        f"Medians of {rounds} interleaved rounds; lmgen auto, an LSTM of the shape {shape.name}. A text is read as validation "
        "reads it; window and batch are those of a training step."
    )
    rows = [("what grows", "to", "seconds", "µs a symbol", "a symbol, against the first")]
    for what, task in (("text", "text"), ("window", "training"), ("batch", "training")):
        print(f"linear, {what} …", flush=True)
        field = "batch" if what == "batch" else "window"
        grown = {f"{times}": replace(shape, **{field: times * getattr(shape, field)}) for times in (1, 2, 4)}
        seconds = raced({name: Job("lmgen", "auto", task, "lstm", of) for name, of in grown.items()}, rounds)
        symbols = {name: of.symbols * (WINDOWS if what == "text" else 1) for name, of in grown.items()}
        first = seconds["1"] / symbols["1"]
        for name, of in grown.items():
            size, each = symbols[name] if what == "text" else getattr(of, field), seconds[name] / symbols[name]
            rows.append((what, f"{size:,}", f"{seconds[name]:.4f}", f"{1e6 * each:.2f}", f"{each / first:.2f}×"))
    yield table(*rows)


PARTS: dict[str, tuple[str, Callable[[tuple[Shape, ...], int, Commands], Iterator[str]]]] = {
    "training": ("Speed of training, against PyTorch", training_part),
    "evaluation": ("Speed of evaluation, against PyTorch", evaluation_part),
    "memory": ("Memory of training, against PyTorch", memory_part),
    "sampling": ("Speed of sampling, against PyTorch", sampling_part),
    "starting": ("Time to start", starting_part),
    "linear": ("Cost against length, window and batch", linear_part),
}


def asked() -> tuple[list[str], tuple[Shape, ...], int, bool]:
    """The parts, the shapes, the rounds, and whether they are fewer than all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--shapes", metavar="NAME,...", help=", ".join(shape.name for shape in SHAPES))
    parser.add_argument("--rounds", type=int, metavar="N", help=f"{ROUNDS} where it is not given")
    given = parser.parse_args()
    names = given.shapes.split(",") if given.shapes else [shape.name for shape in SHAPES]
    unknown = (set(given.parts) - set(PARTS)) | (set(names) - {shape.name for shape in SHAPES})
    if unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    limited = given.shapes is not None or given.rounds is not None
    shapes = tuple(shape for shape in SHAPES if shape.name in names)
    return given.parts or list(PARTS), shapes, given.rounds or ROUNDS, limited


def main() -> None:
    parts, shapes, rounds, limited = asked()
    for name in parts:
        print(f"measuring {name} …", flush=True)
        title, measure = PARTS[name]
        with tempfile.TemporaryDirectory() as folder:
            run = Commands(Path(folder), [f"python benchmarks/speed.py {name}"])
            section = section_of(title, measure(shapes, rounds, run), run)
        if limited:
            print(section)
        else:
            write(f"speed-{name}", section)


if __name__ == "__main__":
    main()
