"""The application: its routes, around them the guard, and the start and end of the engine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib.util import find_spec

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from lmgen.api import Model
from lmgen.serving import completions
from lmgen.serving.guard import Guard
from lmgen.serving.house import House
from lmgen.serving.http import HANDLERS
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

    async def health(request: Request) -> JSONResponse:
        return JSONResponse({"status": "ending" if house.ending else "ok"}, 503 if house.ending else 200)

    async def list_models(request: Request) -> JSONResponse:
        about = {"object": "model", "created": house.created, "owned_by": "lmgen"}
        found = [{"id": name, **about, "describes": model.lm.config.describe()} for name, model in house.models.items()]
        return JSONResponse({"object": "list", "data": found})

    routes = [
        Route("/health", health),
        Route("/v1/models", list_models),
        *completions.routes(house),
    ]
    if find_spec("lmgen.serving.page"):
        from lmgen.serving import page

        routes += page.routes(house)
    app = Starlette(
        routes=routes,
        middleware=[Middleware(Guard, settings=house.settings)],
        exception_handlers=HANDLERS,
        lifespan=lifespan,
    )
    app.state.house = house
    return app
