"""How well a model labels graphs and their nodes, with intervals over graphs, beside rules that do not see the edges."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from lmgen.applied.graph import GraphLabeller
from lmgen.errors import InputError
from lmgen.evaluation.baselines import FrequentTag, Majority, NaiveBayes
from lmgen.evaluation.cards.labelcard import Baseline, LabelCard, Tally
from lmgen.labelled.examples import Example
from lmgen.structured.graphs import Graph


def bag(graph: Graph, of: str) -> Example:
    """A graph without its edges: its features and its labels or, of the tags, its tagged nodes and their tags."""
    if of == "labels":
        return Example(tuple(name for node in graph.nodes for name in node), graph.labels)
    tagged = [(name, tag) for name, tag in zip(graph.names, graph.tags or (), strict=False) if tag is not None]
    return Example(tuple(name for name, _ in tagged), (), tuple(tag for _, tag in tagged))


RULES: dict[str, dict[str, Any]] = {
    "labels": {"majority": lambda: Majority("labels"), "bag of nodes": lambda: NaiveBayes(pairs=False)},
    "tags": {"majority": lambda: Majority("tags"), "most frequent tag": FrequentTag},
}


def card(lm: GraphLabeller, name: str, graphs: Iterable[Graph], baselines: bool = True) -> LabelCard:
    """The measures of graphs by a model, beside baselines fitted on its training graphs.

    The labels of graphs without any are unknown, unless there may be several. Raises InputError where no graph has the label that
    the model predicts, and where no node has a tag that it does.
    """
    config = lm.config
    wanted = {"labels": (config.labels, config.several, None), "tags": (config.tags, False, None)}
    tallies = {of: Tally(of, *how) for of, how in wanted.items() if how[0]}
    lack, rules = "", {}
    if baselines:
        try:
            rules = {of: {rule: make().fit(_bags(lm, of)) for rule, make in RULES[of].items()} for of in tallies}
        except InputError as error:
            lack = str(error)
    beside = {of: {rule: Tally(of, *wanted[of]) for rule in rules.get(of, {})} for of in tallies}
    count = nodes = unknown = 0
    for graph, logits in lm.read(graphs):
        count, nodes = count + 1, nodes + len(graph.nodes)
        unknown += sum(not all(map(lm.seen, node)) for node in graph.nodes)
        prediction = lm.prediction(graph, logits)
        for of, tally in tallies.items():
            blind = bag(graph, of)
            if of == "tags":
                tagged = [v for v, tag in enumerate(graph.tags or ()) if tag is not None]
                chosen, gold = [prediction.tags[v] for v in tagged], blind.tags or ()
                tally.weigh(tally.add(gold, [tag for tag, _ in chosen]), lm.probabilities(logits.tags[tagged], of))  # type: ignore[index]
                tally.confidence.extend(p for _, p in chosen)
            else:
                gold = blind.labels if tally.several else blind.labels[:1]
                if not gold and not tally.several:
                    continue
                p = lm.probabilities(logits.labels, of)  # type: ignore[arg-type]
                if tally.several:
                    tally.weigh_several(tally.add(gold, prediction.chosen), p)
                else:
                    tally.weigh(tally.add(gold, prediction.chosen), p[None])
                    tally.confidence.append(prediction.labels[0][1])
            for rule, its in beside[of].items():
                its.add(gold, rules[of][rule].predict(blind))
    if not count:
        raise InputError(f"there are no graphs in {name}: give a file with at least one line of JSON")
    if "labels" in tallies and not tallies["labels"].several and not any(tallies["labels"].gold):
        raise InputError(f"no graph of {name} has a label, which this model predicts: give graphs with labels")
    if "tags" in tallies and not any(tallies["tags"].gold):
        raise InputError(f"no node of {name} has a tag, which this model predicts: give graphs whose nodes have tags")
    found = {
        of: tally.measures([Baseline(rule, its.value()) for rule, its in beside[of].items()]) for of, tally in tallies.items()
    }
    return LabelCard(name, count, nodes, unknown, found.get("labels"), found.get("tags"), lack, ("graphs", "nodes"))


def _bags(lm: GraphLabeller, of: str) -> Iterator[Example]:
    """The training graphs without their edges, but for those whose labels are unknown."""
    graphs: Iterable[Any] = lm.training_examples()
    return (bag(graph, of) for graph in graphs if of == "tags" or graph.labels or lm.config.several)
