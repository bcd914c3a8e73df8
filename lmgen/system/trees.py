"""Pytrees <-> arrays named by their path."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from lmgen.errors import CheckpointError, printable
from lmgen.system.arrayfile import Arrays


def flatten(tree: Any, prefix: str = "") -> Arrays:
    """The leaves of nested dicts, lists and tuples, named by their path: {"layers/0/W": …}."""
    if isinstance(tree, Mapping):
        items = [(str(k), v) for k, v in sorted(tree.items())]
    elif isinstance(tree, list | tuple):
        items = [(str(k), v) for k, v in enumerate(tree)]
    else:
        return {prefix: np.asarray(tree)}
    return {name: leaf for k, v in items for name, leaf in flatten(v, f"{prefix}/{k}" if prefix else k).items()}


def unflatten(template: Any, arrays: Arrays, where: str) -> Any:
    """The arrays in the shape of `template`; CheckpointError names the first that is missing, extra or of another kind."""
    wanted = {name: (leaf.shape, np.dtype(leaf.dtype)) for name, leaf in _leaves(template)}
    for name, (shape, dtype) in wanted.items():
        if name not in arrays:
            raise CheckpointError(f"{where} lacks the array {name}: it belongs to another configuration")
        found = arrays[name]
        if found.shape != shape or found.dtype != dtype:
            raise CheckpointError(
                f"{where}: {name} should be {dtype} {list(shape)} but is {found.dtype} {list(found.shape)}, "
                "so weights and config.json do not belong together: copy the whole directory again"
            )
    if extra := sorted(arrays.keys() - wanted.keys()):
        raise CheckpointError(
            f"{where} holds the array {printable(extra[0])} that its configuration lacks: copy the directory again"
        )
    return _fill(template, arrays, "")


def _leaves(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(tree, Mapping | list | tuple):
        items = sorted(tree.items()) if isinstance(tree, Mapping) else enumerate(tree)
        for k, v in items:
            yield from _leaves(v, f"{prefix}/{k}" if prefix else str(k))
    else:
        yield prefix, tree


def _fill(tree: Any, arrays: Arrays, prefix: str) -> Any:
    def at(k: Any, v: Any) -> Any:
        return _fill(v, arrays, f"{prefix}/{k}" if prefix else str(k))

    if isinstance(tree, Mapping):
        return {k: at(k, v) for k, v in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):  # a named tuple, as optax's states are
        return type(tree)(*(at(k, v) for k, v in enumerate(tree)))
    if isinstance(tree, list | tuple):
        return type(tree)(at(k, v) for k, v in enumerate(tree))
    return arrays[prefix]
