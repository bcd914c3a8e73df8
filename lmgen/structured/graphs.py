"""Graphs with labels: read as a stream of JSON lines, recognised by their content, and turned into numbers.

    {"nodes": ["C", "C", "O"], "edges": [[0, 1, "single"], [1, 2, "single"]], "label": "alcohol"}

A node is a name or a list of names (its features), an edge two nodes, by their numbers from 0, and a name if it has one. Edges
lead both ways unless "directed" is true. "label", or "labels" for several or none, is of the graph; it is missing where unknown.
"tags" has one for each node, null where it is unknown.
"""

from __future__ import annotations

import json
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lmgen.data import formats
from lmgen.data.finding import name_of, names_of, opened, readable
from lmgen.data.reading import combined, known_encoding
from lmgen.data.split import WHOLE, Split
from lmgen.data.vocab import UNK, Vocab
from lmgen.errors import InputError
from lmgen.labelled.corpus import UNKNOWN, LabelledCorpus, Labels, held_out, label_array, noted, origin, renumbered, share_of
from lmgen.labelled.examples import Found, head_of
from lmgen.labelled.forms import Source, labels_of, wrong
from lmgen.options.kinds import quoted

FORM = TASK = "graph"
LABELLED = {"label", "labels", "tags"}  # fields of a graph, by one of which it is recognised where it has no edges
PLAIN = 0  # the number of an edge without a name; UNK stands for a name that training has not seen, the others follow
NAMED = 2
_CUT = re.compile(r'\s*\{.*?"(?:nodes|edges)"\s*:\s*\[', re.DOTALL)  # the beginning of a line that is too long to be seen whole


