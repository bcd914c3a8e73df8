"""lmgen tune: what a user sees, that the model is the one that train makes, that a study goes on, and a sentence for mistakes."""

from __future__ import annotations

import json
import re
import signal
import sys
import time
from pathlib import Path

import pytest

from lmgen.options import commands
from lmgen.training.tuning import study as studies
from lmgen.training.tuning import tune
from support import ROOT, on_a_terminal, started

pytest.importorskip("optuna")
FIXED = ("--size", "8", "--layers", "1", "--batch", "4", "--window", "8", "--embedding", "6", "--precision", "f32", "--no-skip")
TINY = (*FIXED, "--steps", "27", "--trials", "4")
SHORT = (*FIXED, "--steps", "9", "--trials", "3")


def objects(out: str) -> list[dict]:
    return [json.loads(line) for line in out.splitlines()]


def without_seconds(out: str) -> str:
    return re.sub(r'"seconds": [\d.e-]+', "", out)


def test_the_model_is_the_best_trial_to_the_bit(lmgen, words_file):
    """It is what lmgen train makes with the options that the trial shows, and the table lists every trial, the best first."""
    code, out, err = lmgen("tune", words_file, *TINY, "--json")
    assert code == 0, err
    *trials, end = objects(out)
    assert [len(trial["results"]) for trial in trials] == sorted((len(trial["results"]) for trial in trials), reverse=True)
    assert {trial["trial"] for trial in trials} == {0, 1, 2, 3}
    assert end["lengths"] == [3, 9, 27]
    assert end["last"] is None
    assert Path(end["model"]) == Path("checkpoints/words")
    best = trials[0]["results"][-1]
    flags = []
    for name, value in best["options"].items():
        flag = name.replace("_", "-")
        flags += [f"--{flag}" if value else f"--no-{flag}"] if isinstance(value, bool) else [f"--{flag}", str(value)]
    assert lmgen("train", words_file, *FIXED, "--steps", "27", *flags, "-o", "again", "-q")[0] == 0
    one, other = Path("checkpoints/words"), Path("again")
    assert (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
    assert (one / "mixture.safetensors").exists() == (other / "mixture.safetensors").exists()
    shown = json.loads(lmgen("show", "words", "--json")[1])
    assert shown["valid_nats"] == pytest.approx(best["nats"])
    assert "# words" in Path("checkpoints/words/README.md").read_text()
    assert lmgen("sample", "words", "-n", "2")[0] == 0
    assert sorted(path.name for path in Path("checkpoints").iterdir()) == ["words", "words.tune"]
    assert sorted(path.name for path in Path("checkpoints/words.tune").iterdir()) == ["study.json", "train"]


def test_what_a_user_sees(lmgen, words_file):
    code, out, err = lmgen("tune", words_file, *TINY, "-o", "m")
    assert code == 0, err
    head, _, *rows = out.splitlines()
    assert head.split() == ["trial", "nats", "trained", "for", "not", "as", "planned"]
    assert len(rows) == 4
    assert any(row.endswith("the plan") for row in rows)
    assert (
        "up to 4 trials, each trained for 3 steps and, while it is among the best third, for 9 steps and 27 steps, in m.tune"
        in err
    )
    assert re.search(r"trial 0 after 27 steps: \d\.\d+ nats \(.* bits/char\), the best so far; the plan", err)
    assert err.splitlines()[-1] == "    lmgen eval m FILE"
    again = lmgen("tune", "--resume", "m")
    assert again[:2] == (0, out), "a study at its end is shown again"


@pytest.mark.slow
def test_the_same_seed_gives_the_same_study_and_an_option_that_is_given_stays(lmgen, words_file):
    words = ("tune", words_file, *SHORT, "--dropout", "0.1", "--json", "--quiet")
    one, other = (lmgen(*words, "-o", name)[1] for name in ("one", "other"))
    assert without_seconds(one).replace('"one"', "") == without_seconds(other).replace('"other"', "")
    assert not any({"dropout", "size"} & result["options"].keys() for trial in objects(one)[:-1] for result in trial["results"])


def test_nothing_is_overwritten(lmgen, words_file):
    words = ("tune", words_file, *FIXED, "--steps", "3", "--trials", "1", "-q")
    assert lmgen(*words)[0] == 0
    before = Path("checkpoints/words/model.safetensors").read_bytes()
    assert lmgen(*words)[0] == 0
    assert Path("checkpoints/words-2/model.safetensors").exists()
    assert Path("checkpoints/words/model.safetensors").read_bytes() == before
    code, _, err = lmgen(*words, "-o", "checkpoints/words")
    assert code == 2
    assert "nothing is overwritten" in err
    (Path("checkpoints") / "words").rename("elsewhere")
    code, _, err = lmgen(*words, "-o", "checkpoints/words")
    assert code == 2
    assert "holds a study: go on with lmgen tune --resume" in err


@pytest.mark.posix
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGKILL, -9), *(pytest.param(*one, marks=pytest.mark.slow) for one in ((signal.SIGTERM, 75), (signal.SIGINT, 130)))],
)
def test_a_study_that_is_stopped_goes_on_and_ends_as_if_it_had_not_been(lmgen, words_file, number, code):
    words = (words_file, *SHORT, "--json")
    whole = started("tune", *words, "-o", "whole", stdout=-1, text=True).communicate()[0]
    process = started("tune", *words, "-o", "m", stderr=-1, text=True)
    path = Path("m.tune/study.json")
    while process.poll() is None and not (path.exists() and json.loads(path.read_text())["trials"]):
        time.sleep(0.01)
    process.send_signal(number)
    _, err = process.communicate(timeout=300)
    if process.returncode:  # else it was faster
        assert process.returncode == code, err
        assert "Traceback" not in err
        if code > 0:
            assert "go on with: lmgen tune --resume m" in err.splitlines()[-1]
        assert not Path("m").exists()
    out = started("tune", "--resume", "m", "--json", stdout=-1, text=True).communicate()[0]
    assert without_seconds(out).replace('"m"', "") == without_seconds(whole).replace('"whole"', "")
    assert Path("m/model.safetensors").read_bytes() == Path("whole/model.safetensors").read_bytes()


