"""A server in this process, with small models."""

from __future__ import annotations

import pytest

pytest.importorskip("starlette")
pytest.importorskip("prometheus_client")

from starlette.testclient import TestClient

import lmgen
from lmgen.serving.app import application
from lmgen.serving.settings import Settings


@pytest.fixture(scope="session")
def model(model_path):
    return lmgen.load(model_path, "f32")


@pytest.fixture
def served(model):
    """A function that starts a server of a model, or of several by name, with some settings; it gives a client."""
    opened = []

    def start(models=None, **settings):
        client = TestClient(application(models or {"words": model}, Settings(**settings)), base_url="http://127.0.0.1:8000")
        opened.append(client.__enter__())
        return client

    yield start
    for client in opened:
        client.__exit__(None, None, None)


@pytest.fixture
def client(served):
    return served()


@pytest.fixture
def complete(client):
    """Ask for completions; the answer, which is one."""

    def ask(**body):
        answer = client.post("/v1/completions", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    return ask
