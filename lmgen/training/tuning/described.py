"""A study as people read it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lmgen.system.terminal import duration
from lmgen.training.tuning.study import Result, Study

Row = tuple[str, float | None, float, str]


def rows(study: Study) -> Iterator[Row]:
    """For the last training and each trial, the best first: its name, nats, length (of the last training its seconds), and what
    it has that is not as planned."""
    if study.last:
        yield "last", study.last.nats, study.last.seconds, words(study.last)
    for trial in (trial for trial in study.ranked() if trial.results):
        result = trial.results[-1]
        yield str(study.trials.index(trial)), result.nats, study.lengths[len(trial.results) - 1], words(result)


def words(result: Result) -> str:
    """The options that are not as planned, and why a training failed."""
    options = ", ".join(options_in_words(result.options))
    return f"{options}: {result.fault}" if result.fault else options or "the plan"


def options_in_words(options: Mapping[str, Any]) -> Iterator[str]:
    for name, value in options.items():
        flag = name.replace("_", "-")
        yield (flag if value else f"no {flag}") if isinstance(value, bool) else f"{flag} {value:g}"


def length(study: Study, amount: float) -> str:
    """The length of a training."""
    return duration(amount) if study.end == "budget" else f"{amount:,.0f} steps"


def lengths(study: Study) -> str:
    """The lengths of its trainings, and which trials get the longer ones."""
    first, *others = (length(study, one) for one in study.lengths)
    return f"{first} and, while it is among the best third, for {' and '.join(others)}" if others else first
