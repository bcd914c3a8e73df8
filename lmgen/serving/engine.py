"""One thread computes for everyone: jobs are generators, and a turn of each follows a turn of another.

So nothing waits for a long job, models share the processor's cores in turn, and no two threads use a model at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import aclosing
from typing import Any, TypeVar

Result = TypeVar("Result")
END = object()


class Channel:
    """What is handed over from the thread to the coroutine that waits for it."""

    def __init__(self) -> None:
        self.loop, self._filled = asyncio.get_running_loop(), asyncio.Event()
        self._values: list[Any] = []
        self.closed = False  # nobody waits any more

    def take(self, values: list[Any]) -> None:
        """Add values, in the thread of the event loop."""
        self._values += values
        self._filled.set()

    async def lists(self) -> AsyncGenerator[list[Any]]:
        """All values that are there, whenever there are some, up to END. Raises an exception that is one of them."""
        try:
            ended = False
            while not ended:
                await self._filled.wait()
                self._filled.clear()
                values, self._values = self._values, []
                for value in values:
                    if isinstance(value, BaseException):
                        raise value
                ended = values[-1] is END
                yield values[:-1] if ended else values
        finally:
            self.closed = True


def deliver(parcels: Iterable[tuple[Channel, list[Any]]]) -> None:
    """Hand values over to channels of one event loop; called by any thread."""
    held = [(channel, values) for channel, values in parcels if values]

    def take() -> None:
        for channel, values in held:
            channel.take(values)

    if held:
        with contextlib.suppress(RuntimeError):  # the loop is closed, so that nobody waits
            held[0][0].loop.call_soon_threadsafe(take)


class Engine:
    """The thread, and the jobs that take turns in it."""

    def __init__(self) -> None:
        self._jobs: deque[Iterator[Any]] = deque()
        self._changed = threading.Condition()
        self._ending = False
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        """End the thread after the turn of a job; the others are dropped."""
        with self._changed:
            self._jobs.clear()
            self._ending = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    def add(self, job: Iterator[Any]) -> None:
        """Give a generator its turns until it ends; what it yields is dropped, and it may not raise."""
        with self._changed:
            self._jobs.append(job)
            self._changed.notify()

    async def stream(self, job: Iterator[Result]) -> AsyncGenerator[Result]:
        """What a generator yields, computed in the thread; it ends early where nobody waits for more."""
        channel = Channel()
        self.add(_into(channel, job))
        async with aclosing(channel.lists()) as lists:
            async for values in lists:
                for value in values:
                    yield value

    async def compute(self, function: Callable[..., Result], *args: Any) -> Result:
        """The result of a function, which is called in the thread and takes a fraction of a second."""
        channel = Channel()
        self.add(_into(channel, (function(*args) for _ in range(1))))
        (result,) = [value async for values in channel.lists() for value in values]
        return result

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._jobs or self._ending)
                if self._ending:
                    return
                job = self._jobs.popleft()
            if next(job, END) is not END:
                with self._changed:
                    self._jobs.append(job)


def _into(channel: Channel, job: Iterator[Any]) -> Iterator[None]:
    """A job whose values, or whose exception, go into a channel."""
    try:
        for value in job:
            deliver([(channel, [value])])
            yield
            if channel.closed:
                return
        deliver([(channel, [END])])
    except BaseException as error:
        deliver([(channel, [error])])
