"""ONNX files: onnxruntime computes what lmgen computes, for every cell and task, as a user of the file would ask it.

Shapes: T time, B batch, V vocabulary.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from exports import LETTERS, drawn, ngrams

from lmgen.data.vocab import EOS
from lmgen.errors import InputError, LmgenError
from lmgen.evaluation.scores import scores
from lmgen.exporting import onnx, table
from lmgen.labelled import spelling
from lmgen.models.provenance import Provenance
from lmgen.nn.cells import CELLS
from lmgen.structured.pairs import Pair

pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

TEXTS = ["abacab", "g", "", "fade bag?"]
every_cell = pytest.mark.parametrize("cell", CELLS)


@cache
def pair(kind, cell, **settings):
    """A model, and its file as it is used."""
    lm = drawn(kind, cell=cell, layers=2, **settings)
    return lm, session(lm)


def session(lm):
    return onnxruntime.InferenceSession(table.contents(lm, "onnx")[""], providers=["CPUExecutionProvider"])


def about(file):
    """The metadata."""
    return json.loads(file.get_modelmeta().custom_metadata_map["lmgen"])


def encoded(text, symbols):
    """The ids of a text, by the symbols in the metadata."""
    ids = {symbol: id for id, symbol in enumerate(symbols, 2)}
    return [ids.get(symbol, 1) for symbol in text]


def column(*ids):
    """Ids as one column."""
    return np.array(ids, np.int64)[:, None]


def columns(*texts):
    """Texts of ids side by side, each after EOS, which also fills them up and ends them."""
    longest = max(map(len, texts)) + 2
    return np.array([[EOS, *ids, *[EOS] * (longest - 1 - len(ids))] for ids in texts], np.int64).T


def empty(file, batch):
    """The states before anything is read."""
    states = [one for one in file.get_inputs() if one.name.startswith("layer")]
    return {one.name: np.zeros((batch, one.shape[1]), np.float32) for one in states}


def results(file, **inputs):
    return dict(zip([one.name for one in file.get_outputs()], file.run(None, inputs), strict=True))


def nats(log_p, ids):
    """The nats of each column, the ids of which go down to the EOS that ends it."""
    return -np.take_along_axis(log_p[:-1], ids[1:, :, None], -1)[..., 0]


@pytest.mark.parametrize(("cell", "settings"), [*((cell, {}) for cell in CELLS), ("lstm", {"skip": True})], ids=str)
def test_texts_have_the_same_nats(cell, settings):
    lm, file = pair("language", cell, **settings)
    read = columns(*(encoded(text, about(file)["symbols"]) for text in TEXTS))
    each = nats(results(file, ids=read, **empty(file, len(TEXTS)))["log_p"], read)
    for k, score in enumerate(scores(lm, TEXTS)):
        assert each[: len(score.symbols), k] == pytest.approx([nats for _, nats in score.symbols], abs=1e-4)


@pytest.mark.parametrize("cell", ["lstm", "gru", "gru-reset-before", "transformer"])
def test_running_text_has_the_same_nats(cell):
    lm, file = pair("language", cell, carry=True, tie=True)
    read = column(EOS, *(id for text in TEXTS for id in (*encoded(text, about(file)["symbols"]), EOS)))
    wanted = [nats for score in scores(lm, TEXTS) for _, nats in score.symbols]
    assert nats(results(file, ids=read, **empty(file, 1))["log_p"], read)[:, 0] == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize(("cell", "carry"), [*((cell, False) for cell in CELLS), ("lstm", True), ("gru", True)])
def test_a_text_read_in_parts_has_the_same_nats(cell, carry):
    file = pair("language", cell, **({"carry": True, "tie": True} if carry else {}))[1]
    read = columns([2, 3, EOS, 4, 5, 6, EOS, EOS, 7], [5, 5, 5])
    whole, states, parts = results(file, ids=read, **empty(file, 2)), empty(file, 2), []
    for part in np.split(read, [1, 5, 6]):
        found = results(file, ids=part, **states)
        parts.append(found["log_p"])
        states = {name: found[f"next_{name}"] for name in states}
    np.testing.assert_allclose(np.concatenate(parts), whole["log_p"], atol=1e-5)
    for name, state in states.items():
        np.testing.assert_allclose(state, whole[f"next_{name}"], atol=1e-5)


@every_cell
def test_a_writer_has_the_same_nats_by_each_mixture_of_labels(cell):
    lm, file = pair("generate", cell)
    read = columns(*(encoded(text, about(file)["symbols"]) for text in TEXTS[:2]))
    for weights in ({"x": 1.0}, {"x": 0.25, "y:z": 0.75}):
        shares = np.array([[weights.get(name, 0) for name in about(file)["labels"]]] * 2, np.float32)
        each = nats(results(file, ids=read, labels=shares, **empty(file, 2))["log_p"], read)
        wanted = [score.nats for score in scores(lm.by(weights), TEXTS[:2])]
        assert [each[: len(text) + 1, k].sum() for k, text in enumerate(TEXTS[:2])] == pytest.approx(wanted, abs=1e-4)


@pytest.mark.few("cell", "lstm", "gru", "transformer")
@pytest.mark.parametrize(("cell", "carry"), [*((cell, False) for cell in CELLS), ("lstm", True), ("gru", True)])
def test_a_cloze_model_has_the_same_nats(cell, carry):
    lm, file = pair("cloze", cell, carry=carry, tie=carry)
    text = "abacabg"
    read = columns(encoded(text, about(file)["symbols"]), [EOS] * (len(text) + carry))[:, :1]
    each = -np.take_along_axis(results(file, ids=read)["log_p"], read[..., None], -1)[1:-1, 0, 0]
    wanted = [nats for _, nats in next(scores(lm, [text])).symbols]
    assert each[: len(wanted)] == pytest.approx(wanted, abs=1e-4)


@pytest.mark.few("cell", "lstm", "gru", "transformer")
@every_cell
def test_labels_and_tags_are_as_probable(cell):
    lm, file = pair("tag", cell, task="tag-classify", labels=("x", "y"), vocab=LETTERS)
    found = results(file, ids=columns(*(encoded(text, about(file)["symbols"]) for text in ("bad", "a", "gabbed"))))
    for k, one in enumerate(lm.predict(["bad", "a", "gabbed"])):
        assert np.exp(found["labels"][k]) == pytest.approx([dict(one.labels)[name] for name in about(file)["labels"]], abs=1e-5)
        rows = np.exp(found["tags"][1 : 1 + len(one.tags), k])
        chosen = [about(file)["tags"].index(name) for name, _ in one.tags]
        assert rows[range(len(rows)), chosen] == pytest.approx([p for _, p in one.tags], abs=1e-5)


@pytest.mark.few("cell", "lstm", "gru", "transformer")
@pytest.mark.parametrize(("cell", "how"), [*((cell, "copies") for cell in CELLS), ("lstm", "attends"), ("lstm", "remembers")])
def test_targets_have_the_same_nats(cell, how):
    settings = {"copies": {}, "attends": {"copy": False, "tie": True}, "remembers": {"copy": False, "attention": False}}[how]
    lm, file = pair("pairs", cell, layer_norm=True, vocab=LETTERS, **settings)
    separator = len(LETTERS)
    for source, target in (("abcd", "dcb"), ("g?g", "?a"), ("f", "")):
        ids = {**{symbol: id for id, symbol in enumerate(about(file)["symbols"], 2)}, "?": separator + 1}
        read = column(EOS, *map(ids.get, source), separator, *map(ids.get, target))
        found, total = results(file, ids=read), 0.0
        for place, id in enumerate([*map(ids.get, target), EOS], len(source) + 1):
            if id < lm.config.targets:
                total -= found["log_p"][place, 0, id]
            elif lm.config.copy and id in read[: len(source) + 1]:
                total -= np.log(np.exp(found["copies"][place, 0, read[:, 0] == id]).sum())
            else:
                total -= found["log_p"][place, 0, 1]
        assert total == pytest.approx(next(lm.score([Pair(source, target)])).nats, abs=1e-4)


@pytest.mark.parametrize("changes", [{}, {"vectors": 3, "words": 5}, {"several": True, "direction": "both"}], ids=str)
def test_words_are_read_with_their_letters(changes):
    lm, texts, unknown = drawn("classify", **changes), ["from Oslo to Ulm-7", "York", "Ünder"], ["Ulm-7", "Ünder"]
    file, letters = session(lm), spelling.hashed(unknown).astype(np.int64)
    letters = np.pad(letters, ((0, 0), (0, spelling.MOST - letters.shape[1])), constant_values=-1)
    ids = {word: id for id, word in enumerate([*about(file)["symbols"], *unknown], 2)}
    found = results(file, ids=columns(*([ids[word] for word in text.split()] for text in texts)), letters=letters)["labels"]
    for k, one in enumerate(lm.predict(texts)):
        assert np.exp(found[k]) == pytest.approx([dict(one.labels)[name] for name in about(file)["labels"]], abs=1e-5)
    none = np.zeros((0, spelling.MOST), np.int64)  # where all words are known
    assert results(file, ids=columns([ids["York"]]), letters=none)["labels"][0] == pytest.approx(found[1], abs=1e-5)


def test_a_file_that_computes_something_else_is_not_written(monkeypatch):
    lm, file = pair("language", "lstm")

    class Another:
        def __init__(self, *_, **__):
            self.get_outputs = file.get_outputs

        def run(self, names, inputs):
            return [1.001 * one for one in file.run(names, inputs)]

    monkeypatch.setattr(onnxruntime, "InferenceSession", Another)
    with pytest.raises(LmgenError, match="other numbers than lmgen"):
        table.contents(lm, "onnx")


def test_the_file_says_what_it_holds_and_how_to_use_it():
    hostile = replace(LETTERS, symbols=('"', "\\", "\u2028", "</script>", "\ud800", "🙂", "\0"))
    provenance = Provenance(path=Path("a\udcff\n<b>"))
    file = session(replace(drawn("language", vocab=hostile), provenance=provenance))
    meta = file.get_modelmeta()
    assert "log_p" in meta.description
    assert meta.description == meta.custom_metadata_map["use"]
    assert meta.graph_name == "a??<b>"
    assert tuple(about(file)["symbols"]) == hostile.symbols
    assert {name: about(file)[name] for name in ("cell", "carry", "unit")} == {"cell": "lstm", "carry": False, "unit": "char"}


def test_a_file_that_protobuf_cannot_hold_is_refused(monkeypatch):
    monkeypatch.setattr(onnx, "LARGEST", 1000)
    with pytest.raises(InputError, match=r"2 GiB at most, .*: choose another --format"):
        table.contents(drawn("language"), "onnx")


def test_the_same_model_gives_the_same_file():
    assert table.contents(drawn("language"), "onnx") == table.contents(drawn("language"), "onnx")


def test_a_model_without_a_graph_is_refused(monkeypatch):
    with pytest.raises(InputError, match="an n-gram model, which --format onnx does not hold"):
        table.contents(ngrams(), "onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"pip install 'lmgen\[onnx\]'"):
        table.contents(drawn("language"), "onnx")
