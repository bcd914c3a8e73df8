"""Against PyTorch with the same weights, in float64: layers, the loss, and the optimiser.

Shapes: T time, B batch, D inputs, N cell size, G gates, V vocabulary.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmgen.defaults.config import TrainingConfig
from lmgen.nn import attention, model, recurrence
from lmgen.nn.cells import CELLS
from lmgen.training import optimiser

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.oracle

T, B, D, N, LAYERS = 7, 3, 5, 4, 2

# For each of PyTorch's gates our gate's place and sign. Its LSTM orders i f g o, ours i f o g; its GRU orders r z n, ours z r n,
# and since its z is 1 − z of ours, the weights of that gate have the other sign.
GATES = {
    "elman": [(0, 1)],
    "elman-relu": [(0, 1)],
    "lstm": [(0, 1), (1, 1), (3, 1), (2, 1)],
    "gru": [(1, 1), (0, -1), (2, 1)],
}
PEERS = {
    "elman": lambda *sizes: torch.nn.RNN(*sizes, nonlinearity="tanh"),
    "elman-relu": lambda *sizes: torch.nn.RNN(*sizes, nonlinearity="relu"),
    "lstm": torch.nn.LSTM,
    "gru": torch.nn.GRU,
}


def theirs_from(name, a):
    """Our [..., G N] in PyTorch's layout [G N, ...]; a gradient goes the way of its weights, for signs are their own inverse."""
    parts = np.split(np.asarray(a), len(GATES[name]), axis=-1)
    return np.concatenate([sign * parts[place] for place, sign in GATES[name]], axis=-1).T


def laid_out(name, layers):
    """Our weights, or their gradients, under PyTorch's names."""
    out = {}
    for k, p in enumerate(layers):
        out[f"weight_ih_l{k}"] = theirs_from(name, p["W"])
        out[f"weight_hh_l{k}"] = theirs_from(name, p["U"])
        out[f"bias_ih_l{k}"] = theirs_from(name, p["b"])
        if "b_u" in p:
            out[f"bias_hh_l{k}"] = np.concatenate([np.zeros(2 * N), p["b_u"]])
    return out


def tensor(a):
    return torch.tensor(np.asarray(a), dtype=torch.float64, requires_grad=True)


def random_like(shapes, seed=0):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda a: rng.normal(0, 0.5, a.shape), shapes)


def agree(ours, theirs):
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", PEERS)
def test_layers_equal_those_of_pytorch(name):
    """Outputs and last states of two layers, and the gradients with respect to inputs, start states and all weights.

    The inputs of all places are the rows of an embedding with one symbol for each place.
    """
    config = model.NetworkConfig(T * B, name, size=N, layers=LAYERS, embedding=D, carry=True)
    ids = np.arange(T * B).reshape(T, B)
    shapes = (
        jax.eval_shape(lambda key: model.init(config, key), jax.random.key(0)),
        jax.eval_shape(lambda: model.start(config, B)),
    )
    params, start = random_like(shapes)
    last, outputs = random_like((shapes[1], jax.ShapeDtypeStruct((T, B, N), float)), 1)  # cotangents

    with jax.enable_x64(True):
        out, pullback = jax.vjp(lambda *a: model.read(config, "f32", *a, ids), params, start)
        slope, start_slope = pullback(jax.tree.map(jnp.asarray, (last, outputs)))

    peer = PEERS[name](D, N, LAYERS).double()
    weights = laid_out(name, params["layers"])
    with torch.no_grad():
        for key, weight in peer.named_parameters():
            weight.copy_(torch.tensor(weights.get(key, np.zeros(weight.shape))))
    inputs = tensor(params["embedding"][ids])
    memory = CELLS[name].memory
    before = [tensor(np.stack([layer[key] for layer in start])) for key in memory]
    hs, after = peer(inputs, before[0] if len(memory) == 1 else tuple(before))
    after = [after] if len(memory) == 1 else list(after)
    total = (hs * torch.tensor(outputs)).sum()
    for key, state in zip(memory, after, strict=True):
        total = total + (state * torch.tensor(np.stack([layer[key] for layer in last]))).sum()
    total.backward()

    agree(out[1], hs)
    for key, state, first in zip(memory, after, before, strict=True):
        agree(np.stack([layer[key] for layer in out[0]]), state)
        agree(np.stack([layer[key] for layer in start_slope]), first.grad)
    agree(np.asarray(slope["embedding"])[ids], inputs.grad)
    slopes = {key: weight.grad for key, weight in peer.named_parameters()}
    for key, ours in laid_out(name, slope["layers"]).items():
        if key.startswith("bias_hh"):  # only that of the candidate is ours
            ours, slopes[key] = ours[-N:], slopes[key][-N:]
        agree(ours, slopes[key])


