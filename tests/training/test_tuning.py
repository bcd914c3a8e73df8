"""Tuning: what varies and how, which trials go on, that time and number end a study, and that it goes on as if never stopped."""

from __future__ import annotations

import json
import random
from dataclasses import asdict, replace
from functools import partial
from itertools import count

import numpy as np
import pytest

from lmgen.data import corpus
from lmgen.data.reading import Text
from lmgen.data.split import WHOLE
from lmgen.defaults import language
from lmgen.defaults.pace import Pace
from lmgen.errors import CheckpointError, LmgenError
from lmgen.models.provenance import TextSettings
from lmgen.training.tuning import study as studies
from lmgen.training.tuning import tune
from lmgen.training.tuning.space import CHOICES, SPACE, space, varied
from lmgen.training.tuning.study import Result, Study, Trial

SMALL = {"size": 8, "layers": 1, "embedding": 6, "batch": 4, "window": 8, "layer_norm": False, "precision": "f32"}
LENGTHS = (2.0, 6.0, 18.0)


def new_study(end: str = "steps", **settings) -> Study:
    options = {**dict.fromkeys(studies.KEPT), "carry": False, "seed": 0, "mixture": True, "min_count": 1}
    lengths = [*map(int, LENGTHS)] if end == "steps" else [*LENGTHS]
    return Study(TextSettings(("/a.txt",), split=WHOLE), "0" * 64, options, Pace(), end, lengths, **settings)


# ---- what varies -------------------------------------------------------------------------------------------------------


@pytest.fixture
def data(words_file):
    return corpus.load(Text([words_file]), None, "char", False)


@pytest.mark.parametrize(
    ("variation", "found"),
    [
        ({}, {}),
        ({"size": 1}, {"size": 288}),  # 192 · √2 = 271.5, and 32 divides 288 and 256: 8.49 of them are 8
        ({"size": -2}, {"size": 96}),
        ({"layers": 1, "batch": -1, "window": 1}, {"layers": 2, "batch": 8, "window": 64}),
        ({"layers": -1}, {}),  # one layer is the least
        ({"tie": 1, "skip": 1}, {"tie": True, "skip": True}),
        ({"learning_rate": -2, "weight_decay": 1, "beta1": 1}, {"learning_rate": 0.0025, "weight_decay": 0.4, "beta1": 0.0}),
        ({"dropout": -2, "input_dropout": 1}, {"dropout": 0.2, "input_dropout": 0.1}),  # the law drops 0.4
    ],
)
def test_a_variation_is_so_many_steps_away_from_the_plan(data, monkeypatch, variation, found):
    """Worked by hand for a text that is planned with 192 units, batches of 16 × 32, a rate of 0.005 and a dropout of 0.4."""

    def plan(options):
        made = language.plan(data, False, options, Pace())
        return replace(made, shape={**made.shape, "dropout": 0.4})

    if variation == {"size": 1}:
        found = {"size": 256}
    assert varied(variation, {"steps": 500}, plan) == found


@pytest.mark.parametrize("choice", SPACE, ids=lambda choice: choice.name)
def test_every_step_of_every_choice_can_be_planned(data, choice):
    """From one end to the other, in short trainings and in long ones; each step is another value, as far as there are any."""
    plan = partial(language.plan, data, False, pace=Pace())
    for budget in (20.0, 2000.0):
        values = []
        for by in range(-choice.down, choice.up + 1):
            options = varied({choice.name: by}, {"budget": budget}, plan)
            assert options.keys() <= {choice.name}
            made = plan({"budget": budget, **options})
            values.append({**made.shape, **made.train}.get(choice.name))
            if options:
                assert values[-1] == options[choice.name]
        assert len(values) == choice.down + choice.up + 1


def test_what_is_given_stays(data):
    given = {"size": 40, "dropout": 0.0, "tie": None}
    names = {choice.name for choice in space(given)}
    assert not names & {"size", "dropout"}
    assert {"tie", "batch"} <= names
    assert "state_dropout" not in {choice.name for choice in space({"cell": "transformer"})}


