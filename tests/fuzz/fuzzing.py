"""Inputs of five kinds that nobody would make on purpose, and what is done with each: lmgen works, or says in a sentence why not.

Each kind is a strategy and a function that takes what it draws; whatever the function raises is a fault of lmgen. The tests
beside this file run some hundred of each, `make fuzz` and benchmarks/fuzz.py many thousand.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import importlib.util
import io
import itertools
import json
import os
import shutil
import struct
import sys
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import click
import numpy as np
import safetensors.numpy
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

import lmgen
from lmgen.checks import labels as report
from lmgen.checks import plain as check
from lmgen.cli import main
from lmgen.data import corpus, reading
from lmgen.data.vocab import EOS, UNITS, UNK, Vocab
from lmgen.errors import LmgenError
from lmgen.evaluation import compression, scores
from lmgen.labelled import examples, forms, vectors
from lmgen.models import arpa, facts, ngram, schema
from lmgen.models.ngram import NGramModel
from lmgen.models.provenance import Provenance, TextSettings
from lmgen.options import kinds
from lmgen.structured import bitext, forest, graphs, pairs, trees
from lmgen.system import arrayfile, checkpoint
from lmgen.training import run
from support import call

LONG = bool(os.environ.get("LMGEN_LONG"))


def level(quick: int, long: int) -> settings:
    """How many examples are tried: always the same few, or with LMGEN_LONG=1 many others each time."""
    phases = [Phase.explicit, Phase.generate, Phase.shrink]
    return settings(
        max_examples=long if LONG else quick,
        deadline=None,
        database=None,
        derandomize=not LONG,
        phases=phases,
        suppress_health_check=list(HealthCheck),
    )


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """An empty folder to work in."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        os.chdir(name)
        try:
            yield Path(name)
        finally:
            os.chdir(before)


# ---- texts -------------------------------------------------------------------------------------------------------------

PARTS = [
    *("a", "b", "ab", "the cat", " ", "  ", "\t", "\n", "\n\n", "\r\n", "\r", "\0", "\x1b[31m", "\x85", "\u2028", "\ufeff", "é"),
    *(
        "e\u0301",
        "中文",
        "🦊",
        "\ud800",
        "\u202e",
        "<unk>",
        "<eos>",
        "</s>",
        "Ã©",
        "\U0010ffff",
        "x" * 70,
        "word " * 30,
        "\\",
        '"',
    ),
]
texts = st.lists(st.sampled_from(PARTS) | st.text(max_size=8), max_size=24).map("".join)
contents = st.one_of(
    texts.map(lambda t: t.encode("utf-8", "surrogatepass")),
    texts.flatmap(lambda t: st.sampled_from(["utf-16", "utf-32", "utf-16-le", "latin-1"]).map(lambda e: t.encode(e, "ignore"))),
    st.binary(max_size=200),
    st.lists(st.sampled_from([b"\x1f\x8b", b"PK\x03\x04", b"\xff\xfe", b"\xef\xbb", b"\n", b"a", b"\xf0\x9f"])).map(b"".join),
)
ENCODINGS = ["utf-8"] * 6 + ["utf-8-sig", "utf-16", "utf-32", "utf-7", "latin-1", "cp1252", "shift_jis", "hex", "klingon", ""]
readings = st.fixed_dictionaries(
    {
        "content": contents,
        "sequence": st.sampled_from(list(reading.SEQUENCES)),
        "carry": st.booleans(),
        "encoding": st.sampled_from(ENCODINGS),
        "errors": st.sampled_from(["strict", "replace"]),
        "unit": st.sampled_from(list(UNITS)),
        "unk_token": st.sampled_from([None] * 4 + ["<unk>", "a", " "]),
        "block": st.integers(2, 40) | st.just(1 << 20),
    }
)


