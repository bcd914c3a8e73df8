"""What a model directory holds and what the machine is, told without JAX."""

from __future__ import annotations

import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from lmgen._version import __version__
from lmgen.data.finding import name_of
from lmgen.data.vocab import Vocab
from lmgen.errors import CheckpointError
from lmgen.models import schema
from lmgen.nn.precision import auto, kernels
from lmgen.system import cache, checkpoint, directories


def model(name: str) -> dict[str, Any]:
    """The facts of one model. Raises CheckpointError for what is no model."""
    path = directories.find(name)
    about, texts = checkpoint.read_about(path)
    schema.weights(path, about)
    vocab, settings = schema.settings(path, texts)
    network, train, text = settings["model"], settings["train"], settings["text"]
    if network["cell"] == "ngram":
        return {
            "path": str(path),
            "cell": "ngram",
            "order": network["order"],
            "parameters": about["parameters"],
            **_of_text(network, vocab, text),
            "valid_nats": about["valid_nats"],
            "lmgen": about["lmgen"],
        }
    return {
        "path": str(path),
        "cell": network["cell"],
        "layers": network["layers"],
        "size": network["size"],
        "residual": network.get("residual", False),
        "layer_norm": network.get("layer_norm", False),
        "direction": network.get("direction", "forward"),
        "embedding": network["embedding"],
        "tie": network["tie"],
        "dropout": network["dropout"],
        "parameters": about["parameters"],
        **_of_text(network, vocab, text),
        "steps": _steps_taken(path) or about["step"],
        "best_step": None if about["valid_nats"] is None or train.get("keep") == "last" else about["step"],
        "valid_nats": about["valid_nats"],
        "batch": train["batch"],
        "window": train["window"],
        "learning_rate": train["learning_rate"],
        "seed": train["seed"],
        "resumable": bool(checkpoint.snapshots(path)),
        "lmgen": about["lmgen"],
    }


def _steps_taken(path: Path) -> int:
    """The steps of the newest snapshot; 0 where there is none."""
    return max((checkpoint.step_of(snapshot) for snapshot in checkpoint.snapshots(path)), default=0)


def _of_text(network: dict[str, Any], vocab: Vocab, text: dict[str, Any]) -> dict[str, Any]:
    return {
        "unit": vocab.unit,
        "sequence": text["sequence"],
        "carry": network["carry"],
        "vocabulary": network["vocab"],
        "text": [name_of(Path(file)) for file in text["files"]],
    }


def models() -> list[dict[str, Any]]:
    """A row for each model in checkpoints/, the newest first; one that cannot be read says so in its row."""
    rows = []
    for path in directories.models():
        try:
            facts = model(str(path))
        except CheckpointError:
            rows.append(
                {"name": path.name, "model": "damaged", "parameters": None, "steps": None, "valid nats": None, "text": ""}
            )
            continue
        both = ", both directions" if facts.get("direction") == "both" else ""
        size = f"order {facts['order']}" if facts["cell"] == "ngram" else f"{facts['layers']} × {facts['size']}"
        kind = f"{facts['cell']} {size}{both}, {facts['unit']}"
        texts = ", ".join(Path(f).name for f in facts["text"])
        numbers = {"parameters": facts["parameters"], "steps": facts.get("steps"), "valid nats": facts["valid_nats"]}
        rows.append({"name": path.name, "model": kind, **numbers, "text": texts})
    return rows


def words(value: Any) -> str:
    """A value as a table shows it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e-2 else f"{value:.4f}".rstrip("0").rstrip(".")
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "–" if value is None else str(value)


def surroundings() -> list[tuple[str, str]]:
    """Versions, processor, memory, caches."""
    from lmgen.system import devices, memory

    packages = ("jax", "jaxlib", "optax", "numpy", "safetensors", "click", "rich")
    installed = {name: version(name) for name in packages}
    ram = memory.total()
    return [
        ("lmgen", __version__),
        ("python", f"{sys.version.split()[0]} on {platform.system()} {platform.machine()}"),
        *installed.items(),
        ("devices", devices.describe()),
        ("kernels", kernels()),
        ("precision", auto()),
        ("instructions", " ".join(sorted(f for f in devices.cpu_flags() if f.startswith(("avx", "amx", "fma"))))),
        ("memory", f"{ram / 2**30:.1f} GiB" if ram else "unknown"),
        ("cache", str(cache.folder("corpora").parent)),
    ]


def version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
