"""Each attack that happened to other servers, and what this one does about it."""

from __future__ import annotations

import asyncio
import json
import socket

import httpx
import pytest
from clients import message

from lmgen.serving import guard, run
from lmgen.serving.app import application
from lmgen.serving.engine import Engine
from lmgen.serving.settings import Settings

KEY = "a key of letters".replace(" ", "-")


@pytest.fixture
def uncomputed(monkeypatch):
    """Fail where anything is computed."""
    monkeypatch.setattr(Engine, "add", lambda *_: pytest.fail("it was computed"))


@pytest.mark.parametrize(
    "host", ["evil.com", "evil.com:8000", "localhost.evil.com", "127.0.0.1.evil.com", "[", "", "a@localhost.b"]
)
def test_a_name_that_can_be_rebound_is_no_host(client, uncomputed, host):
    """DNS rebinding (CVE-2024-28224)."""
    answer = client.post("/v1/completions", json={"prompt": "a"}, headers={"host": host})
    assert answer.status_code == 403
    assert "does not answer requests to" in message(answer)


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8000", "127.0.0.1:1", "[::1]:8000", "192.168.0.7", "LOCALHOST", "a.org"]
)
def test_addresses_and_names_that_are_allowed_are_hosts(served, host):
    assert served(hosts=("a.org",)).get("/v1/models", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.com", "null", "http://127.0.0.1:9000", "https://127.0.0.1", "x", "http://localhost:8000"]
)
@pytest.mark.parametrize("method", ["POST", "OPTIONS", "GET"])
def test_a_foreign_origin_is_refused_before_anything_is_computed(client, uncomputed, origin, method):
    """And none is reflected."""
    answer = client.request(method, "/v1/completions", json={"prompt": "a"}, headers={"origin": origin})
    assert answer.status_code == 403
    assert "pages of other sites" in message(answer)
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_two_origins_are_none(client):
    assert client.get("/health", headers=[("origin", "http://127.0.0.1:8000"), ("origin", "http://evil.com")]).status_code == 403


