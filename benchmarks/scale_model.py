"""A training step on H hosts, on paper: constants measured here, checked against 1 and 2 processes, drawn to 1,024 hosts.

    python benchmarks/scale_model.py

Writes a section of benchmarks/RESULTS.md and the picture docs/scale.png.

A step takes t(H, b) = update + b · column + exchange(H): each host updates all weights, computes b columns, and sends its
gradient around a ring: 2 (H − 1) turns, in each of which a message for every array, 1 / H of the bytes in all. Nothing overlaps.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from report import ROOT, Commands, Sections, main, table
from scale import SHAPES, Shape

STEPS = 75  # speeds are known every 25 steps; the first ones are compiled
COLUMNS = (4, 8, 16, 32)
HOSTS = [2**k for k in range(11)]
FLOAT = 4
TEXT = 1e12  # bytes
ENOUGH = 0.8  # of the speed of hosts that never wait
PICTURE = ROOT / "docs" / "scale.png"

# Times of an all-reduce between two processes of this machine, by the number of floats: one line of JSON.
EXCHANGE = """
import json, statistics, sys, time
import jax, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
jax.distributed.initialize(sys.argv[1], 2, int(sys.argv[2]), cluster_detection_method="deactivate")
mesh = Mesh(np.array(jax.devices()), "data")
reduced = jax.jit(jax.shard_map(lambda a: jax.lax.pmean(a, "data"), mesh=mesh, in_specs=P(), out_specs=P()))
found = {}
for floats in (1, 1 << 10, 1 << 14, 1 << 18, 1 << 20, 1 << 22, 1 << 24):
    a = jax.device_put(np.ones(floats, np.float32), NamedSharding(mesh, P()))
    times = []
    for _ in range(20):
        start = time.perf_counter()
        reduced(a).block_until_ready()
        times.append(time.perf_counter() - start)
    found[floats] = statistics.median(times)
print(json.dumps(found))
"""


@dataclass(frozen=True)
class Gradient:
    arrays: int
    bytes: float


@dataclass(frozen=True)
class Link:
    """What a message costs: seconds for itself, and bytes a second."""

    message: float
    bandwidth: float

    def exchange(self, hosts: int, gradient: Gradient) -> float:
        """Seconds of the mean of a gradient over hosts, around a ring."""
        turns = 2 * (hosts - 1)
        return turns * (gradient.arrays * self.message + gradient.bytes / hosts / self.bandwidth)


@dataclass(frozen=True)
class Step:
    """What a step costs one host: seconds for the update, and for each column; and its gradient."""

    update: float
    column: float
    gradient: Gradient

    def seconds(self, hosts: int, columns: float, link: Link) -> float:
        return self.update + columns * self.column + link.exchange(hosts, self.gradient)

    def efficiency(self, hosts: int, columns: float, link: Link) -> float:
        """The speed as a share of that of hosts which never wait and pay for columns alone."""
        return columns * self.column / self.seconds(hosts, columns, link)

    def columns_for(self, efficiency: float, hosts: int, link: Link) -> float:
        """The least columns a host with this efficiency."""
        return efficiency / (1 - efficiency) * self.seconds(hosts, 0, link) / self.column


# Assumed, not measured: what is usual between hosts. A message costs the time through the network's software and switches.
NETWORKS = {"1 Gb/s": Link(50e-6, 1e9 / 8), "10 Gb/s": Link(30e-6, 10e9 / 8), "100 Gb/s": Link(10e-6, 100e9 / 8)}


def measured_link() -> Link:
    """Messages between two processes over loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-c", EXCHANGE, address]
    pair = [subprocess.Popen([*words, str(k)], stdout=subprocess.PIPE, env=environment, text=True) for k in range(2)]
    said = [process.communicate()[0].splitlines() for process in pair]
    times = {int(floats): seconds for floats, seconds in json.loads(said[0][-1]).items()}  # before it, Gloo speaks
    # In a ring of two, each of two turns sends one half.
    largest = max(times)
    return Link(times[1] / 2, largest * FLOAT / (times[largest] - times[1]))


def step_seconds(run: Commands, shape: Shape, columns: int, processes: int, threads: int) -> float:
    """Seconds a step in training with so many columns for each process."""
    options = shape.options.split()
    options[options.index("--batch") + 1] = str(columns * processes)
    train = f"train {shape.text} {' '.join(options)} --precision bf16 --dropout 0 --no-valid --steps {STEPS}"
    command = f"{train} --processes {processes} --output model --force --quiet"
    run(command, LMGEN_THREADS=str(threads), NPROC=str(threads))
    lines = [json.loads(line) for line in (run.folder / "model" / "metrics.jsonl").read_text("utf-8").splitlines()]
    return (lines[-1]["seconds"] - lines[0]["seconds"]) / (lines[-1]["step"] - lines[0]["step"])


