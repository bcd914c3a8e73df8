"""The pages are true: their commands run, the README's Python runs, its map names every file."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import readme  # noqa: E402

TEXT = (ROOT / "README.md").read_text("utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("page", readme.PAGES, ids=lambda page: page.name)
def test_every_command_of_a_page_runs(page, tmp_path, monkeypatch):
    """In the order of the page, with a few steps in place of each budget; those fail of which it shows an error."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    found = readme.commands(page.read_text("utf-8"))
    assert len(found) >= 4
    for number, (command, fails) in enumerate(found):
        readme.run(re.sub(r"--budget \w+", f"--steps {10 + number}", command), tmp_path, fails)


@pytest.mark.slow
@pytest.mark.parametrize("page", ["README.md", "README.zh.md"])
def test_the_python_example_runs(page, monkeypatch, tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text("utf-8"), re.S)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "names.txt").write_text("Anna\nBerta\nCarla\n" * 20)
    (tmp_path / "example.py").write_text(code, "utf-8")
    subprocess.run([sys.executable, "example.py"], cwd=tmp_path, check=True, capture_output=True)


def test_the_map_names_every_file():
    rows = re.findall(r"\| `(lmgen/[a-z/]*)` \| .* \| (.*) \|", TEXT)
    named = {f"{folder}{name}.py" for folder, names in rows for name in re.findall(r"`(\w+)`", names)}
    files = {str(path.relative_to(ROOT)) for path in (ROOT / "lmgen").rglob("*.py") if path.name != "__init__.py"}
    assert named == files


def test_every_link_leads_somewhere():
    for page in ROOT.glob("*.md"):
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text("utf-8")):
            assert (ROOT / target).exists(), (page.name, target)


def test_the_readme_names_every_command():
    from lmgen.cli.main import cli

    assert all(f"lmgen {name}" in TEXT or f"`{name}`" in TEXT for name in cli.commands)
