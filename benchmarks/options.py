"""Write docs/options.md, the page of all commands and options, from the tables of lmgen/options/."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click

from lmgen.cli.main import cli
from lmgen.cli.options import Command
from lmgen.options import commands, table
from lmgen.options.kinds import LARGEST
from lmgen.options.table import Option

PAGE = Path(__file__).resolve().parent.parent / "docs" / "options.md"
HEAD = """# Commands and options

`lmgen COMMAND --help` prints the same; `python benchmarks/options.py` writes this page from the tables in `lmgen/options/`.
In Python, `lmgen.train` and a model's `sample` and `samples` take the options with a keyword. Integers are at most 2,147,483,647.
"""
KEYWORDS = {"lmgen train": table.TRAIN, "lmgen sample": commands.DRAWING}


def named(group: click.Group, before: str) -> Iterator[tuple[str, Command]]:
    """Every command with its full name."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from named(command, f"{before} {name}")
        else:
            assert isinstance(command, Command)
            yield f"{before} {name}", command


def section(name: str, command: Command) -> Iterator[str]:
    """The section of a command: its purpose, its usage, its options and its examples."""
    yield f"\n## {name}\n"
    for paragraph in (command.help or "").split("\n\n"):
        yield f"{' '.join(paragraph.split())}\n"
    yield "```console"
    yield f"{command.get_usage(click.Context(command, info_name=name)).removeprefix('Usage: ')}"
    yield from (f"$ {example}" for example in command.examples)
    yield "```"
    if command.options:
        keywords = KEYWORDS.get(name, ())
        titles = ["Option", "Python keyword", "Type", "Default", "Meaning"]
        rows = [[*titles], ["---"] * len(titles), *(row(option, option in keywords) for option in command.options)]
        yield ""
        for cells in rows:
            yield f"| {' | '.join(cells if keywords else [cells[0], *cells[2:]])} |"


def row(option: Option, keyword: bool) -> list[str]:
    """The cells of an option."""
    bounds = option.kind.bounds.removesuffix(f", {LARGEST:,} at most")
    default = "required" if option.required else option.default_in_words
    return [
        ", ".join(f"`{flag}`" for flag in re.split(", |/", option.flags)),
        f"`{option.name}`" if keyword else "",
        f"{option.kind.word}: {bounds}" if bounds else option.kind.word,
        f"`{default}`" if option.default is not None and default else default,
        option.help.replace("<", "&lt;"),
    ]


def page() -> str:
    return HEAD + "\n".join(line for name, command in named(cli, "lmgen") for line in section(name, command)) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
