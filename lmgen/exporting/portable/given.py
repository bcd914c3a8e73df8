"""What an exported program is given: the model without its weights, and the weights."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

MODEL: dict[str, Any] = {}
W: dict[str, Any] = {}

EOS, UNK = 0, 1  # the id that begins and ends a text, and that of any unknown symbol


def unpacked(arrays, text):
    """Arrays in dicts by the parts of their names, from (name, type, shape) of each and their bytes, in base64."""
    found: dict[str, Any] = {}
    content, at = base64.b64decode(text), 0
    for path, kind, shape in arrays:
        *folders, name = path.split("/")
        place = found
        for folder in folders:
            place = place.setdefault(folder, {})
        count = int(np.prod(shape))
        place[name] = np.frombuffer(content, kind, count, at).reshape(shape)
        at += place[name].nbytes
    return found
