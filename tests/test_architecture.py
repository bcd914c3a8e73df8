"""docs/architecture.md is true: its picture shows the present imports, and the code that it names exists."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

import architecture  # noqa: E402

from test_layers import FOLDER, LAYERS  # noqa: E402

TEXT = (ROOT / "docs" / "architecture.md").read_text("utf-8")
NAMES = sorted({*re.findall(r"`([a-z]+\.\w+(?:\.\w+)*)`", TEXT)})


def members(body: list[ast.stmt]) -> dict[str, list[ast.stmt]]:
    """The names that statements define, each with what is defined inside it."""
    found: dict[str, list[ast.stmt]] = {}
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = node.body if isinstance(node, ast.ClassDef) else []
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id: [] for target in targets if isinstance(target, ast.Name)}
    return found


def test_the_picture_shows_the_present_imports():
    assert architecture.PICTURE.read_text("utf-8") == architecture.picture(), "run: python benchmarks/architecture.py"


@pytest.mark.parametrize("name", [name for name in NAMES if name.partition(".")[0] in LAYERS])
def test_code_that_the_page_names_exists(name):
    first, *inside = name.split(".")
    path = FOLDER / first if (FOLDER / first).is_dir() else FOLDER
    module = inside.pop(0) if path != FOLDER else first
    body = ast.parse((path / f"{module}.py").read_text("utf-8")).body
    for one in inside:
        body = members(body)[one]


def test_the_page_has_a_paragraph_for_each_package():
    named = re.findall(r"^\*\*`(\w+)`\*\*", TEXT, re.M)
    assert named == [row for row in LAYERS if row not in ("__main__", "_version")][: len(named)]
    assert {path.name for path in FOLDER.iterdir() if path.is_dir() and [*path.glob("*.py")]} <= set(named)
