"""Adaptation while reading equals a plain loop over the symbols, never looks ahead, and leaves the model as it was."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lmgen
from lmgen.errors import InputError
from lmgen.evaluation.adaptive import cache, dynamic
from lmgen.evaluation.adaptive.cache import Cache
from lmgen.evaluation.adaptive.dynamic import SEGMENT, Dynamic
from lmgen.evaluation.adaptive.reading import WAYS, adaptation
from lmgen.models.scoring import stream_nats
from lmgen.nn import model

# One word is frequent in each paragraph, and another in the next: what a network that adapts can use.
TEXT = "".join(f"{word} sat by the {word} and saw a {word}\n" * 6 for word in ("cat", "dog", "hen", "fox", "elk")) * 4
NET = {"steps": 20, "size": 12, "embedding": 6, "batch": 4, "window": 16, "precision": "f32", "mixture": False}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("adaptive")
    path, valid = folder / "text.txt", folder / "valid.txt"
    path.write_text(TEXT)
    valid.write_text(TEXT.replace("sat", "lay")[: len(TEXT) // 3])
    settings = {
        "char": {},
        "carry": {"carry": True, "cell": "gru"},
        "word": {"unit": "word", "carry": True, "layer_norm": True, "tie": True},
        "subword": {"unit": "subword", "vocab_size": 300},
        "elman": {"cell": "elman", "layers": 2},
    }
    return {name: lmgen.train(path, valid=valid, output=folder / name, **NET, **one) for name, one in settings.items()}


@pytest.fixture
def other(tmp_path):
    (tmp_path / "other.txt").write_text(TEXT.replace("by", "on")[: len(TEXT) // 4])
    return tmp_path / "other.txt"


def read_slowly(lm, stream):
    """The head's inputs and the nats of a text, a symbol at a time."""

    @jax.jit
    def read(state, id, following):
        state, h = model.read(lm.config, "f32", lm.params, state, id)
        return state, h[0, 0], model.nats(lm.params, h, following, "f32")[0, 0]

    state, hs, nats = lm.start(1), [], []
    for id, following in pairwise(np.int32(stream)):
        state, *found = read(state, id[None, None], following[None, None])
        hs.append(np.asarray(found[0], np.float64))
        nats.append(float(found[1]))
    return np.array(hs), np.array(nats)


@pytest.mark.parametrize("name", ["char", "word"])
def test_the_cache_is_that_of_the_paper(models, other, name):
    lm = models[name].lm
    stream = np.array(models[name].source(other).ids.stream[:400], np.int32)
    hs, plain = read_slowly(lm, stream)
    settings = Cache(window=30, theta=0.3, weight=0.7)
    wanted = []
    for t, target in enumerate(stream[1:]):
        pairs = range(max(0, t - settings.window), t)
        scores = np.exp([settings.theta * hs[t] @ hs[i] for i in pairs])
        same = np.array([stream[i + 1] == target for i in pairs], bool)
        p = np.exp(-plain[t])
        wanted.append(p if not len(scores) else settings.weight * p + (1 - settings.weight) * scores[same].sum() / scores.sum())
    whole = replace(adaptation(models[name].lm, "cache", models[name].source(other).ids), cache=settings)
    np.testing.assert_allclose(whole.nats(stream), -np.log(wanted), rtol=2e-4, atol=2e-5)


def test_the_cache_gives_a_distribution(models, other):
    lm = models["char"].lm
    stream = np.array(models["char"].source(other).ids.stream[:50], np.int32)
    whole = replace(adaptation(lm, "cache", models["char"].source(other).ids), cache=Cache(20, 0.5, 0.6))
    each = [whole.nats(np.append(stream, np.int32(id)))[-1] for id in range(len(lm.vocab))]
    assert np.exp(-np.array(each)).sum() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("name", ["char", "carry", "elman"])
