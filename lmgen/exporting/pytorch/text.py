"""The network, and how it scores and writes. T time, B batch, V vocabulary; ids [T, B] are texts, one in each column."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from lmgen.exporting.portable.given import EOS, MODEL
from lmgen.exporting.portable.symbols import encode, spell
from lmgen.exporting.pytorch.given import network
from lmgen.exporting.pytorch.layers import Stack


class LanguageModel(nn.Module):
    """What follows each symbol: reads EOS, the id 0, and then a text."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(MODEL["vocab"], MODEL["embedding"])
        self.stack = Stack(MODEL["embedding"])
        self.norm = nn.LayerNorm(MODEL["outputs"]) if MODEL["head_norm"] else nn.Identity()
        self.head = nn.Linear(MODEL["outputs"], MODEL["vocab"])
        if MODEL["task"] == "generate":
            self.labels = nn.Embedding(len(MODEL["labels"]), MODEL["embedding"])

    def forward(self, ids, states=None, by=0.0):
        """The logits [T, B, V] of what follows each id, and the states, from which the next call goes on. `by` is the vector of
        a label to write by."""
        hs, states = self.stack(self.embedding(ids) + by, states)
        return self.head(self.norm(hs)), states


def unread():
    """The states before anything is read."""


@torch.no_grad()
def read_torch(states, id, by=0.0):
    """The states after reading an id, and the logits [V] of what follows."""
    forgets = id == EOS and not MODEL["carry"]
    logits, states = network(torch.tensor([[id]]), None if forgets else states, torch.as_tensor(by))
    return states, logits[0, 0].numpy()


READERS: dict[str, Any] = {"torch": (unread, read_torch)}


class ClozeModel(nn.Module):
    """Each symbol, given all others: reads EOS, a text, and EOS."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(MODEL["vocab"], MODEL["embedding"])
        self.stack, self.back = Stack(MODEL["embedding"]), Stack(MODEL["embedding"])
        self.norm = nn.LayerNorm(MODEL["outputs"]) if MODEL["head_norm"] else nn.Identity()
        self.head = nn.Linear(MODEL["outputs"], MODEL["vocab"])

    def forward(self, ids):
        """The logits [T - 2, B, V] of all ids [T, B] but the first and the last."""
        xs = self.embedding(ids)
        hs = torch.cat([self.stack(xs)[0][:-2], self.back.back(xs)[2:]], -1)
        return self.head(self.norm(hs))


@torch.no_grad()
def pseudo_score(text):
    """The symbols of a text, each with its nats given all others before it and after it."""
    ids = torch.tensor([EOS, *encode(text), EOS] + [EOS] * MODEL["carry"])  # the last one is given
    nats = functional.cross_entropy(network(ids[:, None])[:, 0], ids[1:-1], reduction="none")
    return [(spell(id), one) for id, one in zip(ids[1:-1].tolist(), nats.tolist(), strict=True)]
