"""What units do while a text is read: the pieces of the text, the states of every layer, the units of a selection."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
import pytest

import lmgen
from lmgen.data.vocab import Vocab
from lmgen.errors import InputError
from lmgen.evaluation import inspection
from lmgen.evaluation.inspection import Layer, Trace
from lmgen.labelled import packing
from lmgen.labelled.corpus import encode
from lmgen.labelled.examples import Example
from lmgen.models.ngram import NGramConfig, NGramModel
from lmgen.models.recurrent import Cloze, Recurrent
from lmgen.networks import translating
from lmgen.nn import model
from lmgen.nn.cells import CELLS
from lmgen.nn.model import NetworkConfig
from lmgen.structured import bitext

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "format-2"
LETTERS = Vocab("char", tuple("abcde"))


def network(kind=Recurrent, **options):
    config = NetworkConfig(**{"vocab": len(LETTERS), "size": 6, "embedding": 4, "layers": 2} | options)
    return kind(config, model.init(config, jax.random.key(3)), LETTERS)


def states(lm, ids):
    """The outputs h of the last layer, by the network itself, one symbol after the other."""
    state, found = lm.start(1), []
    for k in [0, *ids]:
        state, _ = lm.read(state, np.array([[k]], np.int32))
        found.append(np.asarray(state[-1]["h"][0]))
    return np.array(found[1:])


@pytest.mark.parametrize("options", [{"cell": name} for name in CELLS] + [{"residual": True, "layer_norm": True, "carry": True}])
def test_a_trace_is_what_the_network_holds(options):
    lm = network(**options)
    found = inspection.trace(lm, "abc\nde")
    assert found.pieces == ("a", "b", "c", "\n", "d", "e")
    assert [layer.title for layer in found.layers] == ["layer 1", "layer 2"]
    np.testing.assert_allclose(found.layers[-1].units["h"], states(lm, [2, 3, 4, 0, 5, 6]), atol=1e-5)
    assert next(iter(found.layers[0].units)) == "h"
    assert {len(value) for value in found.layers[0].units.values()} == {6}
    assert inspection.layers(lm) == tuple((layer.title, tuple(layer.units)) for layer in found.layers)


def test_a_cloze_model_is_traced_from_both_sides():
    """The right stack reads the same backward, so that of a model with two equal stacks sees the reversed text."""
    lm = network(Cloze, direction="both", layers=1)
    lm = Cloze(lm.config, {**lm.params, "back": {"layers": lm.params["layers"]}}, LETTERS)
    left, right = inspection.trace(lm, "abcd").layers
    assert right.title == "layer 1, from the right"
    np.testing.assert_allclose(right.units["h"][::-1], inspection.trace(lm, "dcba").layers[0].units["h"], atol=1e-6)
    assert not np.allclose(left.units["h"], right.units["h"])


def test_tags_follow_from_what_the_units_of_a_labeller_hold():
    lm = lmgen.load(GOLDEN / "tags", precision="f32").lm
    text = "bade kimo,  unheard re"
    found = inspection.trace(lm, text)
    assert "".join(found.pieces) == text
    outputs = np.concatenate([layer.units["h"] for layer in found.layers], -1)
    head = lm.params["heads"]["tags"]
    (expected,) = lm.logits(encode([Example(text)], lm.vocab, lm.labels))
    np.testing.assert_allclose(outputs @ np.asarray(head["W"]) + np.asarray(head["b"]), expected.tags, atol=1e-5)
    assert inspection.layers(lm) == tuple((layer.title, tuple(layer.units)) for layer in found.layers)


def test_what_a_translator_attends_to_is_what_its_units_hold():
    lm = lmgen.load(GOLDEN / "pairs", precision="f32").lm
    source = lm.vocab.split("kimo bade re")
    found = inspection.trace(lm, "kimo bade re")
    data = bitext.encode([(source, ["bade", "re"])], lm.vocab)
    (block,) = packing.blocks(data.starts, data.lengths, 1)
    _, _, memory = translating.sides(lm.config, lm.precision, lm.params, translating.inputs_of(data, block, 4)[0])
    held = np.concatenate([layer.units["h"] for layer in found.layers], -1)
    np.testing.assert_allclose(held, memory[1 : len(source) + 1, 0], atol=1e-5)
    assert inspection.layers(lm) == tuple((layer.title, tuple(layer.units)) for layer in found.layers)


@pytest.mark.parametrize(
    ("unit", "text", "pieces"),
    [
        ("char", "ab\n\nz", ["a", "b", "\n", "\n", "z"]),
        ("char", "a\n", ["a", "\n"]),
        ("word", "one  two\nthree", ["one", "  two", "\n", "three"]),
        ("word-punct", "one, two\nthree", ["one", ",", " two", "\n", "three"]),
        ("word-only", "one, two!", ["one", ", two"]),
        ("char", "", []),
    ],
)
def test_the_pieces_of_a_text(unit, text, pieces):
    found, ids = inspection.spelt(Vocab(unit, ("one", "a")), "line", text)
    assert found == pieces
    assert len(ids) == len(pieces)


def test_what_cannot_be_traced():
    counts = NGramModel(NGramConfig(3, 1), [], Vocab("char", ("a",)))
    with pytest.raises(InputError, match="an n-gram model and cannot show its units"):
        inspection.trace(counts, "a")
    with pytest.raises(InputError, match="no symbol in this text"):
        inspection.trace(network(), "")


# ---- the units of a selection ------------------------------------------------------------------------------------------------


def of(*columns):
    """A trace of one layer from the values of each unit."""
    return Trace(tuple("abcdef"), (Layer("layer 1", {"h": np.array(columns, np.float32).T}),))


def test_the_unit_of_a_selection_comes_first():
    on, off, noise, constant = [0, 0, 1, 1, 0, 0], [1, 1, -1, -1, 1, 1], [0, 1, 0, 1, 0, 1], [1, 1, 1, 1, 1, 1]
    found = inspection.matches(of(noise, constant, off, on), 2, 4)
    assert {match.unit for match in found[:2]} == {2, 3}
    by_unit = {match.unit: match for match in found}
    assert (by_unit[3].correlation, by_unit[3].inside, by_unit[3].outside) == pytest.approx((1, 1, 0))
    assert (by_unit[2].correlation, by_unit[2].inside, by_unit[2].outside) == pytest.approx((-1, -1, 1))
    assert by_unit[1].correlation == 0


def test_correlations_are_those_of_numpy():
    values = np.random.default_rng(0).normal(size=(6, 3))
    for match in inspection.matches(of(*values.T), 1, 4):
        inside = np.array([0, 1, 1, 1, 0, 0])
        assert match.correlation == pytest.approx(np.corrcoef(values[:, match.unit].astype(np.float32), inside)[0, 1], abs=1e-6)


@pytest.mark.parametrize("part", [(0, 6), (2, 2), (4, 2), (-3, 0), (6, 9)])
def test_a_selection_has_an_inside_and_an_outside(part):
    with pytest.raises(InputError, match="some symbols inside of it, and some outside"):
        inspection.matches(of([0, 0, 1, 1, 0, 0]), *part)
