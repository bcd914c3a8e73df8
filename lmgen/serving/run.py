"""A server on a port, until a signal ends it."""

from __future__ import annotations

import ipaddress
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType

import numpy as np
import uvicorn

from lmgen.api import Model
from lmgen.errors import InputError
from lmgen.generation.sampling import Settings as Drawing
from lmgen.generation.together import LONG, SIZES, Text, Together
from lmgen.models.capabilities import Conditions, Generates, can
from lmgen.serving.app import application
from lmgen.serving.house import House
from lmgen.serving.settings import Settings
from lmgen.system import signals

IDLE = 256  # connections beside those of the requests in flight
SHORTEST_KEY, LONGEST_KEY = 16, 1024  # characters
ENDLESS = 1 << 30  # lines
SWITCH = 0.0005  # seconds that the engine waits at most while the event loop computes


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 is any that is free. Raises InputError where there is none."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=1024)
    except (OSError, UnicodeError) as error:
        why = (error.strerror or "").partition(" (")[0].lower() if isinstance(error, OSError) else "not a host"
        raise InputError(f"cannot listen on {host} port {port} ({why}): give another --host or --port (0: any port)") from None
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else the end of an answer waits for 40 ms
    return listening


def is_local(listening: socket.socket) -> bool:
    """Whether only this computer can reach a socket."""
    return ipaddress.ip_address(listening.getsockname()[0]).is_loopback


def address(listening: socket.socket) -> str:
    """The URL of a socket."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def key_of(path: Path) -> str:
    """The key in a file. Raises InputError for one that is easily guessed, or is none."""
    try:
        with open(path, encoding="ascii") as file:  # perhaps a pipe, or without an end
            key = file.read(LONGEST_KEY + 2).strip()
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not ASCII text"
        raise InputError(f"cannot read the key in {path}: {why}") from None
    if not SHORTEST_KEY <= len(key) <= LONGEST_KEY or not key.isprintable() or " " in key:
        raise InputError(
            f"{path} holds no key: write {SHORTEST_KEY} to {LONGEST_KEY:,} characters into it, in one line without spaces"
        )
    return key


class _Server(uvicorn.Server):
    """A server whose application knows when it ends."""

    def __init__(self, config: uvicorn.Config, house: House):
        super().__init__(config)
        self._house = house

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._house.ending = True
        super().handle_exit(sig, frame)


def serve(models: Mapping[str, Model], listening: socket.socket, settings: Settings, ready: Callable[[], object]) -> None:
    """Answer requests, first of all `ready`, until Ctrl-C or SIGTERM; then requests in flight are finished, and no others taken.
    A second Ctrl-C ends it at once."""
    for model in models.values():
        warm(model)
    app = application(models, settings)
    config = uvicorn.Config(
        app,
        lifespan="on",
        ws="none",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=settings.max_requests + IDLE,
        timeout_graceful_shutdown=int(settings.seconds),
    )
    sys.setswitchinterval(SWITCH)
    ready()
    with signals.ignored():  # but for the handlers of the server, which raises them again at its end
        try:
            _Server(config, app.state.house).run([listening])
        finally:
            app.state.house.engine.end()  # where the server was ended at once


def warm(model: Model) -> None:
    """Compile what writes, so that the first request need not wait for it."""
    lm = model.lm
    if can(lm, Generates) and not can(lm, Conditions):
        together = Together(lm)
        sizes = [size for size in SIZES if size <= together.most(True)]
        for size in sizes:
            texts = [Text(Drawing(), 0, number, np.zeros(0, np.int32), ENDLESS) for number in range(size)]
            while texts[0].read <= LONG:  # the last call is a long one
                together.write(texts)
