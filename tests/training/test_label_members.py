"""Several networks in one model that labels: their probabilities are averaged where validation gains."""

from __future__ import annotations

import json
from dataclasses import replace

import jax
import numpy as np
import pytest

import lmgen as library
from lmgen.applied import averaged
from lmgen.errors import InputError
from lmgen.exporting import table as exporting
from lmgen.models.provenance import TextSettings
from lmgen.system import arrayfile, checkpoint
from lmgen.training import run
from lmgen.training.finishing import finish
from support import invented_words

SMALL = {"size": 8, "embedding": 6, "batch": 8, "window": 16, "learning_rate": 1e-2}
WORDS = invented_words(30)
TASKS = {"classify": "tsv", "several": "tsv", "tag-classify": "jsonl", "tree": "brackets", "graph": "jsonl"}


def line(task: str, words: list[str]) -> str:
    """A text whose labels are the first letters of its words, and whose tags are their lengths."""
    first, lengths = words[0][0], [str(min(4, len(word))) for word in words]
    if task == "tree":
        return f"({lengths[0]} " + " ".join(f"({n} {w})" for w, n in zip(words[:2], lengths, strict=False)) + ")"
    if task == "graph":
        return json.dumps({"nodes": words, "edges": [[0, len(words) - 1]], "label": first, "tags": lengths})
    if task == "tag-classify":
        return json.dumps({"tokens": words, "tags": lengths, "label": first})
    return f"{','.join({word[0] for word in words[:2]}) if task == 'several' else first}\t{' '.join(words)}"


def text_of(tmp_path, task: str):
    random, path = np.random.default_rng(0), tmp_path / f"text.{'jsonl' if TASKS[task] == 'jsonl' else 'txt'}"
    path.write_text("".join(f"{line(task, random.choice(WORDS, random.integers(2, 5)).tolist())}\n" for _ in range(700)))
    return path


def arrays_of(path) -> dict[str, bytes]:
    files = {path / "model.safetensors": "model", path / "train" / "network-1.safetensors": "model"}
    files |= {path / checkpoint.MIXTURE: "mixture"} if (path / checkpoint.MIXTURE).exists() else {}
    return {
        f"{file.name}/{n}": a.tobytes() for file, kind in files.items() for n, a in arrayfile.read_arrays(file, kind)[0].items()
    }


def joined(path, scale: float = 0.1):
    """A model of two networks, made of a trained one and of that with other numbers; and the two."""
    first = library.load(path).lm.network
    key = iter(jax.random.split(jax.random.key(0), 100))
    second = replace(first, params=jax.tree.map(lambda a: a + scale * jax.random.normal(next(key), a.shape), first.params))
    return first.joined([first, second], first.provenance), first, second


# ---- the mean ----------------------------------------------------------------------------------------------------------


def test_averaged_logits_are_those_of_the_mean_probability():
    z = np.random.default_rng(0).normal(0, 3, (3, 7, 4)).astype(np.float32)
    p = np.exp(np.float64(z))
    mean = (p / p.sum(-1, keepdims=True)).mean(0)
    found = np.exp(averaged.of_one(z))
    np.testing.assert_allclose(found, mean, rtol=1e-12)
    of_each = (1 / (1 + np.exp(-np.float64(z)))).mean(0)
    np.testing.assert_allclose(1 / (1 + np.exp(-averaged.of_several(z))), of_each, rtol=1e-12)
    sure = np.float32([[1e4, -1e4], [-1e4, 1e4]])
    np.testing.assert_allclose(averaged.of_one(sure), np.log([0.5, 0.5]))
    np.testing.assert_allclose(averaged.of_several(sure), [0, 0], atol=1e-9)


@pytest.mark.parametrize("task", TASKS)
def test_every_model_that_labels_averages(tmp_path, task):
    text = text_of(tmp_path, task)
    task_of = {"several": "classify"}.get(task, task)
    options = {"steps": 2, **({} if task == "graph" else {"embedding": 6}), "size": 8, "batch": 8, "task": task_of}
    model = library.train(text, output=tmp_path / "model", members=2, **options)
    both, first, second = joined(tmp_path / "model")
    data = TextSettings((str(text),), form=model.lm.provenance.text.form, task=task_of).load().valid
    for own, one, other in zip(*(lm.logits(data) for lm in (both, first, second)), strict=True):
        parts = [own], [one], [other]
        if hasattr(own, "labels"):
            mean = averaged.of_several if task == "several" else averaged.of_one
            np.testing.assert_array_equal(own.labels, mean([one.labels, other.labels]))
            parts = [[each.tags] if each.tags is not None else [] for each in (own, one, other)]
        for a, b, c in zip(*parts, strict=True):
            np.testing.assert_array_equal(a, averaged.of_one([b, c]))


# ---- training ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def vectors(tmp_path):
    path = tmp_path / "vectors.txt"
    path.write_text("".join(f"{word} {k} {-k} 1\n" for k, word in enumerate(WORDS[::2])))
    return path


