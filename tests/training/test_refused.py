"""Trainings that cannot be are refused in a sentence: networks and options that do not exist, no text, nothing to resume."""

from __future__ import annotations

import re

import numpy as np
import pytest

import lmgen
from lmgen.errors import CheckpointError, InputError
from lmgen.models.provenance import TextSettings
from lmgen.system import checkpoint
from lmgen.training import run


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"cell": "lstn"}, "there is no cell 'lstn': did you mean lstm?"),
        ({"direction": "back"}, "'back' is not one of forward, both"),
    ],
)
def test_networks_that_do_not_exist_are_refused(tmp_path, words_file, wanted, message):
    with pytest.raises(InputError, match=re.escape(message)):
        lmgen.train(words_file, output=tmp_path / "m", steps=1, **wanted)
    assert not (tmp_path / "m").exists()


def test_options_that_do_not_exist_are_refused(tmp_path, words_file):
    with pytest.raises(InputError, match="there is no option stesp: did you mean steps"):
        run.new(tmp_path / "m", TextSettings((str(words_file),)), stesp=5)


def test_a_training_wants_a_text():
    with pytest.raises(InputError, match="there is no text to train on"):
        lmgen.train(steps=3)


def test_an_ngram_model_is_not_resumed_even_with_a_snapshot(tmp_path, words_file):
    """A directory that was put together by hand: a sentence, no assertion."""
    lmgen.train(words_file, output=tmp_path / "grams", cell="ngram", order=2)
    checkpoint.write_snapshot(tmp_path / "grams", 1, {"params/W": np.zeros(2, np.float32)}, {"progress": {"step": 1}})
    with pytest.raises(CheckpointError, match="nothing to resume"):
        run.resume(tmp_path / "grams")