# ---- which are tried ---------------------------------------------------------------------------------------------------


def played(study: Study, seed: int = 0, took: float = 1.0, now: list[float] | None = None, most: int | None = None) -> Study:
    """A study whose trials have random nats, and of which each training takes `took` times its length."""
    calls = count()

    def trained(trial: Trial, length: float) -> Result:
        if most is not None and next(calls) == most:
            raise KeyboardInterrupt
        draw = random.Random(f"{seed} {sorted(trial.variation.items())} {length}")
        if now is not None:
            assert study.fits(trial)
            now[0] += took * length
        return Result(draw.choice([1.5, draw.uniform(1, 2), draw.uniform(1, 2)]), took * length, {})

    def keep(trial: Trial) -> None:
        study.elapsed = now[0] if now else 0.0

    tune.search(study, trained, keep)
    return study


def test_the_plan_comes_first_and_no_variation_twice():
    pytest.importorskip("optuna")
    study = played(new_study(most=34))
    variations = [trial.variation for trial in study.trials]
    assert variations[0] == {}
    assert len(variations) == 34
    assert all(one not in variations[:k] for k, one in enumerate(variations))
    assert all(-CHOICES[name].down <= by <= CHOICES[name].up and by for one in variations for name, by in one.items())
    again = played(new_study(most=34))
    assert [trial.variation for trial in again.trials] == variations
    other = new_study(most=30)
    other.options["seed"] = 1
    assert [trial.variation for trial in played(other).trials] != variations


def test_a_study_ends_when_every_variation_was_tried():
    """All options but two are given, which have 2 × 2 values."""
    pytest.importorskip("optuna")
    study = new_study()
    study.options |= {choice.name: 1 for choice in SPACE if choice.name not in ("tie", "beta1")}
    assert sorted(len(trial.variation) for trial in played(study).trials) == [0, 1, 1, 2]


@pytest.mark.parametrize("seed", range(5))
def test_later_trials_are_better(seed):
    """Where the best is known: smaller than planned, with a lower rate and more dropout."""
    pytest.importorskip("optuna")
    study = new_study(most=32)
    study.lengths, study.options["seed"] = [1], seed
    best = {"size": -2, "learning_rate": -2, "dropout": 2}

    def trained(trial: Trial, length: float) -> Result:
        away = sum((trial.variation.get(name, 0) - best.get(name, 0)) ** 2 for name in CHOICES)
        return Result(2 + away / 100, 1.0, {})

    tune.search(study, trained, lambda trial: None)
    nats = [trial.results[0].nats for trial in study.trials]
    assert np.median(nats[15:]) < np.median(nats[1:10])
    assert min(nats) < nats[0]


