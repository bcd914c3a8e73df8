"""Commands with options that nobody would give on purpose, and how they end."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import click
from directories import models
from drawing import ENCODINGS, contents, folder
from hypothesis import strategies as st

from lmgen.cli import main
from lmgen.options import kinds
from support import call

WHOLE = ["1", "2", "3", "7", "0", "-1", "x", "", "1e3", "nan", "2147483648", "9" * 400, "٣", "1_0", " 2"]
NUMBERS = ["0", "0.5", "1", "2", "1e-9", "-1", "nan", "inf", "x", "", "1e308", "1e400", "1e-320"]
NAMES = [
    "net",
    "grams",
    "cloze",
    "running",
    "words",
    "tagger",
    "classes",
    "writer",
    "checkpoints/net",
    "",
    ".",
    "/dev/null",
    "no\x1bne",
    "text.txt",
    "a" * 300,
]
TEXTS = [
    "text.txt",
    "text.txt",
    "other.txt",
    "-",
    "empty.txt",
    "bad.bin",
    "zip.zip",
    "folder",
    "missing",
    "/dev/zero",
    "",
]
TEXTS += ["tags.conll", "classes.tsv", "classes.tsv", "grams.arpa", "packed.lmz", "cities", "link", "\udcff"]
WORDS = ["", "a", "the cat", "the ___ s_t", "_", "<unk>", "é\x1b", "\n", "ж" * 50, "-", "--", "\udcff"]
OUTPUTS = [
    "out",
    "checkpoints/net",
    "folder",
    "text.txt",
    "/dev/null",
    "/dev/null/x",
    "-",
    "",
    ".",
    "a" * 300,
    "new/er",
    "\x1b",
]

# What an option takes, where its type does not say; what would take long is left out, and shown to be refused elsewhere.
SPECIAL = {
    "epochs": ["0.1", "1", "0", "nan", "1e7"],
    "budget": ["0.1s", "0", "soon", "1e9", "-1", "", "٣"],
    "speed": [],
    "baselines": None,
    "cell": ["lstm", "gru", "elman", "ngram", "lstmm", ""],
    "order": ["1", "2", "0", "33", "x"],
    "direction": ["forward", "both", "x"],
    "encoding": ENCODINGS,
    "samples_encoding": ENCODINGS,
    "prompt": WORDS,
    "blank": ["_", "a", "", "__", "\\", "é", "["],
    "unk_token": ["<unk>", "", "a", " ", "\n", "(", "\udcff"],
    "output": OUTPUTS,
    "resume": NAMES,
    "from_": NAMES,
    "against": NAMES,
    "vectors": ["vectors.txt", "vectors.txt", "text.txt", "missing", "folder", "empty.txt", "-", "/dev/zero", ""],
    "label": ["good", "bad", "good:0.7,bad:0.3", "good:-1", "x", "", ":", "good:nan", ","],
    "separator": [",", "", "|", "\t", "ж"],
    "plot": ["c.png", "c.xyz", "folder", ""],
    "with": NAMES,
    "model": NAMES,
    "names": ["lstm", "gru", "ngram", "x", ""],
    "name": ["cities", "names", "x", "../x", ""],
    "file": TEXTS,
    "texts": WORDS,
    "width": WHOLE,
}
ALWAYS = {  # what keeps a command short, unless an option that is drawn says otherwise
    "train": ["--steps", "2", "--size", "4", "--embedding", "4", "--batch", "2", "--window", "4", "--precision", "f32"],
    "sample": ["--max-length", "20", "--count", "2"],
    "cells": ["--no-speed"],
}


def commands(group: click.Group = main.cli, before: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command with its words."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*before, name))
        else:
            yield (*before, name), command


def _values(param: click.Parameter) -> list[str] | None:
    """What is tried for a parameter; None for a flag."""
    if param.name in SPECIAL:
        return SPECIAL[param.name]
    if isinstance(param, click.Option) and (param.is_flag or param.secondary_opts):
        return None
    if isinstance(param.type, click.Choice):
        return [*param.type.choices, "x", ""]
    kind = getattr(param.type, "kind", None)
    if isinstance(kind, kinds.Choice):
        return [*kind.names, "x", ""]
    if isinstance(kind, kinds.Whole):
        return WHOLE
    if isinstance(kind, kinds.Bounded):
        return NUMBERS
    return TEXTS


@st.composite
def _invocation(draw: st.DrawFn, words: tuple[str, ...], command: click.Command) -> list[str]:
    """A call of a command: its arguments, and up to five of its options with likely and unlikely values."""
    said: list[str] = []
    given_options = [p for p in command.params if isinstance(p, click.Option)]
    for param in draw(st.lists(st.sampled_from(given_options), max_size=5, unique_by=id)) if given_options else []:
        values = _values(param)
        name = draw(st.sampled_from([*param.opts, *param.secondary_opts]))
        if values is None:
            said.append(name)
        elif values:
            said += [name, draw(st.sampled_from(values))]
    if command.name == "train" and {"--steps", "--epochs", "--budget", "--resume"} & set(said):
        always = ALWAYS["train"][2:] if "--resume" not in said else []
    else:
        always = ALWAYS.get(command.name or "", [])
    pairs = list(zip(always[::2], always[1::2], strict=True)) if len(always) > 1 else [tuple(always)]
    for pair in pairs:
        said += [] if pair and pair[0] in said else pair
    likely = draw(st.integers(0, 3))  # mostly all arguments, of a kind that may work
    for param in command.params:
        if isinstance(param, click.Argument):
            values = _values(param) or [""]
            some = values[:2] if likely and len(values) > 2 else values
            most = 2 if param.nargs == -1 else 1
            chosen = draw(st.lists(st.sampled_from(some), min_size=min(1, likely), max_size=most))
            said += [word if not word.startswith("-") or word == "-" else f"./{word}" for word in chosen]
    return [*words, *said]


invocations = st.sampled_from(list(commands())).flatmap(lambda pair: st.tuples(_invocation(*pair), contents))


def _no_server() -> Any:
    """What would serve until it is interrupted ends at once."""
    return mock.patch("lmgen.serving.run.serve") if importlib.util.find_spec("uvicorn") else contextlib.nullcontext()


def run_command(drawn: tuple[list[str], bytes]) -> int:
    """Run a command in a folder of models and texts; the only outcomes are the exit codes, with a sentence and no traceback."""
    words, stdin = drawn
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", errors="backslashreplace") for _ in range(2))
    with folder() as here:
        shutil.copytree(models(), here, dirs_exist_ok=True)
        Path("other.txt").write_text("dog\ncat\n" * 9)
        Path("empty.txt").touch()
        Path("vectors.txt").write_text("the 1 2\ncat 3 4\n")
        Path("bad.bin").write_bytes(b"a\xff\n")
        Path("zip.zip").write_bytes(b"PK\x03\x04")
        Path("folder").mkdir()
        Path("link").symlink_to("link")
        given = io.TextIOWrapper(io.BytesIO(stdin))
        with mock.patch.multiple(sys, stdin=given, stdout=out, stderr=err), _no_server():
            code = call(*words)
        out.flush(), err.flush()
        told = err.buffer.getvalue().decode(errors="replace")
    assert code in (0, 1, 2, 3, 4), (code, told)
    assert "Traceback" not in told, told
    assert code == 0 or told, words
    return code
