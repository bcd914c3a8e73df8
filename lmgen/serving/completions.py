"""POST /v1/completions, as OpenAI's clients ask for it."""

from __future__ import annotations

import secrets
import time

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from lmgen.serving.house import House


def routes(house: House) -> list[Route]:
    async def completions(request: Request) -> JSONResponse:
        asked = await house.body(request)
        name, model = house.model(asked.get("model"))
        drawn = await house.compute(
            lambda: model.sample(
                asked.get("n", 1),
                prompt=asked.get("prompt", ""),
                seed=asked.get("seed"),
                temperature=asked.get("temperature", 1.0),
                max_length=min(asked.get("max_tokens", 1000), house.settings.max_length),
            )
        )
        choices = [
            {"index": k, "text": one.text, "logprobs": None, "finish_reason": "stop" if one.ended else "length"}
            for k, one in enumerate(drawn)
        ]
        return JSONResponse(
            {
                "id": f"cmpl-{secrets.token_hex(12)}",
                "object": "text_completion",
                "created": int(time.time()),
                "model": name,
                "choices": choices,
            }
        )

    return [Route("/v1/completions", completions, methods=["POST"])]