def test_dynamic_evaluation_is_that_of_the_paper(models, other, name):
    """Against the same steps written with dictionaries of NumPy arrays and JAX's own gradient of the plain nats."""
    lm = models[name].lm
    stream = np.array(models[name].source(other).ids.stream[: 4 * SEGMENT + 6], np.int32)
    scale = jax.tree.map(lambda p: jnp.abs(p) + 0.1, lm.params)
    settings = Dynamic(1e-2, 0.05, scale)
    found = np.concatenate([*map(cache.only_text, settings.read(lm, stream))])
    params, state, wanted = lm.params, lm.start(1), []
    mean = np.concatenate([np.ravel(s) for s in jax.tree.leaves(scale)]).mean(dtype=np.float64)

    def total(params, state, window):
        after, hs = model.read(lm.config, "f32", params, state, window[:-1, None])
        nats = model.nats(params, hs, window[1:, None], "f32")
        return nats.mean(), (after, nats)

    for at in range(0, len(stream) - 1, SEGMENT):
        (_, (state, nats)), g = jax.value_and_grad(total, has_aux=True)(params, state, stream[at : at + SEGMENT + 1])
        wanted.append(np.asarray(nats)[:, 0])
        params = jax.tree.map(
            lambda p, p0, g, s: p - 1e-2 * g / (s + s.mean()) + np.minimum(1, 0.05 * s / mean) * (p0 - p),
            *(params, lm.params, g, scale),
        )
    np.testing.assert_allclose(found, np.concatenate(wanted), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("name", ["char", "word", "subword"])
def test_later_text_changes_no_earlier_nats(models, other, name, how):
    lm, stream = models[name].lm, models[name].source(other).ids.stream
    adapted = adaptation(lm, how, models[name].source(other).ids)
    whole = adapted.nats(stream)
    assert len(whole) == len(stream) - 1
    assert np.isfinite(whole).all()
    for cut in (2, SEGMENT - 1, SEGMENT + 7, 300):
        changed = np.append(stream[:cut], stream[5:40])
        np.testing.assert_array_equal(adapted.nats(changed)[: cut - 1], whole[: cut - 1])


@pytest.mark.parametrize("how", WAYS)
def test_no_step_and_no_cache_are_plain_reading(models, other, how):
    for name in ("char", "carry"):
        lm, ids = models[name].lm, models[name].source(other).ids
        adapted = adaptation(lm, how, ids)
        idle = replace(
            adapted,
            cache=adapted.cache and replace(adapted.cache, weight=1.0),
            dynamic=adapted.dynamic and replace(adapted.dynamic, rate=0.0),
        )
        np.testing.assert_allclose(idle.nats(ids.stream), stream_nats(lm, ids.stream), rtol=1e-4, atol=1e-4)


def test_it_gains_where_a_text_repeats_itself_and_is_deterministic(models, other):
    for name in ("carry", "word"):
        words = models[name]
        plain = words.evaluate(other).nats_per_symbol
        found = {how: words.evaluate(other, adapt=how) for how in WAYS}
        for how, adapted in found.items():
            assert adapted.measures.nats_per_symbol < plain, (name, how)
        assert words.evaluate(other, adapt="both").as_dict() == found["both"].as_dict()


def test_the_model_does_not_change(models, other):
    loaded = models["carry"]
    before = {name: a.copy() for name, a in loaded.lm.arrays().items()}
    files = {path: path.read_bytes() for path in loaded.path.rglob("*") if path.is_file()}
    loaded.evaluate(other, adapt="both")
    for name, a in loaded.lm.arrays().items():
        np.testing.assert_array_equal(a, before[name])
    assert {path: path.read_bytes() for path in loaded.path.rglob("*") if path.is_file()} == files


def test_the_best_settings_of_the_cache_are_found(models, other):
    """Against every setting, tried one by one."""
    lm, stream = models["word"].lm, models["word"].source(other).ids.stream
    hs, nats = read_slowly(lm, np.array(stream[:300], np.int32))
    block = hs.astype(np.float32), np.array(stream[1:300]), nats.astype(np.float32)
    best = cache.fit([block])

    def total(setting):
        return float(np.concatenate([*setting.nats(iter([block]))]).sum())

    square = (block[0] ** 2).sum(1).mean()
    others = [Cache(w, s / square, best.weight) for w in cache.WINDOWS for s in cache.SHARPNESS]
    assert total(best) <= min(map(total, others)) + 1e-3
    for weight in (best.weight - 0.05, min(1, best.weight + 0.05)):
        assert total(best) <= total(replace(best, weight=weight)) + 1e-3


def test_the_fit_of_dynamic_evaluation_is_the_best_of_its_neighbours(models, other):
    lm, stream = models["carry"].lm, models["carry"].source(other).ids.stream[:600]
    best = dynamic.fit(lm, stream)

    def total(**change):
        return float(sum(map(np.sum, map(cache.only_text, replace(best, **change).read(lm, stream)))))

    k = dynamic.DECAYS.index(best.decay)
    for decay in dynamic.DECAYS[max(0, k - 1) : k + 2]:
        assert total() <= total(decay=decay)


def test_the_command_line_reports_it_apart(lmgen, models, other):
    path = models["carry"].path
    code, plain, _ = lmgen("eval", path, other, "--no-baselines")
    assert code == 0
    code, out, err = lmgen("eval", path, other, "--no-baselines", "--adapt", "both")
    assert code == 0, err
    assert out.startswith(plain.rstrip())
    assert "adapted" in out.removeprefix(plain)
    code, out, _ = lmgen("eval", path, other, "--no-baselines", "--adapt", "cache", "--json", "--precision", "f32")
    found = json.loads(out)
    assert found["adapted"]["how"] == "cache"
    assert found["adapted"]["settings"]["window"] in cache.WINDOWS
    assert found["nats"] == models["carry"].evaluate(other).nats != found["adapted"]["nats"]


def test_what_an_adapting_network_does_not_know_costs_its_bytes(lmgen, models, tmp_path):
    """As in the plain figures: without the spelling of unknown text bits per byte are a lower bound."""
    strange = tmp_path / "strange.txt"
    strange.write_text("the cat sat by the ÄÖÜ\n" * 3, "utf-8")
    _, out, _ = lmgen("eval", models["carry"].path, strange, "--no-baselines", "--adapt", "cache")
    rows = [line.strip().split("  ", 1) for line in out[out.index("  adapted") :].splitlines()]
    bits, spelt = (float(row[1].split()[0]) for row in rows if row[0] in ("… bits per byte", "… with spelling"))
    assert spelt > bits


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--adapt", "cache"], "name a FILE"),
        (["other.txt", "--adapt", "cash"], "not one of cache, dynamic, both"),
        (["other.txt", "--adapt", "cache", "--protocol", "windows"], "leave out --protocol"),
        (["other.txt", "--adapt", "cache", "--with", "carry"], "choose one"),
        (["other.txt", "--adapt", "dynamic", "--valid", "other.txt"], "fitted to this very text"),
        (["other.txt", "--adapt", "dynamic", "--valid", "none.txt"], "none.txt"),
    ],
)
def test_what_cannot_be_asked_for(lmgen, models, other, words, sentence):
    code, _, err = lmgen("eval", models["carry"].path, *words)
    assert code in (1, 2)
    assert sentence in err
    assert err.count("\n") == 1


def test_other_kinds_of_models_do_not_adapt(models, other, tmp_path):
    cloze = {name: value for name, value in NET.items() if name != "mixture"} | {"direction": "both", "steps": 1}
    for name, options in {"grams": {"cell": "ngram", "order": 2}, "cloze": cloze}.items():
        made = lmgen.train(other, output=tmp_path / name, **options)
        with pytest.raises(InputError, match="cannot adapt while it reads"):
            made.evaluate(models["char"].trained_on.files[0], adapt="cache", valid=other)
    with pytest.raises(InputError, match="not one of cache, dynamic, both"):
        models["char"].evaluate(other, adapt="twice")
