"""Predictions of graphs: those of the logits, calibrated, in the order of the graphs; `eval` agrees; rules do not see edges."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import jax
import numpy as np
import pytest

from lmgen.api import Model
from lmgen.applied.graph import AT_ONCE, GraphLabeller
from lmgen.data.vocab import Vocab
from lmgen.errors import InputError
from lmgen.evaluation.cards import graphcard
from lmgen.models.provenance import Provenance
from lmgen.networks import graph
from lmgen.networks.graph import GraphConfig
from lmgen.structured.graphs import Graph, encode

VOCAB = Vocab("word", ("C", "N", "O"))
TINY = GraphConfig(
    len(VOCAB), size=5, embedding=4, rounds=2, labels=("x", "y", "z"), tags=("A", "B"), edges=("double", "single")
)  # fmt: skip


def labeller(seed=0, temperature=None, **changes) -> GraphLabeller:
    config = replace(TINY, **changes)
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(partial(graph.init, config), jax.random.key(0))
    params = jax.tree.map(lambda a: rng.normal(0, 1, a.shape).astype(np.float32), shapes)
    return GraphLabeller(config, params, VOCAB, "f32", Provenance(about={"temperature": temperature or {}}))


def graphs(count, seed=0, most=9):
    random, found = np.random.default_rng(seed), []
    for _ in range(count):
        n = int(random.integers(1, most))
        nodes = tuple((str(name),) for name in random.choice([*VOCAB.symbols, "new"], n))
        edges = tuple((int(a), int(b), "single") for a, b in random.integers(n, size=(n, 2)))
        tags = tuple(random.choice([None, "A", "B", "new"], n).tolist())
        found.append(Graph(nodes, edges, False, (str(random.choice(["x", "y", "z", "new"])),), tags))
    return found


def written(one: Graph) -> str:
    return json.dumps({"nodes": one.nodes, "edges": one.edges, "directed": one.directed})


def softmax(logits):
    p = np.exp(np.float64(logits) - logits.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True)


def test_probabilities_are_those_of_the_logits_at_the_fitted_temperature():
    lm = labeller(temperature={"labels": 3.0, "tags": 0.5})
    for one, found in zip(graphs(8), lm.predict(graphs(8)), strict=True):
        (logits,) = lm.logits(encode([one], VOCAB, lm.config.names))
        p = softmax(logits.labels / 3.0)
        assert dict(found.labels) == pytest.approx(dict(zip(lm.config.labels, p, strict=True)), rel=1e-3)
        assert found.chosen == (lm.config.labels[p.argmax()],)
        p = softmax(logits.tags / 0.5)
        assert [tag for tag, _ in found.tags] == [lm.config.tags[k] for k in p.argmax(1)]
        assert [one for _, one in found.tags] == pytest.approx(p.max(1).tolist(), rel=1e-3)
        assert (found.symbols, found.text) == (one.names, " ".join(one.names))


def test_a_prediction_is_the_same_alone_and_among_thousands():
    lm, many = labeller(), [*graphs(AT_ONCE + 100), *graphs(3, seed=1, most=9_000)]
    found = [*lm.predict(many)]
    assert [one.symbols for one in found] == [one.names for one in many]
    for k in (0, AT_ONCE, len(many) - 1):
        alone = next(lm.predict([many[k]]))
        assert dict(alone.labels) == pytest.approx(dict(found[k].labels), abs=1e-5)
        assert [p for _, p in alone.tags] == pytest.approx([p for _, p in found[k].tags], abs=1e-5)


def test_lines_of_json_are_graphs_and_none_asks_for_those_before_it():
    model, data, asked = Model(labeller()), graphs(4), []

    def lines():
        for one in data:
            asked.append(one)
            yield from (written(one), None)

    for k, found in enumerate(model.predict(lines())):
        assert len(asked) == k + 1
        assert found == next(model.lm.predict([data[k]]))
    assert model.predict(written(data[0])) == next(model.lm.predict(data[:1]))
    with pytest.raises(InputError, match="graph 2: there is no node 7, as edge"):
        [*model.predict([written(data[0]), '{"nodes": ["a"], "edges": [[0, 7]]}'])]


def test_several_labels_are_those_of_at_least_a_half():
    lm = labeller(several=True, tags=())
    for found in lm.predict(graphs(20)):
        assert found.chosen == tuple(name for name, p in found.labels if p >= 0.5)
        assert found.tags == ()


def test_validation_is_the_mean_nats_at_the_best_temperature():
    lm, data = labeller(), graphs(100)
    coded = encode(data, VOCAB, lm.config.names)
    nats, facts = lm.validate(coded)
    fitted = labeller(temperature=facts["temperature"])
    labels = [found for one in data if (found := lm.config.names.label_ids.get(one.labels[0])) is not None]
    total = 0.0
    for name in ("labels", "tags"):
        gold, p = [], []
        for one, logits in fitted.read(data):
            wanted = one.labels if name == "labels" else one.tags
            ids = lm.config.names.label_ids if name == "labels" else lm.config.names.tag_ids
            rows = fitted.probabilities(np.atleast_2d(getattr(logits, name)), name)
            pairs = [(ids[one], row) for one, row in zip(wanted, rows, strict=True) if one in ids]
            gold += [k for k, _ in pairs]
            p += [row for _, row in pairs]
        total -= float(np.mean([np.log(row[k]) for k, row in zip(gold, p, strict=True)]))
        assert name != "labels" or gold == labels
    assert nats == pytest.approx(total, rel=1e-4)


def test_a_card_counts_graphs_and_nodes_and_what_is_right():
    lm, data = labeller(), graphs(60)
    card = graphcard.card(lm, "some", data, baselines=False)
    predictions = [*lm.predict(data)]
    right = np.mean([one.labels[0] == found.chosen[0] for one, found in zip(data, predictions, strict=True)])
    both = [pair for one, found in zip(data, predictions, strict=True) for pair in zip(one.tags, found.tags, strict=True)]
    pairs = [(tag, found) for tag, (found, _) in both if tag]
    assert (card.sequences, card.symbols) == (60, sum(len(one.nodes) for one in data))
    assert card.unknown == sum(node == ("new",) for one in data for node in one.nodes)
    assert card.labels.accuracy == pytest.approx(right)
    assert (card.tags.count, card.tags.accuracy) == (len(pairs), pytest.approx(np.mean([a == b for a, b in pairs])))
    assert card.labels.unseen == sum(one.labels == ("new",) for one in data)
    low, high = card.labels.interval
    assert low < card.labels.accuracy < high


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ([], "there are no graphs in some"),
        ([Graph((("C",),), tags=("A",), line=3)], "no graph of some has a label, which this model predicts"),
        ([Graph((("C",),), labels=("x",))], "no node of some has a tag, which this model predicts"),
    ],
)
def test_graphs_without_what_is_predicted_are_refused(data, sentence):
    with pytest.raises(InputError, match=sentence):
        graphcard.card(labeller(), "some", data, baselines=False)


def test_without_edges_a_graph_is_its_features_and_its_tagged_nodes():
    one = Graph((("a", "b"), ("c",), ()), ((0, 1, "x"),), False, ("l",), ("t", None, "u"))
    assert graphcard.bag(one, "labels")[:2] == (("a", "b", "c"), ("l",))
    assert graphcard.bag(one, "tags")[::2] == (("a b", ""), ("t", "u"))
