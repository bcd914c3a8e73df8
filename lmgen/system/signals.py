"""What signals ask for: the end at once, or, while a training runs, after its step. Light, so that it is there from the start."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

INTERRUPTED, TERMINATED = 130, 75  # exit codes


class Stop:
    """Set by the first signal, with the exit code that it asks for. It ends the program at once, but for a training that is
    `finishing` its step; a second Ctrl-C ends that at once, too, a third without a word.
    """

    code = 0
    finishing = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        again = bool(self.code)
        self.code = self.code or (INTERRUPTED if number == signal.SIGINT else TERMINATED)
        if not self.finishing and _importing(frame):
            os._exit(self.code)  # an exception might be swallowed there, or break a half-made module in C
        if again and number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        if not self.finishing or (again and number == signal.SIGINT):
            raise KeyboardInterrupt

    def check(self) -> None:
        """End if a signal has come: what it raised may have been swallowed, as in a callback of JAX."""
        if self.code:
            raise KeyboardInterrupt


def _importing(frame: FrameType | None) -> bool:
    """Whether a module is being imported, so that nothing is being written."""
    while frame:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


STOP = Stop()


def begin() -> None:
    """From now on Ctrl-C ends the program with an exit code and without a traceback, wherever it is."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # so does a shell start what is in its background
        signal.signal(signal.SIGINT, STOP)
    report = sys.unraisablehook

    def quiet(unraisable: Any) -> None:
        if not (STOP.code and unraisable.exc_type is KeyboardInterrupt):
            report(unraisable)

    sys.unraisablehook = quiet


@contextlib.contextmanager
def heeded() -> Iterator[Stop]:
    """Ctrl-C and SIGTERM heeded as `Stop` says; a closed terminal does not end what is in here."""
    handlers: dict[int, Any] = {signal.SIGINT: STOP, signal.SIGTERM: STOP, signal.SIGHUP: signal.SIG_IGN}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        STOP.check()
        yield STOP
    except Exception:
        if STOP.code and not STOP.finishing:  # what became of an interrupt inside of an import
            raise KeyboardInterrupt from None
        raise
    finally:
        STOP.finishing = False
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if STOP.code else handler)  # who is about to end needs no more asking
