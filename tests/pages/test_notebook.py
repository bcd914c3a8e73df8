"""What notebooks show: markup of its own, whatever the text; and a training as one piece of output."""

from __future__ import annotations

import html
import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest

import lmgen
from lmgen.applied.labeller import Prediction
from lmgen.applied.translator import PairScore, Translation
from lmgen.evaluation.scores import Score
from lmgen.generation.sampling import Sample
from lmgen.pages import notebook
from support import invented_words

BAD = "<script>x()</script>&\"'\x1b\u202e"
SMALL = {"size": 8, "embedding": 4, "batch": 2, "window": 8}
SHOWN = {
    "sample": Sample(BAD, 1.0, 3, True, True),
    "score": Score(BAD, 2.0, ((BAD, 1.0), ("", 1.0)), 0),
    "pair": PairScore(BAD, 2.0, ((BAD, 1.0), ("", 1.0)), 0),
    "labels": Prediction((BAD,), ((BAD, 0.9), ("b", 0.1)), (BAD,), ((BAD, 0.8),), text=BAD),
    "translation": Translation(BAD, BAD, 1.0, (BAD,), (BAD,), np.zeros((1, 1))),
    "facts": types.SimpleNamespace(_repr_html_=lambda: notebook.facts(BAD, {BAD: BAD})),
    "several": notebook.Several([Sample(BAD, 1.0, 3, True)]),
}


def text_of(markup: str) -> str:
    return html.unescape(re.sub("<[^>]*>", "", markup))


@pytest.mark.parametrize("name", SHOWN)
def test_a_text_is_text(name):
    markup = SHOWN[name]._repr_html_()
    assert "<script>x()</script>&" in text_of(markup)
    assert "<script" not in markup
    assert not {"\x1b", "\u202e"} & {*markup}
    tags = re.findall("</?([a-z]+)", markup)
    assert {*tags} <= {"div", "span", "small", "strong", "table", "thead", "tbody", "tr", "th", "td"}


def test_symbols_have_the_colours_of_the_style_sheet():
    markup = notebook.surprise([("a", 0.1), ("b", 100.0)])
    assert re.findall('background: ([^;"]*)', markup) == ["transparent", "color-mix(in srgb, #e2603a 80%, transparent)"]
    assert notebook.surprise([("a", 1.0)] * 6000).count("<span") == notebook.MOST


def test_what_a_model_gives_shows_itself(model_path):
    model = lmgen.load(model_path)
    for shown in (model, model.sample(2, seed=1), model.score("bada"), model.explain("bada"), model.compare("bada", "bado")):
        markup = shown._repr_html_()
        assert markup.startswith("<div")
        assert markup.count("<") == markup.count(">")
    drawn = model.sample(2, seed=1)
    assert isinstance(drawn, list)
    assert drawn == [*model.samples(2, seed=1)]
    assert all(one.text in text_of(drawn._repr_html_()) for one in drawn)
    assert "lstm" in text_of(model._repr_html_())


def test_curves_are_lines_through_their_points():
    markup = notebook.curves([(0, 4.0), (10, 2.0)], [(10, 3.0), (20, 1.0)], "a & b")
    lines = [[tuple(map(float, point.split(","))) for point in line.split()] for line in re.findall('points="([^"]*)"', markup)]
    (a, b), (c, d) = lines
    assert a[0] < b[0] == c[0] < d[0]  # steps go to the right
    assert a[1] < c[1] < b[1] < d[1]  # and nats upwards
    assert 'aria-label="a &amp; b"' in markup
    assert notebook.curves([(0, 1.0)], [], "one point is no curve") == ""


# ---- a training --------------------------------------------------------------------------------------------------------


@pytest.fixture
def output(monkeypatch) -> list[list[str]]:
    """What a notebook shows: for each display, what it was in turn."""
    shown: list[list[str]] = []

    class Handle:
        def __init__(self, own: list[str]):
            self.own = own

        def update(self, value):
            self.own.append(value._repr_html_())

    def display(value, display_id):
        assert display_id
        shown.append([value._repr_html_()])
        return Handle(shown[-1])

    shell = types.SimpleNamespace(kernel=object())
    modules = {"IPython": types.ModuleType("IPython"), "IPython.display": types.ModuleType("IPython.display")}
    modules["IPython"].get_ipython = lambda: shell
    modules["IPython.display"].display = display
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return shown


def test_a_training_in_a_notebook_replaces_one_output(output, tmp_path, capfd):
    words = invented_words(300)
    lmgen.train(words, output=tmp_path / "m", progress=True, steps=150, **SMALL)
    (own,) = output
    assert len(own) >= 3
    assert "the training begins" in own[0]
    assert "step150" in text_of(own[-1])
    assert "100%" in own[-1]
    assert "<svg" in own[-1]
    assert "step" not in capfd.readouterr().err


def test_without_progress_or_outside_of_a_notebook_nothing_is_shown(output, tmp_path, monkeypatch):
    words = invented_words(100)
    lmgen.train(words, output=tmp_path / "quiet", steps=2, **SMALL)
    sys.modules["IPython"].get_ipython = lambda: types.SimpleNamespace()  # IPython on a terminal
    lmgen.train(words, output=tmp_path / "terminal", progress=True, steps=2, **SMALL)
    monkeypatch.delitem(sys.modules, "IPython")
    lmgen.train(words, output=tmp_path / "python", progress=True, steps=2, **SMALL)
    assert output == []
    assert "IPython" not in sys.modules
    assert Path(tmp_path / "python").is_dir()