def read_corpus(drawn: dict[str, Any]) -> None:
    """Read, count, split, encode and look at a text, compress its bytes with a model of it; ids spell what was read."""
    with folder(), mock.patch("lmgen.data.reading.BLOCK", drawn["block"]):
        path = Path("corpus.txt")
        path.write_bytes(drawn["content"])
        how = (drawn["sequence"], drawn["carry"], drawn["encoding"], drawn["errors"])
        with contextlib.suppress(LmgenError):
            loaded = corpus.load(reading.Text([path], *how), None, drawn["unit"], drawn["carry"], unk_token=drawn["unk_token"])
            assert loaded.train.stream.max() < len(loaded.vocab)
            _spells(loaded.vocab, list(reading.whole(reading.Text([path], *how))))
            counts = ngram.Counts(loaded.train.stream, len(loaded.vocab), drawn["carry"])
            levels = ngram.smoothed(counts, 2)
            read_as = Provenance(TextSettings(sequence=drawn["sequence"]))
            model = NGramModel(ngram.NGramConfig(len(loaded.vocab), 2, drawn["carry"]), levels, loaded.vocab, read_as)
            measured = scores.measure(model, loaded.train)
            assert np.isfinite(measured.nats)
            if drawn["unit"] != "word-only":
                assert compression.decompress(model, compression.compress(model, drawn["content"])) == drawn["content"]
        with contextlib.suppress(LmgenError):
            check.check(reading.Text([path], *how), unit="word" if drawn["unit"] in ("char", "subword") else drawn["unit"])


def _spells(vocab: Vocab, sequences: list[str]) -> None:
    """Where nothing is unknown, ids spell the text; of words, with a space between them."""
    for sequence in sequences:
        ids = vocab.encode(sequence)
        if vocab.unit == "word-only" or (ids == UNK).any():
            continue
        assert vocab.decode(ids) == (" ".join(sequence.split()) if vocab.unit == "word" else sequence)


@st.composite
def mutated(draw: st.DrawFn, whole: bytes) -> bytes:
    """Bytes with some replaced, dropped, repeated or put in, or cut short."""
    content = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content)))
        span = draw(st.sampled_from([0, 1, 1, 2, 8, 40]))
        new = draw(st.binary(max_size=4) | st.sampled_from([b"", b"\0", b"\xff", b"9", b'"', b"-1", b"1e999", b"[" * 40, b"\n"]))
        content[at : at + span] = new
    return bytes(content[: draw(st.integers(0, len(content)))] if draw(st.booleans()) else content)


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
        "form": st.sampled_from(pairs.FORMS),
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


# ---- vocabularies ------------------------------------------------------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.just("1" * 50),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=6,
)


VOCABULARY = Vocab("word-punct", (" a", "b", "é", "\n"), "<unk>").to_json().encode()
SUBWORDS = Vocab.of(Counter({"the": 9, " cat": 5, " é": 3}), "subword").to_json().encode()
vocabularies = st.one_of(
    mutated(VOCABULARY),
    mutated(SUBWORDS),
    st.binary(max_size=100),
    st.fixed_dictionaries(
        {
            "unit": st.sampled_from([*UNITS, "syllable"]) | json_values,
            "symbols": st.lists(st.text(max_size=3), max_size=6) | st.lists(json_values, max_size=3) | json_values,
            "unk_token": st.none() | st.text(max_size=4) | json_values,
        }
    ).map(lambda value: json.dumps(value).encode("utf-8", "surrogatepass")),
).flatmap(lambda content: st.tuples(st.just(content), texts))


def read_vocabulary(drawn: tuple[bytes, str]) -> None:
    """Read vocab.json as a model directory's is read; one that is taken encodes and spells any text, and comes back."""
    content, written = drawn
    with folder() as here, contextlib.suppress(LmgenError):
        Path("vocab.json").write_bytes(content)
        Path("config.json").write_bytes(b"{}")
        hashes = {name: hashlib.sha256(Path(name).read_bytes()).hexdigest() for name in ("config.json", "vocab.json")}
        texts = checkpoint.read_texts(here, {"files": hashes})
        vocab = Vocab.from_json(texts["vocab.json"])
        assert Vocab.from_json(vocab.to_json()) == vocab
        ids = vocab.encode(written)
        assert not len(ids) or int(ids.max()) < len(vocab)
        vocab.decode(ids)
        vocab.unknown(written)


# ---- vectors made elsewhere --------------------------------------------------------------------------------------------

_TEXT = b"the 0.1 -2 3e-4\nTaipei 0.4 5 6\n. . 7 8 9\n"
_FLOATS = struct.pack("<6f", 0.1, 0.2, -0.3, 4, 5, 6)
VECTORS = [_TEXT, b"3 3\n" + _TEXT, b"2 3\nthe " + _FLOATS[:12] + b"\n2nd " + _FLOATS[12:] + b"\n"]
vector_files = (
    st.sampled_from([*VECTORS, *(gzip.compress(content, mtime=0) for content in VECTORS)]).flatmap(mutated)
    | st.sampled_from(VECTORS).flatmap(mutated).map(lambda content: gzip.compress(content, mtime=0))
    | st.binary(max_size=60)
)


