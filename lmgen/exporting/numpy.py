"""The format numpy: one Python file that needs NumPy alone, with the weights inside and no more code than the model needs."""

from __future__ import annotations

import base64
import textwrap
from typing import Any

from lmgen.exporting import source
from lmgen.exporting.target import Contents, Target, described, rules
from lmgen.models import kinds

NAMES = ("given", "norms", "cells", "network", "ngrams", "mixture", "symbols", "writing", "between", "labels", "pairs", "program")
MODULES = [f"portable.{name}" for name in NAMES]
# The commands of a program, by the task of its model.
COMMANDS = {
    "language": ("sample", "score"),
    "generate": ("sample", "score"),
    "cloze": ("pseudo-score",),
    **dict.fromkeys(("tag", "classify", "tag-classify"), ("predict",)),
    "translate": ("translate", "score-pairs"),
}


def contents(lm: Any) -> Contents:
    """The program of a model."""
    about = described(lm)
    arrays = {**lm.arrays(), **rules(lm)}
    wanted = {
        "CELLS": (about["cell"],),
        "UNITS": (about["unit"],),
        "READERS": (about["reads"],),
        "COMMANDS": COMMANDS[about["task"]],
    }
    stored = [array.astype(array.dtype.newbyteorder("<"), copy=False) for array in arrays.values()]
    shapes = [(name, array.dtype.str, array.shape) for name, array in zip(arrays, stored, strict=True)]
    command = COMMANDS[about["task"]][0]
    text = base64.b64encode(b"".join(array.tobytes() for array in stored)).decode()
    parts = [
        source.docstring(about["name"], f"a program that needs NumPy alone: {command}, also from Python", command),
        *source.cut(MODULES, ("main", "unpacked"), wanted, given=("MODEL", "W")),
        f"# {'-' * 118}\n\nMODEL = {source.literal(about)}",
        f"ARRAYS = {source.literal(shapes)}  # name, type and shape of each",
        'W = unpacked(ARRAYS, """\n' + "\n".join(textwrap.wrap(text, source.ROW)) + '\n""")',
        'if __name__ == "__main__":\n    main()',
    ]
    return {"": ("\n\n\n".join(parts) + "\n").encode()}


TARGET = Target(
    "one Python file that needs NumPy alone",
    ".py",
    (kinds.RECURRENT, kinds.CLOZE, kinds.NGRAM, kinds.LABELLER, kinds.WRITER, kinds.TRANSLATOR),
    contents,
    ngrams=500_000,
)
