"""Training: one jitted step, and a loop that is a generator of reports.

Truncated back-propagation through time: the state that a window ends with is an argument of the next step, the gradient is
taken over the parameters alone. Shapes: T window, B batch; a window is [T + 1, B].
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from lmgen.data.windows import Windows
from lmgen.errors import DivergedError
from lmgen.nn import model
from lmgen.system import devices, memory
from lmgen.training import optimiser

BAD_STEPS = 20  # so many steps in a row without a finite gradient end the training
FRESH = 4  # steps, after which the memory of one step is reused by the next
SLOW = 0.03  # seconds of a step, from which on the next one waits for it
FLOOR = 0.02  # the share of the learning rate at the end of its decay
PLATEAU = 3  # validations in a row without a better one, after which the learning rate …
SLOWER = 0.3  # … is multiplied by this


@dataclass(frozen=True)
class TrainingConfig:
    """How to train. `steps`, `epochs` and `budget` (seconds) say how long: what is reached first ends it, one must be given.

    `patience` is the number of validations without a better one after which training stops; 0 never stops early. `keep` says
    which weights become the model: those of the best validation, or the last ones.
    """

    batch: int
    window: int
    learning_rate: float
    steps: int | None = None
    epochs: float | None = None
    budget: float | None = None
    clip: float = 1.0
    weight_decay: float = 0.2
    warmup: int = 50
    patience: int = 10
    validate_every: int = 100
    seed: int = 0
    precision: str = "f32"
    keep: str = "best"

    @property
    def update(self) -> optimiser.OptimiserConfig:
        """The part of it that the compiled step depends on."""
        return optimiser.OptimiserConfig(self.clip, self.weight_decay, self.precision)

    def ends(self, per_epoch: int, step: int, seconds: float) -> dict[str, float]:
        """How near each end is, 0 to 1, by the sentence that says that it was reached."""
        ends = {}
        if self.steps is not None:
            ends["all steps were taken"] = step / self.steps
        if self.epochs is not None:
            ends[f"the text was read {self.epochs:g} times"] = step / max(1, round(self.epochs * per_epoch))
        if self.budget is not None:
            ends["the time was up"] = seconds / max(1e-9, self.budget)
        return ends


class State(NamedTuple):
    """What a step changes: all that resume needs but for the position, which is the step."""

    params: model.Params
    optimiser: Any
    carried: list
    key: Array
    bad: Array  # steps in a row whose update was left out
    skipped: Array  # such steps in all


@dataclass(frozen=True)
class StepReport:
    """What is known after a step. `train_nats` (per symbol, since the last such report) and `valid_nats` come now and then."""

    step: int
    symbols: int
    seconds: float
    progress: float
    symbols_per_second: float
    learning_rate: float
    train_nats: float | None = None
    valid_nats: float | None = None
    best: bool = False
    skipped: int = 0
    trouble: str = ""  # why the last save failed; training goes on


@dataclass
class Progress:
    """Where a training stands beside its arrays; all of it goes into a snapshot."""

    step: int = 0
    seconds: float = 0.0
    best_nats: float | None = None
    best_step: int = 0
    since_best: int = 0
    validating: float = 0.0
    sum_nats: float = 0.0  # of the steps since the last line
    counted: int = 0
    scale: float = 1.0  # of the learning rate, smaller after every plateau of the validation
    finished: str = ""


def begin(config: TrainingConfig, network: model.NetworkConfig) -> State:
    """The state before the first step, all of it drawn from the seed."""
    weights, key = jax.random.split(devices.random_key(config.seed))
    params = model.init(network, weights)
    bad, skipped = jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32)
    moments, carried = optimiser.optimiser(config.update).init(params), model.start(network, config.batch)
    return State(params, moments, carried, jax.random.key_data(key), bad, skipped)


@partial(jax.jit, static_argnums=(0, 1), donate_argnums=2)
def step(
    config: optimiser.OptimiserConfig,
    network: model.NetworkConfig,
    state: State,
    window: Array,
    begins: Array,
    rate: Array,
    number: Array,
):
    """One update from a window [T + 1, B], of a cloze model [T + 2, B]; the new state and the mean nats per symbol before it.

    `begins` [B] says in which columns the carried state is forgotten first. A gradient that is not finite leaves
    everything but the counts as it was.
    """
    carried = jax.tree.map(lambda s: jnp.where(begins[:, None], 0, s), state.carried)
    dropout = jax.random.fold_in(jax.random.wrap_key_data(state.key), number)

    def loss(params, rows):
        if network.direction == "forward":
            after, hs = model.read(network, config.precision, params, carried, window[:-1], dropout, rows)
            return model.nats(params, hs, window[1:], config.precision).mean(), after
        fresh = jax.tree.map(jnp.zeros_like, carried)  # what comes after the window is not known
        after, hs = model.read_between(network, config.precision, params, carried, fresh, window, dropout=dropout)
        targets = window[1:-1]
        counted = model.counted(network, targets)
        nats = jnp.where(counted, model.nats(params, hs, targets, config.precision), 0)
        return nats.sum() / jnp.maximum(counted.sum(), 1), after

    (nats, after), gradient = _differentiated(loss, network, state.params, window[:-1])
    params, moments, fine = optimiser.updated(config, state.params, state.optimiser, gradient, nats, rate)
    return State(
        params,
        moments,
        jax.tree.map(lambda a: jnp.where(fine, a, 0), after),
        state.key,
        jnp.where(fine, 0, state.bad + 1),
        state.skipped + ~fine,
    ), nats


def _differentiated(loss: Callable, network: model.NetworkConfig, params: model.Params, ids: Array) -> tuple[Any, model.Params]:
    """A loss of the parameters and of the rows of the embedding, if they are given, and its gradient. Where the network reads few
    rows, the gradient of the embedding consists of theirs."""
    if not model.reads_few_rows(network, ids.size):
        return jax.value_and_grad(loss, has_aux=True)(params, None)
    others = {name: p for name, p in params.items() if name != "embedding"}
    table = params["embedding"]
    outcome, (gradient, rows) = jax.value_and_grad(
        lambda others, rows: loss(others | {"embedding": table}, rows), (0, 1), has_aux=True
    )(others, table[ids])
    return outcome, gradient | {"embedding": optimiser.Rows(ids, rows)}


def learning_rate(config: TrainingConfig, step: int, progress: float) -> float:
    """Linear warm-up over the first steps, then half a cosine down to `FLOOR` of the peak at progress 1."""
    warm = min(1.0, (step + 1) / config.warmup) if config.warmup else 1.0
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return config.learning_rate * warm * (FLOOR + (1 - FLOOR) * cosine)


class Training:
    """A training under way: iterating over it trains, one report a step. `state` and `progress` are those after the last report.

    `validate` gives the nats per symbol of held-out text, of which there are `valid_symbols`. Raises DivergedError when no
    gradient was finite for many steps.
    """

    def __init__(
        self,
        config: TrainingConfig,
        network: model.NetworkConfig,
        windows: Windows,
        validate: Callable[[model.Params], float] | None,
        state: State | None = None,
        progress: Progress | None = None,
        valid_symbols: int = 0,
    ):
        self.valid_symbols = valid_symbols
        self.config, self.network, self.windows, self.validate = config, network, windows, validate
        self.state = state or begin(config, network)
        self.progress = progress or Progress()
        self._before = self.progress.seconds
        self._clock = time.monotonic()
        self._pending: Array | None = None
        self._first = self.progress.step
        self._warm: tuple[int, float] | None = None  # the step and the time after which nothing is compiled any more

    @property
    def seconds(self) -> float:
        """Seconds of training, those before a resume included."""
        return self._before + time.monotonic() - self._clock

    def _ends(self) -> dict[str, float]:
        return self.config.ends(self.windows.per_epoch, self.progress.step, self.seconds + self._last_validation())

    def _last_validation(self) -> float:
        """The seconds that a budget leaves for the last validation: as many as the one before took, or, before the first, a third
        of what training on as many symbols takes, by the speed since the program was compiled; half of the budget at most."""
        if self.progress.validating or self._warm is None or self.config.budget is None:
            return self.progress.validating
        seen = (self.progress.step - self._warm[0]) * self.config.batch * self.config.window
        if seen < 5 * self.config.batch * self.config.window:
            return 0.0
        return min(self.config.budget / 2, (self.seconds - self._warm[1]) / seen * self.valid_symbols / 3)

    def done(self) -> float:
        """The share of the training that is behind: 1 or more at its end."""
        return max(self._ends().values())

    def __iter__(self) -> Iterator[StepReport]:
        config, progress = self.config, self.progress
        report_every = max(1, config.validate_every // 4)
        last = (progress.step, self.seconds)
        if self.done() >= 1:  # a training that is resumed may have no step left
            progress.finished = progress.finished or self._reached()
        while not progress.finished:
            k, done = progress.step, self.done()
            if self._slow():
                self.settle()
            if k < self._first + FRESH:
                memory.give_back()
            rate = progress.scale * learning_rate(config, k, done)
            self.state, nats = step(config.update, self.network, self.state, self.windows[k], self.windows.begins(k), rate, k)
            self.settle()  # waiting for the step before keeps the device busy with this one
            self._pending = nats
            progress.step = k + 1
            if self._warm is None:
                self.settle()
                self._warm = (progress.step, self.seconds)
            ends = self.done() >= 1
            report = self._report(last, rate)
            if ends or progress.step % report_every == 0 or progress.step % config.validate_every == 0:
                self.settle()
                report = replace(self._report(last, rate), train_nats=self._mean(), skipped=int(self.state.skipped))
                if int(self.state.bad) >= BAD_STEPS:
                    raise DivergedError(
                        f"no gradient was finite for {BAD_STEPS} steps in a row, at step {progress.step:,}: "
                        "train again with a smaller --learning-rate or a smaller --clip"
                    )
                last = (progress.step, self.seconds)
            if self.validate and (ends or progress.step % config.validate_every == 0):
                report = self._validated(report)
                ends = ends or self.done() >= 1
            progress.seconds = self.seconds
            if ends:
                progress.finished = self._reached()
            yield report

    def _reached(self) -> str:
        """The sentence that says which end was reached."""
        return max((nearness, end) for end, nearness in self._ends().items())[1]

    def _slow(self) -> bool:
        """Whether a step takes so long that computing two at a time, which takes the memory of both, gains nothing."""
        if self._warm is None or self.progress.step == self._warm[0]:
            return False
        steps = self.progress.step - self._warm[0]
        return steps < FRESH or (self.seconds - self._warm[1]) / steps > SLOW

    def settle(self) -> None:
        """Wait for the last step and count its loss."""
        if self._pending is not None and math.isfinite(nats := float(self._pending)):
            self.progress.sum_nats += nats
            self.progress.counted += 1
        self._pending = None

    def _mean(self) -> float | None:
        progress = self.progress
        mean = progress.sum_nats / progress.counted if progress.counted else None
        progress.sum_nats, progress.counted = 0.0, 0
        return mean

    def _report(self, last: tuple[int, float], rate: float) -> StepReport:
        k, a_step = self.progress.step, self.config.batch * self.config.window
        speed = (k - last[0]) * a_step / max(1e-9, self.seconds - last[1])
        return StepReport(k, k * a_step, self.seconds, min(1.0, self.done()), speed, rate)

    def _validated(self, report: StepReport) -> StepReport:
        assert self.validate
        progress, start = self.progress, time.monotonic()
        nats = self.validate(self.state.params)
        progress.validating = time.monotonic() - start
        better = math.isfinite(nats) and (progress.best_nats is None or nats < progress.best_nats)
        if better:
            progress.best_nats, progress.best_step, progress.since_best = nats, progress.step, 0
        else:
            progress.since_best += 1
            if progress.since_best % PLATEAU == 0:
                progress.scale *= SLOWER
            if self.config.patience and progress.since_best >= self.config.patience:
                progress.finished = f"{progress.since_best} validations in a row brought nothing better"
        return replace(report, valid_nats=nats, best=better, seconds=self.seconds)