@pytest.mark.parametrize("name", ["attention", "transformer"])
def test_attention_equals_that_of_pytorch_where_positions_are_left_out(name, monkeypatch):
    """Outputs, and the gradients with respect to inputs and all weights: MultiheadAttention after a layer norm, with the input
    added; and the block of TransformerEncoderLayer that normalises first."""
    monkeypatch.setattr(attention, "turned", lambda x, first: x)
    N, H = 6, 2
    cell = replace(CELLS[name], context=T, heads=H)
    p, inputs, outputs = random_like(
        (jax.eval_shape(lambda key: cell.init(key, N, N), jax.random.key(0)), *[jax.ShapeDtypeStruct((T, B, N), float)] * 2)
    )

    def read(p, inputs):
        xs = cell.inputs(p, inputs, jnp.matmul)
        return recurrence.run(cell, p, cell.start(B, N, float), xs, jnp.zeros((T, B), bool), "f32")[1]

    with jax.enable_x64(True):
        hs, pullback = jax.vjp(read, p, inputs)
        slopes, inputs_slope = pullback(jnp.asarray(outputs))

    theirs, later = tensor(inputs), torch.triu(torch.ones(T, T, dtype=bool), 1)
    names = {"in_proj_weight": "W", "in_proj_bias": "b", "out_proj.weight": "U", "out_proj.bias": "b_u"}
    if name == "attention":
        peer, norm = torch.nn.MultiheadAttention(N, H).double(), torch.nn.LayerNorm(N).double()
        weights = {names[key]: w for key, w in peer.named_parameters()} | {"gain": norm.weight, "shift": norm.bias}
    else:
        gelu = partial(torch.nn.functional.gelu, approximate="tanh")
        peer = torch.nn.TransformerEncoderLayer(N, H, 4 * N, 0.0, gelu, norm_first=True).double()
        names = {f"self_attn.{key}": ours for key, ours in names.items()}
        names |= {"linear1.weight": "W_1", "linear1.bias": "b_1", "linear2.weight": "W_2", "linear2.bias": "b_2"}
        names |= {"norm1.weight": "gain", "norm1.bias": "shift", "norm2.weight": "gain_2", "norm2.bias": "shift_2"}
        weights = {names[key]: w for key, w in peer.named_parameters()}
    assert weights.keys() == p.keys()
    with torch.no_grad():
        for key, w in weights.items():
            w.copy_(torch.tensor(p[key].T))
    if name == "attention":
        rows = norm(theirs)
        wanted = theirs + peer(rows, rows, rows, attn_mask=later, need_weights=False)[0]
    else:
        wanted = peer(theirs, src_mask=later)
    (wanted * torch.tensor(outputs)).sum().backward()
    agree(hs, wanted)
    agree(inputs_slope, theirs.grad)
    for key, w in weights.items():
        agree(slopes[key].T, w.grad)


def test_nats_are_the_cross_entropy_of_pytorch():
    """Values, and the gradients with respect to outputs, head weights and head bias."""
    V, rng = 9, np.random.default_rng(0)
    hs, W, b, weight = (rng.normal(size=shape) for shape in ((T, B, N), (N, V), (V,), (T, B)))
    targets = rng.integers(0, V, (T, B))
    with jax.enable_x64(True):
        nats, pullback = jax.vjp(lambda hs, W, b: model.nats({"head": {"W": W, "b": b}}, hs, targets, "f32"), hs, W, b)
        slopes = pullback(jnp.asarray(weight))
    theirs = [tensor(a) for a in (hs, W, b)]
    logits = theirs[0] @ theirs[1] + theirs[2]
    losses = torch.nn.functional.cross_entropy(logits.reshape(-1, V), torch.tensor(targets).reshape(-1), reduction="none")
    (losses * torch.tensor(weight).reshape(-1)).sum().backward()
    agree(nats, losses.reshape(T, B))
    for ours, peer in zip(slopes, theirs, strict=True):
        agree(ours, peer.grad)


def test_optimiser_is_adamw_of_pytorch_after_clipping():
    """Ten steps at a changing rate, some gradients longer than the clip and some shorter; only the matrix decays."""
    config = TrainingConfig(batch=1, window=1, learning_rate=1.0, clip=2.0, weight_decay=0.1)
    rng = np.random.default_rng(0)
    params = {"W": rng.normal(size=(3, 4)), "b": rng.normal(size=4)}
    peers = {key: tensor(p) for key, p in params.items()}
    groups = [{"params": [peers["W"]], "weight_decay": 0.1}, {"params": [peers["b"]], "weight_decay": 0.0}]
    peer = torch.optim.AdamW(groups, lr=1.0, betas=(0.9, 0.999), eps=1e-8)
    with jax.enable_x64(True):
        ours = optimiser.optimiser(config.optimiser)
        params = jax.tree.map(jnp.asarray, params)
        moments = ours.init(params)
        for step in range(10):
            rate, length = 0.1 / (step + 1), (0.1, 1.0, 3.0)[step % 3]
            gradient = {key: length * rng.normal(size=p.shape) for key, p in params.items()}
            updates, moments = ours.update(gradient, moments, params)
            params = jax.tree.map(lambda p, u, rate=rate: p - rate * u, params, updates)
            for key, p in peers.items():
                p.grad = torch.tensor(gradient[key])
            torch.nn.utils.clip_grad_norm_(peers.values(), config.clip)
            for group in peer.param_groups:
                group["lr"] = rate
            peer.step()
    for key, p in peers.items():  # PyTorch adds 1e-6 to the norm by which it divides
        np.testing.assert_allclose(params[key], p.detach().numpy(), rtol=1e-5, atol=1e-6)
