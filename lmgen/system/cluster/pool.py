"""A function of JSON values for each of many tasks: in this process, in several on this machine, or as tasks of a Ray cluster.

The tasks write what they make into files. A process here is a child that reads its tasks from a pipe, and ends with the pipe.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from queue import SimpleQueue
from typing import Any

from lmgen import errors
from lmgen.errors import LmgenError

RAY = "LMGEN_RAY"  # the address of a Ray cluster whose processes take the tasks
_START = "import sys; sys.path[:] = sys.argv[2:]; from lmgen.system.cluster.pool import serve; serve(sys.argv[1])"

Task = dict[str, Any]


def cores() -> int:
    """The number of processes that can work at a time: LMGEN_THREADS, or the number of cores that this one may run on."""
    wanted = os.environ.get("LMGEN_THREADS", "")
    if wanted.isdigit() and int(wanted):
        return int(wanted)
    with contextlib.suppress(AttributeError, OSError):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def each(function: str, tasks: Sequence[Task], processes: int) -> Generator[Any]:
    """What a function, "module:name", gives for each task, in order.

    Raises the error of a task, and LmgenError where a process is lost.
    """
    if tasks and (address := os.environ.get(RAY)):
        yield from _on_ray(function, tasks, address)
    elif min(processes, len(tasks)) < 2 or not sys.executable:
        yield from (named(function)(**task) for task in tasks)
    else:
        yield from _here(function, tasks, min(processes, len(tasks)))


def named(function: str) -> Callable[..., Any]:
    """The function "module:name"."""
    module, _, name = function.partition(":")
    return getattr(import_module(module), name)


# ---- on this machine ---------------------------------------------------------------------------------------------------


def _here(function: str, tasks: Sequence[Task], processes: int) -> Iterator[Any]:
    command = [sys.executable, "-c", _START, function, *sys.path]
    idle: SimpleQueue[subprocess.Popen] = SimpleQueue()
    children = []

    def call(task: Task) -> Any:
        child = idle.get()
        assert child.stdin
        assert child.stdout
        try:
            with contextlib.suppress(OSError):  # it is gone
                child.stdin.write(json.dumps(task).encode() + b"\n")
                child.stdin.flush()
            answer = json.loads(child.stdout.readline() or "{}")
        finally:
            idle.put(child)
        if "result" in answer:
            return answer["result"]
        if "sentence" not in answer:
            lost = "a process that prepared the text was lost; it was killed, or there was not enough memory"
            raise LmgenError(f"{lost}: start again, with LMGEN_THREADS=1 if need be")
        raise getattr(errors, answer["error"])(answer["sentence"])

    with ThreadPoolExecutor(processes) as threads:
        try:
            for _ in range(processes):
                # in a session of its own, where Ctrl-C does not reach it
                children.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True))
                idle.put(children[-1])
            yield from threads.map(call, tasks)
        finally:
            threads.shutdown(wait=False, cancel_futures=True)
            for child in children:
                child.kill()
                with contextlib.suppress(OSError), child:  # closes the pipes and waits
                    pass


def serve(function: str) -> None:
    """Work as a child: answer each task of stdin with a line on stdout."""
    call = named(function)
    for line in sys.stdin.buffer:
        try:
            answer = {"result": call(**json.loads(line))}
        except LmgenError as error:
            answer = {"error": type(error).__name__, "sentence": str(error)}
        except MemoryError:
            answer = {"error": "LmgenError", "sentence": "not enough memory to prepare the text: set LMGEN_THREADS=1"}
        sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
        sys.stdout.buffer.flush()


# ---- on a Ray cluster --------------------------------------------------------------------------------------------------


def _on_ray(function: str, tasks: Sequence[Task], address: str) -> Iterator[Any]:
    from lmgen.system.cluster import on_ray

    def call(task: Task) -> Any:
        return named(function)(**task)

    yield from on_ray.each(call, tasks, address, RAY)
