"""What the page asks of the server: each answer is that of the library, within the bounds, and errors are sentences."""

from __future__ import annotations

import base64
import json
from importlib import resources
from itertools import islice

import numpy as np
import pytest
from clients import message

import lmgen
from lmgen.evaluation import inspection
from lmgen.generation import holding
from lmgen.generation.sampling import Settings, samples
from lmgen.models.scoring import stream_nats

served = pytest.importorskip("served", exc_type=ModuleNotFoundError)
testclient = pytest.importorskip("starlette.testclient")


@pytest.fixture(scope="module")
def models(model_path):
    return {"words": lmgen.load(model_path, precision="f32"), **served.every_kind()}


@pytest.fixture(scope="module")
def client(models):
    with testclient.TestClient(served.app.application(models), base_url="http://localhost") as client:
        yield client


@pytest.fixture
def ask(client):
    """Ask the page's server about a model; an answer that is not 200 is its sentence."""

    def ask(path, **fields):
        response = client.post(f"/page/{path}", json=fields)
        return response.json() if response.status_code == 200 else response.json()["error"]["message"]

    return ask


# ---- the files -------------------------------------------------------------------------------------------------------------


def test_the_files_are_served_and_no_others(client):
    page = client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    for name, kind in {"main.js": "text/javascript", "page.css": "text/css", "base.css": "text/css"}.items():
        assert client.get(f"/static/{name}").headers["content-type"] == f"{kind}; charset=utf-8"
    for name in ("page.py", "__init__.py", "../page.py", "..%2Fpage.py", "x.js", ""):
        assert client.get(f"/static/{name}").status_code == 404


def test_every_file_that_a_file_names_is_there(client):
    static = resources.files("lmgen.serving") / "static"
    named = {part.partition('"')[0] for one in static.iterdir() for part in one.read_text("utf-8").split('from "./')[1:]}
    named |= {part.partition('"')[0] for part in (static / "index.html").read_text("utf-8").split('"/static/')[1:]}
    assert {"dom.js", "main.js", "base.css"} <= named
    for name in named:
        assert client.get(f"/static/{name}").status_code == 200, name


FORBIDDEN = ("<style", " style=", " onclick=", "javascript:", "innerHTML", "outerHTML", "insertAdjacentHTML", "eval(")


def test_no_file_needs_what_the_policy_forbids():
    static = resources.files("lmgen.serving") / "static"
    for one in static.iterdir():
        text = one.read_text("utf-8")
        for forbidden in (
            "<style",
            " style=",
            " onclick=",
            "javascript:",
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "eval(",
        ):
            assert forbidden not in text, (one.name, forbidden)
        assert "http" not in text.replace("http://www.w3.org/2000/svg", ""), one.name


# ---- the models ------------------------------------------------------------------------------------------------------------

VIEWS = {
    "words": ["write", "surprise", "temperature", "memory", "units"],
    "deep": ["write", "surprise", "temperature", "memory", "units"],
    "cloze": ["surprise", "blanks", "memory", "units"],
    "word": ["write", "surprise", "temperature", "memory", "units"],
    "word-punct": ["write", "surprise", "temperature", "memory", "units"],
    "counts": ["write", "surprise", "temperature"],
    "tags": ["labels", "memory", "units"],
    "classes": ["labels", "memory", "units"],
    "pairs": ["pairs", "memory", "units"],
    "writer": ["write", "surprise", "temperature", "memory", "units"],
}


def test_each_model_has_the_views_that_it_can_do(client):
    found = client.get("/page/models").json()["models"]
    assert {one["name"]: one["views"] for one in found} == VIEWS
    words, deep, cloze = found[:3]
    assert words["example"].splitlines()[0] in words["example"]
    assert words["layers"] == [{"title": "layer 1", "names": ["h", "c", "i", "f", "o", "g"], "units": 32}]
    assert [layer["title"] for layer in deep["layers"]] == ["layer 1", "layer 2"]
    assert cloze["layers"][1]["title"] == "layer 1, from the right"


