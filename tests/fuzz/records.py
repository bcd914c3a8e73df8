"""Labelled data, pairs, trees and graphs that nobody would make on purpose, and how they are read."""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from drawing import ENCODINGS, contents, folder, mutated
from hypothesis import strategies as st

from lmgen.checks import labels as report
from lmgen.data.vocab import EOS, UNITS
from lmgen.errors import LmgenError
from lmgen.labelled import examples, forms
from lmgen.models.provenance import TextSettings
from lmgen.structured import bitext, forest, graphs, pairs, trees

# ---- labelled texts ----------------------------------------------------------------------------------------------------


WHOLE_FORMS = {
    "tsv": "good\ta b\nbad\tc\ngood,bad\td e\n",
    "csv": 'id,text,label\n1,"a, ""b""\nc",good\n2,d,"good,bad"\n',
    "fasttext": "__label__good __label__bad a b\n__label__bad c\n",
    "columns": "# id = 1\na DT B-x\nb NN I-x\n\n-DOCSTART- O O\n\nc NN O\n",
    "jsonl": '{"text": "a b", "label": "good"}\n{"tokens": ["a", "b"], "tags": ["B-x", "I-x"], "labels": ["good"]}\n',
    "folder": "a b\nc\n",
}
labelled = st.fixed_dictionaries(
    {
        "form": st.sampled_from(list(forms.FORMS)),
        "content": st.sampled_from(list(WHOLE_FORMS.values())).flatmap(lambda whole: mutated(whole.encode())) | contents,
        "tags": st.binary(max_size=8) | st.sampled_from([b"B-x I-x\nO\n", b"O O\nI-x\n", b"O\tO\n"]),
        "column": st.sampled_from([None] * 4 + [0, 1, 2, 3, 1 << 40]),
        "separator": st.sampled_from([",", "", "|", " "]),
        "encoding": st.sampled_from(ENCODINGS),
        "errors": st.sampled_from(["strict", "replace"]),
    }
)


def read_labelled(drawn: dict[str, Any]) -> None:
    """Recognise, read and check labelled text: each token has a tag, each example its line, and a second pass is as the first."""
    with folder(), contextlib.suppress(LmgenError):
        path = Path("data")
        if drawn["form"] == "folder":
            path.mkdir()
            for name, content in zip(forms.FOLDER, (drawn["content"], drawn["tags"], b"x\ny\n"), strict=True):
                (path / name).write_bytes(content)
        else:
            path.write_bytes(drawn["content"])
        found = examples.recognise([path])
        assert found is None or found.task in ("classify", "tag", "tag-classify")
        read = examples.Examples([path], **{k: v for k, v in drawn.items() if k not in ("content", "tags")})
        seen = [*read]
        assert [*read] == seen
        assert all(len(one.tags) == len(one.text) for one in seen if one.tags is not None)
        assert all(a.line < b.line for a, b in itertools.pairwise(seen))
        counted = report.check(read, read).labels
        assert {one.name: one.counts["training"] for one in counted} == Counter(label for one in seen for label in one.labels)


# ---- graphs ------------------------------------------------------------------------------------------------------------


WHOLE_GRAPHS = (
    '{"nodes": ["C", ["O", "ring"], []], "edges": [[0, 1, "x"], [1, 2], [2, 2, null]], "label": "a", "tags": ["x", null, 3]}\n'
    '{"nodes": ["N"], "directed": true, "edges": [], "labels": ["a", "b"]}\n'
)
graph_files = st.fixed_dictionaries(
    {
        "content": mutated(WHOLE_GRAPHS.encode()) | contents,
        "encoding": st.sampled_from(ENCODINGS),
        "errors": st.sampled_from(["strict", "replace"]),
    }
)


def read_graphs(drawn: dict[str, Any]) -> None:
    """Recognise, read and encode graphs: a second pass is as the first, arcs lead from nodes to nodes of one graph."""
    with folder(), contextlib.suppress(LmgenError):
        path = Path("data")
        path.write_bytes(drawn["content"])
        found = graphs.recognise([path])
        assert found is None or found.task == "graph"
        read = graphs.Graphs([path], drawn["encoding"], drawn["errors"])
        seen = [*read]
        assert [*read] == seen
        data = graphs.load(read, None)
        assert (data.train.sequences, data.train.symbols) == (len(seen), sum(len(one.nodes) for one in seen))
        owner = np.repeat(np.arange(len(seen)), np.diff(data.train.nodes))
        assert np.array_equal(owner[data.train.sources], owner[data.train.targets])
        assert len(data.train.kinds) == sum(len([*one.arcs]) for one in seen)


