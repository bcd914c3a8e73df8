"""The next variation to try: the plan, then random ones near it, then children of the best ones, then by a model of them all."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

from lmgen.errors import InputError
from lmgen.training.tuning.space import Choice, Variation
from lmgen.training.tuning.study import ETA, Trial

RANDOM = 6  # trials, the plan included, before one is drawn from others …
KEPT = 0.8  # … in which each choice is as planned with this probability: near a good plan most changes are for the worse
CROSSED = 30  # trials before a model of them is better than children of the best …
CHANGED = 0.12  # … in which each choice is drawn anew with this probability
ATTEMPTS = 50  # to draw a variation that has not been tried; all but the first few of them at random
LIKELY = 10


def optuna() -> ModuleType:
    """The library optuna. Raises InputError where it is missing."""
    try:
        import optuna
    except ImportError:
        raise InputError("lmgen tune needs optuna, which is not installed: pip install 'lmgen[tune]'") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def drawn(
    space: Sequence[Choice], ranked: Sequence[Trial], seed: int, options: Callable[[Variation], Mapping[str, Any]] = dict
) -> Variation | None:
    """A variation that has other `options` than each of the trials, the best first; None if none is found.

    It follows from the arguments alone, so that a study that is resumed goes on with the trials that it would have had.
    """
    if not ranked:
        return {}
    tried = [trial.variation for trial in ranked]
    known = [options(variation) for variation in tried]
    for attempt in range(ATTEMPTS):
        number = len(ranked) * ATTEMPTS + attempt
        draw = random.Random(f"{seed} {number}")
        if len(ranked) < RANDOM or attempt >= LIKELY:
            steps = _near_the_plan(space, draw)
        elif len(ranked) < CROSSED:
            steps = _crossed(space, tried[: max(1, len(tried) // ETA)], draw)
        else:
            steps = _likely(space, ranked, seed + number)
        variation = {name: by for name, by in steps.items() if by}
        if options(variation) not in known:
            return variation
    return None


def _near_the_plan(space: Sequence[Choice], draw: random.Random) -> Variation:
    return {choice.name: draw.randint(-choice.down, choice.up) for choice in space if draw.random() > KEPT}


def _crossed(space: Sequence[Choice], best: Sequence[Variation], draw: random.Random) -> Variation:
    """A child of two of the best: each choice is one of theirs, or a new one."""
    parents = draw.choice([best[0], draw.choice(best)]), draw.choice(best)
    inherited = {choice.name: draw.choice(parents).get(choice.name, 0) for choice in space}
    return inherited | {choice.name: draw.randint(-choice.down, choice.up) for choice in space if draw.random() < CHANGED}


def _likely(space: Sequence[Choice], trials: Sequence[Trial], seed: int) -> Variation:
    """By the tree-structured Parzen estimator (Bergstra et al. 2011), for which trials that went on are better than others."""
    library = optuna()
    ways = {choice.name: library.distributions.IntDistribution(-choice.down, choice.up) for choice in space}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about what is experimental in some versions
        sampler = library.samplers.TPESampler(seed=seed % (1 << 32), n_startup_trials=1, multivariate=False, constant_liar=False)
        study = library.create_study(sampler=sampler)
        for trial in trials:
            done = {level: result.nats for level, result in enumerate(trial.results) if result.nats is not None}
            state = library.trial.TrialState.PRUNED if done else library.trial.TrialState.FAIL
            params = {choice.name: trial.variation.get(choice.name, 0) for choice in space}
            known = library.trial.create_trial(state=state, params=params, distributions=ways, intermediate_values=done)
            study.add_trial(known)
        return dict(study.ask(ways).params)
