"""Defaults that suit trees, and what a training on them starts from: vectors made elsewhere."""

from __future__ import annotations

from typing import Any

from lmgen.defaults.labelling import members
from lmgen.errors import InputError
from lmgen.labelled.corpus import LabelledCorpus
from lmgen.networks.tree import CELLS, TreeConfig
from lmgen.options import table

SHAPE: dict[str, Any] = {"cell": "lstm", "size": 128, "embedding": 100, "dropout": 0.5}
BATCH = 32  # trees of a step, about
PASSES = 6  # over the text at most: a label at every node teaches much in each, and more of them learn it by heart …
LEAST_STEPS = 1_000  # … but at least this number of steps


def choose(data: LabelledCorpus, task: str, carry: bool, wanted: dict[str, Any], start: Any) -> tuple[TreeConfig, dict[str, Any]]:
    """The network and the fields of TrainingConfig for these trees; what `wanted` gives (not None) is kept.

    A step reads about `batch` trees of `window` nodes. Raises InputError for a cell that reads no trees.
    """
    given = {name: value for name, value in wanted.items() if value is not None}
    shape = SHAPE | {name: given[name] for name in SHAPE if name in given}
    if shape["cell"] not in CELLS:
        raise InputError(f"the cell {shape['cell']} reads no trees: choose from {', '.join(CELLS)}")
    network = TreeConfig(
        vocab=len(data.vocab),
        **shape,
        labels=data.labels.labels,
        words=data.seen,
        hashed=given.get("input", "hash") == "hash",
        vectors=0 if data.vectors is None else data.vectors.shape[1],
        frozen=("vectors",) * (data.vectors is not None and not given.get("tune")),
    )
    nodes = max(1, round(data.train.symbols / data.train.sequences))
    train: dict[str, Any] = {"batch": BATCH, "window": nodes, "learning_rate": 3e-3}
    train |= {name: given[name] for name in table.names("training", "end") if name in given}
    if train.get("precision", "auto") == "auto":
        train["precision"] = "f32"  # a step has few rows, so that rounding them takes longer than it saves
    a_pass = max(1, data.train.symbols // (train["batch"] * train["window"]))
    if not given.keys() & {"steps", "epochs"}:  # a budget may end it before: the learning rate falls towards the nearer end
        train["epochs"] = float(max(PASSES, round(LEAST_STEPS / a_pass)))
    train |= members(data, given)
    if data.valid:
        train["validate_every"] = max(
            20, min(a_pass // 2, 500), round(3 * data.valid.symbols / (train["batch"] * train["window"]))
        )
    return network, train
