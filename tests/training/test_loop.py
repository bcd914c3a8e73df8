"""One step of training, its optimiser and its schedule. Shapes: T window, B batch; a window is [T + 1, B]."""

from __future__ import annotations

from dataclasses import replace

import jax
import numpy as np
import optax
import pytest

from lmgen.defaults.config import Progress, TrainingConfig
from lmgen.errors import DivergedError
from lmgen.nn import model
from lmgen.tasks.language import Language
from lmgen.training import loop, optimiser
from lmgen.training import step as training_step

NETWORK = model.NetworkConfig(vocab=7, cell="lstm", size=6, embedding=4, carry=True, dropout=0.2)
CONFIG = TrainingConfig(batch=3, window=5, learning_rate=0.01, steps=10, clip=0.5, weight_decay=0.1)
FLOWS_ON = np.zeros(3, bool)


def window(seed=0):
    return np.random.default_rng(seed).integers(0, 7, (6, 3)).astype(np.int32)


def copied(tree):
    """As NumPy arrays of its own: a step takes the arrays of the state that it is given."""
    return jax.tree.map(lambda a: np.array(a), tree)


def bit_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def step(state, number, network=NETWORK, seed=0, begins=FLOWS_ON, rate=CONFIG.learning_rate, kind=Language, config=CONFIG):
    task = kind(network)
    return training_step.step(task, config.optimiser, state, task.batch(window(seed), begins), rate, number)


def begun(network=NETWORK, config=CONFIG):
    return training_step.begin(Language(network), config)


# ---- the optimiser -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("clip", "clipped"), [(10.0, (3, 4)), (5.0, (3, 4)), (1.0, (0.6, 0.8)), (0.1, (0.06, 0.08))])
def test_gradient_longer_than_the_clip_is_cut_to_it(clip, clipped):
    """One norm over all parameters: (3, 4) has length 5. Adam's first mean is a tenth of the gradient that it gets."""
    ours = optimiser.optimiser(replace(CONFIG, clip=clip).optimiser)
    params = {"W": np.zeros((1, 1), np.float32), "b": np.zeros(1, np.float32)}
    _, after = ours.update({"W": np.float32([[3]]), "b": np.float32([4])}, ours.init(params), params)
    mean = optax.tree.get(after, "mu")
    assert [10 * mean["W"].item(), 10 * mean["b"].item()] == pytest.approx(clipped, rel=1e-6)


def test_matrices_decay_and_vectors_do_not():
    """Without a gradient what is left of an update is the decay: of the embedding and the weights, of no bias."""
    params = jax.tree.map(lambda a: np.ones(a.shape, np.float32), begun().params)
    ours = optimiser.optimiser(CONFIG.optimiser)
    updates, _ = ours.update(jax.tree.map(np.zeros_like, params), ours.init(params), params)
    for path, change in jax.tree.leaves_with_path(updates):
        bias = path[-1].key == "b"
        np.testing.assert_array_equal(change, np.full_like(change, 0 if bias else CONFIG.weight_decay))


@pytest.mark.parametrize(("beta1", "beta2"), [(0.9, 0.999), (0.0, 0.99)])
def test_step_is_adamw_written_down(beta1, beta2):
    """Three steps, in float64 from the equations of Loshchilov & Hutter 2019, with the gradient of the mean nats."""
    network, config = replace(NETWORK, dropout=0.0), replace(CONFIG, beta1=beta1, beta2=beta2)
    state = begun(network)
    params, carried = copied(state.params), copied(state.carried)

    @jax.jit
    @jax.value_and_grad
    def loss(params, carried, ids):
        _, hs = model.read(network, "f32", params, carried, ids[:-1])
        return model.nats(params, hs, ids[1:], "f32").mean()

    θ, tree = jax.tree.flatten(jax.tree.map(np.float64, params))
    m, v = [np.zeros_like(p) for p in θ], [np.zeros_like(p) for p in θ]
    for k in range(3):
        nats, g = loss(jax.tree.map(np.float32, tree.unflatten(θ)), carried, window(k))
        g = [np.float64(x) for x in jax.tree.leaves(g)]
        whole = np.sqrt(sum((x**2).sum() for x in g))
        g = [x * min(1, CONFIG.clip / whole) for x in g]
        m = [beta1 * a + (1 - beta1) * x for a, x in zip(m, g, strict=True)]
        v = [beta2 * a + (1 - beta2) * x**2 for a, x in zip(v, g, strict=True)]
        for j, p in enumerate(θ):
            adam = m[j] / (1 - beta1 ** (k + 1)) / (np.sqrt(v[j] / (1 - beta2 ** (k + 1))) + 1e-8)
            θ[j] = p - CONFIG.learning_rate * (adam + CONFIG.weight_decay * p * (p.ndim > 1))
        state, before, norm = step(state, k, network=network, seed=k, config=config)
        carried = copied(state.carried)
        assert float(before) == pytest.approx(float(nats), rel=1e-4)
        assert float(norm) == pytest.approx(float(whole), rel=1e-3)
    for ours, p in zip(jax.tree.leaves(state.params), θ, strict=True):
        np.testing.assert_allclose(ours, p, atol=2e-4)