@pytest.mark.parametrize("seed", range(5))
def test_the_best_third_so_far_goes_on(seed):
    """Against the rule written out: a trial has a next result if and only if fewer of the results at its length so far, its own
    included, are better than a third of their number, or it is the best."""
    pytest.importorskip("optuna")
    study = played(new_study(most=40), seed)
    assert len(study.trials[0].results) == 3  # there is none better at first
    stopped = 0
    for k, trial in enumerate(study.trials):
        for level, result in enumerate(trial.results[:2]):
            known = sorted(one.results[level].nats for one in study.trials[: k + 1] if len(one.results) > level)
            best = known[: max(1, len(known) // 3)]
            assert (len(trial.results) > level + 1) == (result.nats <= best[-1])
            stopped += len(trial.results) == level + 1
    assert 15 < stopped < 39
    best = study.best()
    assert len(best.results) == 3
    assert best.results[2].nats == min(trial.results[2].nats for trial in study.trials if len(trial.results) == 3)


@pytest.mark.parametrize("took", [0.6, 1.0, 1.4])
@pytest.mark.parametrize("seed", range(3))
def test_no_training_begins_that_would_end_too_late(took, seed):
    """However long trainings take compared with what they should; the study ends at most that much late, but for the plan."""
    pytest.importorskip("optuna")
    now = [0.0]
    study = played(new_study("budget", budget=300.0, searching=120.0), seed, took, now)
    assert study.searched
    assert now[0] <= 120 + max(0, took - 1) * LENGTHS[-1]
    assert now[0] > 120 - 2 * LENGTHS[-1]
    assert len(study.trials) > 5
    late = played(new_study("budget", budget=10.0, searching=1.0), now=[0.0])
    assert [len(trial.results) for trial in late.trials] == [3]


def test_trials_that_fail_are_passed_over_and_many_in_a_row_end_the_study():
    pytest.importorskip("optuna")
    study = new_study(most=12)

    def trained(trial: Trial, length: float) -> Result:
        fine = len(study.trials) % 4 == 1 or (study.trials[-1].variation == {})
        return Result(2.0, 1.0, {}) if fine else Result(None, 1.0, {}, "not enough memory: give a smaller --size")

    tune.search(study, trained, lambda trial: None)
    assert len(study.trials) == 12
    assert study.best().variation == {}
    endless = new_study()

    def failing(trial: Trial, length: float) -> Result:
        return Result(None, 1.0, {}, "the disk is full") if trial.variation else Result(2.0, 1.0, {})

    with pytest.raises(LmgenError, match="the disk is full"):
        tune.search(endless, failing, lambda trial: None)
    assert len(endless.trials) == 6


# ---- study.json --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [1, 2, 3, 4, 9, 17])
def test_a_study_that_is_stopped_after_any_training_goes_on_as_if_it_had_not_been(tmp_path, most):
    pytest.importorskip("optuna")
    whole = played(new_study(most=16))
    study = new_study(most=16)
    while not study.searched:
        try:
            played(study, most=most)
        except KeyboardInterrupt:
            study.save(tmp_path)
            study = studies.read(tmp_path)
    assert asdict(study) == asdict(whole)


def test_a_study_is_read_as_it_was_written(tmp_path):
    study = new_study("budget", budget=10.0, searching=5.0, elapsed=3.25, model="checkpoints/é", force=True)
    study.trials = [Trial({}, [Result(1.25, 2.0, {})]), Trial({"size": -2}, [Result(None, 0.1, {"size": 64}, "why")])]
    study.last = Result(1.0, 5.0, {"tie": True, "dropout": 0.25})
    study.save(tmp_path)
    assert studies.read(tmp_path) == study


def damaged() -> dict[str, object]:
    """Changes to study.json, each to a value that no study has."""
    trial = {"variation": {}, "results": []}
    return {
        "lengths": [[], [0], [1, 2, 3, 4], "1", [1e400], [None], [1.5], [3, 2]],
        "trials": [
            None,
            [1],
            [{**trial, "variation": {"size": 99}}],
            [{**trial, "variation": {"nosuch": 1}}],
            [{**trial, "variation": {"size": 0.5}}],
            [{**trial, "results": [{"nats": "low", "seconds": 1, "options": {}, "fault": ""}]}],
            [{**trial, "results": [{"nats": 1, "seconds": 1, "options": {"size": -1}, "fault": ""}]}],
            [{**trial, "results": [{"nats": 1, "seconds": 1, "options": {}, "fault": ""}] * 4}],
        ],
        "options": [{"batch": -1}, {"seed": "x"}, {"nosuch": 1}, None, {"carry": None}, {}],
        "pace": [{"small": 0}, None],
        "text": [{"files": "a"}, {"form": "tsv"}],
        "end": ["epochs", None, "budget"],
        "budget": [5.0, -1],
        "elapsed": [-1, 1e999, "1"],
        "model": [3],
        "strange": [1],
    }


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in damaged().items() for value in values])
def test_a_damaged_study_gets_a_sentence(tmp_path, name, value):
    new_study().save(tmp_path)
    content = json.loads((tmp_path / "study.json").read_text())
    (tmp_path / "study.json").write_text(json.dumps({**content, name: value}))
    with pytest.raises(CheckpointError, match="damaged"):
        studies.read(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"[" * 99999, b'{"text": 1}', b"9" * 9999])
def test_what_is_no_study_gets_a_sentence(tmp_path, content):
    (tmp_path / "study.json").write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        studies.read(tmp_path)
