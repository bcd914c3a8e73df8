"""Loggers: the reports of a training as points of curves that other tools draw, and the table of these tools.

A logger gets a step once a snapshot holds it, so that no step comes twice where a training is resumed. What goes wrong in a
logger ends the logging, not the training.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import math
import os
import re
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from lmgen.defaults.config import StepReport
from lmgen.errors import CheckpointError, InputError, printable
from lmgen.system import files, terminal
from lmgen.training.run import Run

CURVES = ("train_nats", "valid_nats", "learning_rate", "symbols_per_second")
PROJECT = "lmgen"
IDS = "loggers.json"  # beside the snapshots: by the name of a logger, what it calls this training
MOST = 1 << 16  # bytes of that file


class Logger(Protocol):
    """What draws the curves of a training; `id` is its name for the training, and `look` says how to see them."""

    id: str
    look: str

    def put(self, step: int, points: dict[str, float]) -> None:
        """Add the points of a step."""

    def close(self) -> None:
        """End the logging."""


class TensorBoard:
    """Event files beside the snapshots."""

    id = ""

    def __init__(self, run: Run, id: str):
        from tensorboard.compat.proto import event_pb2, summary_pb2
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._event, self._summary = event_pb2.Event, summary_pb2.Summary
        self._writer = EventFileWriter(str(run.path / "train"))
        self.look = f"tensorboard --logdir {terminal.command(str(run.path))}"

    def put(self, step: int, points: dict[str, float]) -> None:
        values = [self._summary.Value(tag=name, simple_value=value) for name, value in points.items()]
        self._writer.add_event(self._event(wall_time=time.time(), step=step, summary=self._summary(value=values)))
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class WeightsAndBiases:
    """A run in the folder wandb: without a connection, unless the user's own WANDB_MODE asks for one."""

    def __init__(self, run: Run, id: str):
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # it would open a connection
        import wandb

        mode: Any = os.environ.get("WANDB_MODE", "offline")
        how = wandb.Settings(console="off", silent=True, disable_git=True, save_code=False)
        self.id = id or secrets.token_hex(8)
        self._run = wandb.init(
            project=PROJECT, name=run.path.name, id=self.id, resume="allow", mode=mode, config=settings(run), settings=how
        )
        synced = f"wandb sync {terminal.command(str(Path(self._run.dir).parent))}"
        self.look = synced if mode == "offline" else self._run.url or f"WANDB_MODE is {mode}"

    def put(self, step: int, points: dict[str, float]) -> None:
        self._run.log(points, step=step)

    def close(self) -> None:
        self._run.finish()


class MLflow:
    """A run where MLflow keeps its runs: a file in this folder, unless the user's own MLFLOW_TRACKING_URI names another place."""

    def __init__(self, run: Run, id: str):
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # it would open a connection
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
        import mlflow
        from mlflow.entities import Metric, Param

        self._client, self._metric, self.id = mlflow.MlflowClient(), Metric, id
        if not id:
            known = self._client.get_experiment_by_name(PROJECT)
            experiment = known.experiment_id if known else self._client.create_experiment(PROJECT)
            self.id = self._client.create_run(experiment, run_name=run.path.name).info.run_id
            params = [Param(name, str(value)) for name, value in settings(run).items()]
            self._client.log_batch(self.id, params=params)
        self._client.update_run(self.id, status="RUNNING")
        self.look = f"mlflow ui --backend-store-uri {mlflow.get_tracking_uri()}"

    def put(self, step: int, points: dict[str, float]) -> None:
        now = int(1000 * time.time())
        self._client.log_batch(self.id, [self._metric(name, value, now, step) for name, value in points.items()])

    def close(self) -> None:
        self._client.set_terminated(self.id)


LOGGERS: dict[str, Callable[[Run, str], Logger]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
    "mlflow": MLflow,
}


def settings(run: Run) -> dict[str, Any]:
    """The settings of the network and of the training that are not None and not lists."""
    every = {**asdict(run.network), **asdict(run.config)}
    return {name: value for name, value in every.items() if isinstance(value, str | int | float)}


def check(name: str | None) -> None:
    """Raise InputError where the package of a logger is missing."""
    if name and importlib.util.find_spec(name) is None:
        raise InputError(f"--log {name} needs {name}, which is not installed: pip install 'lmgen[{name}]'")


@contextlib.contextmanager
def logging(name: str | None, run: Run, note: Callable[[str], Any]) -> Iterator[Callable[[StepReport], None]]:
    """Around a training: what is called with each report; `note` is called with a sentence on where the curves are."""
    waiting: deque[StepReport] = deque()
    logger: Logger | None = None
    broken = name is None

    def flush() -> None:
        nonlocal logger, broken
        try:
            while waiting and waiting[0].step <= run.saved and not broken:
                if logger is None:
                    logger = _begun(name or "", run)
                    note(f"logging: {logger.look}")
                report = waiting.popleft()
                points = {curve: value for curve in CURVES if (value := getattr(report, curve)) is not None}
                logger.put(report.step, {curve: value for curve, value in points.items() if math.isfinite(value)})
        except Exception as error:  # whatever another package raises
            broken = True
            note(f"warning: --log {name} has stopped ({printable(str(error))}); training continues")

    def add(report: StepReport) -> None:
        if not broken and (report.train_nats is not None or report.valid_nats is not None):
            waiting.append(report)
            flush()

    try:
        yield add
    finally:
        flush()
        if logger:
            with contextlib.suppress(Exception):
                logger.close()


def _begun(name: str, run: Run) -> Logger:
    """A logger that goes on where it ended, if it has logged this training before."""
    file, ids = run.path / "train" / IDS, {}
    with contextlib.suppress(CheckpointError, ValueError, RecursionError), files.opened(file) as (content, _):
        ids = json.loads(content.read(MOST))
    ids = ids if isinstance(ids, dict) else {}
    known = ids.get(name)
    logger = LOGGERS[name](run, known if isinstance(known, str) and re.fullmatch(r"\w{1,64}", known) else "")
    if logger.id and logger.id != known:
        files.write_bytes(file, json.dumps({**ids, name: logger.id}).encode())
    return logger