class ReadsAllRows(Language):
    """The language model, with the gradient of the whole embedding."""

    def rows_read(self, batch):
        return None


def test_step_that_reads_few_rows_of_the_embedding_equals_that_by_the_gradient_of_all():
    """Where fewer symbols are read than there are, and the head does not read the embedding."""
    network, ids = replace(NETWORK, vocab=60), window(0)
    for other, few in (({}, True), ({"tie": True}, False), ({"vocab": 15}, False)):
        task = Language(replace(network, **other))
        assert (task.rows_read(task.batch(ids, FLOWS_ON)) is not None) == few
    few = whole = None
    for k in range(3):
        few, *_ = step(few or begun(network), k, network=network, seed=k)
        whole, *_ = step(whole or begun(network), k, network=network, seed=k, kind=ReadsAllRows)
    for ours, theirs in zip(jax.tree.leaves(few), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize(
    ("warmup", "at", "progress", "share"),
    [
        (4, 0, 0.0, 0.25),
        (4, 1, 0.0, 0.5),
        (4, 3, 0.0, 1.0),
        (4, 9, 0.5, 0.51),  # half of the way from 1 to 0.02
        (4, 99, 1.0, 0.02),
        (4, 99, 1.5, 0.02),
        (4, 1, 0.5, 0.255),
        (0, 0, 0.0, 1.0),
    ],
)
def test_learning_rate_worked_by_hand(warmup, at, progress, share):
    assert replace(CONFIG, warmup=warmup).rate(at, progress) == pytest.approx(share * CONFIG.learning_rate)


# ---- the step ----------------------------------------------------------------------------------------------------------


def test_state_is_carried_into_the_next_window():
    """Two windows one after the other cost what they cost read in one go; a column that begins forgets first."""
    network, begins = replace(NETWORK, dropout=0.0), np.array([False, True, False])
    state, *_ = step(begun(network), 0, network, rate=0.0)
    params, carried = copied((state.params, state.carried))
    state, flowing, _ = step(state, 1, network, seed=1, rate=0.0)
    state = state._replace(carried=jax.tree.map(jax.numpy.asarray, carried))
    state, beginning, _ = step(state, 1, network, seed=1, begins=begins, rate=0.0)

    whole = np.concatenate([window(0)[:-1], window(1)])
    _, hs = model.read(network, "f32", params, model.start(network, 3), whole[:-1])
    assert float(flowing) == pytest.approx(float(model.nats(params, hs, whole[1:], "f32")[5:].mean()), rel=1e-5)
    forgetful = jax.tree.map(lambda s: s * ~begins[:, None], carried)
    _, hs = model.read(network, "f32", params, forgetful, window(1)[:-1])
    assert float(beginning) == pytest.approx(float(model.nats(params, hs, window(1)[1:], "f32").mean()), rel=1e-5)
    assert float(beginning) != float(flowing)


def test_step_without_a_finite_gradient_leaves_everything_but_the_counts():
    """Weights and moments keep their bits, the carried state starts anew, and the next good step ends the row of bad ones."""
    state, *_ = step(begun(), 0)
    before = copied(state)
    state = state._replace(carried=jax.tree.map(lambda s: s * np.inf, state.carried))
    for number in (1, 2):
        state = state._replace(carried=jax.tree.map(lambda s: s + np.nan, state.carried))
        state, nats, norm = step(state, number)
        assert np.isnan(nats)
        assert not np.isfinite(norm)
        bit_equal((state.params, state.optimiser, state.key), (before.params, before.optimiser, before.key))
        assert (int(state.bad), int(state.skipped)) == (number, number)
        assert not any(s.any() for s in jax.tree.leaves(state.carried))
    state, nats, _ = step(state, 3)
    assert np.isfinite(nats)
    assert (int(state.bad), int(state.skipped)) == (0, 2)
    assert any((a != b).any() for a, b in zip(jax.tree.leaves(state.params), jax.tree.leaves(before.params), strict=True))


def test_the_weights_that_are_kept_are_a_moving_average():
    """In float64. Early steps fade sooner, so that the start is forgotten; a step that is left out counts nothing."""
    config, network = replace(CONFIG, average=0.6), replace(NETWORK, dropout=0.0)
    state, task, expected = begun(network, config), Language(network), None
    for k in range(20):
        if k == 7:
            state = state._replace(carried=jax.tree.map(lambda s: s + np.nan, state.carried))
        state, *_ = training_step.step(task, config.optimiser, state, task.batch(window(k), FLOWS_ON), config.learning_rate, k)
        share, now = min(0.6, k / (k + 10)), jax.tree.map(np.float64, copied(state.params))
        if k != 7:
            expected = jax.tree.map(lambda a, p, s=share: s * a + (1 - s) * p, expected or now, now)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), state.kept, expected)
    plain = begun(network)
    bit_equal(copied(plain.kept), copied(plain.params))


