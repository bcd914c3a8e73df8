"""Writing and scoring. The random numbers are those of JAX, so that a seed gives the text that lmgen writes for it."""

from __future__ import annotations

import secrets

import numpy as np

from lmgen.exporting.portable.given import EOS, MODEL, UNK, W
from lmgen.exporting.portable.mixture import empty_mixture, read_mixture
from lmgen.exporting.portable.network import empty, read_network
from lmgen.exporting.portable.ngrams import no_context, read_ngrams
from lmgen.exporting.portable.norms import log_softmax, softmax
from lmgen.exporting.portable.symbols import decode, encode, spell

READERS = {  # the state at first, and one step
    "network": (empty, read_network),
    "ngrams": (no_context, read_ngrams),
    "mixture": (empty_mixture, read_mixture),
}


def sample(count=10, prompt="", seed=-1, temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, max_length=1000, lines=0, label=""):
    """Texts that the model writes behind a prompt; a seed below 0 draws one."""
    (start, read), by = READERS[MODEL["reads"]], vector_of(label)
    forced, lines = encode(prompt), lines or (10 if MODEL["carry"] else 1)
    first = key_of(secrets.randbelow(1 << 31) if seed < 0 else seed)
    texts = []
    for number in range(count):
        ids: list[int] = []
        key, state, ends = fold_in(first, number), start(), 0
        while len(ids) < len(forced) + max_length and ends < lines:
            state, found = read(state, ids[-1] if ids else EOS, by)
            at = len(ids)
            if at % 32 == 0:
                uniforms = uniform(fold_in(key, at), 32)
            if at < len(forced):
                ids.append(forced[at])
            else:
                ids.append(draw(transformed(found, temperature, top_k, top_p, min_p), uniforms[at % 32]))
                ends += ids[-1] == EOS
        texts.append(decode(ids))
    return texts


def score(text, label=""):
    """The symbols of a text, each with its nats, -ln p; the last one is its end."""
    (start, read), by = READERS[MODEL["reads"]], vector_of(label)
    state, last, found = start(), EOS, []
    for id in [*encode(text), EOS]:
        state, logits = read(state, last, by)
        found.append((spell(id), float(-log_softmax(logits)[id])))
        last = id
    return found


def vector_of(label):
    """The vector of a label to write by, or of several with their weights: "Irish:0.7,Welsh:0.3"."""
    if "labels" not in MODEL:
        if label:
            raise ValueError("this model does not write by label: leave the label out")
        return 0.0
    parts = [label] if label in MODEL["labels"] else label.split(",")
    weights = {}
    for part in parts:
        name, colon, weight = part.strip().rpartition(":") if part not in MODEL["labels"] else (part, "", "")
        weights[name if colon else part.strip()] = float(weight) if colon else 1.0
    if unknown := weights.keys() - {*MODEL["labels"]}:
        raise ValueError(f"there is no label {min(unknown)!r}: give one of {', '.join(MODEL['labels'][:20])}")
    shares = np.array([weights.get(name, 0.0) for name in MODEL["labels"]], np.float32)
    return shares / shares.sum() @ W["labels"]


def transformed(logits, temperature, top_k, top_p, min_p):
    """The logits without UNK, at a temperature, of the likeliest symbols alone where less than all are asked for."""
    z = logits.astype(float)
    z[UNK] = -1e30
    z = (z - z.max()) / max(temperature, 1e-30)
    if top_k:
        z[z < np.sort(z)[-min(top_k, len(z))]] = -1e30
    if top_p < 1:
        order = np.argsort(-z, kind="stable")
        p = softmax(z)[order]
        z[order[np.cumsum(p) - p >= top_p]] = -1e30
    if min_p:
        z[z - z.max() < np.log(min_p)] = -1e30
    return z


def draw(logits, number):
    """A symbol, by inverting the cumulated probabilities at a number in [0, 1)."""
    cumulated = np.cumsum(softmax(logits))
    return int(np.argmax(cumulated > number * cumulated[-1]))


def key_of(seed):
    """The key of a seed below 2^63."""
    key = (0, seed & 0xFFFFFFFF)
    return fold_in(key, seed >> 32) if seed >> 32 else key


def fold_in(key, number):
    return tuple(int(half) for half in threefry(key, np.uint32(0), np.uint32(number)))


def uniform(key, count):
    """Numbers in [0, 1), in 23 bits."""
    high, low = threefry(key, np.zeros(count, np.uint32), np.arange(count, dtype=np.uint32))
    return ((high ^ low) >> np.uint32(9)).astype(np.float32) * np.float32(2**-23)


def threefry(key, a, b):
    """Threefry-2x32: two words of 32 bits scrambled by two others in 20 rounds (Salmon et al. 2011)."""
    keys = [np.uint32(half) for half in (*key, key[0] ^ key[1] ^ 0x1BD11BDA)]
    with np.errstate(over="ignore"):
        a, b = a + keys[0], b + keys[1]
        for part in range(5):
            for turn in ((13, 15, 26, 6), (17, 29, 16, 24))[part % 2]:
                a = a + b
                b = (b << np.uint32(turn) | b >> np.uint32(32 - turn)) ^ a
            a, b = a + keys[(part + 1) % 3], b + keys[(part + 2) % 3] + np.uint32(part + 1)
    return a, b
