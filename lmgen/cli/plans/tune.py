"""The command tune."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from lmgen.cli import console
from lmgen.cli.options import command
from lmgen.errors import InputError
from lmgen.options import commands, table
from lmgen.system import signals

if TYPE_CHECKING:
    from lmgen.training.tuning.study import Study


@command("lmgen tune names.txt --budget 2h", "lmgen tune --resume names", options=commands.TUNE)
@click.argument("files", nargs=-1, metavar="CORPUS...")
def tune(files: tuple[str, ...], quiet: bool, json: bool, trials: int | None, **options: Any) -> None:
    """Try variations of the plan and train the best.

    CORPUS and options are those of lmgen train; an option that you give stays as it is, and the others vary around what lmgen
    plan chooses. Half of the budget goes into short trainings, of which the best go on with longer ones (successive halving), and
    the rest into a training of the best. Trials are compared on validation text: measure the model on another text. Ctrl-C keeps
    what was found; --resume goes on with it.
    """
    source = click.get_current_context().get_parameter_source
    given = {name: value for name, value in options.items() if source(name) is not ParameterSource.DEFAULT}
    if options["resume"] and (files or trials or len(given) > 1):
        raise InputError("--resume goes on with a study as it was begun: leave out the other options, or tune anew")
    checked = table.checked(given, bool(files or options["resume"]))
    with signals.heeded() as stop:
        from lmgen.cli.plans.tuner import Tuner
        from lmgen.system import devices
        from lmgen.training import train as training
        from lmgen.training.tuning.tune import tune as tuned

        devices.prepare()
        stop.check()
        name = training.default_name(files) if files else ""
        tuner = Tuner(files, checked, quiet, stop)
        try:
            path, study = tuned(lambda: (files, checked["valid"] or ()), name, checked, tuner, trials)
        except KeyboardInterrupt:
            tuner.interrupted()
            raise SystemExit(stop.code or signals.INTERRUPTED) from None
        stop.check()
        if json:
            console.put_json(*_objects(path, study))
            return
        _table(study)
        tuner.ended(path, study)


def _table(study: Study) -> None:
    """Write the trials to stdout, the best first."""
    from lmgen.training.tuning.described import length, rows

    shown = [(name, _nats(nats), length(study, took), differs) for name, nats, took, differs in rows(study)]
    console.table(shown, head=("trial", "nats", "trained for", "not as planned"), numbers=(0, 1), shorten=True)


def _nats(nats: float | None) -> str:
    return "failed" if nats is None else f"{nats:.4f}"


def _objects(path: Path, study: Study) -> list[Mapping[str, Any]]:
    """A trial each, the best first, and the model."""
    trials: list[Mapping[str, Any]] = [
        {"trial": study.trials.index(trial), "steps_from_plan": trial.variation, "results": [vars(one) for one in trial.results]}
        for trial in study.ranked()
    ]
    last = vars(study.last) if study.last else None
    return [*trials, {"model": str(path), "last": last, "lengths": study.lengths, "end": study.end, "seconds": study.elapsed}]
