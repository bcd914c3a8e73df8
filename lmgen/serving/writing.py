"""The texts that users wait for, written side by side by the engine."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from lmgen.generation.together import Text, Together
from lmgen.models.capabilities import Generates
from lmgen.serving.engine import Channel, Engine, deliver
from lmgen.serving.metrics import Metrics


class Waiting(Text):
    """A text with a number in its request, whose channel gets (index, new ids, why it ends or None) after each call if
    `in_parts`, or at the end."""

    dropped = False  # nobody waits for more of it

    def __init__(self, *text: Any, index: int, channel: Channel, in_parts: bool):
        super().__init__(*text)
        self.index, self.channel, self._in_parts, self._sent = index, channel, in_parts, 0

    @property
    def over(self) -> bool:
        """Whether it needs no further call."""
        return self.done or self.dropped or self.channel.closed

    def news(self) -> list[tuple[int, list[int], str | None]]:
        """What is to be handed over after a call."""
        new = self.ids[self._sent :]
        if not (self.done or (self._in_parts and new)):
            return []
        self._sent = len(self.ids)
        return [(self.index, new, None if not self.done else "length" if self.left else "stop")]


class Writing:
    """Writes the texts of one model: new ones join those in the making between two calls. `count` are those in hand."""

    def __init__(self, lm: Generates, engine: Engine, metrics: Metrics):
        self.count = 0
        self._together, self._engine, self._metrics = Together(lm), engine, metrics
        self._groups: dict[bool, deque[Waiting]] = {True: deque(), False: deque()}  # those for the kernels, and the others
        self._lock = threading.Lock()

    def add(self, texts: Iterable[Waiting]) -> None:
        """Begin texts of one symbol or more."""
        with self._lock:
            idle = not self.count
            for text in texts:
                self._groups[text.by_kernels].append(text)
                self.count += 1
        if idle and self.count:
            self._engine.add(self._calls())

    def _calls(self) -> Iterator[None]:
        """A call for each group in turn, until there is no text."""
        while True:
            for by_kernels, group in self._groups.items():
                if group:
                    self._call(group, self._together.most(by_kernels))
                    yield
            with self._lock:
                if not self.count:
                    return

    def _call(self, group: deque[Waiting], most: int) -> None:
        held = [group.popleft() for _ in range(min(most, len(group)))]
        texts = [text for text in held if not text.over]
        drawn = sum(len(text.ids) for text in texts)
        try:
            if texts:
                self._together.write(texts)
                deliver((text.channel, text.news()) for text in texts)
        except Exception as error:
            deliver((text.channel, [error]) for text in texts)
            texts = []
        self._metrics.written.inc(sum(len(text.ids) for text in texts) - drawn)
        left = [text for text in texts if not text.over]
        group.extend(left)
        with self._lock:
            self.count -= len(held) - len(left)
