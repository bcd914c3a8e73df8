"""One thread computes for everyone: jobs are generators, and a turn of each follows a turn of another.

So nothing waits for a long job, models share the processor's cores in turn, and no two threads use a model at once.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, TypeVar

Result = TypeVar("Result")
END = object()


class Channel:
    """What a job hands to the coroutine that waits for it."""

    def __init__(self) -> None:
        self._loop, self._queue = asyncio.get_running_loop(), asyncio.Queue[Any]()
        self.closed = False  # nobody waits any more

    def put(self, *values: Any) -> None:
        """Hand values over; called by any thread."""
        self._loop.call_soon_threadsafe(self._take, values)

    def _take(self, values: tuple[Any, ...]) -> None:
        for value in values:
            self._queue.put_nowait(value)

    async def values(self) -> AsyncIterator[Any]:
        """The values up to END. Raises an exception that is one of them."""
        try:
            while (value := await self._queue.get()) is not END:
                if isinstance(value, BaseException):
                    raise value
                yield value
        finally:
            self.closed = True


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
        """Finish the jobs and end the thread."""
        with self._changed:
            self._ending = True
            self._changed.notify()
        self._thread.join()

    def add(self, job: Iterator[Any]) -> None:
        """Give a generator its turns until it ends; what it yields is dropped, and it may not raise."""
        with self._changed:
            self._jobs.append(job)
            self._changed.notify()

    async def stream(self, job: Iterator[Result]) -> AsyncIterator[Result]:
        """What a generator yields, computed in the thread; it ends early where nobody waits for more."""
        channel = Channel()
        self.add(_into(channel, job))
        async for value in channel.values():
            yield value

    async def compute(self, function: Callable[..., Result], *args: Any) -> Result:
        """The result of a function, which is called in the thread and takes a fraction of a second."""
        async for value in self.stream(function(*args) for _ in range(1)):
            return value
        raise AssertionError

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._jobs:
                    if self._ending:
                        return
                    self._changed.wait()
                job = self._jobs.popleft()
            if next(job, END) is not END:
                with self._changed:
                    self._jobs.append(job)


def _into(channel: Channel, job: Iterator[Any]) -> Iterator[None]:
    """A job whose values, or whose exception, go into a channel."""
    try:
        for value in job:
            channel.put(value)
            yield
            if channel.closed:
                return
        channel.put(END)
    except BaseException as error:
        channel.put(error)