class Graph(NamedTuple):
    """A graph: the features of each node, the edges (source, target, name; the empty name for none), the labels of the whole, and
    a tag for each node, None where it is unknown. Edges of a graph that is not directed lead both ways. Without labels
    they are unknown, unless it is said to be `unlabelled`."""

    nodes: tuple[tuple[str, ...], ...]
    edges: tuple[tuple[int, int, str], ...] = ()
    directed: bool = False
    labels: tuple[str, ...] = ()
    tags: tuple[str | None, ...] | None = None
    line: int = 0  # of its file
    unlabelled: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The features of each node in one string."""
        return tuple(map(" ".join, self.nodes))

    @property
    def arcs(self) -> Iterator[tuple[int, int, str]]:
        """The edges, each as often as messages pass along it: those that lead both ways come in both directions."""
        for source, target, name in self.edges:
            yield source, target, name
            if not self.directed and source != target:
                yield target, source, name

    @property
    def joined(self) -> str:
        """The graph without its labels, in one string that does not depend on the order of the edges."""
        ends = self.edges if self.directed else ((min(s, t), max(s, t), name) for s, t, name in self.edges)
        return json.dumps([self.nodes, sorted(ends), self.directed])


def _name(value: Any) -> str | None:
    """A name in JSON, which may be a number; None for anything else, and for an empty one."""
    return value or None if isinstance(value, str) else json.dumps(value) if isinstance(value, int) else None


def _node(value: Any) -> tuple[str, ...]:
    features = [_name(one) for one in (value if isinstance(value, list) else [value])]
    if None in features:
        raise ValueError(f"a node is {quoted(value)}: give its name, or a list of names")
    return tuple(map(str, features))


def _edge(value: Any, nodes: int) -> tuple[int, int, str]:
    ends = value[:2] if isinstance(value, list) and len(value) in (2, 3) else []
    if len(ends) != 2 or any(type(end) is not int for end in ends):
        raise ValueError(f"an edge is {quoted(value)}: give two nodes, by their numbers from 0, and a name if it has one")
    if missing := [end for end in ends if not 0 <= end < nodes]:
        raise ValueError(f"there is no node {quoted(missing[0])}, as edge {quoted(value)} says: the nodes are 0 to {nodes - 1:,}")
    name = value[2] if len(value) == 3 else None
    if name not in (None, "") and _name(name) is None:
        raise ValueError(f"an edge has the name {quoted(name)}: give a string")
    return ends[0], ends[1], _name(name) or ""


def parsed(line: str | dict[str, Any], number: int = 0) -> Graph:
    """The graph of a line of JSON, which has this number, or of what such a line holds. Raises ValueError, with a sentence, where
    it is none."""
    try:
        record = json.loads(line) if isinstance(line, str) else line
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict):
        raise ValueError("not a JSON object: write one graph a line")
    nodes, edges, directed, tags = (record.get(name) for name in ("nodes", "edges", "directed", "tags"))
    if not isinstance(nodes, list) or not nodes:
        raise ValueError("no nodes: give a list of one or more in the field nodes")
    if not isinstance(edges, list | None) or not isinstance(directed, bool | None):
        raise ValueError("edges is a list, and directed true or false: write them so")
    labels = labels_of(record.get("labels" if "labels" in record else "label"))
    if labels is None:
        raise ValueError("its label is neither a string nor a list of strings: give one")
    if tags is not None:
        if not isinstance(tags, list) or any(tag is not None and _name(tag) is None for tag in tags):
            raise ValueError("tags is a list with a string, or null, for each node: write it so")
        if len(tags) != len(nodes):
            raise ValueError(f"{len(tags):,} tags for {len(nodes):,} nodes: give each node one, or null")
        tags = tuple(map(_name, tags))
    return Graph(
        tuple(map(_node, nodes)),
        tuple(_edge(edge, len(nodes)) for edge in edges or ()),
        bool(directed),
        (found := tuple(dict.fromkeys(filter(None, labels)))),
        tags,
        number,
        not found and "labels" in record,
    )


class Graphs:
    """The graphs of some paths, to be iterated over as often as needed; they are never held.

    `sha256` and `notes` are those of `lmgen.labelled.examples.Examples`. Raises InputError, with file and line, for a line that
    is no graph.
    """

    def __init__(self, paths: Sequence[Path], encoding: str = "utf-8", errors: str = "strict"):
        self.paths, self.encoding, self.errors = tuple(paths), known_encoding(encoding), errors
        self.sha256 = ""
        self.notes: dict[str, None] = {}

    def __iter__(self) -> Iterator[Graph]:
        digests: list[str] = []
        for path in self.paths:
            for number, line in Source(path, None, "", self.encoding, self.errors, self.notes, digests).written():
                try:
                    yield parsed(line, number)
                except ValueError as error:
                    raise wrong(path, number, str(error)) from None
        self.sha256 = combined(digests)


def recognise(paths: Sequence[Path]) -> Found | None:
    """That all paths have graphs, by the first line of each; None where one does not. Raises InputError for a missing file."""
    fields = "nodes and edges"
    for path in paths:
        if path.is_dir():
            return None
        with readable(path), opened(path) as file:
            head = file.read(formats.HEAD)
        encoding = next((name for mark, name in formats.BYTE_ORDER_MARKS.items() if head.startswith(mark)), "utf-8-sig")
        start = head.decode(encoding, "replace").lstrip("\ufeff \t\r\n")
        line, whole, _ = start.partition("\n")
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            if whole or len(start) < formats.HEAD // 4 or not _CUT.match(line):  # UTF-8 has at most 4 bytes a character
                return None
            continue
        if not (isinstance(record, dict) and isinstance(record.get("nodes"), list)):
            return None
        alone = "edges" not in record and record.keys() & LABELLED and not record.keys() & {"text", "tokens"}
        if not isinstance(record.get("edges"), list) and not alone:
            return None
        fields = "nodes" if alone else fields
    return Found(FORM, TASK, f"{name_of(Path(paths[0].name))} has JSON objects with {fields}")


def named(paths: Sequence[Path]) -> Found | None:
    """Graphs where --task graph says so: each file begins with a JSON object."""
    begins = [next(filter(str.strip, head_of(path).lines), "") if path.is_file() else "" for path in paths]
    return Found(FORM, TASK, f"--task {TASK} was given") if all(line.lstrip().startswith("{") for line in begins) else None


@dataclass(frozen=True)
class GraphNames(Labels):
    """The names of labels, tags and edges."""

    edges: tuple[str, ...] = ()

    @cached_property
    def edge_ids(self) -> dict[str, int]:
        return {"": PLAIN} | {name: k for k, name in enumerate(self.edges, NAMED)}


@dataclass(frozen=True)
class Coded:
    """Graphs in numbers, G of them: graph k has the nodes from `nodes[k]` to `nodes[k + 1]`, and likewise its features and arcs
    [G + 1].

    `ids` [F] are the features of all nodes, and `owners` [F] the nodes that have them. Arcs lead from `sources` to `targets` [A],
    both numbers of nodes, and are in the order of their targets; `kinds` [A] are the numbers of their names. `tags` [n] and
    `labels` [G], or with several bool [G, L], are the numbers of the names (`UNKNOWN` for others); None where there are none.
    """

    nodes: np.ndarray
    features: np.ndarray
    arcs: np.ndarray
    ids: np.ndarray
    owners: np.ndarray
    sources: np.ndarray
    targets: np.ndarray
    kinds: np.ndarray
    tags: np.ndarray | None
    labels: np.ndarray | None

    @property
    def symbols(self) -> int:
        """The number of nodes."""
        return int(self.nodes[-1])

    @property
    def sequences(self) -> int:
        """The number of graphs."""
        return len(self.nodes) - 1


class GraphCorpus(LabelledCorpus):
    """The data of a training on graphs."""

    train: Coded
    valid: Coded | None
    labels: GraphNames

    @property
    def summary(self) -> str:
        edges = f"{len(self.labels.edges):,} names of edges" if self.labels.edges else "edges without names"
        return f"graphs with {super().summary}, {len(self.vocab.symbols):,} features of nodes, and {edges}"


class Scan:
    """Graphs read once, before their vocabulary and their labels are known: names have the numbers in which they came."""

    def __init__(self, graphs: Iterable[Graph]):
        self.features, self.edges, self.tag_names, self.label_names = (dict[str, int]() for _ in range(4))
        parts = {name: array("i") for name in ("ids", "owned", "nodes", "sources", "targets", "kinds", "arcs")}
        tags, labels, counts, several = (array("i") for _ in range(4))
        for graph in graphs:
            parts["nodes"].append(len(graph.nodes))
            for node in graph.nodes:
                parts["owned"].append(len(node))
                parts["ids"].extend([self.features.setdefault(name, len(self.features)) for name in node])
            before = len(parts["kinds"])
            for source, target, name in graph.arcs:
                parts["sources"].append(source)
                parts["targets"].append(target)
                parts["kinds"].append(self.edges.setdefault(name, len(self.edges)))
            parts["arcs"].append(len(parts["kinds"]) - before)
            given = graph.tags or (None,) * len(graph.nodes)
            tags.extend([UNKNOWN if tag is None else self.tag_names.setdefault(tag, len(self.tag_names)) for tag in given])
            counts.append(len(graph.labels))
            several.append(graph.unlabelled or len(graph.labels) > 1)
            labels.extend([self.label_names.setdefault(name, len(self.label_names)) for name in graph.labels])
        self.parts = {name: np.array(part) for name, part in parts.items()}
        self.tags, self.labels, self.counts, self.several = map(np.array, (tags, labels, counts, several))

    def __len__(self) -> int:
        return len(self.counts)

    def _within(self, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Which nodes, features and arcs belong to the chosen graphs."""
        nodes = np.repeat(chosen, self.parts["nodes"])
        return nodes, np.repeat(nodes, self.parts["owned"]), np.repeat(chosen, self.parts["arcs"])

    def coded(self, chosen: np.ndarray, vocab: Vocab, names: GraphNames) -> Coded:
        """The chosen graphs, bool [G], in the numbers of a vocabulary and of the names of labels and edges."""
        of_nodes, of_features, of_arcs = self._within(chosen)
        part, nodes = self.parts, _starts(self.parts["nodes"][chosen])
        owners = np.repeat(np.arange(nodes[-1]), part["owned"][of_nodes])
        arcs = _starts(part["arcs"][chosen])
        shift = np.repeat(nodes[:-1], np.diff(arcs))
        sources, targets = part["sources"][of_arcs] + shift, part["targets"][of_arcs] + shift
        order = np.argsort(targets, kind="stable")
        labels = renumbered(self.labels[np.repeat(chosen, self.counts)], self.label_names, names.label_ids)
        return Coded(
            nodes,
            np.searchsorted(owners, nodes),
            arcs,
            renumbered(part["ids"][of_features], self.features, vocab.ids, UNK),
            owners,
            sources[order],
            targets[order],
            renumbered(part["kinds"][of_arcs][order], self.edges, names.edge_ids, UNK),
            renumbered(self.tags[of_nodes], self.tag_names, names.tag_ids) if names.tags else None,
            label_array(labels, self.counts[chosen], names) if names.labels else None,
        )

    def names(self, chosen: np.ndarray) -> GraphNames:
        """The labels, tags and names of edges of the chosen graphs, bool [G]."""
        of_nodes, _, of_arcs = self._within(chosen)
        labels, tags, edges = (
            tuple(sorted(name for name, k in names.items() if k in used and name))
            for names, used in (
                (self.label_names, {*np.unique(self.labels[np.repeat(chosen, self.counts)]).tolist()}),
                (self.tag_names, {*np.unique(self.tags[of_nodes]).tolist()}),
                (self.edges, {*np.unique(self.parts["kinds"][of_arcs]).tolist()}),
            )
        )
        return GraphNames(labels, tags, bool(labels and self.several[chosen].any()), edges)

    def feature_counts(self, chosen: np.ndarray) -> Counter[str]:
        """How often each feature is in the chosen graphs, bool [G]."""
        counts = np.bincount(self.parts["ids"][self._within(chosen)[1]], minlength=len(self.features))
        return +Counter(dict(zip(self.features, counts.tolist(), strict=True)))