# ---- what is expected ------------------------------------------------------------------------------------------------------


def test_a_text_is_explained_as_the_model_scores_it(ask, models):
    lm = models["words"].lm
    found = ask("explain", model="words", text="bade\nkimo!")["symbols"]
    assert "".join(one["text"] for one in found) == "bade\nkimo!"
    stream = np.array([0, *lm.vocab.encode("bade"), 0, *lm.vocab.encode("kimo!"), 0])
    np.testing.assert_allclose([one["nats"] for one in found], stream_nats(lm, stream), rtol=1e-4)
    assert [one["known"] for one in found] == [True] * 9 + [False, True]
    assert found[0]["rank"] == 1 + sum(p > np.exp(-found[0]["nats"]) for _, p in found[0]["alternatives"])


def test_a_text_is_compared_with_the_corpus(ask, models):
    first = models["words"].lm.provenance.text.files[0]
    with open(first, encoding="utf-8") as file:
        line = file.readline().strip()
    found = ask("explain", model="words", text=line, compare=True)
    assert found["copies"] == [{"text": line, "line": line}]
    assert all(one["copied"] for one in found["symbols"][:-1])
    assert all(one["ngram"]["rank"] >= 1 for one in found["symbols"])
    assert found["compared"]
    lacking = ask("explain", model="deep", text=line, compare=True)
    assert not lacking["compared"]
    assert lacking["symbols"][0]["ngram"] is None


def test_the_ends_of_a_cloze_model_are_given(ask):
    found = ask("explain", model="cloze", text="ab\nc")["symbols"]
    assert [one["text"] for one in found] == ["a", "b", "\n", "c"]
    assert found[2]["nats"] is None


@pytest.mark.parametrize("name", ["words", "deep", "counts"])
@pytest.mark.parametrize("text", ["", "ba", "ba" * 70])
def test_the_next_symbol_is_that_of_the_model(ask, models, name, text):
    lm = models[name].lm
    found = ask("next", model=name, text=text)
    logits = np.asarray(lm.read(lm.start(1), np.array([[0], *lm.vocab.encode(text)[:, None]], np.int32))[1], np.float64)[-1, 0]
    logits[1] = -np.inf
    p = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    np.testing.assert_allclose(np.exp(-np.array(found["nats"])), np.sort(p)[::-1][:-1], atol=1e-4)
    assert found["symbols"][0] == lm.vocab.spell(int(p.argmax()))


# ---- units -----------------------------------------------------------------------------------------------------------------


def test_states_are_those_of_the_library(ask, models):
    expected = inspection.trace(models["deep"].lm, "abc\nde").layers[1].units["z"]
    found = ask("states", model="deep", text="abc\nde", layer=1, of="z")
    numbers = np.frombuffer(base64.b64decode(found["values"]), np.int8).reshape(6, found["units"]) / 127 * found["scale"]
    np.testing.assert_allclose(numbers, expected, atol=found["scale"] / 127)
    assert found["pieces"] == ["a", "b", "c", "\n", "d", "e"]


def test_units_of_a_selection_are_those_of_the_library(ask, models):
    found = ask("units", model="deep", text="abcdef", start=1, end=3)["matches"]
    expected = inspection.matches(inspection.trace(models["deep"].lm, "abcdef"), 1, 3)
    assert [(one["layer"], one["unit"]) for one in found] == [(match.layer, match.unit) for match in expected[: len(found)]]


def test_a_unit_is_held(ask, models):
    found = ask("hold", model="words", prompt="b", seed=3, holds=[{"layer": 0, "unit": 4, "value": 5}])
    lm = models["words"].lm
    for name, holds in {"free": [], "held": [holding.Hold(0, 4, 5.0)]}.items():
        expected = islice(samples(holding.holding(lm, holds), Settings(max_length=200), 3, "b"), 8)
        assert found[name] == [sample.text for sample in expected]
    assert found["free"] != found["held"]


