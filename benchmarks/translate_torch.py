"""The model of PyTorch's translation tutorial, trained for some minutes: encoder and decoder of one GRU, additive attention.

    python translate_torch.py TRAIN.tsv TEST.tsv MINUTES SEED THREADS > translations.txt

The files have words between spaces, as the tutorial cuts them. As there: layers of 256, dropout 0.1 on embeddings, Adam at 0.001,
batches of 32, teacher forcing, greedy decoding. Unlike there, batches are as long as their longest pair, filler counts neither in
attention nor in the loss, and sentences are cut off after 30 words; all of that can only help it. Shapes: B batch, S source, T
target, N size.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

N, DROPOUT, RATE, BATCH, MOST = 256, 0.1, 1e-3, 32, 30
FILLER, BEGIN, END = 0, 1, 2
Ids = list[int]


def pairs(file: Path) -> list[list[list[str]]]:
    """The words of both sides of each line of a TSV."""
    return [[side.split() for side in line.split("\t")[:2]] for line in file.read_text("utf-8").splitlines()]


class Vocabulary(dict[str, int]):
    """The ids of words, and the words of ids."""

    def __init__(self, sentences: Iterator[list[str]]):
        self.names = ["", "", ""]
        for sentence in sentences:
            for word in sentence:
                if word not in self:
                    self[word] = len(self.names)
                    self.names.append(word)

    def ids(self, sentence: list[str]) -> Ids:
        """The ids of the known words, and the end."""
        return [*(self[word] for word in sentence[:MOST] if word in self), END]


def padded(rows: list[Ids]) -> Tensor:
    """Ids of different lengths, with filler behind the shorter ones: [B, longest]."""
    return nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=FILLER)


class Translator(nn.Module):
    """The state of the decoder asks, the states of the encoder answer: Bahdanau, Cho and Bengio (2015)."""

    def __init__(self, sources: int, targets: int):
        super().__init__()
        self.read, self.written = nn.Embedding(sources, N), nn.Embedding(targets, N)
        self.encoder, self.decoder = nn.GRU(N, N, batch_first=True), nn.GRU(2 * N, N, batch_first=True)
        self.asks, self.answers, self.weighs = nn.Linear(N, N), nn.Linear(N, N), nn.Linear(N, 1)
        self.head, self.dropout = nn.Linear(N, targets), nn.Dropout(DROPOUT)

    def encode(self, source: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The states [B, S, N] of the source [B, S], their answers, which are filler, and the state at the end [1, B, N]."""
        states, _ = self.encoder(self.dropout(self.read(source)))
        filler = source == FILLER
        last = (~filler).sum(1) - 1
        return states, self.answers(states), filler, states[torch.arange(len(source)), last][None]

    def step(self, word: Tensor, state: Tensor, encoded: tuple[Tensor, ...]) -> Tensor:
        """The next state [1, B, N] of the decoder, after a word [B]."""
        states, answers, filler = encoded
        scores = self.weighs(torch.tanh(self.asks(state[0])[:, None] + answers))[..., 0]
        context = scores.masked_fill(filler, -torch.inf).softmax(1)[:, None] @ states
        embedded = self.dropout(self.written(word))[:, None]
        return self.decoder(torch.cat([embedded, context], 2), state)[1]

    def loss(self, source: Tensor, target: Tensor) -> Tensor:
        """The mean nats of the words of the targets [B, T], each given those before it."""
        *encoded, state = self.encode(source)
        states = []
        before = torch.cat([torch.full_like(target[:, :1], BEGIN), target[:, :-1]], 1)
        for word in before.T:
            state = self.step(word, state, tuple(encoded))
            states.append(state[0])
        logits = self.head(torch.stack(states, 1))
        return nn.functional.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=FILLER)

    @torch.inference_mode()
    def translate(self, source: Tensor) -> Tensor:
        """The likeliest words one by one: ids [B, MOST]."""
        *encoded, state = self.encode(source)
        word, found = torch.full((len(source),), BEGIN), []
        for _ in range(MOST):
            state = self.step(word, state, tuple(encoded))
            word = self.head(state[0]).argmax(1)
            found.append(word)
        return torch.stack(found, 1)


def main(train: str, test: str, minutes: str, seed: str, threads: str) -> None:
    end = time.monotonic() + 60 * float(minutes)
    torch.set_num_threads(int(threads))
    torch.manual_seed(int(seed))
    draw = random.Random(int(seed))
    given = pairs(Path(train))
    sources, targets = (Vocabulary(pair[side] for pair in given) for side in (0, 1))
    coded = [(sources.ids(source), targets.ids(target)) for source, target in given]
    model = Translator(len(sources.names), len(targets.names))
    optimiser = torch.optim.Adam(model.parameters(), lr=RATE, fused=True)
    steps = 0
    while time.monotonic() < end:
        draw.shuffle(coded)
        for first in range(0, len(coded), BATCH):
            source, target = (padded([pair[side] for pair in coded[first : first + BATCH]]) for side in (0, 1))
            optimiser.zero_grad()
            model.loss(source, target).backward()
            optimiser.step()
            steps += 1
            if time.monotonic() >= end:
                break
    print(f"{steps:,} steps, {steps * BATCH / len(coded):.1f} epochs", file=sys.stderr, flush=True)
    model.eval()
    asked = [sources.ids(source) for source, _ in pairs(Path(test))]
    for first in range(0, len(asked), 256):
        for row in model.translate(padded(asked[first : first + 256])).tolist():
            print(" ".join(targets.names[k] for k in row[: row.index(END) if END in row else None]))


if __name__ == "__main__":
    main(*sys.argv[1:])
