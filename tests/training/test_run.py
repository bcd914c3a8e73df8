"""Trainings in a directory: resumed to the bit, killed at any moment, stopped early, the same from the same seed."""

from __future__ import annotations

import json
import os
from contextlib import closing
from dataclasses import replace
from itertools import chain, repeat
from pathlib import Path

import numpy as np
import pytest
from exact import advance, everything

import lmgen
from lmgen.data.split import WHOLE
from lmgen.defaults import language
from lmgen.errors import CheckpointError, DivergedError, InputError
from lmgen.models import provenance
from lmgen.system import arrayfile, checkpoint, lock, trees
from lmgen.training import run

SMALL = {"size": 12, "embedding": 6, "batch": 4, "window": 8, "learning_rate": 1e-2}


def settings(*files: Path, valid: tuple[str, ...] = (), sequence: str = "line") -> provenance.TextSettings:
    return provenance.TextSettings(tuple(map(str, files)), valid, sequence, "utf-8", "strict")


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("unit", ["char", "word"])
@pytest.mark.parametrize("carry", [False, True])
def test_resume_is_exact_to_the_bit(tmp_path, words_file, cell, unit, carry):
    """70 steps at once = 23 steps, a stop, a resume, the rest: with dropout, over the ends of epochs (of about 36 steps)."""
    if unit == "word":
        words = words_file.read_text().split()
        words_file.write_text("".join(" ".join(words[k : k + 4]) + "\n" for k in range(0, 300, 2)))
    options = {**SMALL, "unit": unit, "carry": carry, "cell": cell, "layers": 2, "dropout": 0.3, "steps": 70, "tie": False}
    advance(run.new(tmp_path / "whole", settings(words_file), **options))
    advance(run.new(tmp_path / "parts", settings(words_file), **options), 23)
    resumed, complaints = run.resume(tmp_path / "parts")
    assert (resumed.progress.step, complaints) == (23, [])
    advance(resumed)
    assert everything(tmp_path / "parts") == everything(tmp_path / "whole")


@pytest.mark.parametrize(
    "network",
    [
        {"direction": "both"},
        {"cell": "narx", "layers": 3},
        {"cell": "min-lstm", "carry": True},
        {"cell": "transformer", "carry": True, "heads": 3, "context": 5},
        {"unit": "word", "input": "hash", "tie": True, "embedding": None},
    ],
)
def test_resume_of_other_networks_is_exact_to_the_bit(tmp_path, words_file, network):
    """States of other shapes, norms, a second stack, words with their letters."""
    options = {**SMALL, **network, "dropout": 0.3, "steps": 50}
    advance(run.new(tmp_path / "whole", settings(words_file), **options))
    advance(run.new(tmp_path / "parts", settings(words_file), **options), 23)
    advance(run.resume(tmp_path / "parts")[0])
    assert everything(tmp_path / "parts") == everything(tmp_path / "whole")


def test_a_resumed_training_keeps_its_precision(tmp_path, words_file, monkeypatch):
    """Whatever auto means by now."""
    monkeypatch.setattr(run, "precision_of", lambda *_: "f32")
    advance(run.new(tmp_path / "m", settings(words_file), **{**SMALL, "precision": "auto"}, steps=4), 2)
    monkeypatch.setattr(run, "precision_of", lambda *_: "bf16")
    resumed, _ = run.resume(tmp_path / "m")
    assert resumed.config.precision == "f32"


def test_the_seed_decides(tmp_path, words_file):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        advance(run.new(tmp_path / name, settings(words_file), **SMALL, steps=20, seed=seed, dropout=0.2))
    a, b, c = (everything(tmp_path / name)["arrays"] for name in "abc")
    assert a == b
    assert a != c


