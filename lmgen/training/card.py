"""The card of a model, README.md of its directory: what it is, what it was made from, how good it is, how to use it."""

from __future__ import annotations

from typing import Any

from lmgen._version import __version__
from lmgen.data.corpus import unit_noun
from lmgen.data.vocab import Vocab
from lmgen.errors import printable
from lmgen.models.provenance import TextSettings


def card(name: str, kind: str, rows: dict[str, str], command: str = "sample") -> str:
    """The card, with a table of `rows`; `command` is what one does with such a model."""
    name = printable(name)
    table = "\n".join(f"| {title} | {printable(value.replace('|', '·'), 4096)} |" for title, value in rows.items())
    return (
        f"# {name}\n\n{kind} made by lmgen {__version__}.\n\n| | |\n|---|---|\n{table}\n\n"
        f"    lmgen {command} {name}\n"
        f"    lmgen eval {name} FILE\n\n"
        "The text itself is not in this directory; known.safetensors holds 64-bit hashes of its sequences,\n"
        "which tell new samples from copies.\n"
    )


def reading(vocab: Vocab, sequence: str, carry: bool) -> str:
    """How a model reads text."""
    flow = "state carried from one to the next" if carry else "each on its own"
    return f"{unit_noun(vocab)}s ({vocab.unit}), one {sequence} a sequence, {flow}"


def of_text(
    data: Any, text: TextSettings, valid_nats: float | None, nats: str = "nats a symbol", nouns: tuple[str, str] = ("symbol", "")
) -> dict[str, str]:
    """The rows on the text of a training."""
    parts, wholes = f"{data.train.symbols:,} {nouns[0]}s", f"{data.train.sequences:,} {nouns[1] or 'sequence'}s"
    rows = {"text": text.title, "trained on": f"{parts} in {wholes}, vocabulary {len(data.vocab):,}"}
    if valid_nats is not None and data.valid:
        rows["validation"] = f"{valid_nats:.4f} {nats} over {data.valid.symbols:,} {nouns[0]}s"
    return rows
