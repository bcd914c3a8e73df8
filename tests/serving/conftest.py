"""A server in this process, with small models; and one whose page a browser visits."""

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


@pytest.fixture(scope="module")
def models(model_path):
    """A model of each kind, by its name."""
    servers = pytest.importorskip("served", exc_type=ModuleNotFoundError)
    return {"words": lmgen.load(model_path, precision="f32"), **servers.every_kind()}


@pytest.fixture(scope="module")
def address(models):
    """Where a server of them is."""
    with pytest.importorskip("served").running(models) as address:
        yield address


@pytest.fixture
def visit(browser, address):
    """Open the page; at the end nothing was written to its console, but what a test allows."""
    contexts, complaints, allowed = [], [], []

    def visit(view="", model=None, width=1280, scheme="light", at=address, allow=None, wait="nav a"):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        allowed.append(allow)
        page = context.new_page()
        page.set_default_timeout(15_000)  # milliseconds: a program may be compiled first
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(f"{at}/#{view}")
        page.locator(wait).first.wait_for()
        if model:
            page.get_by_role("combobox", name="Model").select_option(model)
        return page

    yield visit
    for context in contexts:
        context.close()
    assert [one for one in complaints if not any(allow and allow in one for allow in allowed)] == []