def read_vectors(content: bytes) -> None:
    """Read vectors; those that are taken are whole and finite."""
    with folder(), contextlib.suppress(LmgenError):
        Path("vectors").write_bytes(content)
        found = vectors.read(Path("vectors"))
        assert len(found.words) == len(found.matrix) > 0
        assert np.isfinite(found.matrix).all()


# ---- model directories -------------------------------------------------------------------------------------------------

SMALL = {"steps": 2, "size": 4, "embedding": 4, "batch": 2, "window": 4, "precision": "f32"}
TEXT = "the cat sat\non the mat\n\nthe dog ran\nto the cat, and the <unk> sat\n" * 4


GOLDEN: dict[str, tuple[str, Callable[[Any], Any]]] = {  # models with a structure: what is predicted of, and its probabilities
    "pairs": ("re then the", lambda one: [one.probability]),
    "trees": ("(0 (1 re) (1 the))", lambda one: one.probabilities),
    "graph": ('{"nodes": ["re", "the"], "edges": [[0, 1, "x"]]}', lambda one: [p for _, p in (*one.labels, *one.tags)]),
}


@cache
def models() -> Path:
    """A folder with a text and checkpoints/ with small models of several kinds, made once; to be copied."""
    place = Path(tempfile.mkdtemp(prefix="fuzz-models-"))
    with contextlib.chdir(place):
        Path("text.txt").write_text(TEXT)
        for name, wanted in {
            "net": SMALL,
            "running": {**SMALL, "carry": True, "unit": "word", "cell": "gru"},
            "cloze": {**SMALL, "direction": "both"},
            "grams": {"cell": "ngram", "order": 3},
            "subwords": {"cell": "ngram", "order": 2, "unit": "subword"},
            "words": {"cell": "ngram", "order": 2, "unit": "word-punct", "unk_token": "<unk>", "carry": True},
        }.items():
            lmgen.train("text.txt", output=f"checkpoints/{name}", **wanted)
        Path("tags.conll").write_text("the O\ncat B-x\nsat I-x\n\nthe O\ndog B-y\n\n" * 9)
        Path("classes.tsv").write_text("good\tthe cat sat\nbad,good\tthe dog ran\n" * 9)
        lmgen.train("tags.conll", output="checkpoints/tagger", **SMALL)
        lmgen.train("classes.tsv", output="checkpoints/classes", task="classify", input="symbol", **SMALL)
        lmgen.train("classes.tsv", output="checkpoints/writer", task="generate", **SMALL)
        for name in GOLDEN:
            shutil.copytree(Path(__file__).resolve().parents[1] / "golden" / "format-2" / name, f"checkpoints/{name}")
        with open("grams.arpa", "w", encoding="utf-8") as file:
            arpa.write(lmgen.load("grams").lm, file)
        Path("packed.lmz").write_bytes(compression.compress(lmgen.load("grams").lm, TEXT.encode()))
    return place


def _tied(path: Path, changes: list[tuple[str, Any]]) -> None:
    """Make the hashes in a directory's weights and snapshots those of its text files, as one who forges it would, and change what
    they say themselves, too."""
    hashes = {name: hashlib.sha256((path / name).read_bytes()).hexdigest() for name in ("config.json", "vocab.json")}
    known = [(file, "known") for file in path.glob(checkpoint.KNOWN)]
    for file, kind in [(path / "model.safetensors", "model"), *known, *((s, "training") for s in checkpoint.snapshots(path))]:
        arrays, about = arrayfile.read_arrays(file, kind)
        for key, value in changes:
            for inner in (about.get("train", {}), about.get("progress", {}), about):
                if isinstance(inner, dict) and key in inner:
                    inner[key] = value
        arrayfile.write_arrays(file, kind, arrays, {k: v for k, v in about.items() if k not in OWN} | {"files": hashes})


OWN = ("format", "kind", "lmgen")  # what write_arrays says itself


