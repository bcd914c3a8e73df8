"""Two processes learn what one learns: losses to 1e-5, weights to 1e-4, after 50 steps in 32 bits."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import support

GOLDEN = Path(support.ROOT) / "tests" / "golden"
PLAIN = ["--size", "16", "--batch", "4", "--dropout", "0", "--precision", "f32", "--learning-rate", "0.01"]
# What a step draws at random, each process draws for itself: besides dropout, which symbols are read as unknown ones.
DRAWS_NOTHING = """
from lmgen.networks import translating, words
from lmgen.nn import model
model.BLANKED = translating.FORGOTTEN = words.FORGOTTEN = 0.0
"""
KINDS = {
    "lstm": ("words.txt", "--layers", "2"),
    "gru": ("words.txt", "--cell", "gru", "--carry"),
    "rows": ("words.txt", "--unit", "word", "--window", "4"),  # so few symbols that a gradient has only their rows
    "many rows": ("words.txt", "--unit", "word", "--window", "32"),  # … but those of both processes are more than all
    "letters": ("words.txt", "--unit", "word", "--input", "hash"),
    "transformer": ("words.txt", "--cell", "transformer"),
    "cloze": ("words.txt", "--direction", "both"),
    "tagger": ("tags.conll",),
    "classifier": ("labels.tsv", "--balance"),
    "writer": ("labels.tsv", "--task", "generate"),
    "translator": ("pairs.tsv",),
    "graphs": ("graphs.jsonl",),
    "trees": ("trees.txt",),
}
QUICK = ("lstm", "tagger")


def trained(folder: Path, *words: str) -> tuple[dict[str, np.ndarray], list[dict]]:
    """The weights and the lines of metrics.jsonl of a training."""
    (folder / "sitecustomize.py").write_text(DRAWS_NOTHING)
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": f"{folder}:{support.ROOT}"}
    process = support.started("train", *words, "--quiet", env=environment, stderr=-1, text=True)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    path = Path(words[words.index("--output") + 1])
    lines = (path / "metrics.jsonl").read_text().splitlines()
    return load_file(path / "model.safetensors"), [json.loads(line) for line in lines]


@pytest.mark.posix
@pytest.mark.parametrize("kind", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in KINDS])
def test_two_processes_learn_what_one_learns(tmp_path, kind):
    file, *words = KINDS[kind]
    window = [] if kind == "trees" else ["--window", "8"]
    words = [str(GOLDEN / file), *PLAIN, *window, *words, "--steps", "50", "--valid", str(GOLDEN / file)]
    (one, lines), (two, others) = (
        trained(tmp_path, *words, "--output", str(tmp_path / name), "--processes", name) for name in ("1", "2")
    )
    assert one.keys() == two.keys()
    for name in one:
        np.testing.assert_allclose(two[name], one[name], rtol=0, atol=1e-4, err_msg=name)
    for measure in ("train_nats", "valid_nats"):
        expected, found = ([line[measure] for line in some if measure in line] for some in (lines, others))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5, err_msg=measure)
        assert len(expected) >= 1
