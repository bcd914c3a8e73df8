"""PyTorch's side of benchmarks/transformer.py: a plain GPT, trained for a time, then scored and sampled.

    python benchmarks/transformer_torch.py TRAIN VALID SECONDS SEED

Prints one JSON object. Learnt positions, no biases, head and embedding tied, scaled_dot_product_attention, AdamW with a warm-up
and a cosine; a sample reads its last symbols anew at every step. Shapes: T time, B batch, N size, V vocabulary, H heads.
"""

from __future__ import annotations

import json
import math
import sys
import time
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

LAYERS, HEADS, SIZE, BATCH, CONTEXT = 4, 4, 128, 12, 64  # the setting of nanoGPT for CPUs, as are the numbers of the optimiser
PEAK, FLOOR, WARMUP = 1e-3, 1e-4, 100
SAMPLED = 500  # symbols of a sample


class Block(nn.Module):
    """x + attention(norm(x)), then x + MLP(norm(x))."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.between = nn.LayerNorm(SIZE, bias=False), nn.LayerNorm(SIZE, bias=False)
        self.reads = nn.Linear(SIZE, 3 * SIZE, bias=False)
        self.mixes = nn.Linear(SIZE, SIZE, bias=False)
        self.widens = nn.Linear(SIZE, 4 * SIZE, bias=False)
        self.narrows = nn.Linear(4 * SIZE, SIZE, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        heads = self.reads(self.before(x)).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)  # q, k, v [B, H, T, N / H]
        mean = functional.scaled_dot_product_attention(*heads, is_causal=True)
        x = x + self.mixes(mean.transpose(1, 2).flatten(2))
        return x + self.narrows(functional.gelu(self.widens(self.between(x))))


class GPT(nn.Module):
    """Embedding and positions, blocks, norm, head."""

    def __init__(self, vocab: int) -> None:
        super().__init__()
        self.symbols, self.places = nn.Embedding(vocab, SIZE), nn.Embedding(CONTEXT, SIZE)
        self.blocks = nn.Sequential(*(Block() for _ in range(LAYERS)))
        self.norm = nn.LayerNorm(SIZE, bias=False)
        for name, weight in self.named_parameters():
            if weight.ndim > 1:
                added = "mixes" in name or "narrows" in name
                nn.init.normal_(weight, std=0.02 / (math.sqrt(2 * LAYERS) if added else 1))

    def forward(self, ids: Tensor) -> Tensor:
        """The logits [B, T, V] after each of ids [B, T]."""
        x = self.blocks(self.symbols(ids) + self.places.weight[: ids.shape[1]])
        return functional.linear(self.norm(x), self.symbols.weight)


def trained(text: Tensor, vocab: int, seconds: float) -> tuple[GPT, int]:
    """A model after so many seconds, and the number of its steps."""
    model, step, start = GPT(vocab), 0, time.monotonic()
    matrices, vectors = ([p for p in model.parameters() if (p.ndim > 1) == matrix] for matrix in (True, False))
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=PEAK, betas=(0.9, 0.99))
    while (done := (time.monotonic() - start) / seconds) < 1:
        rate = FLOOR + (PEAK - FLOOR) * (1 + math.cos(math.pi * done)) / 2
        for group in optimiser.param_groups:
            group["lr"] = min(rate, PEAK * (step + 1) / WARMUP)
        rows = torch.stack([text[at : at + CONTEXT + 1] for at in torch.randint(len(text) - CONTEXT, (BATCH,))])
        loss = functional.cross_entropy(model(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten())
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        step += 1
    return model, step


@torch.no_grad()
def scored(model: GPT, text: Tensor, seen: int) -> float:
    """Nats per symbol of a text in rows of the context, each symbol after at least `seen` others of its row."""
    rows = text.unfold(0, CONTEXT + 1, CONTEXT - seen)
    nats = []
    for part in rows.split(256):
        every = functional.cross_entropy(model(part[:, :-1]).transpose(1, 2), part[:, 1:], reduction="none")
        nats.append(every[:, seen:])
    return torch.cat(nats).mean().item()


@torch.no_grad()
def sampled(model: GPT, rows: int) -> float:
    """Symbols a second of sampling, of all rows together."""
    ids, start = torch.zeros(rows, 1, dtype=torch.long), time.monotonic()
    for _ in range(SAMPLED):
        logits = model(ids[:, -CONTEXT:])[:, -1]
        ids = torch.cat([ids, torch.multinomial(functional.softmax(logits, -1), 1)], 1)
    return rows * SAMPLED / (time.monotonic() - start)


def main() -> None:
    train, valid = (Path(name).read_text("utf-8") for name in sys.argv[1:3])
    seconds, seed = float(sys.argv[3]), int(sys.argv[4])
    number = {symbol: k for k, symbol in enumerate(sorted({*train, *valid}))}
    texts = [torch.tensor([number[symbol] for symbol in text]) for text in (train, valid)]
    torch.manual_seed(seed)
    model, steps = trained(texts[0], len(number), seconds)
    model.eval()
    found = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "steps": steps,
        "symbols_per_second": steps * BATCH * CONTEXT / seconds,
        "nats": scored(model, texts[1], 0),
        "nats_half": scored(model, texts[1], CONTEXT // 2),
        "sampled": {rows: sampled(model, rows) for rows in (1, 16)},
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