def test_a_damaged_snapshot_falls_back_to_the_one_before(tmp_path, words_file):
    advance(run.new(tmp_path / "m", settings(words_file), **SMALL, steps=300))
    newest, before = checkpoint.snapshots(tmp_path / "m")
    newest.write_bytes(newest.read_bytes()[:-1])
    resumed, complaints = run.resume(tmp_path / "m")
    assert f"step-{resumed.progress.step:08d}" == before.stem
    assert len(complaints) == 1
    assert "damaged" in complaints[0]
    for snapshot in checkpoint.snapshots(tmp_path / "m"):
        snapshot.unlink()
    with pytest.raises(CheckpointError, match="no snapshot"):
        run.resume(tmp_path / "m")


def test_a_changed_text_is_refused_with_both_fingerprints(tmp_path, words_file):
    advance(run.new(tmp_path / "m", settings(words_file), **SMALL, steps=10))
    words_file.write_text(words_file.read_text() + "more\n")
    with pytest.raises(InputError, match=r"sha256 \w{12} then, \w{12} now"):
        run.resume(tmp_path / "m")
    assert run.resume(tmp_path / "m", changed_text=True)[0].progress.step == 10
    words_file.unlink()
    with pytest.raises(InputError, match="is missing: name a file"):
        run.resume(tmp_path / "m")


def test_a_finished_training_can_be_given_more(tmp_path, words_file):
    advance(run.new(tmp_path / "m", settings(words_file), **SMALL, steps=10))
    assert [r.step for r in run.resume(tmp_path / "m")[0]] == []
    assert [r.step for r in run.resume(tmp_path / "m", steps=14)[0]] == [11, 12, 13, 14]


def test_training_stops_early_and_keeps_the_best(tmp_path, words_file):
    """Validation text unlike the training text gets worse before long; the model kept is that of the best validation."""
    other = tmp_path / "other.txt"
    other.write_text("zzz\nzz\n" * 40)
    text = settings(words_file, valid=(str(other),))
    training = advance(run.new(tmp_path / "m", text, **{**SMALL, "size": 32}, steps=4000, patience=2, mixture=False))
    assert "nothing better" in training.progress.finished
    assert training.progress.step < 4000
    lines = [json.loads(line) for line in (tmp_path / "m" / "metrics.jsonl").read_text().splitlines()]
    best = min(line["valid_nats"] for line in lines if "valid_nats" in line)
    assert lmgen.load(tmp_path / "m").evaluate(other).nats_per_symbol == pytest.approx(best, rel=1e-6)


def test_a_training_that_diverges_stops_and_keeps_the_last_good_model(tmp_path, words_file):
    training = run.new(tmp_path / "m", settings(words_file), **SMALL, steps=700)

    def poison() -> None:
        for report in training:
            if report.step == 300:
                state = training.training.state
                broken = {**state.params, "embedding": state.params["embedding"] * np.nan}
                training.training.state = state._replace(params=broken)

    with pytest.raises(DivergedError, match="smaller --learning-rate"):
        poison()
    assert np.isfinite(lmgen.load(tmp_path / "m").evaluate().nats)


@pytest.mark.parametrize("keep", ["best", "last"])
def test_the_weights_that_are_kept_are_those_asked_for(tmp_path, words_file, keep):
    """After a training whose first validation is its best: the last weights are those of the snapshot."""
    training = run.new(tmp_path / "m", settings(words_file), **SMALL, steps=500, keep=keep, mixture=False)
    told = chain([1.0, 2.0], repeat(3.0))
    training.training.validate = lambda params: next(told)
    advance(training)
    about = arrayfile.read_about(tmp_path / "m" / "model.safetensors", "model")
    snapshot, _ = arrayfile.read_arrays(checkpoint.snapshots(tmp_path / "m")[0], "training")
    kept, _ = arrayfile.read_arrays(tmp_path / "m" / "model.safetensors", "model")
    same = all((kept[name] == snapshot[f"params/{name}"]).all() for name in kept)
    assert (about["valid_nats"], same) == ((1.0, False) if keep == "best" else (3.0, True))
    assert (about["step"] == 500) == (keep == "last")