def test_same_seed_gives_the_same_bits_and_another_seed_others():
    def trained(seed):
        state = begun(config=replace(CONFIG, seed=seed))
        for number in range(3):
            state, *_ = step(state, number)
        return copied(state)

    once, again, other = trained(1), trained(1), trained(2)
    bit_equal(once, again)
    assert (once.params["embedding"] != other.params["embedding"]).any()


def test_every_step_drops_other_outputs():
    """The pattern follows the number of the step, so that a resumed training drops the same."""
    first, again, second = (float(step(begun(), number)[1]) for number in (0, 0, 1))
    assert first == again
    assert first != second


# ---- the loop ----------------------------------------------------------------------------------------------------------


TASK = Language(NETWORK)


class SameBatch:
    """The same batch for ever; stands for a text."""

    per_epoch = 4

    def __getitem__(self, k):
        return TASK.batch(window(), FLOWS_ON)


class Timed(SameBatch):
    """Batches that take a second each of a clock of the test, and the first one as long as compiling does."""

    def __init__(self, clock: list[float], first: float = 1.0, later: float = 1.0, per_epoch: int = 4):
        self.clock, self.first, self.later, self.per_epoch = clock, first, later, per_epoch

    def __getitem__(self, k):
        self.clock[0] += self.later if k else self.first
        return super().__getitem__(k)


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    """The seconds of a clock that only the test moves."""
    seconds = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: seconds[0])
    return seconds


def test_training_learns_and_stops_after_its_steps():
    config = replace(CONFIG, steps=60, warmup=0, validate_every=20)
    reports = list(loop.Training(config, TASK, SameBatch(), None))
    assert [report.step for report in reports] == list(range(1, 61))
    told = [report.train_nats for report in reports if report.train_nats is not None]
    assert len(told) == 12
    assert told[-1] < told[0]


def test_epochs_count_the_windows_of_the_corpus():
    config = replace(CONFIG, steps=None, epochs=1.5)
    assert len(list(loop.Training(config, TASK, SameBatch(), None))) == 6


def test_training_stops_when_validation_brings_nothing_better():
    """Three validations in a row: the best is the second, and the training ends at the fifth."""
    told = iter([2.0, 1.0, 1.5, 1.0, float("nan")])
    config = replace(CONFIG, steps=100, validate_every=2, patience=3)
    run = loop.Training(config, TASK, SameBatch(), lambda params: next(told))
    reports = list(run)
    assert [report.step for report in reports if report.best] == [2, 4]
    assert (run.progress.step, run.progress.best_step, run.progress.best_nats) == (10, 4, 1.0)


def test_the_learning_rate_falls_where_validation_brings_nothing_better():
    """After the third in a row, and again after the sixth; a better one alone does not raise it again."""
    told = iter([2.0, 3.0, 3.0, 3.0, 1.0, 3.0, 3.0, 3.0, 3.0, 3.0])
    config = replace(CONFIG, steps=20, validate_every=2, patience=0, warmup=0)
    reports = list(loop.Training(config, TASK, SameBatch(), lambda params: next(told)))
    scales = [report.learning_rate / config.rate(k, k / 20) for k, report in enumerate(reports)]
    assert scales[:8] == pytest.approx([1.0] * 8)
    assert scales[8:16] == pytest.approx([loop.SLOWER] * 8)
    assert scales[16:] == pytest.approx([loop.SLOWER**2] * 4)


def test_a_training_with_no_step_left_says_why():
    """As one that is resumed with an end that lies behind it."""
    run = loop.Training(replace(CONFIG, steps=10), TASK, SameBatch(), None, progress=Progress(step=20))
    assert list(run) == []
    assert run.progress.finished == "all steps were taken"