def gradient_of(folder: Path) -> Gradient:
    """The arrays that a model has learnt, and their bytes in a gradient."""
    from safetensors import safe_open

    with safe_open(folder / "model" / "model.safetensors", "np") as file:
        sizes = [int(np.prod(file.get_slice(name).get_shape())) for name in file.keys()]  # noqa: SIM118
    return Gradient(len(sizes), FLOAT * sum(sizes))


def measured_step(run: Commands, shape: Shape, threads: int) -> Step:
    """A line through the seconds of steps with some numbers of columns."""
    times = [step_seconds(run, shape, columns, 1, threads) for columns in COLUMNS]
    column, update = np.polyfit(COLUMNS, times, 1, w=1 / np.array(times))
    return Step(max(0.0, float(update)), float(column), gradient_of(run.folder))


# ---- the section ---------------------------------------------------------------------------------------------------------


def milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:,.3g}" if seconds < 1 else f"{1e3 * seconds:,.0f}"


def model(run: Commands) -> Iterator[str]:
    loopback = measured_link()
    alone = {name: measured_step(run, shape, threads=1) for name, shape in SHAPES.items()}
    hosts = {name: measured_step(run, shape, threads=2) for name, shape in SHAPES.items()}
    yield (
        f"Between two processes over loopback a message takes {1e6 * loopback.message:.0f} µs and "
        f"{loopback.bandwidth / 1e9:.2f} GB pass a second. A step takes, with bf16, in milliseconds:"
    )
    yield table(
        ("network", "threads", "update of the weights", "a column", "gradient: arrays", "MB"),
        *(
            (
                name,
                threads,
                milliseconds(s.update),
                milliseconds(s.column),
                str(s.gradient.arrays),
                f"{s.gradient.bytes / 1e6:.1f}",
            )
            for threads, some in (("1", alone), ("2", hosts))
            for name, s in some.items()
        ),
    )
    yield "The model against two processes of one thread each, which exchange gradients over loopback (milliseconds a step):"
    rows: list[tuple[str, ...]] = [
        ("network", "columns of each", "model: 1 process", "measured", "model: 2 processes", "measured", "model ÷ measured")
    ]
    for name, shape in SHAPES.items():
        for columns in (COLUMNS[1], COLUMNS[-1]):
            pairs = [(alone[name].seconds(k, columns, loopback), step_seconds(run, shape, columns, k, 1)) for k in (1, 2)]
            times = [milliseconds(seconds) for pair in pairs for seconds in pair]
            rows.append((name, str(columns), *times, f"{pairs[1][0] / pairs[1][1]:.2f}"))
    yield table(*rows)
    yield from on_paper(hosts)
    drawn(hosts)
    run.done = [*dict.fromkeys(run.done)]


def on_paper(steps: dict[str, Step]) -> Iterator[str]:
    """Tables for many hosts as this one, and for 1 TB of text."""
    yield (
        "Hosts as this one (two threads each), by networks between them that are assumed: the columns that each host needs for "
        f"{ENOUGH:.0%} of the speed of hosts that never wait, and, with so many at 10 Gb/s, the days for one pass over 1 TB "
        "of text, at a byte a symbol for characters and 5.5 for words."
    )
    rows = [("network", "hosts", *(f"{name}: columns of a host (batch)" for name in NETWORKS), "days for 1 TB")]
    for name, step in steps.items():
        words = SHAPES[name].options.split()
        window = int(words[words.index("--window") + 1])
        for count in (1, 8, 64, 1024):
            columns = {at: max(1, int(np.ceil(step.columns_for(ENOUGH, count, link)))) for at, link in NETWORKS.items()}
            batches = [f"{own:,} ({own * count:,})" for own in columns.values()]
            own, link = columns["10 Gb/s"], NETWORKS["10 Gb/s"]
            symbols = count * own * window / step.seconds(count, own, link)
            size = 5.5 if "word" in words else 1
            rows.append((name, f"{count:,}", *batches, f"{TEXT / size / symbols / 86400:,.1f}"))
    yield table(*rows)


def drawn(steps: dict[str, Step]) -> None:
    """Draw efficiency over hosts, for the networks between them and two numbers of columns."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(steps), figsize=(9, 4), sharey=True, layout="constrained")
    for axis, (name, step) in zip(axes, steps.items(), strict=True):
        for number, (at, link) in enumerate(NETWORKS.items()):
            for columns, style in ((32, ":"), (256, "-")):
                shares = [step.efficiency(count, columns, link) for count in HOSTS]
                axis.plot(HOSTS, shares, style, color=f"C{number}", label=f"{at}, {columns} columns a host")
        axis.axhline(ENOUGH, color="0.7", linewidth=0.8)
        axis.set(xscale="log", xlabel="hosts", title=name, ylim=(0, 1))
        axis.set_xticks([1, 8, 64, 1024], ["1", "8", "64", "1,024"])
        axis.minorticks_off()
    axes[0].set_ylabel("share of the speed without waiting")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)
    figure.savefig(PICTURE, dpi=120)


SECTIONS: Sections = {"model": ("A step on many hosts, on paper", model)}

if __name__ == "__main__":
    main(SECTIONS, prefix="scale-", own_cache=False)
