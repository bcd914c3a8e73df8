"""Trainings that are stopped and resumed, beside the same ones left in peace: the cases, and how one is run."""

from __future__ import annotations

import json
import random
from contextlib import closing
from pathlib import Path
from typing import Any

import faults
from lmgen.models import provenance
from lmgen.nn.cells import CELLS
from lmgen.training import run

STEPS, STOP = 60, 23
COMMON = {"size": 12, "embedding": 6, "batch": 4, "window": 8, "learning_rate": 1e-2, "patience": 0, "dropout": 0.3}
CASES: list[dict[str, Any]] = [
    *({"cell": cell, "unit": "char", "carry": False, "layers": 2} for cell in CELLS),
    *({"cell": cell, "unit": "word", "carry": True, "layers": 1} for cell in CELLS),
    *({"cell": cell, "unit": "char", "carry": True, "layers": 3} for cell in ("lstm", "gru", "elman", "min-gru")),
    *({"cell": cell, "unit": "word-punct", "carry": False, "layers": 1} for cell in ("lstm", "gru", "narx")),
    *({"cell": cell, "unit": "char", "carry": False, "layers": 1, "direction": "both"} for cell in ("lstm", "gru")),
    *({"cell": cell, "unit": "char", "carry": False, "layers": 1, "precision": "bf16"} for cell in ("lstm", "gru")),
    {"cell": "lstm", "unit": "word", "carry": False, "layers": 1, "tie": True},
    {"cell": "lstm", "unit": "subword", "carry": False, "layers": 1, "tie": True},
    {"cell": "gru", "unit": "word", "carry": True, "layers": 2, "layer_norm": True, "residual": True},
]
LABELLED: list[dict[str, Any]] = [
    {"task": "classify", "cell": "lstm"},
    {"task": "classify", "cell": "gru", "input": "symbol", "pool": "last", "balance": True},
    {"task": "tag", "cell": "gru", "layers": 3},
    {"task": "tag-classify", "cell": "transformer", "layers": 2},
    {"task": "tag-classify", "cell": "elman", "direction": "forward"},
    {"task": "generate", "cell": "lstm"},
    {"task": "classify", "cell": "gru", "unit": "subword"},
]


def name_of(case: dict[str, Any]) -> str:
    """The words of a case."""
    return "-".join(str(value) if type(value) is not bool else name for name, value in case.items() if value is not False)


def corpus(path: Path) -> Path:
    """Lines of a few invented words."""
    draw = random.Random(1)
    words = ["".join(draw.choice("bdgklmnrst") + draw.choice("aeiou") for _ in range(draw.randint(1, 3))) for _ in range(60)]
    path.write_text("".join(" ".join(draw.choices(words, k=4)) + "\n" for _ in range(75)), "utf-8")
    return path


def labelled(path: Path) -> Path:
    """Tokens with tags and one of two labels, as JSON."""
    draw = random.Random(2)
    with path.open("w") as file:
        for _ in range(75):
            tokens = draw.choices(["a", "b", "ca", "da", "e"], k=draw.randint(1, 6))
            tags = ["O" if len(token) == 1 else f"B-{token}" for token in tokens]
            file.write(json.dumps({"tokens": tokens, "tags": tags, "label": draw.choice(["yes", "no"])}) + "\n")
    return path


def stopped_and_resumed(folder: Path, case: dict[str, Any], stop: int = STOP) -> tuple[dict[str, str], dict[str, str]]:
    """The digests of a training left in peace, and of the same one stopped after some steps and resumed."""
    task = case.get("task")
    path = labelled(folder / "corpus.jsonl") if task else corpus(folder / "corpus.txt")
    text = provenance.TextSettings((str(path),), form="jsonl" if task else None, task=task)
    options = {**COMMON, **case, "steps": STEPS}
    options.pop("task", None)
    _advance(run.new(folder / "whole", text, **options))
    _advance(run.new(folder / "parts", text, **options), stop)
    resumed, complaints = run.resume(folder / "parts")
    assert (resumed.progress.step, complaints) == (stop, [])
    assert resumed.training.batches.per_epoch < STEPS, "no epoch ends on the way"
    _advance(resumed)
    assert len(json.loads((folder / "parts" / "config.json").read_text())["text"]["files"]) == 1
    return faults.digests(folder / "whole"), faults.digests(folder / "parts")


def _advance(training: run.Run, steps: int | None = None) -> None:
    with closing(iter(training)) as reports:
        for report in reports:
            if report.step == steps:
                break
    training.save()
