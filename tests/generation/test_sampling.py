"""Drawing: transforms by tables worked by hand, frequencies against the softmax, sequences that the seed alone decides."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from itertools import count, islice

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lmgen
from lmgen.data.vocab import EOS
from lmgen.defaults.config import TrainingConfig
from lmgen.errors import InputError
from lmgen.generation import sampling
from lmgen.generation.sampling import Settings, distinct_samples, samples
from lmgen.generation.transforms import NOTHING, draw, transformed
from lmgen.nn.model import NetworkConfig
from lmgen.system import devices
from lmgen.tasks.language import Language
from lmgen.training.step import begin

P = np.array([[0.5, 0.2, 0.2, 0.1]], np.float32)


def after(name: str, value: float) -> list[float]:
    """The probabilities after one transform of P, rounded."""
    p = jax.nn.softmax(transformed(jnp.log(P), (name,), (np.float32(value) if name != "top_k" else np.int32(value),)), -1)
    return [round(float(x), 4) for x in p[0]]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("temperature", 1.0, [0.5, 0.2, 0.2, 0.1]),
        ("temperature", 0.5, [0.7353, 0.1176, 0.1176, 0.0294]),  # squares over their sum 0.34
        ("temperature", 0.0, [1, 0, 0, 0]),
        ("temperature", 1e-9, [1, 0, 0, 0]),
        ("temperature", 1e9, [0.25, 0.25, 0.25, 0.25]),
        ("top_k", 1, [1, 0, 0, 0]),
        ("top_k", 2, [0.5556, 0.2222, 0.2222, 0]),  # the third equals the second
        ("top_k", 4, [0.5, 0.2, 0.2, 0.1]),
        ("top_k", 99, [0.5, 0.2, 0.2, 0.1]),
        ("top_p", 1.0, [0.5, 0.2, 0.2, 0.1]),
        ("top_p", 0.4, [1, 0, 0, 0]),
        ("top_p", 0.69, [0.7143, 0.2857, 0, 0]),
        ("top_p", 0.85, [0.5556, 0.2222, 0.2222, 0]),
        ("min_p", 0.0, [0.5, 0.2, 0.2, 0.1]),
        ("min_p", 0.3, [0.5556, 0.2222, 0.2222, 0]),
        ("min_p", 1.0, [1, 0, 0, 0]),
        # Nats 0.69, 1.61, 1.61 and 2.30, their mean 1.22: the second and third are closest to it, then the first.
        ("typical", 0.1, [0, 1, 0, 0]),
        ("typical", 0.3, [0, 0.5, 0.5, 0]),
        ("typical", 0.5, [0.5556, 0.2222, 0.2222, 0]),
        ("typical", 1.0, [0.5, 0.2, 0.2, 0.1]),
        ("repetition_penalty", 1.0, [0.5, 0.2, 0.2, 0.1]),
        ("repetition_penalty", 2.0, [0.7353, 0.1176, 0.1176, 0.0294]),  # of all symbols, it is a temperature of 1/2
    ],
)
def test_each_transform_gives_the_table_worked_by_hand(name, value, expected):
    assert after(name, value) == expected


def test_a_penalty_changes_the_symbols_that_a_row_has_seen():
    """Here the first and the last: 0.5² and 0.1² beside 0.2 and 0.2."""
    seen = jnp.array([[True, False, False, True]])
    p = jax.nn.softmax(transformed(jnp.log(P), ("repetition_penalty",), (np.float32(2),), seen), -1)
    assert np.allclose(p[0], np.array([0.25, 0.2, 0.2, 0.01]) / 0.66, atol=1e-6)


@pytest.mark.parametrize("kind", ["a network", "n-grams"])
def test_a_high_penalty_repeats_no_symbol(kind, model_path, words_file, tmp_path):
    """But for EOS, which may come at any time; the symbols of the prompt count."""
    path = model_path
    if kind == "n-grams":
        path = lmgen.train(words_file, cell="ngram", order=2, output=tmp_path / "n-grams").path
    for one in lmgen.load(path).sample(30, seed=0, prompt="ka", repetition_penalty=1000):
        assert len({*one.text}) == len(one.text)


def test_transforms_compose_in_the_order_of_the_table():
    """Temperature first: top-p then counts the probabilities that it left."""
    p = jax.nn.softmax(transformed(jnp.log(P), ("temperature", "top_p"), (np.float32(0.5), np.float32(0.8))), -1)
    assert np.allclose(p[0], [0.7353 / 0.8529, 0.1176 / 0.8529, 0, 0], atol=1e-3)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_frequencies_match_the_softmax(temperature):
    """χ² with 9 degrees of freedom stays below its 99.99 % point, 33.7, over 200,000 draws."""
    logits = jax.random.normal(jax.random.key(1), (1, 10)) * 2
    expected = np.asarray(jax.nn.softmax(logits / temperature))[0]
    n = 200_000
    uniform = jax.random.uniform(jax.random.key(2), (n,))
    heated = transformed(jnp.broadcast_to(logits, (n, 10)), ("temperature",), (np.float32(temperature),))
    counts = np.bincount(np.asarray(draw(heated, uniform)), minlength=10)
    assert ((counts - n * expected) ** 2 / (n * expected)).sum() < 33.7


def test_what_has_no_probability_is_never_drawn_at_either_end():
    logits = jnp.array([[NOTHING, 0.0, NOTHING, 0.0, NOTHING]] * 3)
    assert draw(logits, jnp.array([0.0, 0.5, 1 - 2**-24])).tolist() == [1, 3, 3]


def test_the_nats_of_a_sample_are_its_score(model_path):
    """Whatever the transforms, and also behind a prompt (whose own nats do not count)."""
    model = lmgen.load(model_path, precision="f32")
    for settings in ({}, {"temperature": 0.5, "top_k": 5, "top_p": 0.9}):
        drawn = model.sample(20, seed=0, **settings)
        assert all(one.ended for one in drawn)
        for one, score in zip(drawn, model.score([one.text for one in drawn]), strict=True):
            assert math.isclose(one.nats, score.nats, rel_tol=1e-5)
            assert one.symbols == len(score.symbols)
    (one,) = model.sample(1, prompt="ka", seed=0)
    (score,) = model.score([one.text])
    assert one.text.startswith("ka")
    assert math.isclose(one.nats, sum(nats for _, nats in score.symbols[2:]), rel_tol=1e-5)


def test_the_seed_alone_decides(model_path):
    """The same text for one, for many, as a stream; another for another seed."""
    model = lmgen.load(model_path)
    many = model.sample(40, seed=5)
    assert model.sample(3, seed=5) == many[:3]
    assert list(islice(model.samples(40, seed=5), 20)) == many[:20]
    assert model.sample(40, seed=6) != many


def test_the_command_line_draws_what_python_draws(model_path, lmgen):
    """Alone and in many, as lines and as JSON."""
    from lmgen import load

    drawn = [one.text for one in load(model_path).sample(12, seed=9)]
    for number in (1, 5, 12):
        code, out, _ = lmgen("sample", model_path, "-n", number, "--seed", 9, "--json")
        assert code == 0
        assert [json.loads(line)["text"] for line in out.splitlines()] == drawn[:number]
    assert lmgen("sample", model_path, "-n", 12, "--seed", 9)[1].splitlines() == drawn


def test_each_call_draws_anew_and_says_how_to_repeat_it(lmgen, model_path):
    """On stderr alone, so that a pipe gets the samples and nothing else."""
    drawn = [lmgen("sample", model_path, "-n", 20) for _ in range(2)]
    seeds = [re.fullmatch(r"words: seed (\d+) \(--seed \1 repeats this\)\n", err)[1] for _, _, err in drawn]
    assert drawn[0][1] != drawn[1][1]
    assert seeds[0] != seeds[1]
    for (_, out, _), seed in zip(drawn, seeds, strict=True):
        assert lmgen("sample", model_path, "-n", 20, "--seed", seed) == (0, out, "")


def test_temperature_zero_takes_the_likeliest_each_time(model_path):
    model = lmgen.load(model_path)
    texts = {one.text for one in model.sample(20, temperature=0)}
    assert len(texts) == 1
    ids = [EOS]
    while len(ids) == 1 or ids[-1] != EOS:
        _, logits = model.lm.read(model.lm.start(1), jnp.array(ids)[:, None])
        ids.append(int(logits[-1, 0].at[1].set(-jnp.inf).argmax()))
    assert texts == {model.lm.vocab.decode(ids[1:])}


def test_a_sample_ends_at_its_longest(model_path):
    for longest in (1, 2, 31, 32, 33):
        for one in lmgen.load(model_path).sample(16, seed=0, max_length=longest, temperature=3):
            assert one.symbols <= longest
            assert one.ended or one.symbols == longest


def test_prompts_of_every_length_are_read(model_path):
    model = lmgen.load(model_path)
    prompt = "badege" * 12
    for length in (0, 1, 31, 32, 33, 64, 70):
        one = model.sample(1, prompt=prompt[:length], max_length=5)[0]
        assert one.text.startswith(prompt[:length])
        assert len(one.text) - length == one.symbols - one.ended


def test_samples_are_told_new_or_known(model_path, words_file):
    """By the hashes in the model directory: exactly the lines of the corpus are known."""
    corpus = set(words_file.read_text().split())
    drawn = lmgen.load(model_path).sample(300, seed=0)
    assert {one.known for one in drawn} == {True, False}
    assert all(one.known == (one.text in corpus) for one in drawn)


def test_novel_samples_are_new_and_distinct_and_always_end(model_path, words_file):
    model = lmgen.load(model_path)
    texts = [one.text for one in model.sample(50, novel=True, seed=0)]
    assert len(set(texts)) == 50
    assert not set(texts) & set(words_file.read_text().split())
    assert len(model.sample(50, novel=True, temperature=0)) <= 1
    assert not list(distinct_samples(iter([sampling.Sample("a", 1.0, 2, True, True)] * 9), 5, novel=True))


def test_looking_for_what_is_not_there_ends():
    """Where three texts are all that is ever drawn, they are found, also the rare one, and the draws come to an end."""
    endless = (sampling.Sample("cab"[0 if k == 900 else 1 + k % 2], 1.0, 2, k % 2 == 0, False) for k in count())
    assert [one.text for one in distinct_samples(endless, 1_000_000)] == ["a", "b", "c"]
    endless = (sampling.Sample("ab"[k % 2], 1.0, 2, True, k % 2 == 0) for k in count())
    assert [one.text for one in distinct_samples(endless, 2, novel=True)] == ["b"]


def test_unknown_is_drawn_only_where_allowed(model_path):
    model = lmgen.load(model_path)
    assert not any("\ufffd" in one.text for one in model.sample(200, seed=0, temperature=5, max_length=20))
    assert any("\ufffd" in one.text for one in model.sample(200, seed=0, temperature=50, max_length=20, unknown=True))


def test_settings_that_mean_nothing_are_refused(model_path):
    nan = float("nan")
    for wrong in (
        {"temperature": -1.0},
        {"temperature": nan},
        {"top_p": 0.0},
        {"top_p": nan},
        {"top_p": 1.5},
        {"min_p": -0.1},
        {"top_k": -1},
        {"max_length": 0},
        {"lines": 0},
        {"temperature": "1"},
        {"temperature": None},
        {"temperature": True},
        {"top_k": 1.5},
        {"top_p": [1]},
        {"max_length": "9"},
        {"unknown": 1},
        {"typical": 0},
        {"repetition_penalty": 0.9},
        {"starts_with": None},
        {"stop": [""]},
        {"length": "5:3"},
        {"min_length": -1},
    ):
        with pytest.raises(InputError, match="Invalid value for '--"):
            Settings(**wrong)
    with pytest.raises(InputError, match="--lines"):
        next(samples(lmgen.load(model_path).lm, Settings(lines=2)))


def test_numbers_of_numpy_are_numbers():
    assert Settings(temperature=np.float32(0.5), top_k=np.int64(3), unknown=np.bool_(True)) == Settings(0.5, 3, unknown=True)


def test_a_seed_of_numpy_is_a_seed(model_path):
    assert lmgen.load(model_path).sample(2, seed=np.int64(7)) == lmgen.load(model_path).sample(2, seed=7)


SEEDS = [0, 1, 1 << 31, (1 << 32) - 1, 1 << 32, (1 << 32) + 1, 1 << 33, 3 << 32, 1 << 62, (1 << 63) - 1]


def test_every_seed_below_2_to_the_63_differs(model_path):
    model = lmgen.load(model_path)
    assert len({str(model.sample(4, seed=seed)) for seed in SEEDS}) == len(SEEDS)
    begun = [begin(Language(NetworkConfig(5, size=2, embedding=2)), TrainingConfig(2, 4, 0.1, seed=seed)) for seed in SEEDS]
    assert len({str(state.params["head"]["W"]) for state in begun}) == len(SEEDS)


@pytest.mark.parametrize("seed", [0, 1, 77, (1 << 31) - 1])
def test_small_seeds_draw_what_they_always_drew(seed):
    assert (jax.random.key_data(devices.random_key(seed)) == jax.random.key_data(jax.random.key(seed))).all()


@pytest.mark.parametrize("seed", [-1, 1 << 63, 0.5, "1", True])
def test_what_is_no_seed_is_a_sentence(model_path, seed):
    with pytest.raises(InputError, match=r"'--seed': .* (cannot be used: give 0 or more|is not a whole number)"):
        lmgen.load(model_path).sample(1, seed=seed)


def test_a_carried_state_has_defaults_of_its_own(model_path):
    """One sample of ten lines, else ten samples of one; from Python as from the command line."""
    model = lmgen.load(model_path)
    assert len(model.sample(max_length=9)) == 10
    model.lm = replace(model.lm, config=replace(model.lm.config, carry=True))
    (one,) = model.sample(seed=0)
    assert one.text.count("\n") == 9
    assert [one] == model.sample(1, seed=0, lines=10)
    assert len(model.sample(3, lines=2)) == 3
