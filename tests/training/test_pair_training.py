"""Trainings on pairs are resumed to the bit."""

from __future__ import annotations

from pathlib import Path

import pytest
from exact import advance, everything

from lmgen.models.provenance import TextSettings
from lmgen.training import run
from support import invented_words

SMALL = {"size": 8, "embedding": 6, "batch": 8, "window": 16, "learning_rate": 1e-2, "dropout": 0.3}


@pytest.fixture
def path(tmp_path) -> Path:
    """Names, and the same backwards."""
    path = tmp_path / "pairs.tsv"
    path.write_text("".join(f"{word}\t{word[::-1]}\n" for word in invented_words(700)))
    return path


@pytest.mark.parametrize(
    "options",
    [
        {"copy": True, "smoothing": 0.1, "tie": True},
        {"attention": False, "cell": "gru", "layers": 2, "unit": "subword", "vocab_size": 280},
        {"sampled": 5, "smoothing": 0.1, "tie": True},
    ],
    ids=["copying", "subwords", "among few"],
)
def test_resume_is_exact_to_the_bit(tmp_path, path, options):
    """With dropout, over the end of an epoch, with validations."""
    text, options = TextSettings((str(path),), form="tsv", task="translate"), SMALL | options
    begun = [run.new(tmp_path / name, text, steps=120, **options) for name in ("once", "twice")]
    assert begun[0].data.valid
    assert begun[0].training.batches.per_epoch < 110
    advance(begun[0])
    advance(begun[1], 37)
    resumed, complaints = run.resume(tmp_path / "twice")
    assert not complaints
    advance(resumed)
    assert everything(tmp_path / "once") == everything(tmp_path / "twice")
