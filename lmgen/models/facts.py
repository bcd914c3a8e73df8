"""What `lmgen show`, `list` and `doctor` print: the facts of a model directory, read without its weights, and of the machine."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from lmgen._version import __version__
from lmgen.data.finding import name_of
from lmgen.errors import CheckpointError
from lmgen.models import schema
from lmgen.models.kinds import Kind, kind_of
from lmgen.system import arrayfile, cache, checkpoint, directories
from lmgen.system.cluster import environments

LATE = {"residual": False, "layer_norm": False, "direction": "forward"}  # of models older than these settings

RARE = (  # settings that are shown where they are given
    *("context", "heads", "rounds", "rank", "skip", "input_dropout", "state_dropout", "weight_dropout", "embedding_dropout"),
    *("output_dropout", "ar", "tar"),
)

INSTRUCTIONS = ("avx", "amx", "fma", "asimd", "sve", "bf16")  # how those begin that matter here: of x86-64, then of ARM


def model(name: str) -> dict[str, Any]:
    """The facts of one model. Raises CheckpointError where there is none."""
    path = directories.find(name)
    _, about, texts = checkpoint.read_model(path, weights=False)
    schema.weights(path, about)
    vocab, settings = schema.settings(path, texts)
    config = LATE | settings["model"]
    train, text, valid_nats = settings["train"], settings["text"], about["valid_nats"]
    steps: dict[str, Any] = {}
    pace: dict[str, Any] = {}
    if train:  # an n-gram model takes no steps
        snapshots = checkpoint.snapshots(path)
        steps["steps"] = max(map(checkpoint.step_of, snapshots), default=0) or about["step"]
        steps["best_step"] = None if valid_nats is None or train.get("keep") == "last" else about["step"]
        pace = {name: train[name] for name in ("batch", "window", "learning_rate", "seed")} | {"resumable": bool(snapshots)}
    return {
        "path": str(path),
        "cell": config["cell"],
        **{name: config[name] for name in kind_of(config).facts},
        **{name: config[name] for name in RARE if config.get(name)},
        "parameters": about["parameters"],
        "unit": vocab.unit,
        "sequence": text["sequence"],
        **{name: text[name] for name in ("field", "lowercase", "normalize") if text.get(name)},
        "carry": config["carry"],
        "vocabulary": config["vocab"],
        "text": [name_of(Path(file)) for file in text["files"]],
        **steps,
        "valid_nats": valid_nats,
        **_parts(path, about, kind_of(config)),
        **pace,
        "lmgen": about["lmgen"],
    }


def _parts(path: Path, about: dict[str, Any], kind: Kind) -> dict[str, Any]:
    """What a model has beside its network: how good it is with and without that, and what it costs in bytes and in time."""
    tempered = {name: about[name] for name in ("evaluation_temperature",) if name in about}
    if not (path / checkpoint.MIXTURE).exists():
        return tempered
    further = arrayfile.read_about(path / checkpoint.MIXTURE, "mixture")
    schema.mixture(path / checkpoint.MIXTURE, further, kind)
    ngrams = {}
    if "order" in further:
        ngrams = {"mixed_with": f"n-grams up to order {further['order']}", "ngrams": further["ngrams"]}
    sizes = {name: (path / f"{name}.safetensors").stat().st_size for name in ("model", "mixture")}
    return {
        "valid_nats": further["valid_nats"],
        "network_nats": further["network_nats"],
        **tempered,
        "networks": further["networks"],
        **ngrams,
        "network_bytes": sizes["model"],
        "mixture_bytes": sizes["mixture"],
        "scoring": f"{further['times']:g} times as long as by the network alone",
    }


def models() -> list[dict[str, Any]]:
    """A row for each model in checkpoints/, the newest first, also for one that cannot be read."""
    rows = []
    for path in directories.models():
        try:
            facts = model(str(path))
            shown = f"{kind_of(facts).summary.format(**facts)}, {facts['unit']}"
        except CheckpointError:
            facts, shown = {}, "damaged"
        numbers = {name.replace("_", " "): facts.get(name) for name in ("parameters", "steps", "valid_nats")}
        text = ", ".join(Path(f).name for f in facts.get("text", ()))
        rows.append({"name": path.name, "model": shown, **numbers, "text": text})
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


def versions() -> str:
    """What must be the same in all processes that train together."""
    from lmgen.nn import native

    kernels = "/".join(native.kind(precision) or "none" for precision in ("f32", "bf16"))
    return f"lmgen {__version__}, jax {metadata.version('jax')}, kernels {kernels}"


def surroundings() -> list[tuple[str, str]]:
    """Versions, processor, memory, caches."""
    import jax

    from lmgen.nn import precision
    from lmgen.system import devices, memory

    devices.check()
    kernels = precision.kernels
    if jax.default_backend() == "gpu":
        from lmgen.nn.persistent import kernels

    packages = ("jax", "jaxlib", "optax", "numpy", "safetensors", "click", "rich")
    ram = memory.total()
    return [
        ("lmgen", __version__),
        ("python", f"{sys.version.split()[0]} on {platform.system()} {platform.machine()}"),
        *((name, metadata.version(name)) for name in packages),
        ("devices", devices.describe()),
        ("kernels", kernels()),
        ("precision", precision.auto()),
        ("instructions", " ".join(sorted(f for f in devices.cpu_flags() if f.startswith(INSTRUCTIONS)))),
        ("processes", environments.describe(os.environ)),
        ("memory", f"{ram / 2**30:.1f} GiB" if ram else "unknown"),
        ("cache", str(cache.folder("corpora").parent)),
    ]
