"""What the variables of launchers tell: tables, from the manuals of each."""

from __future__ import annotations

import pytest

from lmgen.errors import InputError
from lmgen.system.cluster.environments import Team, describe, found, here

JAX = {"JAX_COORDINATOR_ADDRESS": "10.0.0.1:1234", "JAX_NUM_PROCESSES": "3"}
SLURM = {"SLURM_JOB_ID": "77", "SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "2"}
MPI = {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1"}
FOUND = [
    ({}, None),
    (JAX | {"JAX_PROCESS_ID": "2"}, Team(3, (2,), "10.0.0.1:1234", "the variables of JAX")),
    (JAX | {"JOB_COMPLETION_INDEX": "0"}, Team(3, (0,), "10.0.0.1:1234", "Kubernetes")),
    (
        {"MASTER_ADDR": "head", "MASTER_PORT": "29500", "WORLD_SIZE": "8", "RANK": "7"},
        Team(8, (7,), "head:29501", "torchrun"),
    ),
    (SLURM | {"SLURM_STEP_NODELIST": "node[003-004,9],x"}, Team(4, (2,), "node003:61517", "Slurm")),
    (SLURM | {"SLURM_STEP_NODELIST": "login,node[1-2]"}, Team(4, (2,), "login:61517", "Slurm")),
    (SLURM | {"SLURM_STEP_NODELIST": "gpu-a7"}, Team(4, (2,), "gpu-a7:61517", "Slurm")),
    (
        MPI | {"OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://10.96.0.1,10.148.0.1:34911"},
        Team(2, (1,), "10.96.0.1:62624", "Open MPI"),
    ),
    (
        MPI | {"OMPI_MCA_orte_hnp_uri": "1314521088.0;tcp6://[fe80::b9b:ac5d,2620:10d::2]:43370"},
        Team(2, (1,), "[fe80::b9b:ac5d]:62880", "Open MPI"),
    ),
    (MPI | {"JAX_COORDINATOR_ADDRESS": "head:99"}, Team(2, (1,), "head:99", "Open MPI")),  # version 5 does not tell the host
    ({"WORLD_SIZE": "1", "RANK": "0"}, None),
    # A batch script of Slurm that runs the command without srun: there is one process, whatever the job has.
    ({"SLURM_JOB_ID": "77", "SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_JOB_NODELIST": "node[1-4]"}, None),
]
REFUSED = [
    ({"JAX_COORDINATOR_ADDRESS": "head:99"}, "set all three"),
    (MPI, "Open MPI started 2 processes and does not say where process 0 is"),
    ({"WORLD_SIZE": "2", "RANK": "0"}, "torchrun started 2"),
    ({"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "head", "MASTER_PORT": "http"}, "torchrun started 2"),
    (JAX | {"JAX_PROCESS_ID": "3"}, "JAX_PROCESS_ID='3' name no process"),
    (JAX | {"JAX_PROCESS_ID": "first"}, "name no process"),
    (SLURM | {"SLURM_STEP_NODELIST": ""}, "Slurm started 4"),
    (SLURM | {"SLURM_STEP_NODELIST": "["}, "Slurm started 4"),
]


@pytest.mark.parametrize(("variables", "team"), FOUND)
def test_the_variables_of_a_launcher_tell_the_team(variables, team):
    assert found(variables) == team
    assert here(1, variables) == team


@pytest.mark.parametrize(("variables", "sentence"), REFUSED)
def test_variables_that_do_not_tell_enough_are_refused_with_a_way_out(variables, sentence):
    with pytest.raises(InputError, match=sentence):
        found(variables)
    assert sentence.split()[0] in describe(variables)


def test_a_team_on_this_machine_listens_on_loopback():
    team = here(3, {})
    assert (team.count, team.numbers) == (3, (0, 1, 2))
    assert team.address.startswith("127.0.0.1:")
    for number in team.numbers:
        assert team.variables(number)["JAX_COORDINATOR_BIND_ADDRESS"] == team.address
        assert found(team.variables(number)) == Team(3, (number,), team.address, "the variables of JAX")


def test_processes_are_started_once():
    with pytest.raises(InputError, match="Open MPI started 2 processes: leave it out"):
        here(2, MPI | {"JAX_COORDINATOR_ADDRESS": "head:99"})


def test_doctor_shows_what_was_found(lmgen, monkeypatch):
    assert "one process (no launcher found)" in lmgen("doctor")[1]
    for name, value in {**JAX, "JAX_PROCESS_ID": "2"}.items():
        monkeypatch.setenv(name, value)
    assert "process 2 of 3, by the variables of JAX; process 0 is at 10.0.0.1:1234" in lmgen("doctor")[1]