def test_an_end_that_lies_behind_is_refused_and_changes_nothing(tmp_path, words_file):
    advance(run.new(tmp_path / "m", settings(words_file), **SMALL, steps=20))
    before = everything(tmp_path / "m"), (tmp_path / "m" / "config.json").read_bytes()
    for end in ({"steps": 20}, {"steps": 3}, {"epochs": 0.01}, {"budget": 1e-6}):
        with pytest.raises(InputError, match=r"trained for 20 steps in \d+ s, so it is past that end: give a later one"):
            run.resume(tmp_path / "m", **end)
    assert (everything(tmp_path / "m"), (tmp_path / "m" / "config.json").read_bytes()) == before
    with pytest.raises(InputError, match=r"give a later one, such as --budget \d+s$") as refused:
        run.resume(tmp_path / "m", budget=1e-6)
    assert not run.resume(tmp_path / "m", budget=float(str(refused.value).split()[-1][:-1]))[0].training.over
    finished, _ = run.resume(tmp_path / "m")
    assert finished.progress.finished == "all steps were taken"
    assert list(finished) == []


def test_devices_that_cannot_share_the_batch_are_refused_with_a_number_that_can(tmp_path, words_file, monkeypatch):
    """A resumed training takes no other --batch."""
    advance(run.new(tmp_path / "m", settings(words_file), **{**SMALL, "batch": 9}, steps=4), 2)
    monkeypatch.setattr("jax.device_count", lambda: 4)
    with pytest.raises(InputError, match=r"4 devices cannot share a batch of 9, .*: go on with 3$"):
        run.resume(tmp_path / "m")


def test_config_json_keeps_what_a_resume_changed(tmp_path, words_file):
    """The new end, and the new place of the text; the weights before stay tied to the file, and so do those after."""
    advance(run.new(tmp_path / "m", settings(words_file), **SMALL, steps=20))
    moved = words_file.rename(tmp_path / "moved.txt")
    resumed, _ = run.resume(tmp_path / "m", settings(moved), steps=30)
    kept = json.loads((tmp_path / "m" / "config.json").read_text())
    assert (kept["train"]["steps"], kept["text"]["files"]) == (30, [str(moved)])
    assert lmgen.load(tmp_path / "m").evaluate().symbols > 0
    assert run.resume(tmp_path / "m")[0].progress.step == 20
    advance(resumed)
    assert lmgen.load(tmp_path / "m").evaluate().symbols > 0
    assert run.resume(tmp_path / "m")[0].config.steps == 30


@pytest.mark.parametrize("change", [("model", "tie", True), ("text", "encoding", "latin-1"), ("train", "steps", 21)])
def test_config_json_with_other_content_is_refused(tmp_path, words_file, change):
    """Also where whoever changed it left what weights are tied to as it was: the file holds a hash of itself."""
    advance(run.new(tmp_path / "m", settings(words_file), **SMALL, steps=20))
    section, name, value = change
    file = tmp_path / "m" / "config.json"
    content = json.loads(file.read_text())
    content[section][name] = value
    file.write_text(json.dumps(content, indent=1) + "\n")
    with pytest.raises(CheckpointError, match="damaged or of another model"):
        lmgen.load(tmp_path / "m")


@pytest.mark.parametrize("size", [5_050, 5_200, 5_400, 5_800])
def test_what_was_held_out_is_held_out_again(tmp_path, size):
    """Also where a tenth of the lines is too few, so that the tail was taken: eval and resume read what validated."""
    draw = np.random.default_rng(size)
    text = tmp_path / "t.txt"
    text.write_text("\n".join("".join(draw.choice([*"abcde"], draw.integers(3, 200))) for _ in range(90))[:size])
    training = advance(run.new(tmp_path / "m", settings(text), **SMALL, steps=3))
    again = lmgen.load(tmp_path / "m").lm.origin.data
    resumed = run.resume(tmp_path / "m")[0].data
    for data in (again, resumed):
        assert data.split == training.data.split
        assert data.train.stream.tolist() == training.data.train.stream.tolist()


