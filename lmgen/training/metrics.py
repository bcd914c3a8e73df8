"""metrics.jsonl of a model directory: how a training went, line by line; and a picture of it."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, NamedTuple

from lmgen.defaults.config import StepReport
from lmgen.errors import CheckpointError, InputError
from lmgen.system import files, pictures

MOST = 1 << 28  # bytes that are read
SANE = 1e6  # no curve exceeds it
CURVES = ("train_nats", "valid_nats", "gradient_norm", "learning_rate", "sampled")
LINE = ("step", "symbols", "seconds", *CURVES, "symbols_per_second", "skipped")
ONLY = {"valid_nats": None, "sampled": 0}  # what a line has only where it differs from this


class Writer:
    """Adds lines to the end of the file at `path`. What cannot be written waits for the next line, and `trouble` says why.

    Between two lines the file is closed, since Windows renames no directory with an open file in it.
    """

    def __init__(self, path: Path):
        self.path, self.waiting, self.trouble = path, b"", ""
        self._open().close()  # an error before the training starts

    def _open(self) -> IO[bytes]:
        return open(self.path, "ab", buffering=0, opener=files.no_link)

    def add(self, report: StepReport) -> None:
        """Write the line of a report, if it has a loss."""
        if report.train_nats is None and report.valid_nats is None:
            return
        report = replace(report, seconds=round(report.seconds, 3), symbols_per_second=round(report.symbols_per_second))
        line = {name: getattr(report, name) for name in LINE}
        line = {name: value for name, value in line.items() if name not in ONLY or value != ONLY[name]}
        self.waiting += json.dumps(line).encode() + b"\n"
        try:
            with self._open() as file:
                while self.waiting:
                    self.waiting = self.waiting[file.write(self.waiting) :]
            self.trouble = ""
        except OSError as error:
            self.trouble = f"cannot write {self.path} ({len(self.waiting):,} bytes): {error.strerror}"


def _lines(path: Path, most: int = -1) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """The lines that are whole: a crash may have cut one."""
    with files.opened(path) as (file, _):
        lines = file.read(most).splitlines(keepends=True)
    for line in lines:
        try:
            found = json.loads(line) if line.endswith(b"\n") else {}
            if isinstance(found["step"], int | float):
                yield line, found
        except (ValueError, TypeError, KeyError, RecursionError):
            continue


def forget_later(path: Path, step: int) -> None:
    """Drop the lines of later steps than `step`, and broken ones."""
    if os.path.lexists(path):
        files.write_bytes(path, b"".join([line for line, found in _lines(path) if found["step"] <= step]))


class Curve(NamedTuple):
    """A measure by step."""

    steps: list[int]
    values: list[float]


def read(folder: Path) -> dict[str, Curve]:
    """The `CURVES` of a model directory; those that cannot be read, or that no line has, are empty."""
    curves = {name: Curve([], []) for name in CURVES}
    with contextlib.suppress(CheckpointError):
        for _, found in _lines(folder / "metrics.jsonl", MOST):
            for name, curve in curves.items():
                if isinstance(found["step"], int) and isinstance(value := found.get(name), int | float) and abs(value) < SANE:
                    curve.steps.append(found["step"])
                    curve.values.append(float(value))
    return curves


def plot(folder: Path, picture: Path) -> None:
    """Draw the curves of a model directory into a new file: nats by step, the gradient norm and the learning rate below.

    Raises InputError where there is nothing to draw, matplotlib is missing, or the file cannot be written.
    """
    curves = read(folder)
    if not curves["train_nats"].steps:
        raise InputError(f"{folder} has no curves to draw: its metrics.jsonl holds no steps of a training")
    below = [name for name in ("gradient_norm", "learning_rate") if curves[name].steps]
    figure = pictures.figure(8, 5 + 1.25 * len(below))
    nats, *panels = figure.subplots(1 + len(below), 1, sharex=True, height_ratios=[3, *(1 for _ in below)], squeeze=False)[:, 0]
    label = "training, among few symbols" if curves["sampled"].steps else "training"
    nats.plot(*curves["train_nats"], label=label, color="tab:gray")
    if curves["valid_nats"].steps:
        nats.plot(*curves["valid_nats"], label="validation", color="tab:blue", marker=".")
        best = min(zip(curves["valid_nats"].values, curves["valid_nats"].steps, strict=True))
        nats.axhline(best[0], color="tab:blue", linewidth=0.5, linestyle=":")
        nats.set_title(f"best validation: {best[0]:.3f} nats per symbol at step {best[1]:,}", parse_math=False)
    nats.set_ylabel("nats per symbol")
    nats.legend()
    for name, panel, colour in zip(below, panels, ("tab:green", "tab:orange"), strict=False):
        panel.plot(*curves[name], color=colour)
        panel.set_ylabel(name.replace("_", " "))
        panel.set_ylim(bottom=0)
    (panels or [nats])[-1].set_xlabel("step")
    pictures.save(figure, picture)
