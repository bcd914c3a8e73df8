"""The notebook runs from the first cell to the last."""

from __future__ import annotations

import pytest

from support import ROOT


@pytest.mark.posix
def test_the_notebook_runs(tmp_path, monkeypatch):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(ROOT / "docs" / "tour.ipynb", 4)
    for cell in notebook.cells:
        cell.source = cell.source.replace("budget=30", "steps=30, size=16")
    done = nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": tmp_path}}).execute()
    shown = [output.data for cell in done.cells if cell.cell_type == "code" for output in cell.outputs if "data" in output]
    assert sum("text/html" in data for data in shown) >= 4
