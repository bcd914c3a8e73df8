"""The commands about n-gram models: their exchange with other programs."""

from __future__ import annotations

from pathlib import Path

import click

from lmgen.cli.options import InOrder
from lmgen.system import terminal


@click.group(cls=InOrder)
def arpa() -> None:
    """Exchange n-gram models with KenLM, SRILM and others."""


@arpa.command(name="write")
@click.argument("model")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The file.  [default: stdout]")
def arpa_write(model: str, output: Path | None) -> None:
    """Write an n-gram MODEL as an ARPA file."""
    import io

    from lmgen.models import arpa, capabilities, loading
    from lmgen.system import files

    loaded = capabilities.require(loading.load(model), capabilities.HoldsNGrams, "train one with --cell ngram")
    if output is None:
        text = io.StringIO()
        arpa.write(loaded, text)
        terminal.put_bytes(text.getvalue().encode())
        return
    with files.new(output, text=True) as file:
        arpa.write(loaded, file)
    terminal.note(f"wrote {output}")


@arpa.command(name="read")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The model.  [default: checkpoints/ and the file's name]")
@click.option("--force", is_flag=True, help="Replace the model of that name.")
@click.option(
    "--unit",
    type=click.Choice(["char", "word", "word-punct", "word-only"]),
    help="What a word of FILE is.  [default: what FILE says, or word]",
)
def arpa_read(file: Path, output: Path | None, force: bool, unit: str | None) -> None:
    """Make a model of the ARPA file FILE."""
    from lmgen.models import arpa
    from lmgen.system import directories
    from lmgen.training import counting

    path = output or directories.HOME / directories.safe_name(file.stem)
    with directories.new(path, force, count_on=not (output or force)) as place:
        counting.write_foreign(place, arpa.read(file, unit), file)
    terminal.note(f"the model is in {place.path}")
