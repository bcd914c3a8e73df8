"""The layers: those of PyTorch, and a loop over time for cells that it lacks. T time, B batch, D inputs, N cell size."""

# ruff: noqa: RUF012 — the sizes of a layer are constants of its class

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from lmgen.exporting.portable.given import MODEL


class Layer(nn.Module):
    """A cell over time: W reads the inputs, U the state, b is the bias; the first part of the state is the output h."""

    gates = 1
    matrices = {"U": 1}  # [N, size N]
    vectors = {"b": 1}  # [size N]
    memory: tuple[int, ...] = (1,)  # the parts of the state, [B, size N]

    def __init__(self, inputs, size):
        super().__init__()
        self.size, self.W = size, nn.Parameter(torch.zeros(inputs, self.gates * size))
        for name, n in self.matrices.items():
            self.register_parameter(name, nn.Parameter(torch.zeros(size, n * size)))
        for name, n in self.vectors.items():
            self.register_parameter(name, nn.Parameter(torch.zeros(n * size)))

    def forward(self, xs, state=None):
        """The outputs [T, B, N] and the state after inputs xs [T, B, D]; no state is that before anything is read."""
        state = state or tuple(xs.new_zeros(xs.shape[1], n * self.size) for n in self.memory)
        hs = []
        for x in self.inputs(xs):
            state = self.step(x, *state)
            hs.append(state[0])
        return torch.stack(hs), state

    def inputs(self, xs):
        return xs @ self.W + self.b


class ElmanLinear(Layer):
    def step(self, x, h):
        return (x + h @ self.U,)


class Jordan(Layer):
    matrices = {"U": 1, "V": 1}
    vectors = {"b": 1, "b_y": 1}

    def step(self, x, h):
        return (torch.tanh(torch.tanh(x + h @ self.U) @ self.V + self.b_y),)


class TDNN(Layer):
    gates, matrices, memory = 5, {}, (1, 4)

    def inputs(self, xs):
        return xs @ self.W + functional.pad(self.b, (0, 4 * self.size))

    def step(self, x, h, due):
        now, later = x.split([self.size, 4 * self.size], -1)
        h = torch.tanh(now + due[:, : self.size])
        return h, self.fed_back(h, later + functional.pad(due[:, self.size :], (0, self.size)))

    def fed_back(self, h, due):
        return due


class NARX(TDNN):
    matrices = {"U": 4}

    def fed_back(self, h, due):
        return due + h @ self.U


class PeepholeLSTM(Layer):
    gates, matrices, vectors, memory = 4, {"U": 4}, {"b": 4, "v": 3}, (1, 1)

    def step(self, x, h, c):
        i, f, o, g = (x + h @ self.U).chunk(4, -1)
        w_i, w_f, w_o = self.v.chunk(3)
        c = torch.sigmoid(f + w_f * c) * c + torch.sigmoid(i + w_i * c) * torch.tanh(g)
        return torch.sigmoid(o + w_o * c) * torch.tanh(c), c


class CoupledLSTM(Layer):
    gates, matrices, vectors, memory = 3, {"U": 3}, {"b": 3}, (1, 1)

    def step(self, x, h, c):
        i, o, g = (x + h @ self.U).chunk(3, -1)
        i = torch.sigmoid(i)
        c = self.kept(i) * c + i * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c

    def kept(self, i):
        return 1 - i


class NoForgetLSTM(CoupledLSTM):
    def kept(self, i):
        return 1


class CappedLSTM(Layer):
    gates, matrices, vectors, memory = 4, {"U": 4}, {"b": 4}, (1, 1)

    def step(self, x, h, c):
        i, f, o, g = (x + h @ self.U).chunk(4, -1)
        f = torch.sigmoid(f)
        c = f * c + torch.minimum(torch.sigmoid(i), 1 - f) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c


