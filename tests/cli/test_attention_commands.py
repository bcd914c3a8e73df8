"""Cells with attention from the command line: every command takes them as it takes a recurrent cell."""

from __future__ import annotations

import json

import pytest

TINY = [
    "--steps",
    "30",
    "--size",
    "8",
    "--layers",
    "2",
    "--heads",
    "2",
    "--context",
    "5",
    "--batch",
    "4",
    "--window",
    "8",
    "-o",
    "m",
]


@pytest.mark.parametrize("cell", ["attention", "transformer"])
def test_language_models_train_resume_sample_and_score(cell, lmgen, words_file):
    code, _, err = lmgen("train", words_file, "--cell", cell, *TINY)
    assert code == 0, err
    shown = json.loads(lmgen("show", "m", "--json")[1])
    assert [shown[name] for name in ("cell", "layers", "size", "context", "heads")] == [cell, 2, 8, 5, 2]
    assert lmgen("train", "--resume", "m", "--steps", "40")[0] == 0
    drawn = [lmgen("sample", "m", "-n", count, "--seed", "3")[1].splitlines() for count in ("4", "2")]
    assert len(drawn[0]) == 4
    assert drawn[1] == drawn[0][:2]
    scores = json.loads(lmgen("eval", "m", words_file, "--no-baselines", "--json")[1])
    word = words_file.read_text().split()[0]
    alone = json.loads(lmgen("score", "m", "--json", stdin=f"{word}\n")[1])
    assert scores["symbols"] > 1000
    assert alone["nats"] > 0


def test_cloze_models_fill_blanks(lmgen, words_file):
    assert lmgen("train", words_file, "--cell", "transformer", "--direction", "both", *TINY)[0] == 0
    word = words_file.read_text().split()[0]
    code, out, err = lmgen("fill", "m", f"{word[0]}_{word[2:]}", "-n", "3")
    assert code == 0, err
    assert len(out.splitlines()) == 3


def test_labelling_models_predict(lmgen, tmp_path):
    """Tags and labels; the first layer projects its inputs to the size."""
    rows = [{"tokens": ["to", city], "tags": ["O", "B-city"], "label": city} for city in ("Rome", "Oslo")] * 30
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, _, err = lmgen("train", tmp_path / "rows.jsonl", "--cell", "transformer", *TINY)
    assert code == 0, err
    found = json.loads(lmgen("predict", "m", "--json", stdin="to Rome\n")[1])
    assert len(found["tags"]) == 2


def test_options_of_attention_are_checked(lmgen, words_file):
    code, _, err = lmgen("train", words_file, "--context", "5", "-o", "m")
    assert code == 2
    assert "--context is a setting of attention, which lstm has not" in err
    code, _, err = lmgen("train", words_file, "--cell", "transformer", "--size", "8", "--heads", "3", "-o", "m")
    assert code == 2
    assert "--size 8 cannot be divided into 3 heads" in err