@pytest.fixture
def short(monkeypatch):
    """Budgets of seconds are long enough."""
    monkeypatch.setattr(tune, "LEAST_BUDGET", 1.0)
    monkeypatch.setattr(tune, "LEAST", 0.5)


def test_a_budget_ends_with_a_training_of_the_best_that_can_be_stopped_and_goes_on(lmgen, words_file, short, monkeypatch):
    stop = [True]

    class Stopping(tune.Observer):
        def __init__(self, *_: object):
            self.is_last = False

        def last(self, study, trial, seconds):
            self.is_last = True

        def watch(self, run):
            from contextlib import nullcontext

            return nullcontext(lambda report: not (self.is_last and stop[0] and report.step == 3))

        def stopped(self, run):
            raise KeyboardInterrupt

    from lmgen.options import table
    from lmgen.training.train import default_name

    given = {"size": 8, "batch": 4, "window": 8, "embedding": 6, "layers": 1, "budget": 6, "output": Path("m")}
    options = table.checked(given, True)
    how = (lambda: ((str(words_file),), ()), default_name([words_file]), options)
    with pytest.raises(KeyboardInterrupt):
        tune.tune(*how, Stopping())
    kept = studies.read(Path("m.tune"))
    assert kept.searched
    assert kept.best().results
    stop[0] = False
    path, study = tune.tune(lambda: ((), ()), "", table.checked({"resume": "m"}, True), Stopping())
    assert path == Path("m")
    assert study.trials == kept.trials
    assert study.last.nats is not None
    shown = json.loads(lmgen("show", "m", "--json")[1])
    assert shown["valid_nats"] == pytest.approx(min(study.last.nats, study.best().results[-1].nats))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("tune",), "there is no text to train on"),
        (("tune", "nosuch.txt", "--budget", "1h"), "nosuch.txt"),
        (("tune", "words.txt", "--budget", "5s"), "--budget is too short to compare trainings in"),
        (("tune", "words.txt", "--budget", "soon"), "is not a duration"),
        (("tune", "words.txt", "--budget", "1h", "--steps", "5"), "give one of them"),
        (("tune", "words.txt", "--trials", "0"), "--trials"),
        (("tune", "words.txt", "--trials", "3", "--cell", "ngram"), "nothing to plan: leave out --cell ngram"),
        (("tune", "words.txt", "--trials", "3", "--cell", "lstn"), "lstm"),
        (("tune", "poem.txt", "--trials", "3"), "there is no validation text to compare trainings on"),
        (("tune", "labels.tsv", "--trials", "3"), "only plain text can be tuned"),
        (("tune", "--resume", "nosuch"), "there is no study of nosuch"),
        (("tune", "words.txt", "--resume", "m"), "leave out the other options"),
        (("tune", "--resume", "m", "--trials", "3"), "leave out the other options"),
        (("tune", "--resume", "m", "--budget", "3h"), "leave out the other options"),
        (("tune", "words.txt", "--no-valid", "--trials", "3"), "--no-valid"),
    ],
)
def test_a_mistake_gets_one_sentence(lmgen, words_file, tmp_path, words, sentence):
    (tmp_path / "poem.txt").write_text("the rain it raineth every day\n" * 9)
    (tmp_path / "labels.tsv").write_text("".join(f"{'up' if k % 2 else 'down'}\tgo {k} steps\n" for k in range(60)))
    code, out, err = lmgen(*words)
    assert (code, out) == (2, "")
    assert sentence in err
    assert not Path("checkpoints").exists()


