"""Pytrees as arrays named by their path, and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from lmgen.errors import CheckpointError, printable
from lmgen.system.arrayfile import Arrays


def flatten(tree: Any) -> Arrays:
    """The leaves of nested dicts, lists and tuples, named by their path: {"layers/0/W": …}."""
    return {name: np.asarray(leaf) for name, leaf in _leaves(tree)}


def unflatten(template: Any, arrays: Arrays, where: str) -> Any:
    """The arrays in the structure of `template`. Raises CheckpointError for the first that is missing, extra or does not fit."""
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
    return jax.tree.unflatten(jax.tree.structure(template), [arrays[name] for name in wanted])


def _leaves(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """In the order of jax.tree.leaves, but the parts of a named tuple are numbered."""
    if not isinstance(tree, Mapping | list | tuple):
        yield path, tree
        return
    for key, child in sorted(tree.items()) if isinstance(tree, Mapping) else enumerate(tree):
        yield from _leaves(child, f"{path}/{key}".lstrip("/"))
