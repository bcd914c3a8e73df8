"""How to train, how far a training is, and what it reports."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

FLOOR = 0.02  # the learning rate at the end of its decay, as a share of the peak


@dataclass(frozen=True)
class OptimiserConfig:
    """How a gradient becomes an update."""

    clip: float = 1.0
    weight_decay: float = 0.2
    precision: str = "f32"
    average: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.999


@dataclass(frozen=True)
class TrainingConfig:
    """How to train. At least one of `steps`, `epochs` and `budget` (seconds) is given; the first one reached ends the training.

    `patience` is the number of validations without a better one after which training stops; 0 never stops early. `keep` says
    which weights become the model: those of the best validation, or the last ones. Where `average` is not 0, the weights that are
    validated and become the model are a moving average over the steps, with this decay (Polyak and Juditsky 1992). With
    `mixture`, an n-gram model of the text is mixed with a language model at the end, where validation gains. `members` networks
    are trained one after the other; `steps` and `epochs` are those of each, and `budget` that of all: each takes an equal share
    of it or, where another end is given, all that it needs, so that there may be fewer networks. Where `sampled` is not 0, a step
    predicts among the symbols of its batch and this number of drawn ones, not among all (sampled softmax, Jean et al. 2015).
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
    average: float = 0.0
    mixture: bool = True
    members: int = 1
    sampled: int = 0
    beta1: float = 0.9
    beta2: float = 0.999

    @property
    def symbols(self) -> int:
        """Symbols a step."""
        return self.batch * self.window

    @property
    def optimiser(self) -> OptimiserConfig:
        """The part of it that the compiled step depends on."""
        return OptimiserConfig(**{name: getattr(self, name) for name in OptimiserConfig.__dataclass_fields__})

    def done(self, per_epoch: int, progress: Progress, seconds: float) -> tuple[float, str]:
        """The share of the training of a network that is done, 1 at its end, and the sentence for the end that comes first.

        `seconds` are those since it began.
        """
        step = progress.step - progress.first
        ends = []
        if self.steps is not None:
            ends.append((step / self.steps, "all steps were taken"))
        if self.epochs is not None:
            ends.append((step / max(1, round(self.epochs * per_epoch)), f"the text was read {self.epochs:g} times"))
        if self.budget is not None:
            left = (self.budget - progress.begun) / (1 if ends else self.members - progress.member)
            ends.append((seconds / max(1e-9, left), "the time was up"))
        return max(ends)

    def until(self, ends: Mapping[str, Any], member: int) -> TrainingConfig:
        """The same with other ends, in the place of all; where a budget is given to several networks again, each but the last
        still ends after as many passes as before."""
        shared = self.budget is not None and "budget" in ends and member + 1 < self.members
        return replace(self, **{"steps": None, "budget": None, "epochs": self.epochs if shared else None, **ends})

    def rate(self, step: int, done: float) -> float:
        """The learning rate: linear warm-up over the first steps, then half a cosine down to `FLOOR` of the peak."""
        warm = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
        return self.learning_rate * warm * (FLOOR + (1 - FLOOR) * cosine)


@dataclass
class Progress:
    """How far a training is, apart from its arrays; all of it goes into a snapshot."""

    step: int = 0
    seconds: float = 0.0
    best_nats: float | None = None
    best_step: int = 0
    since_best: int = 0  # validations
    validating: float = 0.0  # seconds of the last validation
    sum_nats: float = 0.0  # of the steps since the last report with a loss
    counted: int = 0  # such steps
    scale: float = 1.0  # of the learning rate, lower after every plateau of the validation
    finished: str = ""  # why the training ended
    member: int = 0  # the number of the network in training
    first: int = 0  # the step and …
    begun: float = 0.0  # … the seconds at which it began
    ended: bool = False  # whether it is done, and the next one is to begin


@dataclass(frozen=True)
class StepReport:
    """What is known after a step. `train_nats` (per symbol, mean since the last report that had it), `valid_nats` and
    `gradient_norm` (of this step, before clipping; None if it was not finite) come every few steps. A step predicts among
    `sampled` drawn symbols and those of its batch, if that is not 0; then `train_nats` lie below `valid_nats`. `trouble` says why
    the last save failed."""

    step: int
    symbols: int
    seconds: float
    progress: float
    symbols_per_second: float
    learning_rate: float
    train_nats: float | None = None
    sampled: int = 0
    valid_nats: float | None = None
    best: bool = False
    gradient_norm: float | None = None
    skipped: int = 0
    trouble: str = ""
