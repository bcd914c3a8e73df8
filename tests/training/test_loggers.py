"""Loggers: the curves of metrics.jsonl in other tools, each step once, however a training was stopped."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import lmgen as library
from lmgen.errors import InputError
from lmgen.options import table
from lmgen.training import loggers
from support import ROOT, invented_words

SMALL = {"size": 8, "embedding": 4, "batch": 4, "window": 8}
WORDS = invented_words(1000)


def curves(path: Path) -> dict[str, list[tuple[int, float]]]:
    """The points of metrics.jsonl."""
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    return {name: [(line["step"], line[name]) for line in lines if line.get(name) is not None] for name in loggers.CURVES}


def in_tensorboard(path: Path) -> dict[str, list[tuple[int, float]]]:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(path / "train"))
    events.Reload()
    return {name: [(one.step, one.value) for one in events.Scalars(name)] for name in events.Tags()["scalars"]}


def in_wandb(path: Path) -> dict[str, list[tuple[int, float]]]:
    """The points in the files of one offline run, which `wandb sync` joins by its id."""
    records = pytest.importorskip("wandb.proto.wandb_internal_pb2")
    found: dict[str, list[tuple[int, float]]] = {}
    (id,) = json.loads((path / "train" / loggers.IDS).read_text()).values()
    for file in sorted(Path("wandb").glob(f"offline-run-*/run-{id}.wandb"), key=lambda file: file.stat().st_mtime_ns):
        for content in in_leveldb(file.read_bytes()):
            history = records.Record.FromString(content).history
            items = {one.key or "/".join(one.nested_key): json.loads(one.value_json) for one in history.item}
            for name in items.keys() & {*loggers.CURVES}:
                found.setdefault(name, []).append((history.step.num, items[name]))
    return found


def in_leveldb(log: bytes) -> Iterator[bytes]:
    """The records of a file of W&B: after a head of 7 bytes a log of LevelDB, whose blocks of 32 KiB hold parts of records."""
    at, record = 7, b""
    while at + 7 <= len(log):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        length, kind = struct.unpack_from("<HB", log, at + 4)
        record += log[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield record
            record = b""


def in_mlflow(path: Path) -> dict[str, list[tuple[int, float]]]:
    client = pytest.importorskip("mlflow").MlflowClient()
    (id,) = json.loads((path / "train" / loggers.IDS).read_text()).values()
    run = client.get_run(id)
    assert (run.info.run_name, run.data.params["size"], run.info.status) == (path.name, "8", "FINISHED")
    return {name: [(one.step, one.value) for one in client.get_metric_history(id, name)] for name in run.data.metrics}


READ = {"tensorboard": in_tensorboard, "wandb": in_wandb, "mlflow": in_mlflow}


@pytest.mark.parametrize("name", loggers.LOGGERS)
@pytest.mark.filterwarnings("ignore::Warning")  # of other packages
def test_a_tool_draws_the_curves_of_metrics_over_a_resume(name, monkeypatch):
    pytest.importorskip(name)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{Path('mlflow.db').absolute()}")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    path = Path("towns").absolute()
    library.train(WORDS, output=path, steps=60, log=name, **SMALL)
    library.train(resume=path, steps=100, log=name)
    expected, found = curves(path), READ[name](path)
    assert found.keys() == expected.keys()
    for curve, points in expected.items():
        assert [step for step, _ in found[curve]] == [step for step, _ in points]
        assert [value for _, value in found[curve]] == pytest.approx([value for _, value in points], rel=1e-3)


class Memory:
    """A logger that keeps its points."""

    points: list[tuple[int, set[str]]] = []  # noqa: RUF012 — of all of them
    ids: list[str] = []  # noqa: RUF012

    def __init__(self, run, id):
        self.id, self.look = id or "a1", "look here"
        self.ids.append(id)

    def put(self, step, points):
        self.points.append((step, {*points}))

    def close(self):
        pass


@pytest.fixture
def memory(monkeypatch):
    monkeypatch.setattr(Memory, "points", [])
    monkeypatch.setattr(Memory, "ids", [])
    monkeypatch.setattr(loggers, "check", lambda name: None)
    monkeypatch.setitem(loggers.LOGGERS, "mlflow", Memory)
    return Memory


def test_what_is_stopped_between_saves_is_logged_at_the_last_one(memory):
    library.train(WORDS, output="towns", steps=300, log="mlflow", progress=lambda report: report.step < 120, **SMALL)
    assert 0 < memory.points[-1][0] <= 120
    library.train(resume="towns", log="mlflow")
    assert [step for step, _ in memory.points] == [step for step, _ in curves(Path("towns"))["train_nats"]]
    assert memory.ids == ["", "a1"]


def test_a_killed_training_gives_no_step_twice(memory):
    code = (
        "import os, sys, lmgen; sys.path[:0] = sys.argv[1:]; from test_loggers import *\n"
        "loggers.check, loggers.LOGGERS['mlflow'] = (lambda name: None), Memory\n"
        "Memory.put = lambda self, step, points: print(step, flush=True)\n"
        "lmgen.train(WORDS, output='towns', steps=400, log='mlflow', progress=lambda r: r.step < 260 or os._exit(9), **SMALL)"
    )
    program = [sys.executable, "-c", code, Path(__file__).parent, ROOT / "tests"]
    killed = subprocess.run(program, capture_output=True, text=True, check=False)
    assert killed.returncode == 9, killed.stderr
    before = [int(line) for line in killed.stdout.split()]
    library.train(resume="towns", log="mlflow")
    steps = [*before, *(step for step, _ in memory.points)]
    assert before
    assert steps == [step for step, _ in curves(Path("towns"))["train_nats"]]


def test_ids_that_are_damaged_or_forged_are_begun_anew(memory):
    library.train(WORDS, output="towns", steps=20, log="mlflow", **SMALL)
    for k, content in enumerate((b"[", b"[1]", b'{"mlflow": "../x"}', b'{"mlflow": 1}', b"[" * 100_000)):
        Path("towns", "train", loggers.IDS).write_bytes(content)
        library.train(resume="towns", steps=40 + 20 * k, log="mlflow")
    assert memory.ids == [""] * 6


def test_what_goes_wrong_in_a_logger_stops_no_training(memory, lmgen, monkeypatch):
    def broken(self, step, points):
        raise ZeroDivisionError("no\x1b[1mroom")

    monkeypatch.setattr(Memory, "put", broken)
    Path("words.txt").write_text("\n".join(WORDS), "utf-8")
    small = [word for name, value in SMALL.items() for word in (f"--{name}", value)]
    code, _, err = lmgen("train", "words.txt", "-o", "towns", "--steps", "40", "--log", "mlflow", *small)
    assert code == 0
    assert err.count("logging: look here\n") == 1
    assert err.count("warning: --log mlflow has stopped (no?[1mroom); training continues\n") == 1
    assert library.load("towns")


def test_a_missing_package_is_a_sentence_before_anything_is_done(monkeypatch):
    for name in loggers.LOGGERS:
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(InputError, match=rf"--log {name} needs {name}, which is not .*: pip install 'lmgen\[{name}\]'"):
            library.train(WORDS, log=name, output="towns")
    assert not Path("towns").exists()


def test_an_ngram_model_takes_no_steps_and_has_no_log():
    with pytest.raises(InputError, match="an n-gram model has no log"):
        library.train(WORDS, cell="ngram", log="tensorboard")


def test_the_option_names_every_logger():
    (option,) = (option for option in table.TRAIN if option.name == "log")
    assert option.kind.names == tuple(loggers.LOGGERS)
