"""The commands compress and decompress."""

from __future__ import annotations

from pathlib import Path

import click

from lmgen.cli.options import command, load, output_file
from lmgen.errors import InputError
from lmgen.options import commands
from lmgen.system import terminal
from lmgen.system.files import explained

ENDING = ".lmz"
MOST = 1 << 30  # bytes


@command("lmgen compress cities notes.txt", "lmgen compress cities - -o notes.lmz < notes.txt", options=commands.COMPRESS)
@click.argument("model")
@click.argument("file")
def compress(model: str, file: str, output: Path | None, mixture: bool) -> None:
    """Compress a file with a model.

    FILE is a text, or any bytes; - is standard input. Without its header, the compressed file has the size that lmgen eval
    states: the bits per byte, spelling included. Only the same MODEL, with or without --no-mixture as here, restores FILE.
    """
    from lmgen.evaluation import compression

    if output is None and file == "-":
        raise click.UsageError("standard input has no name to add .lmz to: name the compressed file with --output")
    loaded = load(model, mixture=mixture)
    content = _read(file)
    data = compression.compress(loaded.lm, content)
    with output_file(output or Path(file + ENDING)) as compressed:
        compressed.write(data)
    if content:
        header = compression.HEADER.size
        terminal.note(
            f"{len(content):,} bytes became {len(data):,}: {8 * (len(data) - header) / len(content):.4f} bits per byte, "
            f"and a header of {header} bytes"
        )


@command(
    "lmgen decompress cities notes.txt.lmz", "lmgen decompress cities notes.txt.lmz -o copy.txt", options=commands.DECOMPRESS
)
@click.argument("model")
@click.argument("file")
def decompress(model: str, file: str, output: Path | None, mixture: bool) -> None:
    """Restore a file that MODEL compressed."""
    from lmgen.evaluation import compression

    if output is None and not file.endswith(ENDING):
        raise click.UsageError(f"{file} does not end in {ENDING}: name the restored file with --output")
    content = compression.decompress(load(model, mixture=mixture).lm, _read(file))
    with output_file(output or Path(file.removesuffix(ENDING))) as restored:
        restored.write(content)


def _read(name: str) -> bytes:
    from lmgen.data import finding

    with explained(f"cannot read {name}", kind=InputError):
        if name == "-":
            content = finding.standard_input().read(MOST + 1)
        else:
            with open(finding.finite(Path(name)), "rb") as file:
                content = file.read(MOST + 1)
    if len(content) > MOST:
        raise InputError(f"{name} has more than {MOST:,} bytes, which are held in memory: compress it in parts")
    return content
