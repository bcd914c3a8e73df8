"""Labels of texts, tags of symbols."""

from __future__ import annotations

import re
import unicodedata
import zlib
from typing import Any

import numpy as np

from lmgen.exporting.portable.given import EOS, MODEL, UNK, W
from lmgen.exporting.portable.network import outputs
from lmgen.exporting.portable.norms import normalised, sigmoid, softmax
from lmgen.exporting.portable.symbols import split, symbol_ids


def predict(text):
    """What a text is: "labels", the likeliest first, and "tags", one for each symbol, with probabilities."""
    words = parted(split(text))
    xs = np.array([word_vector(word) for word in ["", *words, ""]])
    lefts, rights = outputs(W, xs[:-1])[1], outputs(W["back"], xs[:0:-1])[1][::-1] if "back" in W else None
    hs = lefts[1:] if rights is None else np.concatenate([lefts[1:], rights[:-1]], axis=1)
    heads = W["heads"]
    found: dict[str, list[Any]] = {}
    if "norm" in heads:
        hs = np.array([normalised(h, **heads["norm"]) for h in hs])
    if "labels" in heads and words:
        N = MODEL["size"]
        lasts = [hs[-1, :N], hs[0, N:]] if MODEL["pool"] != "mean" else []
        means = [hs.mean(0)] if MODEL["pool"] != "last" else []
        z = (np.concatenate([*lasts, *means]) @ heads["labels"]["W"] + heads["labels"]["b"]) / heat("labels")
        p = sigmoid(z) if MODEL["several"] else softmax(z)
        found["labels"] = [(MODEL["labels"][k], float(p[k])) for k in np.argsort(-p, kind="stable")]
    if "tags" in heads and words:
        p = softmax((hs @ heads["tags"]["W"] + heads["tags"]["b"]) / heat("tags"))
        ids = viterbi(p) if "follows" in W else p.argmax(1)
        tags = [(MODEL["tags"][k], float(p[at, k])) for at, k in enumerate(ids)]
        found["tags"] = [(word, *tag) for word, tag in zip(words, tags, strict=True)]
    return found


def parted(words):
    """Words, with the marks at the ends of unknown ones as words of their own, if training has seen these marks as words. Nothing
    is cut where a mark stands alone already."""
    ids, seen = symbol_ids(), MODEL["words"]

    def is_mark(word):
        return len(word) == 1 and unicodedata.category(word)[0] in "PS"

    def cuts(word, mark):
        return len(word) > 1 and word not in ids and is_mark(mark) and ids.get(mark, seen) < seen

    if MODEL["unit"] != "word" or any(map(is_mark, words)):
        return words
    found = []
    for word in words:
        after = []
        while cuts(word, word[0]):
            found.append(word[0])
            word = word[1:]
        while cuts(word, word[-1]):
            after.append(word[-1])
            word = word[:-1]
        found += [word, *reversed(after)]
    return found


def heat(head):
    """The temperature by which the probabilities of a head are calibrated."""
    return MODEL["temperature"].get(head, 1.0)


def id_of(word):
    """The id of a word, or of its lower case where vectors were made elsewhere."""
    ids = symbol_ids()
    return ids.get(word, ids.get(word.lower(), UNK) if MODEL["vectors"] else UNK)


def word_vector(word):
    """What the network reads of a symbol, of its letters, and of vectors made elsewhere; "" is the end of a text."""
    id = id_of(word) if word else EOS
    x = W["embedding"][id if id < MODEL["words"] else UNK]
    if "letters" in W:
        marked = symbol_ids().get(word) == UNK
        rows = [zlib.crc32(one.encode("utf-8", "surrogatepass")) % len(W["letters"]) for one in features("" if marked else word)]
        x = x + W["letters"][rows].sum(0) / np.float32(len(rows) ** 0.5)
    return np.append(x, W["vectors"][id]) if "vectors" in W else x


def features(word):
    """At most 64 features of a word: its letters with both ends marked, their n-grams, its shape, what is remarkable in it."""
    whole = f"<{word.lower()}>"
    if len(word) > 200:
        word = word[:100] + word[-100:]
    letters, shape = f"<{word.lower()}>", "".join(map(letter_class, word))
    short = re.sub(r"(.)\1+", r"\1", shape, flags=re.S)
    ends = [end for n in range(2, 6) for end in (letters[:n], letters[-n:])]
    traits = {
        "capital": word[:1].isupper(),
        "inner": word[1:] != word[1:].lower() and not word.isupper(),
        "upper": word.isupper(),
        "digit": any(map(str.isdigit, word)),
        "number": not any(map(str.isalpha, word)) and any(map(str.isdigit, word)),
        "hyphen": "-" in word[1:-1],
        "mark": not any(map(str.isalnum, word)),
        "foreign": not word.isascii(),
    }
    has = [f"has {name}" for name, holds in traits.items() if holds]
    kept = dict.fromkeys([whole, *ends, f"shape {shape[:10]}", f"short {short[:10]}", *has])
    grams = dict.fromkeys(letters[i : i + n] for n in range(3, 7) for i in range(len(letters) - n + 1))
    others = [gram for gram in grams if gram not in kept]
    room = min(len(others), 64 - len(kept))
    return [*kept, *(others[k * len(others) // room] for k in range(room))]


def letter_class(letter):
    return "X" if letter.isupper() else "d" if letter.isdigit() else "x" if letter.isalpha() else letter


def viterbi(p):
    """The likeliest tags of which each may follow the one before, from their probabilities [n, K]; where none may, those that
    break the fewest rules."""
    n, K = p.shape
    score = np.maximum(np.log(np.maximum(p, 1e-300, dtype=np.float64)), -1e3)
    cost = np.where(W["follows"], 0.0, -1e3 * (n + 1))  # [from, to]; K is the start and the end
    best, before = score[0] + cost[K, :K], []
    for at in range(1, n):
        reached = best[:, None] + cost[:K, :K]
        before.append(reached.argmax(0))
        best = reached.max(0) + score[at]
    ids = [int((best + cost[:K, K]).argmax())]
    for came in reversed(before):
        ids.insert(0, int(came[ids[0]]))
    return ids
