"""Small models of every cell and task with random weights, and texts for them."""

from __future__ import annotations

from functools import partial

import jax
import numpy as np

from lmgen.applied.labeller import Labeller
from lmgen.applied.translator import Translator
from lmgen.applied.writer import Writer
from lmgen.data.vocab import Vocab
from lmgen.models.recurrent import Cloze, Recurrent
from lmgen.networks.labelling import LabelConfig
from lmgen.networks.translating import TranslatorConfig
from lmgen.networks.writing import WriterConfig
from lmgen.nn.model import NetworkConfig

LETTERS, WORDS = Vocab("char", tuple("abcdefg")), Vocab("word", ("the", "of", "Ulm", "sea", "old"))
V = len(LETTERS)
LABELS = {"labels": ("x", "y"), "tags": ("A", "B", "C"), "direction": "both"}
TASKS = {
    "language": (Recurrent, NetworkConfig, {"residual": True, "layer_norm": True}),
    "cloze": (Cloze, NetworkConfig, {"direction": "both"}),
    "generate": (Writer, WriterConfig, {"labels": ("x", "y")}),
    "tag-classify": (Labeller, LabelConfig, {"task": "tag-classify", "words": V, **LABELS}),
    "translate": (Translator, TranslatorConfig, {"targets": V - 2, "copy": True}),
}


def model(task: str, cell: str = "lstm", vocab: Vocab = LETTERS, **settings):
    """A model of a task: two layers of 6 units, whose weights are normal with deviation 0.3."""
    kind, configuration, given = TASKS[task]
    sizes = {"vocab": len(vocab), "cell": cell, "size": 6, "layers": 2, "embedding": 5}
    config = configuration(**{**sizes, **given, **settings})
    shapes = jax.eval_shape(partial(kind.fresh, config), jax.random.key(0))
    random = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: jax.numpy.asarray(random.normal(0, 0.3, leaf.shape).astype(np.float32)), shapes)
    return kind(config, params, vocab)
