"""Defaults: what is asked for stands, and what is not follows from the amount of text and of training."""

from dataclasses import fields
from types import SimpleNamespace

import numpy as np
import pytest

from lmgen.defaults import language
from lmgen.errors import InputError
from lmgen.nn import model
from lmgen.options import table


class Kinds(list):
    """As much of a vocabulary as a recipe looks at."""

    unit = "char"


def corpus(symbols, unit="char", kinds=90, length=40, valid=None):
    """What a recipe looks at: a text of so many symbols, of so many kinds, in lines of a length."""
    vocab = Kinds(range(kinds))
    vocab.unit = unit
    return SimpleNamespace(
        train=SimpleNamespace(
            symbols=symbols, sequences=symbols // length, predicted=lambda most: np.arange(min(symbols, 100_000)) % kinds
        ),
        valid=valid and SimpleNamespace(symbols=valid),
        vocab=vocab,
    )


def test_what_is_asked_for_stands():
    """Every setting that the command line has, at a value that no recipe chooses."""
    shape = {"cell": "gru", "size": 33, "layers": 2, "residual": True, "layer_norm": True, "direction": "both", "embedding": 7}
    shape |= {"skip": True}
    shape |= {"tie": True, "dropout": 0.55, "input_dropout": 0.11, "state_dropout": 0.12, "weight_dropout": 0.13}
    shape |= {"embedding_dropout": 0.14, "output_dropout": 0.15, "ar": 1.6, "tar": 1.7}
    train = {"batch": 3, "window": 9, "learning_rate": 0.03, "steps": 11, "weight_decay": 0.07, "clip": 0.4, "seed": 5}
    train |= {"beta1": 0.8, "beta2": 0.98, "sampled": 7}
    train |= {"precision": "f32", "patience": 2, "keep": "last", "mixture": False, "members": 2}
    for unit in ("char", "word"):
        chosen = language.choose(corpus(50_000, unit), False, shape | train)
        assert chosen == (shape, train)
    assert {*shape, *train, "epochs", "budget", "context", "heads", "rounds", "rank"} >= {
        *table.names("training", "end"),
        *(f.name for f in fields(model.NetworkConfig)),
    } - {"vocab", "carry", "hashed"}


def test_settings_of_attention_stand_and_are_chosen_where_they_are_missing():
    """Heads of 32 units, the embedding as large as the stream that it begins, and nothing around the blocks."""
    shape = language.choose(corpus(50_000), False, {"cell": "transformer", "size": 96, "steps": 5})[0]
    assert (shape["context"], shape["heads"], shape["layers"], shape["embedding"]) == (language.CONTEXT, 3, 4, 96)
    assert not shape["residual"]
    assert not shape["layer_norm"]
    wanted = {"cell": "attention", "context": 7, "heads": 2, "layers": 3, "residual": True, "layer_norm": True}
    assert wanted.items() <= language.choose(corpus(50_000, "word"), False, wanted)[0].items()
    recurrent = language.choose(corpus(50_000), False, {})[0]
    assert not recurrent.keys() & {"context", "heads"}


def test_settings_of_the_mogrifier_stand_and_are_refused_for_other_cells():
    shape = {"cell": "lstm-mogrifier", "rounds": 3, "rank": 8}
    assert shape.items() <= language.choose(corpus(50_000), False, shape)[0].items()
    with pytest.raises(InputError, match="--rank is a setting of gates in rounds, which lstm has not"):
        language.check({"rank": 8})
    with pytest.raises(InputError, match="--rounds is a setting of lstm-mogrifier, and the cell is gru"):
        language.choose(corpus(50_000), False, {"cell": "gru", "rounds": 3})


def test_only_on_a_gpu_dropout_of_the_state_is_slow(monkeypatch):
    assert not language.slow({"state_dropout": 0.1})
    monkeypatch.setattr(language.jax, "default_backend", lambda: "gpu")
    assert "one time step after the other" in language.slow({"state_dropout": 0.1, "cell": None})
    assert not language.slow({"state_dropout": 0.0})
    assert not language.slow({"state_dropout": 0.1, "cell": "elman"})


@pytest.mark.parametrize("name", ["context", "heads"])
def test_settings_of_attention_are_refused_for_other_cells(name):
    for cell in (None, "gru", "ngram"):
        with pytest.raises(InputError, match=f"--{name} is a setting of attention, which {cell or 'lstm'} has not"):
            language.check({"cell": cell, name: 4})
    language.check({"cell": "transformer", name: 4})


def test_heads_that_do_not_divide_the_size_are_refused():
    with pytest.raises(InputError, match="--size 100 cannot be divided into 3 heads: give another --heads or --size"):
        language.choose(corpus(50_000), False, {"cell": "attention", "size": 100, "heads": 3})


@pytest.mark.parametrize("unit", ["char", "word"])
def test_more_text_bears_a_larger_network_and_more_passes_want_more_dropout(unit):
    sizes = [language.choose(corpus(n, unit), True, {"epochs": 3.0})[0]["size"] for n in (10**4, 10**5, 10**6, 10**7)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]
    dropout = [language.choose(corpus(10**5, unit), True, {"epochs": float(n)})[0]["dropout"] for n in (1, 10, 30, 90)]
    assert dropout == sorted(set(dropout))


def test_how_long_a_training_takes_when_nobody_says():
    """Passes over the text, many over a small one and few over a large one; over a tiny one as many as it takes to learn it. A
    budget is used up, unless no validation could end it before."""

    def ends(symbols, valid=None, **wanted):
        train = language.choose(corpus(symbols, valid=valid), True, wanted)[1]
        return {name: train[name] for name in ("steps", "epochs", "budget") if name in train}

    epochs = [ends(n)["epochs"] for n in (10**5, 10**6, 10**8)]
    assert epochs == sorted(epochs, reverse=True)
    assert (epochs[0], epochs[-1]) == (language.PASSES, 3)
    assert ends(10**3) == ends(200) == {"steps": language.LEAST_STEPS}
    assert ends(10**6, 10**5, budget=60.0) == {"budget": 60.0}
    assert ends(10**6, budget=60.0) == {"budget": 60.0, "epochs": language.PASSES}
    assert ends(10**3, budget=60.0) == {"budget": 60.0, "steps": language.LEAST_STEPS}


def test_a_step_that_is_too_large_is_refused():
    with pytest.raises(InputError, match="smaller --batch or --window"):
        language.choose(corpus(10**6), True, {"batch": 10**5, "window": 10**5})
