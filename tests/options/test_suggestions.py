"""What is said of a command or an option that there is not: what was meant, and nothing else where that is clear."""

from __future__ import annotations

import pytest

from lmgen.cli import main
from lmgen.options import suggestions
from support import SMALL


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("train x --lr 0.1", "--learning-rate"),
        ("train x --LR 0.1", "--learning-rate"),
        ("train x --hidden 9", "--size"),
        ("train x --hidden-size 9", "--size"),
        ("train x --hidden_size=9", "--size"),
        ("train x --num-layers 2", "--layers"),
        ("train x --epoch 2", "--epochs"),
        ("train x --batch-size 2", "--batch"),
        ("train x --bptt 2", "--window"),
        ("train x --drop_out 0.1", "--dropout"),
        ("train x --wdrop 0.5", "--weight-dropout"),
        ("train x --dropouti 0.5", "--input-dropout"),
        ("train x --min_count 2", "--min-count"),
        ("train x --Size 2", "--size"),
        ("sample --temp 1", "--temperature"),
        ("sample --temprature 1", "--temperature"),
        ("sample --num 1", "--count"),
        ("generate", "lmgen sample"),
        ("write names", "lmgen sample"),
        ("classify names", "lmgen predict"),
        ("evaluate names", "lmgen eval"),
        ("Train x", "lmgen train"),
        ("trian x", "lmgen train"),
        ("version", "lmgen --version"),
        ("help", "lmgen --help"),
        ("corpus chekc x", "lmgen corpus check"),
    ],
)
def test_what_was_meant_is_said_alone(lmgen, words, meant):
    code, out, err = lmgen(*words.split())
    assert (code, out) == (2, "")
    assert f": did you mean {meant}? (see lmgen" in err
    assert len(err.splitlines()) == 1


def test_where_nothing_is_near_nothing_is_guessed(lmgen):
    for words in (("train", "x", "--xyzzy"), ("xyzzy",), ("fill", "--seed", "3")):
        code, _, err = lmgen(*words)
        assert code == 2
        assert "did you mean" not in err


def test_the_most_alike_comes_first():
    assert suggestions.closest("--layer-nrom", ["--layers", "--layer-norm", "--no-layer-norm"])[0] == "--layer-norm"
    assert suggestions.closest("--steps", ["--steps", "--epochs"]) == ["--steps"]


def test_every_word_of_the_field_leads_to_an_option_that_there_is():
    """And none of them is one already."""
    there = {name for command in main.cli.commands.values() for p in command.params for name in p.opts}
    assert {f"--{meant}" for meant in suggestions.OPTIONS.values()} <= there
    coming = {"list", "remove", "rename"}
    assert {*suggestions.COMMANDS.values()} <= {*main.cli.commands} | coming
    assert not {*suggestions.COMMANDS} & {*main.cli.commands}


def test_cells_may_be_named_in_capitals(lmgen, words_file):
    code, _, err = lmgen("train", words_file, "--cell", "GRU", "--steps", 2, *SMALL)
    assert code == 0
    assert "model: gru" in err
    assert lmgen("cells", "LSTM", "--no-speed")[1].splitlines()[2].startswith("lstm ")
