"""The processes of a team as one: joining, and what they tell each other, by JAX's own runtime.

Every function is called by all processes at the same point. Where there is one process, nothing is sent.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from lmgen.errors import InputError, LmgenError, printable
from lmgen.system.cluster.environments import ADDRESS, LOST, Team, leave, watched
from lmgen.system.cluster.watching import PATIENCE

LONGEST = 512  # bytes of a sentence that processes tell each other
T = TypeVar("T")


def join(team: Team, facts: Callable[[], str]) -> None:
    """Become a process of a team, before JAX computes anything. `facts` tells what must be the same for all.

    Raises InputError where the port of process 0 is in use, a process does not come, or the facts differ.
    """
    number, (host, port) = team.numbers[0], team.address.rsplit(":", 1)
    bind = os.environ.get("JAX_COORDINATOR_BIND_ADDRESS") or (f"{host}:{port}" if team.told_by == "--processes" else None)
    if number == 0:
        _check_free(int(port))
    jax.config.update("jax_check_proxy_envs", False)
    try:
        jax.distributed.initialize(
            team.address,
            team.count,
            number,
            cluster_detection_method="deactivate",
            coordinator_bind_address=bind,
            heartbeat_timeout_seconds=PATIENCE,
            shutdown_timeout_seconds=PATIENCE,
        )
    except RuntimeError as error:
        why = printable(str(error).partition("\n")[0])
        raise InputError(
            f"process {number} found no others at {team.address} ({why}): start all {team.count}, where they reach that address"
        ) from None
    told = [one.partition("\n") for one in sentences(f"{socket.gethostname()}\n{facts()}")]
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


def agree(fault: str) -> None:
    """Raise LmgenError in process 0, and end the others, where a process has found a fault."""
    for other, found in enumerate(sentences(fault)):
        if found:
            refuse(LmgenError(f"process {other}: {found}"))


def refuse(error: LmgenError) -> None:
    """End the training of all for a reason that all know: process 0 raises it, the others end without a word."""
    if number():
        leave(LOST)
    raise error


def number() -> int:
    """The number of this process, from 0."""
    return jax.process_index()


def count() -> int:
    """The number of processes."""
    return jax.process_count()


def lost(error: BaseException) -> bool:
    """Whether an error of JAX means that another process is gone."""
    return watched() and any(word in str(error) for word in ("Gloo", "NCCL", "oordination", "connection", "Connection"))


def gathered(own: np.ndarray) -> np.ndarray:
    """The array of each process, one after the other [count, …]; all have the same shape."""
    return np.asarray(multihost_utils.process_allgather(own)).reshape(count(), *own.shape)


def sentences(own: str) -> list[str]:
    """The sentence of each process; long ones are cut."""
    content = np.frombuffer(own.encode()[:LONGEST].ljust(LONGEST, b"\0"), np.uint8)
    return [one.tobytes().rstrip(b"\0").decode("utf-8", "replace") for one in gathered(content)]


def sent(content: bytes = b"") -> bytes:
    """The bytes that process 0 gives, in every process."""
    length = int(multihost_utils.broadcast_one_to_all(np.int32(len(content) >> 10)))
    padded = np.zeros((length + 1) << 10, np.uint8)
    padded[: len(content)] = np.frombuffer(content, np.uint8)
    return np.asarray(multihost_utils.broadcast_one_to_all(padded)).tobytes()


def shared_out(items: Iterable[T], compute: Callable[[T], Any]) -> Iterator[Any]:
    """What `compute` makes of each item, in order; every process computes its share, and all get all.

    It makes arrays of the same shapes of all items.
    """
    if count() == 1:
        yield from map(compute, items)
        return
    left = iter(items)
    while some := [*islice(left, count())]:
        own = jax.tree.map(np.asarray, compute(some[min(number(), len(some) - 1)]))
        found = jax.tree.map(gathered, own)
        yield from (jax.tree.map(lambda a, k=k: a[k], found) for k in range(len(some)))
