"""Trainings on graphs: resumed to the bit, options that reach the network, the commands from a file to its predictions."""

from __future__ import annotations

import json

import numpy as np
import pytest
from exact import advance, everything

import lmgen
from lmgen.errors import InputError
from lmgen.models.provenance import TextSettings
from lmgen.training import run

SMALL = {"size": 8, "embedding": 6, "rounds": 2, "batch": 8, "window": 6, "learning_rate": 1e-2}


def records(count=700, several=False):
    """Chains of colours: a label by the first two colours, a tag by the colour of the node before."""
    random, found = np.random.default_rng(0), []
    for k in range(count):
        colours = random.choice(["red", "green", "blue"], random.integers(2, 8)).tolist()
        edges = [[v, v + 1, "next"] for v in range(len(colours) - 1)]
        label = "same" if colours[0] == colours[1] else "other"
        labels = {"labels": [label] * (k % 3) + ["odd"] * (k % 2)} if several else {"label": label}
        found.append({"nodes": colours, "edges": edges, "directed": True, "tags": [None, *colours[:-1]], **labels})
    return found


@pytest.fixture
def chains(tmp_path):
    path = tmp_path / "chains.jsonl"
    path.write_text("".join(f"{json.dumps(one)}\n" for one in records()))
    return path


@pytest.mark.parametrize("several", [False, True])
def test_resume_is_exact_to_the_bit(tmp_path, several):
    """40 steps at once = 17 steps, a stop, a resume, the rest: with dropout, over the end of an epoch, with validations."""
    path = tmp_path / "g.jsonl"
    path.write_text("".join(f"{json.dumps(one)}\n" for one in records(several=several)))
    text, options = TextSettings((str(path),), form="graph", task="graph"), {**SMALL, "batch": 20, "dropout": 0.3, "steps": 40}
    advance(run.new(tmp_path / "whole", text, **options))
    advance(run.new(tmp_path / "parts", text, **options), 17)
    resumed, complaints = run.resume(tmp_path / "parts")
    assert (resumed.progress.step, complaints, resumed.network.several) == (17, [], several)
    assert resumed.training.batches.per_epoch < 40
    advance(resumed)
    assert everything(tmp_path / "parts") == everything(tmp_path / "whole")
    assert any("valid_nats" in line for line in everything(tmp_path / "whole")["lines"])


def test_the_data_decide_the_task_and_options_reach_the_network(chains, tmp_path):
    model = lmgen.train(chains, output=tmp_path / "m", **SMALL, cell="lstm", dropout=0.1, steps=2)
    config = model.lm.config
    assert (config.task, config.cell, config.rounds, config.size, config.dropout) == ("graph", "lstm", 2, 8, 0.1)
    assert (config.labels, config.tags, config.edges) == (("other", "same"), ("blue", "green", "red"), ("next",))
    plain = lmgen.train(chains, output=tmp_path / "p", task="language", size=8, embedding=4, batch=4, window=8, steps=1)
    assert not plain.predicts


def test_graphs_without_a_label_are_read_and_not_counted(tmp_path):
    """Neither by training, nor by eval, nor by the rules beside it: their label is unknown."""
    some = [{**one, "tags": None} for one in records()]
    for one in some[::4]:
        del one["label"]
    (path := tmp_path / "g.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in some))
    model = lmgen.train(path, output=tmp_path / "m", **SMALL, steps=2)
    assert not model.lm.config.several
    (card,) = model.cards(path)
    assert (card.sequences, card.labels.count) == (700, 525)
    assert [rule.name for rule in card.labels.baselines] == ["majority", "bag of nodes"]
    assert card.labels.baselines[0].value > 0.4


@pytest.mark.parametrize("option", ["layers", "residual", "layer_norm", "tie", "pool", "balance"])
def test_options_of_other_models_are_refused(chains, tmp_path, option):
    with pytest.raises(InputError, match=f"a network of graphs has no {option.replace('_', '-')}: leave that out"):
        lmgen.train(chains, output=tmp_path / "m", steps=1, **{option: {"layers": 2, "pool": "mean"}.get(option, True)})
    assert not (tmp_path / "m").exists()


def test_other_models_have_no_rounds(words_file):
    with pytest.raises(InputError, match="--rounds is a setting of lstm-mogrifier, and the cell is lstm"):
        lmgen.train(words_file, rounds=3, steps=1, task="language")


def test_from_a_file_to_predictions_by_commands(lmgen, chains):
    small = [word for name, value in SMALL.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    code, _, err = lmgen("train", chains, "-o", "m", "--steps", "150", *small)
    assert (code, "chains.jsonl has JSON objects with nodes and edges: learning to label graphs" in err) == (0, True)
    code, out, _ = lmgen("eval", "m", chains, "--json")
    found = json.loads(out)
    assert (code, found["sequences"], found["symbols"]) == (0, 700, sum(len(one["nodes"]) for one in records()))
    rules = {rule["name"]: rule["value"] for rule in found["tags"]["baselines"]}
    assert found["tags"]["accuracy"] > 0.9 > 0.6 > max(rules.values())
    assert {"majority", "bag of nodes"} == {rule["name"] for rule in found["labels"]["baselines"]}
    line = json.dumps({"nodes": ["red", "blue"], "edges": [[0, 1, "next"]], "directed": True})
    code, out, _ = lmgen("predict", "m", stdin=line)
    head, *columns = out.splitlines()
    assert head.split("\t")[0].split(": ")[1] in ("same", "other")
    assert [row.split("\t")[:2] for row in columns if row][1] == ["blue", "red"]
    code, out, _ = lmgen("predict", "m", "--json", stdin=line)
    assert json.loads(out)["nodes"] == ["red", "blue"]
    code, _, err = lmgen("predict", "m", stdin="{}")
    assert (code, "graph 1: no nodes" in err) == (2, True)
    assert lmgen("show", "m")[0] == lmgen("eval", "m")[0] == 0
