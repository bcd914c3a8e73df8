"""Pictures by matplotlib, which is an extra."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lmgen.errors import InputError
from lmgen.system import files


def figure(width: float, height: float) -> Any:
    """An empty figure of a size in inches. Raises InputError where matplotlib is missing."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError("a plot needs matplotlib, which is not installed: pip install matplotlib") from None
    drawn = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(drawn)
    return drawn


def save(drawn: Any, path: Path) -> None:
    """Write a figure into a new file, in the format of its suffix. Raises InputError where that cannot be done."""
    try:
        with files.new(path, "--plot") as file:
            drawn.canvas.print_figure(file, format=path.suffix[1:].lower() or "png", dpi=120)
    except ValueError:
        raise InputError(f"{path} does not end like a picture: call it .png, .svg or .pdf") from None
