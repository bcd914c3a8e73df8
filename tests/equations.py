"""The equations of every cell as NumPy loops in float64: the oracle of whatever runs them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from lmgen.nn.cells import CELLS


def σ(a):
    return 1 / (1 + np.exp(-a))


def elman(φ):
    return lambda p, s, x: {"h": φ(x @ p["W"] + s["h"] @ p["U"] + p["b"])}


def gate(p, k, x, h):
    """The sum of the k-th gate: W x_t + U h_{t-1} + b, by its own columns of the weights."""
    own = slice(k * h.shape[1], (k + 1) * h.shape[1])
    return x @ p["W"][:, own] + h @ p["U"][:, own] + p["b"][own]


def lstm(p, s, x):
    i, f, o, g = (gate(p, k, x, s["h"]) for k in range(4))
    c = σ(f) * s["c"] + σ(i) * np.tanh(g)
    return {"h": σ(o) * np.tanh(c), "c": c}


def lstm_peephole(p, s, x):
    i, f, o, g = (gate(p, k, x, s["h"]) for k in range(4))
    v_i, v_f, v_o = p["v"].reshape(3, -1)
    c = σ(f + v_f * s["c"]) * s["c"] + σ(i + v_i * s["c"]) * np.tanh(g)
    return {"h": σ(o + v_o * c) * np.tanh(c), "c": c}


def lstm_of_three(keep):
    """An LSTM whose forget gate is a function of its input gate."""

    def step(p, s, x):
        i, o, g = (gate(p, k, x, s["h"]) for k in range(3))
        c = keep(σ(i)) * s["c"] + σ(i) * np.tanh(g)
        return {"h": σ(o) * np.tanh(c), "c": c}

    return step


def lstm_capped(p, s, x):
    i, f, o, g = (gate(p, k, x, s["h"]) for k in range(4))
    c = σ(f) * s["c"] + np.where(σ(i) + σ(f) > 1, 1 - σ(f), σ(i)) * np.tanh(g)
    return {"h": σ(o) * np.tanh(c), "c": c}


def lstm_mogrifier(p, s, x):
    """The rounds as the paper numbers them: x^{-1} = x_t, h^0 = h_{t-1}, and each reads the round before."""
    rounds = sum(name.startswith("A_") for name in p)
    values = {-1: x, 0: s["h"]}
    for k in range(1, rounds + 1):
        Q = p[f"A_{k}"] @ p[f"B_{k}"]
        values[k] = 2 * σ(values[k - 1] @ Q) * values[k - 2]
    last = max(k for k in values if k % 2), max(k for k in values if not k % 2)
    return lstm(p, s | {"h": values[last[1]]}, values[last[0]])


def gru(p, s, x):
    h = s["h"]
    (W_z, W_r, W_n), (U_z, U_r, U_n), (b_z, b_r, b_n) = (np.split(p[name], 3, axis=-1) for name in "WUb")
    z, r = σ(x @ W_z + h @ U_z + b_z), σ(x @ W_r + h @ U_r + b_r)
    n = np.tanh(x @ W_n + b_n + r * (h @ U_n + p["b_u"]))
    return {"h": z * n + (1 - z) * h}


def gru_reset_before(p, s, x):
    h = s["h"]
    (W_z, W_r, W_n), (b_z, b_r, b_n) = (np.split(p[name], 3, axis=-1) for name in "Wb")
    U_z, U_r = np.split(p["U"], 2, axis=-1)
    z, r = σ(x @ W_z + h @ U_z + b_z), σ(x @ W_r + h @ U_r + b_r)
    n = np.tanh(x @ W_n + (r * h) @ p["U_n"] + b_n)
    return {"h": z * n + (1 - z) * h}


def gru_simple(p, s, x):
    z, n = σ(gate(p, 0, x, s["h"])), np.tanh(gate(p, 1, x, s["h"]))
    return {"h": z * n + (1 - z) * s["h"]}


def min_gru(p, s, x):
    z, n = np.split(x @ p["W"] + p["b"], 2, axis=-1)
    return {"h": (1 - σ(z)) * s["h"] + σ(z) * n}


def min_lstm(p, s, x):
    f, i, n = np.split(x @ p["W"] + p["b"], 3, axis=-1)
    return {"h": (σ(f) * s["h"] + σ(i) * n) / (σ(f) + σ(i))}


def jordan(p, s, x):
    h = np.tanh(x @ p["W"] + s["h"] @ p["U"] + p["b"])
    return {"h": np.tanh(h @ p["V"] + p["b_y"])}


K = 4


def delayed(p, s, x):
    """Delayed inputs and, where there is a U, delayed outputs, from the last K of each: `xs` and `ys`, the newest first.

    `given` is what the start state says is due beside them; what is due after the step is written from its definition.
    """
    B, N = s["h"].shape
    xs = np.concatenate([x, s.get("xs", np.zeros((B, K * x.shape[1])))], 1).reshape(B, K + 1, -1)
    ys = s.get("ys", np.zeros((B, K * N))).reshape(B, K, N)
    given = s.get("given", s["due"]).reshape(B, K, N)
    W = p["W"].reshape(-1, K + 1, N)
    U = p.get("U", np.zeros((N, K * N))).reshape(N, K, N)
    y = np.tanh(p["b"] + given[:, 0] + sum(xs[:, k] @ W[:, k] for k in range(K + 1)) + sum(ys[:, k] @ U[:, k] for k in range(K)))
    xs, ys = xs[:, :K], np.concatenate([y[:, None], ys[:, :-1]], 1)
    given = np.concatenate([given[:, 1:], np.zeros((B, 1, N))], 1)
    due = given + np.stack(
        [sum(xs[:, k - j] @ W[:, k] + ys[:, k - j] @ U[:, k - 1] for k in range(j, K + 1)) for j in range(1, K + 1)], 1
    )
    flat = {"due": due, "given": given, "xs": xs, "ys": ys}
    return {"h": y} | {name: value.reshape(B, -1) for name, value in flat.items()}


def norm(x, gain, shift):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * gain + shift


def turned(x, place):
    """Each pair of numbers, the first and the second half of x, as a complex number turned by its angle."""
    half = x.size // 2
    z = (x[:half] + 1j * x[half : 2 * half]) * np.exp(1j * place * 10_000.0 ** (-np.arange(half) / max(1, half)))
    return np.concatenate([z.real, z.imag, x[2 * half :]])


def attention(p, s, x, heads=1):
    """One column and one head after the other, over the list of the keys that are left."""
    x = x @ p["P"] if "P" in p else x
    B, N = x.shape
    qs, ks, vs = np.split(norm(x, p["gain"], p["shift"]) @ p["W"] + p["b"], 3, axis=-1)
    keys, values = (
        np.concatenate([s[name].reshape(B, -1, N)[:, 1:], new[:, None]], 1) for name, new in (("keys", ks), ("values", vs))
    )
    C, d, mean = keys.shape[1], N // heads, np.zeros((B, N))
    length = np.minimum(np.maximum(s["length"], 0) + 1, C)
    for b in range(B):
        left = [place for place in range(C) if C - 1 - place < length[b, 0]]
        for place in set(range(C)) - set(left):
            keys[b, place] = values[b, place] = 0
        for own in (slice(h * d, (h + 1) * d) for h in range(heads)):
            fits = [turned(qs[b, own], C - 1) @ turned(keys[b, place, own], place) / d**0.5 for place in left]
            mean[b, own] = sum(np.exp(fit) * values[b, place, own] for fit, place in zip(fits, left, strict=True))
            mean[b, own] /= sum(map(np.exp, fits))
    return {"h": x + mean @ p["U"] + p["b_u"], "keys": keys.reshape(B, -1), "values": values.reshape(B, -1), "length": length}


def transformer(p, s, x, heads=1):
    s = attention(p, s, x, heads)
    a = norm(s["h"], p["gain_2"], p["shift_2"]) @ p["W_1"] + p["b_1"]
    return s | {"h": s["h"] + a * σ((8 / np.pi) ** 0.5 * (a + 0.044715 * a**3)) @ p["W_2"] + p["b_2"]}


EQUATIONS = {
    "lstm": lstm,
    "lstm-peephole": lstm_peephole,
    "lstm-coupled": lstm_of_three(lambda i: 1 - i),
    "lstm-no-forget": lstm_of_three(lambda i: 1),
    "lstm-capped": lstm_capped,
    "lstm-mogrifier": lstm_mogrifier,
    "gru": gru,
    "gru-reset-before": gru_reset_before,
    "gru-simple": gru_simple,
    "min-gru": min_gru,
    "min-lstm": min_lstm,
    "elman": elman(np.tanh),
    "elman-relu": elman(lambda a: np.maximum(a, 0)),
    "elman-linear": elman(lambda a: a),
    "jordan": jordan,
    "tdnn": delayed,
    "narx": delayed,
    "attention": attention,
    "transformer": transformer,
}


def own_step(name):
    """Of a cell whose equations are not here yet: what it does in one step, in float64."""

    def step(p, s, x):
        with jax.enable_x64(True):
            cell = CELLS[name]
            return cell.step(p, s, cell.inputs(p, jnp.asarray(x), jnp.matmul), lambda a, matrix: a @ p[matrix])

    return step


def by_hand(name, p, state, inputs, forget):
    """The loop over time in float64: every output, and the last state."""
    equations = EQUATIONS.get(name) or own_step(name)
    p, s = jax.tree.map(np.float64, (p, state))
    hs = []
    for x, forgotten in zip(np.float64(inputs), forget, strict=True):
        s = equations(p, {key: np.where(forgotten[:, None], 0, value) for key, value in s.items()}, x)
        hs.append(s["h"])
    return {key: s[key] for key in state}, np.array(hs)
