"""The kernels that write: the text of the loop, from the model that a thread holds, and no more of it than is wanted."""

from __future__ import annotations

import gc
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmgen.data.vocab import EOS, UNK, Vocab
from lmgen.evaluation.scores import scores
from lmgen.generation import compiled, sampling
from lmgen.generation.sampling import Settings, samples
from lmgen.generation.transforms import NOTHING, TRANSFORMS
from lmgen.models.recurrent import Recurrent
from lmgen.nn import native
from lmgen.nn.model import NetworkConfig, init
from lmgen.system import devices

ALL = {"temperature": 0.8, "top_k": 6, "top_p": 0.9, "min_p": 0.05}

kernels = pytest.mark.skipif(not native.kind("f32"), reason="the compiled kernels do not run here")


@pytest.mark.parametrize(
    "settings", [{}, {"temperature": 0.7}, {"temperature": 0}, {"top_k": 3}, {"top_p": 0.7}, {"min_p": 0.2}, ALL]
)
@pytest.mark.parametrize(
    "network",
    [
        {},
        {"layers": 2, "cell": "gru"},
        {"tie": True, "carry": True},
        {"tie": True, "embedding": 9},
        {"layers": 3, "residual": True, "layer_norm": True},
        pytest.param({"layers": 2, "residual": True, "cell": "gru"}, marks=pytest.mark.slow),
        pytest.param({"layer_norm": True, "tie": True, "size": 16, "embedding": 16}, marks=pytest.mark.slow),
        {"layer_norm": True, "embedding": 5, "cell": "gru"},
    ],
    ids=str,
)
def test_the_kernels_write_what_the_loop_writes(network, settings, monkeypatch):
    """The same symbols and, to five digits, the same nats; whatever stands in the rows beside, and however long the calls are."""
    if not native.kind("f32"):
        pytest.skip("the compiled kernels do not run here")
    config = NetworkConfig(**{"vocab": 13, "size": 21, "embedding": 21} | network)
    keys = iter(jax.random.split(jax.random.key(1), 99))
    params = jax.tree.map(lambda w: 4 * w + 0.1 * jax.random.normal(next(keys), w.shape), init(config, jax.random.key(0)))
    lm = Recurrent(config, params, Vocab("char", tuple("abcdefghijk")))
    drawn = Settings(max_length=70, **settings, lines=2 if config.carry else 1)
    many = list(islice(samples(lm, drawn, 3, "ab", wanted=20), 20))
    assert compiled.weights(lm)
    assert list(islice(samples(lm, drawn, 3, "ab", wanted=3), 20)) == many
    monkeypatch.setattr(sampling, "COMPILED_STEPS", compiled.DRAWN)
    assert list(islice(samples(lm, drawn, 3, "ab", wanted=20), 20)) == many
    monkeypatch.setattr(compiled, "weights", lambda lm: None)
    theirs = list(islice(samples(lm, drawn, 3, "ab"), 20))
    assert [one.text for one in many] == [one.text for one in theirs]
    np.testing.assert_allclose([one.nats for one in many], [one.nats for one in theirs], rtol=1e-4)


@pytest.mark.parametrize("precision", ["f32", "bf16"])
@pytest.mark.parametrize(
    "network",
    [{}, {"layers": 2, "cell": "gru"}, {"tie": True, "embedding": 24}, {"layers": 2, "residual": True, "layer_norm": True}],
    ids=str,
)
def test_the_loop_and_the_kernels_write_the_same_at_each_precision(network, precision, monkeypatch):
    """The same text, and nats to three digits; a text may differ only from a draw on that lies between two close sums on."""
    if not native.kind(precision):
        pytest.skip("the compiled kernels do not run here")
    config = NetworkConfig(**{"vocab": 13, "size": 48, "embedding": 48} | network)
    params = jax.tree.map(lambda w: 2 * w, init(config, jax.random.key(0)))
    lm = Recurrent(config, params, LETTERS, precision)
    drawn = Settings(max_length=40)
    seeds, same, pairs = range(8), 0, []
    theirs = [list(islice(samples(lm, drawn, seed, wanted=16), 16)) for seed in seeds]
    with monkeypatch.context() as patch:
        patch.setattr(compiled, "weights", lambda lm: None)
        ours = [list(islice(samples(lm, drawn, seed), 16)) for seed in seeds]
    for seed, one, other in zip(seeds, ours, theirs, strict=True):
        for row, (a, b) in enumerate(zip(one, other, strict=True)):
            if a.text == b.text:
                same += 1
                pairs.append((a, b))
            else:
                assert gap(lm, seed, row, a, b) < 0.02
    assert same >= (0.95 if precision == "bf16" else 1) * 16 * len(seeds)
    np.testing.assert_allclose([a.nats for a, _ in pairs], [b.nats for _, b in pairs], rtol=1e-3)
    (_, ended) = zip(*[(a, b) for a, b in pairs if b.ended], strict=True)
    scored = [score.nats for score in scores(lm, [one.text for one in ended])]
    np.testing.assert_allclose([one.nats for one in ended], scored, rtol=1e-4 if precision == "f32" else 5e-3)


