"""PyTorch's side of benchmarks/speed.py: the same networks and work, in the fastest way that PyTorch has.

Only PyTorch's workers import this. Shapes: T window, B batch, N size, V vocabulary; ids [windows, T + 1, B].
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import cycle, islice, product
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

Work = Callable[[int], None]  # does so many steps
LAYERS = {"lstm": nn.LSTM, "gru": nn.GRU}
THREADS = (os.cpu_count() or 1, 1)
WAYS = tuple(product(THREADS, (True, False)))  # threads, and whether to use oneDNN; the first is the default


def ways(task: str) -> tuple[tuple[int, bool], ...]:
    """The ways worth a trial: a step of a large batch takes many times longer without oneDNN."""
    return WAYS if task == "sampling" else tuple(product(THREADS, (True,)))


def take(way: tuple[int, bool]) -> None:
    """Compute in this way from now on."""
    threads, torch.backends.mkldnn.enabled = way
    torch.set_num_threads(threads)


class Model(nn.Module):
    """Embed, stacked layers, head."""

    def __init__(self, shape: Any, cell: str):
        super().__init__()
        self.embedding = nn.Embedding(shape.vocab, shape.size)
        self.layers = LAYERS[cell](shape.size, shape.size, shape.layers)
        self.head = nn.Linear(shape.size, shape.vocab)

    def forward(self, ids: Tensor, state: Any) -> tuple[Tensor, Any]:
        """The logits [T, B, V] after each of ids [T, B], and the state after them."""
        hs, state = self.layers(self.embedding(ids), state)
        return self.head(hs), state


def casting(precision: str) -> AbstractContextManager:
    """Automatic mixed precision for bf16."""
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16")


def detached(state: Any) -> Any:
    """The state, (h, c) of an LSTM or h of a GRU, without its graph."""
    return tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()


def training(shape: Any, cell: str, precision: str, ids: np.ndarray) -> Work:
    """Training steps, the state carried from window to window."""
    model, windows = Model(shape, cell), cycle(torch.from_numpy(ids).long())
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.999), weight_decay=0.2, fused=True)
    state = None

    def work(steps: int) -> None:
        nonlocal state
        for window in islice(windows, steps):
            with casting(precision):
                logits, after = model(window[:-1], state)
                loss = functional.cross_entropy(logits.flatten(0, 1), window[1:].flatten())
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            state = detached(after)

    return work


def evaluation(shape: Any, cell: str, precision: str, ids: np.ndarray) -> Work:
    """−ln p of every symbol of a window, the state carried from window to window."""
    model, windows = Model(shape, cell), cycle(torch.from_numpy(ids).long())
    state = None

    def work(steps: int) -> None:
        nonlocal state
        with torch.inference_mode(), casting(precision):
            for window in islice(windows, steps):
                logits, state = model(window[:-1], state)
                functional.cross_entropy(logits.flatten(0, 1), window[1:].flatten(), reduction="none")

    return work


def sampling(shape: Any, cell: str, precision: str, ids: np.ndarray) -> Work:
    """T symbols of B streams, drawn one after the other."""
    model = Model(shape, cell)

    def work(steps: int) -> None:
        with torch.inference_mode(), casting(precision):
            for _ in range(steps):
                last, state, drawn = torch.zeros(shape.batch, dtype=torch.long), None, []
                for _ in range(shape.window):
                    logits, state = model(last[None], state)
                    last = torch.multinomial(torch.softmax(logits[0].float(), -1), 1)[:, 0]
                    drawn.append(last)
                torch.stack(drawn).numpy()

    return work


TASKS: dict[str, Callable[[Any, str, str, np.ndarray], Work]] = {
    "training": training,
    "evaluation": evaluation,
    "sampling": sampling,
}
