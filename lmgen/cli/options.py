"""Options on the command line: the types of `arguments` as click's, options that several commands share, and a group that lists
its commands in the order of their use."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from lmgen.options import kinds, table


class Typed(click.ParamType):
    """A type of `arguments`, whose errors click shows."""

    def __init__(self, kind: kinds.Kind):
        self.kind, self.name = kind, kind.word
        self.like: click.ParamType = click.STRING  # click's own type, for the help page and for completion in a shell
        if isinstance(kind, kinds.Choice):
            self.like = click.Choice(kind.names)
        elif isinstance(kind, kinds.Place | kinds.Source):
            self.like = click.Path()

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return self.kind.parse(value) if isinstance(value, str) else self.kind.check(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str | None:
        return self.like.get_metavar(param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return self.like.shell_complete(ctx, param, incomplete)


def Bounded(low: float, high: float = math.inf, open_low: bool = False) -> Typed:
    """A number within bounds."""
    return Typed(kinds.Bounded(low, high, open_low))


def Whole(low: int = 1) -> Typed:
    """A whole number from `low` up to what 31 bits hold."""
    return Typed(kinds.Whole(low))


def declared(options: Iterable[table.Option]) -> Callable[[Any], Any]:
    """A decorator that gives a command these options."""

    def decorate(command: Any) -> Any:
        for option in reversed([*options]):
            words = [word for word in (option.short, option.flag) if word]
            if isinstance(option.kind, kinds.Flag):
                both = option.default is None
                words = [f"{option.flag}/--no-{option.flag[2:]}"] if both else words
                kind: dict[str, Any] = {"is_flag": True}
            else:
                kind = {"type": Typed(option.kind)}
            command = click.option(*words, option.name, default=option.default, help=option.described, **kind)(command)
        return command

    return decorate


def given() -> dict[str, Any]:
    """The options that the user gave to the command that runs, by name."""
    context = click.get_current_context()
    return {name: v for name, v in context.params.items() if context.get_parameter_source(name) is not ParameterSource.DEFAULT}


class InOrder(click.Group):
    """A group that lists its commands in the order in which a user meets them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object a line on stdout.")
SEQUENCE, GLOB, ENCODING, ERRORS, PRECISION = (
    declared([option]) for option in (table.SEQUENCE, table.GLOB, table.ENCODING, table.ERRORS, table.PRECISION)
)
CONTROL = click.option("--control", metavar="FILE", help="Held-out text to compare with.  [default: the text that validates]")
NGRAM = click.option("--ngram", type=Whole(), default=5, show_default=True, help="Characters of the n-grams that may be new.")
EXACT = click.option("--exact", is_flag=True, help="Try every sequence as the nearest, also of a corpus beyond 1 MB.")
