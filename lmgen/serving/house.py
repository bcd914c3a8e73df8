"""What all endpoints share: the models, the bounds, the thread that computes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping
from contextlib import aclosing
from functools import lru_cache
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

from lmgen.api import Model
from lmgen.errors import LmgenError
from lmgen.models.capabilities import Generates
from lmgen.serving import http
from lmgen.serving.engine import Engine
from lmgen.serving.http import Refused
from lmgen.serving.metrics import Metrics
from lmgen.serving.settings import Settings
from lmgen.serving.writing import Waiting, Writing

LABELS = 16  # models by label that are kept
Result = TypeVar("Result")


class House:
    """The models by name, the settings, the figures, and the engine."""

    def __init__(self, models: Mapping[str, Model], settings: Settings):
        self.models, self.settings = dict(models), settings
        self.engine, self.metrics = Engine(), Metrics()
        self.created = int(time.time())
        self.ending = False
        self.by = lru_cache(LABELS)(lambda name, label: self.models[name].by(label))
        self._writing: dict[Generates, Writing] = {}
        self.metrics.texts.set_function(lambda: self.waiting)

    def model(self, name: Any = None) -> tuple[str, Model]:
        """The model of a name, or the first, with its name. Raises Refused for a name that there is not."""
        if name is None:
            name = next(iter(self.models))
        if not isinstance(name, str) or name not in self.models:
            raise Refused(404, f"there is no model {str(name)[:100]!r}: the models are {', '.join(self.models)[:300]}", "model")
        return name, self.models[name]

    async def body(self, request: Request) -> dict[str, Any]:
        """The JSON object of a request, within the bounds. Raises Refused for another body, and while the server ends."""
        if self.ending:
            raise Refused(503, "the server is ending and takes no new requests: ask again when it is back")
        return await http.body(request, self.settings)

    async def compute(self, function: Callable[..., Result], *args: Any) -> Result:
        """The result of a function of the models, which is called off the event loop, and never while another is."""
        return await self.engine.compute(function, *args)

    def write(self, lm: Generates, texts: list[Waiting]) -> None:
        """Begin texts of a model. Raises Refused where too many are waited for."""
        waiting, most = self.waiting, self.settings.queue
        if waiting + len(texts) > most:
            why = f"{waiting:,} texts are waited for, and {most:,} are the most: ask again later, or for less at a time"
            raise Refused(429, why, headers={"Retry-After": "1"})
        if lm not in self._writing:
            if len(self._writing) >= len(self.models) + LABELS:  # models by label come and go
                self._writing = {of: writing for of, writing in self._writing.items() if writing.count}
            self._writing[lm] = Writing(lm, self.engine, self.metrics)
        self._writing[lm].add(texts)

    @property
    def waiting(self) -> int:
        """The number of texts that are written or wait."""
        return sum(writing.count for writing in self._writing.values())

    async def finished(self, request: Request, work: Coroutine[Any, Any, Result]) -> Result:
        """The result of a coroutine, which is cancelled where nobody waits for it any more. Raises Refused after a time."""
        task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_gone(request))
        try:
            done, _ = await asyncio.wait({task, gone}, timeout=self.settings.seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            task.cancel()
        if task in done:
            return task.result()
        raise ClientDisconnect if done else Refused(503, self._late)

    async def streamed(self, events: AsyncGenerator[dict[str, Any]]) -> AsyncIterator[bytes]:
        """Events as a client of a stream reads them; an error is the last of them."""
        try:
            async with asyncio.timeout(self.settings.seconds), aclosing(events):
                async for event in events:
                    yield _event(event)
        except TimeoutError:
            yield _event(http.content(503, self._late))
        except LmgenError as error:
            yield _event(http.content(400, str(error)))
        yield b"data: [DONE]\n\n"

    @property
    def _late(self) -> str:
        return f"the answer took more than {self.settings.seconds:g} seconds: ask for less at a time"


def _event(content: dict[str, Any]) -> bytes:
    return b"data: " + http.encoded(content) + b"\n\n"


async def _gone(request: Request) -> None:
    """Wait until the client has closed the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