def test_another_text_has_a_best_of_its_own(tmp_path, words_file):
    """With --changed-text: what was best on the text before says nothing, nor do its fingerprints."""
    advance(run.new(tmp_path / "m", settings(words_file), **SMALL, steps=250))
    words_file.write_text("".join(f"{word[::-1]}x\n" for word in words_file.read_text().split()))
    resumed, _ = run.resume(tmp_path / "m", settings(words_file), changed_text=True, steps=300)
    assert resumed.progress.best_nats is None
    advance(resumed)
    model = lmgen.load(tmp_path / "m")
    assert model.evaluate().symbols == resumed.data.valid.symbols
    assert (model.lm.known == resumed.data.known).all()


def test_a_link_or_a_pipe_in_place_of_the_metrics_is_refused(tmp_path, words_file, lmgen):
    advance(run.new(tmp_path / "m", settings(words_file), **SMALL, steps=20))
    file = tmp_path / "m" / "metrics.jsonl"
    file.unlink()
    file.symlink_to(tmp_path / "outside")
    with pytest.raises(CheckpointError):
        run.resume(tmp_path / "m", steps=30)
    assert not (tmp_path / "outside").exists()
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(CheckpointError):
        run.resume(tmp_path / "m", steps=30)
    assert lmgen("show", tmp_path / "m")[0] == 0
    file.unlink()
    file.write_text(
        '{"step": 1, "valid_nats": 1e999}\n{"step": 2, "valid_nats": 1' + "0" * 400 + '}\n{"step": 3, "valid_nats": NaN}\n'
    )
    assert lmgen("show", tmp_path / "m")[0] == 0


def test_a_small_text_is_learnt_whole(tmp_path):
    """Nothing is held out of 20 lines, so nothing is validated, and the last weights are the model; eval asks for a file."""
    lines = tmp_path / "poem.txt"
    lines.write_text("".join(f"and the rain it raineth every day, said line {k}\n" for k in range(20)))
    training = run.new(tmp_path / "m", settings(lines), **SMALL)
    assert (training.data.valid, training.config.steps, training.text.split) == (None, language.LEAST_STEPS, WHOLE)
    advance(training, steps=30)
    resumed, _ = run.resume(tmp_path / "m")
    assert resumed.data.valid is None
    with pytest.raises(InputError, match="no text was held out"):
        lmgen.load(tmp_path / "m").evaluate()


def test_metrics_lines_hold_what_scripts_read(tmp_path, words_file):
    advance(run.new(tmp_path / "m", settings(words_file), **SMALL, steps=30))
    lines = [json.loads(line) for line in (tmp_path / "m" / "metrics.jsonl").read_text().splitlines()]
    names = {"step", "symbols", "seconds", "train_nats", "gradient_norm", "learning_rate", "symbols_per_second"}
    assert all(names <= line.keys() and line["gradient_norm"] > 0 for line in lines)
    assert lines[-1]["step"] == 30
    assert lines[-1]["symbols"] == 30 * 4 * 8
    assert lines[-1]["valid_nats"] > 0


