"""The plugin of the command llm: the same text as lmgen sample."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import lmgen
from support import ROOT

llm = pytest.importorskip("llm")
sys.path.insert(0, str(ROOT / "extras" / "llm-lmgen"))


@pytest.fixture
def plugin(monkeypatch, model_path):
    import llm_lmgen

    monkeypatch.setenv(llm_lmgen.FOLDERS, str(model_path.parent))
    return llm_lmgen


@pytest.fixture
def model(plugin, model_path):
    found = []
    plugin.register_models(found.append)
    return next(one for one in found if one.model_id == f"lmgen/{model_path.name}")


def test_a_prompt_is_continued_as_by_sample(model, model_path):
    response = model.prompt("B", seed=3, temperature=0.8)
    (sample,) = lmgen.load(model_path).sample(1, prompt="B", seed=3, temperature=0.8)
    assert response.text() == sample.text
    assert response.response_json["nats"] == sample.nats


def test_a_mistake_is_a_sentence(model):
    with pytest.raises(llm.ModelError, match="temperature"):
        model.prompt("B", temperature=-1.0).text()


def test_without_models_there_are_none(plugin, monkeypatch, tmp_path):
    monkeypatch.setenv(plugin.FOLDERS, str(tmp_path))
    found = []
    plugin.register_models(found.append)
    assert found == []


def test_the_plugin_is_where_its_project_says():
    project = (ROOT / "extras" / "llm-lmgen" / "pyproject.toml").read_text("utf-8")
    assert 'lmgen = "llm_lmgen"' in project
    assert Path(ROOT, "extras", "llm-lmgen", "llm_lmgen.py").is_file()
