"""Text with a structure: trees of the Stanford Sentiment Treebank, and the sentences of docs/structure.md.

    python benchmarks/structure.py [trees|order]

`trees` trains with no option but --budget and writes a section of benchmarks/RESULTS.md; each figure is the mean over three
seeds, or over as many as LMGEN_SEEDS says. `order` writes the figures of docs/structure.md. All random numbers are seeded.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from labels import GLOVE, baselines, evaluated, seeds, spread
from report import ROOT, Commands, Sections, main, quietly, quoted, table, write

PAGE = ROOT / "docs" / "structure.md"
MINUTES = 15
TRAINED, TESTED = 2_000, 500  # sentences of the page
SMALL = "--size 32 --embedding 16 --batch 16 --steps 600 --learning-rate 0.01 --weight-decay 0 --dropout 0 --no-valid"


def trees(run: Commands) -> Iterator[str]:
    found = {}
    for name, options in (("nothing pretrained", ""), ("with GloVe", GLOVE)):
        train = f"DATA/sst-trees/train.txt --valid DATA/sst-trees/dev.txt --budget {MINUTES}m {options}"
        found[name] = evaluated(run, train, "DATA/sst-trees/test.txt")
    rows = [("test", *found, "aim", "rules on the same text")]
    for of, title, aim in (
        ("roots", "root, 5 classes", "43"),
        ("root_binary", "root, 2 classes", "82"),
        ("nodes", "all nodes", "79"),
    ):
        reached = (spread(one[of]["accuracy"] for one in some) for some in found.values())
        rows.append((title, *reached, aim, baselines(found["nothing pretrained"][0], of)))
    errors = (spread(one["roots"]["calibration_error"] for one in some) for some in found.values())
    rows.append(("calibration error of the roots", *errors, "", ""))
    yield f"{seeds()} A training takes {MINUTES} minutes at most."
    yield table(*rows)


# ---- the sentences of docs/structure.md --------------------------------------------------------------------------------


def phrase(draw: random.Random, depth: int) -> tuple[bool, str]:
    """A random phrase, whether it praises, and its tree: "not" turns the phrase that it stands before, "and" joins two that must
    both praise."""
    form = draw.choice(("word", "not", "and")) if depth else "word"
    if form == "word":
        good = draw.random() < 0.6
        return good, f"({'+' if good else '-'} {'good' if good else 'bad'})"
    right, tree = phrase(draw, depth - 1)
    if form == "not":
        return not right, f"({'-' if right else '+'} (o not) {tree})"
    left, other = phrase(draw, depth - 1)
    return left and right, f"({'+' if left and right else '-'} {other} (o and) {tree})"


def sentences() -> tuple[list[str], list[str]]:
    """Different trees to train on and to test with, of four levels above the words at most."""
    draw, found = random.Random(0), dict[str, None]()
    while len(found) < TRAINED + TESTED:
        tree = phrase(draw, 4)[1]
        if tree.count("(") > 5:
            found[tree] = None
    every = [*found]
    return every[:TRAINED], every[TRAINED:]


def words(tree: str) -> str:
    """The label of the root and the words: what is left without the brackets."""
    return f"{tree[1]}\t{' '.join(part.rstrip(')') for part in tree.split() if part[0] != '(')}"


def order(run: Commands) -> dict[str, str]:
    train, test = sentences()
    for name, some in (("train", train), ("test", test)):
        (run.folder / f"{name}.txt").write_text("".join(f"{tree}\n" for tree in some), "utf-8")
        (run.folder / f"{name}.tsv").write_text("".join(f"{words(tree)}\n" for tree in some), "utf-8")
    shown = sorted(test, key=len)[:4]
    rows = [("network", "what it reads", "root of unseen sentences", "all nodes")]
    share = "{:.1%}".format
    for title, reads, cell, kind in (
        ("LSTM, both directions", "the words from left to right", "lstm", "tsv"),
        ("recursive network", "the tree", "elman", "txt"),
        ("Tree-LSTM", "the tree", "lstm", "txt"),
    ):
        window = "--window 64" if kind == "tsv" else ""
        run(f"train train.{kind} --cell {cell} {SMALL} {window} --quiet --output model --force")
        found = json.loads(quietly(run, f"eval model test.{kind} --json"))
        part = found["roots" if kind == "txt" else "labels"]
        if len(rows) == 1:
            rows += [(rule["name"], "the words", share(rule["value"]), "") for rule in part["baselines"]]
        rows.append((title, reads, share(part["accuracy"]), share(found["nodes"]["accuracy"]) if kind == "txt" else ""))
    (run.folder / "new.txt").write_text("((not (good and good)) and good)\n(not ((good and good) and good))\n", "utf-8")
    predicted = quietly(run, "predict model new.txt")
    return {"sentences": quoted("\n".join(shown)), "order": table(*rows), "predicted": quoted(predicted)}


SECTIONS: Sections = {"trees": ("Trees: Stanford Sentiment Treebank", trees)}


if __name__ == "__main__":
    wanted = sys.argv[1:] or ["trees", "order"]
    if "order" in wanted:
        wanted.remove("order")
        with tempfile.TemporaryDirectory() as folder:
            for name, figure in order(Commands(Path(folder))).items():
                write(f"figures: {name}", f"{figure}\n", PAGE)
    if wanted:
        sys.argv[1:] = wanted
        main(SECTIONS)