@pytest.mark.parametrize(("tune", "stop"), [(True, 4), (True, 10), (False, 12)])
def test_networks_resume_to_the_bit(tmp_path, vectors, tune, stop):
    """Also the one that begins after the vectors it begins with are gone."""
    text, how = text_of(tmp_path, "classify"), {"steps": 10, "members": 2, "tune": tune, **SMALL}
    library.train(text, output=tmp_path / "whole", vectors=vectors, **how)
    library.train(text, output=tmp_path / "parts", vectors=vectors, progress=lambda report: report.step < stop, **how)
    vectors.unlink()
    library.train(resume=tmp_path / "parts")
    assert arrays_of(tmp_path / "parts") == arrays_of(tmp_path / "whole")


def test_every_network_begins_with_the_vectors(tmp_path, vectors):
    how = {"steps": 3, "members": 2, "vectors": vectors, **SMALL}
    library.train(text_of(tmp_path, "classify"), output=tmp_path / "model", **how)
    first, second = checkpoint.read_model(tmp_path / "model")[0], checkpoint.read_member(tmp_path / "model", 1)
    np.testing.assert_array_equal(first["vectors"], second["vectors"])
    assert np.abs(first["vectors"]).sum() > 0
    assert (first["embedding"] != second["embedding"]).any()


def test_without_what_networks_begin_with_nothing_is_resumed(tmp_path, lmgen):
    stop = lambda report: report.step < 4  # noqa: E731
    library.train(text_of(tmp_path, "classify"), output=tmp_path / "model", steps=10, members=2, progress=stop, **SMALL)
    (tmp_path / "model" / "train" / checkpoint.GIVEN).unlink()
    code, _, err = lmgen("train", "--resume", tmp_path / "model")
    assert (code, "given.safetensors" in err, "Traceback" in err) == (3, True, False)


def test_a_network_that_does_not_help_is_left_out(tmp_path):
    text = text_of(tmp_path, "classify")
    library.train(text, output=tmp_path / "model", steps=60, **SMALL)
    valid = TextSettings((str(text),), form="tsv", task="classify").load().valid
    _, good, bad = joined(tmp_path / "model", scale=30)
    found = finish.averaged([good, bad], valid)
    assert found.mixed is None
    assert found.network.provenance.about["valid_nats"] == pytest.approx(good.validate(valid)[0])


def test_a_budget_trains_as_many_networks_as_there_is_time_for(tmp_path):
    text = TextSettings((str(text_of(tmp_path, "classify")),), form="tsv", task="classify")
    config = run.chosen(text, budget=60.0).config
    assert (config.members, config.budget) == (4, 60)
    assert config.epochs >= 40
    assert run.chosen(text, budget=60.0, members=1).config.members == 1
    assert run.chosen(text, steps=60).config.members == 1
    writer = replace(text, task="generate")
    assert run.chosen(writer, budget=6000.0).config.members == 1


# ---- the command line --------------------------------------------------------------------------------------------------


def test_all_commands_use_all_networks_unless_told_otherwise(tmp_path, lmgen, monkeypatch):
    monkeypatch.setattr(finish, "GAIN", -1)  # so that the second network is kept
    text = text_of(tmp_path, "classify")
    path = tmp_path / "model"
    code, _, err = lmgen("train", text, "-o", path, "--steps", 40, "--members", 2, "--size", 8, "--embedding", 6)
    assert code == 0
    assert "2 networks one after the other" in err
    assert "averaged with 1 more network: validation" in err
    assert "| averaged with | 1 more network; the network alone:" in (path / "README.md").read_text()
    facts = json.loads(lmgen("show", path, "--json")[1])
    assert (facts["networks"], "mixed_with" in facts) == (2, False)
    out = [json.loads(lmgen("eval", path, text, "--json", *flag)[1])["labels"]["brier"] for flag in ((), ("--no-mixture",))]
    both, alone = library.load(path), library.load(path, mixture=False)
    assert out[0] != out[1]
    assert next(both.predict(["a b"])).labels != next(alone.predict(["a b"])).labels
    valid = TextSettings((str(text),), form="tsv", task="classify").load().valid
    assert both.lm.validate(valid)[0] == pytest.approx(facts["valid_nats"])
    assert alone.lm.validate(valid)[0] == pytest.approx(facts["network_nats"])
    predicted = [lmgen("predict", path, text, "--json", *flag)[1] for flag in ((), ("--no-mixture",))]
    assert predicted[0] != predicted[1]
    code, _, err = lmgen("export", path, "--format", "numpy", "-o", tmp_path / "run.py")
    assert code == 0
    assert "the first of 2 networks is written: --format numpy holds no more" in err
    assert checkpoint.MIXTURE in exporting.contents(both.lm, "hub")

    file = path / checkpoint.MIXTURE
    file.write_bytes(file.read_bytes()[:-10])
    for command in ("show", "eval"):
        code, _, err = lmgen(command, path)
        assert code == 3
        assert "mixture.safetensors is damaged" in err
    assert lmgen("eval", path, text, "--no-mixture", "--json")[0] == 0


def test_members_of_text_too_short_to_validate(tmp_path):
    text = tmp_path / "few.tsv"
    text.write_text("a\tone word\nb\ttwo words\n" * 5)
    with pytest.raises(InputError, match="too short to hold some back: give --valid"):
        library.train(text, output=tmp_path / "model", task="classify", steps=2, members=2)
