"""What predict reads for a model of graphs. What it and eval print is as for labels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lmgen.cli.predictions import labels
from lmgen.cli.predictions.labels import evaluate, put, record
from lmgen.system import terminal

__all__ = ["evaluate", "inputs", "put", "record"]


def inputs(lm: Any, file: str, encoding: str, errors: str, field: str | int | None = None) -> Iterator[Any]:
    """The graphs of a file, or the lines of standard input; None where more of it has to be waited for."""
    from lmgen.structured.graphs import Graphs

    if file == "-" or not Path(file).is_file():
        yield from labels.lines(file, encoding, errors)
        return
    graphs = Graphs([Path(file)], encoding, errors)
    yield from graphs
    terminal.note(*graphs.notes)
