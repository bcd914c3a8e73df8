"""Sampling with any settings: probabilities stay probabilities, or the settings are refused."""

from __future__ import annotations

from itertools import islice

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drawing import level
from hypothesis import example, given
from hypothesis import strategies as st

import lmgen
from lmgen.data.vocab import UNK, Vocab
from lmgen.errors import InputError
from lmgen.generation import compiled
from lmgen.generation.sampling import Settings, samples
from lmgen.generation.transforms import NOTHING, TRANSFORMS, transformed
from lmgen.models.recurrent import Recurrent
from lmgen.nn import native
from lmgen.nn.model import NetworkConfig, init
from lmgen.options import kinds

INFINITE = float("inf")
numbers = st.floats() | st.sampled_from([0.0, 1e-9, 1e-46, 1e-300, 0.5, 1.0, 1e9, 1e39, 1e300, -1.0, INFINITE, float("nan")])
any_settings = st.fixed_dictionaries(
    {},
    optional={
        "temperature": numbers,
        "top_k": st.integers(-1, 20) | st.sampled_from([1 << 31, 10**30]),
        "top_p": numbers,
        "min_p": numbers,
        "typical": numbers,
        "repetition_penalty": numbers,
        "max_length": st.sampled_from([-1, 0, 1, 5, 33, 10**9, 10**30]),
        "lines": st.sampled_from([0, 1, 2, 10**30]),
    },
)
logits = st.lists(st.floats(-200, 200, width=32), min_size=7, max_size=7).map(lambda row: jnp.array([row], jnp.float32))


def accepted(wanted: dict) -> Settings | None:
    """Settings, or None where they are refused, which is where they mean nothing."""
    sound = {
        "temperature": lambda t: 0 <= t < INFINITE,
        "top_k": lambda k: 0 <= k < 1 << 31,
        "top_p": lambda p: 0 < p <= 1,
        "min_p": lambda p: 0 <= p <= 1,
        "typical": lambda p: 0 < p <= 1,
        "repetition_penalty": lambda p: 1 <= p <= 1000,
        "max_length": lambda n: 1 <= n <= kinds.LONGEST_SAMPLE,
        "lines": lambda n: 1 <= n <= kinds.LONGEST_SAMPLE,
    }
    if all(sound[name](value) for name, value in wanted.items()):
        return Settings(**wanted)
    with pytest.raises(InputError, match="cannot be used: give"):
        Settings(**wanted)
    return None


@level(200, 10_000)
@given(any_settings, logits)
@example({"top_p": 1e-300}, jnp.zeros((1, 7)))
@example({"temperature": 1e300}, jnp.array([[0.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0]]))
def test_whatever_is_set_probabilities_are_finite_and_sum_to_one(wanted, row):
    """And what must not be drawn keeps none."""
    if (chosen := accepted(wanted)) is None:
        return
    forbidden = row.at[:, UNK].set(NOTHING)
    active = tuple(name for name, (_, off) in TRANSFORMS.items() if getattr(chosen, name) != off)
    values = tuple(np.asarray(getattr(chosen, name), np.int32 if name == "top_k" else np.float32) for name in active)
    p = np.asarray(jax.nn.softmax(transformed(forbidden, active, values), -1), np.float64)
    assert np.isfinite(p).all()
    assert abs(p.sum() - 1) < 1e-5
    assert p[0, UNK] == 0
    if active == ("temperature",) and chosen.temperature == 0:  # others may part symbols that are equally likely
        assert (p[0] > 0).sum() == (np.asarray(forbidden)[0] == np.asarray(forbidden).max()).sum()


@pytest.fixture(scope="module")
def lm():
    config = NetworkConfig(vocab=13, size=5, embedding=5)
    return Recurrent(config, init(config, jax.random.key(0)), Vocab("char", tuple("abcdefghijk")))


@pytest.mark.parametrize("way", ["loop", "kernels"])
def test_whatever_is_set_text_comes_or_a_sentence(lm, way, monkeypatch):
    if way == "loop":
        monkeypatch.setattr(compiled, "weights", lambda lm: None)
    elif not native.kind("f32"):
        pytest.skip("the compiled kernels do not run here")

    @level(25, 1_000)
    @given(any_settings, st.sampled_from(["", "ab", "?" * 40]))
    @example({"top_p": 1e-300}, "")
    @example({"temperature": 1e300, "min_p": 1e-300}, "a")
    def run(wanted, prompt):
        wanted = {**wanted, "max_length": min(wanted.get("max_length", 9), 33)}
        chosen = accepted(wanted)
        if chosen is None or (chosen.lines or 1) > 1:
            return
        for one in islice(samples(lm, chosen, 1, prompt), 3):
            assert np.isfinite(one.nats)
            assert "\ufffd" not in one.text[len(prompt) :]

    run()


def test_a_length_of_a_billion_is_refused_with_what_can_be_had(model_path):
    with pytest.raises(InputError, match="max-length': 1000000000 cannot be used: give 1 or more, 1,000,000 at most"):
        lmgen.load(model_path).sample(1, max_length=10**9)
