"""The group arpa: n-gram models as files of other programs."""

from __future__ import annotations

from pathlib import Path

import click

from lmgen.cli.options import Group, command, output_file
from lmgen.options import commands
from lmgen.system import terminal


@command("lmgen arpa write trigrams -o trigrams.arpa", "lmgen arpa read trigrams.arpa", cls=Group)
def arpa() -> None:
    """Convert n-gram models to ARPA and back.

    KenLM, SRILM and others exchange models as ARPA files.
    """


@command("lmgen arpa write trigrams", "lmgen arpa write trigrams -o trigrams.arpa", options=[commands.OUTPUT], group=arpa)
@click.argument("model")
def arpa_write(model: str, output: Path | None) -> None:
    """Write the n-gram model MODEL to an ARPA file."""
    from lmgen.models import arpa, capabilities, loading

    loaded = capabilities.require(loading.load(model), capabilities.HoldsNGrams, "train one with --cell ngram")
    with output_file(output, text=True) as file:
        arpa.write(loaded, file)


@command(
    "lmgen arpa read trigrams.arpa",
    "lmgen arpa read trigrams.arpa -o checkpoints/kenlm --unit word",
    options=commands.ARPA_READ,
    group=arpa,
)
@click.argument("file", type=click.Path(path_type=Path))
def arpa_read(file: Path, output: Path | None, force: bool, unit: str | None) -> None:
    """Make a model from the ARPA file FILE."""
    from lmgen.models import arpa
    from lmgen.system import directories
    from lmgen.training import counting

    path = output or directories.HOME / directories.safe_name(file.stem)
    with directories.new(path, force, count_on=not (output or force)) as place:
        counting.write_foreign(place, arpa.read(file, unit), file)
    terminal.note(f"the model is in {place.path}")