def _starts(lengths: np.ndarray) -> np.ndarray:
    """Where parts of these lengths begin, one after the other, and the end of the last one."""
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])


def encode(graphs: Iterable[Graph], vocab: Vocab, names: GraphNames) -> Coded:
    """Graphs in numbers."""
    scan = Scan(graphs)
    return scan.coded(np.ones(len(scan), bool), vocab, names)


def load(
    graphs: Graphs,
    valid: Graphs | None,
    task: str = TASK,
    unit: str | None = None,
    min_count: int = 1,
    vocab_size: int | None = None,
    unk_token: str | None = None,
    vocab: Vocab | None = None,
    labels: GraphNames | None = None,
    split: Split | None = None,
) -> GraphCorpus:
    """Scan, split and encode graphs, with the vocabulary and the names (`labels`) of a model if given.

    Without validation graphs a tenth is held out. Features, labels, tags and names of edges come from the training part only.
    Raises InputError where there is nothing to learn.
    """
    hashes = array("Q")

    scan, where = Scan(noted(graphs, hashes)), names_of(graphs.paths)
    if not len(scan):
        raise InputError(f"there are no graphs in {where}: give a file with at least one line of JSON")
    split = split or (WHOLE if valid else share_of(len(scan)))
    split, held = held_out(hashes, split)
    names = labels or scan.names(~held)
    if max(len(names.labels), len(names.tags)) < 2:
        found = ("label", names.labels), ("tag", names.tags)
        has = " and ".join(f"only the {noun} {some[0]!r}" for noun, some in found if some)
        way = "so there is nothing to tell apart: give graphs with two labels, or nodes with two tags, or more"
        raise InputError(f"{where} has {has or 'no labels and no tags'}, {way}")
    vocab = vocab or Vocab.of(scan.feature_counts(~held), unit or "word", min_count, vocab_size, unk_token)
    train = scan.coded(~held, vocab, names)
    rest = encode(valid, vocab, names) if valid else scan.coded(held, vocab, names) if held.any() else None
    sha256, notes = origin(graphs, valid)
    known = np.unique(np.array(hashes, np.uint64))
    return GraphCorpus(train, rest, vocab, names, known, sha256, notes, split, len(vocab))
