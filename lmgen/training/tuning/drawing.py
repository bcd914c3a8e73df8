"""The next variation to try: at first the plan and random ones near it, then by what the trials before it have shown."""

from __future__ import annotations

import random
import warnings
from collections.abc import Sequence
from types import ModuleType

from lmgen.errors import InputError
from lmgen.training.tuning.space import Choice, Variation
from lmgen.training.tuning.study import Trial

RANDOM = 9  # trials after the plan that are drawn at random …
KEPT = 0.6  # … in which each choice is as planned with this probability: near a good plan most changes are for the worse
ATTEMPTS = 50  # to draw a variation that has not been tried


def optuna() -> ModuleType:
    """The library optuna. Raises InputError where it is missing."""
    try:
        import optuna
    except ImportError:
        raise InputError("lmgen tune needs optuna, which is not installed: pip install 'lmgen[tune]'") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def drawn(space: Sequence[Choice], trials: Sequence[Trial], seed: int) -> Variation | None:
    """A variation that none of the trials has; None if none is found.

    It follows from the arguments alone, so that a study that is resumed goes on with the trials that it would have had. After the
    random ones the tree-structured Parzen estimator draws (Bergstra et al. 2011), which puts trials that were stopped behind
    those that went on.
    """
    if not trials:
        return {}
    tried = [trial.variation for trial in trials]
    for attempt in range(ATTEMPTS):
        number = len(trials) * ATTEMPTS + attempt
        steps = _at_random(space, f"{seed} {number}") if len(trials) <= RANDOM else _likely(space, trials, seed + number)
        variation = {name: by for name, by in steps.items() if by}
        if variation not in tried:
            return variation
    return None


def _at_random(space: Sequence[Choice], seed: str) -> Variation:
    draw = random.Random(seed)
    return {choice.name: draw.randint(-choice.down, choice.up) if draw.random() > KEPT else 0 for choice in space}


def _likely(space: Sequence[Choice], trials: Sequence[Trial], seed: int) -> Variation:
    library = optuna()
    ways = {choice.name: library.distributions.IntDistribution(-choice.down, choice.up) for choice in space}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about what is experimental in some versions
        sampler = library.samplers.TPESampler(seed=seed % (1 << 32), n_startup_trials=1, multivariate=False, constant_liar=False)
        study = library.create_study(sampler=sampler)
        for trial in trials:
            done = {k: result.nats for k, result in enumerate(trial.results) if result.nats is not None}
            state = library.trial.TrialState.PRUNED if done else library.trial.TrialState.FAIL
            params = {choice.name: trial.variation.get(choice.name, 0) for choice in space}
            study.add_trial(library.trial.create_trial(state=state, params=params, distributions=ways, intermediate_values=done))
        return dict(study.ask(ways).params)