def gap(lm, seed, row, one, other):
    """How far the draw of the first symbol that differs is from the sums of probabilities that part the two symbols."""
    first, second = ([*lm.vocab.encode(s.text), *([EOS] * s.ended)] for s in (one, other))
    at = next(k for k, (a, b) in enumerate(zip(first, second, strict=False)) if a != b)
    _, logits = lm.read(lm.start(1), np.array([EOS, *first[:at]])[:, None])
    p = np.asarray(jax.nn.softmax(logits[-1, 0].at[UNK].set(-jnp.inf)), float)
    keys = sampling.keys(devices.random_key(seed), np.array([row]))
    drawn = float(compiled.uniform(keys, 0, 64)[at, 0])
    sums = np.cumsum(p)[min(first[at], second[at]) : max(first[at], second[at])]
    return np.abs(sums - drawn).max()


def test_a_transform_that_the_kernels_lack_is_not_ignored(monkeypatch):
    """Added as CONTRIBUTING says, to the table and the settings: where it is active the loop samples."""

    @dataclass(frozen=True)
    class Extended(Settings):
        only: int = 0

    def only(logits, value):
        return jnp.where(jnp.arange(logits.shape[1]) == value, logits, NOTHING)

    config = NetworkConfig(vocab=13, size=8, embedding=8)
    lm = Recurrent(config, init(config, jax.random.key(0)), LETTERS)
    before = next(samples(lm, Settings(max_length=9, top_k=3)))
    monkeypatch.setitem(TRANSFORMS, "only", (only, 0))
    assert next(samples(lm, Extended(max_length=9, only=4))).text == "c" * 9
    assert next(samples(lm, Extended(max_length=9, top_k=3))) == before


LETTERS = Vocab("char", tuple("abcdefghijk"))


def drawn_by(lm: Recurrent, longest: int, seed: int = 0) -> list[str]:
    return [one.text for one in islice(samples(lm, Settings(max_length=longest), seed, wanted=4), 4)]


@pytest.fixture
def hasty_threads():
    """Four threads that change places as often as can be."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    with ThreadPoolExecutor(4) as threads:
        yield threads
    sys.setswitchinterval(before)


@pytest.fixture
def twins() -> list[Recurrent]:
    """Two models of the same shape."""
    config = NetworkConfig(vocab=13, size=8, embedding=8)
    return [Recurrent(config, init(config, jax.random.key(seed)), LETTERS) for seed in (0, 1)]


def test_threads_draw_from_the_model_they_hold(twins, hasty_threads):
    alone = [drawn_by(lm, 8) for lm in twins]
    assert alone[0] != alone[1]
    assert all(hasty_threads.map(lambda k: all(drawn_by(twins[k % 2], 8) == alone[k % 2] for _ in range(30)), range(4)))


@kernels
def test_threads_get_the_weights_of_the_model_they_hold(twins, hasty_threads):
    """The same ones each time, packed once however many ask for them first."""
    found = hasty_threads.map(lambda k: {id(compiled.weights(twins[k % 2])) for _ in range(20_000)}, range(4))
    assert [*found] == 2 * [{id(compiled.weights(lm))} for lm in twins]


@kernels
def test_weights_packed_for_writing_go_with_their_model():
    config = NetworkConfig(vocab=13, size=8, embedding=8)
    lm = Recurrent(config, init(config, jax.random.key(0)), LETTERS)
    packed = compiled.weights(lm)
    assert compiled.weights(lm) is packed
    packed = weakref.ref(packed[0][0][0])
    del lm
    gc.collect()
    assert packed() is None


class Counting(Recurrent):
    """A network that notes each step of the loop."""

    def stepper(self):
        weights, step = super().stepper()

        def noted(*args):
            jax.debug.callback(lambda: self.steps.append(1))
            return step(*args)

        return weights, noted


@pytest.mark.parametrize("way", ["loop", pytest.param("kernels", marks=kernels)])
def test_no_more_symbols_are_computed_than_are_wanted(way, monkeypatch):
    """The kernels compute a power of two in each call; the text is the beginning of a longer one."""
    config = NetworkConfig(vocab=13, size=8, embedding=8)
    params = init(config, jax.random.key(0))
    params["head"]["b"] = params["head"]["b"].at[EOS].set(-1e9)  # a model that never ends
    lm, steps = Counting(config, params, LETTERS), []
    object.__setattr__(lm, "steps", steps)
    if way == "loop":
        monkeypatch.setattr(compiled, "weights", lambda lm: None)
    else:
        monkeypatch.setattr(compiled, "steps", lambda *args, do=compiled.steps: noted(steps, do(*args)))
    whole = drawn_by(lm, 300)
    assert [len(text) for text in whole] == [300] * 4
    for longest, most in ((1, 1), (5, 8), (33, 64), (260, 260)):
        steps.clear()
        assert drawn_by(lm, longest) == [text[:longest] for text in whole]
        jax.effects_barrier()
        assert longest <= sum(steps) <= most


def noted(steps: list[int], got: tuple) -> tuple:
    """Note how many symbols a call of the kernels has computed."""
    steps.append(len(got[1]))
    return got


def test_networks_without_kernels_for_writing_write_by_the_loop():
    vocab = Vocab("char", tuple("abcdefghijk"))
    config = NetworkConfig(vocab=13, cell="elman", size=8, embedding=8)
    lm = Recurrent(config, init(config, jax.random.key(0)), vocab)
    assert compiled.weights(lm) is None
    assert next(samples(lm, Settings(max_length=5))).symbols <= 5
