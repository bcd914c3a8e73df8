"""Help pages: every command's ends with two examples, which are commands that there are."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from pathlib import Path

import click
import pytest

import lmgen as library
from lmgen.cli import main
from support import ROOT, invented_words

sys.path.insert(0, str(ROOT / "benchmarks"))

import readme

import options

COMMANDS = dict(options.named(main.cli, "lmgen"))
GROUPS = {"lmgen": main.cli} | {f"lmgen {name}": main.cli.commands[name] for name in ("corpus", "arpa")}
EXAMPLES = [example for command in (COMMANDS | GROUPS).values() for example in command.examples]


@pytest.mark.parametrize("columns", [60, 100])
@pytest.mark.parametrize("name", [*COMMANDS, *GROUPS])
def test_a_help_page_ends_with_two_examples_of_its_command(lmgen, monkeypatch, name, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    code, page, _ = lmgen(*name.split()[1:], "--help")
    examples = page.partition("\nExamples:\n")[2].splitlines()
    assert code == 0
    assert len(examples) == 2
    assert all(example.startswith("  ") and name in example for example in examples)
    assert max(map(len, page.splitlines())) <= max(columns, max(map(len, examples)))


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_parses(example):
    """Its command, its options and their values exist."""
    for part in example.split("|"):
        words = shlex.split(re.sub(r"[<>] \S+", "", part))
        if words[0] != "lmgen":
            continue
        command: click.Command = main.cli
        context, words = None, words[1:]
        while isinstance(command, click.Group):
            context = click.Context(command, parent=context)
            _, command, words = command.resolve_command(context, words)
        command.make_context(command.name, words, parent=context)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The files and the models that the examples name."""
    home = tmp_path_factory.mktemp("examples")
    lines = [f"{word} {word[::-1]}" for word in invented_words(400)]
    for name in ("names", "notes", "train", "valid", "test", "samples", "cities"):
        (home / f"{name}.txt").write_text("\n".join(lines) + "\n")
    (home / "lines.txt").write_text("_a\n")
    small = {"steps": 3, "size": 8, "embedding": 4, "batch": 4, "window": 8}
    for name, how in (("cities", small), ("blanks", {**small, "direction": "both"}), ("trigrams", {"cell": "ngram", "order": 3})):
        library.train(home / "cities.txt", output=home / "checkpoints" / name, precision="f32", **how)
    library.train("names-by-language", output=home / "checkpoints" / "languages", precision="f32", steps=3, size=8)
    for name in ("cities-2", "names"):
        shutil.copytree(home / "checkpoints" / "cities", home / "checkpoints" / name)
    return home


# The command that an example needs first, and the file that it writes itself.
BEFORE = {
    "decompress cities notes.txt.lmz": ("lmgen compress cities notes.txt", "notes.txt"),
    "decompress names.txt.lmz": ("lmgen compress --online --level 1 names.txt", "names.txt"),
    "verify receipt": ("lmgen sample cities --receipt receipt.json", ""),
    "arpa read": ("lmgen arpa write trigrams -o trigrams.arpa", ""),
    "corpus write": ("lmgen list", "cities.txt"),
    "tune --resume": ("lmgen tune names.txt --steps 3 --trials 2 --force", ""),
}


@pytest.mark.slow
@pytest.mark.parametrize("example", [example for example in EXAMPLES if not example.startswith("lmgen serve")])  # which runs on
def test_an_example_runs(lmgen, folder, tmp_path, monkeypatch, example):
    monkeypatch.chdir(shutil.copytree(folder, tmp_path / "home"))
    short = re.sub(r"(train \w\S+)( --budget 1m)?", r"\1 --steps 3", example).replace("remove cities", "remove cities --yes")
    short = short.replace("--budget 2h", "--steps 3 --trials 2")
    for before, made in (made for words, made in BEFORE.items() if words in example):
        assert lmgen(*before.split()[1:])[0] == 0
        Path(made or "no file").unlink(missing_ok=True)
    if re.search("[|<>]", short):
        readme.run(short, Path(), fails=False)
    else:
        code, _, err = lmgen(*shlex.split(short)[1:])
        assert code == 0, err
