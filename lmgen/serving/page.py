"""The page: its files, and what it asks of the models beside the endpoints that everyone uses.

Each endpoint below /page/ takes a JSON object, in which "model" names a model, and answers one. VIEWS says what a model must be
for a view of the page.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from functools import lru_cache
from importlib import resources
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from lmgen.api import Model
from lmgen.applied.labeller import Labeller
from lmgen.applied.translator import Translator
from lmgen.data.reading import Piece
from lmgen.data.vocab import EOS, UNK
from lmgen.errors import LmgenError
from lmgen.evaluation import explanation, inspection
from lmgen.generation import filling, holding, sampling
from lmgen.models.capabilities import Conditions, Fills, Generates, Scores, ShowsUnits, Taught, can, finite, require
from lmgen.models.mixed import Mixed
from lmgen.nn import model as networks
from lmgen.options import kinds, table
from lmgen.serving.house import House
from lmgen.serving.http import Refused

TEXT = 4000  # characters of a text that is shown symbol by symbol
LENGTH = 1000  # symbols that are written on the page at most …
HELD = 200  # … and while a unit is held, which is slower
PAIRS = 8  # texts free and held, of a model that ends them itself
SHOWN = 40  # of the likeliest next symbols, and fillings at most
ALTERNATIVES = 10
BLOCK = 64  # symbols of a prompt that are read at once
MATCHES = 16  # units of a selection
EXAMPLE, SEQUENCES = 200, 3  # characters and sequences of the text that a view begins with
KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}

VIEWS: dict[str, Callable[[Any], bool]] = {
    "write": lambda lm: can(lm, Generates),
    "surprise": lambda lm: can(lm, Scores),
    "temperature": lambda lm: can(lm, Generates),
    "blanks": lambda lm: can(lm, Fills),
    "labels": lambda lm: isinstance(lm, Labeller),
    "pairs": lambda lm: isinstance(lm, Translator),
    "memory": lambda lm: can(lm, ShowsUnits),
    "units": lambda lm: can(lm, ShowsUnits),
}

Asked = dict[str, Any]


def routes(house: House) -> list[Route]:
    """The routes of the page."""
    sources = resources.files("lmgen.pages") / "base.css", *(resources.files("lmgen.serving") / "static").iterdir()
    files = {one.name: (one.read_bytes(), KINDS[Path(one.name).suffix]) for one in sources}

    def sent(name: str) -> Response:
        if name not in files:
            raise Refused(404, f"there is no file {name[:100]!r}")
        data, kind = files[name]
        return Response(data, media_type=f"{kind}; charset=utf-8")

    async def index(request: Request) -> Response:
        return sent("index.html")

    async def static(request: Request) -> Response:
        return sent(request.path_params["name"])

    async def models(request: Request) -> JSONResponse:
        bounds = {"text": TEXT, "length": min(LENGTH, house.settings.max_length), "texts": min(20, house.settings.max_sequences)}
        found = [await house.compute(_about, name, model) for name, model in house.models.items()]
        return JSONResponse({"models": found, "bounds": bounds})

    comparing = asyncio.Lock()

    def answering(function: Callable[[Any, Asked], Any]) -> Callable[[Request], Awaitable[JSONResponse]]:
        async def answer(asked: Asked) -> JSONResponse:
            name, model = house.model(asked.get("model"))
            if "label" in asked:
                model = house.by(name, table.check("label", kinds.Text(), asked["label"]))
            if asked.get("compare"):
                async with comparing:  # beside the models, since it takes long the first time
                    await asyncio.to_thread(_background, model.lm)
            return JSONResponse(await house.compute(function, model.lm, asked))

        async def endpoint(request: Request) -> JSONResponse:
            return await house.finished(request, answer(await house.body(request)))

        return endpoint

    asked = [Route(f"/page/{name}", answering(function), methods=["POST"]) for name, function in ENDPOINTS.items()]
    return [Route("/", index), Route("/static/{name}", static), Route("/page/models", models), *asked]


# ---- what is asked ---------------------------------------------------------------------------------------------------------


def _text(asked: Asked, name: str = "text") -> str:
    """A text within the bounds. Raises Refused for another."""
    text = asked.get(name, "")
    if not isinstance(text, str):
        raise Refused(400, f"{name} is not a text: send a string", name)
    if len(text) > TEXT:
        raise Refused(413, f"a text of {len(text):,} characters is too long for this page: send at most {TEXT:,}", name)
    return text.replace("\r\n", "\n").encode("utf-8", "replace").decode()  # half of a character has no bytes


def _whole(asked: Asked, name: str, low: int, high: int, default: int) -> int:
    return table.check(name, kinds.Whole(low, high), asked.get(name, default))


def _parts(lm: Any, text: str) -> list[str]:
    """The sequences of a text."""
    between = sampling.BETWEEN[lm.sequence]
    return text.split(between) if between else [text]


# ---- what is answered ------------------------------------------------------------------------------------------------------


def _about(name: str, model: Model) -> dict[str, Any]:
    """What the page must know of a model."""
    lm = model.lm
    views = [view for view, serves in VIEWS.items() if serves(lm)]
    parameters = f", {networks.parameters(lm.params):,} parameters" if hasattr(lm, "params") else ""
    parts = f", with {lm.described}" if isinstance(lm, Mixed) else ""
    trained = f", trained on {title}" if (title := lm.provenance.text.title) else ""
    noun = lm.kind.noun.partition(" ")[2]
    found: dict[str, Any] = {
        "name": name,
        "about": f"{noun[:1].upper()}{noun[1:]} ({lm.config.describe()}{parameters}{parts}), {len(lm.vocab):,} symbols{trained}",
        "views": views,
        "unit": lm.vocab.unit,
        "between": sampling.BETWEEN[lm.sequence],
        "count": 10 if sampling.defaults(lm)["lines"] == 1 else 1,
        "length": 200 if sampling.defaults(lm)["lines"] == 1 else 400,
        "labels": lm.config.labels if can(lm, Conditions) else None,
        "attends": isinstance(lm, Translator) and bool(lm.config.attention),
    }
    found["example"] = example = _example(lm)
    found["blanked"] = (filling.blanked(_parts(lm, example)[0], lm.vocab.unit) or "") if can(lm, Fills) else ""
    if can(lm, ShowsUnits):
        found["layers"] = [{"title": title, "names": names, "units": lm.config.size} for title, names in inspection.layers(lm)]
    return found


def _example(lm: Any) -> str:
    """The beginning of the training text, where that is at hand, for the views to begin with."""
    try:
        if isinstance(lm, Taught):
            one = next(iter(lm.provenance.text.examples()[0]))
            return (one.source if isinstance(lm, Translator) else one.joined)[:EXAMPLE]
        pieces = (piece.text for piece in lm.provenance.text.open(lm.carry)[0] if piece.text.strip())
        return sampling.BETWEEN[lm.sequence].join(islice(pieces, 1 if lm.carry else SEQUENCES))[:EXAMPLE]
    except (LmgenError, StopIteration, OSError):
        return ""


def explain(lm: Any, asked: Asked) -> dict[str, Any]:
    """What was expected of each symbol of a text; with "compare" also what the n-gram expected, and what is copied. An end of a
    sequence that is given, and not predicted, has no nats."""
    lm = require(lm, Scores, "choose a model of text")
    between = sampling.BETWEEN[lm.sequence]
    parts = [Piece(part, True, True, 1) for part in _parts(lm, _text(asked))]
    behind = _background(lm) if asked.get("compare") else explanation.Background()
    symbols: list[dict[str, Any]] = []
    copies = []
    for number, one in enumerate(explanation.explanations(lm, parts, behind, ALTERNATIVES), 1):
        for symbol in one:
            about = {name: getattr(symbol, name) for name in ("symbol", "nats", "rank", "known", "alternatives")}
            ngram = symbol.ngram and {name: getattr(symbol.ngram, name) for name in ("nats", "rank", "alternatives")}
            copied = symbol.copied is not None
            symbols.append({"text": symbol.before + symbol.symbol, **about, "copied": copied, "ngram": ngram})
        if number < len(parts):
            if not lm.counted(np.array([EOS]))[0]:
                symbols.append({"text": "", "symbol": "", "nats": None})
            symbols[-1]["text"] = between
        copies += [{"text": span.text, "line": span.line} for span in one.copies]
    return {"symbols": symbols, "copies": copies, "compared": not behind.lacks}


@lru_cache(maxsize=8)
def _background(lm: Any) -> explanation.Background:
    return explanation.background(lm)


def following(lm: Any, asked: Asked) -> dict[str, Any]:
    """The symbols that may follow a text, the likeliest first: −ln p of all, without UNK, and the spelling of the first."""
    lm = require(lm, Generates, "choose a model that writes")
    ids, state = np.array([[EOS], *lm.vocab.encode(_text(asked))[:, None]], np.int32), lm.start(1)
    whole = len(ids) // BLOCK * BLOCK
    for block in [*np.split(ids[:whole], whole // BLOCK or 1), *ids[whole:, None]]:  # two shapes to compile
        if len(block):
            state, logits = lm.read(state, block)
    logits = finite(np.asarray(logits, np.float64))[-1, 0]
    logits[UNK] = -np.inf
    order = np.argsort(-logits, kind="stable")[: len(logits) - 1]
    nats = np.logaddexp.reduce(logits[order]) - logits[order]
    symbols = [lm.vocab.shown(lm.vocab.spell(id)) for id in order[:SHOWN].tolist()]
    return {"symbols": symbols, "nats": nats.round(4).tolist()}


@lru_cache(maxsize=2)  # of a text of 4,000 symbols they take megabytes
def _trace(lm: Any, text: str) -> inspection.Trace:
    return inspection.trace(lm, text)


def states(lm: Any, asked: Asked) -> dict[str, Any]:
    """What a layer held after each symbol of a text, by one name: [T, N] numbers of a byte, of which 127 stands for `scale`."""
    found = _trace(lm, _text(asked))
    layer = found.layers[_whole(asked, "layer", 0, len(found.layers) - 1, 0)]
    of = table.check("of", kinds.Choice(tuple(layer.units)), asked.get("of", "h"))
    values = layer.units[of]
    scale = float(np.abs(values).max()) or 1.0
    numbers = np.rint(values / scale * 127).astype(np.int8)
    return {
        "pieces": found.pieces,
        "units": values.shape[1],
        "scale": scale,
        "values": base64.b64encode(numbers.tobytes()).decode(),
    }


def units(lm: Any, asked: Asked) -> dict[str, Any]:
    """The units that tell the symbols from `start` to `end` of a text from the others best."""
    found = _trace(lm, _text(asked))
    start, end = (_whole(asked, name, 0, TEXT, 0) for name in ("start", "end"))
    return {"matches": [match._asdict() for match in inspection.matches(found, start, end)[:MATCHES]]}


def hold(lm: Any, asked: Asked) -> dict[str, Any]:
    """Texts that a network writes free and while units are held: with the same seed, by the same loop."""
    prompt, seed, holds = _text(asked, "prompt"), table.check("seed", table.SEED, asked.get("seed", 0)), []
    settings = sampling.Settings(max_length=HELD)
    given = asked.get("holds")
    for one in given if isinstance(given, list) else []:
        place = one if isinstance(one, dict) else {}
        value = table.check("value", kinds.Bounded(-holding.MOST, holding.MOST), place.get("value"))
        holds.append(holding.Hold(_whole(place, "layer", 0, 1 << 16, 0), _whole(place, "unit", 0, 1 << 20, 0), value))
    drawn = {"free": holding.holding(lm, []), "held": holding.holding(lm, holds)}
    count = 1 if lm.carry else PAIRS
    return {
        name: [text.text for text in islice(sampling.samples(one, settings, seed, prompt), count)] for name, one in drawn.items()
    }


def fill(lm: Any, asked: Asked) -> dict[str, Any]:
    """The likeliest fillings of the blanks of a text."""
    lm = require(lm, Fills, "choose a cloze model")
    found = filling.fillings(lm, _text(asked), _whole(asked, "count", 1, SHOWN, 10))
    return {"fillings": [vars(one) for one in found]}


ENDPOINTS: dict[str, Callable[[Any, Asked], dict[str, Any]]] = {
    "explain": explain,
    "next": following,
    "states": states,
    "units": units,
    "hold": hold,
    "fill": fill,
}
