"""The commands compress and decompress."""

from __future__ import annotations

from pathlib import Path

import click

from lmgen.errors import InputError
from lmgen.system import files, terminal

ENDING = ".lmz"
MOST = 1 << 30  # bytes


@click.command()
@click.argument("model")
@click.argument("file")
@click.option("-o", "--output", help="The compressed file; - for stdout.  [default: FILE.lmz]")
def compress(model: str, file: str, output: str | None) -> None:
    """Compress a text, or any bytes, with a model.

    The size without the header proves what eval says: bits per byte, spelling included. Only the same MODEL gives back FILE (- is
    standard input).
    """
    from lmgen import api
    from lmgen.evaluation import compression
    from lmgen.system import devices

    devices.prepare()
    if output is None and file == "-":
        raise click.UsageError("standard input has no name: say where the compressed file goes with --output")
    loaded = api.load(model, "f32").lm
    content = _read(file)
    data = compression.compress(loaded, content)
    _write(output or file + ENDING, data)
    if content:
        header = compression.HEADER.size
        terminal.note(
            f"{len(content):,} bytes became {len(data):,}: {8 * (len(data) - header) / len(content):.4f} bits per byte, "
            f"and a header of {header} bytes"
        )


@click.command()
@click.argument("model")
@click.argument("file")
@click.option("-o", "--output", help="Where it goes; - for stdout.  [default: FILE without .lmz]")
def decompress(model: str, file: str, output: str | None) -> None:
    """Give back what MODEL compressed."""
    from lmgen import api
    from lmgen.evaluation import compression
    from lmgen.system import devices

    devices.prepare()
    if output is None and not file.endswith(ENDING):
        raise click.UsageError(f"{file} does not end in {ENDING}, so say where its content goes with --output")
    loaded = api.load(model, "f32").lm
    _write(output or file.removesuffix(ENDING), compression.decompress(loaded, _read(file)))


def _read(name: str) -> bytes:
    from lmgen.data import finding

    try:
        if name == "-":
            content = finding.standard_input().read(MOST + 1)
        else:
            with open(finding.finite(Path(name)), "rb") as file:
                content = file.read(MOST + 1)
    except OSError as error:
        raise InputError(f"cannot read {name}: {error.strerror}") from None
    if len(content) > MOST:
        raise InputError(f"{name} has more than {MOST:,} bytes, which are held in memory: compress it in parts")
    return content


def _write(name: str, content: bytes) -> None:
    """Write a file that is not there yet, as a whole or not at all."""
    if name == "-":
        terminal.put_bytes(content)
        return
    with files.new(Path(name)) as file:
        file.write(content)
    terminal.note(f"wrote {name}")