TABLES = (*schema.MODELS.values(), schema.TRAINING, schema.PROGRESS, schema.TEXT, schema.WEIGHTS)
OF_VOCABULARY = ("unit", "unk_token", "symbols")
KEYS = ["model", "train", "text", "progress", *OF_VOCABULARY, *sorted({name for table in TABLES for name in table})]
VALUES = [None, True, 0, 1, -1, 4, 5, 1 << 20, 1 << 31, 1 << 62, 1 << 70, 0.5, 1e308, float("nan"), "", "lstm", "gru", "ngram"]
VALUES += ["classify", "tag", "generate", ["a", "a"], ["x"] * 300, [""], ["B-a", "I-b"], ["good", 1], {"labels": 1e-40}]
VALUES += ["translate", "tree", "graph", "tsv", "parallel", {"nodes": 1e-320}, 12, 14]
VALUES += ["both", "forward", "line", "file", "utf-8", "\x1b[31m", [], {}, [1], ["text.txt"], ["\0"], [None], {"a": 1}]
configs = st.tuples(
    st.sampled_from(["net", "grams", "subwords", "cloze", "tagger", "classes", "writer", *GOLDEN]),
    st.lists(st.tuples(st.sampled_from(KEYS), st.sampled_from(VALUES) | json_values), min_size=1, max_size=3)
    | st.binary(max_size=60),
)


def read_config(drawn: tuple[str, list[tuple[str, Any]] | bytes]) -> None:
    """Load, show and measure a model whose config.json was changed by someone who made the hashes agree."""
    name, changes = drawn
    with folder():
        shutil.copytree(models() / "checkpoints" / name, "m")
        config, vocabulary = Path("m", "config.json"), Path("m", "vocab.json")
        if isinstance(changes, bytes):
            config.write_bytes(changes)
        else:
            settings, spelt = json.loads(config.read_text()), json.loads(vocabulary.read_text())
            for key, value in changes:
                inner = next((v for v in (spelt, *settings.values()) if isinstance(v, dict) and key in v), settings)
                inner[key] = value
            config.write_text(json.dumps(settings))
            vocabulary.write_text(json.dumps(spelt))
        _tied(Path("m"), [] if isinstance(changes, bytes) else changes)
        _use("m", name)


def _use(name: str, kind: str) -> None:
    """What commands do with a model: show it, load it, write, measure, go on training."""
    with contextlib.suppress(LmgenError):
        found = facts.model(name)
        assert all(isinstance(facts.words(value), str) for value in found.values())
    with contextlib.suppress(LmgenError):
        run.resume(Path(name))
    with contextlib.suppress(LmgenError):
        model = lmgen.load(name)
        repr(model)
        if model.predicts:
            text, of = GOLDEN.get(kind, ("the cat", GOLDEN["graph"][1]))
            for one in model.predict([text] if kind in GOLDEN else [text, "é", ""]):
                assert all(0 <= p <= 1 for p in of(one))
            return
        model = model.by({model.lm.config.labels[0]: 1.0}) if model.conditions and model.lm.config.labels else model
        assert all(np.isfinite(one.nats) for one in model.score(["the cat", "é"]))
        if not model.fills:
            assert all(np.isfinite(one.nats) for one in model.sample(1, max_length=3))
    with contextlib.suppress(LmgenError):
        lmgen.load(name).evaluate()


FILES = ["model.safetensors", "config.json", "vocab.json", "known.safetensors", "train"]