# ---- the other kinds -------------------------------------------------------------------------------------------------------


def test_blanks_are_filled(ask, models):
    found = ask("fill", model="cloze", text="a_c", count=3)["fillings"]
    assert [one["text"] for one in found] == [one.text for one in models["cloze"].fill("a_c", 3)]


def test_a_model_writes_and_scores_by_its_label(ask, models):
    by = [ask("explain", model="writer", label=label, text="bade re")["symbols"] for label in ("bade", "kimo")]
    sums = [sum(one["nats"] for one in found) for found in by]
    assert sums == pytest.approx([next(models["writer"].by(name).score(["bade re"])).nats for name in ("bade", "kimo")], rel=1e-4)


# ---- what is refused -------------------------------------------------------------------------------------------------------

REFUSED = {
    "a text that is none": ("explain", {"text": 7}, "not a text"),
    "a long text": ("explain", {"text": "a" * 4001}, "too long for this page"),
    "a model that cannot": ("states", {"model": "counts", "text": "a"}, "cannot show its units"),
    "a layer that there is not": ("states", {"text": "a", "layer": 1}, "layer"),
    "a layer that is no number": ("states", {"text": "a", "layer": "0"}, "layer"),
    "a gate that there is not": ("states", {"text": "a", "of": "z"}, "of"),
    "no text": ("states", {"text": ""}, "no symbol in this text"),
    "an empty selection": ("units", {"text": "abc", "start": 2, "end": 2}, "choose a part of the text"),
    "a unit that there is not": ("hold", {"holds": [{"layer": 0, "unit": 32, "value": 1}]}, "there is no unit 33 of layer 1"),
    "a value that is none": ("hold", {"holds": [{"layer": 0, "unit": 1}]}, "value"),
    "a hold that is none": ("hold", {"holds": ["x"]}, "value"),
    "a seed that is none": ("hold", {"seed": -1}, "seed"),
    "no blank": ("fill", {"model": "cloze", "text": "abc"}, "no blank"),
    "too many fillings": ("fill", {"model": "cloze", "text": "a_c", "count": 10**6}, "count"),
    "blanks of another model": ("fill", {"text": "a_c"}, "cannot fill blanks"),
    "an unknown label": ("explain", {"model": "writer", "label": "x", "text": "a"}, "knows no label"),
    "a label that is none": ("explain", {"model": "writer", "label": ["x"], "text": "a"}, "label"),
    "an unknown model": ("explain", {"model": "x", "text": "a"}, "no model"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_answered_is_refused_with_a_sentence(ask, case):
    path, fields, sentence = REFUSED[case]
    assert sentence in ask(path, **{"model": "words"} | fields)


@pytest.mark.parametrize("text", ["\ud800", "\x00", "a\r\nb", "\n\n\n", "🦔é\u0301", "<eos>", " "])
@pytest.mark.parametrize("name", ["words", "cloze", "deep"])
def test_any_text_is_explained_and_traced(client, name, text):
    body = json.dumps({"model": name, "text": text})
    for path in ("explain", "states", *["next"] * (name != "cloze")):
        response = client.post(f"/page/{path}", content=body, headers={"content-type": "application/json"})
        assert response.status_code == 200, response.text


@pytest.mark.parametrize("text", ["\ud800", "\x00", "a\r\nbade", "\n\n\n", "🦔é\u0301", "<eos>", " ", "kimo  ((re"])
@pytest.mark.parametrize("name", ["tags", "classes", "pairs"])
def test_any_text_of_labels_and_pairs_is_traced(client, models, name, text):
    """White space alone has no word to show."""
    response = client.post(
        "/page/states", content=json.dumps({"model": name, "text": text}), headers={"content-type": "application/json"}
    )
    if text.strip():
        assert len(response.json()["pieces"]) == len(models[name].lm.vocab.split(text))
    else:
        assert "no symbol in this text" in message(response)
