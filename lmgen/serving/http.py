"""JSON over HTTP: bodies within their bounds, and errors as the clients of OpenAI's API read them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse

from lmgen.errors import LmgenError
from lmgen.serving.settings import Settings

Result = TypeVar("Result")
JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
SMALL = 1 << 14  # bytes
TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}


class Refused(Exception):  # noqa: N818
    """A request that is not served: a status, one sentence (what, why, the way out), and the field it is about."""

    def __init__(self, status: int, sentence: str, param: str | None = None, headers: dict[str, str] | None = None):
        super().__init__(sentence)
        self.status, self.sentence, self.param, self.headers = status, sentence, param, headers


def encoded(value: Any) -> bytes:
    """JSON as UTF-8; halves of characters, which have no bytes, are escaped."""
    return JSON.encode(value).encode("utf-8", "backslashreplace")


class Json(JSONResponse):
    """A response of such JSON."""

    def render(self, content: Any) -> bytes:
        return encoded(content)


def error(status: int, sentence: str, param: str | None = None, headers: dict[str, str] | None = None) -> Json:
    """The response that says why a request is not served."""
    return Json(content(status, sentence, param), status, headers)


def content(status: int, sentence: str, param: str | None = None) -> dict[str, Any]:
    """The same as JSON."""
    kind = TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": sentence, "type": kind, "param": param, "code": None}}


async def on_refused(request: Request, refused: Any) -> Json:
    return error(refused.status, refused.sentence, refused.param, refused.headers)


async def on_lmgen_error(request: Request, why: Exception) -> Json:
    return error(400, str(why))


async def on_http_error(request: Request, why: Any) -> Json:
    sentences = {
        404: f"there is nothing at {request.url.path[:100]}: see docs/serve.md for what is",
        405: f"{request.url.path[:100]} does not answer {request.method[:20]}",
    }
    return error(why.status_code, sentences.get(why.status_code, why.detail), headers=why.headers)


async def on_disconnect(request: Request, why: Exception) -> Json:
    return error(400, "the client is gone")


HANDLERS: dict[Any, Any] = {
    ClientDisconnect: on_disconnect,
    Refused: on_refused,
    LmgenError: on_lmgen_error,
    HTTPException: on_http_error,
}


async def body(request: Request, settings: Settings) -> dict[str, Any]:
    """The JSON object of a request. Raises Refused for one that is too large, too slow, or none."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Refused(415, "send JSON, with the header Content-Type: application/json")
    parts, size = [], 0
    try:
        async with asyncio.timeout(settings.body_seconds):
            async for part in request.stream():
                parts.append(part)
                size += len(part)
                if size > settings.max_body:
                    raise Refused(413, f"the body has more than {settings.max_body:,} bytes: send less at a time")
    except TimeoutError:
        raise Refused(408, f"the body did not arrive within {settings.body_seconds:g} seconds: send it faster") from None
    try:
        found = await aside(size, _parsed, b"".join(parts))
    except (ValueError, RecursionError):
        raise Refused(400, "the body is not JSON in UTF-8") from None
    if not isinstance(found, dict):
        raise Refused(400, 'the body is not a JSON object: send one, such as {"prompt": "San"}')
    return found


async def aside(size: int, function: Callable[..., Result], *args: Any) -> Result:
    """The result of a function, which is called in another thread if it works on many bytes (`size`): others need not wait."""
    return function(*args) if size < SMALL else await asyncio.to_thread(function, *args)


def _parsed(text: bytes) -> Any:
    return json.loads(text.decode(), parse_constant=_no_constant)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
