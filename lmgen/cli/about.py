"""The commands about lmgen itself: the cells, this machine."""

from __future__ import annotations

import sys
from typing import Any

import click

from lmgen.cli import console
from lmgen.cli.options import JSON, PRECISION, Whole
from lmgen.errors import InputError
from lmgen.system import terminal


@click.command()
@click.argument("names", nargs=-1, metavar="[CELL]...")
@click.option("--size", type=Whole(), default=128, show_default=True, help="Units in the layer whose speed is measured.")
@click.option("--speed/--no-speed", default=True, help="Measure the speed on this machine, half a second a cell.")
@PRECISION
@JSON
def cells(names: tuple[str, ...], size: int, speed: bool, precision: str, as_json: bool) -> None:
    """List the networks, and what each costs.

    For a layer of N units: parameters a unit, products N × N a step (of the input, all times at once, + of what is fed back, in
    so many turns that wait for each other), and symbols a second in training. A CELL by name gets its equations, too.
    """
    from lmgen.nn.cells import CELLS
    from lmgen.system import devices
    from lmgen.training import benchmark, defaults, display

    devices.prepare()
    names = tuple(name.lower() for name in names)
    for name in names:
        defaults.check({"cell": name})
        if name not in CELLS:
            raise InputError(f"{name} is no network: lmgen train --cell {name} counts, and costs no training")
    listed = [benchmark.cost(name) for name in names or CELLS]
    if speed and not as_json:
        terminal.note(f"measuring {len(listed)} cell{'s' * (len(listed) != 1)} with {size} units …")
    measured = benchmark.speeds([cost.name for cost in listed], size, precision) if speed else iter([None] * len(listed))
    rows = []
    live = display.panel() if speed and not as_json else None
    for number, cost in enumerate(listed, 1):
        if live:
            live.draw(f"{number} of {len(listed)}: {cost.name}")
        symbols_per_second = next(measured)
        if as_json:
            measures = {"size": size, "parameters_per_unit": cost.weights * size + cost.vectors}
            console.put_json(vars(cost) | measures | {"symbols_per_second": symbols_per_second})
        rows.append(_cells_row(cost, symbols_per_second))
    if live:
        live.erase()
    if not as_json:
        head = ("cell", "parameters", "products", "turns", "symbols/s")[: 5 if speed else 4]
        console.table([row[: len(head)] for row in rows], head=head, numbers=range(1, len(head)))
        for cost in listed if names else ():
            about = "\n".join(terminal.wrapped(line, sys.stdout) for line in cost.about.splitlines())
            terminal.put(f"\n{cost.name}\n\n{about}")


def _cells_row(cost: Any, speed: float | None) -> tuple[str, ...]:
    parameters = f"{cost.weights} N + {cost.vectors}"
    return cost.name, parameters, f"{cost.of_input} + {cost.of_state}", str(cost.in_turn), f"{speed or 0:,.0f}"


@click.command()
def doctor() -> None:
    """Describe this machine, for a bug report."""
    from lmgen.models import facts
    from lmgen.system import devices

    devices.prepare()
    console.table(facts.surroundings())
