"""Cells with attention: what each symbol sees, however the text is cut, and what attention computes.

Shapes: T time, B batch, D inputs, N cell size, C context.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from equations import attention, transformer
from lmgen.nn import model, recurrence
from lmgen.nn.attention import Attention, Transformer, gelu, heads_of

C, N, T = 4, 6, 15
KINDS = [Attention, Transformer]

both = pytest.mark.parametrize("kind", KINDS)


def problem(kind, seed=0, **settings):
    """A cell, random weights, and inputs [T, 2, N]."""
    rng, cell = np.random.default_rng(seed), kind(**{"context": C, **settings})
    shapes = jax.eval_shape(lambda key: cell.init(key, N, N), jax.random.key(0))
    p = jax.tree.map(lambda a: rng.normal(0, 0.5, a.shape).astype(np.float32), shapes)
    return cell, p, rng.normal(size=(T, 2, N)).astype(np.float32)


@partial(jax.jit, static_argnums=0)
def run(cell, p, inputs, forget, state=None):
    state = cell.start(inputs.shape[1], N) if state is None else state
    return recurrence.run(cell, p, state, cell.inputs(p, inputs, jnp.matmul), forget, "f32")


def seen_from(forget):
    """For each time [T] and column, the first time that it sees: C symbols, and none before the last that forgot."""
    first = np.zeros(forget.shape, int)
    for t, b in np.ndindex(forget.shape):
        first[t, b] = max([0, t - C + 1, *np.flatnonzero(forget[: t + 1, b])])
    return first


@both
@pytest.mark.parametrize("window", [1, 2, 3, 7, T])
def test_each_symbol_sees_the_last_symbols_of_its_sequence_however_the_text_is_cut(kind, window):
    """Its output is that of a fresh run over these symbols alone: in windows, step by step, and at once."""
    cell, p, inputs = problem(kind, heads=2)
    forget = np.random.default_rng(1).random((T, 2)) < 0.15
    state, found = None, []
    for t in range(0, T, window):
        state, hs = run(cell, p, inputs[t : t + window], forget[t : t + window], state)
        found.append(hs)
    for (t, b), first in np.ndenumerate(seen_from(forget)):
        alone = inputs[first : t + 1, b : b + 1]
        _, hs = run(cell, p, alone, np.zeros(alone.shape[:2], bool))
        np.testing.assert_allclose(np.concatenate(found)[t, b], hs[-1, 0], rtol=1e-5, atol=1e-5)


@both
def test_gradient_reaches_what_is_seen_and_nothing_else(kind):
    """No later symbol, none before the context, none of another sequence, none of another column."""
    cell, p, inputs = problem(kind)
    forget = np.zeros((T, 2), bool)
    forget[9, 1] = True
    slopes = jax.jacrev(lambda inputs: run(cell, p, inputs, forget)[1].sum(-1))(inputs)
    reached = np.asarray(slopes).any(-1)  # [T, B, T, B]
    for (t, b), first in np.ndenumerate(seen_from(forget)):
        wanted = np.zeros((T, 2), bool)
        wanted[first : t + 1, b] = True
        np.testing.assert_array_equal(reached[t, b], wanted)


@both
def test_what_was_read_long_ago_changes_no_bit(kind):
    """Positions are relative: after any number of symbols, outputs depend on the last symbols alone, and no number grows."""
    cell, p, inputs = problem(kind)
    last, ends = inputs[-2 * C :], []
    for before in (C, 3000):
        stream = np.concatenate([np.resize(inputs[:7], (before, 2, N)), last])
        state = None
        for t in range(0, len(stream), C):
            state, hs = run(cell, p, stream[t : t + C], np.zeros((C, 2), bool), state)
        ends.append((state, hs))
    jax.tree.map(np.testing.assert_array_equal, *ends)


@pytest.mark.parametrize(("kind", "equations"), [(Attention, attention), (Transformer, transformer)])
@pytest.mark.parametrize("heads", [1, 2, 3, 6])
def test_heads_attend_each_on_its_own(kind, equations, heads):
    """As the equations in NumPy, one head after the other; a head of one unit has no pair to turn."""
    cell, p, inputs = problem(kind, heads=heads)
    _, hs = run(cell, p, inputs, np.zeros((T, 2), bool))
    weights, state = jax.tree.map(np.float64, (p, cell.start(2, N)))
    for x, h in zip(np.float64(inputs), hs, strict=True):
        state = equations(weights, state, x, heads)
        np.testing.assert_allclose(h, state["h"], rtol=1e-4, atol=1e-5)


def test_attention_worked_by_hand():
    """With queries of zero all weights are equal: the output is x plus the mean of the values that are seen, two at most."""
    cell = Attention(context=2, heads=1)
    p = {"U": np.ones((1, 1), np.float32), "b_u": np.zeros(1, np.float32)}
    rows = np.float32([[5, 0, 0, 1], [5, 0, 0, 3], [5, 0, 0, 7]])[:, None]  # x, q, k, v
    forget = np.zeros((3, 1), bool)
    _, hs = recurrence.run(cell, p, cell.start(1, 1), jnp.asarray(rows), forget, "f32")
    assert hs[:, 0, 0].tolist() == [5 + 1, 5 + 2, 5 + 5]
    forget[1] = True
    _, hs = recurrence.run(cell, p, cell.start(1, 1), jnp.asarray(rows), forget, "f32")
    assert hs[:, 0, 0].tolist() == [5 + 1, 5 + 3, 5 + 5]


def test_gelu_is_near_its_definition_and_its_gradient_is_that_of_its_formula():
    """a Φ(a): zero at zero, a far above, nothing far below."""
    a = np.linspace(-6, 6, 49).astype(np.float32)
    with jax.enable_x64(True):
        exact = jax.nn.gelu(jnp.float64(a), approximate=False)
        slope = jax.vmap(jax.grad(lambda a: jax.nn.gelu(a, approximate=True)))(jnp.float64(a))
    np.testing.assert_allclose(gelu(a), exact, atol=5e-4)
    np.testing.assert_allclose(jax.vmap(jax.grad(gelu))(a), slope, atol=1e-5)


@pytest.mark.parametrize(("size", "heads"), [(1, 1), (6, 1), (64, 2), (100, 2), (97, 1), (128, 4), (384, 12)])
def test_heads_divide_the_size_and_have_about_32_units(size, heads):
    assert heads_of(size) == heads


def test_dropout_takes_what_a_block_adds_and_not_what_it_adds_to():
    """With nearly all of it dropped, the outputs of the upper blocks are those of the first, but for a place here and there."""
    config = model.NetworkConfig(9, "transformer", size=16, layers=4, embedding=16, dropout=0.95)
    params, ids = model.init(config, jax.random.key(0)), np.full((20, 10), 3, np.int32)
    forget = np.zeros(ids.shape, bool)

    def outputs(layers, key):
        some = {"layers": params["layers"][:layers]}
        start = model.start(config, 10)[:layers]
        return np.asarray(model.read_stack(config, "f32", some, params["embedding"], start, ids, forget, key)[1])

    kept = outputs(4, jax.random.key(1)) == outputs(1, None)
    assert kept.mean() == pytest.approx(0.95**3, abs=0.03)


@both
@pytest.mark.parametrize("length", [33, 80, 300])
def test_long_windows_which_attend_in_blocks_equal_short_ones(kind, length):
    """Values, the last state, and the gradient with respect to inputs and weights."""
    cell, p, inputs = problem(kind, context=7, heads=2)
    inputs = np.resize(inputs, (length, 2, N)) + np.random.default_rng(2).normal(0, 0.3, (length, 2, N)).astype(np.float32)
    forget = np.random.default_rng(1).random((length, 2)) < 0.02

    def cut(window, p, inputs):
        state, found = None, []
        for t in range(0, length, window):
            state, hs = run(cell, p, inputs[t : t + window], forget[t : t + window], state)
            found.append(hs)
        hs = jnp.concatenate(found)
        return (hs * np.sin(np.arange(hs.size)).reshape(hs.shape)).sum(), (state, hs)

    whole, parts = (jax.value_and_grad(partial(cut, n), (0, 1), has_aux=True)(p, inputs) for n in (length, 25))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), whole, parts)
