"""How a training went, from its metrics.jsonl: the curves, and a picture of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from lmgen.errors import CheckpointError, InputError
from lmgen.system import files

MOST = 1 << 28  # bytes of metrics.jsonl that are read
SANE = 1e6  # what no curve exceeds


class Curve(NamedTuple):
    """A measure by step."""

    steps: list[int]
    values: list[float]


def read(path: Path) -> dict[str, Curve]:
    """The curves of a model directory: train_nats, valid_nats and learning_rate; what cannot be read of the file is left out."""
    curves = {name: Curve([], []) for name in ("train_nats", "valid_nats", "learning_rate")}
    try:
        with files.opened(path / "metrics.jsonl") as (file, _):
            lines = file.read(MOST).splitlines()
    except CheckpointError:
        return curves
    for line in lines:
        try:
            found = json.loads(line)
            step = found["step"]
        except (ValueError, TypeError, KeyError, RecursionError):  # a line that was being written when its writer was killed
            continue
        for name, curve in curves.items():
            if isinstance(step, int) and isinstance(value := found.get(name), int | float) and abs(value) < SANE:
                curve.steps.append(step)
                curve.values.append(float(value))
    return curves


def plot(path: Path, picture: Path) -> None:
    """Draw the curves of a model directory into a file that is not there yet: nats by step, the learning rate below.

    Raises InputError where there is nothing to draw, matplotlib is missing, or the file cannot be written.
    """
    curves = read(path)
    if not curves["train_nats"].steps:
        raise InputError(f"{path} has no curves to draw: its metrics.jsonl holds no steps of a training")
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError("a plot needs matplotlib, which is not installed: pip install matplotlib") from None
    figure = Figure(figsize=(8, 6), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    nats, rate = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    nats.plot(*curves["train_nats"], label="training", color="tab:gray")
    if curves["valid_nats"].steps:
        nats.plot(*curves["valid_nats"], label="validation", color="tab:blue", marker=".")
        best = min(zip(curves["valid_nats"].values, curves["valid_nats"].steps, strict=True))
        nats.axhline(best[0], color="tab:blue", linewidth=0.5, linestyle=":")
        nats.set_title(f"best validation: {best[0]:.3f} nats per symbol at step {best[1]:,}", parse_math=False)
    nats.set_ylabel("nats per symbol")
    nats.legend()
    rate.plot(*curves["learning_rate"], color="tab:orange")
    rate.set_ylabel("learning rate")
    rate.set_xlabel("step")
    rate.set_ylim(bottom=0)
    try:
        with files.new(picture, "--plot") as file:
            canvas.print_figure(file, format=picture.suffix[1:].lower() or "png", dpi=120)
    except ValueError:
        raise InputError(f"{picture} has no ending of a picture: call it .png, .svg or .pdf") from None