class MogrifierLSTM(Layer):
    gates, matrices, vectors, memory = 4, {"U": 4}, {"b": 4}, (1, 1)

    def __init__(self, inputs, size):
        super().__init__(inputs, size)
        rank = min(MODEL["rank"], inputs, size)
        for k in range(1, MODEL["rounds"] + 1):
            read, gated = (size, inputs) if k % 2 else (inputs, size)
            self.register_parameter(f"A_{k}", nn.Parameter(torch.zeros(read, rank)))
            self.register_parameter(f"B_{k}", nn.Parameter(torch.zeros(rank, gated)))

    def inputs(self, xs):
        return xs

    def step(self, x, h, c):
        for k in range(1, MODEL["rounds"] + 1):
            A, B = getattr(self, f"A_{k}"), getattr(self, f"B_{k}")
            gate = 2 * torch.sigmoid((h if k % 2 else x) @ A @ B)
            x, h = (gate * x, h) if k % 2 else (x, gate * h)
        i, f, o, g = (x @ self.W + self.b + h @ self.U).chunk(4, -1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c


class ResetBeforeGRU(Layer):
    gates, matrices, vectors = 3, {"U": 2, "U_n": 1}, {"b": 3}

    def step(self, x, h):
        x, x_n = x.split([2 * self.size, self.size], -1)
        z, r = torch.sigmoid(x + h @ self.U).chunk(2, -1)
        n = torch.tanh(x_n + (r * h) @ self.U_n)
        return (z * n + (1 - z) * h,)


class SimpleGRU(Layer):
    gates, matrices, vectors = 2, {"U": 2}, {"b": 2}

    def step(self, x, h):
        z, n = (x + h @ self.U).chunk(2, -1)
        z = torch.sigmoid(z)
        return (z * torch.tanh(n) + (1 - z) * h,)


class MinGRU(Layer):
    gates, matrices, vectors = 2, {}, {"b": 2}

    def step(self, x, h):
        z, n = x.chunk(2, -1)
        z = torch.sigmoid(z)
        return ((1 - z) * h + z * n,)


class MinLSTM(Layer):
    gates, matrices, vectors = 3, {}, {"b": 3}

    def step(self, x, h):
        f, i, n = x.chunk(3, -1)
        f = torch.sigmoid(functional.softplus(-i) - functional.softplus(-f))  # = σ(f) / (σ(f) + σ(i))
        return (f * h + (1 - f) * n,)


class Attention(Layer):
    """Causal self-attention over the last symbols, with rotary positions; the state is their keys and values [S, B, N]."""

    gates, vectors = 3, {"b": 3, "b_u": 1, "gain": 1, "shift": 1}

    def __init__(self, inputs, size):
        super().__init__(size, size)
        self.P = nn.Parameter(torch.zeros(inputs, size)) if inputs != size else None

    def forward(self, xs, state=None):
        xs = xs if self.P is None else xs @ self.P
        normed = functional.layer_norm(xs, (self.size,), self.gain, self.shift)
        q, keys, values = (normed @ self.W + self.b).chunk(3, -1)
        if state:
            keys, values = torch.cat([state[0], keys]), torch.cat([state[1], values])
        T, S, H, context = len(xs), len(keys), MODEL["heads"], MODEL["context"]
        q, k, v = (a.unflatten(-1, (H, -1)) for a in (q, keys, values))  # [..., B, H, d]
        places = torch.arange(S)
        ago = places[S - T :, None] - places
        scores = torch.einsum("tbhd,sbhd->bhts", turned(q, places[S - T :]), turned(k, places)) * q.shape[-1] ** -0.5
        weights = scores.masked_fill((ago < 0) | (ago >= context), -torch.inf).softmax(-1)
        means = torch.einsum("bhts,sbhd->tbhd", weights, v).flatten(-2)
        kept = slice(max(0, S - context + 1), S)
        return self.transformed(xs + means @ self.U + self.b_u), (keys[kept], values[kept])

    def transformed(self, hs):
        return hs


class Transformer(Attention):
    matrices = {"U": 1, "W_1": 4}
    vectors = {"b": 3, "b_u": 1, "gain": 1, "shift": 1, "b_1": 4, "b_2": 1, "gain_2": 1, "shift_2": 1}

    def __init__(self, inputs, size):
        super().__init__(inputs, size)
        self.W_2 = nn.Parameter(torch.zeros(4 * size, size))

    def transformed(self, hs):
        inner = functional.layer_norm(hs, (self.size,), self.gain_2, self.shift_2) @ self.W_1 + self.b_1
        return hs + functional.gelu(inner, approximate="tanh") @ self.W_2 + self.b_2


def turned(x, places):
    """Vectors x [T, B, H, d] turned by angles in proportion to their places [T] (Su et al. 2021)."""
    pairs = x.shape[-1] // 2
    angles = places.double()[:, None, None, None] * 10_000.0 ** (-torch.arange(pairs).double() / max(1, pairs))
    cos, sin = angles.cos().to(x), angles.sin().to(x)
    a, b, odd = x.split([pairs, pairs, x.shape[-1] - 2 * pairs], -1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos, odd], -1)


class ElmanRelu(nn.RNN):
    def __init__(self, inputs, size):
        super().__init__(inputs, size, nonlinearity="relu")


LAYERS = {
    "lstm": nn.LSTM,
    "lstm-peephole": PeepholeLSTM,
    "lstm-coupled": CoupledLSTM,
    "lstm-no-forget": NoForgetLSTM,
    "lstm-capped": CappedLSTM,
    "lstm-mogrifier": MogrifierLSTM,
    "gru": nn.GRU,
    "gru-reset-before": ResetBeforeGRU,
    "gru-simple": SimpleGRU,
    "min-lstm": MinLSTM,
    "min-gru": MinGRU,
    "elman": nn.RNN,
    "elman-relu": ElmanRelu,
    "elman-linear": ElmanLinear,
    "jordan": Jordan,
    "tdnn": TDNN,
    "narx": NARX,
    "attention": Attention,
    "transformer": Transformer,
}


class Stack(nn.Module):
    """Layers, each of which reads the outputs of the one before, normalised where the model has layer norm."""

    def __init__(self, inputs):
        super().__init__()
        size, more = MODEL["size"], inputs if MODEL["skip"] else 0
        sizes = [inputs] + [size + more] * (MODEL["layers"] - 1)
        self.layers = nn.ModuleList(LAYERS[MODEL["cell"]](n, size) for n in sizes)
        self.norms = nn.ModuleList(nn.LayerNorm(n) if MODEL["layer_norm"] else nn.Identity() for n in sizes)

    def forward(self, xs, states=None):
        """The outputs [T, B, N] of the last layer, or of all, and the states of the layers after inputs xs [T, B, D]."""
        after, outs, symbols = [], [], xs
        for k, (layer, norm) in enumerate(zip(self.layers, self.norms, strict=True)):
            read = torch.cat([xs, symbols], -1) if MODEL["skip"] and k else xs
            hs, state = layer(norm(read), states[k] if states else None)
            xs = xs + hs if MODEL["residual"] and k else hs
            after.append(state)
            outs.append(xs)
        return torch.cat(outs, -1) if MODEL["skip"] else xs, after

    def back(self, xs):
        """The outputs [T, B, N] after each of the inputs, read from the last one to the first."""
        return self(xs.flip(0))[0].flip(0)
