"""A training on a corpus in shards is that on its text, to the bit: in one go, resumed, after damage, by two processes."""

from __future__ import annotations

import gc
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import lmgen as python
import support
from lmgen.data.reading import Text
from lmgen.data.sharded import building
from lmgen.data.sharded.stores import ShardError

SIZES = {"size": 12, "embedding": 6, "batch": 4, "window": 8, "learning_rate": 0.01, "dropout": 0.1, "steps": 130}


@pytest.fixture(params=[False, True], ids=["lines", "carry"])
def carry(request):
    """A text and its corpus in shards, in this folder; whether it is running text."""
    Path("text.txt").write_text("".join(f"{word}\n" for word in support.invented_words(1500)))
    building.build(Path("corpus"), Text([Path("text.txt")], keep_blank=request.param), None, "char", request.param, 300)
    return request.param


def outcome(folder: str) -> tuple[dict[str, bytes], list[dict]]:
    """The bytes of the weights and of the snapshot of a training, and its metrics but for the time."""
    files = {"model": Path(folder, "model.safetensors"), "snapshot": max(Path(folder, "train").glob("*.safetensors"))}
    arrays = {f"{kind}/{name}": a.tobytes() for kind, file in files.items() for name, a in load_file(file).items()}
    lines = map(json.loads, Path(folder, "metrics.jsonl").read_text().splitlines())
    return arrays, [{name: line[name] for name in ("step", "train_nats", "valid_nats") if name in line} for line in lines]


def test_a_training_on_shards_is_that_on_the_text_to_the_bit(carry):
    python.train("text.txt", output="one", carry=carry, **SIZES)
    python.train("corpus", output="many", **SIZES)
    assert outcome("many") == outcome("one")


@pytest.mark.parametrize("second", ["corpus", "text.txt"])
def test_a_stopped_training_goes_on_to_the_bit_with_the_shards_or_the_text(carry, second):
    python.train("corpus", output="whole", **SIZES)
    python.train("corpus", output="parts", progress=lambda report: report.step < 60, **SIZES)
    python.train(second, resume="parts")
    assert outcome("parts") == outcome("whole")


@pytest.mark.parametrize("carry", [True], indirect=True)
def test_a_training_whose_shard_is_damaged_is_saved_and_goes_on_to_the_bit(carry):
    sizes = {**SIZES, "mixture": False}  # which reads all shards before the training begins
    python.train("corpus", output="whole", **sizes)
    shard = Path("corpus/train-000003.ids")  # which the first column reads at about step 110
    content = shard.read_bytes()

    def damage(report):
        if report.step == 20:
            shard.write_bytes(content[:-1])

    with pytest.raises(ShardError, match=r"train-000003.ids is damaged .*; then go on with lmgen train --resume parts"):
        python.train("corpus", output="parts", progress=damage, **sizes)
    shard.write_bytes(content)
    python.train(resume="parts")
    assert outcome("parts") == outcome("whole")


def test_a_training_that_cannot_begin_leaves_nothing(carry):
    for shard in Path("corpus").glob("train-*.ids"):
        shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(ShardError, match=r"train-0000\d\d.ids is damaged"):
        python.train("corpus", output="parts", **SIZES)
    assert not Path("parts").exists()


def test_another_corpus_is_not_what_a_training_goes_on_with(carry):
    python.train("corpus", output="model", progress=lambda report: report.step < 5, **SIZES)
    gc.collect()  # Windows removes no file that is mapped
    shutil.rmtree("corpus")
    with pytest.raises(Exception, match="missing"):
        python.train(resume="model")
    building.build(Path("other"), Text([Path("text.txt")], keep_blank=carry), None, "char", carry, 300, vocab_size=9)
    with pytest.raises(Exception, match="another vocabulary"):
        python.train("other", resume="model")
    Path("text.txt").write_text(Path("text.txt").read_text()[:-20])
    building.build(Path("corpus"), Text([Path("text.txt")], keep_blank=carry), None, "char", carry, 300)
    with pytest.raises(Exception, match=r"has changed|another (split|vocabulary)"):
        python.train(resume="model")


def test_models_that_need_all_ids_and_measures_that_need_the_text(carry, lmgen):
    python.train("text.txt", output="one", cell="ngram", carry=carry)
    python.train("corpus", output="many", cell="ngram")
    one, many = load_file("one/model.safetensors"), load_file("many/model.safetensors")
    assert {name: a.tobytes() for name, a in one.items()} == {name: a.tobytes() for name, a in many.items()}
    measured = [lmgen("eval", name, "--json", "--no-baselines") for name in ("one", "many")]
    assert measured[0][0] == measured[1][0] == 0
    found = [json.loads(out) for _, out, _ in measured]
    assert found[0]["nats"] == found[1]["nats"]
    code, out, _ = lmgen("eval", "many")
    assert code == 0
    assert "holds ids and no text" in out.replace("\n", " ")


@pytest.mark.posix
@pytest.mark.slow
def test_two_processes_read_of_shards_what_they_read_of_the_text(carry):
    words = [word for name, value in SIZES.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    for corpus, name in (("text.txt", "one"), ("corpus", "many")):
        own = ["--carry"] * (carry and corpus == "text.txt")
        environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(support.ROOT)}
        process = support.started("train", corpus, "-o", name, *words, *own, "--processes", "2", "--quiet", env=environment)
        assert process.wait(timeout=300) == 0
    (one, lines), (many, others) = outcome("one"), outcome("many")
    assert lines == others
    assert one == many
    np.testing.assert_array_equal(*(load_file(f"{name}/known.safetensors")["known"] for name in ("one", "many")))