def test_everything_given_leaves_nothing_to_tune(lmgen, words_file):
    every = [f"--{name.replace('_', '-')}=0.1" for name in ("learning_rate", "weight_decay", "beta1", "dropout", "input_dropout")]
    every += [f"--{name}-dropout=0.1" for name in ("state", "weight", "embedding")]
    code, _, err = lmgen("tune", words_file, *TINY, *every, "--no-tie", "--no-layer-norm")
    assert code == 2
    assert "every option that could vary is given: leave one out" in err


def test_a_text_that_has_changed_is_not_tuned_on(lmgen, words_file, monkeypatch):
    assert lmgen("tune", words_file, *FIXED, "--steps", "3", "--trials", "1", "-o", "m", "-q")[0] == 0
    study = studies.read(Path("m.tune"))
    study.model = None
    study.save(Path("m.tune"))
    words_file.write_text(words_file.read_text() + "further\n")
    code, _, err = lmgen("tune", "--resume", "m")
    assert code == 2
    assert "the text has changed since m.tune was begun" in err
    words_file.unlink()
    code, _, err = lmgen("tune", "--resume", "m")
    assert code == 2
    assert "words.txt" in err


def test_without_optuna_the_pip_line_is_told(lmgen, words_file, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    code, _, err = lmgen("tune", words_file, *TINY)
    assert code == 2
    assert "pip install 'lmgen[tune]'" in err
    assert not Path("checkpoints").exists()


@pytest.mark.posix
def test_the_table_fits_a_narrow_terminal(words_file):
    seen = on_a_terminal("tune", words_file, *TINY, columns=60)
    table = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]|\r", "", seen)
    table = table[table.index("trial  ") :] if "trial  " in table else table
    rows = table[: table.index("lmgen eval")].split("\n")
    assert max(map(len, rows)) <= 60
    assert len(rows) >= 6


def test_the_options_are_those_of_train():
    """But for those that mean nothing here."""
    trained = {option.name: option for option in commands.TRAIN}
    own = {option.name for option in commands.TUNE if trained.get(option.name) != option}
    assert own == {"trials", "resume", "json"}


def test_the_page_names_every_choice_that_varies():
    from lmgen.training.tuning.space import SPACE

    page = (ROOT / "docs" / "tuning.md").read_text("utf-8")
    assert all(f"`--{choice.name.replace('_', '-')}`" in page for choice in SPACE)
