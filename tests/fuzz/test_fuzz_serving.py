"""Requests that nobody would send on purpose: each gets an answer, or a sentence that says why not, and leaves nothing behind."""

from __future__ import annotations

import gc
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("starlette")
pytest.importorskip("prometheus_client")

from fuzzing import LONG, json_values, level
from starlette.testclient import TestClient

import lmgen
from lmgen.generation.together import Text
from lmgen.serving.app import application
from lmgen.serving.engine import Channel
from lmgen.serving.settings import Settings

PATHS = (
    "/v1/completions",
    "/tokenize",
    "/detokenize",
    "/predict",
    "/v1/models",
    "/v1/models/words",
    "/tokenizer_info",
    "/metrics",
    "/x",
)
numbers = st.integers(-3, 70) | st.floats() | st.sampled_from([1 << 31, 1 << 63, -(1 << 63), 10**30, 1e300, 5e-324, True, "1"])
prompts = (
    st.text(max_size=30)
    | st.lists(st.integers(-1, 20), max_size=20)
    | st.lists(st.text(max_size=9) | st.lists(st.integers(0, 16), max_size=9), max_size=9)
    | st.just("<EOS>\n\ud83d")
    | json_values
)
FIELDS = {
    "model": st.sampled_from(["words", "grams", "x", "", 1, None]),
    "prompt": prompts,
    "max_tokens": st.integers(0, 40) | numbers,
    "n": st.integers(1, 5) | numbers,
    "echo": st.booleans() | json_values,
    "logprobs": st.integers(0, 5) | numbers,
    "stop": st.text(max_size=3) | st.lists(st.text(min_size=1, max_size=3), max_size=20) | json_values,
    "seed": st.integers(0, 9) | numbers,
    "stream": st.booleans() | json_values,
    "temperature": st.floats(0, 3) | numbers,
    "top_p": st.floats(0.01, 1) | numbers,
    "top_k": st.integers(0, 20) | numbers,
    "min_p": st.floats(0, 1) | numbers,
    "typical": st.floats(0.01, 1) | numbers,
    "repetition_penalty": st.floats(1, 5) | numbers,
    "lines": numbers,
    "unknown": st.booleans(),
    "label": st.text(max_size=5),
    "stream_options": json_values | st.just({"include_usage": True}),
    "tokens": prompts,
    "texts": prompts,
    "logit_bias": json_values,
}
bodies = (
    st.fixed_dictionaries({}, optional=FIELDS).map(lambda body: json.dumps(body).encode("utf-8", "surrogatepass"))
    | json_values.map(lambda value: json.dumps(value).encode())
    | st.binary(max_size=60)
    | st.integers(1, 3000).map(lambda n: b"[" * n)
)
some_headers = st.fixed_dictionaries(
    {},
    optional={
        "content-type": st.sampled_from(["application/json", "application/json; charset=utf-8", "text/plain", ""]),
        "host": st.sampled_from(["localhost", "evil.com", "[::1]:1", "[", ":", "a:b:c"]),
        "origin": st.sampled_from(["http://127.0.0.1:8000", "null", "http://evil.com"]),
        "authorization": st.sampled_from(["Bearer x", "Bearer", ""]),
        "accept-encoding": st.sampled_from(["gzip", "x"]),
    },
)
requests = st.tuples(
    st.sampled_from(["POST"] * 8 + ["GET", "PUT", "OPTIONS", "HEAD"]),
    st.sampled_from(PATHS[:1] * 8 + PATHS),
    bodies,
    st.just({"content-type": "application/json"}) | some_headers,
)


def resident() -> int:
    """The bytes of memory that this process holds."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * 4096 if statm.exists() else 0


@pytest.fixture(scope="module")
def client(model_path, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "ab.txt").write_text("ab ba\nba ab\n" * 50)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        grams = lmgen.train(folder / "ab.txt", output=folder / "grams", cell="ngram", order=2)
    models = {"words": lmgen.load(model_path, "f32"), "grams": grams}
    settings = Settings(max_length=50, max_sequences=8, max_prompts=6, max_logprobs=8, max_numbers=5000, max_body=5000)
    with TestClient(application(models, settings), base_url="http://127.0.0.1:8000") as client:
        yield client


def test_any_request_gets_an_answer_or_a_sentence_and_leaves_nothing(client):
    statuses, sizes = set(), []

    @level(300, 5_000)
    @given(requests)
    def run(request):
        sizes.append(resident())
        method, path, body, headers = request
        answer = client.request(method, path, content=body, headers=headers)
        statuses.add(answer.status_code)
        assert answer.status_code < 500
        if answer.headers.get("content-type", "").startswith("text/event-stream"):
            assert answer.text.endswith("data: [DONE]\n\n")
            assert '"error"' not in answer.text
        elif answer.status_code >= 400 and answer.text:
            sentence = answer.json()["error"]["message"]
            assert sentence
            assert len(sentence) < 400
        elif answer.text and path == "/v1/completions":
            for choice in answer.json()["choices"]:
                assert choice["finish_reason"] in ("stop", "length")

    run()
    assert {200, 400, 403, 404, 405, 415} <= statuses
    gc.collect()
    left = [one for one in gc.get_objects() if isinstance(one, Text | Channel)]
    assert not left
    assert client.app.state.house.waiting == 0
    print("SIZES", [s >> 20 for s in sizes[::250]])
    half = sizes[len(sizes) // 2 :]  # by then all programs are compiled
    assert not LONG or half[-1] - half[0] < 20 << 20
