"""The command plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
from click.core import ParameterSource

from lmgen.cli import console
from lmgen.cli.options import command
from lmgen.options import commands, table
from lmgen.system import terminal


@command("lmgen plan names.txt --budget 5m", "lmgen plan cities --budget 1h --layers 2 --json", options=commands.PLAN)
@click.argument("files", nargs=-1, required=True, metavar="CORPUS...")
def plan(files: tuple[str, ...], json: bool, **options: Any) -> None:
    """Print what lmgen train would choose, and why; train nothing.

    CORPUS and options are those of lmgen train. With --budget the network, its training and its regularisation are chosen for
    the time, from the text and the measured speed of this machine; an option that you give is kept, and the others adapt to it.
    For plain text the loss that can be expected on validation text is printed, with the interval that holds nine of ten.
    """
    source = click.get_current_context().get_parameter_source
    given = {name: value for name, value in options.items() if source(name) is not ParameterSource.DEFAULT}
    show(files, table.checked(given, True), json)


def show(files: tuple[str, ...], options: Mapping[str, Any], json: bool = False) -> None:
    """Plan a training and write the plan to stdout."""
    from lmgen.system import devices
    from lmgen.training import train as training
    from lmgen.training.display import Loss
    from lmgen.training.plans import described
    from lmgen.training.plans.expected import expected

    devices.prepare()
    found = training.planned(lambda: (files, options["valid"] or ()), dict(options), training.Caller(progress=True))
    choices, again = described.choices(found, options), described.command(found, files, options)
    chosen = found.plan
    loss = expected(chosen, found.data, found.network.carry) if chosen and found.network.task == "language" else None
    if json:
        values = {one.name: one.value for one in choices}
        about: dict[str, Any] = {"options": values, "reasons": {one.name: one.why for one in choices if one.why}}
        if chosen:
            about |= {"steps": chosen.steps, "seconds_per_step": chosen.seconds, "speed": chosen.source}
            about |= {"passes": chosen.facts.passes, "law": vars(chosen.facts)}
        return console.put_json({**about, "expected": vars(loss) if loss else None, "command": again})
    rows = [(one.name.replace("_", "-"), _shown(one.value), one.why) for one in choices]
    console.table(rows, head=("option", "value", "why"))
    if chosen:
        took, step = terminal.duration(chosen.steps * chosen.seconds), f"{1000 * chosen.seconds:.3g} ms a step, {chosen.source}"
        each = f"up to {found.config.members} networks, each of " if found.config.members > 1 else ""
        terminal.put(f"\nsteps: {each}about {chosen.steps:,} in {took}, {chosen.facts.passes:.1f} passes over the text ({step})")
    if loss:
        nats = Loss.on(found.data).valid(loss.nats)
        terminal.put(f"expected on validation text: {nats}, in nine of ten cases {loss.low:.2f} to {loss.high:.2f}")
        terminal.put(f"an n-gram model, for comparison: {loss.counted:.3f} nats")
    where = "any machine" if chosen or found.config.budget is None else "a machine as fast"
    terminal.put(f"\nthe same on {where}: {again}")


def _shown(value: Any) -> str:
    """A value in a table."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
