"""PyTorch's side of benchmarks/speed.py: the same networks and work, in the fastest way that PyTorch has.

Only PyTorch's workers import this. Shapes: T window, B batch, N size, V vocabulary; ids [windows, T + 1, B].
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from itertools import cycle, islice, product
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

Work = Callable[[int], None]  # does so many steps
LAYERS = {"lstm": nn.LSTM, "gru": nn.GRU}
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
THREADS = (os.cpu_count() or 1, 1)
WAYS = tuple(product(THREADS, (True, False)))  # threads, and whether to use oneDNN; the first is the default
LOW = {"bf16": torch.bfloat16, "f16": torch.float16}
graphs = False  # on a GPU: whether a training step is one CUDA graph


def ways(task: str) -> tuple[Any, ...]:
    """The ways worth a trial: a step of a large batch takes many times longer without oneDNN."""
    if DEVICE == "cuda":
        return (False, True) if task == "training" else (False,)
    return WAYS if task == "sampling" else tuple(product(THREADS, (True,)))


def take(way: Any) -> None:
    """Compute in this way from now on."""
    global graphs
    if DEVICE == "cuda":
        graphs = way
        return
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
    """Automatic mixed precision for bf16 and f16; on a GPU "tf32" rounds the operands of products to 10 bits, f32 does not."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision != "f32"
    return torch.autocast(DEVICE, dtype=LOW.get(precision, torch.bfloat16), enabled=precision in LOW)


def finished() -> None:
    """Wait for the device."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def detached(state: Any) -> Any:
    """The state, (h, c) of an LSTM or h of a GRU, without its graph."""
    return tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()


def windows_of(ids: np.ndarray) -> Iterator[Tensor]:
    """The windows on the device, over and over."""
    return cycle(torch.from_numpy(ids).long().to(DEVICE))


def training(shape: Any, cell: str, precision: str, ids: np.ndarray) -> Work:
    """Training steps, the state carried from window to window."""
    model, windows = Model(shape, cell).to(DEVICE), windows_of(ids)
    fast = {"fused": True} | ({"capturable": True} if DEVICE == "cuda" else {})
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.999), weight_decay=0.2, **fast)
    state, graph = None, None

    def step(window: Tensor, state: Any) -> Any:
        with casting(precision):
            logits, after = model(window[:-1], state)
            loss = functional.cross_entropy(logits.flatten(0, 1), window[1:].flatten())
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        return detached(after)

    def work(steps: int) -> None:
        nonlocal state, graph
        if graphs and graph is None:
            graph = captured(step, next(windows), state)
        for window in islice(windows, steps):
            if graphs:
                graph(window)
            else:
                state = step(window, state)
        finished()

    return work


def captured(step: Callable[[Tensor, Any], Any], window: Tensor, state: Any) -> Callable[[Tensor], None]:
    """A training step as a CUDA graph, which keeps the state."""
    window = window.clone()
    state = tuple(s.clone() for s in state) if isinstance(state, tuple) else state.clone()
    beside = torch.cuda.Stream()
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        for _ in range(3):
            step(window, state)
    torch.cuda.current_stream().wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        after = step(window, state)
        for old, new in zip(*((s if isinstance(s, tuple) else (s,)) for s in (state, after)), strict=True):
            old.copy_(new)

    def run(following: Tensor) -> None:
        window.copy_(following)
        graph.replay()

    return run


def evaluation(shape: Any, cell: str, precision: str, ids: np.ndarray) -> Work:
    """−ln p of every symbol of a window, the state carried from window to window."""
    model, windows = Model(shape, cell).to(DEVICE), windows_of(ids)
    state = None

    def work(steps: int) -> None:
        nonlocal state
        with torch.inference_mode(), casting(precision):
            for window in islice(windows, steps):
                logits, state = model(window[:-1], state)
                functional.cross_entropy(logits.flatten(0, 1), window[1:].flatten(), reduction="none").cpu()

    return work


def sampling(shape: Any, cell: str, precision: str, ids: np.ndarray) -> Work:
    """T symbols of B streams, drawn one after the other."""
    model = Model(shape, cell).to(DEVICE)

    def work(steps: int) -> None:
        with torch.inference_mode(), casting(precision):
            for _ in range(steps):
                last, state, drawn = torch.zeros(shape.batch, dtype=torch.long, device=DEVICE), None, []
                for _ in range(shape.window):
                    logits, state = model(last[None], state)
                    last = torch.multinomial(torch.softmax(logits[0].float(), -1), 1)[:, 0]
                    drawn.append(last)
                torch.stack(drawn).cpu().numpy()

    return work


TASKS: dict[str, Callable[[Any, str, str, np.ndarray], Work]] = {
    "training": training,
    "evaluation": evaluation,
    "sampling": sampling,
}
