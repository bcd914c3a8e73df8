"""Texts, vocabularies and vectors that nobody would make on purpose, and how they are read."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import struct
from collections import Counter
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from drawing import ENCODINGS, contents, folder, json_values, mutated, texts
from hypothesis import strategies as st

from lmgen.checks import plain as check
from lmgen.data import corpus, reading
from lmgen.data.vocab import UNITS, UNK, Vocab
from lmgen.errors import LmgenError
from lmgen.evaluation import compression, scores
from lmgen.labelled import vectors
from lmgen.models import ngram
from lmgen.models.ngram import NGramModel
from lmgen.models.provenance import Provenance, TextSettings
from lmgen.system import checkpoint

# ---- texts -------------------------------------------------------------------------------------------------------------


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


# ---- vocabularies ------------------------------------------------------------------------------------------------------


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
