"""A training on several devices, of one process or of many: arrays that lie on all of them, and one clock.

The step reads from the arrays that it is given where they lie (`training.step`). Parameters and moments are on every device; the
columns of a batch, and their carried state, are shared equally. With one device nothing here changes anything.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from lmgen.data.windows import ALL, Share
from lmgen.defaults.config import TrainingConfig
from lmgen.errors import InputError
from lmgen.system.cluster import group
from lmgen.tasks.sampled import Sampled, rates_of
from lmgen.tasks.task import Batch, Task
from lmgen.training.step import AXIS, LAYOUT, State

SECONDS = 1.0  # between two meetings of the processes


# ---- arrays ------------------------------------------------------------------------------------------------------------


class Batches:
    """The batches of a training on several devices: the part of each one, one after the other in the leading axis.

    A process makes only those parts that its own devices read.
    """

    def __init__(self, task: Task, ids: Any, config: TrainingConfig):
        mesh = _mesh()
        self._sharding = NamedSharding(mesh, PartitionSpec(AXIS))
        own = [k for k, device in enumerate(mesh.devices) if device.process_index == group.number()]
        self._parts = [_of_device(task, ids, config, Share(k, mesh.size)) for k in own]
        self.per_epoch, self.filler = self._parts[0].per_epoch, self._parts[0].filler

    def __getitem__(self, step: int) -> Batch:
        parts = [part[step] for part in self._parts]
        return jax.tree.map(lambda *own: jax.make_array_from_process_local_data(self._sharding, np.stack(own)), *parts)


def batches(task: Task, ids: Any, config: TrainingConfig) -> Any:
    """The batches of a training on all devices."""
    if jax.device_count() == 1:
        return _of_device(task, ids, config, ALL)
    return Batches(task, ids, config)


def _of_device(task: Task, ids: Any, config: TrainingConfig, share: Share) -> Any:
    """The part of the batches that a device reads."""
    plain = task.batches(ids, config.batch, config.window, config.seed, share)
    if not config.sampled:
        return plain
    return Sampled(plain, config.sampled, rates_of(ids, task.network.classes), (config.seed, share.device))


def placed(state: State) -> State:
    """A state on all devices, of one that every process has."""
    if jax.device_count() == 1:
        return state
    mesh = _mesh()

    def put(spec: PartitionSpec, part: Any) -> Any:
        def one(array: Any) -> jax.Array:
            array = np.asarray(array)
            return jax.make_array_from_callback(array.shape, NamedSharding(mesh, spec), lambda index: array[index])

        return jax.tree.map(one, part)

    return State(*map(put, LAYOUT, state))


def local(tree: Any) -> Any:
    """Arrays that are the same on all devices, on one device of this process."""
    return tree if jax.device_count() == 1 else jax.tree.map(lambda a: a.addressable_data(0), tree)


def whole(state: State) -> State:
    """A state that every process has, of one on all devices."""
    if group.count() == 1:
        return state
    carried = jax.tree.map(lambda a: multihost_utils.process_allgather(a, tiled=True), state.carried)
    return local(state._replace(carried=()))._replace(carried=carried)


def rounded(batch: int) -> int:
    """The next batch size that all devices can share."""
    return -(-batch // jax.device_count()) * jax.device_count()


def check(batch: int, path: Path) -> None:
    """Raise InputError, with a number of devices that can, where those here cannot share the batch of a training that goes on."""
    devices = jax.device_count()
    if batch % devices:
        fewer = next(number for number in range(devices, 0, -1) if batch % number == 0)
        raise InputError(f"{devices} devices cannot share a batch of {batch}, with which {path} was begun: go on with {fewer}")


def _mesh() -> Mesh:
    return Mesh(np.array(jax.devices()), (AXIS,))


# ---- the clock ---------------------------------------------------------------------------------------------------------


class Clock:
    """The time of a training in seconds, and whether somebody wants it to stop."""

    def now(self) -> float:
        return time.monotonic()

    def tick(self) -> None:
        """A step was taken."""

    def meet(self) -> None:
        """Something was done that took time."""

    def stop(self, wanted: bool) -> bool:
        """Whether to stop, as this process or another wants."""
        return wanted


class CommonClock(Clock):
    """The clock of process 0, which all follow, so that all decide alike.

    The processes meet about once a second. Between two meetings each counts the steps, which are taken to be as long as those
    before the last meeting, or half as long where the time ran ahead.
    """

    def __init__(self) -> None:
        self._last = time.monotonic()  # the last meeting by the clock of this process
        self._steps = self._met = 0  # steps taken, and those at the last meeting
        self._time = self._true = self._pace = 0.0  # at the last meeting, here and by process 0; seconds a step since then
        self._next = 1  # the step of the next meeting
        self._wanted = self._stops = False

    def now(self) -> float:
        return self._time + self._pace * (self._steps - self._met)

    def tick(self) -> None:
        self._steps += 1
        if self._steps >= self._next:
            self.meet()

    def meet(self) -> None:
        last, self._last = self._last, time.monotonic()
        told = group.gathered(np.array([self._last - last, self._wanted], np.float32))
        now, true, steps = self.now(), self._true + float(told[0, 0]), self._steps - self._met
        self._stops = bool(told[:, 1].any())
        if steps:
            pace = (true - self._true) / steps
            self._next = self._steps + max(1, min(self._steps, int(SECONDS / max(1e-6, pace))))
            self._pace = 0.0 if self._met == 0 else pace / 2 if now > true else pace  # the first steps are compiled
        self._time, self._true, self._met = max(now, true), true, self._steps

    def stop(self, wanted: bool) -> bool:
        self._wanted = self._wanted or wanted
        return self._stops


def clock() -> Clock:
    """The clock of a training."""
    return Clock() if group.count() == 1 else CommonClock()
