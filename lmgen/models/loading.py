"""The table of kinds of models, and the loading of a model of any kind from its directory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmgen.data.vocab import Vocab
from lmgen.errors import CheckpointError
from lmgen.models import schema
from lmgen.models.capabilities import Model
from lmgen.models.networks import Cloze, Recurrent
from lmgen.models.ngram import NGramModel
from lmgen.models.provenance import Provenance
from lmgen.system import checkpoint, devices, directories

KINDS: tuple[type[Model], ...] = (Recurrent, Cloze, NGramModel)


def choices(name: str) -> list[str]:
    """The values of "cell" or "direction" for which there is a kind of model."""
    found = [(kind.cells if name == "cell" else (kind.direction,)) for kind in KINDS]
    return [*dict.fromkeys(value for values in found for value in values)]


def kind_of(config: Mapping[str, Any]) -> type[Model]:
    """The kind of model that a configuration describes. Raises CheckpointError if there is none."""
    cell, direction = config["cell"], config.get("direction", "forward")
    for kind in KINDS:
        if cell in kind.cells and direction == kind.direction:
            return kind
    raise CheckpointError(f"there is no cell {cell!r:.40}")


def load(name: str | Path | None = None, precision: str = "auto") -> Any:
    """The model of a directory, of a name under checkpoints/, or the newest there.

    Raises CheckpointError for a directory that is missing, damaged or foreign, InputError where JAX cannot compute.
    """
    devices.check()
    path = directories.find(None if name is None else str(name))
    arrays, about, texts = checkpoint.read_model(path)
    vocab, config, settings = described(path, texts)
    schema.weights(path, about)
    provenance = Provenance.of(path, settings["text"], about)
    return kind_of(settings["model"]).from_arrays(config, arrays, vocab, precision, provenance)


def described(path: Path, texts: dict[str, str]) -> tuple[Vocab, Any, dict[str, Any]]:
    """The vocabulary, the configuration of the model and all settings, from vocab.json and config.json."""
    vocab, settings = schema.settings(path, texts)
    try:
        kind = kind_of(settings["model"])
    except CheckpointError as error:
        raise CheckpointError(f"{path / 'config.json'} is damaged ({error}): copy the model again") from None
    return vocab, kind.configuration(**settings["model"]), settings
