"""How much of a measured text a model was trained on: for every structure of data, against a count by brute force."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import lmgen as library
from support import invented_words

WORDS = invented_words(600)
LINES = {
    "labels": [f"{'ab'[k % 2]}\t{word}" for k, word in enumerate(WORDS)],
    "pairs": [f"{word} and\t{word[::-1]} too" for word in WORDS],
    "trees": [f"({k % 2} (0 {word}) (1 {word[:3]}))" for k, word in enumerate(WORDS)],
    "graphs": [json.dumps({"nodes": [*word], "edges": [[0, 1]], "label": "ab"[k % 2]}) for k, word in enumerate(WORDS)],
    "writer": [f"{'ab'[k % 2]}\t{word}" for k, word in enumerate(WORDS)],
}
OTHERS = {"labels": "a\tnever", "pairs": "never and\tno", "trees": "(1 (0 never) (1 no))", "writer": "a\tnever"}
OTHERS["graphs"] = json.dumps({"nodes": ["x", "y"], "edges": [], "label": "a"})


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A model of each structure, trained for a step, beside its text."""
    folder = tmp_path_factory.mktemp("overlap")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        for name, lines in LINES.items():
            (folder / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines))
            task = {"pairs": "translate", "writer": "generate"}.get(name)
            small = {"size": 4, "embedding": 4, "steps": 1, "batch": 4, "task": task}
            library.train(folder / f"{name}.txt", output=folder / name, **small)
    return folder


def overlap(folder: Path, name: str, *files: Path):
    model = library.load(folder / name)
    if name == "writer":
        ((_, (every, *rows)),) = model.by_label(*files)
        assert "overlap" not in rows[0].as_dict()
        return every.overlap
    (card,) = model.cards(*files)
    assert card.as_dict()["overlap"] == (card.overlap and vars(card.overlap))
    return card.overlap


@pytest.mark.parametrize("name", LINES)
def test_the_overlap_is_what_was_trained_on(home, name, tmp_path):
    known = {one.joined for one in library.load(home / name).lm.training_examples()}
    assert 500 < len(known) < 600
    held_out = overlap(home, name)
    assert (held_out.sequences, held_out.known) == (600 - len(known), 0)
    mixed = tmp_path / "mixed.txt"
    mixed.write_text("".join(f"{line}\n" for line in [*LINES[name], OTHERS[name], LINES[name][0]]))
    examples = library.load(home / name).lm.examples_of([mixed])
    wanted = sum(one.joined in known for one in examples)
    found = overlap(home, name, mixed)
    assert (found.sequences, found.known, found.share) == (602, wanted, wanted / 602)


@pytest.mark.parametrize("name", LINES)
def test_eval_prints_it(home, name, lmgen):
    code, out, _ = lmgen("eval", home / name)
    assert code == 0
    assert "(0.00%) are in the training text" in out


def test_without_the_training_text_there_is_none(home, tmp_path):
    text = home / "labels.txt"
    copy = tmp_path / "copy.txt"
    copy.write_text(text.read_text())
    text.rename(tmp_path / "away.txt")
    try:
        assert overlap(home, "labels", copy) is None
    finally:
        (tmp_path / "away.txt").rename(text)
