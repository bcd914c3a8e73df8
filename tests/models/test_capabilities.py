"""What each kind of model can do, and the sentence for what it cannot."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import lmgen
from lmgen.applied.graph import GraphLabeller
from lmgen.applied.labeller import Labeller
from lmgen.applied.translator import Translator
from lmgen.applied.tree import TreeLabeller
from lmgen.applied.writer import Writer
from lmgen.data.vocab import Vocab
from lmgen.errors import CheckpointError, InputError
from lmgen.loading import TYPES, choices, type_of
from lmgen.models.capabilities import (
    VERBS,
    Adapts,
    Conditions,
    Fills,
    Generates,
    HoldsNGrams,
    Predicts,
    RunsCompiled,
    Scores,
    ScoresPairs,
    ShowsUnits,
    can,
    require,
)
from lmgen.models.ngram import NGramModel
from lmgen.models.recurrent import Cloze, Recurrent
from lmgen.nn.cells import CELLS

ABILITIES = {
    Recurrent: {Scores, Generates, RunsCompiled, ShowsUnits, Adapts},
    Cloze: {Scores, Fills, ShowsUnits},
    NGramModel: {Scores, Generates, HoldsNGrams},
    Labeller: {Predicts, ShowsUnits},
    Translator: {Predicts, ScoresPairs, ShowsUnits},
    TreeLabeller: {Predicts},
    Writer: {Scores, Generates, RunsCompiled, ShowsUnits, Adapts, Conditions},
    GraphLabeller: {Predicts},
}


@pytest.mark.parametrize("kind", TYPES.values())
def test_each_kind_can_do_what_it_says_and_nothing_else(kind):
    model = kind(None, None, Vocab("char", ("a",)))
    assert {capability for capability in VERBS if can(model, capability)} == ABILITIES[kind]
    for capability in VERBS:
        if capability in ABILITIES[kind]:
            assert require(model, capability, "train another") is model
        else:
            with pytest.raises(
                InputError, match=f"^this model is {kind.kind.noun} and cannot {VERBS[capability]}: train another$"
            ):
                require(model, capability, "train another")


def test_a_configuration_names_its_kind():
    assert choices("cell") == [*CELLS, "ngram"]
    assert choices("direction") == ["forward", "both"]
    assert type_of({"cell": "gru"}) is Recurrent
    assert type_of({"cell": "gru", "direction": "both"}) is Cloze
    assert type_of({"cell": "ngram", "direction": "forward"}) is NGramModel
    assert type_of({"cell": "gru", "direction": "both", "task": "tag"}) is Labeller
    assert type_of({"cell": "gru", "task": "generate"}) is Writer
    assert type_of({"cell": "gru", "task": "graph"}) is GraphLabeller
    with pytest.raises(CheckpointError, match="no cell 'grue'"):
        type_of({"cell": "grue"})


def test_arrays_come_back_as_a_model(model_path):
    lm = lmgen.load(model_path, precision="f32").lm
    again = type(lm).from_arrays(lm.config, lm.arrays(), lm.vocab, "f32", lm.provenance)
    assert again.provenance.text.sequence == again.sequence == "line"
    for name, array in lm.arrays().items():
        np.testing.assert_array_equal(again.arrays()[name], array)


GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "format-2"


@pytest.mark.parametrize(
    ("name", "noun", "wrong"),
    [
        ("pairs", "a source", ("a", "b")),
        ("classes", "a text or a tuple of tokens", {"text": "a"}),
        ("trees", "a tree in brackets", ("a", "b")),
        ("graph", "a graph", ("a", "b")),
    ],
)
def test_what_nothing_can_be_predicted_of_is_a_sentence(name, noun, wrong):
    model = lmgen.load(GOLDEN / name)
    for one in (3, wrong):
        with pytest.raises(InputError, match=f"is not {noun}, so nothing can be predicted of it"):
            next(model.lm.predict([one]))
    with pytest.raises(InputError, match=f"3 is not {noun}"):
        next(model.lm.predict(3))


def test_a_graph_may_be_a_dict():
    model, graph = lmgen.load(GOLDEN / "graph"), {"nodes": ["re", "kimo"], "edges": [[0, 1, "near"]]}
    assert model.predict(graph) == next(model.predict([json.dumps(graph)]))