def test_a_budget_that_ends_in_a_validation_or_after_a_step_says_so(clock):
    """By a clock of the test: a step takes 1 s, a validation 5 s, and whoever reads the reports 3 s; nothing is left without a
    validation, and the end is named."""

    def validate(params):
        clock[0] += 5
        return 1.0

    for budget in (20.0, 21.0, 22.0, 23.0, 24.0):
        clock[0] = 0.0
        run = loop.Training(replace(CONFIG, steps=None, budget=budget, validate_every=3), TASK, Timed(clock), validate)
        validated = None
        for report in run:
            validated = report.valid_nats
            clock[0] += 3
        assert run.progress.finished == "the time was up"
        assert validated == 1.0


def test_training_without_a_finite_gradient_ends_with_a_way_out():
    state = begun()
    state.params["head"]["b"] += np.nan
    config = replace(CONFIG, steps=1000, validate_every=4)
    with pytest.raises(DivergedError, match="smaller --learning-rate"):
        list(loop.Training(config, TASK, SameBatch(), None, state))


def test_a_budget_leaves_time_for_the_first_validation(clock):
    """By a clock of the test: 10 s to compile, then 0.1 s a step, and 8 s to validate as many symbols as 24 s of training read.

    Of 30 s that leaves about 12 for steps; how long compiling took says nothing about the validation.
    """

    def validate(params):
        clock[0] += 8
        return 1.0

    config = replace(CONFIG, steps=None, budget=30.0, validate_every=1000)
    run = loop.Training(config, TASK, Timed(clock, first=10.0, later=0.1), validate, valid_symbols=240 * 15)
    reports = list(run)
    assert 110 <= len(reports) <= 125
    assert clock[0] == pytest.approx(30, abs=0.5)
    assert reports[-1].valid_nats == 1.0
    assert run.progress.finished == "the time was up"


@pytest.mark.parametrize(("budget", "trained"), [(20.0, 1), (36.0, 2), (100.0, 3)])
def test_a_budget_trains_the_networks_that_it_has_time_for(clock, budget, trained):
    """By a clock of the test, at which each of up to three networks needs 20 s: a next one begins where half of that is left."""
    config = replace(CONFIG, steps=None, epochs=1.0, budget=budget, members=3)
    run = loop.Training(config, TASK, Timed(clock, per_epoch=20), None)
    reports = list(run)
    assert run.progress.member + 1 == trained
    assert len(reports) == min(budget, 20 * trained)
    assert run.progress.finished
    shares = [report.progress for report in reports]
    assert shares == sorted(shares)
    assert shares[0] < 0.2


@pytest.mark.parametrize(("budget", "over", "further"), [(40.0, True, 0), (52.0, False, 16)])
def test_time_that_is_added_goes_to_a_next_network(clock, budget, over, further):
    """By a clock of the test, at which the second of three networks was stopped after 16 s."""
    clock[0] = 36.0
    progress = Progress(step=36, seconds=36.0, member=1, first=20, begun=20.0)
    run = loop.Training(replace(CONFIG, steps=None, budget=budget, members=3), TASK, Timed(clock), None, progress=progress)
    assert run.over == over
    assert len(list(run)) == further
    assert run.progress.member == (2 if further else 1)


@pytest.mark.parametrize(
    ("config", "enough"),
    [
        ({"members": 3, "epochs": 1.0}, 44.0),  # the second network has read all of its text: 8 s are half of what it took
        ({"members": 2, "epochs": 3.0}, 38.0),  # it can go on, and needs 2 s for its last validation
        ({"members": 4}, 44.0),  # each has an equal share
        ({}, 38.0),
    ],
)
def test_the_time_that_would_be_enough_is_known(clock, config, enough):
    """By a clock of the test; a little less would not be."""
    clock[0] = 36.0
    several = {"member": 1, "first": 20, "begun": 20.0} if config else {}

    def over(budget: float) -> bool:
        progress = Progress(step=36, seconds=36.0, validating=2.0, **several)
        whole = replace(CONFIG, steps=None, budget=budget, **config)
        run = loop.Training(whole, TASK, Timed(clock, per_epoch=16), None, progress=progress)
        assert run.enough == pytest.approx(enough)
        return run.over

    assert over(enough - 0.1)
    assert not over(enough + 0.1)


def test_another_budget_lets_several_networks_end_where_they_did():
    """But the last one, and any where the end is not one of time."""
    config = replace(CONFIG, steps=None, epochs=3.0, budget=20.0, members=2)
    assert config.until({"budget": 30.0}, 0) == replace(config, budget=30.0)
    assert config.until({"budget": 30.0}, 1) == replace(config, budget=30.0, epochs=None)
    assert config.until({"steps": 9}, 0) == replace(config, budget=None, epochs=None, steps=9)
