"""Signals end the program at once or, during training, after the current step. Imports little, as it is imported first."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

INTERRUPTED, TERMINATED = 130, 75  # exit codes
# Windows has SIGBREAK: Ctrl-Break, the end of a session, a console that is closed, which ends the process after seconds.
ENDING: list[int] = [getattr(signal, name) for name in ("SIGTERM", "SIGBREAK") if hasattr(signal, name)]


class Stop:
    """The handler of signals. The first one sets the exit code and ends the program, at once or, while `finishing`, after the
    current training step. A second Ctrl-C ends it at once in any case, a third without cleaning up.
    """

    code = 0
    finishing = False

    def __init__(self) -> None:
        self.cleanups: list[Callable[[], None]] = []  # called where the program ends without unwinding

    def __call__(self, number: int, frame: FrameType | None) -> None:
        again = bool(self.code)
        self.code = self.code or (INTERRUPTED if number == signal.SIGINT else TERMINATED)
        if not self.finishing and _importing(frame):
            for cleanup in self.cleanups:
                cleanup()
            os._exit(self.code)  # an exception could be swallowed, or break a half-initialised C module
        if again and number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        if not self.finishing or (again and number == signal.SIGINT):
            raise KeyboardInterrupt

    def check(self) -> None:
        """Raise KeyboardInterrupt if there was a signal: the first one may have been swallowed, as in a callback of JAX."""
        if self.code:
            raise KeyboardInterrupt


def _importing(frame: FrameType | None) -> bool:
    """Whether a module is being imported."""
    while frame:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


STOP = Stop()


def begin() -> None:
    """Make Ctrl-C end the program with an exit code and without a traceback."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as shells start background jobs
        signal.signal(signal.SIGINT, STOP)
    report = sys.unraisablehook

    def quiet(unraisable: Any) -> None:
        if not (STOP.code and unraisable.exc_type is KeyboardInterrupt):
            report(unraisable)

    sys.unraisablehook = quiet


@contextlib.contextmanager
def heeded() -> Iterator[Stop]:
    """Handle Ctrl-C, SIGTERM and SIGBREAK by `STOP`, and ignore SIGHUP: a closed terminal does not end a training."""
    handlers: dict[int, Any] = dict.fromkeys([signal.SIGINT, *ENDING], STOP)
    if hasattr(signal, "SIGHUP"):
        handlers[signal.SIGHUP] = signal.SIG_IGN
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        STOP.check()
        yield STOP
    except Exception:
        if STOP.code and not STOP.finishing:  # an import turned the interrupt into it
            raise KeyboardInterrupt from None
        raise
    finally:
        STOP.finishing = False
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if STOP.code else handler)  # the program is about to end


@contextlib.contextmanager
def ignored() -> Iterator[None]:
    """Ignore Ctrl-C, SIGTERM and SIGBREAK where nothing else handles them."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, *ENDING)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def waiting() -> Iterator[Stop]:
    """Make Ctrl-C wait until the step is finished; a second one ends the training at once.

    Where another handler is installed, or in another thread, nothing changes.
    """
    stop = Stop()
    stop.finishing = True
    ours = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if ours:
        signal.signal(signal.SIGINT, stop)
    try:
        yield stop
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
