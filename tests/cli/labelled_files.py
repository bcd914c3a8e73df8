"""What tests of commands on labels share: labelled data of every form."""

from __future__ import annotations

import json
import random
from pathlib import Path

from support import invented_words, lines

DRAW = random.Random(0)
WORDS = {"good": ["fine", "lovely", "superb"], "bad": ["awful", "dull", "weak"]}
NAMES = invented_words(60)
CLASSES = [(label, f"the film {name} is {DRAW.choice(WORDS[label])}") for name in NAMES for label in WORDS]
SENTENCES = [
    ([verb, city, "in", "May"], ["O", f"B-{verb}", "O", "B-date"], verb)
    for verb in ("arrive", "leave")
    for city in ["Rome", "Oslo"]
] * 30


def several(number: int, label: str) -> str:
    return f"{label},{'odd' if number % 2 else 'even'}"


CONTENTS = {
    "tsv": lines(f"{label}\t{text}" for label, text in CLASSES),
    "csv": "text,label\n" + lines(f'"{text}, really",{label}' for label, text in CLASSES),
    "fasttext": lines(f"__label__{label} {text}" for label, text in CLASSES),
    "jsonl": lines(json.dumps({"text": text, "label": label}) for label, text in CLASSES),
    "columns": "\n".join(lines(map(" ".join, zip(tokens, tags, strict=True))) for tokens, tags, _ in SENTENCES),
}


def made(form: str, folder: Path) -> Path:
    """The labelled data of a form; one of `FORMS`, or several labels, or tokens with tags and a label as JSON."""
    path = folder / f"data.{form}"
    if form == "folder":
        path.mkdir()
        (path / "seq.in").write_text(lines(" ".join(tokens) for tokens, _, _ in SENTENCES))
        (path / "seq.out").write_text(lines(" ".join(tags) for _, tags, _ in SENTENCES))
        (path / "label").write_text(lines(label for _, _, label in SENTENCES))
    elif form == "several":
        path.write_text(lines(f"{several(number, label)}\t{text}" for number, (label, text) in enumerate(CLASSES)))
    else:
        path.write_text(CONTENTS[form])
    return path
