"""docs/networks.md is made by its program: parts, code, tables, links, figures and commands are those of today."""

from __future__ import annotations

import ast
import inspect
import re
import struct
import sys

import jax
import numpy as np
import pytest
from the_page import CODE, PARTS, ROOT, TEXT, examples, networks, σ

from lmgen.nn import cells
from lmgen.nn.cells import CELLS

# ---- the page ----------------------------------------------------------------------------------------------------------


def test_every_part_of_the_page_is_made_by_the_program():
    assert set(PARTS) - set(CODE) == set(networks.PARTS)
    marks = re.findall(r"<!-- ([\w -]+) -->", TEXT)
    assert marks == [mark for name in PARTS for mark in (name, f"end of {name}")]


@pytest.mark.parametrize("name", CODE)
def test_code_on_the_page_is_the_present_code(name):
    """But for the docstring, which stands above it; lines of equations are broken."""
    shown = name.removeprefix("code-")
    found = type(CELLS[shown]) if shown in CELLS else getattr(cells, shown)
    said, code = re.fullmatch(r"```text\n(.*?)\n```\n\n```python\n(.*)\n```", PARTS[name], re.S).groups()
    assert said.split() == inspect.getdoc(found).split()
    (ours,), (theirs,) = ast.parse(code).body, ast.parse(inspect.getsource(found)).body
    del theirs.body[0]
    assert ast.dump(ours) == ast.dump(theirs)
    assert PARTS[name] == networks.code(shown), "run: python benchmarks/networks.py"


@pytest.mark.parametrize("name", networks.EXAMPLES)
def test_tables_on_the_page_are_what_is_computed_now(name):
    assert PARTS[name] == networks.computed(name), "run: python benchmarks/networks.py"


def test_every_link_image_and_test_on_the_page_exists():
    headings = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in re.findall(r"^#+ (.*)", TEXT, re.M)}
    targets = re.findall(r"\]\((?!http)([^)]+)\)", TEXT)
    assert len(targets) > 20
    for target in targets:
        path, _, anchor = target.partition("#")
        assert (networks.PAGE.parent / path).exists(), target
        assert not anchor or path or anchor in headings, target
    tests = re.findall(r"\[(tests/\w+/\w+\.py)::(\w+)\]\(\.\./(tests/\w+/\w+\.py)\)", TEXT)
    assert len(tests) == TEXT.count("::test_") > 10
    for named, test, linked in tests:
        assert named == linked
        assert f"\ndef {test}(" in (ROOT / named).read_text("utf-8"), test


def test_figures_are_crisp_and_small():
    for name in re.findall(r"!\[.+\]\((.+\.png)\)", TEXT):
        content = (networks.PAGE.parent / name).read_bytes()
        width, height = struct.unpack(">II", content[16:24])
        assert content.startswith(b"\x89PNG")
        assert width >= 1600 > height
        assert len(content) < 80_000


def test_the_python_example_runs(capsys):
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", TEXT, re.S) if block.startswith("import"))
    exec(code, {})
    p = CELLS["gru"].init(jax.random.key(0), 3, 2)
    assert np.array_equal(p["b"], np.zeros(6))
    z, _, n = np.split(np.array([1.0, 0.0, -1.0]) @ np.asarray(p["W"]), 3)
    printed = [float(x) for x in capsys.readouterr().out.strip("[]\n").split()]
    assert printed == pytest.approx((σ(z) * np.tanh(n)).tolist(), rel=1e-5)


def test_the_commands_exist():
    from lmgen.cli.main import cli

    commands = re.findall(r"^\$ lmgen (\w+)", TEXT, re.M)
    assert {"train", "cells"} == set(commands) <= set(cli.commands)


def test_a_part_is_renewed_alone(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    before = "a\n<!-- gated -->\nold\n<!-- end of gated -->\nb\n<!-- reset -->\n<!-- end of reset -->\nc\n"
    page.write_text(before, "utf-8")
    monkeypatch.setattr(networks, "PAGE", page)
    monkeypatch.setattr(sys, "argv", ["networks.py", "reset"])
    networks.main()
    assert page.read_text("utf-8") == before.replace("<!-- end of reset", f"{examples.reset()}\n<!-- end of reset")
    monkeypatch.setattr(sys, "argv", ["networks.py", "clock"])
    with pytest.raises(SystemExit, match="no part clock: choose from gated, reset"):
        networks.main()