def test_two_trainings_cannot_share_a_directory(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with lock.locked(tmp_path), pytest.raises(InputError, match=f"process {os.getpid()}"), lock.locked(tmp_path):
        pass
    with lock.locked(tmp_path):
        pass


@pytest.mark.parametrize("lines", [1, 2, 10])
@pytest.mark.parametrize("sequence", ["line", "paragraph", "file"])
@pytest.mark.parametrize("carry", [False, True])
def test_tiny_texts_train(tmp_path, lines, sequence, carry):
    path = tmp_path / "tiny.txt"
    path.write_text("ab\n\n" * lines)
    advance(run.new(tmp_path / "m", settings(path, sequence=sequence), size=4, embedding=2, steps=2, carry=carry))
    assert np.isfinite(lmgen.load(tmp_path / "m").evaluate(path).nats)


def test_paragraphs_and_files_come_back_with_their_lines(tmp_path):
    """A model that has learnt one poem by heart writes it, lines and all."""
    poem = "one\ntwo\nthree"
    path = tmp_path / "poem.txt"
    path.write_text(f"{poem}\n\n\n" * 5)
    advance(
        run.new(tmp_path / "m", settings(path, sequence="paragraph"), size=32, steps=150, batch=2, window=16, learning_rate=2e-2)
    )
    (one,) = lmgen.load(tmp_path / "m").sample(1, temperature=0)
    assert (one.text, one.known, one.ended) == (poem, True, True)


def test_a_stable_run_is_described_by_its_directory(tmp_path, words_file):
    advance(run.new(tmp_path / "m", settings(words_file), **SMALL, steps=5))
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    assert config["model"]["size"] == 12
    assert config["text"]["files"] == [str(words_file)]
    card = (tmp_path / "m" / "README.md").read_text()
    assert "words.txt" in card
    assert words_file.read_text().split()[0] not in card
    model = lmgen.load(tmp_path / "m")
    assert replace(model.lm.config) == run.resume(tmp_path / "m")[0].network


def test_a_card_shows_names_that_a_terminal_would_act_on_with_question_marks(tmp_path, words_file):
    text = words_file.rename(tmp_path / "na\x1b[31m\n| x |mes.txt")
    lmgen.train(text, output=tmp_path / "m\x1b\n## x", cell="ngram", order=2)
    (card,) = tmp_path.glob("m*/README.md")
    lines = card.read_text().splitlines()
    assert lines[0] == "# m??## x"
    assert "| text | na?[31m?· x ·mes.txt |" in lines


def test_a_model_and_its_resume_read_the_text_as_it_was_read(tmp_path, words_file):
    """Named again at another place, with its validation text; a changed validation text is noticed."""
    valid = tmp_path / "valid.txt"
    valid.write_text("ba\nbe\n\nki\n")
    text = settings(words_file, valid=(str(valid),), sequence="paragraph")
    first = advance(run.new(tmp_path / "m", text, **SMALL, steps=4))
    moved = words_file.rename(tmp_path / "moved.txt")
    resumed, _ = run.resume(tmp_path / "m", settings(moved))
    assert (resumed.text.sequence, resumed.data.valid.sequences) == ("paragraph", 2)
    assert resumed.data.train.symbols == first.data.train.symbols
    valid.write_text("ba\n")
    with pytest.raises(InputError, match="has changed"):
        run.resume(tmp_path / "m", settings(moved))


def test_a_training_without_validation_is_saved_as_it_goes(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "SAVE_SECONDS", 0)
    path = tmp_path / "tiny.txt"
    path.write_text("abc\n")
    training = run.new(tmp_path / "m", settings(path), **SMALL, steps=10)
    with closing(iter(training)) as reports:
        next(reports)
        next(reports)
    assert run.resume(tmp_path / "m")[0].progress.step >= 1


def test_one_absurd_update_spoils_nothing(tmp_path, words_file):
    """A learning rate at which the first update overflows: it is left out, and the training ends with exit code 4."""
    training = run.new(tmp_path / "m", settings(words_file), **{**SMALL, "learning_rate": 1e39}, steps=100)
    with pytest.raises(DivergedError):
        advance(training)
    assert all(np.isfinite(leaf).all() for leaf in trees.flatten(training.training.state.params).values())


@pytest.mark.parametrize(("layers", "deep"), [(1, False), (2, False), (3, True), (6, True)])
def test_deep_stacks_get_what_makes_them_train(tmp_path, words_file, layers, deep):
    """Residual connections and layer norm, if nothing else is asked for."""
    network = run.new(tmp_path / "chosen", settings(words_file), **SMALL, layers=layers, steps=1).network
    assert (network.residual, network.layer_norm) == (deep, deep)
    asked = {"residual": not deep, "layer_norm": False}
    network = run.new(tmp_path / "asked", settings(words_file), **SMALL, **asked, layers=layers, steps=1).network
    assert (network.residual, network.layer_norm) == (not deep, False)
