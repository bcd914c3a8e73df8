"""The format hub: a directory for the Hugging Face Hub, which is the model's own with a card that the Hub can read."""

from __future__ import annotations

import json
import math
import re
import shlex
import sys
import tempfile
from pathlib import Path
from typing import Any

from lmgen.data.corpus import unit_noun
from lmgen.errors import InputError, printable
from lmgen.exporting.target import Contents, Target, described
from lmgen.models import kinds
from lmgen.system import checkpoint, terminal
from lmgen.training.card import reading

COPIED = ("mixture.safetensors", "metrics.jsonl")
# The Hub's names of tasks.
TASKS = {
    "language": "text-generation",
    "generate": "text-generation",
    "cloze": "fill-mask",
    "tag": "token-classification",
    "tag-classify": "token-classification",
    "classify": "text-classification",
    "translate": "translation",
    "tree": "graph-ml",
    "graph": "graph-ml",
}
LONGEST = 500  # characters of a name in the card


def contents(lm: Any) -> Contents:
    """The files of a model, in which the training text is named without its folders.

    Raises InputError for a model without a directory, CheckpointError for one that cannot be read.
    """
    if lm.path is None:
        raise InputError("this model has no directory to copy: train one")
    arrays, about, texts = checkpoint.read_model(lm.path)
    settings = json.loads(texts["config.json"])
    text = settings["text"]
    text |= {name: [Path(file).name for file in text[name]] for name in ("files", "valid_files")}
    if text.get("target"):
        text["target"] = Path(text["target"]).name
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model")
        checkpoint.create(path, {**texts, "config.json": checkpoint.config_text(settings)})
        checkpoint.write_model(path, arrays, {name: value for name, value in about.items() if name != "files"})
        if lm.known is not None:
            checkpoint.write_known(path, lm.known)
        made = {file.name: file.read_bytes() for file in path.iterdir()}
    made |= {name: (lm.path / name).read_bytes() for name in COPIED if (lm.path / name).is_file()}
    return {**made, "README.md": card(lm).encode()}


def card(lm: Any) -> str:
    """The card: what the Hub reads, between two lines of dashes, and what people read."""
    about, kind, found = lm.provenance.about, lm.kind, described(lm)
    name, title, nats = printable(found["name"], LONGEST), printable(found["text"], LONGEST), found["valid_nats"]
    measures = []
    if nats is not None:
        measures.append({"type": "nats", "name": f"{kind.nats} per {kind.per}, held-out text", "value": round(nats, 4)})
        if (kind.nats, kind.per) == ("nats", "symbol") and nats < math.log(1e6):
            each = f"perplexity per {unit_noun(lm.vocab)}, held-out text"
            measures.append({"type": "perplexity", "name": each, "value": round(math.exp(nats), 4)})
    task = TASKS[found["task"]]
    results = {"task": {"type": task}, "dataset": {"name": title or "text", "type": "text"}, "metrics": measures}
    head = {
        "library_name": "lmgen",
        "pipeline_tag": task,
        "tags": ["lmgen", found["cell"], unit_noun(lm.vocab)],
        **({"model-index": [{"name": name, "results": [results]}]} if measures else {}),
    }
    rows = {
        "network": found["summary"],
        "parameters": f"{about['parameters']:,}",
        "read as": reading(lm.vocab, lm.sequence, lm.carry),
        "symbols": f"{len(lm.vocab):,}",
        **{many: ", ".join(found[many]) for many in ("labels", "tags") if many in found},
        "text": title,
        **{measure["name"]: str(measure["value"]) for measure in measures},
    }
    table = "\n".join(f"| {row} | {escaped(printable(value, LONGEST))} |" for row, value in rows.items())
    folder = shlex.quote(name)
    return (
        "---\n"
        + "".join(f"{field}: {json.dumps(value, ensure_ascii=False)}\n" for field, value in head.items())
        + "# license: yours to choose, such as mit\n---\n\n"
        + f"# {escaped(name)}\n\n{kind.title} made by lmgen {printable(about['lmgen'])}.\n\n| | |\n|---|---|\n{table}\n\n"
        + f"    pip install lmgen huggingface_hub\n    hf download OWNER/{repository(name)} --local-dir {folder}\n"
        + f"    lmgen {kind.command} {folder}\n    lmgen eval {folder} FILE\n\n"
        + "The text itself is not here. known.safetensors holds 64-bit hashes of its sequences, which tell new samples from\n"
        + "copies, and whether someone's guess of a sequence was in the text; the model works without that file, too.\n"
    )


def escaped(text: str) -> str:
    """A text in which nothing is Markdown or HTML."""
    return re.sub(r"([\\`*_~#|<>&@:{}\[\]])", r"\\\1", text)


def repository(name: str) -> str:
    """A name for the model on the Hub, where fewer characters are allowed."""
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-") or "model"


TARGET = Target(
    "a directory for the Hugging Face Hub",
    "",
    kinds.KINDS,
    contents,
    ngrams=sys.maxsize,
    then=lambda lm, path: (
        f"upload it with: hf upload YOUR-NAME/{repository(described(lm)['name'])} {terminal.command(str(path))}"
    ),
)
