"""What all endpoints share: the models, the bounds, the thread that computes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from starlette.requests import Request

from lmgen.api import Model
from lmgen.serving import http
from lmgen.serving.engine import Engine
from lmgen.serving.http import Refused
from lmgen.serving.settings import Settings

Result = TypeVar("Result")


class House:
    """The models by name, the settings, and the engine."""

    def __init__(self, models: Mapping[str, Model], settings: Settings):
        self.models, self.settings = dict(models), settings
        self.engine = Engine()
        self.created = int(time.time())
        self.ending = False

    def model(self, name: Any = None) -> tuple[str, Model]:
        """The model of a name, or the first, with its name. Raises Refused for a name that there is not."""
        if name is None:
            name = next(iter(self.models))
        if not isinstance(name, str) or name not in self.models:
            raise Refused(404, f"there is no model {str(name)[:100]!r}: the models are {', '.join(self.models)[:300]}", "model")
        return name, self.models[name]

    async def compute(self, function: Callable[..., Result], *args: Any) -> Result:
        """The result of a function of the models, which is called off the event loop, and by no two requests at a time."""
        return await self.engine.compute(function, *args)

    async def body(self, request: Request) -> dict[str, Any]:
        """The JSON object of a request, within the bounds."""
        if self.ending:
            raise Refused(503, "the server is ending and takes no new requests: ask again when it is back")
        return await http.body(request, self.settings)
