"""What tests of several packages share: words, texts, small options, commands here, as processes and on a terminal, costs."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import pytest

from lmgen.cli import main
from lmgen.data.reading import Text

ROOT = Path(__file__).resolve().parents[1]
SMALL = ["--size", "12", "--embedding", "6", "--batch", "4", "--window", "8", "--learning-rate", "0.01"]


def invented_words(count: int, seed: int = 0) -> list[str]:
    """Distinct words of a tiny language: syllables of a consonant and a vowel."""
    draw = random.Random(seed)
    words: dict[str, None] = {}
    while len(words) < count:
        words["".join(draw.choice("bdgklmnrst") + draw.choice("aeiou") for _ in range(draw.randint(1, 4)))] = None
    return list(words)


def text(content: str | bytes, sequence: str = "line", name: str = "corpus.txt", **options) -> Text:
    """A text in a file of the test's folder."""
    Path(name).write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    return Text([Path(name)], sequence, **options)


def lines(sequences: Iterable[object]) -> str:
    """Each sequence as a line."""
    return "".join(f"{sequence}\n" for sequence in sequences)


def call(*words: str | Path) -> int:
    """Run the command line in this process; returns its exit code."""
    with mock.patch.object(sys, "argv", ["lmgen", *map(str, words)]), pytest.raises(SystemExit) as end:
        main.main()
    return end.value.code


def started(*words: str | Path, **options) -> subprocess.Popen:
    """The command line as a process."""
    return subprocess.Popen([sys.executable, "-m", "lmgen", *map(str, words)], **options)


def on_a_terminal(*words: str | Path, columns: int = 60, code: int = 0, **environment: str) -> str:
    """What a command writes on a terminal of some columns."""
    master, slave = pytest.importorskip("pty").openpty()
    variables = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(columns), **environment}
    process = started(*words, stdin=slave, stdout=slave, stderr=slave, env=variables)
    os.close(slave)
    seen = b""
    while True:
        try:
            block = os.read(master, 65536)
        except OSError:
            break
        if not block:
            break
        seen += block
    os.close(master)
    assert process.wait() == code, seen
    return seen.decode()


def operations(program: Callable, *arrays: Any) -> float:
    """The floating-point operations of a compiled program, as JAX counts them: the body of a loop counts once."""
    return jax.jit(program).lower(*arrays).compile().cost_analysis()["flops"]


def scratch(program: Callable, *arrays: Any) -> int:
    """The bytes that a compiled program takes beside its arguments and results."""
    return jax.jit(program).lower(*arrays).compile().memory_analysis().temp_size_in_bytes
