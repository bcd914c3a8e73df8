"""Trainings on labelled text: resumed to the bit, started from vectors and from another model, with frozen parameters."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from exact import advance, everything, snapshot

import lmgen
from lmgen.data.vocab import EOS, UNK
from lmgen.defaults.config import TrainingConfig
from lmgen.defaults.language import memory_needed
from lmgen.errors import InputError
from lmgen.models.provenance import TextSettings
from lmgen.networks.labelling import LabelConfig
from lmgen.system import trees
from lmgen.training import run
from support import invented_words

SMALL = {"size": 8, "embedding": 6, "batch": 4, "window": 16, "learning_rate": 1e-2}
WORDS = invented_words(60)
FORMS = {"classify": "tsv", "generate": "tsv", "tag": "jsonl", "tag-classify": "jsonl", "translate": "tsv"}


def lines(task: str, several: bool = False) -> list[str]:
    """700 sentences, so that some are held out: a tag by the length of a word, a label by the first letter of the first."""
    random, found = np.random.default_rng(0), []
    for _ in range(700):
        words = random.choice(WORDS, random.integers(1, 7)).tolist()
        labels = [word[0] for word in words[: random.integers(0, 3) if several else 1]]
        tags = ["BI"[len(word) > 4] if len(word) > 2 else "O" for word in words]
        if task == "translate":
            found.append(f"{' '.join(words)}\t{' '.join(words[::-1])}")
            continue
        record = {"tokens": words, "tags": tags} | ({"label": labels} if "classify" in task else {})
        found.append(json.dumps(record) if FORMS[task] == "jsonl" else f"{','.join(labels)}\t{' '.join(words)}")
    return found


def settings(tmp_path: Path, task: str, several: bool = False) -> TextSettings:
    path = tmp_path / f"{task}.txt"
    path.write_text("".join(f"{line}\n" for line in lines(task, several)))
    return TextSettings((str(path),), form=FORMS[task], task=task)


@pytest.fixture
def vectors(tmp_path) -> Path:
    """Those of half of the words, and of some that the text lacks."""
    random, path = np.random.default_rng(1), tmp_path / "vectors.txt"
    words = [*WORDS[::2], "another", "word"]
    path.write_text("".join(f"{word} {' '.join(map(str, random.normal(size=5).round(3)))}\n" for word in words))
    return path


@pytest.fixture(scope="module")
def language_model(tmp_path_factory) -> Path:
    """A language model that knows two thirds of the words, and two others."""
    folder = tmp_path_factory.mktemp("language")
    text = folder / "text.txt"
    text.write_text("".join(f"{a} {b}\n" for a in WORDS[:40:2] for b in WORDS[1:40:2]) + "further elsewhere\n" * 9)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        options = {"size": 7, "embedding": 5, "layers": 2, "batch": 4, "window": 8, "tie": False}
        lmgen.train(text, output=folder / "lm", task="language", unit="word", steps=20, **options)
    return folder / "lm"


def given(network: dict, vectors: Path, language_model: Path) -> dict:
    """The options of a case, with the paths that it names."""
    paths = {"vectors": str(vectors), "from_": language_model}
    options = {name: paths.get(name, value) for name, value in network.items()}
    return ({"batch": 4, "window": 16, "learning_rate": 1e-2} if "from_" in options else SMALL) | options


CASES = {
    "tag, three layers": ("tag", {"input": "symbol", "layers": 3}),
    "classify": ("classify", {"input": "symbol", "pool": "mean"}),
    "classify, balanced": ("classify", {"balance": True}),
    "several labels": ("classify", {"several": True}),
    "vectors": ("tag", {"vectors": True}),
    "vectors, tuned": ("classify", {"vectors": True, "tune": True, "min_count": 40}),
    "from": ("tag", {"from_": True}),
    "from, frozen": ("classify", {"from_": True, "tune": False}),
    "generate by several labels": ("generate", {"several": True, "unit": "word"}),
    "translate": ("translate", {"unit": "word"}),
    "translate, copying, tied": ("translate", {"unit": "word", "copy": True, "tie": True}),
}


@pytest.mark.parametrize(("task", "network"), CASES.values(), ids=CASES)
def test_resume_is_exact_to_the_bit(tmp_path, vectors, language_model, task, network):
    """50 steps at once = 19 steps, a stop, a resume, the rest: with dropout, over the end of an epoch, with validations."""
    text = settings(tmp_path, task, "several" in network)
    options = given({name: value for name, value in network.items() if name != "several"}, vectors, language_model)
    options |= {"dropout": 0.3, "steps": 50}
    whole = advance(run.new(tmp_path / "whole", text, **options))
    advance(run.new(tmp_path / "parts", text, **options), 19)
    resumed, complaints = run.resume(tmp_path / "parts")
    assert (resumed.progress.step, complaints) == (19, [])
    assert resumed.data.train.symbols == whole.data.train.symbols
    advance(resumed)
    assert everything(tmp_path / "parts") == everything(tmp_path / "whole")
    assert any("valid_nats" in line for line in everything(tmp_path / "whole")["lines"])


@pytest.mark.parametrize(
    ("network", "frozen"),
    [
        ({}, set()),
        ({"vectors": True}, {"vectors"}),
        ({"vectors": True, "tune": True}, set()),
        ({"from_": True}, set()),
        ({"from_": True, "tune": True}, set()),
        ({"from_": True, "tune": False}, {"embedding", "layers"}),
        ({"from_": True, "tune": False, "layer_norm": True}, None),
    ],
)
def test_training_changes_all_parameters_but_the_frozen_ones(tmp_path, vectors, language_model, network, frozen):
    """To the bit, over steps with weight decay; the optimiser keeps no moments of them."""
    text, options = settings(tmp_path, "tag-classify"), given(network, vectors, language_model)
    if frozen is None:  # a network of another shape than the model that it would start from
        with pytest.raises(InputError, match=r"layers of --from .* do not fit: leave out --vectors"):
            run.new(tmp_path / "m", text, **options, steps=1)
        return
    training = run.new(tmp_path / "m", text, **options, weight_decay=1.0, steps=12)
    before = {name: a.copy() for name, a in trees.flatten(training.training.state.params).items()}
    advance(training)
    after = trees.flatten(training.training.state.params)
    same = {name for name in before if np.array_equal(before[name], after[name])}
    assert same == {name for name in before if name.split("/")[0] in frozen}
    moments = {name for name in snapshot(tmp_path / "m") if name.startswith("optimiser/")}
    assert not {name for name in moments for part in frozen if re.search(rf"/{part}\b", name) and "/back/" not in name}


def test_a_model_starts_from_embedding_and_layers_of_another(tmp_path, language_model):
    """Symbols are matched by their spelling; a symbol that the other lacks has its vector of UNK, and those that only the other
    has seen are symbols of this network."""
    training = run.new(tmp_path / "m", settings(tmp_path, "tag"), from_=language_model, steps=1)
    params, other = training.training.state.params, lmgen.load(language_model).lm
    config = training.network
    assert (config.cell, config.size, config.layers, config.embedding) == ("lstm", 7, 2, 5)
    ids = training.data.vocab.ids
    shared = ids.keys() & other.vocab.ids.keys()
    assert shared == set(other.vocab.symbols)
    assert shared - {*WORDS} == {"further", "elsewhere"}
    assert len(ids) > len(shared)
    assert training.network.words == len(training.data.vocab)
    theirs = np.asarray(other.params["embedding"])
    for symbol, id in ids.items():
        np.testing.assert_array_equal(params["embedding"][id], theirs[other.vocab.ids.get(symbol, UNK)])
    np.testing.assert_array_equal(params["embedding"][EOS], theirs[EOS])
    for ours, layer in zip(params["layers"], other.params["layers"], strict=True):
        for name in layer:
            np.testing.assert_array_equal(ours[name], layer[name])


def test_text_is_read_in_the_unit_of_the_model_to_start_from(tmp_path, language_model):
    """Else its symbols would not be found; another unit has none of them, and is refused."""
    text = settings(tmp_path, "classify")
    assert run.new(tmp_path / "m", text, from_=language_model, steps=1).data.vocab.unit == "word"
    with pytest.raises(InputError, match="knows no symbol of this text"):
        run.new(tmp_path / "n", text, from_=language_model, unit="word-punct", steps=1)


@pytest.mark.parametrize("task", ["classify", "tag"])
def test_only_a_language_model_can_be_started_from(tmp_path, task):
    text = settings(tmp_path, task)
    advance(run.new(tmp_path / "labels", text, **SMALL, steps=1))
    with pytest.raises(InputError, match="a labelling network and cannot run in a compiled loop: give --from a language model"):
        run.new(tmp_path / "m", text, from_=tmp_path / "labels", steps=1)


def test_vectors_are_those_of_the_file(tmp_path, vectors):
    """Of each word of the text and of the file; a word without one has zeros."""
    training = run.new(tmp_path / "m", settings(tmp_path, "tag"), **SMALL, vectors=str(vectors), steps=1)
    found, ids = np.asarray(training.training.state.params["vectors"]), training.data.vocab.ids
    written = {line.split()[0]: [*map(float, line.split()[1:])] for line in vectors.read_text().splitlines()}
    assert {"another", "word"} <= ids.keys()
    for word, id in ids.items():
        np.testing.assert_allclose(found[id], written.get(word, [0] * 5), atol=1e-6)


def test_words_with_a_vector_alone_take_no_memory_of_training():
    """Nor do they take rows of a head: a million vectors ask for no more memory than none."""
    shape = {"size": 64, "embedding": 32, "direction": "both", "labels": ("x", "y"), "words": 5_000}
    small, large = (LabelConfig(vocab, vectors=10, **shape) for vocab in (5_000, 1_000_000))
    config = TrainingConfig(batch=4, window=16, learning_rate=0.01, steps=1)
    assert memory_needed(small, config) == memory_needed(large, config) >= 16 * 5_000 * 32


def test_several_labels_are_not_balanced(tmp_path):
    with pytest.raises(InputError, match="--balance weighs the one label of a text"):
        run.new(tmp_path / "m", settings(tmp_path, "classify", several=True), **SMALL, balance=True, steps=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tune": True}, "--tune is about what --vectors or --from gives: give one of them, or leave it out"),
        ({"tune": False}, "--tune is about what --vectors or --from gives"),
        ({"pool": "last"}, "--pool is about the labels of texts, and here are only tags: leave it out"),
    ],
)
def test_options_that_mean_nothing_are_refused(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        run.new(tmp_path / "m", settings(tmp_path, "tag"), **SMALL, **options, steps=1)


def test_a_validation_text_has_the_form_of_the_training_text(tmp_path):
    """In another it would be misread: a word and its tag are no label and its text."""
    (tmp_path / "a.tsv").write_text("".join(f"good\ta film {k}\nbad\ta play {k}\n" for k in range(20)))
    (tmp_path / "b.conll").write_text("to\tO\nRome\tB-x\n\n" * 20)
    with pytest.raises(InputError, match=r"b\.conll has 2 .* in column 2 .*, but the training text is in the form tsv: give a"):
        lmgen.train(tmp_path / "a.tsv", valid=tmp_path / "b.conll", output=tmp_path / "m", steps=1)
    assert not (tmp_path / "m").exists()


# ---- by the function train ---------------------------------------------------------------------------------------------


def test_the_data_decide_the_task_and_its_options_reach_the_network(tmp_path, vectors):
    """Without --task the options of labels are known for what they are."""
    settings(tmp_path, "tag-classify")
    options = {"pool": "mean", "input": "symbol", "vectors": vectors, "tune": True, "balance": True}
    lm = lmgen.train(tmp_path / "tag-classify.txt", output=tmp_path / "m", **SMALL, **options, steps=2).lm
    config = lm.config
    assert (config.task, config.direction, config.tags) == ("tag-classify", "both", ("B", "I", "O"))
    assert (config.pool, config.hashed, config.vectors, config.frozen, config.balanced) == ("mean", False, 5, (), True)


@pytest.mark.parametrize(("task", "option"), [("language", "balance"), ("generate", "pool"), ("classify", "tie")])
def test_options_of_another_task_are_refused(tmp_path, task, option):
    settings(tmp_path, "classify")
    value = {"pool": "mean"}.get(option, True)
    with pytest.raises(InputError, match=f"has no {option}: leave that out"):
        lmgen.train(tmp_path / "classify.txt", output=tmp_path / "m", task=task, steps=1, **{option: value})
    assert not (tmp_path / "m").exists()


def test_a_training_goes_on_after_a_stop_by_its_function(tmp_path):
    settings(tmp_path, "classify")
    options = SMALL | {"output": tmp_path / "m", "steps": 30}
    lmgen.train(tmp_path / "classify.txt", progress=lambda report: report.step < 10, **options)
    lmgen.train(resume=tmp_path / "m")
    lmgen.train(tmp_path / "classify.txt", **options | {"output": tmp_path / "whole"})
    assert everything(tmp_path / "m")["arrays"] == everything(tmp_path / "whole")["arrays"]