@st.composite
def _damage(draw: st.DrawFn) -> Callable[[Path], None]:
    """A change to a model directory: of any file's bytes, or of the arrays, with hashes that agree."""
    if draw(st.booleans()):
        which = draw(st.sampled_from(FILES))
        places = draw(st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=9), st.integers(0, 9)), min_size=1, max_size=3))
        length = draw(st.none() | st.floats(0, 1))

        def bytes_of(path: Path) -> None:
            file = path / which if which != "train" else next((path / "train").glob("step-*"), path / "config.json")
            if not file.exists():
                return
            content = bytearray(file.read_bytes())
            for place, new, span in places:
                at = int(place * len(content))
                content[at : at + span] = new
            file.write_bytes(content[: None if length is None else int(length * len(content))])

        return bytes_of
    which = draw(st.integers(0, 20))
    how = draw(st.sampled_from(["drop", "rename", "reshape", "double", "nan", "huge", "about", "header"]))
    value = draw(json_values | st.sampled_from(VALUES))
    key = draw(st.sampled_from([*schema.WEIGHTS, "files", "format", "x"]))

    def arrays_of(path: Path) -> None:
        found, about = arrayfile.read_arrays(path / "model.safetensors", "model")
        name = sorted(found)[which % len(found)]
        array = found.pop(name)
        changed: dict[str, Any] = {
            "drop": {},
            "rename": {f"../{name}\x1b": array},
            "reshape": {name: array.reshape(-1, 1)},
            "double": {name: np.concatenate([array, array])},
            "nan": {name: np.broadcast_to(np.array(np.nan if array.dtype.kind == "f" else -1).astype(array.dtype), array.shape)},
            "huge": {name: np.broadcast_to(np.array(3e38 if array.dtype.kind == "f" else 7).astype(array.dtype), array.shape)},
            "about": {name: array},
            "header": {name: array},
        }[how]
        about |= {key: value} if how == "about" else {}
        kept = {k: v for k, v in about.items() if k not in OWN}
        arrayfile.write_arrays(path / "model.safetensors", "model", found | changed, kept)
        if how == "header":
            _change_header(path / "model.safetensors", value)

    return arrays_of


def _change_header(file: Path, value: Any) -> None:
    content = file.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    header[next(name for name in header if name != "__metadata__")]["shape"] = value
    new = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(new)) + new + content[8 + length :])


def _forged(flags: int, length: int, sequences: int, rest: Any, words: bytes) -> bytes:
    """A compressed file whose hashes are right and whose content is not."""
    extra = zlib.compress(json.dumps(rest).encode())
    sizes, body = (length, sequences, len(extra)), extra + words
    known = (compression.identity(_grams()), compression.checksum(b""))
    file = compression.checksum(compression.HEADER.pack(compression.MAGIC, flags, *known, b"", *sizes), body)
    return compression.HEADER.pack(compression.MAGIC, flags, *known, file, *sizes) + body


checkpoints = st.one_of(
    st.tuples(st.sampled_from(["net", "grams", "cloze", "tagger", "classes", "writer", *GOLDEN]), _damage()),
    st.tuples(
        st.just("arpa"), st.deferred(lambda: mutated((models() / "grams.arpa").read_bytes()[:3000]) | st.binary(max_size=80))
    ),
    st.tuples(st.just("lmz"), st.deferred(lambda: mutated((models() / "packed.lmz").read_bytes()))),
    st.tuples(
        st.just("lmz"),
        st.builds(
            _forged,
            st.integers(0, 7),
            st.sampled_from([0, 1, 9, 1 << 63]),
            st.sampled_from([0, 1, 3, (1 << 32) - 1]),
            json_values
            | st.dictionaries(
                st.sampled_from(["before", "gaps", "after", "spaces"]), json_values | st.just({"0": "x", "9": "\n"})
            ),
            st.binary(max_size=40),
        ),
    ),
    st.tuples(
        st.just("lines"),
        st.lists(
            st.tuples(
                st.integers(0, 60),
                st.sampled_from(
                    ARPA_LINES := [
                        "",
                        "\\data\\",
                        "\\end\\",
                        "\\1-grams:",
                        "\\2-grams:",
                        "ngram 1=99999999999",
                        "ngram 2=0",
                        "ngram 1=3",
                        "-1\ta\t-1",
                        "nan\ta",
                        "-inf\t<s>\t1e999",
                        "-1\tt h\t-0.5",
                        "-1 a b c d e",
                        "# lmgen unit=char sequence=\x1b carry=true",
                        "\\x00\\u0000",
                    ]
                ),
            ),
            min_size=1,
            max_size=4,
        ),
    ),
)


def read_checkpoint(drawn: tuple[str, Any]) -> None:
    """Load and use a damaged or forged model directory, ARPA file or compressed file."""
    kind, change = drawn
    with folder():
        if kind in ("arpa", "lines"):
            if kind == "lines":
                lines = (models() / "grams.arpa").read_text("utf-8").split("\n")
                for at, line in change:
                    lines[at : at + 1] = [line]
                change = "\n".join(lines).encode("utf-8", "surrogatepass")
            Path("x.arpa").write_bytes(change)
            with contextlib.suppress(LmgenError):
                found = arpa.read(Path("x.arpa"))
                _, log_p = found.read(found.start(1), np.array([[0]]))
                assert not np.isnan(log_p).any()
        elif kind == "lmz":
            with contextlib.suppress(LmgenError):
                compression.decompress(_grams(), change)
        else:
            shutil.copytree(models() / "checkpoints" / kind, "m")
            change(Path("m"))
            _use("m", kind)


