"""The processes of a team as one: joining, and what they tell each other, by JAX's own runtime.

Every function is called by all processes at the same point. Where there is one process, nothing is sent.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

import jax
import numpy as np
import safetensors.numpy
from jax.experimental import multihost_utils

from lmgen.errors import InputError, LmgenError, printable
from lmgen.system.cluster import watching
from lmgen.system.cluster.environments import ADDRESS, LOST, Team, leave, watched
from lmgen.system.cluster.watching import PATIENCE

ALONE = "array"  # the name of an array that is not one of a dict
LAST_SAVE = 24 * 60 * 60  # seconds for which the others wait for process 0 at the end
SLOW, LEAST = 2.0, 1.0  # a straggler takes this many times as long as the others, and at least this many seconds
BLOCK = 1 << 26  # bytes that are sent at a time
T = TypeVar("T")


def join(team: Team, facts: Callable[[], str]) -> None:
    """Become a process of a team, before JAX computes anything. `facts` tells what must be the same for all.

    Raises InputError where the port of process 0 is in use, a process does not come, or the facts differ.
    """
    number = team.numbers[0]
    if number == 0:
        _check_free(int(team.address.rpartition(":")[2]))
    jax.config.update("jax_check_proxy_envs", False)
    jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM
    try:
        jax.distributed.initialize(
            team.address,
            team.count,
            number,
            cluster_detection_method="deactivate",
            heartbeat_timeout_seconds=PATIENCE,
            shutdown_timeout_seconds=LAST_SAVE,
        )
    except RuntimeError as error:
        why = printable(str(error).partition("\n")[0])
        raise InputError(
            f"process {number} found no others at {team.address} ({why}): start all {team.count}, where they reach that address"
        ) from None
    with watching.silent():  # [Gloo] Rank 0 is connected …
        told = [one.decode().partition("\n") for one in contents(f"{socket.gethostname()}\n{facts()}".encode())]
    for other, (name, _, found) in enumerate(told):
        if found != told[0][2]:
            here, there = f"process 0 on {told[0][0]} ({told[0][2]})", f"process {other} on {name} ({found})"
            refuse(InputError(f"{here} and {there} differ: install the same on all hosts"))


def _check_free(port: int) -> None:
    """Raise InputError for a port that is in use: JAX would share it with whoever listens there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError as error:
            way_out = f"wait for the training that uses it, or give another in {ADDRESS}"
            raise InputError(f"process 0 cannot listen on port {port} ({error.strerror}): {way_out}") from None


def number() -> int:
    """The number of this process, from 0."""
    return jax.process_index() if jax.distributed.is_initialized() else 0


def count() -> int:
    """The number of processes."""
    return jax.process_count() if jax.distributed.is_initialized() else 1


def lost(error: BaseException) -> bool:
    """Whether an error of JAX means that another process is gone."""
    return watched() and any(word in str(error) for word in ("Gloo", "NCCL", "oordination", "UNAVAILABLE"))


# ---- telling -----------------------------------------------------------------------------------------------------------


def gathered(own: np.ndarray) -> np.ndarray:
    """The array of each process, one after the other [count, …]; all have the same shape."""
    return np.asarray(multihost_utils.process_allgather(own)).reshape(count(), *own.shape)


def contents(own: bytes) -> list[bytes]:
    """The bytes of each process."""
    lengths = gathered(np.array(len(own))).tolist()
    padded = np.zeros(1 << (max(lengths) | 1023).bit_length(), np.uint8)  # powers of two: few shapes to compile
    padded[: len(own)] = np.frombuffer(own, np.uint8)
    return [one[:length].tobytes() for one, length in zip(gathered(padded), lengths, strict=True)]


def sent(content: bytes = b"") -> bytes:
    """The bytes that process 0 gives, in every process."""
    blocks, rest = multihost_utils.broadcast_one_to_all(np.array(divmod(len(content), BLOCK), np.int32)).tolist()
    found = []
    for k in range(blocks + 1):
        own = content[k * BLOCK : (k + 1) * BLOCK].ljust(BLOCK if k < blocks else rest, b"\0")
        found.append(multihost_utils.broadcast_one_to_all(np.frombuffer(own, np.uint8)).tobytes())
    return b"".join(found)


def agree(fault: str) -> None:
    """Raise LmgenError in process 0, and end the others, where a process has found a fault."""
    for other, found in enumerate(contents(fault.encode())):
        if found:
            refuse(LmgenError(f"process {other}: {found.decode()}"))


def refuse(error: LmgenError) -> None:
    """End the work of all for a reason that all know: process 0 raises it, the others end without a word."""
    if number():
        leave(LOST)
    raise error


# ---- sharing work ------------------------------------------------------------------------------------------------------


def shared_out(items: Iterable[T], compute: Callable[[T], Any]) -> Iterator[Any]:
    """What `compute` makes of each item, an array or a dict of arrays, in order: each process computes its share and gets all."""
    if count() == 1:
        yield from map(compute, items)
        return
    left = iter(items)
    while some := [*islice(left, count())]:
        own, start = b"", time.monotonic()
        if number() < len(some):
            found = compute(some[number()])
            arrays = found if isinstance(found, dict) else {ALONE: found}
            own = safetensors.numpy.save({name: np.asarray(a, order="C") for name, a in arrays.items()})
        _seconds.append(gathered(np.array(time.monotonic() - start)))
        for content in contents(own)[: len(some)]:
            arrays = safetensors.numpy.load(content)
            yield arrays.get(ALONE, arrays)


_seconds: list[np.ndarray] = []  # of computing in each round of `shared_out`, by process


def straggler() -> str:
    """A sentence about a process that computes far slower than the others, by what was shared out since the last call; empty
    where there is none."""
    seconds = np.sum(_seconds, 0) if _seconds else np.zeros(count())
    _seconds.clear()
    slowest = int(seconds.argmax())
    usual = float(np.median(np.delete(seconds, slowest))) if len(seconds) > 1 else np.inf
    if seconds[slowest] < SLOW * usual + LEAST:
        return ""
    return f"process {slowest} takes {seconds[slowest] / max(usual, 0.1):.1f} times as long as the others, which wait for it"
