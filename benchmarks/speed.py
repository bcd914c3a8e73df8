"""The speed of lmgen compared with PyTorch: measures both side by side, and writes benchmarks/RESULTS.md.

    python benchmarks/speed.py [PART ...] [--shapes NAME,...] [--rounds N]

Each contestant is a separate process that builds its model and warms up. Then the processes work one after the other, round by
round, and the median of the rounds counts. With --shapes or --rounds the tables are printed and RESULTS.md is not changed. Needs
PyTorch. Shapes: T window, B batch, N size, V vocabulary.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import speed_profile
from report import Commands, quietly, section_of, table, write
from speed_workers import SECONDS, WINDOWS, Job, Reply, Shape, serve

from lmgen.nn import native
from lmgen.nn.precision import kernels, precision_of

ROUNDS = 5
PAUSE = 0.05  # seconds before a round, for the threads of the last process to stop
SYMBOLS = 1000  # drawn from each stream of a sampling step: the default maximum of `lmgen sample`
SPAWN = multiprocessing.get_context("spawn")

SHAPES = (
    Shape("char256", 65, 256, 1, 32, 128),
    Shape("char512", 65, 512, 2, 64, 128),
    Shape("word200", 10_000, 200, 2, 20, 35),
    Shape("word650", 10_000, 650, 2, 20, 35),
    Shape("char384", 101, 384, 1, 50, 100),  # this one and those below were not used for tuning
    Shape("byte300", 257, 300, 3, 24, 90),
    Shape("word320", 20_011, 320, 1, 33, 47),
)
SAMPLED = ("char256", "char512")  # the shapes for sampling
# The contestants: program and precision. `pure` is lmgen without its compiled kernels.
TORCH = {"PyTorch f32": ("torch", "f32"), "PyTorch bf16": ("torch", "bf16")}
PURE = {"pure JAX f32": ("pure", "f32"), "pure JAX bf16": ("pure", "bf16")}
AUTO = {"lmgen auto": ("lmgen", "auto")}
AMX = native.kind("bf16") == "amx"  # such a processor has sections of its own: few readers have one
EVERY = TORCH | PURE | {"lmgen f32": ("lmgen", "f32")} | AUTO


# ---- rounds ------------------------------------------------------------------------------------------------------------


class Worker:
    """A worker process, warmed up; it works only during a round."""

    def __init__(self, job: Job):
        self.job = job
        self.pipe, its_end = SPAWN.Pipe()
        self.process = SPAWN.Process(target=serve, args=(its_end, job), daemon=True)
        self.process.start()
        its_end.close()

    def ready(self) -> Worker:
        """Itself, when it is warmed up."""
        self._heard()
        return self

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
    """Seconds a step of each job: the medians of interleaved rounds."""
    with ExitStack() as stack:
        workers = {name: stack.enter_context(closing(Worker(job))).ready() for name, job in jobs.items()}
        replies = [{name: worker.round().seconds for name, worker in workers.items()} for _ in range(rounds)]
    return {name: statistics.median(reply[name] for reply in replies) for name in jobs}


def verdict(shown: str, reached: bool) -> str:
    """A figure with a target: bold if it is reached."""
    return f"**{shown}**" if reached else f"{shown} (missed)"


@dataclass(frozen=True)
class Ratio:
    """The speed of the fastest of ours relative to the fastest of theirs, and its target."""

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
    """A table with a row for each shape: the time of each contestant, and the ratios."""
    rows = [(cell.upper(), *contestants, *(ratio.head for ratio in ratios))]
    for shape in shapes:
        print(f"{task}, {cell}, {shape.name} …", flush=True)
        jobs = {name: Job(program, kind, task, cell, shape) for name, (program, kind) in contestants.items()}
        seconds = raced(jobs, rounds)
        rows.append((shape.name, *(figure(seconds[name], shape) for name in jobs), *(ratio.of(seconds) for ratio in ratios)))
    return table(*rows)


# ---- the parts ---------------------------------------------------------------------------------------------------------


def method(rounds: int) -> str:
    """The method, in words."""
    return (
        f"Medians of {rounds} interleaved rounds of about {SECONDS:g} s. Each contestant is a separate process with the same "
        f"allocator settings; only one works at a time. PyTorch {metadata.version('torch')}, bf16 by autocast, uses one or all "
        "threads (for sampling, with or without oneDNN), whichever was faster in its warm-up. "
        f"Kernels of lmgen here: {kernels()}. auto is {precision_of('auto')}; pure JAX is lmgen without its "
        "kernels. Random ids, dropout 0, state carried from window to window."
    )


def shapes_in_words(shapes: Iterable[Shape]) -> str:
    """A table of the shapes."""
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


def peak(job: Job) -> Reply:
    """The peak memory of a process that does only this job."""
    with closing(Worker(job)) as worker:
        return worker.ready().round()


def memory_part(shapes: tuple[Shape, ...], rounds: int, run: Commands) -> Iterator[str]:
    yield (
        "Peak resident memory (VmHWM) of a process that trains an LSTM, in MiB, and in brackets the peak after the imports; one "
        f"process each. PyTorch {metadata.version('torch')} has its default settings."
    )
    contestants = TORCH | AUTO
    rows = [("shape", *(f"{name}: peak (imports)" for name in contestants), "lmgen auto against PyTorch's least")]
    for shape in shapes:
        print(f"memory, {shape.name} …", flush=True)
        found = {
            name: peak(Job(program, kind, "training", "lstm", shape, tuned=False))
            for name, (program, kind) in contestants.items()
        }
        ratio = found["lmgen auto"].peak / min(found[name].peak for name in TORCH)
        rows.append((shape.name, *(f"{r.peak:,.0f} ({r.imports:,.0f})" for r in found.values()), f"{ratio:.2f}×"))
    yield table(*rows)


def sampling_part(shapes: tuple[Shape, ...], rounds: int, run: Commands) -> Iterator[str]:
    yield (
        f"{method(rounds)} {SYMBOLS} symbols of every stream, and no stream ends earlier: µs a symbol (symbols a second of all "
        "streams). lmgen runs its own loop, from random keys to text; PyTorch runs a loop with softmax and multinomial."
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
        f"Seconds of whole processes from start to end; medians of {rounds}, with compiled programs cached by an earlier run. "
        "The training command also validates and saves, so its time is an upper bound for the end of the first step."
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


def profile_part(shapes: tuple[Shape, ...], rounds: int, run: Commands) -> Iterator[str]:
    yield (
        f"Of {speed_profile.STEPS} training steps under JAX's profiler. The share of the limit compares the multiply-adds of a "
        "step's products with those of one large product in the same time; the other work of a step counts as lost time. "
        "The last row is the time of the products alone at the highest limit measured."
    )
    yield table(*speed_profile.rows(shapes, "lstm"))
    yield table(*speed_profile.rows(shapes, "gru"))


PARTS: dict[str, tuple[str, Callable[[tuple[Shape, ...], int, Commands], Iterator[str]]]] = {
    "training": ("Speed of training, against PyTorch", training_part),
    "evaluation": ("Speed of evaluation, against PyTorch", evaluation_part),
    "memory": ("Memory of training, against PyTorch", memory_part),
    "sampling": ("Speed of sampling, against PyTorch", sampling_part),
    "starting": ("Time to start", starting_part),
    "profile": ("Where the time of a training step goes", profile_part),
    "linear": ("Cost against length, window and batch", linear_part),
}


def arguments() -> tuple[list[str], tuple[Shape, ...], int, bool]:
    """The parts, the shapes, the rounds, and whether the options limit them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--shapes", metavar="NAME,...", help=", ".join(shape.name for shape in SHAPES))
    parser.add_argument("--rounds", type=int, metavar="N", help=f"default: {ROUNDS}")
    given = parser.parse_args()
    names = given.shapes.split(",") if given.shapes else [shape.name for shape in SHAPES]
    unknown = (set(given.parts) - set(PARTS)) | (set(names) - {shape.name for shape in SHAPES})
    if unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    limited = given.shapes is not None or given.rounds is not None
    shapes = tuple(shape for shape in SHAPES if shape.name in names)
    return given.parts or list(PARTS), shapes, given.rounds or ROUNDS, limited


def main() -> None:
    parts, shapes, rounds, limited = arguments()
    for name in parts:
        print(f"measuring {name} …", flush=True)
        title, measure = PARTS[name]
        title += ", with AMX" * AMX
        with tempfile.TemporaryDirectory() as folder:
            run = Commands(Path(folder), [f"python benchmarks/speed.py {name}"])
            section = section_of(title, measure(shapes, rounds, run), run)
        if limited:
            print(section)
        else:
            write(f"speed-{name}{'-amx' if AMX else ''}", section)


if __name__ == "__main__":
    main()
