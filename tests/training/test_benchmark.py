"""What the list of cells says they cost, by hand, and against the time loop itself."""

from __future__ import annotations

import json
import re

import jax
import pytest

from lmgen.nn.cells import CELLS
from lmgen.training import benchmark


@pytest.mark.parametrize(
    ("name", "weights", "vectors", "of_input", "of_state", "in_turn"),
    [
        ("lstm", 8, 4, 4, 4, 1),
        ("lstm-peephole", 8, 7, 4, 4, 1),
        ("gru", 6, 4, 3, 3, 1),
        ("gru-reset-before", 6, 3, 3, 3, 2),
        ("elman", 2, 1, 1, 1, 1),
        ("jordan", 3, 2, 1, 2, 2),
        ("tdnn", 5, 1, 5, 0, 0),
        ("narx", 9, 1, 5, 4, 1),
        ("min-lstm", 3, 3, 3, 0, 0),
        ("attention", 4, 6, 4, 0, 0),
        ("transformer", 12, 13, 12, 0, 0),
    ],
)
def test_costs_worked_by_hand(name, weights, vectors, of_input, of_state, in_turn):
    """An LSTM: four gates, each with a product of the input, one of the output before, and a bias."""
    cost = benchmark.cost(name)
    assert (cost.weights, cost.vectors) == (weights, vectors)
    assert (cost.of_input, cost.of_state, cost.in_turn) == (of_input, of_state, in_turn)


@pytest.mark.parametrize("name", CELLS)
def test_parameters_of_a_unit_are_those_of_a_layer(name):
    for size in (3, 16):
        layer = jax.eval_shape(lambda key, size=size: CELLS[name].init(key, size, size), jax.random.key(0))
        cost = benchmark.cost(name)
        assert size * (cost.weights * size + cost.vectors) == sum(w.size for w in layer.values())


def test_command_lists_every_cell(lmgen):
    code, out, err = lmgen("cells", "--no-speed")
    assert (code, err) == (0, "")
    assert re.findall(r"(?m)^([a-z-]+) +\d", out) == list(CELLS)
    assert "symbols/s" not in out
    code, out, _ = lmgen("cells", "--no-speed", "--json")
    assert [json.loads(line)["name"] for line in out.splitlines()] == list(CELLS)


def test_command_measures_and_explains_a_cell(lmgen, monkeypatch):
    monkeypatch.setattr(benchmark, "SECONDS", 0.01)
    code, out, err = lmgen("cells", "elman", "--size", "8")
    assert code == 0
    speed = re.search(r"elman +2 N \+ 1 +1 \+ 1 +1 +([\d,]+)\n", out)
    assert int(speed[1].replace(",", "")) > 0
    assert "h_t = φ(W x_t + U h_{t-1} + b)" in out
    assert "measuring 1 cell with 8 units" in err
    code, out, _ = lmgen("cells", "gru-reset-before", "--size", "8")
    assert len(out.splitlines()[0]) <= 60
    code, out, _ = lmgen("cells", "elman", "gru", "--size", "8", "--json")
    assert all(json.loads(line)["symbols_per_second"] > 0 for line in out.splitlines())


def test_unknown_cell_gets_the_nearest_name(lmgen):
    code, out, err = lmgen("cells", "lstn")
    assert (code, out) == (2, "")
    assert "did you mean lstm?" in err
