"""Receipts: what it takes to draw samples again, as JSON, and what differs if they come out otherwise."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lmgen.errors import InputError
from lmgen.models import facts
from lmgen.models.capabilities import Model
from lmgen.models.mixed import Mixed
from lmgen.system import checkpoint, files

FORMAT = 1
VERSIONS = ("lmgen", "python", "jax", "jaxlib", "numpy", "devices", "kernels")
MOST = 1 << 26  # bytes
_TYPES = {"format": int, "models": list, "precision": str, "versions": dict, "options": dict, "samples": list}


def described(model: Model) -> dict[str, str]:
    """The directory of a model and the hash of its weights, which hold those of its settings and vocabulary; of a model of
    several parts, the hash of the file of the others, which holds that of the network."""
    if model.path is None:
        raise InputError("this model has no directory, so a receipt cannot name it: save it first")
    with files.opened(model.path / (checkpoint.MIXTURE if isinstance(model, Mixed) else "model.safetensors")) as (file, _):
        return {"path": str(model.path.absolute()), "sha256": hashlib.file_digest(file, "sha256").hexdigest()}  # type: ignore[arg-type]


def hashed(text: str) -> str:
    """The hash by which a receipt knows a sample."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def receipt(models: Sequence[Model], precision: str, options: Mapping[str, Any], samples: Sequence[str]) -> str:
    """A receipt for samples, given by their hashes: models, precision, options with the seed, versions."""
    content = {
        "format": FORMAT,
        "models": [described(model) for model in models],
        "precision": precision,
        "options": {name: value for name, value in options.items() if value is not None},
        "versions": _versions(),
        "samples": samples,
    }
    return json.dumps(content, indent=1) + "\n"


def _versions() -> dict[str, str]:
    return {name: value for name, value in facts.surroundings() if name in VERSIONS}


def read(path: Path) -> dict[str, Any]:
    """The content of a receipt. Raises InputError for another file."""
    try:
        with open(path, "rb") as file:
            content = json.loads(file.read(MOST))
        named = all(isinstance(content[name], kind) for name, kind in _TYPES.items())
        models = all(isinstance(one[name], str) for one in content["models"] for name in ("path", "sha256"))
        if not (named and models and content["models"]) or content["format"] != FORMAT:
            raise ValueError("it is of another format")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise InputError(f"{path} is no receipt of lmgen sample --receipt ({error!s:.80})") from None
    return content


def differences(content: Mapping[str, Any], samples: Sequence[str]) -> str:
    """The sentence that says which of the samples, given by their hashes, is not that of a receipt, and why; empty if all are."""
    before = content["samples"]
    if [*samples] == before:
        return ""
    pairs = zip(samples, before, strict=False)
    at = next((k for k, (one, other) in enumerate(pairs, 1) if one != other), min(len(samples), len(before)) + 1)
    now, then = _versions(), content["versions"]
    other = [f"{name} was {then.get(name, 'unknown')!s:.80} and is {now[name]}" for name in now if now[name] != then.get(name)]
    reason = "; ".join(other) or "the models and versions are the same, so the receipt was edited, or the processor is another"
    return f"sample {at:,} of {len(before):,} is not that of the receipt: {reason}"
