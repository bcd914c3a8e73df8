"""The network with its weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file

from lmgen.exporting.portable.given import MODEL
from lmgen.exporting.pytorch.given import network
from lmgen.exporting.pytorch.labels import Labeller
from lmgen.exporting.pytorch.pairs import Translator
from lmgen.exporting.pytorch.text import ClozeModel, LanguageModel

NETWORKS: dict[str, Any] = {
    "language": LanguageModel,
    "generate": LanguageModel,
    "cloze": ClozeModel,
    "tag": Labeller,
    "classify": Labeller,
    "tag-classify": Labeller,
    "translate": Translator,
}


def settings():
    """The settings of the model and its symbols."""
    return {**json.loads(Path(__file__).with_name("config.json").read_text("utf-8")), "reads": "torch"}


def load():
    """The network with the weights beside this file."""
    loaded = NETWORKS[MODEL["task"]]()
    loaded.load_state_dict(load_file(Path(__file__).with_name("model.safetensors")))
    return loaded.eval()


def arrays():
    """What the functions of texts read beside the network: the vectors of the labels to write by, which tag may follow which."""
    found = {"follows": np.array(MODEL["follows"])} if "follows" in MODEL else {}
    if MODEL["task"] == "generate":
        found["labels"] = network.labels.weight.detach().numpy()
    return found
