"""The commands cells, doctor and completion."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from lmgen.cli import console
from lmgen.cli.options import command
from lmgen.errors import InputError
from lmgen.options import commands
from lmgen.system import terminal


@command("lmgen cells", "lmgen cells lstm gru --size 256", options=commands.CELLS)
@click.argument("names", nargs=-1, metavar="[CELL]...")
def cells(names: tuple[str, ...], size: int, speed: bool, precision: str, json: bool) -> None:
    """List the cells and their costs.

    For a layer of N units: its parameters; its N × N matrix products per time step (first those of the input, computed for all
    steps at once, then those of the state); the turns in which a step computes the latter; its training speed in symbols per
    second. If you name cells, their equations are printed, too.
    """
    from lmgen.loading import choices
    from lmgen.nn.cells import CELLS
    from lmgen.options.kinds import did_you_mean
    from lmgen.system import devices
    from lmgen.training import benchmark, display

    devices.prepare()
    chosen = [name.lower() for name in names]
    for name in chosen:
        if name in CELLS:
            continue
        if name in choices("cell"):
            raise InputError(f"{name} is not a network, so it has no cost to list: train it with lmgen train --cell {name}")
        meant = did_you_mean(name, CELLS) or f": choose from {', '.join(CELLS)}"
        raise InputError(f"there is no cell {name!r}{meant}")
    costs = [benchmark.cost(name) for name in chosen or CELLS]
    panel = None
    if speed and not json:
        terminal.note(f"measuring {len(costs)} cell{'s' * (len(costs) != 1)} with {size} units …")
        panel = display.panel()
    speeds = benchmark.speeds([cost.name for cost in costs], size, precision) if speed else iter([None] * len(costs))
    rows = []
    for number, cost in enumerate(costs, 1):
        if panel:
            panel.draw(f"{number} of {len(costs)}: {cost.name}")
        measured = next(speeds)
        products = f"{cost.of_input} + {cost.of_state}"
        rows.append((cost.name, f"{cost.weights} N + {cost.vectors}", products, str(cost.in_turn), f"{measured or 0:,.0f}"))
        if json:
            measures = {"size": size, "parameters_per_unit": cost.weights * size + cost.vectors}
            console.put_json(vars(cost) | measures | {"symbols_per_second": measured})
    if panel:
        panel.erase()
    if json:
        return
    head = ("cell", "parameters", "products", "turns", "symbols/s")[: 5 if speed else 4]
    console.table([row[: len(head)] for row in rows], head=head, numbers=range(1, len(head)))
    for cost in costs if names else ():
        about = "\n".join(terminal.wrapped(line, sys.stdout) for line in cost.about.splitlines())
        terminal.put(f"\n{cost.name}\n\n{about}")


@command("lmgen doctor", "lmgen doctor > machine.txt")
def doctor() -> None:
    """Describe this machine, for bug reports."""
    from lmgen.models import facts
    from lmgen.system import devices

    devices.prepare()
    console.table(facts.surroundings())


COMPLETES = "_LMGEN_COMPLETE"  # the variable by which a shell asks for completions
# For each shell the variable that names a folder, the folder without it, and the file below it.
SCRIPTS = {
    "bash": ("XDG_DATA_HOME", "~/.local/share", "bash-completion/completions/lmgen"),
    "zsh": ("XDG_DATA_HOME", "~/.local/share", "zsh/site-functions/_lmgen"),
    "fish": ("XDG_CONFIG_HOME", "~/.config", "fish/completions/lmgen.fish"),
}


@command("lmgen completion", "lmgen completion zsh --print > _lmgen", options=commands.COMPLETION)
@click.argument("shell", required=False, type=click.Choice([*SCRIPTS]), metavar="[SHELL]")
@click.pass_context
def completion(context: click.Context, shell: str | None, print_: bool) -> None:
    """Let bash, zsh or fish complete commands, options and values.

    The script goes where the shell looks for it: of SHELL, or of the shell in use. Nothing else is changed.
    """
    from click.shell_completion import get_completion_class

    from lmgen.system import files

    name = shell or os.path.basename(os.environ.get("SHELL", ""))
    if name not in SCRIPTS:
        raise InputError(f"the shell in use is {name or 'not known'}: name one, as in lmgen completion bash")
    made = get_completion_class(name)
    assert made
    try:
        script = made(context.find_root().command, {}, "lmgen", COMPLETES).source()
    except RuntimeError as error:  # an old bash
        raise InputError(f"{name} cannot complete commands: {error}") from None
    if print_:
        terminal.put(script.strip())
        return
    variable, usual, below = SCRIPTS[name]
    path = Path(os.environ.get(variable) or usual).expanduser() / below
    with files.explained(f"cannot write {path}", "; lmgen completion --print writes it to stdout", InputError):
        if path.exists() and COMPLETES not in path.read_text("utf-8", "replace"):
            raise FileExistsError(0, "it exists, and is not of lmgen")
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_bytes(path, script.encode())
    terminal.note(f"wrote {path}")
    if name == "zsh":
        terminal.note(f"zsh reads it if ~/.zshrc has, before compinit:  fpath+=({path.parent})")
    terminal.note(f"a new {name} completes lmgen")
