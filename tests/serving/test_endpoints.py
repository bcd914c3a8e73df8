"""The endpoints beside completions: ids of texts and texts of ids, predictions as lmgen predict prints them, figures."""

from __future__ import annotations

import json
import re

import pytest
from clients import message

import lmgen

SMALL = {"size": 8, "embedding": 8, "steps": 4, "batch": 4, "precision": "f32"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Texts, and models of labels, of pairs and by label; to be read, not changed."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "pairs.tsv").write_text("".join(f"say {a} {b}\t{b} {a}\n" for a in "abcdefgh" for b in "abcdefgh"))
    (folder / "labels.tsv").write_text("".join(f"{'good' if k % 2 else 'bad'}\ta film {k}\n" for k in range(200)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        lmgen.train(folder / "pairs.tsv", output=folder / "pairs", **SMALL)
        lmgen.train(folder / "labels.tsv", output=folder / "labels", **SMALL)
        lmgen.train(folder / "labels.tsv", output=folder / "writer", task="generate", **SMALL)
    return folder


@pytest.fixture
def several(served, folder, model):
    return served({"words": model} | {name: lmgen.load(folder / name, "f32") for name in ("labels", "pairs", "writer")})


def test_eos_has_a_name_and_any_character_an_id(client, model):
    assert client.get("/tokenizer_info").json()["eos_token"] == "<EOS>"
    assert client.post("/tokenize", json={"prompt": "<EOS>", "add_special_tokens": False}).json()["tokens"] == [0]
    assert client.post("/tokenize", json={"prompt": "b☃\n\ud800".encode("utf-8", "surrogatepass").decode("utf-16", "replace")})
    ids = client.post("/tokenize", json={"prompt": "ba☃\nd"}).json()["tokens"]
    assert ids == [*model.lm.vocab.encode("ba"), 1, 0, *model.lm.vocab.encode("d")]


def test_ids_of_the_text_of_ids_are_these_ids(client, model):
    for ids in ([], [0], [0, 0, 2], [2, 3, 0], [1, 2, 0, 3]):
        text = client.post("/detokenize", json={"tokens": ids}).json()["prompt"]
        assert client.post("/tokenize", json={"prompt": text}).json()["tokens"] == ids


@pytest.mark.parametrize("tokens", ["ab", [len("no id") * 1000], [-1], [True], [None], {}])
def test_what_is_no_list_of_ids_is_refused(client, tokens):
    answer = client.post("/detokenize", json={"tokens": tokens})
    assert (answer.status_code == 200) == (tokens == "ab")
    if tokens != "ab":
        assert "give a text, or ids" in message(answer)


@pytest.mark.parametrize("name", ["labels", "pairs"])
def test_predictions_are_those_of_lmgen_predict(several, lmgen, folder, tmp_path, name):
    texts = ["a film 3", "say c d", "film"]
    (tmp_path / "texts.txt").write_text("\n".join(texts) + "\n")
    more = {"labels": {"top": 2}, "pairs": {"beam": 3, "best": 2}}[name]
    words = [word for option, value in more.items() for word in (f"--{option}", value)]
    _, out, _ = lmgen("predict", folder / name, "texts.txt", "--json", "--precision", "f32", *words)
    answer = several.post("/predict", json={"model": name, "texts": texts, **more})
    assert answer.json() == {"model": name, "predictions": [*map(json.loads, out.splitlines())]}
    (alone,) = several.post("/predict", json={"model": name, "texts": texts[0], **more}).json()["predictions"]
    assert alone["text"] == answer.json()["predictions"][0]["text"]


@pytest.mark.parametrize(
    ("path", "body", "why"),
    [
        ("/predict", {"model": "words", "texts": "a"}, "ask POST /v1/completions"),
        ("/predict", {"model": "labels", "texts": "a", "beam": 2}, "there is no field 'beam'"),
        ("/predict", {"model": "pairs", "texts": "a", "beam": 10**6}, "16 at most"),
        ("/predict", {"model": "pairs", "texts": "a", "beam": 2, "temperature": 1}, "beam"),
        ("/predict", {"model": "labels", "texts": ["a"] * 65}, "65 texts are too many: send 64 at most"),
        ("/predict", {"model": "labels", "texts": ["a", 1]}, "give a text, or a list of texts"),
        ("/predict", {"model": "labels"}, "give a text, or a list of texts"),
        ("/v1/completions", {"model": "labels"}, "ask POST /predict"),
        ("/v1/completions", {"model": "writer"}, "one of"),
        ("/v1/completions", {"model": "writer", "label": "ugly"}, "knows no label"),
    ],
    ids=str,
)
def test_a_model_is_asked_for_what_it_can(several, path, body, why):
    answer = several.post(path, json=body)
    assert answer.status_code == 400
    assert why in message(answer)


def test_a_model_writes_by_label(several, folder):
    theirs = lmgen.load(folder / "writer", "f32").by("good:0.7,bad:0.3").sample(3, seed=2, max_length=30)
    body = {"model": "writer", "label": "good:0.7,bad:0.3", "seed": 2, "n": 3, "max_tokens": 30}
    for _ in range(2):
        answer = several.post("/v1/completions", json=body).json()
        assert [choice["text"] for choice in answer["choices"]] == [one.text for one in theirs]


def test_metrics_count_what_was_done(client):
    client.post("/v1/completions", json={"max_tokens": 7, "n": 2, "temperature": 0, "logprobs": 1, "stream": True})
    client.get("/nothing/of/the/kind")
    text = client.get("/metrics").text
    figures = dict(re.findall(r"^(lmgen_\S+) (\S+)$", text, re.M))
    assert figures['lmgen_requests_total{path="/v1/completions",status="200"}'] == "1.0"
    assert figures['lmgen_requests_total{path="other",status="404"}'] == "1.0"
    assert 0 < float(figures["lmgen_symbols_written_total"]) <= 14
    assert float(figures["lmgen_symbols_read_total"]) == float(figures["lmgen_symbols_written_total"])
    assert figures["lmgen_first_symbol_seconds_count"] == "1.0"
    assert figures["lmgen_texts"] == "0.0"
    assert "of/the/kind" not in text
