"""Graphs: lines read and refused in a sentence, numbers written by hand, what is held out, what becomes of unknown names."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lmgen.data.split import WHOLE, fingerprint
from lmgen.data.vocab import UNK, Vocab
from lmgen.errors import InputError
from lmgen.labelled.corpus import UNKNOWN
from lmgen.structured import table
from lmgen.structured.graphs import Graph, GraphNames, Graphs, encode, load, parsed, recognise

VOCAB = Vocab("word", ("C", "O", "ring"))
CARBON, OXYGEN, RING = 2, 3, 4
NAMES = GraphNames(("alcohol", "ether"), ("x", "y"), False, ("double", "single"))
PLAIN, DOUBLE, SINGLE = 0, 2, 3
ETHANOL = {"nodes": ["C", "C", "O"], "edges": [[0, 1, "single"], [1, 2, "single"]], "label": "alcohol"}


def written(tmp_path, records, name="graphs.jsonl"):
    path = tmp_path / name
    path.write_text("".join(f"{one if isinstance(one, str) else json.dumps(one)}\n" for one in records), "utf-8")
    return Graphs([path])


def some(count, labels=("a", "b")):
    """Different graphs: a chain of numbers, with a label."""
    return [
        {"nodes": [f"n{k % 7}", f"m{k}"], "edges": [[0, 1, labels[k % len(labels)]]], "label": labels[k % len(labels)]}
        for k in range(count)
    ]


# ---- reading -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("record", "graph"),
    [
        (ETHANOL, Graph((("C",), ("C",), ("O",)), ((0, 1, "single"), (1, 2, "single")), labels=("alcohol",), line=1)),
        ({"nodes": ["a"], "edges": []}, Graph((("a",),), line=1)),
        ({"nodes": ["a"]}, Graph((("a",),), line=1)),
        ({"nodes": [["a", "b"], [], 8], "label": None}, Graph((("a", "b"), (), ("8",)), line=1)),
        ({"nodes": ["a"], "edges": [[0, 0, None], [0, 0, ""]]}, Graph((("a",),), ((0, 0, ""), (0, 0, "")), line=1)),
        ({"nodes": ["a", "b"], "directed": True, "edges": [[1, 0, 2]]}, Graph((("a",), ("b",)), ((1, 0, "2"),), True, line=1)),
        ({"nodes": ["a"], "labels": ["x", "y", "x"]}, Graph((("a",),), labels=("x", "y"), line=1)),
        ({"nodes": ["a"], "tags": [3], "label": 1, "other": {}}, Graph((("a",),), labels=("1",), tags=("3",), line=1)),
        ({"nodes": ["a"], "tags": [None]}, Graph((("a",),), tags=(None,), line=1)),
    ],
)  # fmt: skip
def test_a_line_is_read(tmp_path, record, graph):
    assert [*written(tmp_path, [record])] == [graph]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("[]", "not a JSON object: write one graph a line"),
        ("{", "not a JSON object: write one graph a line"),
        ('{"nodes": ["a"], "edges": ' + "[" * 100_000, "not a JSON object: write one graph a line"),
        ('{"nodes": ["a"], "edges": [[0, 1' + "0" * 5000 + "]]}", "not a JSON object: write one graph a line"),
        ("{}", "no nodes: give a list of one or more in the field nodes"),
        ('{"nodes": []}', "no nodes: give a list of one or more in the field nodes"),
        ('{"nodes": "abc"}', "no nodes: give a list of one or more in the field nodes"),
        ('{"nodes": [{"name": "a"}]}', "a node is {'name': 'a'}: give its name, or a list of names"),
        ('{"nodes": [""]}', "a node is '': give its name, or a list of names"),
        ('{"nodes": [["a", null]]}', "a node is ['a', None]: give its name, or a list of names"),
        ('{"nodes": [1.5]}', "a node is 1.5: give its name, or a list of names"),
        ('{"nodes": ["a"], "edges": {}}', "edges is a list, and directed true or false: write them so"),
        ('{"nodes": ["a"], "directed": 1}', "edges is a list, and directed true or false: write them so"),
        ('{"nodes": ["a"], "edges": [[0, 1]]}', "there is no node 1, as edge [0, 1] says: the nodes are 0 to 0"),
        ('{"nodes": ["a", "b"], "edges": [[-1, 0]]}', "there is no node -1, as edge [-1, 0] says: the nodes are 0 to 1"),
        ('{"nodes": ["a"], "edges": [[0, 1e400]]}', "an edge is [0, inf]: give two nodes, by their numbers"),
        ('{"nodes": ["a"], "edges": [[0, true]]}', "an edge is [0, True]: give two nodes, by their numbers"),
        ('{"nodes": ["a"], "edges": [[0]]}', "an edge is [0]: give two nodes, by their numbers"),
        ('{"nodes": ["a"], "edges": [[0, 0, "x", 1]]}', "an edge is [0, 0, 'x', 1]: give two nodes"),
        ('{"nodes": ["a"], "edges": [[0, 0, []]]}', "an edge has the name []: give a string"),
        ('{"nodes": ["a"], "edges": ["01"]}', "an edge is '01': give two nodes"),
        ('{"nodes": ["a"], "label": 1.5}', "its label is neither a string nor a list of strings: give one"),
        ('{"nodes": ["a"], "tags": "x"}', "tags is a list with a string, or null, for each node: write it so"),
        ('{"nodes": ["a"], "tags": [["x"]]}', "tags is a list with a string, or null, for each node: write it so"),
        ('{"nodes": ["a"], "tags": []}', "0 tags for 1 nodes: give each node one, or null"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_file_and_line(tmp_path, line, sentence):
    with pytest.raises(InputError) as caught:
        [*written(tmp_path, [ETHANOL, "", line])]
    assert str(caught.value).startswith(f"{tmp_path / 'graphs.jsonl'}, line 3: {sentence}")


def test_a_second_pass_is_as_the_first_and_the_text_is_never_held(tmp_path):
    graphs = written(tmp_path, [ETHANOL, "", *some(20)])
    assert [*graphs] == [*graphs]
    assert len(graphs.sha256) == 64
    assert [*graphs.notes] == [f"{tmp_path / 'graphs.jsonl'}: passed over 1 blank line"]


def test_the_fingerprint_knows_no_order_of_edges_and_no_labels():
    one = Graph((("a",), ("b",), ("c",)), ((0, 1, ""), (1, 2, "x")), labels=("l",), tags=("t", None, None))
    other = one._replace(edges=((2, 1, "x"), (1, 0, "")), labels=(), tags=None)
    assert one.joined == other.joined
    assert one.joined != other._replace(directed=True).joined
    assert one.joined != one._replace(edges=one.edges[:1]).joined


# ---- recognising -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "is_graphs"),
    [
        (json.dumps(ETHANOL) + "\n", True),
        ("\ufeff\n\n" + json.dumps(ETHANOL), True),
        ('{"nodes": ["C"], "edges": []}\n', True),
        ('{"nodes": ["' + "C" * 200_000 + '"], "edges": []}\n', True),
        ('{"nodes": ["C"]}\n', False),
        ('{"nodes": ["C"], "text": "a", "label": "b"}\n', False),
        ('{"text": "a", "label": "b"}\n', False),
        ('{"nodes": 3, "edges": []}\n', False),
        ('{\n"nodes": [], "edges": []\n}\n', False),
        ('The nodes and "edges": [of a graph]\n', False),
        ("word " * 50_000 + '{"nodes": [', False),
        ("", False),
        ("[" * 100_000, False),
        ("\0\0", False),
    ],
)  # fmt: skip
def test_graphs_are_recognised_by_their_content(tmp_path, text, is_graphs):
    path = tmp_path / "some.txt"
    path.write_text(text, "utf-8")
    found = recognise([path])
    assert bool(found) == is_graphs
    if found:
        assert (found.form, found.task) == ("graph", "graph")
        assert found.reason == "some.txt has JSON objects with nodes and edges"


def test_graphs_without_edges_need_not_say_so(tmp_path):
    lines = [{"nodes": ["C"], "label": "a"}, {"nodes": ["C", "O"], "tags": ["x", None]}, {"nodes": ["O"]}]
    for line, reason in zip(lines, ("some.jsonl has JSON objects with nodes",) * 2 + ("--task graph was given",), strict=True):
        (path := tmp_path / "some.jsonl").write_text(json.dumps(line))
        found = table.recognise([path]) or table.recognise([path], "graph")
        assert (found.form, found.task, found.reason) == ("graph", "graph", reason)
        assert [one.edges for one in Graphs([path])] == [()]


def test_a_byte_order_mark_names_the_encoding(tmp_path):
    path = tmp_path / "graphs.jsonl"
    path.write_text(json.dumps(ETHANOL), "utf-16")
    assert recognise([path])
    assert [*Graphs([path], "utf-16")] == [parsed(json.dumps(ETHANOL), 1)]


def test_all_paths_must_be_graphs(tmp_path):
    first, other = written(tmp_path, [ETHANOL]).paths[0], tmp_path / "other.txt"
    other.write_text("names\n")
    assert recognise([first])
    assert recognise([first, other]) is None
    assert recognise([tmp_path]) is None
    with pytest.raises(InputError, match="there is no"):
        recognise([tmp_path / "missing.jsonl"])


# ---- numbers -----------------------------------------------------------------------------------------------------------


def test_graphs_in_numbers_are_those_written_by_hand():
    """Edges lead both ways, a loop once; arcs are in the order of their targets; unknown names are UNK, no name is PLAIN."""
    graphs = [
        Graph((("C",), ("O", "ring"), ()), ((0, 1, "double"), (1, 2, ""), (2, 2, "new")), False, ("ether",), ("y", None, "new")),
        Graph((("N",), ("O",)), ((1, 0, "single"),), True, ("new",)),
        Graph((("C",),)),
    ]
    coded = encode(graphs, VOCAB, NAMES)
    assert (coded.nodes.tolist(), coded.features.tolist(), coded.arcs.tolist()) == ([0, 3, 5, 6], [0, 3, 5, 6], [0, 5, 6, 6])
    assert (coded.ids.tolist(), coded.owners.tolist()) == ([CARBON, OXYGEN, RING, UNK, OXYGEN, CARBON], [0, 1, 1, 3, 4, 5])
    assert [*zip(coded.sources.tolist(), coded.targets.tolist(), coded.kinds.tolist(), strict=True)] == [
        (1, 0, DOUBLE), (0, 1, DOUBLE), (2, 1, PLAIN), (1, 2, PLAIN), (2, 2, UNK), (4, 3, SINGLE)
    ]  # fmt: skip
    assert coded.tags.tolist() == [1, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN]
    assert coded.labels.tolist() == [1, UNKNOWN, UNKNOWN]
    assert (coded.symbols, coded.sequences) == (6, 3)


@pytest.mark.parametrize(("odd", "several"), [({}, False), ({"labels": []}, True), ({"labels": ["a", "b"]}, True)])
def test_a_graph_without_a_label_is_not_learnt_from(tmp_path, odd, several):
    """One of which the label is unknown does not make the labels of all others several; an empty list of labels does."""
    records = [{"nodes": ["C"], "label": "ab"[k % 2]} for k in range(10)] + [{"nodes": ["C"]} | odd]
    data = load(written(tmp_path, records), None)
    assert data.labels.several == several
    if not several:
        assert data.train.labels.tolist() == [0, 1] * 5 + [UNKNOWN]


def test_several_labels_are_a_table_of_yes_and_no():
    graphs = [Graph((("C",),), labels=("ether", "alcohol")), Graph((("C",),)), Graph((("C",),), labels=("new", "ether"))]
    coded = encode(graphs, VOCAB, GraphNames(("alcohol", "ether"), (), True))
    assert coded.labels.tolist() == [[True, True], [False, False], [False, True]]
    assert coded.tags is None


# ---- loading -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "held_out"), [(300, False), (2_000, True)])
def test_a_tenth_is_held_out_if_that_is_enough(tmp_path, count, held_out):
    graphs = written(tmp_path, some(count))
    data = load(graphs, None)
    assert (data.valid is not None) == held_out
    wanted = [sum(data.split.holds_out(fingerprint(one.joined)) is side for one in graphs) for side in (False, True)]
    assert [data.train.sequences, data.valid.sequences if data.valid else 0] == wanted
    assert data.known.tolist() == sorted({fingerprint(one.joined) for one in graphs})
    assert data.sha256 == graphs.sha256


def test_names_come_from_the_training_part_alone(tmp_path):
    records = some(2_000)
    graphs = written(tmp_path, records)
    split = load(graphs, None).split
    held = next(k for k, one in enumerate(graphs) if split.holds_out(fingerprint(one.joined)))
    records[held] |= {"label": "rare", "tags": ["t", None]}
    data = load(written(tmp_path, records), None)
    assert (data.labels.labels, data.labels.tags, data.labels.several, data.labels.edges) == (("a", "b"), (), False, ("a", "b"))
    assert f"m{held}" not in data.vocab.symbols
    assert UNKNOWN in data.valid.labels
    assert UNK in data.valid.ids


def test_validation_graphs_are_numbered_by_the_names_of_training(tmp_path):
    valid = written(tmp_path, [{**ETHANOL, "label": "b"}], "valid.jsonl")
    data = load(written(tmp_path, some(10)), valid)
    assert data.split == WHOLE
    assert data.valid.labels.tolist() == [1]
    assert {*data.valid.ids.tolist(), *data.valid.kinds.tolist()} == {UNK}
    assert data.sha256.endswith(valid.sha256)


def test_rare_features_become_unknown(tmp_path):
    data = load(written(tmp_path, some(30)), None, min_count=2)
    assert {*data.vocab.symbols} == {f"n{k}" for k in range(7)}
    assert (data.train.ids[1::2] == UNK).all()


@pytest.mark.parametrize(
    ("records", "sentence"),
    [
        ([], "there are no graphs in"),
        ([{"nodes": ["a"]}], "has no labels and no tags, so there is nothing to tell apart"),
        ([{"nodes": ["a"], "label": "x"}] * 2, "has only the label 'x', so there is nothing"),
        ([{"nodes": ["a"], "label": "x", "tags": ["t"]}], "has only the label 'x' and only the tag 't', so"),
        ([{"nodes": [[]], "label": "x"}, {"nodes": [[]], "label": "y"}], "none of 0 symbols is kept"),
    ],
)
def test_where_there_is_nothing_to_learn_it_is_said(tmp_path, records, sentence):
    with pytest.raises(InputError, match=sentence):
        load(written(tmp_path, records), None)


def test_json_strings_of_half_characters_are_names():
    assert parsed('{"nodes": ["\\ud800"], "label": "\\udc00"}').nodes == (("\ud800",),)
    assert fingerprint(parsed('{"nodes": ["\\ud800"]}').joined) > 0
    assert np.array_equal(encode([parsed('{"nodes": ["\\ud800"]}')], VOCAB, NAMES).ids, [UNK])
