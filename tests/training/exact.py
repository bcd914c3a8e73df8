"""How trainings that must be equal to the bit are taken forward and compared."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import numpy as np

from lmgen.system import arrayfile, checkpoint
from lmgen.training import run


def advance(training: run.Run, steps: int | None = None) -> run.Run:
    """Take some steps, or all, and save."""
    with closing(iter(training)) as reports:
        for report in reports:
            if report.step == steps:
                break
    training.save()
    return training


def snapshot(path: Path) -> dict[str, np.ndarray]:
    """The arrays of the last snapshot."""
    return arrayfile.read_arrays(checkpoint.snapshots(path)[0], "training")[0]


def everything(path: Path) -> dict[str, object]:
    """All that two equal trainings must share: the arrays of the last snapshot and of the model, what is said of both, and the
    lines of the metrics; all numbers are finite."""
    arrays, about = arrayfile.read_arrays(checkpoint.snapshots(path)[0], "training")
    best, said = arrayfile.read_arrays(path / "model.safetensors", "model")
    arrays |= {f"best/{name}": array for name, array in best.items()}
    assert all(np.isfinite(array).all() for array in arrays.values() if array.dtype.kind == "f")
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        del line["seconds"], line["symbols_per_second"]
    progress = {name: value for name, value in about["progress"].items() if name not in ("seconds", "validating")}
    bits = {name: (array.dtype.str, array.tobytes()) for name, array in sorted(arrays.items())}
    return {"arrays": bits, "lines": lines, "progress": progress, "about": said}
