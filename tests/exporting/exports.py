"""What tests of exports share: a model of every kind and cell with drawn weights, and exported files that run."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import numpy as np
import pytest

from lmgen.applied.labeller import Labeller
from lmgen.applied.translator import Translator
from lmgen.applied.writer import Writer
from lmgen.data import subword
from lmgen.data.vocab import Vocab
from lmgen.models.mixed import Mixed
from lmgen.models.ngram import Counts, NGramConfig, NGramModel, smoothed
from lmgen.models.provenance import Provenance
from lmgen.models.recurrent import Cloze, Recurrent
from lmgen.networks.labelling import LabelConfig
from lmgen.networks.translating import TranslatorConfig
from lmgen.networks.writing import WriterConfig
from lmgen.nn.model import NetworkConfig

LETTERS = Vocab("char", tuple("abcdefg -.éß漢🎈"))
WORDS = Vocab("word", ("from", "Oslo", "to", "New", "York", "now", "<i>", "1984", "Ünder-way"))
MARKED = Vocab("word-punct", (" the", " cat", ".", " (", ")", ",", " sat"), "<unk>")
BYTES = Vocab("subword", (*subword.ALPHABET, " t", "th", " th", " the", "é", "漢"))
BIO = ("B-city", "B-time", "I-city", "I-time", "O")
NETWORK = NetworkConfig(len(LETTERS), size=6, embedding=4)
KINDS: dict[str, tuple[type, Any, Vocab]] = {
    "language": (Recurrent, NETWORK, LETTERS),
    "cloze": (Cloze, replace(NETWORK, direction="both"), LETTERS),
    "generate": (Writer, WriterConfig(len(LETTERS), size=6, embedding=4, labels=("x", "y:z")), LETTERS),
    "tag": (Labeller, LabelConfig(len(WORDS), size=6, embedding=4, direction="both", tags=BIO, words=8, task="tag"), WORDS),
    "classify": (Labeller, LabelConfig(len(WORDS), size=6, embedding=4, labels=("p", "q", "r"), words=8, hashed=True), WORDS),
    "pairs": (Translator, TranslatorConfig(len(WORDS), size=6, embedding=4, targets=7, copy=True), WORDS),
}


def drawn(kind: str, seed: int = 0, vocab: Vocab | None = None, **changes: Any) -> Any:
    """A model of a kind, with drawn weights, whose configuration has these changes."""
    type_, config, own = KINDS[kind]
    vocab = vocab or own
    config = replace(config, vocab=len(vocab), **changes)
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(partial(type_.fresh, config), jax.random.key(0))
    params = jax.tree.map(lambda a: rng.normal(0, max(a.shape[0], 4) ** -0.5, a.shape).astype(np.float32), shapes)
    about = {"temperature": {"labels": 1.5, "tags": 0.7}} if issubclass(type_, Labeller) else {}
    return type_(config, params, vocab, "f32", Provenance(about=about))


def ngrams(order: int = 3, carry: bool = False) -> NGramModel:
    """An n-gram model of a drawn text."""
    stream = np.random.default_rng(1).integers(2, len(LETTERS), 400)
    stream[::9] = 0
    stream[-1] = 0
    levels = smoothed(Counts(stream, len(LETTERS), carry), order)
    return NGramModel(NGramConfig(len(LETTERS), order, carry), levels, LETTERS)


def mixture(carry: bool = False, **changes: Any) -> Mixed:
    """A drawn network mixed with n-grams."""
    return Mixed([drawn("language", carry=carry, **changes)], ngrams(3, carry), np.float32([0.2, 0.5, 0.9]), Provenance())


def folder_of(contents: Mapping[str, bytes], folder: Path) -> ModuleType:
    """The program of an exported directory as a module, with the other files beside it."""
    for name in contents.keys() - {"model.py"}:
        (folder / name).write_bytes(contents[name])
    return program(contents["model.py"], folder)


def program(content: bytes, folder: Path) -> ModuleType:
    """An exported program as a module."""
    path = folder / "exported.py"
    path.write_bytes(content)
    spec = importlib.util.spec_from_file_location("exported", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def in_node(page: bytes, expression: str, *arguments: Any) -> Any:
    """The value of a JavaScript function of the engine of a page, by node; `expression` names the arguments a, b, …"""
    if not (node := shutil.which("node")):
        pytest.skip("node is not installed")
    text = page.decode()
    data = {name: re.search(f'<script type="[^"]*" id="{name}">(.*?)</script>', text, re.S)[1] for name in ("model", "weights")}
    engine = re.search(r"<script>(.*?)</script>", text, re.S)[1]
    names = ", ".join("abcdef"[: len(arguments)])
    code = (
        f"globalThis.document = {{getElementById: (id) => ({{textContent: {json.dumps(data)}[id]}})}};\n{engine}\n"
        f"process.stdout.write(JSON.stringify((({names}) => {expression})({', '.join(map(json.dumps, arguments))})));"
    )
    run = subprocess.run([node, "-"], input=code.encode(), capture_output=True, check=False)
    assert run.returncode == 0, run.stderr.decode()[-2000:]
    return json.loads(run.stdout)
