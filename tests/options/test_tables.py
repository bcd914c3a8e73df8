"""Every option is declared once, and what follows from the declarations: the command line, the page, the keywords in Python."""

from __future__ import annotations

import sys

import click
import pytest

import lmgen as library
from lmgen.cli import main
from lmgen.errors import InputError
from lmgen.generation.sampling import Settings
from lmgen.options import commands, kinds, table
from support import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

import options

COMMANDS = dict(options.named(main.cli, "lmgen"))
DECLARED = [(name, option) for name, command in COMMANDS.items() for option in command.options]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_has_the_options_that_are_declared_for_it(name):
    params = [param for param in COMMANDS[name].params if isinstance(param, click.Option)]
    assert [param.name for param in params] == [option.name for option in COMMANDS[name].options]
    for param, option in zip(params, COMMANDS[name].options, strict=True):
        assert option.flag in param.opts
        assert param.help == option.described
        assert param.required == option.required


@pytest.mark.parametrize(("name", "option"), DECLARED, ids=[f"{name} {option.flag}" for name, option in DECLARED])
def test_a_declaration_is_whole(name, option):
    assert option.help.endswith(".")
    assert option.name.isidentifier() or option.name == "with"
    assert option.default is None or option.check(option.default) == option.default
    assert not option.chosen or option.default is None


def test_the_page_of_options_is_current():
    """If this fails: python benchmarks/options.py"""
    assert options.PAGE.read_text("utf-8") == options.page()


def test_sampling_settings_are_the_options_of_sample():
    assert [option.name for option in commands.SAMPLING] == [*Settings.__dataclass_fields__]
    for option in commands.SAMPLING:
        assert option.name == "lines" or getattr(Settings(), option.name) == option.default


@pytest.mark.parametrize(
    ("call", "meant"),
    [
        (lambda m: library.train("cities", step=3), "step: did you mean steps"),
        (lambda m: m.sample(temprature=3), "temprature: did you mean temperature"),
        (lambda m: m.samples(max_len=3), "max_len: did you mean max_length"),
        (lambda m: m.fill("_", blnk="_"), "blnk: did you mean blank"),
        (lambda m: m.evaluate(encodin="utf-8"), "encodin: did you mean encoding"),
        (lambda m: m.judge(batch_size=3), "batch_size: did you mean batch"),
        (lambda m: m.source("cities", error="strict"), "error: did you mean errors"),
        (lambda m: library.load("m", precison="f32"), "precison: did you mean precision"),
    ],
)
def test_an_unknown_keyword_is_an_error_with_the_one_that_was_meant(model_path, call, meant):
    with pytest.raises(InputError, match=f"there is no option {meant}"):
        call(library.load(model_path))


def test_kinds_state_their_bounds():
    assert kinds.Whole(0, 1_000_000).bounds == "0 or more, 1,000,000 at most"
    assert kinds.Bounded(0, 0.95, open_low=True).bounds == "more than 0, 0.95 at most"
    assert kinds.Bounded(0).bounds == "0 or more"
    assert kinds.Choice(("a", "b")).bounds == "a, b"
    assert kinds.Text().bounds == ""
    with pytest.raises(InputError, match=r"Invalid value for '--top-p': 0\.0 cannot be used: give more than 0, 1 at most"):
        table.check("top_p", kinds.Bounded(0, 1, open_low=True), 0)
