"""Requests that nobody would send on purpose: each gets an answer, or a sentence that says why not, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
from http.client import HTTPConnection
from pathlib import Path

import pytest
from drawing import LONG, json_values, level
from hypothesis import given
from hypothesis import strategies as st

import lmgen
from support import started

pytest.importorskip("uvicorn")
pytest.importorskip("starlette")
pytest.importorskip("prometheus_client")

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


@pytest.fixture(scope="module")
def server(model_path, tmp_path_factory):
    """The command as a process, and its port."""
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "ab.txt").write_text("ab ba\nba ab\n" * 50)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        lmgen.train(folder / "ab.txt", output=folder / "grams", cell="ngram", order=2)
    process = started("serve", model_path, folder / "grams", "--port", "0", stderr=subprocess.PIPE, text=True)
    (port,) = re.findall(r"http://127\.0\.0\.1:(\d+)", process.stderr.readline())
    with process.stderr:
        yield process, int(port)
        process.terminate()
        assert process.wait() == 0
        assert process.stderr.read() == ""


def answered(port, method, path, body, headers, leaves):
    """The status, the headers and the content of an answer; None for a client that leaves before it comes."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    with contextlib.closing(connection):
        connection.putrequest(method, path, skip_host="host" in headers)
        for name, value in {**headers, "content-length": str(len(body))}.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        if leaves:
            return None
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read().decode()


def figures(port):
    """The figures of the server."""
    _, _, text = answered(port, "GET", "/metrics", b"", {}, False)
    return dict(re.findall(r"^(lmgen_\S+) (\S+)$", text, re.M))


def resident(process) -> int:
    """The bytes of memory that a process holds."""
    return int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.posix
def test_any_request_gets_an_answer_or_a_sentence_and_leaves_nothing(server):
    process, port = server
    statuses, sizes = set(), []

    @level(300, 5_000)
    @given(requests, st.sampled_from([False] * 9 + [True]))
    def run(request, leaves):
        sizes.append(resident(process) if Path("/proc").exists() else 0)
        if not (answer := answered(port, *request, leaves)):
            return
        status, headers, text = answer
        statuses.add(status)
        assert status < 500
        if headers.get("content-type", "").startswith("text/event-stream"):
            assert text.endswith("data: [DONE]\n\n")
            assert '"error"' not in text
        elif status >= 400 and text:
            sentence = json.loads(text)["error"]["message"]
            assert sentence
            assert len(sentence) < 400
        elif text and request[1] == "/v1/completions":
            for choice in json.loads(text)["choices"]:
                assert choice["finish_reason"] in ("stop", "length")

    run()
    assert {200, 400, 403, 404, 405, 415} <= statuses
    while (now := figures(port))["lmgen_texts"] != "0.0" or now["lmgen_open_requests"] != "1.0":
        pass
    later = sizes[len(sizes) // 2 :]  # by then all programs are compiled
    assert not LONG or later[-1] - later[0] < 10 << 20