# ---- pairs and trees -----------------------------------------------------------------------------------------------------


WHOLE_PAIRS = [
    "a b\tc d\n",
    "é\t\tx\n",
    '{"source": "a", "target": "b\\nc"}\n{"target": "\\ud800", "source": "é"}\n',
    "a b\n\nc\n",
]
pair_files = st.fixed_dictionaries(
    {
        "form": st.sampled_from(list(pairs.FORMS)),
        "content": st.sampled_from(WHOLE_PAIRS).flatmap(lambda whole: mutated(whole.encode() * 3)) | contents,
        "target": st.sampled_from([b"c d\n\ne\n" * 3, b"\xff\n", b"a\r\nb"]) | contents,
        "unit": st.sampled_from([None, *UNITS]),
        "encoding": st.sampled_from(ENCODINGS),
        "errors": st.sampled_from(["strict", "replace"]),
    }
)
WHOLE_TREES = "(3 (2 It) (4 (2 's) (3 good)))\n(1 (1 a)\n  (0 b)) (2 -LRB-)\n(S (NP (D the) (N cat) (PP (P of))) (S (V sat)))\n"
tree_files = st.fixed_dictionaries(
    {
        "content": mutated(WHOLE_TREES.encode() * 2) | contents | st.text("()ab 1\n", max_size=60).map(str.encode),
        "encoding": st.sampled_from(ENCODINGS),
        "errors": st.sampled_from(["strict", "replace"]),
    }
)


def read_pairs(drawn: dict[str, Any]) -> None:
    """Recognise, read and encode pairs: a second pass is as the first, the stream has each source, SEP and target once."""
    with folder(), contextlib.suppress(LmgenError):
        path, target = Path("data.a"), Path("data.b")
        path.write_bytes(drawn["content"])
        target.write_bytes(drawn["target"])
        found = pairs.recognise([path])
        assert found is None or (found.task, found.form in pairs.FORMS) == ("translate", True)
        how = TextSettings(("data.a",), (), "line", drawn["encoding"], drawn["errors"], form=drawn["form"], target="data.b")
        read = pairs.open_([path], how)
        seen = [*read]
        assert [*read] == seen
        assert all(pair.source.strip() and pair.target.strip() for pair in seen)
        data = bitext.load(read, None, "translate", drawn["unit"])
        assert (data.train.sequences, data.train.stream[0], data.train.stream[-1]) == (len(seen), EOS, EOS)
        separators = np.flatnonzero(data.train.stream == len(data.vocab))
        assert np.array_equal(separators, data.train.starts + data.train.sources)
        assert data.targets <= len(data.vocab)


def read_trees(drawn: dict[str, Any]) -> None:
    """Recognise, read and encode trees: brackets are read as they are printed, and each node comes after its children."""
    with folder(), contextlib.suppress(LmgenError):
        path = Path("data")
        path.write_bytes(drawn["content"])
        found = trees.recognise([path])
        assert found is None or (found.task, found.form) == (trees.TASK, trees.FORM)
        read = trees.Trees([path], drawn["encoding"], drawn["errors"])
        seen = [*read]
        assert [*read] == seen
        Path("again").write_text("\n".join(tree.brackets() for tree in seen), "utf-8", "surrogatepass")
        assert [tree.brackets() for tree in trees.Trees([Path("again")])] == [tree.brackets() for tree in seen]
        data = forest.load(read, None, trees.TASK, None)
        assert (data.train.sequences, int(data.train.own.sum())) == (len(seen), sum(len(tree.parents) for tree in seen))
        steps = forest.steps(data.train, np.arange(len(seen)), 4)
        assert np.array_equal(np.sort(steps.nodes[steps.nodes >= 0]), np.arange(len(data.train.left)))
