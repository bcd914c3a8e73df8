"""Every option of a training, from Python and from the command line: the same values, the same sentences, nothing left behind."""

from __future__ import annotations

import contextlib
import math
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import lmgen as library
from lmgen.cli import main
from lmgen.defaults.config import TrainingConfig
from lmgen.errors import InputError
from lmgen.nn import model
from lmgen.options import kinds, table
from lmgen.options.kinds import Bounded, Choice, Column, Duration, Flag, Name, Place, Source, Stored, Text, Whole

BY_NAME = {option.name: option for option in table.TRAIN}
HUGE = 10**5000
# By type: what is wrong from Python alone, and what is wrong as a Python value and as the same word of the command line.
WRONG = {
    Whole: (["20", 20.0, True, [], HUGE, math.nan, math.inf, object()], ["x", -1, 1 << 63, 1 << 70]),
    Bounded: (["0.5", True, [], None.__class__, HUGE, 1j], ["x", -0.5, math.nan, math.inf, -math.inf]),
    Duration: (
        [True, [], HUGE, math.nan, math.inf, 0, -1.0],
        ["soon", "", "0s", "-5", "1e3", "nan", "5m1h", "5 metres", "minutes", "1 2"],
    ),
    Choice: ([1, True, None.__class__, ["char"]], ["syllable", "", "CHAR", "x" * 999]),
    Flag: ([1, 0, "yes", [], math.nan], []),
    Text: ([1, True, b"a", []], []),
    Column: ([True, b"a", [], HUGE, 1.0, -1], ["", 0]),
    Name: ([1, True, b"a", []], []),
    Place: ([1, True, b"a", []], [""]),
    Stored: ([1, True, b"a", []], [""]),
    Source: ([], []),
}
FROM_PYTHON = [(o, v) for o in table.TRAIN for both in WRONG[type(o.kind)] for v in both]
FROM_BOTH = [(o, v) for o in table.TRAIN for v in WRONG[type(o.kind)][1]]


def refused(**wanted: object) -> str:
    """The sentence by which a training is refused; nothing may have been written."""
    before = sorted(Path().rglob("*"))
    with pytest.raises(InputError) as caught:
        library.train("cities", **wanted)
    assert sorted(Path().rglob("*")) == before
    return str(caught.value)


def ids(cases: list) -> list[str]:
    return [f"{option.name}-{kinds.quoted(value)[:20]}" for option, value in cases]


@pytest.mark.parametrize(("option", "value"), FROM_PYTHON, ids=ids(FROM_PYTHON))
def test_a_value_that_cannot_be_used_is_refused_in_one_sentence_before_anything_is_done(option, value):
    sentence = refused(**{option.name: value})
    assert sentence.startswith(f"Invalid value for '{option.flag}': ")
    assert len(sentence) < 250
    assert "\n" not in sentence


@pytest.mark.parametrize(("option", "value"), FROM_BOTH, ids=ids(FROM_BOTH))
def test_the_command_line_says_the_same(option, value):
    run = CliRunner().invoke(main.cli, ["train", "cities", f"{option.flag}={value}"], standalone_mode=False)
    assert run.exception.format_message().replace("'-o' / ", "") == refused(**{option.name: value})


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("--steps 2 --epochs 2", {"steps": 2, "epochs": 2.0}),
        ("--budget 5 --epochs 2", {"budget": 5, "epochs": 2.0}),
        ("--order 3", {"order": 3}),
        ("--cell ngram --size 3", {"cell": "ngram", "size": 3}),
        ("--cell ngram --no-tie", {"cell": "ngram", "tie": False}),
        ("--cell lstmm", {"cell": "lstmm"}),
        ("--resume m --size 9", {"resume": "m", "size": 9}),
        ("--resume m --unit char", {"resume": "m", "unit": "char"}),
        ("--resume m --no-attention", {"resume": "m", "attention": False}),
        ("--encoding klingon", {"encoding": "klingon"}),
    ],
)
def test_what_contradicts_itself_or_is_not_there_gets_the_same_sentence(lmgen, words, wanted):
    code, out, err = lmgen("train", "cities", *words.split())
    assert (code, out) == (2, "")
    assert err == f"lmgen: {refused(**wanted)}\n"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("temprature", "there is no option temprature"),
        ("stesp", "there is no option stesp: did you mean steps?"),
        ("learningrate", "there is no option learningrate: did you mean learning_rate?"),
        ("warmup", "there is no option warmup"),
        ("validate_every", "there is no option validate_every"),
        ("a\x1b\n", r"there is no option a\x1b\n: the options are glob, valid"),
    ],
)
def test_an_unknown_option_is_an_error(name, message):
    assert refused(**{name: 3}).startswith(message)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=3) | st.complex_numbers(),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=300, deadline=None, database=None)
