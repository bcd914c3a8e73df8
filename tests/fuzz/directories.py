"""Model directories that were damaged or forged, and how they are read."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import struct
import tempfile
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from drawing import folder, json_values, mutated
from hypothesis import strategies as st

import lmgen
from lmgen.errors import LmgenError
from lmgen.evaluation import compression
from lmgen.models import arpa, facts, schema
from lmgen.system import arrayfile, checkpoint
from lmgen.training import run

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
