"""POST /v1/completions, as OpenAI's clients and lm-evaluation-harness ask for it."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from contextlib import aclosing
from itertools import accumulate, chain, islice, product
from typing import Any, NamedTuple

import numpy as np
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from lmgen.data.vocab import EOS
from lmgen.evaluation.alternatives import Likely, Reader
from lmgen.generation.stops import cut
from lmgen.models.spelling import Speller, name_of
from lmgen.serving.engine import Channel
from lmgen.serving.house import House
from lmgen.serving.http import Json, aside
from lmgen.serving.requests import Asked, completion
from lmgen.serving.writing import Waiting

PACE = 0.05  # seconds between two events of a stream at least: nobody reads faster
EVENTS = 300  # in a second, of all streams together
LEAST = -9999.0  # stands for ln 0, which JSON lacks


def routes(house: House) -> list[Route]:
    async def completions(request: Request) -> Response:
        content = await house.body(request)
        size = len(str(content.get("prompt"))) if "prompt" in content else 0
        answer = Answer(house, await aside(size, completion, content, house))
        if answer.asked.stream:
            return StreamingResponse(house.streamed(answer.events()), media_type="text/event-stream")
        found = await house.finished(request, answer.whole())
        return await aside(answer.size, Json, found)

    return [Route("/v1/completions", completions, methods=["POST"])]


class Symbol(NamedTuple):
    """A symbol: the text that it adds; where it was judged its name, ln p, and ln p of the likeliest by their names. One may
    stand for several where nobody asks for each."""

    text: str
    name: str = ""
    log_p: float | None = None
    top: dict[str, float] | None = None
    many: int = 1


class Part(NamedTuple):
    """Some of the text of a choice, which begins at `start`, and its symbols; and, where it is the last, why."""

    choice: int
    start: int
    text: str
    symbols: list[Symbol]
    finish: str | None = None

    def shown(self, judged: bool) -> dict[str, Any]:
        """As clients read it."""
        logprobs = {
            "tokens": [one.name for one in self.symbols],
            "token_logprobs": [one.log_p for one in self.symbols],
            "top_logprobs": [one.top for one in self.symbols],
            "text_offset": [*accumulate((len(one.text) for one in self.symbols), initial=self.start)][:-1],
        }
        return {
            "index": self.choice,
            "text": self.text,
            "logprobs": logprobs if judged else None,
            "finish_reason": self.finish,
        }


class Choice:
    """One text of an answer: spelt, judged, and cut at a stop, as its ids come."""

    def __init__(self, asked: Asked, index: int, house: House):
        self.asked, self.index, self._engine, self._metrics = asked, index, house.engine, house.metrics
        self.finish: str | None = None
        self.drawn = 0
        self._vocab = asked.model.lm.vocab
        self._speller = Speller(self._vocab, asked.between)
        self._reader = None if asked.logprobs is None else Reader(asked.model.lm, max(1, asked.logprobs))
        self._held: list[Symbol] = []  # in which a stop may begin
        self._most_held = max(map(len, asked.stop), default=1) - 1  # characters
        self.length = 0  # of the text before these

    async def begin(self) -> Part:
        """Read the prompt, which is a part of the text where it is echoed."""
        at = self.index // self.asked.n
        head, prompt = self.asked.heads[at], self.asked.prompts[at]
        symbols = [Symbol(text, name_of(self._vocab, EOS)) for text in self._speller.parts([EOS] * head)]
        symbols += await self._read(prompt.tolist())
        symbols[:1] = [one._replace(log_p=None, top=None) for one in symbols[:1]]  # as clients expect of the first
        return self._part(symbols if self.asked.echo else [])

    async def go_on(self, ids: list[int], finish: str | None) -> Part:
        """Read what was drawn."""
        self._held += await self._read(ids)
        ends = [*accumulate(len(one.text) for one in self._held)]
        text = "".join(one.text for one in self._held) + (self._speller.rest() if finish else "")
        kept = cut(text, self.asked.stop, 0)
        if kept != text:
            self.finish = "stop"
            count = sum(end - len(one.text) < len(kept) for end, one in zip(ends, self._held, strict=True))
        elif finish:
            self.finish, count = finish, len(ends)
        else:
            count = sum(end <= len(text) - self._most_held for end in ends)
            kept = text[: ends[count - 1]] if count else ""
        symbols, self._held = self._held[:count], self._held[count:]
        self.drawn += sum(one.many for one in symbols)
        return self._part(symbols, kept)

    def _part(self, symbols: list[Symbol], text: str | None = None) -> Part:
        start, text = self.length, "".join(one.text for one in symbols) if text is None else text
        self.length += len(text)
        return Part(self.index, start, text, symbols, self.finish)

    async def _read(self, ids: list[int]) -> list[Symbol]:
        if self._reader is None:
            parts = self._speller.parts(ids)
            return [*map(Symbol, parts)] if self.asked.stop else [Symbol("".join(parts), many=len(parts))] * bool(parts)
        return [one async for block in self._engine.stream(self._judged(self._reader, ids)) for one in block]

    def _judged(self, reader: Reader, ids: list[int]) -> Iterator[list[Symbol]]:
        spelt = zip(ids, self._speller.parts(ids), strict=True)
        for likely in reader.read(np.array(ids, np.int32)):
            yield [self._symbol(likely, k, *next(spelt)) for k in range(len(likely.log_p))]
            self._metrics.read.inc(len(likely.log_p))

    def _symbol(self, likely: Likely, k: int, id: int, text: str) -> Symbol:
        pairs = zip(likely.ids[k].tolist(), likely.of_ids[k].tolist(), strict=True)
        top: dict[str, float] = {}
        for other, log_p in chain(islice(pairs, self.asked.logprobs), [(id, float(likely.log_p[k]))]):
            top.setdefault(name_of(self._vocab, other), max(log_p, LEAST))
        return Symbol(text, name_of(self._vocab, id), max(float(likely.log_p[k]), LEAST), top)


class Answer:
    """The answer to a request, whose texts are begun at once. Raises Refused where too many are waited for."""

    def __init__(self, house: House, asked: Asked):
        self.asked, self._house = asked, house
        self._choices = [Choice(asked, index, house) for index in range(len(asked.prompts) * asked.n)]
        self._about = {"id": f"cmpl-{secrets.token_hex(12)}", "object": "text_completion", "created": int(time.time())}
        self._channel, self._begun = Channel(), time.monotonic()
        self._texts = [
            Waiting(
                *(asked.settings, asked.seed, number, prompt, asked.lines),
                index=index,
                channel=self._channel,
                in_parts=asked.stream or bool(asked.stop),
            )
            for index, (prompt, number) in enumerate(product(asked.prompts, range(asked.n if asked.most else 0)))
        ]
        house.write(asked.model.lm, self._texts)

    @property
    def size(self) -> int:
        """About the number of bytes in it."""
        return sum(choice.length * (1 if self.asked.logprobs is None else 100) for choice in self._choices)

    async def whole(self) -> dict[str, Any]:
        """All of it."""
        parts: list[list[Part]] = [[] for _ in self._choices]
        async for part in self._parts(paced=False):
            parts[part.choice].append(part)
        found = [
            Part(k, 0, "".join(one.text for one in some), [s for one in some for s in one.symbols], some[-1].finish)
            for k, some in enumerate(parts)
        ]
        return self._message([part.shown(self.asked.logprobs is not None) for part in found]) | {"usage": self._usage()}

    async def events(self) -> AsyncGenerator[dict[str, Any]]:
        """It in parts, as they come."""
        waited = False
        async for part in self._parts(paced=True):
            if not waited and self._choices[part.choice].drawn:
                self._house.metrics.first.observe(time.monotonic() - self._begun)
                waited = True
            yield self._message([part.shown(self.asked.logprobs is not None)])
        if self.asked.usage:
            yield self._message([]) | {"usage": self._usage()}

    async def _parts(self, paced: bool) -> AsyncIterator[Part]:
        """What becomes known of the choices, and the last part of each with its finish."""
        try:
            for choice in self._choices:
                part = await choice.begin()
                if part.symbols:
                    yield part
                if not self.asked.most:
                    yield await choice.go_on([], "length")
            if self._texts:
                async with aclosing(self._channel.lists()) as lists:
                    async for news in lists:
                        for index, (ids, finish) in _merged(news).items():
                            choice = self._choices[index]
                            if choice.finish is None:
                                part = await choice.go_on(ids, finish)
                                self._texts[index].dropped = part.finish is not None
                                if part.symbols or part.finish:
                                    yield part
                        if all(choice.finish for choice in self._choices):
                            return
                        if paced:
                            pace = max(PACE, self._house.waiting / EVENTS)
                            await asyncio.sleep(pace - time.monotonic() % pace)  # all streams at once: fewer turns of the loop
        finally:
            self._channel.closed = True

    def _message(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return self._about | {"model": self.asked.name, "choices": choices}

    def _usage(self) -> dict[str, int]:
        read = sum(len(prompt) + head for prompt, head in zip(self.asked.prompts, self.asked.heads, strict=True))
        drawn = sum(choice.drawn for choice in self._choices)
        return {"prompt_tokens": read, "completion_tokens": drawn, "total_tokens": read + drawn}


def _merged(news: Iterable[tuple[int, list[int], str | None]]) -> dict[int, tuple[list[int], str | None]]:
    """What is new of each text."""
    found: dict[int, tuple[list[int], str | None]] = {}
    for index, ids, finish in news:
        found[index] = found.get(index, ([], None))[0] + ids, finish
    return found
