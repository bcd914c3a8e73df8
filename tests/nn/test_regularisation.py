"""What training drops and pulls at: where, how much, and that nothing of it is left in evaluation. Shapes: T time, B batch."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from equations import by_hand
from lmgen.defaults import language
from lmgen.defaults.config import TrainingConfig
from lmgen.errors import InputError
from lmgen.nn import model, recurrence
from lmgen.nn.cells import CELLS
from lmgen.nn.embedding import Rows
from lmgen.nn.regularisation import dropout
from lmgen.nn.regularisation.activations import regularised
from lmgen.tasks import task_of
from lmgen.tasks.language import Language
from lmgen.training.step import begin, step

V = 11
TINY = model.NetworkConfig(V, "lstm", size=24, embedding=5)
RATES = ("input_dropout", "state_dropout", "weight_dropout", "embedding_dropout", "output_dropout")
FED_BACK = [name for name, cell in CELLS.items() if cell.recurrent and not cell.normalises]
every_rate = pytest.mark.parametrize("rate", RATES)


def ids_of(T, B, seed=0):
    """Ids with an EOS now and then."""
    return np.random.default_rng(seed).integers(0, V, (T, B)).astype(np.int32)


def normal(shapes, seed=0, scale=0.5):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda a: rng.normal(0, scale, a.shape).astype(np.float32), shapes)


@partial(jax.jit, static_argnums=0)
def outputs(config, params, ids, key=None):
    """What the head reads."""
    return model.read(config, "f32", params, model.start(config, ids.shape[1]), ids, key)[1]


def close(ours, theirs, tolerance):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance), ours, theirs)


# ---- masks -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.95])
@pytest.mark.parametrize("shape", [(301, 333), (100_001,)])
def test_a_mask_drops_its_share_and_scales_the_rest(rate, shape):
    """Neighbours, which share a random word, are dropped independently; another key gives another mask."""
    masks = [np.asarray(dropout.mask(jax.random.key(k), rate, shape)) for k in (0, 0, 1)]
    assert {*np.unique(masks[0])} == {np.float32(0), np.float32(1 / (1 - rate))}
    kept = [mask.reshape(-1) != 0 for mask in masks]
    deviation = (rate * (1 - rate) / masks[0].size) ** 0.5
    assert kept[0].mean() == pytest.approx(1 - rate, abs=4 * deviation)
    assert (kept[0][:-1] & kept[0][1:]).mean() == pytest.approx((1 - rate) ** 2, abs=8 * deviation)
    np.testing.assert_array_equal(masks[0], masks[1])
    assert (masks[0] != masks[2]).any()


@every_rate
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_rate_drops_in_training_alone(rate, cell):
    config, ids = replace(TINY, cell=cell), ids_of(7, 2)
    params, noisy = normal(jax.eval_shape(partial(model.init, config), jax.random.key(0))), replace(config, **{rate: 0.5})
    whole = outputs(config, params, ids)
    np.testing.assert_array_equal(outputs(noisy, params, ids), whole)
    np.testing.assert_array_equal(outputs(config, params, ids, jax.random.key(0)), whole)
    one, same, other = (np.asarray(outputs(noisy, params, ids, jax.random.key(k))) for k in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert (one != whole).any()
    assert (one != other).any()


def mean_share(config, rate, read):
    """The mean under many masks as a share of what is read without any."""
    params, ids = model.init(config, jax.random.key(1)), ids_of(6, 1)
    clean = np.float64(read(config, params, ids, None))
    keys = jax.random.split(jax.random.key(2), 1500)
    noisy = replace(config, **{rate: 0.2})
    mean = np.float64(jax.jit(lambda keys: jax.lax.map(lambda key: read(noisy, params, ids, key), keys).mean(0))(keys))
    return (mean * clean).sum() / (clean**2).sum()


@every_rate
@pytest.mark.parametrize("around", [{}, {"layer_norm": True}], ids=str)
def test_mean_logits_over_many_masks_are_near_those_without(rate, around):
    """A model must not be surer of itself in evaluation; the norm of the head cannot but see the noise of the layer."""

    def logits(config, params, ids, key):
        return model.logits(params, outputs(config, params, ids, key), "f32")

    share = mean_share(replace(TINY, embedding=24, **around), rate, logits)
    assert share == pytest.approx(1, abs=0.16 if "layer_norm" in around else 0.05)


@pytest.mark.parametrize("rate", sorted({*RATES} - {"output_dropout"}))
@pytest.mark.parametrize("layer_norm", [False, True])
def test_what_is_dropped_is_dropped_after_the_norm(rate, layer_norm):
    """The mean of what a linear layer gives is that without dropout: no norm undoes the scale of what is left."""

    def hs(config, params, ids, key):
        forget, start = np.zeros(ids.shape, bool), model.start(config, 1)
        return model.read_stack(config, "f32", params, params["embedding"], start, ids, forget, key)[1]

    config = replace(TINY, cell="elman-linear", layer_norm=layer_norm)
    assert mean_share(config, rate, hs) == pytest.approx(1, abs=0.04)


# ---- each place --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FED_BACK)
def test_dropout_of_the_state_is_that_of_what_the_recurrent_matrices_read(name):
    """Of each column as a loop by hand whose recurrent matrices have the mask in their rows."""
    T, B, D, N = 6, 3, 4, 5
    cell, rng = CELLS[name], np.random.default_rng(0)
    shapes = jax.eval_shape(lambda key: cell.init(key, D, N), jax.random.key(0)), jax.eval_shape(lambda: cell.start(B, N))
    p, state = normal(shapes)
    inputs, forget = normal(np.zeros((T, B, D)), 1, 1.0), rng.random((T, B)) < 0.2
    mask = 2 * rng.integers(0, 2, (B, N)).astype(np.float32)
    run = jax.jit(partial(recurrence.layer, cell, ids=None, forget=forget, precision="f32"))
    after, hs = run(p | {"mask": mask}, state, inputs)
    for b in range(B):
        own, one = {key: mask[b][:, None] * p[key] for key in cell.recurrent}, slice(b, b + 1)
        last, theirs = by_hand(name, p | own, {key: s[one] for key, s in state.items()}, inputs[:, one], forget[:, one])
        close((hs[:, one], {key: s[one] for key, s in after.items()}), (theirs, last), 1e-5)


def slope_of(config, key, B=4):
    params = normal(jax.eval_shape(partial(model.init, config), jax.random.key(0)))
    return jax.grad(lambda params: outputs(config, params, ids_of(7, B), key).sum())(params)


@pytest.mark.parametrize("cell", ["lstm", "gru", "jordan", "gru-reset-before"])
def test_dropped_weights_get_no_gradient_and_no_others_are_touched(cell):
    key = jax.random.key(0)
    slope = slope_of(replace(TINY, cell=cell, weight_dropout=0.5), key)["layers"][0]
    for name, one in slope.items():
        zeros = (np.asarray(one) == 0).mean()
        assert zeros == (pytest.approx(0.5, abs=0.1) if name in CELLS[cell].recurrent else 0), name


@pytest.mark.parametrize("B", [1, 4])
def test_a_dropped_symbol_is_dropped_wherever_it_is_read(B):
    """With one column the symbols are looked up before the input product, with four after it."""
    config, ids = replace(TINY, embedding_dropout=0.5), np.unique(ids_of(7, B))
    slope = slope_of(config, jax.random.key(3), B)["embedding"]
    dropped = ids[~np.asarray(slope)[ids].any(1)]
    assert 0 < len(dropped) < len(ids)
    whole = normal(jax.eval_shape(partial(model.init, config), jax.random.key(0)))
    other = whole | {"embedding": whole["embedding"] + np.isin(np.arange(V), dropped)[:, None]}
    ours, theirs = (outputs(config, params, ids_of(7, B), jax.random.key(3)) for params in (whole, other))
    np.testing.assert_array_equal(ours, theirs)


def test_few_rows_of_the_embedding_are_dropped_as_in_the_whole_of_it():
    config, ids, key = replace(TINY, embedding_dropout=0.4, input_dropout=0.3), ids_of(3, 2), jax.random.key(0)
    params = normal(jax.eval_shape(partial(model.init, config), key))
    few = params | {"embedding": Rows(ids, params["embedding"][ids])}
    close(outputs(config, few, ids, key), outputs(config, params, ids, key), 1e-6)


def test_the_output_is_dropped_at_a_rate_of_its_own():
    """Where it is not given, at that between the layers."""
    params, ids, key = model.init(TINY, jax.random.key(0)), ids_of(50, 20), jax.random.key(1)
    for given, share in ((None, 0.1), (0.0, 0.0), (0.6, 0.6)):
        hs = outputs(replace(TINY, dropout=0.1, output_dropout=given), params, ids, key)
        assert (np.asarray(hs) == 0).mean() == pytest.approx(share, abs=0.01)


@pytest.mark.parametrize("T", [1, 5])
def test_activation_regularisation_is_the_gradient_of_its_penalties(T):
    """The outputs stay the same bits; the gradient of any loss gets that of ar mean h² + tar mean (h_t − h_{t−1})²."""
    hs, weight = normal(np.zeros((T, 2, 3))), normal(np.zeros((T, 2, 3)), 1)

    def loss(hs):
        return (weight * jnp.sin(hs)).sum()

    def penalised(hs):
        steps = (hs[1:] - hs[:-1]) ** 2
        return loss(hs) + 2.0 * (hs**2).mean() + (3.0 * steps.mean() if T > 1 else 0)

    np.testing.assert_array_equal(regularised(2.0, 3.0, hs), hs)
    close(jax.grad(lambda hs: loss(regularised(2.0, 3.0, hs)))(hs), jax.grad(penalised)(hs), 1e-6)


# ---- training ----------------------------------------------------------------------------------------------------------

NOISY = replace(TINY, layers=2, dropout=0.2, ar=1.0, tar=1.0, **dict.fromkeys(RATES, 0.3))


@pytest.mark.parametrize(
    "change", [{}, {"cell": "gru", "layer_norm": True}, {"cell": "lstm-mogrifier", "direction": "both"}], ids=str
)
def test_a_step_is_a_function_of_its_state_and_number(change):
    """The same bits when it is taken again, as after a resume; other masks at another number."""
    task, config = task_of(replace(NOISY, **change), "f32"), TrainingConfig(batch=3, window=7, learning_rate=0.01, steps=9)
    batch = task.batch(ids_of(8 + task.ahead, 3), np.zeros(3, bool))

    def taken(number):
        return step(task, config.optimiser, begin(task, config), batch, 0.01, number)[0].params

    jax.tree.map(np.testing.assert_array_equal, taken(3), taken(3))
    assert any(jax.tree.leaves(jax.tree.map(lambda a, b: bool((a != b).any()), taken(3), taken(4))))


def test_skip_connections_are_refused_for_cells_with_connections_of_their_own():
    with pytest.raises(InputError, match="--skip is for recurrent layers, and transformer has"):
        language.check({"cell": "transformer", "skip": True})


def test_the_nats_of_a_step_do_not_contain_the_penalties():
    config = TrainingConfig(batch=3, window=7, learning_rate=0.01, steps=9)
    nats = []
    for network in (TINY, replace(TINY, ar=100.0, tar=100.0)):
        task = Language(network)
        batch = task.batch(ids_of(8, 3), np.zeros(3, bool))
        _, loss, norm = step(task, config.optimiser, begin(task, config), batch, 0.01, 0)
        nats.append((float(loss), float(norm)))
    assert nats[0][0] == nats[1][0]
    assert nats[0][1] != nats[1][1]


@pytest.mark.parametrize("name", ["state_dropout", "weight_dropout"])
def test_dropout_of_what_is_fed_back_is_refused_for_cells_that_feed_nothing_back(name):
    flag = f"--{name.replace('_', '-')}"
    for cell in sorted(CELLS.keys() - {*FED_BACK}):
        with pytest.raises(InputError, match=f"{flag} is dropout of the recurrent products, which {cell} has not"):
            language.check({"cell": cell, name: 0.1})
        language.check({"cell": cell, name: 0.0})
    language.check({"cell": "gru", name: 0.1})
