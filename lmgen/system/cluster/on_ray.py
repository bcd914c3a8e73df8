"""A training on the hosts of a Ray cluster: each process is watched there as anywhere else, and started again when one is lost.

The text, and the model directory, must lie where every host can read them.
"""

from __future__ import annotations

import os
import shlex
import socket
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from lmgen.errors import InputError
from lmgen.system import terminal
from lmgen.system.cluster import watching
from lmgen.system.cluster.environments import Team, here
from lmgen.system.signals import TERMINATED

TRIES = 100  # starts of one training
LOCAL = "local"  # in place of an address: a cluster on this machine, which ends with the training


class Process:
    """On a host: one of the processes."""

    def host(self) -> tuple[str, str]:
        """The number of the host in the cluster, and its address with a free port."""
        import ray

        free = here(2, {})
        assert free
        address = ray.util.get_node_ip_address()
        return ray.get_runtime_context().get_node_id(), f"{address}:{free.address.rpartition(':')[2]}"

    def run(self, team: Team, words: Sequence[str], folder: str, sharing: int) -> watching.Ending:
        """Run the command as one process of the team, in a folder."""
        os.chdir(folder)
        return watching.watch(team, words, sharing=sharing)


def run(count: int, words: Sequence[str], address: str) -> int:
    """Run `lmgen WORDS` in `count` processes on a Ray cluster; the exit code. Raises InputError where there is no cluster."""
    ray = _connected(address, "--ray")
    try:
        for _ in range(TRIES):
            ending = _once(ray, count, words)
            if ending.code != TERMINATED or not ending.way_out:
                break
            words = shlex.split(ending.way_out)[1:]
            terminal.note(f"going on with: {ending.way_out}")
        return ending.code
    finally:
        ray.shutdown()


def each(call: Callable[[Any], Any], tasks: Sequence[Any], address: str, option: str) -> Iterator[Any]:
    """What a function gives for each task, in order, as tasks of a Ray cluster, whose address an `option` gives.

    Raises InputError where there is no cluster, and the error of a task.
    """
    ray = _connected(address, option)
    try:
        remote = ray.remote(num_cpus=1)(call)
        for found in [remote.remote(task) for task in tasks]:
            try:
                yield ray.get(found)
            except ray.exceptions.RayTaskError as error:
                raise error.cause from None
    finally:
        ray.shutdown()


def _connected(address: str, option: str) -> Any:
    """The module of Ray, connected. Raises InputError where it is missing or no cluster answers."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # it would report to its makers
    os.environ["RAY_COLOR_PREFIX"] = "0" if terminal.plain(sys.stderr) else "1"
    try:
        import ray
    except ImportError:
        raise InputError(f"{option} needs Ray, which is not installed: pip install 'lmgen[cluster]'") from None
    try:
        if address == LOCAL:
            ray.init(include_dashboard=False, logging_level="error")
        else:
            _reach(address)
            ray.init(address, logging_level="error")
    except (OSError, ValueError, RuntimeError) as error:
        why = str(error).partition("\n")[0]
        way_out = f"start one with ray start --head, or give another {option}"
        raise InputError(f"no Ray cluster answers at {address} ({why}): {way_out}") from None
    return ray


def _reach(address: str) -> None:
    """Raise OSError where nobody listens at HOST:PORT: Ray would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


def _once(ray: Any, count: int, words: Sequence[str]) -> watching.Ending:
    """Start the processes and wait until all have ended; the end of process 0, or of one that can tell more."""
    kind = ray.remote(num_cpus=1, max_restarts=0, scheduling_strategy="SPREAD")(Process)
    actors = [kind.remote() for _ in range(count)]
    try:
        hosts = ray.get([actor.host.remote() for actor in actors])
        together = Counter(host for host, _ in hosts)
        running = []
        for number, (actor, (host, _)) in enumerate(zip(actors, hosts, strict=True)):
            team = Team(count, (number,), hosts[0][1], "Ray")
            running.append(actor.run.remote(team, words, os.getcwd(), together[host]))
        endings = []
        for each in running:
            try:
                endings.append(ray.get(each))
            except ray.exceptions.RayActorError:  # its host is gone
                endings.append(watching.Ending(TERMINATED))
        way_out = next((ending.way_out for ending in endings if ending.way_out), "")
        return watching.Ending(endings[0].code, way_out)
    finally:
        for actor in actors:
            ray.kill(actor)
