"""The format html: one page that writes, scores and explains in a browser, without a network."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Sequence
from importlib import resources
from typing import Any

import numpy as np

from lmgen.errors import printable
from lmgen.exporting.target import Contents, Target, described, rules
from lmgen.models import kinds
from lmgen.models.mixed import Mixed
from lmgen.models.ngram import Level
from lmgen.system.arrayfile import Arrays

PAGE = resources.files("lmgen.exporting") / "page"
# The parts of the engine, in the order in which they run.
ENGINE = ("given", "vectors", "cells", "network", "ngrams", "mixture", "symbols", "writing", "labels", "pairs")
TYPES: dict[str, np.dtype] = {"16": np.dtype("<i2"), "8": np.dtype("i1")}


def contents(lm: Any, bits: str = "16") -> Contents:
    """The page of a model, whose matrices have whole numbers of 16 or 8 bits and a scale for each row."""
    parts = [packed(tree_of(lm.levels) if lm.kind.counts else {**lm.arrays(), **rules(lm)}, TYPES[bits])]
    if isinstance(lm, Mixed):
        ngrams = {f"mixture/ngrams/{name}": array for name, array in tree_of(lm.ngrams.levels).items()}
        parts = [packed(lm.network.arrays(), TYPES[bits]), packed({"mixture/weights": lm.weights, **ngrams}, TYPES["16"])]
    arrays, weights = [one for described, _ in parts for one in described], b"".join(content for _, content in parts)
    about = {**described(lm), "arrays": arrays}
    style = (resources.files("lmgen.pages") / "base.css").read_text("utf-8") + _part("page.css")
    scripts = "\n".join(_part(f"{part}.js") for part in ENGINE), _part("page.js")
    sources = " ".join(map(_hash, scripts))
    page = _part("page.html").format(
        policy=f"default-src 'none'; script-src {sources}; style-src {_hash(style)}; base-uri 'none'; form-action 'none'",
        title=html.escape(printable(about["name"])),
        style=style,
        model=json.dumps(about).replace("<", "\\u003c"),  # so that no symbol ends the block or opens a comment
        weights=base64.b64encode(weights).decode(),
        engine=scripts[0],
        page=scripts[1],
    )
    return {"": page.encode()}


def packed(arrays: Arrays, kind: np.dtype) -> tuple[list[tuple[str, str, tuple[int, ...]]], bytes]:
    """Name, type and shape of each array, and the bytes of all: vectors as they are, matrices as the scales of their rows and
    whole numbers of a type."""
    described, content = [], []
    for name, array in arrays.items():
        if array.ndim != 2:
            stored = array.astype("<f4") if array.dtype.kind == "f" else array
            described.append((name, stored.dtype.str[1:], array.shape))
            content.append(stored.tobytes())
            continue
        most = np.iinfo(kind).max
        scales = np.abs(array).max(1, initial=0).astype("<f4") / np.float32(most)
        whole = np.rint(array / np.where(scales == 0, 1, scales)[:, None]).clip(-most, most).astype(kind)
        described.append((name, f"i{kind.itemsize}", array.shape))
        content += [scales.astype("<f4").tobytes(), whole.tobytes()]
    return described, b"".join(content)


def tree_of(levels: Sequence[Level]) -> Arrays:
    """The n-grams as the engine reads them: of each node the last symbol, and the number of children of each parent."""
    arrays, parents, vocab = {}, 1, len(levels[0].keys)
    for k, level in enumerate(levels):
        edges = np.arange(parents + 1, dtype=np.uint64) * np.uint64(vocab)
        arrays[f"{k}/children"] = narrowed(np.diff(np.searchsorted(level.keys, edges)))
        arrays[f"{k}/ids"] = narrowed(level.keys % np.uint64(vocab))
        arrays |= {f"{k}/log_p": level.log_p[None], f"{k}/backoff": level.backoff[None]}
        parents = len(level.keys)
    return arrays


def narrowed(numbers: np.ndarray) -> np.ndarray:
    """Whole numbers from 0 in the narrowest of the types that hold them."""
    return numbers.astype(np.min_scalar_type(int(numbers.max(initial=0))).newbyteorder("<"))


def _part(name: str) -> str:
    return (PAGE / name).read_text("utf-8")


def _hash(text: str) -> str:
    """What a Content-Security-Policy allows a text by."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


TARGET = Target(
    "one page that writes, scores and explains in a browser, without a network",
    ".html",
    (kinds.RECURRENT, kinds.CLOZE, kinds.NGRAM, kinds.LABELLER, kinds.WRITER, kinds.TRANSLATOR),
    contents,
    ("bits",),
    ngrams=500_000,
)
