"""Targets for sources: one stack reads `EOS source SEP target`, another the source from the right."""

from __future__ import annotations

import numpy as np

from lmgen.exporting.portable.given import EOS, MODEL, UNK, W
from lmgen.exporting.portable.network import head_input, logits, outputs, step
from lmgen.exporting.portable.norms import sigmoid, softmax
from lmgen.exporting.portable.symbols import join, spell, split, symbol_ids


def translate(source):
    """The text that greedy search finds for a source, and its nats."""
    others: list[str] = []
    written: list[str] = []
    read, nats = numbered(split(source), others), 0.0
    state, h, memory = read_source(read)
    longest = 16 * -(-(32 * -(-(len(read) + 2) // 16) + 20) // 16)  # as lmgen has it
    while read and len(written) < longest:
        p, copies, looked = following(h, read, memory)
        id = max(range(len(p)), key=p.__getitem__)
        copied = max(copies, key=copies.__getitem__, default=id)
        nats -= float(np.log(max(p[id], copies.get(copied, 0.0))))
        id = copied if copies.get(copied, 0.0) > p[id] else read[looked.argmax()] if id == UNK else id
        if id == EOS:
            break
        written.append(others[id - separator() - 1] if id > separator() else spell(id))
        state, h = step(W, state, vector(id))
    return join(written), nats


def score_pair(source, target):
    """The symbols of a target, each with its nats given the source; the last one is its end."""
    others: list[str] = []
    symbols, found = [*split(target), ""], []
    read = numbered(split(source), others)
    state, h, memory = read_source(read)
    for symbol, id in zip(symbols, [*numbered(symbols[:-1], others), EOS], strict=True):
        h, looked = attended(h, memory)
        p = softmax(logits(h))
        known = id < len(p)
        own = p[id if known else UNK]
        if MODEL["copy"]:
            copied, g = looked[np.array(read, int) == id].sum(), written_share(h)
            own = g * own * (known or copied == 0) + (1 - g) * copied + 1e-30
        found.append((symbol, float(-np.log(own))))
        state, h = step(W, state, vector(id))
    return found


def separator():
    """The id of SEP; those behind it are symbols of a pair that are not in the vocabulary."""
    return len(W["embedding"]) - 1


def numbered(symbols, others):
    """The ids of symbols, of which those that are not in the vocabulary are put into others."""
    ids = []
    for symbol in symbols:
        if symbol not in symbol_ids() and symbol not in others:
            others.append(symbol)
        ids.append(symbol_ids()[symbol] if symbol in symbol_ids() else separator() + 1 + others.index(symbol))
    return ids


def vector(id):
    """What the network reads of an id."""
    return W["embedding"][id if id <= separator() else UNK]


def read_source(ids):
    """The state and the output [N] of the first stack after a source and SEP, and the vectors [n, 2 N] to attend to."""
    xs, end = [vector(id) for id in ids], vector(separator())
    state, lefts = outputs(W, [vector(EOS), *xs, end])
    rights = outputs(W["back"], [end, *xs[::-1]])[1]
    return state, lefts[-1], np.concatenate([lefts[1:-1], rights[:0:-1]], axis=1)


def attended(h, memory):
    """What the head reads after the output h [N], and how much it looks at each symbol of the source."""
    h, looked = head_input(h), np.zeros(len(memory), np.float32)
    if MODEL["attention"]:
        looked = softmax(memory @ (h @ W["attention"])) if len(memory) else looked
        h = np.tanh(np.append(h, looked @ memory) @ W["join"]["W"] + W["join"]["b"])
    return h, looked


def written_share(h):
    """The probability that the next symbol is not copied."""
    return sigmoid(h @ W["gate"]["W"] + W["gate"]["b"])[0]


def following(h, read, memory):
    """The probabilities of the ids that can be written, those of the ids that can only be copied, and where it looked."""
    h, looked = attended(h, memory)
    z = logits(h)
    if not MODEL["attention"]:  # an unknown symbol has no place in the source
        z[UNK] = -np.inf
    copies: dict[int, float] = {}
    p = softmax(z).astype(float)
    if MODEL["copy"]:
        g = written_share(h)
        p[UNK] = 0
        p *= g
        for id, share in zip(read, looked.tolist(), strict=True):
            if id < len(p):
                p[id] += (1 - g) * share
            else:
                copies[id] = copies.get(id, 0.0) + float(1 - g) * share
    return p, copies, looked
