"""Commands with declared options: their types as click's, their examples, and what several commands do alike."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from lmgen.errors import InputError
from lmgen.models.kinds import Kind
from lmgen.options import kinds
from lmgen.options.table import Option
from lmgen.system import terminal
from lmgen.system.cluster import environments

if TYPE_CHECKING:
    from lmgen.api import Model


WIDEST = 50  # characters of the choices in a help page; more are named in the help of their option


class Suggested(click.types.StringParamType):
    """A word that a shell completes to a name that lmgen knows, or to a file."""

    def __init__(self, known: Callable[[], Iterable[str]] = tuple, files: bool = True):
        self.known, self.files = known, files

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        found = [CompletionItem(name) for name in self.known() if name.startswith(incomplete)]
        return found + [CompletionItem(incomplete, type="file")] * self.files


def _models() -> Iterable[str]:
    from lmgen.system import directories

    return sorted(path.parent.name for path in directories.HOME.glob("[!.]*/config.json"))


def _corpora() -> Iterable[str]:
    from lmgen.data.finding import SHIPPED

    return SHIPPED


def _cells() -> Iterable[str]:
    from lmgen.loading import choices

    return choices("cell")


# What completes an argument of this name.
ARGUMENTS = {
    "model": Suggested(_models),
    "models": Suggested(_models),
    "file": Suggested(),
    "samples": Suggested(),
    "files": Suggested(_corpora),
    "name": Suggested(_corpora, files=False),
    "names": Suggested(_cells, files=False),
}


class Typed(click.ParamType):
    """The type of an option, whose errors click shows."""

    def __init__(self, kind: kinds.Kind):
        self.kind, self.name = kind, kind.word
        self.like: click.ParamType = click.STRING  # click's own type, for the help page and for completion in a shell
        if isinstance(kind, kinds.Choice):
            self.like = click.Choice(kind.names)
        elif isinstance(kind, kinds.Stored):
            self.like = ARGUMENTS["model"]
        elif isinstance(kind, kinds.Name):
            self.like = Suggested(_cells, files=False)
        elif isinstance(kind, kinds.Place | kinds.Source):
            self.like = click.Path()

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return self.kind.parse(value) if isinstance(value, str) else self.kind.check(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str | None:
        found = self.like.get_metavar(param, ctx)
        return str(param.name).upper() if found and len(found) > WIDEST else found

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return self.like.shell_complete(ctx, param, incomplete)


class _Formatter(click.HelpFormatter):
    """Help pages whose first column takes a third of the terminal at most."""

    def write_dl(self, rows: Any, col_max: int = 30, col_spacing: int = 2) -> None:
        super().write_dl(rows, min(col_max, self.width // 3), col_spacing)


class _Context(click.Context):
    formatter_class = _Formatter


class Command(click.Command):
    """A command with declared options, whose help page ends with examples."""

    context_class = _Context
    options: tuple[Option, ...] = ()
    examples: tuple[str, ...] = ()

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Examples"):
            for example in self.examples:
                formatter.write(f"{'':{formatter.current_indent}}{example}\n")


class Group(Command, click.Group):
    """A group that lists its commands in the order in which they were added."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


def command(
    *examples: str, options: Iterable[Option] = (), group: Group | None = None, cls: type[Command] = Command, **settings: Any
) -> Callable[[Callable], Any]:
    """A decorator that makes a function a command (of a group, if one is given) with these options and examples.

    `list_` becomes the command list, and `corpus_list` the command list of the group corpus.
    """

    def decorate(function: Any) -> Command:
        name = function.__name__.rstrip("_").removeprefix(f"{group.name}_" if group else "")
        for option in reversed([*options]):
            flag, several = isinstance(option.kind, kinds.Flag), isinstance(option.kind, kinds.Files | kinds.Texts)
            settings_of: dict[str, Any] = {"help": option.described, "required": option.required, "multiple": several}
            settings_of |= {} if option.required else {"default": option.default}
            settings_of |= {} if option.kind.words == 1 else {"nargs": option.kind.words, "metavar": option.kind.word}
            words = (*option.flags.split(", "), option.name)
            function = click.option(*words, is_flag=flag, type=None if flag else Typed(option.kind), **settings_of)(function)
        made = click.command(name, cls=cls, **settings)(function)
        made.options, made.examples = tuple(options), examples
        for argument in made.params:
            if isinstance(argument, click.Argument) and argument.type is click.STRING and argument.name in ARGUMENTS:
                argument.type = ARGUMENTS[argument.name]
        if group:
            group.add_command(made)
        return made

    return decorate


def load(model: Any, precision: str = "f32", mixture: bool = True) -> Model:
    """Load a model, on a device that is set up; without `mixture` its network alone."""
    from lmgen import api
    from lmgen.system import devices

    devices.prepare()
    return api.load(model, precision, mixture)


def together(processes: int, files: Iterable[str], way_out: str = "", ray: str | None = None) -> Callable[[], int]:
    """A function that makes this process one of those that carry out the command, and returns its number; it is called before
    JAX computes anything.

    A process that is to be watched runs the command in children instead, and ends with their exit code; `way_out` is the command
    by which lost work can be resumed, and `ray` the address of a cluster whose hosts carry the command out. Raises InputError
    where the processes cannot work together, or cannot read the files.
    """
    team = environments.here(1 if ray else processes, os.environ)
    if not team and not ray:
        return lambda: 0
    if "-" in files:
        raise InputError("several processes cannot read standard input: give a file")
    if not environments.watched():
        from lmgen.system.cluster import on_ray, watching

        raise SystemExit(
            watching.watch(team, sys.argv[1:], way_out).code if team else on_ray.run(processes, sys.argv[1:], str(ray))
        )
    assert team

    def join() -> int:
        from lmgen.models import facts
        from lmgen.system.cluster import group, watching

        watching.heed()
        group.join(team, facts.versions)
        return group.number()

    return join


def refuse_useless(kind: Kind, options: Iterable[Option], given: Mapping[str, Any]) -> None:
    """Raise UsageError for an option that was given and means nothing for this kind of model."""
    for option in options:
        if kind.lacks(option) and given.get(option.name, option.default) != option.default:
            raise click.UsageError(f"{option.flag} means nothing for {kind.noun}: leave it out")


def note_nothing(verb: str, file: str) -> None:
    """Note that a file, or standard input, has nothing to work on."""
    terminal.note(f"there is nothing to {verb} in {'standard input' if file == '-' else file}")


def note_unknown(symbols: Iterable[str]) -> None:
    """Note the symbols of a text that the model does not know, where there are some."""
    if listed := " ".join(map(repr, [*symbols][:10])):
        terminal.note(f"the model does not know {listed}: read as unknown")


@contextmanager
def output_file(path: Path | None, text: bool = False) -> Iterator[IO[Any]]:
    """A new file of bytes or of text, which appears whole or not at all; stdout if the path is None or -."""
    from lmgen.system import files

    if path is None or str(path) == "-":
        buffer: Any = io.StringIO() if text else io.BytesIO()
        yield buffer
        terminal.put_bytes(buffer.getvalue().encode() if text else buffer.getvalue())
        return
    with files.new(path, text=text) as file:
        yield file
    terminal.note(f"wrote {path}")
