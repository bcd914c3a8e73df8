"""The endpoints beside completions: what is served, ids of texts and texts of ids, predictions, figures."""

from __future__ import annotations

import asyncio
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from lmgen.applied.records import RECORDS
from lmgen.generation.sampling import BETWEEN
from lmgen.models.capabilities import VERBS, Conditions, Predicts, can, require
from lmgen.models.spelling import EOS_NAME, decode, encode
from lmgen.options import commands, kinds
from lmgen.serving.house import House
from lmgen.serving.http import Json, Refused
from lmgen.serving.requests import fields, ids_of

MOST_BEAM = 16
SHOWN = ("top", "above", "weights")  # what of a prediction is answered; the options before these change what is predicted
BOUNDED = {"beam": kinds.Whole(1, MOST_BEAM), "best": kinds.Whole(1, MOST_BEAM)}


def routes(house: House) -> list[Route]:
    async def health(request: Request) -> Json:
        return Json({"status": "ending" if house.ending else "ok"}, 503 if house.ending else 200)

    async def metrics(request: Request) -> Response:
        return Response(house.metrics.shown(), media_type=CONTENT_TYPE_LATEST)

    async def models(request: Request) -> Json:
        return Json({"object": "list", "data": [_about(house, name) for name in house.models]})

    async def model(request: Request) -> Json:
        return Json(_about(house, house.model(request.path_params["name"])[0]))

    async def tokenizer_info(request: Request) -> Json:
        name, model = house.model(request.query_params.get("model"))
        vocab = model.lm.vocab
        return Json({"model": name, "eos_token": EOS_NAME, "unit": vocab.unit, "vocab_size": len(vocab)})

    async def tokenize(request: Request) -> Json:
        known = {"model": kinds.Text(), "prompt": kinds.Text(), "add_special_tokens": kinds.Flag()}
        given = fields(await house.body(request), known)
        _, model = house.model(given.get("model"))
        between = BETWEEN[model.lm.sequence]
        ids = await asyncio.to_thread(encode, model.lm.vocab, given.get("prompt", ""), between)
        return Json({"tokens": ids.tolist(), "count": len(ids)})

    async def detokenize(request: Request) -> Json:
        given = fields(await house.body(request), {"model": kinds.Text(), "tokens": kinds.Kind()})
        _, model = house.model(given.get("model"))
        ids = ids_of(given.get("tokens", []), model, "tokens")
        return Json({"prompt": await asyncio.to_thread(decode, model.lm.vocab, ids.tolist(), BETWEEN[model.lm.sequence])})

    async def predict(request: Request) -> Json:
        return Json(await house.finished(request, _predicted(house, await house.body(request))))

    return [
        Route("/health", health),
        Route("/metrics", metrics),
        Route("/v1/models", models),
        Route("/v1/models/{name}", model),
        Route("/tokenizer_info", tokenizer_info),
        Route("/tokenize", tokenize, methods=["POST"]),
        Route("/detokenize", detokenize, methods=["POST"]),
        Route("/predict", predict, methods=["POST"]),
    ]


def _about(house: House, name: str) -> dict[str, Any]:
    """A model as clients list it, and what it can do."""
    lm = house.models[name].lm
    abilities = [verb for capability, verb in VERBS.items() if can(lm, capability)]
    about = {"id": name, "object": "model", "created": house.created, "owned_by": "lmgen"}
    about |= {"network": lm.config.describe(), "unit": lm.vocab.unit, "vocab_size": len(lm.vocab), "can": abilities}
    return about | ({"labels": lm.config.labels} if can(lm, Conditions) else {})


async def _predicted(house: House, asked: dict[str, Any]) -> dict[str, Any]:
    """The predictions for texts, as lmgen predict --json prints them."""
    name, model = house.model(asked.get("model"))
    kind = require(model.lm, Predicts, "ask POST /v1/completions, or serve a model of labels or pairs").kind
    options = {option.name: option for option in commands.PREDICT if not kind.lacks(option)}
    decoding = [option.name for option in commands.DECODING if option.name in options]
    showing = [option for option in SHOWN if option in options]
    known = {option: BOUNDED.get(option, options[option].kind) for option in (*decoding, *showing)}
    given = fields(asked, {"model": kinds.Text(), "texts": kinds.Kind(), **known})
    texts = given.get("texts")
    texts = [texts] if isinstance(texts, str) else texts
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise Refused(400, "texts: give a text, or a list of texts", "texts")
    if len(texts) > house.settings.max_prompts:
        raise Refused(400, f"{len(texts):,} texts are too many: send {house.settings.max_prompts:,} at most", "texts")
    found = model.predict(texts, **{option: given[option] for option in decoding if option in given})
    shown = {option: given[option] for option in showing if option in given}
    records = [RECORDS[kind](one, **shown) async for one in house.engine.stream(found)]
    return {"model": name, "predictions": records}