def test_what_a_foreign_page_embeds_is_refused(client):
    assert client.get("/metrics", headers={"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}).status_code == 403
    assert client.get("/health", headers={"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}).status_code == 200
    assert client.get("/health", headers={"sec-fetch-site": "same-origin", "sec-fetch-mode": "cors"}).status_code == 200


def test_the_own_page_may_ask_and_others_where_they_are_allowed(served):
    client = served(origins=("https://a.org",))
    ours = client.post("/tokenize", json={"prompt": "a"}, headers={"origin": "http://127.0.0.1:8000"})
    assert ours.status_code == 200
    assert "access-control-allow-origin" not in ours.headers
    theirs = client.post("/tokenize", json={"prompt": "a"}, headers={"origin": "https://a.org"})
    assert theirs.status_code == 200
    assert theirs.headers["access-control-allow-origin"] == "https://a.org"
    before = client.options("/tokenize", headers={"origin": "https://a.org", "access-control-request-method": "POST"})
    assert before.status_code == 204
    assert "authorization" in before.headers["access-control-allow-headers"]


def test_forms_of_other_pages_cannot_ask(client, uncomputed):
    """A form sends no JSON."""
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""):
        answer = client.post("/v1/completions", content='{"prompt": "a"}', headers={"content-type": kind})
        assert answer.status_code == 415
        assert "Content-Type: application/json" in message(answer)


@pytest.mark.parametrize(
    "given", [None, KEY, f"Bearer {KEY}x", f"Bearer {KEY[:-1]}", f"Basic {KEY}", "Bearer", f"Bearer  é{KEY}"]
)
def test_without_the_key_nothing_is_answered(served, uncomputed, given):
    client = served(key=KEY)
    headers = {} if given is None else {"authorization": given.encode()}
    for method, path in (
        ("POST", "/v1/completions"),
        ("GET", "/v1/models"),
        ("GET", "/metrics"),
        ("GET", "/nothing"),
        ("POST", "/"),
    ):
        answer = client.request(method, path, json={}, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert KEY not in message(answer)
    assert client.get("/health").status_code == 200


def test_with_the_key_all_is_answered(served):
    client = served(key=KEY)
    assert client.post("/v1/completions", json={}, headers={"authorization": f"Bearer {KEY}"}).status_code == 200


def test_keys_are_compared_in_constant_time(served, monkeypatch):
    """By the function that takes as long for any two inputs of a length, and with inputs of one length."""
    lengths = []
    monkeypatch.setattr(guard.hmac, "compare_digest", lambda a, b: lengths.append((len(a), len(b))))
    for key in ("", "x", "x" * 999):
        served(key=KEY).get("/v1/models", headers={"authorization": f"Bearer {key}"})
    assert set(lengths) == {(32, 32)}


def test_who_listens_to_others_needs_a_key(lmgen, model_path, tmp_path):
    code, _, err = lmgen("serve", model_path, "--host", "0.0.0.0", "--port", "0")
    assert code == 2
    assert "needs a key" in err
    for content, why in (
        ("short", "holds no key"),
        ("with a space in it, long", "holds no key"),
        ("x" * 2000, "holds no key"),
        ("é" * 20, "not ASCII"),
        (None, "cannot"),
    ):
        if content is not None:
            (tmp_path / "key").write_text(content)
        name = tmp_path / "key" if content else tmp_path / "missing"
        code, _, err = lmgen("serve", model_path, "--host", "0.0.0.0", "--port", "0", "--key-file", name)
        assert code == 2
        assert why in err


def test_loopback_is_local_and_all_interfaces_are_not():
    for host, local in (("127.0.0.1", True), ("localhost", True), ("0.0.0.0", False)):
        with run.listen(host, 0) as listening:
            assert run.is_local(listening) == local


def test_nothing_is_uploaded_or_pulled(client):
    """There is no endpoint that takes a file or a URL."""
    routes = {(route.path, *sorted(route.methods)) for route in client.app.routes}
    posts = {path for path, *methods in routes if {*methods} - {"GET", "HEAD"}}
    assert {"/v1/completions", "/tokenize", "/detokenize", "/predict"} <= posts
    for path in ("/api/pull", "/api/create", "/v1/files", "/upload", "/v1/models"):
        assert client.post(path, json={"name": "x", "url": "http://127.0.0.1:1/"}).status_code in (404, 405)
        assert client.put(path, json={}).status_code in (404, 405)


MOST = {"max_sequences": 8, "max_prompts": 4, "max_logprobs": 3, "max_length": 50, "max_numbers": 2000, "max_body": 4000}


@pytest.mark.parametrize(
    ("status", "body", "why"),
    [
        (400, {"n": 9}, "n: 9 cannot be used: give 1 or more, 8 at most"),
        (400, {"n": 10**30}, "n: 1000000"),
        (400, {"logprobs": 4}, "logprobs: 4 cannot be used: give 0 or more, 3 at most"),
        (400, {"max_tokens": 51}, "max_tokens: 51 cannot be used: give 0 or more, 50 at most"),
        (400, {"prompt": ["a"] * 5}, "5 prompts are too many: send 4 at most"),
        (400, {"prompt": ["a"] * 4, "n": 3}, "4 prompts × n 3 are too many texts: ask for 8 at most"),
        (400, {"prompt": ["a" * 300] * 3, "n": 2, "logprobs": 1}, "numbers, and 2,000 is the most"),
        (413, {"prompt": "a" * 4000}, "the body has more than 4,000 bytes"),
    ],
    ids=str,
)
def test_a_request_has_bounds(served, uncomputed, status, body, why):
    """One for log-probabilities of everything took 62 GiB elsewhere."""
    answer = served(**MOST).post("/v1/completions", json=body)
    assert answer.status_code == status
    assert why in message(answer)


def test_a_body_whose_length_is_not_told_has_bounds(served, uncomputed):
    answer = served(**MOST).post(
        "/tokenize", content=(b" " * 1000 for _ in range(100)), headers={"content-type": "application/json"}
    )
    assert answer.status_code == 413


@pytest.mark.parametrize(
    "content", [b"[" * 3000, b"{", b"\xff", b"[]", b"1", b'{"temperature": NaN}', b'{"n": ' + b"9" * 3900 + b"}"]
)
def test_a_body_that_is_no_json_object_is_refused(served, content):
    answer = served(**MOST).post("/v1/completions", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert message(answer)


def test_a_full_queue_refuses(served):
    client = served(queue=3)
    answer = client.post("/v1/completions", json={"n": 4})
    assert answer.status_code == 429
    assert "texts are waited for, and 3 are the most" in message(answer)
    assert answer.headers["retry-after"] == "1"
    assert client.post("/v1/completions", json={"n": 3}).status_code == 200


def test_a_request_has_a_time(served):
    client = served(seconds=0.0)
    answer = client.post("/v1/completions", json={"n": 50})
    assert answer.status_code == 503
    assert "took more than 0 seconds" in message(answer)
    streamed = client.post("/v1/completions", json={"n": 50, "stream": True}).text
    assert "took more than 0 seconds" in json.loads(streamed.split("\n\n")[-3].removeprefix("data: "))["error"]["message"]


def asked(app, requests):
    """The answers of an application to requests at once."""

    async def ask():
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:8000") as client,
        ):
            return await asyncio.gather(*(client.request(*one, **more) for one, more in requests))

    return asyncio.run(ask())


def test_a_body_has_a_time(model):
    async def slow():
        yield b"{"
        await asyncio.Event().wait()
        yield b"}"

    headers = {"content-type": "application/json"}
    (answer,) = asked(
        application({"words": model}, Settings(body_seconds=0.05)),
        [(("POST", "/tokenize"), {"content": slow(), "headers": headers})],
    )
    assert answer.status_code == 408
    assert "did not arrive within 0.05 seconds" in message(answer)


def test_more_requests_at_once_than_are_taken_are_refused(model):
    answers = asked(
        application({"words": model}, Settings(max_requests=3)), [(("POST", "/v1/completions"), {"json": {"n": 20}})] * 8
    )
    assert sorted(answer.status_code for answer in answers) == [200] * 3 + [503] * 5
    assert "3 requests are in flight" in message(max(answers, key=lambda answer: answer.status_code))


def test_every_answer_has_the_headers_of_a_strict_page(client):
    for path in ("/health", "/nothing", "/v1/models"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
        assert policy.pop("img-src") == "'self' data:"
        assert policy == {
            **dict.fromkeys(("script-src", "style-src", "connect-src"), "'self'"),
            **dict.fromkeys(("default-src", "base-uri", "form-action", "frame-ancestors"), "'none'"),
        }


def test_a_port_in_use_is_said(lmgen, model_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, _, err = lmgen("serve", model_path, "--port", taken.getsockname()[1])
    assert code == 2
    assert "address already in use" in err
    assert "give another --host or --port" in err
