"""What a budget chooses: the law, the pace, and the best of all candidates."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise, product

import jax
import pytest
from test_defaults import corpus

from lmgen.defaults import language, law, pace
from lmgen.nn import model
from lmgen.nn.cells import CELLS

SLOW = pace.Pace(30.0, 30.0, 30.0)


# ---- the law -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("amount", "worth"),
    [
        (0.25, 0.25),
        (1.0, 1.0),
        (3.0, 1 + 2 * (1 - 0.36787944)),  # 1 + r (1 − 1/e) for r + 1 of them
        (1e9, 3.0),  # never more than 1 + r
    ],
)
def test_what_is_read_again_counts_less(amount, worth):
    assert law.counting(amount, 2.0) == pytest.approx(worth)


def test_the_law_by_hand():
    """A million symbols read once, 1,000 a step; a quarter of a weight a symbol, sequences that halve the gain."""
    one = law.Law(floor=0.5, network=0.1, length=10, by_weights=0.5, text=0.2, by_passes=1.0, by_text=0.5, crowd=1000)
    # 1,000 symbols of a crowd of 1,000 · √1 count half: P = 0.5; 0.1 · 0.25^−0.5 = 0.2; 0.2 ÷ 0.5 = 0.4
    assert one.ratio(law.Facts(250_000, 1e6, 1e6, 1000, 10)) == pytest.approx(1 - 0.5 * (1 - 0.5 - 0.2 - 0.4))
    # a weight a symbol: 0.1; four million symbols: U^−0.5 = 0.5; 8,000 symbols of a crowd of 1,000 · √16: P = 4/3
    passes = 1 + 15.4 * (1 - 2.718281828 ** (-(1 / 3) / 15.4))
    assert one.ratio(law.Facts(4e6, 4e6, 16e6, 8000, 10)) == pytest.approx(1 - 0.5 * (1 - 0.5 - 0.1 - 0.2 / passes * 0.5))


@pytest.mark.parametrize("kinds", [30, 30_000])
def test_more_is_never_worse_by_the_law(kinds):
    of = law.law(kinds).ratio
    for changed in ("weights", "read"):
        start = law.Facts(weights=1e6, text=1e6, read=1e7, a_step=1024, length=50)
        ratios = [of(replace(start, **{changed: 10.0**k})) for k in range(4, 9)]
        assert all(after < before for before, after in pairwise(ratios))


@pytest.mark.parametrize(
    ("weights", "passes", "rate"),
    [(1e6, 1, 0), (1e6, 2, 0), (1e6, 4, 0.1), (4e6, 4, 0.2), (1e6, 16, 0.3), (16e6, 16, 0.5), (1e6, 1e6, law.MOST_DROPOUT)],
)
def test_each_doubling_of_the_pressure_drops_a_tenth_more(weights, passes, rate):
    """Of a text of a million symbols; four times the weights press as much as twice the passes."""
    facts = law.Facts(weights, 1e6, passes * 1e6, 1024, 50)
    assert law.OF_FEW.dropout(weights, facts) == pytest.approx(rate)


# ---- the pace ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", [name for name, cell in CELLS.items() if not cell.normalises])
def test_the_weights_that_are_counted_are_those_of_the_layers(cell):
    config = model.NetworkConfig(11, cell, size=12, layers=2, embedding=5)
    params = jax.eval_shape(lambda key: model.init(config, key), jax.random.key(0))
    matrices = [leaf for leaf in jax.tree.leaves(params["layers"]) if leaf.ndim == 2]
    assert pace.layer_weights(config) == sum(leaf.size for leaf in matrices)


def test_a_step_takes_the_measured_times_of_its_parts():
    """Small layers, large ones, those between them, and the head, each by its own factor."""
    network = model.NetworkConfig(500, size=pace.SMALL, embedding=32)
    layers, head = pace.counted(network, 8, 16)
    assert pace.Pace(3, 100, 7).seconds(network, 8, 16) == pytest.approx(3 * layers + 7 * head)
    between = replace(network, size=256)  # halfway in powers of two
    layers, head = pace.counted(between, 8, 16)
    assert pace.Pace(3, 5, 7).seconds(between, 8, 16) == pytest.approx(4 * layers + 7 * head)
    larger = replace(network, size=4096)
    layers, head = pace.counted(larger, 8, 16)
    assert pace.Pace(3, 5, 7).seconds(larger, 8, 16) == pytest.approx(5 * layers + 7 * head)
    assert pace.Pace(3, 5, 7, devices=2).seconds(larger, 16, 16) == pytest.approx(5 * layers + 7 * head)


def test_without_kernels_all_takes_longer_and_kinds_cost_time(monkeypatch):
    networks = [model.NetworkConfig(kinds, size=200, embedding=200) for kinds in (100, 2_000, 50_000)]
    monkeypatch.setattr(pace.native, "kind", lambda precision: "some")
    fast = [pace.Pace().seconds(network, 16, 64) for network in networks]
    assert fast == sorted(fast)
    monkeypatch.setattr(pace.native, "kind", lambda precision: "")
    assert all(pace.Pace().seconds(network, 16, 64) > with_kernels for network, with_kernels in zip(networks, fast, strict=True))


# ---- the plan ----------------------------------------------------------------------------------------------------------


def test_the_plan_is_the_best_of_all_candidates_or_smaller_and_about_as_good():
    """Each candidate is planned by asking for it."""
    text, wanted = corpus(10**6, valid=10**5), {"budget": 60.0}
    chosen = language.plan(text, True, wanted)
    grid = product(language.SIZES, language.LAYERS, language.BATCHES)
    all_plans = [language.plan(text, True, {**wanted, "size": n, "layers": k, "batch": b}) for n, k, b in grid]
    best = min(plan.ratio for plan in all_plans)
    assert best <= chosen.ratio <= language.NEARLY * best
    assert not [plan for plan in all_plans if plan.facts.weights < chosen.facts.weights and plan.ratio <= language.NEARLY * best]
    assert chosen.smaller.ratio == min(plan.ratio for plan in all_plans if plan.facts.weights < chosen.facts.weights)
    assert chosen.larger.ratio == min(plan.ratio for plan in all_plans if plan.facts.weights > chosen.facts.weights)


@pytest.mark.parametrize(("unit", "kinds"), [("char", 90), ("word", 20_000)])
@pytest.mark.parametrize("symbols", [10**5, 10**7])
def test_more_time_buys_a_better_model_and_is_used(unit, kinds, symbols):
    text = corpus(symbols, unit, kinds, valid=symbols // 10)
    budgets = (10.0, 60.0, 600.0, 3600.0)
    plans = [language.plan(text, True, {"budget": budget}) for budget in budgets]
    assert all(after.ratio < language.NEARLY * before.ratio for before, after in pairwise(plans))
    assert plans[-1].ratio < plans[0].ratio
    assert all(after.facts.weights >= before.facts.weights for before, after in pairwise(plans))
    for plan, budget in zip(plans, budgets, strict=True):
        assert plan.train["budget"] == budget
        assert plan.steps * plan.seconds + 0.1 * budget <= budget + plan.seconds
        if "epochs" in plan.train:  # the text can use no more
            assert plan.facts.passes == pytest.approx(law.law(kinds).most_passes, rel=0.01)
        else:
            assert plan.steps * plan.seconds + 0.1 * budget >= 0.85 * (budget - language.START)
    assert ("epochs" in plans[-1].train) == (symbols < 10**6)
    assert "epochs" not in plans[0].train


def test_time_that_one_network_cannot_use_goes_to_others():
    short = corpus(20_000, valid=2_000)
    members = [language.plan(short, False, {"budget": seconds}).train.get("members", 1) for seconds in (5, 60, 600, 6000)]
    assert members == sorted(members)
    assert (members[0], members[-1]) == (1, language.MOST_MEMBERS)
    for other in ({"members": 1}, {"mixture": False}, {"direction": "both"}):
        assert language.plan(short, False, {"budget": 6000, **other}).train.get("members", 1) == 1
    assert "members" not in language.plan(corpus(20_000), False, {"budget": 6000}).train


def test_many_kinds_of_symbols_are_predicted_among_few():
    many, few = (corpus(2_000_000, "word", kinds, valid=200_000) for kinds in (40_000, 2_000))
    for end in ({"budget": 300}, {}):
        assert language.plan(many, True, end).train["sampled"] == language.SAMPLED
        assert "sampled" not in language.plan(few, True, end).train
        assert "sampled" not in language.plan(many, True, {"direction": "both", **end}).train
        assert not language.plan(many, True, {"sampled": 0, **end}).train["sampled"]
        assert language.plan(few, True, {"sampled": 50, **end}).train["sampled"] == 50
    assert language.plan(many, True, {"budget": 300, "size": 384}).shape["embedding"] == 192
    assert language.plan(many, True, {"budget": 300, "size": 384, "sampled": 0}).shape["embedding"] == language.NARROW
    slow, fast = (language.plan(many, True, {"size": 256, "layers": 1, "batch": 16, "steps": 9, "sampled": n}) for n in (0, 500))
    assert fast.seconds < slow.seconds / 2


def test_a_slow_machine_trains_a_smaller_network():
    text = corpus(10**6, valid=10**5)
    fast, slow = (language.plan(text, True, {"budget": 60.0}, pace) for pace in (pace.Pace(), SLOW))
    assert slow.facts.weights < fast.facts.weights
    assert slow.facts.passes < fast.facts.passes


def test_the_other_choices_adapt_to_what_is_asked_for():
    """A large network is read fewer times; what is asked for stands, whatever it is."""
    text, wanted = corpus(10**5, valid=10**4), {"budget": 60.0}
    small, large = (language.plan(text, True, {**wanted, "size": size}) for size in (100, 900))
    assert (small.shape["size"], large.shape["size"]) == (100, 900)
    assert small.facts.passes > large.facts.passes
    assert small.train["learning_rate"] > large.train["learning_rate"]
    for name, value in {"layers": 3, "embedding": 17, "dropout": 0.33, "tie": True, "layer_norm": True, "cell": "gru"}.items():
        assert language.plan(text, True, {**wanted, name: value}).shape[name] == value
    for name, value in {"batch": 7, "window": 21, "learning_rate": 0.02, "patience": 3, "keep": "last"}.items():
        assert language.plan(text, True, {**wanted, name: value}).train[name] == value
    assert language.plan(text, True, {**wanted, "cell": "transformer"}).shape["layers"] == language.BLOCKS["transformer"]


def test_many_kinds_of_symbols_share_narrow_vectors():
    """Of words and of ideographs alike; the embedding grows with the network within its bounds."""
    for unit in ("char", "word"):
        plans = [language.plan(corpus(10**6, unit, 5_000), True, {"budget": 60.0, "size": n}) for n in (128, 768, 1536)]
        widths = [plan.shape["embedding"] for plan in plans]
        assert all(plan.shape["tie"] for plan in plans)
        assert widths == [language.NARROW, 192, language.WIDE]
    assert not language.plan(corpus(10**6, kinds=90), True, {"budget": 60.0}).shape["tie"]


def test_what_does_not_fit_into_memory_is_no_candidate(monkeypatch):
    text, wanted = corpus(10**7, valid=10**5), {"budget": 36000.0}
    roomy = language.plan(text, True, wanted)
    monkeypatch.setattr(language.memory, "available", lambda: 1e8)
    tight = language.plan(text, True, wanted)
    network = model.NetworkConfig(vocab=90, **tight.shape)
    assert tight.facts.weights < roomy.facts.weights
    assert language.memory_needed(network, language.TrainingConfig(**tight.train)) < 1e8
    monkeypatch.setattr(language.memory, "available", lambda: 0)
    least = language.plan(text, True, wanted)
    assert (least.shape["size"], least.shape["layers"]) == (language.SIZES[0], 1)
    assert language.plan(text, True, {**wanted, "size": 5000, "layers": 9}).shape["size"] == 5000


def test_validation_takes_a_tenth_of_the_time_and_comes_forty_times_at_most():
    """A validation costs a third of training on as many symbols."""
    for symbols, valid in ((10**5, 10**4), (10**6, 10**6), (10**7, 10**3)):
        plan = language.plan(corpus(symbols, valid=valid), True, {"budget": 300.0})
        a_step, every = plan.train["batch"] * plan.train["window"], plan.train["validate_every"]
        assert valid / 3 <= 1.01 * every * a_step / 9 + a_step
        assert plan.steps / every < language.VALIDATIONS + 1
    endless = language.plan(corpus(10**9, valid=10**3), True, {"budget": 1e9, "size": 64})
    assert endless.train["validate_every"] == language.LONGEST
