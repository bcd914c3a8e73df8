"""The application: its routes, around them the guard, and the start and end of the engine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib import import_module
from importlib.util import find_spec

from starlette.applications import Starlette
from starlette.middleware import Middleware

from lmgen.api import Model
from lmgen.serving import completions, endpoints
from lmgen.serving.guard import Guard
from lmgen.serving.house import House
from lmgen.serving.http import HANDLERS
from lmgen.serving.metrics import Counted
from lmgen.serving.settings import Settings


def application(models: Mapping[str, Model], settings: Settings | None = None) -> Starlette:
    """The ASGI application that serves models by name."""
    house = House(models, settings or Settings())

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        house.engine.start()
        yield
        house.ending = True
        house.engine.end()

    routes = [*endpoints.routes(house), *completions.routes(house)]
    if find_spec("lmgen.serving.page"):
        routes += import_module("lmgen.serving.page").routes(house)
    app = Starlette(
        routes=routes,
        middleware=[Middleware(Counted, house.metrics, house.settings.max_requests), Middleware(Guard, house.settings)],
        exception_handlers=HANDLERS,
        lifespan=lifespan,
    )
    app.state.house = house
    return app
