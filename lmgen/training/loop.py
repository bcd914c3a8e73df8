"""The training loop: a generator of reports."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace

import jax
from jax import Array

from lmgen.defaults.config import Progress, StepReport, TrainingConfig
from lmgen.errors import DivergedError
from lmgen.nn.model import Params
from lmgen.system import memory
from lmgen.tasks.task import Batches, Task
from lmgen.training import parallel
from lmgen.training.step import State, begin, step

BAD_STEPS = 20  # steps in a row without a finite gradient that end a training
AHEAD = 4  # steps that a GPU may be behind: to wait for each one would take it longer than a small one
FRESH = 4  # steps until the memory of one step is reused by the next
SLOW = 0.03  # seconds: a step that takes longer is waited for before the next one starts
PLATEAU = 3  # validations in a row without a better one, after which the learning rate …
SLOWER = 0.3  # … is multiplied by this


class Training:
    """A training in progress; iterating over it trains, one report a step. `state` and `progress` are up to date with it.

    `validate` gives the nats per symbol of held-out text, of which there are `valid_symbols`; `given` are parameters with which
    every network begins. Raises DivergedError after `BAD_STEPS` steps without a finite gradient.
    """

    def __init__(
        self,
        config: TrainingConfig,
        task: Task,
        batches: Batches,
        validate: Callable[[Params], float] | None,
        state: State | None = None,
        progress: Progress | None = None,
        valid_symbols: int = 0,
        given: Params | None = None,
    ):
        self.config, self.task, self.batches = config, task, batches
        self.validate, self.valid_symbols, self.given = validate, valid_symbols, given or {}
        self.state = state or begin(task, config, self.given)
        self.progress = progress or Progress()
        self.finishing = 0.0  # what follows the last validation, as a multiple of its time
        self.clock = parallel.clock()
        self._started = self.clock.now() - self.progress.seconds
        self._pending: deque[list[Array]] = deque()  # the losses and gradient norms of the last steps
        self._ahead = 1 if jax.default_backend() == "cpu" else AHEAD
        self._norm: float | None = None  # of the last step that was waited for
        self._compiled: tuple[int, float] | None = None  # step and seconds when everything was compiled

    @property
    def seconds(self) -> float:
        """Seconds of training, those before a resume included."""
        return self.clock.now() - self._started

    def done(self) -> tuple[float, str]:
        """The share of the training of this network that is done, 1 or more at its end, and the sentence for that end."""
        seconds = self.seconds - self.progress.begun + self._last_validation()
        return self.config.done(self.batches.per_epoch, self.progress, seconds)

    @property
    def over(self) -> bool:
        """Whether the end lies behind; time that one network has used up may still serve a next one."""
        return self.done()[0] >= 1 and (self.config.budget is None or self._is_last())

    @property
    def enough(self) -> float:
        """The seconds of a budget in which there would be something left to train: this network, unless it has ended otherwise,
        or a next one."""
        config, progress = replace(self.config, budget=None), self.progress
        ends = config.steps is not None or config.epochs is not None
        own = self.seconds - progress.begun + (1 + self.finishing) * progress.validating
        this = progress.begun + own * (1 if ends else config.members - progress.member)
        if ends and config.done(self.batches.per_epoch, progress, 0.0)[0] >= 1:
            this = math.inf
        following = self.seconds + self._took() / 2 if progress.member + 1 < config.members else math.inf
        return min(this, following)

    @property
    def _share(self) -> float:
        """The share of the training of all networks that is done."""
        of_time = self.seconds / self.config.budget if self.config.budget else 0.0
        return max((self.progress.member + min(1.0, self.done()[0])) / self.config.members, min(1.0, of_time))

    def _last_validation(self) -> float:
        """The seconds of a budget reserved for the last validation and what follows it: as many as the one before took. Before
        the first one, a third of the time that training takes on as many symbols (all of it where training predicts among few
        of them), half of the budget at most."""
        steps, seconds = self._since_compiled()
        finishing = self.finishing if self._is_last() else 0.0
        if self.progress.validating or self.config.budget is None or steps < 5:
            return (1 + finishing) * self.progress.validating
        one = seconds / (steps * self.config.symbols) * self.valid_symbols / (1 if self.config.sampled else 3)
        return min(self.config.budget / self.config.members / 2, (1 + finishing) * one)

    def _is_last(self) -> bool:
        """Whether no network follows: the budget leaves a next one less than half of the time that this one took to train."""
        config = self.config
        late = config.budget is not None and config.budget - self.seconds < self._took() / 2
        return late or self.progress.member + 1 >= config.members

    def _took(self) -> float:
        """The seconds for which this network has been trained, without those of compiling."""
        return self.seconds - max(self.progress.begun, self._compiled[1] if self._compiled else 0.0)

    def _since_compiled(self) -> tuple[int, float]:
        """Steps and seconds since everything was compiled."""
        if self._compiled is None:
            return 0, 0.0
        return self.progress.step - self._compiled[0], self.seconds - self._compiled[1]

    def __iter__(self) -> Iterator[StepReport]:
        config, progress, first = self.config, self.progress, self.progress.step
        last = first, self.seconds  # of the last report with a loss
        share, why = self.done()
        self.state = parallel.placed(self.state)
        if share >= 1 and not progress.ended:  # a resumed training may have no step left
            progress.finished = progress.finished or why
            self._end()
        while not progress.finished:
            if progress.ended:
                self._begin_next()
            k, rate = progress.step, progress.scale * config.rate(progress.step - progress.first, self.done()[0])
            steps, seconds = self._since_compiled()
            if steps and (steps < FRESH or seconds / steps > SLOW):  # two steps at a time would take more memory and gain nothing
                self.settle()
            if k < first + FRESH:
                memory.give_back()
            self.state, *pending = step(self.task, config.optimiser, self.state, self.batches[k], rate, k - progress.first)
            for number in pending:
                number.copy_to_host_async()
            self.settle(self._ahead - 1)  # waiting for a step before keeps the device busy with this one
            self._pending.append(pending)
            progress.step = k + 1
            self.clock.tick()
            if self._compiled is None:
                self.settle()
                self._compiled = progress.step, self.seconds
            ends = self.done()[0] >= 1
            validates = ends or progress.step % config.validate_every == 0
            has_loss = validates or progress.step % max(1, config.validate_every // 4) == 0
            if has_loss:
                self.settle()
            speed = (progress.step - last[0]) * config.symbols / max(1e-9, self.seconds - last[1])
            symbols = progress.step * config.symbols
            report = StepReport(progress.step, symbols, self.seconds, self._share, speed, rate, sampled=config.sampled)
            if has_loss:
                mean = progress.sum_nats / progress.counted if progress.counted else None
                report = replace(report, train_nats=mean, gradient_norm=self._norm, skipped=int(self.state.skipped))
                progress.sum_nats, progress.counted, last = 0.0, 0, (progress.step, self.seconds)
                if int(self.state.bad) >= BAD_STEPS:
                    raise DivergedError(
                        f"no gradient was finite for {BAD_STEPS} steps in a row, at step {progress.step:,}: "
                        "train again with a smaller --learning-rate or a smaller --clip"
                    )
            if self.validate and validates:
                report = self._validated(report, self.validate)
                ends = ends or self.done()[0] >= 1
            progress.seconds = self.seconds
            if ends:
                progress.finished = self.done()[1]
            self._end()
            yield report

    def _end(self) -> None:
        """Where a network is done and others follow, it is that network alone that is finished."""
        if self.progress.finished and not self._is_last():
            self.progress.finished, self.progress.ended = "", True

    def _begin_next(self) -> None:
        """Begin with the next network, which differs by its seed and by the order of its batches."""
        progress = self.progress
        progress.member, progress.first, progress.begun, progress.ended = progress.member + 1, progress.step, self.seconds, False
        progress.best_nats, progress.best_step, progress.since_best, progress.scale = None, progress.step, 0, 1.0
        config = replace(self.config, seed=self.config.seed + progress.member)
        self.state = parallel.placed(begin(self.task, config, self.given))

    def settle(self, left: int = 0) -> None:
        """Wait for all steps but the last `left`, and add their losses to the mean."""
        while len(self._pending) > left:
            nats, norm = map(float, self._pending.popleft())
            self._norm = norm if math.isfinite(norm) else None
            if math.isfinite(nats):
                self.progress.sum_nats += nats
                self.progress.counted += 1

    def _validated(self, report: StepReport, validate: Callable[[Params], float]) -> StepReport:
        self.clock.meet()
        progress, start = self.progress, self.clock.now()
        nats = validate(parallel.local(self.state.kept))
        self.clock.meet()
        progress.validating = self.clock.now() - start
        better = math.isfinite(nats) and (progress.best_nats is None or nats < progress.best_nats)
        if better:
            progress.best_nats, progress.best_step, progress.since_best = nats, progress.step, 0
        else:
            progress.since_best += 1
            if progress.since_best % PLATEAU == 0:
                progress.scale *= SLOWER
            if self.config.patience and progress.since_best >= self.config.patience:
                lowered = ", though the learning rate was lowered" * (progress.scale < 1)
                progress.finished = f"{progress.since_best} validations in a row brought nothing better{lowered}"
        return replace(report, valid_nats=nats, best=better, seconds=self.seconds)
