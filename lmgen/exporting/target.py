"""What a format of exported models is, and what every format needs to know of a model beside its weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lmgen.errors import printable
from lmgen.generation.sampling import BETWEEN
from lmgen.labelled import tagging
from lmgen.models.kinds import Kind
from lmgen.models.mixed import Mixed
from lmgen.nn.attention import Attention, heads_of
from lmgen.nn.model import cell_of
from lmgen.system.arrayfile import Arrays

Contents = Mapping[str, bytes]


@dataclass(frozen=True)
class Target:
    """A format in which models leave lmgen.

    `contents` makes the files of a model: of a format of one file its bytes under the name ""; of a directory the bytes of each
    file under its name. It takes the options in `settings` by name. `kinds` are the kinds of models that the format holds, and
    `lack` says what else of a model it cannot hold, as in "has no copying"; empty where it holds all. `suffix` ends the names of
    its files, and is empty for a directory. Up to `ngrams` n-grams that are mixed with a network go into it. `then` says what a
    user may do next with a model at a path.
    """

    about: str
    suffix: str
    kinds: tuple[Kind, ...]
    contents: Callable[..., Contents]
    settings: tuple[str, ...] = ()
    ngrams: int = 0
    lack: Callable[[Any], str] = lambda lm: ""
    then: Callable[[Any, Path], str] = lambda lm, path: ""


def described(lm: Any) -> dict[str, Any]:
    """All of a model but its weights, for JSON: its name and task, its network, the shapes of a layer's state, its symbols.

    A format may leave out what it does not use.
    """
    config, about, vocab = lm.config, lm.provenance.about, lm.vocab
    network = lm.kind.cell is None
    return {
        "name": lm.path.name if lm.path else "model",
        "summary": config.describe(),
        "text": printable(lm.provenance.text.title),
        "parameters": about.get("parameters"),
        "valid_nats": about.get("valid_nats"),
        "task": config.task if network else "language",
        "cell": config.cell,
        "carry": config.carry,
        "between": BETWEEN[lm.sequence],
        **(_network(config) if network else {"order": config.order}),
        **{name: getattr(config, name) for name in ("labels", "tags") if getattr(config, name, ())},
        **{name: getattr(config, name) for name in ("several", "pool", "targets", "attention", "copy") if hasattr(config, name)},
        "reads": "mixture" if isinstance(lm, Mixed) else "network" if network else "ngrams",
        **({"order": lm.ngrams.config.order} if isinstance(lm, Mixed) else {}),
        "temperature": about.get("temperature") or {},
        "unit": vocab.unit,
        "unk_token": vocab.unk_token,
        **vars(vocab.normal),
        "symbols": vocab.symbols,
    }


def _network(config: Any) -> dict[str, Any]:
    """The settings of a network that its weights do not show."""
    cell: Any = cell_of(config)
    attends = isinstance(cell, Attention)
    state = {name: n * config.size for name, n in cell.memory.items()}
    return {
        "size": config.size,
        "residual": config.residual,
        "skip": config.skip,
        "state": state if not attends else {"h": config.size, "keys": 0, "values": 0},
        **({"context": cell.context, "heads": cell.heads or heads_of(config.size)} if attends else {}),
        **({"rounds": cell.rounds, "rank": cell.rank} if "rank" in cell.settings else {}),
        **({"words": config.words, "vectors": config.vectors} if hasattr(config, "words") else {}),
    }


def rules(lm: Any) -> Arrays:
    """Which tag may follow which, where a scheme says it: "follows", as `tagging.allowed` gives it."""
    tags = getattr(lm.config, "tags", ())
    scheme = None if getattr(lm.config, "loose", False) else tagging.scheme(tags)
    return {} if scheme is None else {"follows": tagging.allowed(tags, scheme)}


def regrouped(a: Any, gates: Sequence[tuple[int, int]]) -> np.ndarray:
    """Weights [..., G N] as other libraries have them, [G N, ...]; for each of their gates the place of ours and its sign."""
    parts = np.split(np.asarray(a), len(gates), axis=-1)
    return np.concatenate([sign * parts[place] for place, sign in gates], axis=-1).T


def default_path(lm: Any, ending: str) -> Path:
    """Where a model goes unless the user says otherwise: a file or a directory of its name in this folder."""
    return Path((lm.path.name if lm.path else "model") + ending)
