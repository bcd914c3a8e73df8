"""The n-grams, as a tree: level k holds the k-grams, whose keys are parent × V + last symbol, in order."""

from __future__ import annotations

import numpy as np

from lmgen.exporting.portable.given import EOS, MODEL, W


def levels():
    """The n-grams of the model, by their length from 0."""
    return W["mixture"]["ngrams"] if "mixture" in W else W


def no_context():
    """The nodes of the last 1, 2, … symbols before anything is read: none."""
    return [-1] * (MODEL["order"] - 1)


def read_ngrams(state, id, by=0.0):
    """The nodes of the last 1, 2, … symbols up to this id, and ln p [V] of what follows."""
    after, W = [], levels()
    for k in range(len(state)):
        cut = id == EOS and not MODEL["carry"]  # no context reaches back over the end of a text
        after.append(id if k == 0 else -1 if cut else child(W, k, state[k - 1], id))
    log_p, V = W["0"]["log_p"].copy(), len(W["0"]["log_p"])
    for k, node in enumerate(after, 1):
        if node >= 0:
            keys = W[str(k)]["keys"]
            first, end = np.searchsorted(keys, np.array([node * V, (node + 1) * V], np.uint64))
            log_p += W[str(k - 1)]["backoff"][node]
            log_p[(keys[first:end] % np.uint64(V)).astype(int)] = W[str(k)]["log_p"][first:end]
    return after, log_p


def child(W, k, parent, id):
    """The node of an id on a level under a parent; -1 where there is none."""
    keys = W[str(k)]["keys"]
    key = np.uint64(max(0, parent) * len(W["0"]["log_p"]) + id)
    at = int(np.searchsorted(keys, key))
    return at if parent >= 0 and at < len(keys) and keys[at] == key else -1
