"""Texts of many users take turns, and models that nobody asks any more are dropped."""

from __future__ import annotations

import asyncio
import gc
from weakref import WeakSet

import numpy as np
import pytest

import lmgen
from lmgen.generation.sampling import Settings
from lmgen.generation.together import Together
from lmgen.serving import house
from lmgen.serving.engine import Channel
from lmgen.serving.metrics import Metrics
from lmgen.serving.writing import Waiting, Writing

pytest.importorskip("uvicorn")

from served import GOLDEN, untrained


class Turns:
    """An engine whose turns a test takes."""

    def __init__(self):
        self.jobs = []

    def add(self, job):
        self.jobs.append(job)

    def turn(self):
        next(self.jobs[0])


def test_texts_take_turns():
    """Of more texts than a call holds, none gets a second call before each has had its first, and one that comes later waits
    for those that have come before, not for their ends."""
    lm, engine = untrained(carry=True).lm, Turns()
    most = Together(lm).most(True)
    nothing = np.zeros(0, np.int32)

    async def run():
        writing, channel = Writing(lm, engine, Metrics()), Channel()
        texts = [
            Waiting(Settings(max_length=400), 0, number, nothing, 10**6, index=number, channel=channel, in_parts=True)
            for number in range(2 * most + most // 2)
        ]
        *first, last = texts
        writing.add(first)
        for turn in range(1, 6):
            engine.turn()
            reads = [text.read for text in first]
            assert sum(reads) == 32 * most * turn
            assert max(reads) - min(reads) <= 32
        writing.add([last])
        for _ in range(3):
            assert not last.read
            engine.turn()
        assert last.read
        while writing.count:
            engine.turn()
        assert all(text.done for text in texts)

    asyncio.run(run())


def test_models_by_label_do_not_pile_up(served, monkeypatch):
    """However many labels are asked for, no more models are held than the last few."""
    made, by = WeakSet(), lmgen.Model.by

    def recorded(model, label):
        found = by(model, label)
        made.add(found.lm)
        return found

    monkeypatch.setattr(lmgen.Model, "by", recorded)
    monkeypatch.setattr(house, "LABELS", 3)
    model = lmgen.load(GOLDEN / "writer", precision="f32")
    client = served({"writer": model})
    first, second = model.lm.labels.labels[:2]
    for weight in range(1, 21):
        answer = client.post("/v1/completions", json={"label": f"{first}:{weight},{second}:1", "max_tokens": 2})
        assert answer.status_code == 200, answer.text
    gc.collect()
    assert len(made) <= 2 * 3 + 1
