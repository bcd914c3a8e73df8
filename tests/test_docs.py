"""The Python of the pages in docs/ runs as it stands, but for shorter trainings."""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
from pathlib import Path

import pytest

import lmgen
from support import ROOT


def blocks(page: str, section: str = "") -> list[str]:
    """The Python of a page, or of one of its sections."""
    text = (ROOT / "docs" / page).read_text("utf-8")
    if section:
        text = re.split(rf"^## {section}$", text, flags=re.M)[1].split("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", text, re.S)


def run(code: str) -> str:
    """What a program prints, in this folder."""
    Path("example.py").write_text(code, "utf-8")
    done = subprocess.run([sys.executable, "example.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_the_page_on_python_runs():
    code = "\n".join(blocks("python.md"))
    assert code.count("budget=20") == 2
    printed = run(code.replace("budget=20", "steps=40"))
    assert "did you mean size?" in printed


def test_the_example_of_an_onnx_file_runs(model_path):
    pytest.importorskip("onnxruntime")
    (code,) = blocks("export.md", "onnx")
    model = lmgen.load(model_path, "f32")
    model.export("cities.onnx")
    printed = run(code + "\nprint(float(nats.sum()))").splitlines()
    assert float(printed[-1]) == pytest.approx(model.score("Berlin").nats, abs=1e-3)


@pytest.mark.oracle
def test_the_example_of_pytorch_runs(model_path):
    pytest.importorskip("torch")
    path = lmgen.load(model_path).export(format="torch")
    (code,) = blocks("export.md", "torch")
    run(f"import sys; sys.path.insert(0, {str(path)!r})\n{code}\nassert logits.shape[:2] == (1, 1)")


def test_every_link_leads_somewhere():
    for page in (ROOT / "docs").glob("*.md"):
        for target in re.findall(r"\]\((?!http|#)([^)#]+)\)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), (page.name, target)


def test_the_page_on_installing_has_every_extra_for_users():
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg", "utf-8")
    extras = {*settings["options.extras_require"]} - {"test", "check", "bench", "browser", "docs", "moto"}
    rows = re.findall(r"^\| (`.*?`) \|", (ROOT / "docs" / "install.md").read_text("utf-8").split("## Extras")[1], re.M)
    assert {name.strip("` ") for row in rows for name in row.split(",")} == extras
