"""lmgen: train a small recurrent language model on your own text, write new text with it, and measure it honestly.

    import lmgen
    model = lmgen.train("names.txt", budget=60)
    model = lmgen.load("names")
    [s.text for s in model.sample(10)]

Importing this imports no JAX; what needs it is imported at first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lmgen._version import __version__

if TYPE_CHECKING:
    from lmgen.api import Model, load, train

__all__ = ["Model", "__version__", "load", "train"]


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    if name in ("Model", "load", "train"):
        from lmgen import api

        return getattr(api, name)
    raise AttributeError(f"module 'lmgen' has no attribute {name!r}")
