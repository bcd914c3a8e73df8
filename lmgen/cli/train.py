"""The command train."""

from __future__ import annotations

from typing import Any

import click
from click.core import ParameterSource

from lmgen.cli.options import command, together
from lmgen.cli.plans.plan import show
from lmgen.options import commands, table
from lmgen.system import signals, terminal


@command("lmgen train names.txt", "lmgen train cities --budget 1m -o checkpoints/towns", options=commands.TRAIN)
@click.argument("files", nargs=-1, metavar="CORPUS...")
def train(files: tuple[str, ...], quiet: bool, processes: int, ray: str, dry_run: bool, **options: Any) -> None:
    """Train a model on a text.

    CORPUS is a file or several, a folder (of *.txt files, or of those below it that --glob names), - for standard input, the
    name of a corpus that ships (lmgen corpus list), or a corpus in shards (lmgen corpus build): its folder, or its address such
    as s3://bucket/path. Options you omit are chosen from the text and the time: lmgen plan prints them. Ctrl-C saves; --resume
    continues. With --processes, or started by Slurm, Open MPI, torchrun or Kubernetes, several processes share the work.
    """
    source = click.get_current_context().get_parameter_source
    given = {name: value for name, value in options.items() if source(name) is not ParameterSource.DEFAULT}
    options = table.checked(given, bool(files))
    if dry_run:
        return show(files, options)
    way_out = f"lmgen train --resume {terminal.command(str(options['resume']))}" if options["resume"] else ""
    join = together(processes, (*files, *(options["valid"] or ())), way_out, ray)
    with signals.heeded() as stop:
        from lmgen.cli.watch import Watcher
        from lmgen.system import devices
        from lmgen.training import train as training

        devices.prepare()
        number = join()
        stop.check()
        if number:
            return training.follow(stop)
        name = training.default_name(files) if files else ""
        training.train(lambda: (files, options["valid"] or ()), name, options, Watcher(files, options, quiet, stop))
