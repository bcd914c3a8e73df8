"""Which processes train together: those that a launcher started, as its variables tell, or those that --processes starts here.

Nothing here imports JAX.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lmgen.errors import InputError

ADDRESS = "JAX_COORDINATOR_ADDRESS"  # of process 0; given, it takes precedence over what a launcher tells
WATCHER = "LMGEN_WATCHER"  # in a child: the number of the file by which it tells its watcher how to resume the training
LOST = 79  # exit code of a child that misses another process
PORTS = 1 << 12  # the number of a job chooses one of the last 4,096 ports


@dataclass(frozen=True)
class Team:
    """The processes of a training: how many, which of them are started here, the address of process 0, and what told all this."""

    count: int
    numbers: tuple[int, ...]
    address: str
    told_by: str

    def variables(self, number: int) -> dict[str, str]:
        """The variables that tell a process all this. Where all run here, process 0 listens to this machine alone."""
        alone = {"JAX_COORDINATOR_BIND_ADDRESS": self.address} if self.count == len(self.numbers) else {}
        return {ADDRESS: self.address, "JAX_NUM_PROCESSES": str(self.count), "JAX_PROCESS_ID": str(number), **alone}


@dataclass(frozen=True)
class Environment:
    """The variables by which a launcher tells a process how many there are and which it is, and the address that others imply."""

    name: str
    count: str
    number: str
    address: Callable[[Mapping[str, str]], str] = lambda variables: ""


def _of_torchrun(variables: Mapping[str, str]) -> str:
    """The port after its own, which torchrun listens on itself."""
    return f"{variables['MASTER_ADDR']}:{int(variables['MASTER_PORT']) + 1}"


def _of_slurm(variables: Mapping[str, str]) -> str:
    """The first host of a list such as node[001-004,007],login and a port by the number of the job."""
    prefix, first = re.match(r"([^,\[]+)(?:\[(\w+))?", variables["SLURM_STEP_NODELIST"]).groups("")  # type: ignore[union-attr]
    return f"{prefix}{first}:{_port(int(variables['SLURM_JOB_ID']))}"


def _of_open_mpi(variables: Mapping[str, str]) -> str:
    """The host of mpirun, where process 0 runs, and a port by the number of the job, from 1531576320.0;tcp://10.96.0.1,…:34911."""
    uri = variables["OMPI_MCA_orte_hnp_uri"]
    job, host, six = re.match(r"(\d+)\..*?tcp(?:://([^,:]+)|6://\[([^,\]]+))", uri).groups()  # type: ignore[union-attr]
    return f"{host or f'[{six}]'}:{_port(int(job) >> 12)}"


def _port(job: int) -> int:
    return (1 << 16) - PORTS + job % PORTS


ENVIRONMENTS = (
    Environment("the variables of JAX", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"),
    Environment("Kubernetes", "JAX_NUM_PROCESSES", "JOB_COMPLETION_INDEX"),
    Environment("torchrun", "WORLD_SIZE", "RANK", _of_torchrun),
    Environment("Slurm", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID", _of_slurm),
    Environment("Open MPI", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", _of_open_mpi),
)


def found(variables: Mapping[str, str]) -> Team | None:
    """The team that this process belongs to by these variables; None if it is alone.

    Raises InputError where a launcher started several and does not tell what is needed.
    """
    for environment in ENVIRONMENTS:
        if environment.count not in variables or environment.number not in variables:
            continue
        try:
            count, number = int(variables[environment.count]), int(variables[environment.number])
            if not 0 <= number < count:
                raise ValueError
        except ValueError:
            wrong = f"{environment.count}={variables[environment.count]!r:.20} and {environment.number}="
            raise InputError(f"{wrong}{variables[environment.number]!r:.20} name no process: correct or unset them") from None
        if count == 1:
            return None
        try:
            address = variables.get(ADDRESS) or environment.address(variables)
            host, port = re.fullmatch(r"(.+):(\d+)", address).groups()  # type: ignore[union-attr]
        except (KeyError, ValueError, AttributeError):
            started = f"{environment.name} started {count} processes and does not say where process 0 is"
            raise InputError(f"{started}: set {ADDRESS} to its HOST:PORT on all hosts") from None
        return Team(count, (number,), f"{host}:{port}", environment.name)
    if ADDRESS in variables:
        raise InputError(f"{ADDRESS} is set without JAX_NUM_PROCESSES and JAX_PROCESS_ID: set all three, or unset it")
    return None


def here(count: int, variables: Mapping[str, str]) -> Team | None:
    """The team that a launcher has started, or else one of `count` processes on this machine; None for a single process.

    Raises InputError where `count` processes are to be started, and a launcher has started some already.
    """
    launched = found(variables)
    if launched and count > 1 and WATCHER not in variables:
        started = f"{launched.told_by} started {launched.count} processes"
        raise InputError(f"--processes starts processes on this machine, and {started}: leave it out")
    if launched or count == 1:
        return launched
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return Team(count, tuple(range(count)), f"127.0.0.1:{free.getsockname()[1]}", "--processes")


def describe(variables: Mapping[str, str]) -> str:
    """What the variables of this process tell, for `lmgen doctor`."""
    try:
        team = found(variables)
    except InputError as error:
        return str(error)
    if team is None:
        return "one process (no launcher found)"
    return f"process {team.numbers[0]} of {team.count}, by {team.told_by}; process 0 is at {team.address}"


def watched() -> bool:
    """Whether a watcher started this process."""
    return WATCHER in os.environ


def leave(code: int) -> None:
    """End a watched process at once if it failed: JAX would wait for the others."""
    if code and watched():
        os._exit(code)
