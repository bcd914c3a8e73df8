"""The format html: one page that writes, scores and explains in a browser, without a network."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from importlib import resources
from typing import Any

import numpy as np

from lmgen.errors import printable
from lmgen.exporting.target import Contents, Target, described, rules
from lmgen.models import kinds
from lmgen.system.arrayfile import Arrays

PAGE = resources.files("lmgen.exporting") / "page"
ENGINE = ("given", "vectors", "cells", "network", "symbols", "writing", "labels", "pairs")  # of these each needs some before it
OF_TASK = {"labels": ("tag", "classify", "tag-classify"), "pairs": ("translate",)}  # parts for some tasks alone
TYPES: dict[str, np.dtype] = {"16": np.dtype("<i2"), "8": np.dtype("i1")}


def contents(lm: Any, bits: str = "16") -> Contents:
    """The page of a model, whose matrices have whole numbers of 16 or 8 bits and a scale for each row."""
    arrays, weights = packed({**lm.arrays(), **rules(lm)}, TYPES[bits])
    about = {**described(lm), "arrays": arrays}
    engine = [part for part in ENGINE if about["task"] in OF_TASK.get(part, (about["task"],))]
    style = (resources.files("lmgen.pages") / "base.css").read_text("utf-8") + _part("page.css")
    scripts = "\n".join(_part(f"{part}.js") for part in engine), _part("page.js")
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
            described.append((name, "f4", array.shape))
            content.append(array.astype("<f4").tobytes())
            continue
        most = np.iinfo(kind).max
        scales = np.abs(array).max(1, initial=0).astype("<f4") / np.float32(most)
        whole = np.rint(array / np.where(scales == 0, 1, scales)[:, None]).clip(-most, most).astype(kind)
        described.append((name, f"i{kind.itemsize}", array.shape))
        content += [scales.astype("<f4").tobytes(), whole.tobytes()]
    return described, b"".join(content)


def _part(name: str) -> str:
    return (PAGE / name).read_text("utf-8")


def _hash(text: str) -> str:
    """What a Content-Security-Policy allows a text by."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


TARGET = Target(
    "one page that writes, scores and explains in a browser, without a network",
    ".html",
    (kinds.RECURRENT, kinds.CLOZE, kinds.LABELLER, kinds.WRITER, kinds.TRANSLATOR),
    contents,
    ("bits",),
)
