"""Signatures of Python functions from the tables of options: what is unknown is refused, what is known is in the help."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from lmgen.options import table

P = ParamSpec("P")
R = TypeVar("R")


def named(function: Callable[P, R], further: Iterable[str] = ()) -> Callable[P, R]:
    """A function that refuses an unknown keyword with a sentence; `further` are those that its ** takes."""
    parameters = inspect.signature(function).parameters.values()
    known = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name != "self"]
    known += further if any(p.kind is p.VAR_KEYWORD for p in parameters) else ()

    @wraps(function)
    def checked(*args: P.args, **options: P.kwargs) -> R:
        table.refuse_unknown(options, known)
        return function(*args, **options)

    return checked


def described(function: Any, options: Iterable[table.Option]) -> Any:
    """The function, whose signature and help have the options that its ** takes."""
    signature, options = inspect.signature(function), [*options]
    given = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    taken = [inspect.Parameter(o.name, inspect.Parameter.KEYWORD_ONLY, default=o.default, annotation=o.hint) for o in options]
    function.__signature__ = signature.replace(parameters=[*given, *taken])
    function.__doc__ = inspect.cleandoc(function.__doc__) + "\n" + "\n".join(f"    {o.name}: {o.described}" for o in options)
    return function
