"""What predict reads and prints for a model of trees: the tree with the label of every node. Eval prints it as for labels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lmgen.applied.records import trees as record
from lmgen.cli.predictions.labels import ABSTAINED, evaluate
from lmgen.system import terminal

__all__ = ["evaluate", "inputs", "put", "record"]


def inputs(lm: Any, file: str, encoding: str, errors: str, field: str | int | None = None) -> Iterator[Any]:
    """The brackets of a file or of standard input; None where more of it has to be waited for."""
    from lmgen.data import finding, reading
    from lmgen.structured import trees

    text = reading.once(file, "line", True, encoding, errors)
    yield from trees.outlines(text, Path(finding.STDIN if file == "-" else file))
    terminal.note(*text.notes)


def put(one: Any, above: float) -> None:
    """Print a tree with the predicted labels."""
    sure = [label if p >= above else ABSTAINED for label, p in zip(one.labels, one.probabilities, strict=True)]
    terminal.put(one.tree.brackets(sure))
