"""Starting the processes of a training that run on this machine, and ending them together.

Each process that trains is a child of one that only watches: it passes signals on, ends the others once one has ended, and says
why in one sentence. A child whose watcher is gone ends, too.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import IO, Any, NamedTuple

from lmgen.errors import InputError
from lmgen.system import terminal
from lmgen.system.cluster.environments import LOST, WATCHER, Team, watched
from lmgen.system.signals import INTERRUPTED, TERMINATED

GRACE = 3  # seconds for the others to end by themselves once one has ended, and for the first cause of several to be seen
PATIENCE = 20  # seconds without a sign of life after which a process counts as lost


# ---- the watcher -------------------------------------------------------------------------------------------------------


@dataclass
class Child:
    """A process that trains, by its number among all of the team."""

    number: int
    process: subprocess.Popen
    words: IO[str] | None  # what it writes to stderr, unless it is process 0

    @property
    def failed(self) -> bool:
        """Whether it ended otherwise than well."""
        return self.process.poll() not in (None, 0)

    def reason(self) -> str:
        """Why it ended; empty where it missed another process."""
        code = self.process.returncode
        if code in (0, LOST, -signal.SIGABRT):  # JAX aborts a process that misses another
            return ""
        if code < 0:
            return f"process {self.number} was killed by {_name(-code)}"
        said = ""
        if self.words:
            self.words.seek(0)
            said = next((line[7:].strip() for line in reversed(self.words.readlines()) if line.startswith("lmgen: ")), "")
        return f"process {self.number} ended with exit code {code}" + (f" ({said})" if said else "")


def _name(number: int) -> str:
    with contextlib.suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"


class Ending(NamedTuple):
    """How a command ended: its exit code, and the command by which it can be resumed, if it can."""

    code: int
    way_out: str = ""


def watch(team: Team, words: Sequence[str], way_out: str = "", sharing: int = 0) -> Ending:
    """Run `lmgen WORDS` as those processes of a team that run here, to their end.

    The exit code is that of process 0, if it ended by itself. Otherwise a sentence says why, and the code is 75 where the
    training can be resumed by the command `way_out`, which process 0 may tell later, and 1 elsewhere. `sharing` is the number of
    processes that share the cores, if it is not that of those started here. Raises InputError on Windows.
    """
    if os.name != "posix":
        raise InputError("several processes work together on Linux and macOS alone: leave out --processes")
    from_child, to_watcher = os.pipe()
    os.set_blocking(from_child, False)
    with open(from_child, encoding="utf-8") as told, contextlib.ExitStack() as stack:
        threads = _threads(sharing or len(team.numbers))
        children = [_started(team, number, words, to_watcher, threads, stack) for number in team.numbers]
        os.close(to_watcher)
        asked = _pass_signals_on(children)
        _wait(children, one_failed=True)
        _wait(children, GRACE)
        failed = [child for child in children if child.failed]
        own = children[0].process.poll() if team.numbers[0] == 0 else None
        for child in children:
            child.process.kill()
            child.process.wait()
        way_out = told.readline().strip() or way_out
    if not failed:
        return Ending(0)
    if len(asked) > 1:
        return Ending(INTERRUPTED if signal.SIGINT in asked else TERMINATED, way_out)
    if own is not None and own >= 0 and own != LOST:  # process 0 is at its end, or has said why
        return Ending(own, way_out)
    reason = next(filter(None, (child.reason() for child in failed)), "")
    if team.numbers[0] == 0 or reason:  # one sentence for all
        reason = reason or f"another process ended, or gave no sign of life for {PATIENCE} s"
        again = f" --processes {team.count}" if len(team.numbers) > 1 else ""
        then = f"go on with: {way_out}{again}" if way_out else "nothing was saved yet, so start again"
        terminal.note(f"lmgen: {reason}; {then}")
    return Ending(TERMINATED if way_out else 1, way_out)


def _wait(children: list[Child], seconds: float = math.inf, one_failed: bool = False) -> None:
    """Wait until all have ended, for so long at most, or until one has failed."""
    end = time.monotonic() + seconds
    while any(child.process.poll() is None for child in children) and time.monotonic() < end:
        if one_failed and any(child.failed for child in children):
            return
        time.sleep(0.02)


def _started(
    team: Team, number: int, words: Sequence[str], to_watcher: int, threads: dict[str, str], stack: contextlib.ExitStack
) -> Child:
    """Start a process in a session of its own, so that Ctrl-C reaches only the watcher; its stdin ends when the watcher does."""
    said = None if number == 0 else tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
    process = subprocess.Popen(
        [sys.executable, "-m", "lmgen", *words],
        env={**threads, **os.environ, **team.variables(number), WATCHER: str(to_watcher)},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL if number else None,
        stderr=said,
        pass_fds=[to_watcher],
        start_new_session=True,
    )
    stack.callback(process.kill)
    return Child(number, process, said)


def _threads(processes: int) -> dict[str, str]:
    """The variables that share the cores equally, between kernels (LMGEN_THREADS) and XLA (NPROC)."""
    each = str(max(1, cores() // processes))
    return {"LMGEN_THREADS": each, "NPROC": each} if processes > 1 else {}


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _pass_signals_on(children: list[Child]) -> list[int]:
    """Pass SIGINT and SIGTERM on, which are listed as they come; a second one ends all at once."""
    asked: list[int] = []

    def handle(number: int, frame: Any) -> None:
        asked.append(number)
        for child in children:
            if child.process.poll() is None:
                child.process.send_signal(number if len(asked) == 1 else signal.SIGKILL)

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, handle)
    return asked


# ---- the watched -------------------------------------------------------------------------------------------------------


def heed() -> None:
    """Stop as at SIGTERM once the watcher is gone, and at once if that takes long. What libraries write to stderr is dropped."""
    sys.stderr = open(os.dup(2), "w", buffering=1, encoding=sys.stderr.encoding, errors=sys.stderr.errors)  # noqa: SIM115
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)

    def wait() -> None:
        while os.read(0, 1 << 10):
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(PATIENCE)
        os._exit(TERMINATED)

    threading.Thread(target=wait, daemon=True).start()


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Drop what libraries write to stdout."""
    sys.stdout.flush()
    with open(os.devnull, "wb") as nowhere:
        real = os.dup(1)
        os.dup2(nowhere.fileno(), 1)
    try:
        yield
    finally:
        os.dup2(real, 1)
        os.close(real)


@cache
def tell(way_out: str) -> None:
    """Tell the watcher the command by which the training can be resumed, the first time that it is given."""
    if watched():
        with contextlib.suppress(OSError):
            os.write(int(os.environ[WATCHER]), f"{way_out}\n".encode())
