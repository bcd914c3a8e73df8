"""The picture of an alignment: which symbols of the source each symbol of a translation looked at."""

from __future__ import annotations

import warnings
from pathlib import Path

from lmgen.applied.translator import Translation
from lmgen.errors import InputError, printable
from lmgen.system import pictures

MOST = 80  # symbols of a side that are drawn


def plot(one: Translation, path: Path) -> None:
    """Draw the weights of a translation into a new file.

    Raises InputError for a model without attention, and where matplotlib is missing or the file cannot be written.
    """
    if not one.read:
        raise InputError("the first source is blank, so there is nothing to draw: leave that out")
    if not one.weights.any():
        raise InputError("this model attends to nothing: leave out --plot, or train one with --attention")
    weights = one.weights[:MOST, :MOST]
    rows, columns = (
        [printable(symbol, 20) for symbol in side][:MOST] for side in ((*one.symbols, *["EOS"] * one.ended), one.read)
    )
    figure = pictures.figure(2.5 + 0.3 * len(columns), 2 + 0.3 * len(rows))
    axes = figure.subplots()
    figure.colorbar(axes.imshow(weights, cmap="Blues", vmin=0, vmax=1), label="attention", shrink=0.6)
    axes.set_xticks(range(len(columns)), columns, rotation=90, parse_math=False)
    axes.set_yticks(range(len(rows)), rows, parse_math=False)
    axes.set(xlabel="source", ylabel="translation")
    with warnings.catch_warnings(action="ignore"):  # of letters that the font lacks: they are drawn as boxes
        pictures.save(figure, path)
