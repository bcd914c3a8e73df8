"""Make the golden files of the format that this lmgen writes: python make.py. Once a format; what is there is never replaced."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

from lmgen.data import split
from lmgen.models import provenance
from lmgen.system import arrayfile
from lmgen.training import counting, run

WORDS = ["bade", "kimo", "suno", "re", "tila", "mabo", "dune", "sito", "kara", "belo"]


def main() -> None:
    os.chdir(Path(__file__).parent)
    home = Path(f"format-{arrayfile.FORMAT}")
    Path("words.txt").write_text("".join(f"{a}{b}\n" for a in WORDS for b in WORDS), "utf-8")
    text = provenance.TextSettings(("words.txt",), (), "line", "utf-8", "strict", split.Split(share=split.HELD_OUT))
    options = {"size": 6, "embedding": 4, "batch": 4, "window": 8, "learning_rate": 0.02, "dropout": 0.1, "precision": "f32"}
    training = run.new(home / "network", text, **options, steps=60)
    with closing(iter(training)) as reports:
        for report in reports:
            if report.step == 40:
                break
    training.save()
    counting.new(home / "counts", text, order=3)


if __name__ == "__main__":
    main()
