"""Make the golden files of the format that this lmgen writes: python make.py. Once a format; what is there is never replaced."""

from __future__ import annotations

import json
import os
from contextlib import closing
from pathlib import Path

from lmgen.data import split
from lmgen.models import provenance
from lmgen.system import arrayfile, directories
from lmgen.training import counting, run

WORDS = ["bade", "kimo", "suno", "re", "tila", "mabo", "dune", "sito", "kara", "belo"]


def main() -> None:
    os.chdir(Path(__file__).parent)
    home = Path(f"format-{arrayfile.FORMAT}")
    Path("words.txt").write_text("".join(f"{a}{b}\n" for a in WORDS for b in WORDS), "utf-8")
    text = provenance.TextSettings(("words.txt",), (), "line", "utf-8", "strict", split.Split(share=split.HELD_OUT))
    options = {"size": 6, "embedding": 4, "batch": 4, "window": 8, "learning_rate": 0.02, "dropout": 0.1, "precision": "f32"}
    stopped(run.new(home / "network", text, **options, steps=60))
    for _ in run.new(home / "mixture", text, **options, steps=20, members=2):
        pass
    labelled(home)
    graphs(home)
    pairs(home)
    trees(home)
    counting.new(directories.Place(home / "counts"), text, order=3)
    subwords(home, text)


def subwords(home: Path, text: provenance.TextSettings) -> None:
    """A model of subwords."""
    counting.new(directories.Place(home / "subwords"), text, order=3, unit="subword", vocab_size=290)


def labelled(home: Path) -> None:
    """A model that classifies, one that tags, and one that writes by label, stopped before their ends."""
    Path("labels.tsv").write_text("".join(f"{b}\t{a} {b} {a}\n" for a in WORDS for b in WORDS[:2]), "utf-8")
    Path("tags.conll").write_text("".join(f"{a} O\n{b} B-{b}\n{a} I-{b}\n\n" for a in WORDS for b in WORDS[:2]), "utf-8")
    options = {"size": 4, "embedding": 4, "batch": 8, "window": 8, "learning_rate": 0.02, "dropout": 0.1, "precision": "f32"}
    for name, file, form, task in (
        ("classes", "labels.tsv", "tsv", "classify"),
        ("tags", "tags.conll", "columns", "tag"),
        ("writer", "labels.tsv", "tsv", "generate"),
    ):
        text = provenance.TextSettings((file,), (file,), form=form, task=task)
        more = {} if task == "generate" else {"input": "symbol"}
        stopped(run.new(home / name, text, **options, **more, steps=60))


def graphs(home: Path) -> None:
    """A model of the labels of graphs and of the tags of their nodes, stopped before its end."""
    lines = []
    for k, a in enumerate(WORDS * 4):
        nodes = [a, [WORDS[k % 7], WORDS[k % 3]], WORDS[k % 5]]
        edges = [[0, 1, "near"], [2, 1]][: 1 + k % 2]
        lines.append({"nodes": nodes, "edges": edges, "label": f"{len(edges)} edges", "tags": ["first", None, f"of {k % 2}"]})
    Path("graphs.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines), "utf-8")
    text = provenance.TextSettings(("graphs.jsonl",), ("graphs.jsonl",), form="graph", task="graph")
    options = {"size": 4, "embedding": 4, "rounds": 2, "batch": 8, "window": 3, "learning_rate": 0.02, "dropout": 0.1}
    stopped(run.new(home / "graph", text, **options, precision="f32", steps=60))


def pairs(home: Path) -> None:
    """A model that writes the last word three times, and copies it where it is unknown, stopped before its end."""
    Path("pairs.tsv").write_text("".join(f"{a} then {b}\t{b} {b} {b}\n" for a in WORDS for b in WORDS[::2]), "utf-8")
    text = provenance.TextSettings(("pairs.tsv",), ("pairs.tsv",), form="tsv", task="translate")
    options = {"size": 6, "embedding": 4, "copy": True, "smoothing": 0.1, "batch": 8, "window": 8, "dropout": 0.0}
    stopped(run.new(home / "pairs", text, **options, unit="word", learning_rate=0.05, precision="f32", steps=60))


def trees(home: Path) -> None:
    """A model of the labels of the nodes of trees, stopped before its end."""
    leaves = [f"({k % 2} {a})" for k, a in enumerate(WORDS)]
    lines = [f"({b[1]} {a} {b})\n({b[1]} ({b[1]} (1 re) {b}) {a})\n" for a in leaves for b in leaves[:3]]
    Path("trees.txt").write_text("".join(lines), "utf-8")
    text = provenance.TextSettings(("trees.txt",), ("trees.txt",), form="trees", task="tree")
    options = {"size": 4, "embedding": 4, "input": "symbol", "batch": 8, "learning_rate": 0.02, "dropout": 0.1}
    stopped(run.new(home / "trees", text, **options, precision="f32", steps=60))


def stopped(training: run.Run) -> None:
    """Train for 40 steps, and save."""
    with closing(iter(training)) as reports:
        for report in reports:
            if report.step == 40:
                break
    training.save()


if __name__ == "__main__":
    main()
