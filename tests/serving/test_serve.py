"""The command: it serves until a signal ends it, and then finishes what it began; mistakes are a sentence."""

from __future__ import annotations

import contextlib
import importlib
import json
import re
import signal
import socket
import subprocess
import sys
import time
from http.client import IncompleteRead
from urllib.request import Request, urlopen

import pytest

import lmgen
from support import ROOT, started

pytestmark = pytest.mark.posix
pytest.importorskip("uvicorn")


LONG = {"stream": True, "seed": 1, "n": 100, "max_tokens": 4000, "lines": 1_000_000}


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """A model of running text, which writes texts of any length."""
    folder = tmp_path_factory.mktemp("running")
    (folder / "text.txt").write_text("one two\nthree four\n" * 40)
    small = {"steps": 5, "size": 8, "embedding": 4, "batch": 4, "window": 8, "precision": "f32"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        lmgen.train(folder / "text.txt", output=folder / "running", carry=True, **small)
    return folder / "running"


@pytest.fixture
def server(running):
    """The command as a process, and its address."""
    process = started("serve", running, "--port", "0", stderr=subprocess.PIPE, text=True)
    line = process.stderr.readline()
    found = re.fullmatch(r"serving running at (http://127\.0\.0\.1:\d+) \(Ctrl-C ends it\)\n", line)
    assert found, line
    yield process, found[1]
    process.kill()
    process.wait()
    process.stderr.close()


def ask(address, **body):
    return urlopen(Request(f"{address}/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_after_the_requests_in_flight(server, number):
    process, address = server
    with ask(address, **LONG) as answer:
        answer.readline()
        process.send_signal(number)
        rest = answer.read()
    assert rest.endswith(b"data: [DONE]\n\n")
    assert rest.count(b'"finish_reason":"length"') == 100
    assert process.wait() == 0
    assert process.stderr.read() == ""
    with pytest.raises(OSError, match="refused"):
        ask(address)


def test_a_second_interrupt_ends_it_at_once(server):
    process, address = server
    with contextlib.ExitStack() as stack:
        answers = [stack.enter_context(ask(address, **LONG)) for _ in range(8)]
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(ConnectionError):
            while True:  # until it has seen the signal
                socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2]))).close()
                time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        whole = 0  # the first may have ended before
        for answer in answers:
            with contextlib.suppress(IncompleteRead):
                whole += answer.read().endswith(b"data: [DONE]\n\n")
    assert whole < len(answers)
    process.wait()


def test_a_client_that_goes_leaves_nothing(server):
    """Its texts are dropped, and the server answers others."""
    _, address = server
    for _ in range(5):
        ask(address, **LONG).close()
    ask(address, max_tokens=1).close()
    figures = ""
    while "lmgen_texts 0.0" not in figures:
        with urlopen(f"{address}/metrics") as answer:
            figures = answer.read().decode()
    assert float(re.findall(r"^lmgen_symbols_written_total (\S+)", figures, re.M)[0]) < 5 * 100 * 4000


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["nix"], "there is no model nix"),
        (["MODEL", "MODEL"], "two of the models are called words"),
        (["MODEL", "--host", "256.0.0.1"], "cannot listen on 256.0.0.1 port 8000"),
        (["MODEL", "--port", "70000"], "65,535 at most"),
        (["MODEL", "--time-limit", "soon"], "not a duration"),
        (["MODEL", "--prot", "1"], "--port"),
    ],
    ids=str,
)
def test_a_mistake_is_a_sentence(lmgen, model_path, words, why):
    code, out, err = lmgen("serve", *(model_path if word == "MODEL" else word for word in words))
    assert code in (2, 3)
    assert why in err
    assert len(err.splitlines()) == 1
    assert not out


def test_a_missing_extra_is_a_sentence(lmgen, model_path, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("lmgen.serving")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    code, _, err = lmgen("serve", model_path)
    assert code == 2
    assert err == "lmgen: lmgen serve needs uvicorn, which is not installed: pip install 'lmgen[serve]'\n"


@pytest.mark.slow
def test_the_page_of_documentation_is_true(tmp_path, monkeypatch):
    """Its commands run, and its Python."""
    pytest.importorskip("openai")
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    bench = importlib.import_module("serve")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    text = bench.PAGE.read_text("utf-8")
    with bench.towns(text, tmp_path) as address:
        bench.readme.filled(text, str(tmp_path), lambda command: command.replace(bench.ADDRESS, address))
        (program,) = re.findall(r"```python\n(.*?)```", text, re.S)
        (tmp_path / "program.py").write_text(program.replace(bench.ADDRESS, address))
        subprocess.run([sys.executable, "program.py"], cwd=tmp_path, check=True)
