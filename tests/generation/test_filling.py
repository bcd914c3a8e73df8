"""Blanks to fill: where they are, what cannot be filled, and which example and command a training shows."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from lmgen.data.vocab import Vocab
from lmgen.errors import InputError
from lmgen.generation import filling


@pytest.mark.parametrize(
    ("unit", "text", "blank", "symbols", "places"),
    [
        ("char", "em_a", "_", ["e", "m", None, "a"], [2]),
        ("char", "__a", "_", [None, None, "a"], [0, 1]),
        ("char", "a[?]b_", "[?]", ["a", None, "b", "_"], [1]),
        ("word", "the ___ sat on _", "_", ["the", None, "sat", "on", None], [1, 4]),
        ("word-only", "The ___, then.", "_", ["The", None, "then"], [1]),
        ("word-punct", "___ sat (_).", "_", [None, " sat", " (", None, ")", "."], [0, 3]),
        ("word-punct", "the ?? sat", "?", [" the", None, " sat"], [1]),
    ],
)
def test_where_the_blanks_are(unit, text, blank, symbols, places):
    """Each mark is one character; a run of marks is one word."""
    found, at = filling.blanks(Vocab(unit, ("a",)), text, blank)
    assert at == places
    assert [None if k in at else symbol for k, symbol in enumerate(found)] == symbols


@pytest.mark.parametrize(
    ("unit", "text", "blank", "message"),
    [
        ("char", "emma", "_", "no blank in 'emma'.*letter"),
        ("word", "the cat", "_", "no blank.*word"),
        ("word", "the ___.", "_", r"more in it.*spaces"),
        ("word-punct", "un___ed", "_", r"'un_ed'"),
        ("char", "emma", "", "no blank"),
    ],
)
def test_texts_that_cannot_be_filled(unit, text, blank, message):
    with pytest.raises(InputError, match=message):
        filling.blanks(Vocab(unit, ("a",)), text, blank)


@pytest.mark.parametrize(
    ("text", "unit", "example"),
    [
        ("San Marino", "char", "San Mar_no"),
        ("the cat's tail", "word", "the ___ tail"),
        ("去年今日此門中", "char", "去年今_此門中"),
        ("a " * 40 + "b", "char", "_" + " a" * 18),
        *((text, "char", None) for text in ("", " ", "-n 3", "a_b", "a\x1b[2Jb")),
    ],
)
def test_an_example_of_a_blank_comes_of_a_line(text, unit, example):
    assert filling.blanked(text, unit) == example
    if example:
        assert len(filling.blanks(Vocab(unit, ("a",)), example)[1]) == 1


@pytest.mark.parametrize("unit", ["char", "word"])
def test_the_command_after_a_training_can_be_typed(tmp_path, lmgen, unit):
    Path("words.txt").write_text("".join(f'{c}\'s {v} "cat" sat\n' for c in "bdfgklmnprst" for v in "aeiou"))
    net = ("--size", 8, "--embedding", 4, "--batch", 4, "--window", 8, "--steps", 3, "--direction", "both", "--unit", unit)
    code, _, err = lmgen("train", "words.txt", *net)
    assert code == 0
    command = shlex.split(err.splitlines()[-1])
    assert command[:3] == ["lmgen", "fill", "words"]
    code, out, _ = lmgen(*command[1:])
    assert code == 0
    assert len(out.splitlines()) == 5
