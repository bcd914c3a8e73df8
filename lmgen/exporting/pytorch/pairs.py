"""Targets for sources: one stack reads `EOS source SEP target`, another the source from the right."""

from __future__ import annotations

import torch
from torch import nn

from lmgen.exporting.portable.given import EOS, MODEL, UNK
from lmgen.exporting.pytorch.given import network
from lmgen.exporting.pytorch.layers import Stack


class Translator(nn.Module):
    """What follows each symbol of a target, given its source."""

    def __init__(self):
        super().__init__()
        N = MODEL["size"]
        self.embedding = nn.Embedding(MODEL["vocab"] + 1, MODEL["embedding"])  # the last one is SEP
        self.stack, self.back = Stack(MODEL["embedding"]), Stack(MODEL["embedding"])
        self.norm = nn.LayerNorm(N) if MODEL["head_norm"] else nn.Identity()
        self.attention = nn.Linear(N, 2 * N, bias=False) if MODEL["attention"] else None
        self.join = nn.Linear(3 * N, N) if MODEL["attention"] else None
        self.gate = nn.Linear(N, 1) if MODEL["copy"] else None
        self.head = nn.Linear(N, MODEL["targets"])

    def forward(self, source, target):
        """The logits [T + 1, B, V] of each symbol of target [T, B] and of its end, given source [S, B]; and how much each looked
        at the symbols of the source, [T + 1, B, S]."""
        state, h, memory = self.read(source)
        hs = torch.cat([h[None], self.stack(self.embedding(target), state)[0]])
        hs, looked = self.attend(hs, memory)
        return self.head(hs), looked

    def read(self, source):
        """The state and the output [B, N] of the first stack after EOS, a source [S, B] and SEP; the vectors [S, B, 2 N] to
        attend to."""
        mark = torch.ones_like(source[:1])
        xs = self.embedding(torch.cat([EOS * mark, source, MODEL["vocab"] * mark]))
        hs, state = self.stack(xs)
        return state, hs[-1], torch.cat([hs[1:-1], self.back.back(xs[1:])[:-1]], -1)

    def attend(self, hs, memory):
        """What the head reads after outputs hs [T, B, N], and how much each looked at the memory [S, B, 2 N]."""
        hs = self.norm(hs)
        if self.attention is None or self.join is None:
            return hs, hs.new_zeros(*hs.shape[:2], len(memory))
        looked = torch.einsum("tbm,sbm->tbs", self.attention(hs), memory).softmax(-1)
        context = torch.einsum("tbs,sbm->tbm", looked, memory)
        return torch.tanh(self.join(torch.cat([hs, context], -1))), looked


def separator():
    """The id of SEP; those behind it are symbols of a pair that are not in the vocabulary."""
    return MODEL["vocab"]


def vector(id):
    """What the network reads of an id."""
    return network.embedding.weight[id if id <= separator() else UNK][None, None]


@torch.no_grad()
def step(_, state, x):
    """The state after the input x [1, 1, E], and the output [1, 1, N]."""
    h, state = network.stack(x, state)
    return state, h


@torch.no_grad()
def read_source(ids):
    """The state and the output of the first stack after a source, and the vectors to attend to."""
    known = torch.tensor([id if id <= separator() else UNK for id in ids], dtype=torch.long)
    state, h, memory = network.read(known[:, None])
    return state, h[None], memory


@torch.no_grad()
def attended(h, memory):
    """What the head reads after an output, and how much it looks at each symbol of the source."""
    h, looked = network.attend(h, memory)
    return h, looked[0, 0].numpy()


@torch.no_grad()
def logits(h):
    """The logits of all that can follow, from what the head reads."""
    return network.head(h)[0, 0].numpy()


@torch.no_grad()
def written_share(h):
    """The probability that the next symbol is not copied."""
    return network.gate(h)[0, 0].sigmoid().numpy()[0]
