"""Labels of texts, tags of symbols."""

from __future__ import annotations

import zlib
from typing import Any

import torch
from torch import nn

from lmgen.exporting.portable.given import EOS, MODEL, UNK, W
from lmgen.exporting.portable.labels import features, heat, id_of, parted, viterbi
from lmgen.exporting.portable.symbols import split, symbol_ids
from lmgen.exporting.pytorch.given import network
from lmgen.exporting.pytorch.layers import Stack


class Labeller(nn.Module):
    """The labels of a text and the tags of its symbols."""

    def __init__(self):
        super().__init__()
        inputs, outputs = MODEL["embedding"] + MODEL["vectors"], MODEL["size"] * (1 + (MODEL["direction"] == "both"))
        self.embedding = nn.Embedding(MODEL["words"], MODEL["embedding"])
        self.letters = nn.Embedding(MODEL["buckets"], MODEL["embedding"]) if MODEL["buckets"] else None
        self.vectors = nn.Embedding(MODEL["vocab"], MODEL["vectors"]) if MODEL["vectors"] else None
        self.stack, self.back = Stack(inputs), Stack(inputs) if MODEL["direction"] == "both" else None
        self.norm = nn.LayerNorm(outputs) if MODEL["head_norm"] else nn.Identity()
        pooled = outputs * (1 + (MODEL["pool"] == "both"))
        self.labels = nn.Linear(pooled, len(MODEL["labels"])) if MODEL.get("labels") else None
        self.tags = nn.Linear(outputs, len(MODEL["tags"])) if MODEL.get("tags") else None

    def forward(self, xs):
        """The logits of the labels [B, L] and of the tags [T, B, K] of texts, all of T symbols, from the vectors xs [T + 2, B, E]
        of EOS, the symbols and EOS; None where it has no such head."""
        hs = self.stack(xs)[0][1:-1]
        if self.back:
            hs = torch.cat([hs, self.back.back(xs)[1:-1]], -1)
        hs, N = self.norm(hs), MODEL["size"]
        lasts = [hs[-1, :, :N], hs[0, :, N:]] if MODEL["pool"] != "mean" else []
        means = [hs.mean(0)] if MODEL["pool"] != "last" else []
        labels = self.labels(torch.cat([*lasts, *means], -1)) if self.labels else None
        return labels, self.tags(hs) if self.tags else None

    def vector(self, word):
        """What the network reads of a symbol, of its letters, and of vectors made elsewhere; "" is the end of a text."""
        id = id_of(word) if word else EOS
        x = self.embedding.weight[id if id < MODEL["words"] else UNK]
        if self.letters:
            marked = symbol_ids().get(word) == UNK
            names = [one.encode("utf-8", "surrogatepass") for one in features("" if marked else word)]
            rows = [zlib.crc32(name) % MODEL["buckets"] for name in names]
            x = x + self.letters.weight[rows].sum(0) / len(rows) ** 0.5
        return torch.cat([x, self.vectors.weight[id]]) if self.vectors else x


@torch.no_grad()
def predict(text):
    """What a text is: "labels", the likeliest first, and "tags", one for each symbol, with probabilities."""
    words = parted(split(text))
    if not words:
        return {}
    xs = torch.stack([network.vector(word) for word in ["", *words, ""]])
    labels, tags = network(xs[:, None])
    found: dict[str, Any] = {}
    if labels is not None:
        z = labels[0] / heat("labels")
        p = (z.sigmoid() if MODEL["several"] else z.softmax(-1)).tolist()
        found["labels"] = sorted(zip(MODEL["labels"], p, strict=True), key=lambda one: -one[1])
    if tags is not None:
        p = (tags[:, 0] / heat("tags")).softmax(-1).numpy()
        ids = viterbi(p) if "follows" in W else p.argmax(1)
        found["tags"] = [(word, MODEL["tags"][k], float(p[at, k])) for at, (word, k) in enumerate(zip(words, ids, strict=True))]
    return found
