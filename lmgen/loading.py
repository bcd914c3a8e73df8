"""The table of kinds of models, and the loading of a model of any kind from its directory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmgen.applied.graph import GraphLabeller
from lmgen.applied.labeller import Labeller
from lmgen.applied.translator import Translator
from lmgen.applied.tree import TreeLabeller
from lmgen.applied.writer import Writer
from lmgen.data.vocab import Vocab
from lmgen.errors import CheckpointError
from lmgen.models import kinds, mixed, schema
from lmgen.models.capabilities import Model
from lmgen.models.ngram import NGramModel
from lmgen.models.provenance import Provenance
from lmgen.models.recurrent import Cloze, Recurrent
from lmgen.nn.cells import CELLS
from lmgen.system import checkpoint, devices, directories

TYPES: dict[kinds.Kind, type[Model]] = {
    each.kind: each for each in (Recurrent, Cloze, NGramModel, Labeller, Writer, Translator, TreeLabeller, GraphLabeller)
}


def choices(name: str) -> list[str]:
    """The values of "cell" or "direction" that make a model."""
    if name == "direction":
        return [*dict.fromkeys(kind.direction for kind in TYPES)]
    return [*CELLS, *(kind.cell for kind in TYPES if kind.cell)]


def type_of(config: Mapping[str, Any]) -> type[Model]:
    """The class of model that a configuration describes. Raises CheckpointError if there is none."""
    if config["cell"] not in choices("cell"):
        raise CheckpointError(f"there is no cell {config['cell']!r:.40}, so config.json is damaged: copy the model again")
    return TYPES[kinds.kind_of(config)]


def load(name: str | Path | None = None, precision: str = "auto", mixture: bool = True) -> Any:
    """The model of a directory, of a name under checkpoints/, or the newest there; without `mixture` its network alone.

    Raises CheckpointError for a directory that is missing, damaged or foreign, InputError where JAX cannot compute.
    """
    devices.check()
    path = directories.find(None if name is None else str(name))
    arrays, about, texts = checkpoint.read_model(path)
    vocab, config, settings = described(path, texts)
    schema.weights(path, about)
    provenance = Provenance.of(path, settings["text"], about)
    model = type_of(settings["model"]).from_arrays(config, arrays, vocab, precision, provenance)
    return mixed.with_parts(path, model) if mixture else model


def described(path: Path, texts: dict[str, str]) -> tuple[Vocab, Any, dict[str, Any]]:
    """The vocabulary, the configuration of the model and all settings, from vocab.json and config.json."""
    vocab, settings = schema.settings(path, texts)
    return vocab, type_of(settings["model"]).configuration(**settings["model"]), settings
