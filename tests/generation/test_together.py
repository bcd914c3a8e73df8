"""Texts written side by side are those written alone, whatever the model, and whatever comes and goes beside them."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import islice, product

import jax
import numpy as np
import pytest

from lmgen.data.vocab import Vocab
from lmgen.errors import CheckpointError
from lmgen.generation.sampling import Settings, samples
from lmgen.generation.together import Text, Together
from lmgen.models.ngram import Counts, NGramConfig, NGramModel, smoothed
from lmgen.models.recurrent import Recurrent
from lmgen.nn.model import NetworkConfig, init

LETTERS = Vocab("char", tuple("abcdefghijk"))
NETWORKS = {
    "kernels": {},
    "kernels, running text": {"cell": "gru", "layers": 2, "carry": True},
    "loop": {"cell": "elman", "carry": True},
    "attention": {"cell": "attention", "context": 16, "heads": 2},
}
SETTINGS = [
    Settings(max_length=70),
    Settings(max_length=33, temperature=0.7, top_k=4, top_p=0.8, min_p=0.05),
    Settings(max_length=1, unknown=True),
    Settings(max_length=64, typical=0.7),
    Settings(max_length=50, repetition_penalty=4.0, temperature=2.0),
]


def network(**changes) -> Recurrent:
    config = NetworkConfig(**{"vocab": 13, "size": 16, "embedding": 16} | changes)
    params = jax.tree.map(lambda w: 4 * w, init(config, jax.random.key(0)))
    return Recurrent(config, params, LETTERS)


def grams(order: int, carry: bool) -> NGramModel:
    stream = np.concatenate([[0], np.random.default_rng(0).integers(0, 13, 500), [0]])
    return NGramModel(NGramConfig(13, order, carry), smoothed(Counts(stream, 13, carry), order), LETTERS)


MODELS = {
    **{name: lambda changes=changes: network(**changes) for name, changes in NETWORKS.items()},
    "n-grams": lambda: grams(3, True),
    "1-grams": lambda: grams(1, False),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_text_is_the_same_alone_and_beside_others(name):
    """Texts of all settings, prompts and seeds begin at other times and take turns in an order that chance decides."""
    lm, draw = MODELS[name](), random.Random(0)
    lines = 3 if lm.carry else 1
    together, made, waiting = Together(lm), [], []
    asked = product(SETTINGS, (1, 7 << 40), ("", "abc", "dk" * 20))
    for number, (settings, seed, prompt) in enumerate(asked):
        ids = lm.vocab.encode(prompt).astype(np.int32)
        made.append(((settings, seed, prompt, number % 3), Text(settings, seed, number % 3, ids, lines)))
    coming = [text for _, text in made]
    draw.shuffle(coming)
    while coming or waiting:
        waiting += [coming.pop() for _ in range(min(len(coming), draw.randint(0, 9)))]
        if draw.random() < 0.5:  # else the texts of a call are often those of the one before
            draw.shuffle(waiting)
        for by_kernels in (True, False):
            some = [text for text in waiting if text.by_kernels == by_kernels][: together.most(by_kernels)]
            if some:
                together.write(some)
        waiting = [text for text in waiting if not text.done]
    for (settings, seed, prompt, number), text in made:
        drawn = samples(lm, replace(settings, lines=lines), seed, prompt, wanted=number + 1)
        alone = next(islice(drawn, number, None))
        assert lm.vocab.written([*text.prompt, *text.ids]) == alone.text
        assert (len(text.ids), not text.left) == (alone.symbols, alone.ended)


def test_numbers_that_are_not_finite_are_an_error():
    lm = network()
    broken = Recurrent(lm.config, jax.tree.map(lambda w: w * np.nan, lm.params), LETTERS)
    with pytest.raises(CheckpointError, match="not finite"):
        Together(broken).write([Text(Settings(), 0, 0, np.zeros(0, np.int32), 1)])
