"""What /metrics says, in the format of Prometheus."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lmgen.serving.http import error

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Metrics:
    """The figures of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("lmgen_requests", "Requests by path and status.", ["path", "status"], registry=self.registry)
        self.seconds = Histogram(
            "lmgen_request_seconds",
            "Time from a request to the end of its answer.",
            ["path"],
            registry=self.registry,
            buckets=SECONDS,
        )
        self.first = Histogram(
            "lmgen_first_symbol_seconds", "Time to the first symbols of a stream.", registry=self.registry, buckets=SECONDS
        )
        self.texts = Gauge("lmgen_texts", "Texts that are written or wait.", registry=self.registry)
        self.open = Gauge("lmgen_open_requests", "Requests in flight.", registry=self.registry)
        self.written = Counter("lmgen_symbols_written", "Symbols drawn.", registry=self.registry)
        self.read = Counter("lmgen_symbols_read", "Symbols whose probability was computed.", registry=self.registry)

    def shown(self) -> bytes:
        return generate_latest(self.registry)


class Counted:
    """The outermost middleware: it counts the requests in flight and refuses them where there are too many."""

    def __init__(self, app: ASGIApp, metrics: Metrics, most: int):
        self.app, self.metrics, self.most, self.open = app, metrics, most, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status, begun = 500, time.monotonic()

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self.open += 1
        self.metrics.open.inc()
        try:
            if self.open > self.most:
                why = f"{self.most:,} requests are in flight, and more are not taken: ask again later"
                await error(503, why, headers={"Retry-After": "1"})(scope, receive, sending)
            else:
                await self.app(scope, receive, sending)
        finally:
            self.open -= 1
            self.metrics.open.dec()
            route = scope.get("route")  # as it is declared: paths that others think of are not counted one by one
            path = getattr(route, "path", "other")
            self.metrics.requests.labels(path, status).inc()
            self.metrics.seconds.labels(path).observe(time.monotonic() - begun)