@cache
def _grams() -> Any:
    return lmgen.load(models() / "checkpoints" / "grams").lm


# ---- options -----------------------------------------------------------------------------------------------------------

WHOLE = ["1", "2", "3", "7", "0", "-1", "x", "", "1e3", "nan", "2147483648", "9" * 400, "٣", "1_0", " 2"]
NUMBERS = ["0", "0.5", "1", "2", "1e-9", "-1", "nan", "inf", "x", "", "1e308", "1e400", "1e-320"]
NAMES = [
    "net",
    "grams",
    "cloze",
    "running",
    "words",
    "tagger",
    "classes",
    "writer",
    "checkpoints/net",
    "",
    ".",
    "/dev/null",
    "no\x1bne",
    "text.txt",
    "a" * 300,
]
TEXTS = [
    "text.txt",
    "text.txt",
    "other.txt",
    "-",
    "empty.txt",
    "bad.bin",
    "zip.zip",
    "folder",
    "missing",
    "/dev/zero",
    "",
]
TEXTS += ["tags.conll", "classes.tsv", "classes.tsv", "grams.arpa", "packed.lmz", "cities", "link", "\udcff"]
WORDS = ["", "a", "the cat", "the ___ s_t", "_", "<unk>", "é\x1b", "\n", "ж" * 50, "-", "--", "\udcff"]
OUTPUTS = [
    "out",
    "checkpoints/net",
    "folder",
    "text.txt",
    "/dev/null",
    "/dev/null/x",
    "-",
    "",
    ".",
    "a" * 300,
    "new/er",
    "\x1b",
]
# What an option takes, where its type does not say; what would take long is left out, and shown to be refused elsewhere.
SPECIAL = {
    "epochs": ["0.1", "1", "0", "nan", "1e7"],
    "budget": ["0.1s", "0", "soon", "1e9", "-1", "", "٣"],
    "speed": [],
    "baselines": None,
    "cell": ["lstm", "gru", "elman", "ngram", "lstmm", ""],
    "order": ["1", "2", "0", "33", "x"],
    "direction": ["forward", "both", "x"],
    "encoding": ENCODINGS,
    "samples_encoding": ENCODINGS,
    "prompt": WORDS,
    "blank": ["_", "a", "", "__", "\\", "é", "["],
    "unk_token": ["<unk>", "", "a", " ", "\n", "(", "\udcff"],
    "output": OUTPUTS,
    "resume": NAMES,
    "from_": NAMES,
    "against": NAMES,
    "vectors": ["vectors.txt", "vectors.txt", "text.txt", "missing", "folder", "empty.txt", "-", "/dev/zero", ""],
    "label": ["good", "bad", "good:0.7,bad:0.3", "good:-1", "x", "", ":", "good:nan", ","],
    "separator": [",", "", "|", "\t", "ж"],
    "plot": ["c.png", "c.xyz", "folder", ""],
    "with": NAMES,
    "model": NAMES,
    "names": ["lstm", "gru", "ngram", "x", ""],
    "name": ["cities", "names", "x", "../x", ""],
    "file": TEXTS,
    "texts": WORDS,
    "width": WHOLE,
}
ALWAYS = {  # what keeps a command short, unless an option that is drawn says otherwise
    "train": ["--steps", "2", "--size", "4", "--embedding", "4", "--batch", "2", "--window", "4", "--precision", "f32"],
    "sample": ["--max-length", "20", "--count", "2"],
    "cells": ["--no-speed"],
}


