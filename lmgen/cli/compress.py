"""The commands compress and decompress."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import click

from lmgen.cli.options import command, load, output_file
from lmgen.errors import InputError
from lmgen.options import commands
from lmgen.system import terminal
from lmgen.system.files import explained

ENDING = ".lmz"
MOST = 1 << 30  # bytes


@command(
    "lmgen compress cities notes.txt",
    "lmgen compress --online names.txt",
    options=commands.COMPRESS,
)
@click.argument("names", nargs=-1, metavar="[MODEL] FILE")
def compress(names: tuple[str, ...], online: bool, level: str | None, output: Path | None, mixture: bool) -> None:
    """Compress a file with a model, or with one that learns FILE on the way.

    FILE is a text, or any bytes; - is standard input. Without its header, the compressed file has the size that lmgen eval
    states: the bits per byte, spelling included. Only the same MODEL, with or without --no-mixture as here,
    restores FILE. With --online nothing but the compressed file is needed to restore it, by the same version on such a processor.
    """
    if len(names) != 2 - online:
        raise click.UsageError(
            "with --online name a FILE alone" if online else "name a MODEL and a FILE, or give --online and a FILE"
        )
    if level and not online:
        raise click.UsageError("--level is of --online: give that, too, or leave --level out")
    file = names[-1]
    if output is None and file == "-":
        raise click.UsageError("standard input has no name to add .lmz to: name the compressed file with --output")
    target = output or Path(file + ENDING)
    if online:
        _compress_online(file, target, level or "2")
        return
    from lmgen.evaluation import compression

    loaded = load(names[0], mixture=mixture)
    content = _read(file)
    data = compression.compress(loaded.lm, content)
    with output_file(target) as compressed:
        compressed.write(data)
    if content:
        header = compression.HEADER.size
        terminal.note(
            f"{len(content):,} bytes became {len(data):,}: {8 * (len(data) - header) / len(content):.4f} bits per byte, "
            f"and a header of {header} bytes"
        )


def _compress_online(file: str, target: Path, level: str) -> None:
    from lmgen.evaluation.online import container
    from lmgen.system import devices

    devices.prepare(cpu=True)
    last, start, report = (0, 0), time.monotonic(), _reporter()

    def remember(read: int, written: int) -> None:
        nonlocal last
        last = read, written
        report(read, written)

    with _opened(file) as source, output_file(target) as compressed:
        container.compress(source, compressed, level, remember)
    read, written = last
    if read:
        seconds = max(time.monotonic() - start, 1e-3)
        took = f"in {terminal.duration(seconds)} ({read / 1000 / seconds:.1f} KB/s)"
        terminal.note(f"{read:,} bytes became {written:,}: {8 * written / read:.4f} bits per byte, {took}")


@command(
    "lmgen decompress cities notes.txt.lmz",
    "lmgen decompress names.txt.lmz",
    options=commands.DECOMPRESS,
)
@click.argument("names", nargs=-1, metavar="[MODEL] FILE")
def decompress(names: tuple[str, ...], output: Path | None, mixture: bool) -> None:
    """Restore a file that MODEL compressed, or without MODEL one that was compressed with --online."""
    from lmgen.evaluation import compression

    if len(names) not in (1, 2):
        raise click.UsageError("name the MODEL that compressed it and the FILE, or a FILE that was compressed with --online")
    file = names[-1]
    if output is None and not file.endswith(ENDING):
        raise click.UsageError(f"{file} does not end in {ENDING}: name the restored file with --output")
    target = output or Path(file.removesuffix(ENDING))
    if len(names) == 2:
        content = compression.decompress(load(names[0], mixture=mixture).lm, _read(file))
        with output_file(target) as restored:
            restored.write(content)
        return
    from lmgen.evaluation.online import container
    from lmgen.system import devices

    devices.prepare(cpu=True)
    with _opened(file) as source, output_file(target) as restored:
        container.decompress(source, restored, _reporter())


def _reporter() -> Callable[[int, int], None]:
    """A function that shows on a terminal how far the work is."""
    if not sys.stderr.isatty():
        return lambda *_: None
    return lambda read, written: terminal.note(f"{read:,} bytes read, {written:,} written")


@contextmanager
def _opened(name: str) -> Iterator[IO[bytes]]:
    from lmgen.data import finding

    if name == "-":
        yield finding.standard_input()
        return
    with explained(f"cannot read {name}", kind=InputError):
        file = open(finding.finite(Path(name)), "rb")  # noqa: SIM115
    with file:
        yield file


def _read(name: str) -> bytes:
    with _opened(name) as file, explained(f"cannot read {name}", kind=InputError):
        content = file.read(MOST + 1)
    if len(content) > MOST:
        raise InputError(f"{name} has more than {MOST:,} bytes, which are held in memory: compress it in parts, or with --online")
    return content
