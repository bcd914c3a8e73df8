"""docs/reliability.md is true as far as a program can see: every test that it names is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROW = re.compile(r"\| (\d+) \| (.+?) \| (.+?) \| (.+?) \|")
ROWS = [ROW.fullmatch(line) for line in (ROOT / "docs" / "reliability.md").read_text("utf-8").splitlines()]
PROMISES = {int(row[1]): re.findall(r"`([^`]+)`", row[4]) for row in ROWS if row}


def names_in(path: Path) -> set[str]:
    """The names of the tests of a file."""
    tree = ast.parse(path.read_text("utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def test_every_row_is_a_promise_with_a_test():
    lines = (ROOT / "docs" / "reliability.md").read_text("utf-8").splitlines()
    table = [line for line in lines if line.startswith("| ") and not line.startswith("| number")]
    assert len(table) == len(PROMISES)
    assert [*PROMISES] == [*range(1, 46)]
    assert all(PROMISES.values())


@pytest.mark.parametrize("number", PROMISES)
def test_the_named_tests_are_there(number):
    for name in PROMISES[number]:
        file, _, test = name.partition("::")
        assert (ROOT / file).is_file(), name
        assert test in names_in(ROOT / file), name