def commands(group: click.Group = main.cli, before: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command with its words."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*before, name))
        else:
            yield (*before, name), command


def _values(param: click.Parameter) -> list[str] | None:
    """What is tried for a parameter; None for a flag."""
    if param.name in SPECIAL:
        return SPECIAL[param.name]
    if isinstance(param, click.Option) and (param.is_flag or param.secondary_opts):
        return None
    if isinstance(param.type, click.Choice):
        return [*param.type.choices, "x", ""]
    kind = getattr(param.type, "kind", None)
    if isinstance(kind, kinds.Choice):
        return [*kind.names, "x", ""]
    if isinstance(kind, kinds.Whole):
        return WHOLE
    if isinstance(kind, kinds.Bounded):
        return NUMBERS
    return TEXTS


@st.composite
def _invocation(draw: st.DrawFn, words: tuple[str, ...], command: click.Command) -> list[str]:
    """A call of a command: its arguments, and up to five of its options with likely and unlikely values."""
    said: list[str] = []
    given_options = [p for p in command.params if isinstance(p, click.Option)]
    for param in draw(st.lists(st.sampled_from(given_options), max_size=5, unique_by=id)) if given_options else []:
        values = _values(param)
        name = draw(st.sampled_from([*param.opts, *param.secondary_opts]))
        if values is None:
            said.append(name)
        elif values:
            said += [name, draw(st.sampled_from(values))]
    if command.name == "train" and {"--steps", "--epochs", "--budget", "--resume"} & set(said):
        always = ALWAYS["train"][2:] if "--resume" not in said else []
    else:
        always = ALWAYS.get(command.name or "", [])
    pairs = list(zip(always[::2], always[1::2], strict=True)) if len(always) > 1 else [tuple(always)]
    for pair in pairs:
        said += [] if pair and pair[0] in said else pair
    likely = draw(st.integers(0, 3))  # mostly all arguments, of a kind that may work
    for param in command.params:
        if isinstance(param, click.Argument):
            values = _values(param) or [""]
            some = values[:2] if likely and len(values) > 2 else values
            most = 2 if param.nargs == -1 else 1
            chosen = draw(st.lists(st.sampled_from(some), min_size=min(1, likely), max_size=most))
            said += [word if not word.startswith("-") or word == "-" else f"./{word}" for word in chosen]
    return [*words, *said]


invocations = st.sampled_from(list(commands())).flatmap(lambda pair: st.tuples(_invocation(*pair), contents))


def _no_server() -> Any:
    """What would serve until it is interrupted ends at once."""
    return mock.patch("lmgen.serving.run.serve") if importlib.util.find_spec("uvicorn") else contextlib.nullcontext()


def run_command(drawn: tuple[list[str], bytes]) -> int:
    """Run a command in a folder of models and texts; the only outcomes are the exit codes, with a sentence and no traceback."""
    words, stdin = drawn
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", errors="backslashreplace") for _ in range(2))
    with folder() as here:
        shutil.copytree(models(), here, dirs_exist_ok=True)
        Path("other.txt").write_text("dog\ncat\n" * 9)
        Path("empty.txt").touch()
        Path("vectors.txt").write_text("the 1 2\ncat 3 4\n")
        Path("bad.bin").write_bytes(b"a\xff\n")
        Path("zip.zip").write_bytes(b"PK\x03\x04")
        Path("folder").mkdir()
        Path("link").symlink_to("link")
        given = io.TextIOWrapper(io.BytesIO(stdin))
        with mock.patch.multiple(sys, stdin=given, stdout=out, stderr=err), _no_server():
            code = call(*words)
        out.flush(), err.flush()
        told = err.buffer.getvalue().decode(errors="replace")
    assert code in (0, 1, 2, 3, 4), (code, told)
    assert "Traceback" not in told, told
    assert code == 0 or told, words
    return code


# Each kind: what is drawn, what is done with it, and how many are tried quickly, at length, and for benchmarks/RESULTS.md.
KINDS: dict[str, tuple[st.SearchStrategy[Any], Callable[[Any], Any], int, int, int]] = {
    "corpora": (readings, read_corpus, 300, 20_000, 5_000),
    "labelled": (labelled, read_labelled, 300, 20_000, 5_000),
    "graphs": (graph_files, read_graphs, 300, 20_000, 5_000),
    "pairs": (pair_files, read_pairs, 300, 20_000, 5_000),
    "trees": (tree_files, read_trees, 300, 20_000, 5_000),
    "vocabularies": (vocabularies, read_vocabulary, 300, 20_000, 10_000),
    "vectors": (vector_files, read_vectors, 300, 20_000, 5_000),
    "configurations": (configs, read_config, 80, 5_000, 2_500),
    "checkpoints": (checkpoints, read_checkpoint, 150, 5_000, 2_500),
    "options": (invocations, run_command, 80, 5_000, 1_200),
}
__all__ = ["KINDS", "commands", "folder", "level", "models", "run_command", "safetensors"]
