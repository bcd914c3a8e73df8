"""The cell: the state after one step, from parameters p, state s and input x. W reads the input, U the state."""

from __future__ import annotations

import numpy as np

from lmgen.exporting.portable.given import MODEL
from lmgen.exporting.portable.norms import normalised, sigmoid, softmax, softplus


def gates(p, s, x):
    return x @ p["W"] + s["h"] @ p["U"] + p["b"]


def elman(p, s, x):
    return {"h": np.tanh(gates(p, s, x))}


def elman_relu(p, s, x):
    return {"h": np.maximum(gates(p, s, x), 0)}


def elman_linear(p, s, x):
    return {"h": gates(p, s, x)}


def jordan(p, s, x):
    return {"h": np.tanh(np.tanh(gates(p, s, x)) @ p["V"] + p["b_y"])}


def tdnn(p, s, x):
    N = len(s["h"])
    a = x @ p["W"]
    h = np.tanh(a[:N] + p["b"] + s["due"][:N])
    due = a[N:] + np.append(s["due"][N:], np.zeros(N, np.float32))
    return {"h": h, "due": due + h @ p["U"] if "U" in p else due}


def lstm(p, s, x):
    i, f, o, g = np.split(gates(p, s, x), 4)
    c = sigmoid(f) * s["c"] + sigmoid(i) * np.tanh(g)
    return {"h": sigmoid(o) * np.tanh(c), "c": c}


def lstm_peephole(p, s, x):
    i, f, o, g = np.split(gates(p, s, x), 4)
    w_i, w_f, w_o = np.split(p["v"], 3)
    c = sigmoid(f + w_f * s["c"]) * s["c"] + sigmoid(i + w_i * s["c"]) * np.tanh(g)
    return {"h": sigmoid(o + w_o * c) * np.tanh(c), "c": c}


def lstm_coupled(p, s, x):
    i, o, g = np.split(gates(p, s, x), 3)
    i = sigmoid(i)
    c = (1 - i) * s["c"] + i * np.tanh(g)
    return {"h": sigmoid(o) * np.tanh(c), "c": c}


def lstm_no_forget(p, s, x):
    i, o, g = np.split(gates(p, s, x), 3)
    c = s["c"] + sigmoid(i) * np.tanh(g)
    return {"h": sigmoid(o) * np.tanh(c), "c": c}


def lstm_capped(p, s, x):
    i, f, o, g = np.split(gates(p, s, x), 4)
    f = sigmoid(f)
    c = f * s["c"] + np.minimum(sigmoid(i), 1 - f) * np.tanh(g)
    return {"h": sigmoid(o) * np.tanh(c), "c": c}


def lstm_mogrifier(p, s, x):
    h, k = s["h"], 1
    while f"A_{k}" in p:
        gate = 2 * sigmoid((h if k % 2 else x) @ p[f"A_{k}"] @ p[f"B_{k}"])
        x, h = (gate * x, h) if k % 2 else (x, gate * h)
        k += 1
    return lstm(p, {**s, "h": h}, x)


def gru(p, s, x):
    x_z, x_r, x_n = np.split(x @ p["W"] + p["b"], 3)
    u_z, u_r, u_n = np.split(s["h"] @ p["U"], 3)
    z, r = sigmoid(x_z + u_z), sigmoid(x_r + u_r)
    n = np.tanh(x_n + r * (u_n + p["b_u"]))
    return {"h": z * n + (1 - z) * s["h"]}


def gru_reset_before(p, s, x):
    x_z, x_r, x_n = np.split(x @ p["W"] + p["b"], 3)
    u_z, u_r = np.split(s["h"] @ p["U"], 2)
    z, r = sigmoid(x_z + u_z), sigmoid(x_r + u_r)
    n = np.tanh(x_n + (r * s["h"]) @ p["U_n"])
    return {"h": z * n + (1 - z) * s["h"]}


def gru_simple(p, s, x):
    z, n = np.split(gates(p, s, x), 2)
    z = sigmoid(z)
    return {"h": z * np.tanh(n) + (1 - z) * s["h"]}


def min_lstm(p, s, x):
    f, i, n = np.split(x @ p["W"] + p["b"], 3)
    f = sigmoid(softplus(-i) - softplus(-f))
    return {"h": f * s["h"] + (1 - f) * n}


def min_gru(p, s, x):
    z, n = np.split(x @ p["W"] + p["b"], 2)
    z = sigmoid(z)
    return {"h": (1 - z) * s["h"] + z * n}


def attention(p, s, x):
    C, H = MODEL["context"], MODEL["heads"]
    x = x @ p["P"] if "P" in p else x
    q, k, v = np.split(normalised(x, p["gain"], p["shift"]) @ p["W"] + p["b"], 3)
    keys, values = np.vstack([s["keys"], k])[-C:], np.vstack([s["values"], v])[-C:]
    n, d = len(keys), len(q) // H
    scores = np.einsum("hd,shd->hs", q.reshape(H, d) * np.float32(d**-0.5), turned(keys.reshape(n, H, d)))
    mean = np.einsum("hs,shd->hd", softmax(scores), values.reshape(n, H, d)).reshape(-1)
    return {"h": x + mean @ p["U"] + p["b_u"], "keys": keys, "values": values}


def transformer(p, s, x):
    s = attention(p, s, x)
    inner = gelu(normalised(s["h"], p["gain_2"], p["shift_2"]) @ p["W_1"] + p["b_1"])
    return {**s, "h": s["h"] + inner @ p["W_2"] + p["b_2"]}


def turned(keys):
    """Keys [n, H, d], each turned by its distance from the last one (rotary positions)."""
    n, pairs = len(keys), keys.shape[-1] // 2
    angles = np.outer(np.arange(1 - n, 1), 10_000.0 ** (-np.arange(pairs) / max(1, pairs)))[:, None]
    cos, sin = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
    a, b, odd = np.split(keys, [pairs, 2 * pairs], axis=-1)
    return np.concatenate([a * cos - b * sin, a * sin + b * cos, odd], axis=-1)


def gelu(a):
    return a * sigmoid(np.float32((8 / np.pi) ** 0.5) * (a + np.float32(0.044715) * a**3))


CELLS = {
    "lstm": lstm,
    "lstm-peephole": lstm_peephole,
    "lstm-coupled": lstm_coupled,
    "lstm-no-forget": lstm_no_forget,
    "lstm-capped": lstm_capped,
    "lstm-mogrifier": lstm_mogrifier,
    "gru": gru,
    "gru-reset-before": gru_reset_before,
    "gru-simple": gru_simple,
    "min-lstm": min_lstm,
    "min-gru": min_gru,
    "elman": elman,
    "elman-relu": elman_relu,
    "elman-linear": elman_linear,
    "jordan": jordan,
    "tdnn": tdnn,
    "narx": tdnn,
    "attention": attention,
    "transformer": transformer,
}
