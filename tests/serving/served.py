"""For the tests of the page: small models of every kind, and a server of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import uvicorn

import lmgen
from lmgen.data.vocab import UNITS, Vocab
from lmgen.models.recurrent import Cloze, Recurrent
from lmgen.nn import model
from lmgen.nn.model import NetworkConfig
from lmgen.serving import app
from lmgen.serving.settings import Settings

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "format-2"
LETTERS = Vocab("char", tuple("abcdefghijklmnopqrstuvwxyz _<>="))


def untrained(kind: Any = Recurrent, vocab: Vocab = LETTERS, **options: Any) -> lmgen.Model:
    """A network with random weights."""
    config = NetworkConfig(**{"vocab": len(vocab), "size": 8, "embedding": 6} | options)
    return lmgen.Model(kind(config, model.init(config, jax.random.key(7)), vocab))


def of_words(unit: str) -> lmgen.Model:
    """A network of words with random weights."""
    lead = UNITS[unit].lead
    return untrained(vocab=Vocab(unit, tuple(lead + word for word in ("re", "kimo", "bade"))))


def every_kind() -> dict[str, lmgen.Model]:
    """A model of each kind that the page has a view for."""
    golden = {name: lmgen.load(GOLDEN / name, precision="f32") for name in ("counts", "tags", "classes", "pairs", "writer")}
    networks = {"deep": untrained(cell="gru", layers=2), "cloze": untrained(Cloze, direction="both")}
    return {**networks, **{unit: of_words(unit) for unit in ("word", "word-punct")}, **golden}


@contextmanager
def running(models: Mapping[str, lmgen.Model], settings: Settings | None = None) -> Iterator[str]:
    """The address of a server of models, which ends at the end."""
    server = uvicorn.Server(uvicorn.Config(app.application(models, settings), port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