@given(st.dictionaries(st.sampled_from([*BY_NAME]), anything, max_size=4), st.booleans())
def test_whatever_is_given_is_taken_or_refused_in_a_sentence(wanted, files):
    """And what is taken is taken again as it came out."""
    with contextlib.suppress(InputError):
        found = table.checked(wanted, files)
        assert all(option.check(found[name]) == found[name] for name, option in BY_NAME.items() if name != "valid")


def test_cells_may_be_written_in_capitals():
    assert table.checked({"cell": "LSTM"}, True)["cell"] == "lstm"


def test_numbers_of_other_types_are_numbers():
    """NumPy's, and what else is a number in Python; a budget may be in seconds or in words."""
    given = {"batch": np.int64(8), "dropout": np.float32(0.25), "epochs": 3, "weight_decay": Fraction(1, 2), "clip": None}
    found = table.checked(given, True)
    assert [(found[name], type(found[name])) for name in given] == [
        *((8, int), (0.25, float), (3.0, float), (0.5, float), (None, type(None)))
    ]
    budgets = {90: 90.0, "90": 90.0, "90s": 90.0, "1.5s": 1.5, "5m": 300.0, "1h30m": 5400.0, np.float64(7): 7.0}
    budgets |= {"5 minutes": 300.0, "1 hour 30 min": 5400.0, "1.5 Seconds": 1.5, "2 h": 7200.0}
    budgets |= {"1.5m": 90.0, "2.5 hours": 9000.0, "1h30": 5400.0, "1 h 30": 5400.0, "5m30": 330.0, "1h5m30": 3930.0}
    assert [kinds.Duration().check(value) for value in budgets] == [*budgets.values()]


def test_none_is_as_if_the_option_were_not_given():
    nothing = dict.fromkeys(BY_NAME)
    assert table.checked(nothing, True) == table.checked({}, True)
    assert table.checked({}, True) == {option.name: option.default for option in table.TRAIN}


@pytest.mark.parametrize("option", table.TRAIN, ids=[*BY_NAME])
def test_an_option_is_on_the_command_line_with_its_help_and_default(option):
    (param,) = [p for p in main.cli.commands["train"].params if p.name == option.name]
    assert option.flag in param.opts
    assert param.default == option.default
    assert param.help == option.described


def test_defaults_that_the_help_names_are_those_of_the_training():
    for name in ("weight_decay", "clip", "patience"):
        assert float(BY_NAME[name].chosen) == getattr(TrainingConfig, name)
    assert BY_NAME["cell"].chosen == model.NetworkConfig.cell


def test_every_option_belongs_to_something_that_takes_it():
    """What is given is used: by the text, the directory, the vocabulary, the network, the training or its end."""
    fields = {*model.NetworkConfig.__dataclass_fields__, *TrainingConfig.__dataclass_fields__}
    assert {*table.names("network")} <= fields
    assert {part for option in table.TRAIN for part in option.of.split()} == {
        *("text", "directory", "vocabulary", "network", "plain", "labels", "letters", "pairs", "graphs", "n-grams"),
        *("mixture", "members", "training", "end"),
    }


def test_the_table_imports_neither_numpy_nor_click():
    program = "import sys, lmgen.options.table; assert not {'numpy', 'jax', 'click'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
