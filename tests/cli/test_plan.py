"""lmgen plan and train --dry-run: what a user sees, what a program reads, and that the plan is what is trained."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from lmgen.data.corpus import load
from lmgen.data.reading import Text
from lmgen.errors import InputError
from lmgen.models import scoring
from lmgen.nn.model import NetworkConfig
from lmgen.training import counting
from lmgen.training.plans import measured
from support import on_a_terminal

BUDGET = ("--budget", "2s", "--size", "9", "--embedding", "5", "--batch", "8", "--window", "8", "--precision", "f32")


def test_a_plan_names_each_choice_its_reason_and_what_to_expect(lmgen, words_file, tmp_path):
    code, out, _ = lmgen("plan", words_file, "--budget", "1m", "--dropout", "0.25")
    assert code == 0
    rows = {line.split()[0]: line for line in out.splitlines() if line.strip()}
    assert "as asked" in rows["dropout"]
    assert "0.25" in rows["dropout"]
    for name in ("size", "layers", "embedding", "batch", "window", "learning-rate"):
        assert len(rows[name].split()) > 3, f"{name} has no reason"
    assert "ms a step, given by LMGEN_SPEED" in rows["steps:"]
    assert "in nine of ten cases" in rows["expected"]
    assert "nats" in rows["an"]
    assert rows["the"].startswith("the same on any machine: lmgen train ")
    assert lmgen("train", words_file, "--budget", "1m", "--dropout", "0.25", "--dry-run")[1] == out
    assert not (tmp_path / "checkpoints").exists()


def test_the_printed_command_trains_the_planned_model_to_the_bit(lmgen, words_file, monkeypatch):
    """Whatever the speed of the machine: it names the steps instead of the time, and nothing is left to choose."""
    monkeypatch.setenv("LMGEN_SPEED", "0.0002")
    plan = json.loads(lmgen("plan", words_file, *BUDGET, "--json")[1])
    words = shlex.split(plan["command"])
    monkeypatch.setenv("LMGEN_SPEED", "7")
    for name in ("one", "two"):
        code, _, err = lmgen(*words[1:], "--output", name, "--quiet")
        assert code == 0, err
    shown = json.loads(lmgen("show", "one", "--json")[1])
    assert shown["steps"] == plan["steps"]
    again = json.loads(lmgen("plan", *words[2:], "--json")[1])
    ends = {"budget", "steps"}
    assert {k: v for k, v in again["options"].items() if k not in ends} == {
        k: v for k, v in plan["options"].items() if k not in ends
    }
    first, second = (Path(name, "model.safetensors").read_bytes() for name in ("one", "two"))
    assert first == second


def test_a_plan_as_json(lmgen, words_file):
    plan = json.loads(lmgen("plan", words_file, "--budget", "1m", "--json")[1])
    assert plan["options"]["budget"] == 60
    assert plan["reasons"].keys() <= plan["options"].keys()
    assert plan["steps"] * plan["seconds_per_step"] <= 60
    assert plan["expected"]["low"] < plan["expected"]["nats"] < plan["expected"]["high"]
    assert "--budget" not in plan["command"]
    assert f"--steps {plan['steps']}" in plan["command"]


def test_what_an_n_gram_model_reaches_is_counted_on_the_same_text(lmgen, words_file):
    data = load(Text([words_file]), None, "char", False)
    fitted = counting.fitted(data.train.stream, data.valid.stream, data.vocab, False, order=6)
    nats = scoring.stream_nats(fitted.lm, data.valid.stream).mean()
    plan = json.loads(lmgen("plan", words_file, "--budget", "1m", "--json")[1])
    assert plan["expected"]["counted"] == pytest.approx(nats, rel=1e-6)


def test_of_a_cloze_model_no_loss_is_expected(lmgen, words_file):
    """The law is about predicting the next symbol."""
    plan = json.loads(lmgen("plan", words_file, "--direction", "both", "--budget", "1m", "--json")[1])
    assert plan["expected"] is None
    assert plan["options"]["direction"] == "both"


def test_a_text_too_short_to_expect_anything_is_planned_all_the_same(lmgen, tmp_path):
    (tmp_path / "poem.txt").write_text("the rain it raineth every day\n" * 9)
    plan = json.loads(lmgen("plan", tmp_path / "poem.txt", "--budget", "10s", "--json")[1])
    assert plan["expected"] is None
    assert plan["steps"] > 0


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("plan",), 2, "Missing argument"),
        (("plan", "nosuch.txt"), 2, "nosuch.txt"),
        (("plan", "words.txt", "--budget", "soon"), 2, "is not a duration"),
        (("plan", "words.txt", "--cell", "ngram"), 2, "nothing to plan: leave out --cell ngram"),
        (("plan", "words.txt", "--resume", "m"), 2, "--resume"),
        (("train", "words.txt", "--resume", "m", "--dry-run"), 2, "leave it out to plan a new one"),
        (("plan", "words.txt", "--cell", "lstn"), 2, "lstm"),
    ],
)
def test_a_mistake_gets_one_sentence(lmgen, words_file, words, code, sentence):
    found, out, err = lmgen(*words)
    assert (found, out) == (code, "")
    assert sentence in err
    assert "Traceback" not in err


def test_what_does_not_fit_into_memory_is_no_plan(lmgen, words_file):
    """As it is refused when it is to be trained."""
    for words in (("plan", words_file), ("train", words_file, "--dry-run")):
        code, out, err = lmgen(*words, "--budget", "10s", "--size", 1_000_000)
        assert (code, out) == (1, "")
        assert "not enough memory: this training takes" in err


def test_labelled_text_is_planned_without_reasons(lmgen, tmp_path):
    (tmp_path / "labels.tsv").write_text("".join(f"{'up' if k % 2 else 'down'}\tgo {k} steps\n" for k in range(60)))
    code, out, err = lmgen("plan", tmp_path / "labels.tsv", "--task", "classify")
    assert code == 0, err
    assert "learning to classify" in err
    assert "dropout" in out
    assert "expected" not in out


GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.mark.parametrize(
    "words",
    [
        ("labels.tsv", "--budget", "20s"),
        ("tags.conll",),
        ("labels.tsv", "--task", "generate"),
        ("pairs.tsv",),
        ("trees.txt",),
        ("graphs.jsonl",),
        ("words.txt", "--direction", "both"),
    ],
    ids=" ".join,
)
def test_the_printed_command_is_one_that_such_a_model_takes(lmgen, words):
    """It has no option that is refused, and chooses the same."""
    code, out, err = lmgen("plan", GOLDEN / words[0], *words[1:], "--json")
    assert code == 0, err
    plan = json.loads(out)
    assert "mixture" not in plan["options"]
    code, out, err = lmgen("plan", *shlex.split(plan["command"])[2:], "--json")
    assert code == 0, err
    apart = dict.fromkeys(("steps", "epochs", "budget", "precision"))
    assert json.loads(out)["options"] | apart == plan["options"] | apart


def test_a_command_with_a_budget_is_not_said_to_be_the_same_on_any_machine(lmgen):
    assert (
        lmgen("plan", GOLDEN / "labels.tsv", "--budget", "20s")[1].splitlines()[-1].startswith("the same on a machine as fast: ")
    )


@pytest.mark.posix
def test_a_plan_fits_a_narrow_terminal(words_file):
    seen = on_a_terminal("plan", words_file, "--budget", "1m", columns=60)
    assert "layers" in seen
    table = re.sub(r"\x1b\[[\d;]*m|\r", "", seen).split("steps:")[0]
    assert max(map(len, table.split("\n"))) <= 60


# ---- the measured pace -------------------------------------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch):
    """Measuring takes small networks, and no speed is given."""
    monkeypatch.delenv("LMGEN_SPEED")
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    tiny = NetworkConfig(5, size=4, embedding=3, carry=True)
    monkeypatch.setattr(measured, "NETWORKS", dict.fromkeys(measured.NETWORKS, tiny))
    monkeypatch.setattr(measured, "SECONDS", 0)
    monkeypatch.setattr(measured, "BUSY", 0)


def test_the_pace_is_measured_once(small, monkeypatch):
    """A short budget cannot spare the time, and takes an estimate until another training has measured."""
    assert measured.pace(5).source == "estimated"
    assert measured.pace(None).source == "estimated"
    first = measured.pace(3600)
    assert first.source == "measured on this machine"
    assert all(0 < factor < np.inf for factor in (first.small, first.large, first.head))
    monkeypatch.setattr(measured, "measure", None)  # is not called again
    assert measured.pace(3600) == measured.pace(5) == first


@pytest.mark.parametrize(
    "content", ["", "{}", "[1]", '{"small": 1, "large": 2, "head": NaN}', '{"small": 1, "large": 2, "head": 0}', "9" * 5000]
)
def test_a_damaged_measurement_is_made_anew(small, content):
    first = measured.pace(3600)
    (file,) = measured.devices.compiled_programs().glob("pace-*.json")
    file.write_text(content)
    assert measured.pace(5).source == "estimated"
    assert measured.pace(3600).source == first.source
    assert json.loads(file.read_text()).keys() == measured.NETWORKS.keys()


@pytest.mark.parametrize("given", ["fast", "0", "nan", "1e9", "-1"])
def test_a_speed_that_is_none_is_refused(monkeypatch, given):
    monkeypatch.setenv("LMGEN_SPEED", given)
    with pytest.raises(InputError, match="LMGEN_SPEED"):
        measured.pace(60)


def test_a_given_speed_counts_for_all_parts(monkeypatch):
    monkeypatch.setenv("LMGEN_SPEED", "4")
    found = measured.pace(3600)
    assert (found.small, found.large, found.head) == (0.25, 0.25, 0.25)
