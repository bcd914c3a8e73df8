"""The door: what is refused before a request is read, and the headers of every response.

A page of another site can send requests to a server on this computer, in the name of whoever looks at it; and if its own name
turns into the address of this computer, the browser takes the server for a part of that site (DNS rebinding). So a request must
name a host that cannot be rebound, and must not come from another origin; and where others reach the server, it must have a key.
"""

from __future__ import annotations

import hmac
import ipaddress
from hashlib import sha256
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lmgen.serving.http import error
from lmgen.serving.settings import Settings

POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "connect-src": "'self'",
    "img-src": "'self' data:",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}
HEADERS = {
    "content-security-policy": "; ".join(f"{name} {sources}" for name, sources in POLICY.items()),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
OPEN = ("/", "/health")  # need no key: the page asks for it, and its files hold no secret
STATIC = "/static/"
METHODS = "GET, POST"


class Guard:
    """The middleware around the application."""

    def __init__(self, app: ASGIApp, settings: Settings):
        self.app, self.settings = app, settings
        self._key = None if settings.key is None else sha256(settings.key.encode()).digest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        origin = headers.get("origin", "")
        shared = origin in self.settings.origins

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                ours = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    ours[name] = value
                ours.setdefault("cache-control", "no-store")
                if shared:
                    ours["access-control-allow-origin"] = origin
                    ours["cross-origin-resource-policy"] = "cross-origin"
                    ours.add_vary_header("Origin")
            await send(message)

        if why := self._why_not(scope["method"], scope["path"], headers):
            status, sentence = why
            wanted = {"WWW-Authenticate": "Bearer"} if status == 401 else None
            await error(status, sentence, headers=wanted)(scope, receive, sending)
        elif shared and scope["method"] == "OPTIONS":
            allowed = {"access-control-allow-methods": METHODS, "access-control-allow-headers": "authorization, content-type"}
            await Response(status_code=204, headers=allowed)(scope, receive, sending)
        else:
            await self.app(scope, receive, sending)

    def _why_not(self, method: str, path: str, headers: Headers) -> tuple[int, str] | None:
        """The status and the sentence of a request that is refused."""
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        if len(hosts) != 1 or not self._is_host(hosts[0]):
            named = repr(hosts[0][:100]) if hosts else "no host"
            return 403, f"this server does not answer requests to {named}: ask it by its address, or start it with --allow-host"
        ours = self._is_origin(origins[0], hosts[0]) if len(origins) == 1 else not origins and _is_our_fetch(headers)
        if not ours:
            return 403, "this server does not answer pages of other sites: start it with --allow-origin to let one ask"
        opened = method == "OPTIONS" or (method in ("GET", "HEAD") and (path in OPEN or path.startswith(STATIC)))
        if self._key and not opened and not self._has_key(headers.get("authorization", "")):
            return 401, "this server needs its key: send the header Authorization: Bearer KEY"
        return None

    def _is_host(self, host: str) -> bool:
        name = _hostname(f"//{host}")
        return name == "localhost" or name in self.settings.hosts or _is_address(name)

    def _is_origin(self, origin: str, host: str) -> bool:
        scheme, _, rest = origin.partition("://")
        return origin in self.settings.origins or (scheme in ("http", "https") and rest == host)

    def _has_key(self, authorization: str) -> bool:
        scheme, _, key = authorization.partition(" ")
        given = sha256(key.strip().encode("utf-8", "surrogateescape")).digest()  # of equal length, so that no length leaks
        return hmac.compare_digest(given, self._key or b"") and scheme.lower() == "bearer"


def _is_our_fetch(headers: Headers) -> bool:
    """Whether what a browser asks for without naming an origin, as pictures, is for a page of ours, or is a page."""
    site, mode = headers.get("sec-fetch-site", "none"), headers.get("sec-fetch-mode")
    return site in ("none", "same-origin") or mode == "navigate"


def _hostname(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
