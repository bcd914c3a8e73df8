"""Make the pairs of docs/pairs.md, train small networks on them, and write the figures of that page.

    python benchmarks/pairs_course.py [PART ...]

A part of the page lies between `<!-- figures: its name -->` and `<!-- end of figures: its name -->`. All random numbers are
seeded.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from report import ROOT, quoted, renew, table

import lmgen

PAGE = ROOT / "docs" / "pairs.md"
SEEDS = (0, 1, 2)
SMALL = {
    "task": "translate",
    "unit": "char",
    "size": 64,
    "embedding": 32,
    "batch": 32,
    "learning_rate": 0.01,
    "weight_decay": 0.0,
    "dropout": 0.0,
    "smoothing": 0.0,
    "precision": "f32",
    "no_valid": True,
}
LETTERS = "abcdefghij"
LENGTHS = ((1, 5), (6, 10), (11, 15), (16, 20))
TRAINED, TESTED, STEPS = 10_000, 100, 1000  # pairs, pairs of each group of lengths, steps


@contextmanager
def trained(pairs: list[tuple[str, str]], **options: Any) -> Iterator[Any]:
    """A small network that was trained on pairs."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "pairs.tsv")
        file.write_text("".join(f"{source}\t{target}\n" for source, target in pairs), "utf-8")
        yield lmgen.train(file, output=Path(folder, "model"), **SMALL | options)


def reversals(count: int, least: int, most: int, seed: int) -> list[tuple[str, str]]:
    """Random letters and the same in reverse."""
    draw = random.Random(seed)
    words = ["".join(draw.choices(LETTERS, k=draw.randint(least, most))) for _ in range(count)]
    return [(word, word[::-1]) for word in words]


def right(model: Any, pairs: list[tuple[str, str]]) -> float:
    """The share of the sources whose translation is the target."""
    found = model.predict(source for source, _ in pairs)
    return sum(one.text == target for one, (_, target) in zip(found, pairs, strict=True)) / len(pairs)


def percent(shares: list[float]) -> str:
    """The mean of some shares, with the range where they differ."""
    mean, least, most = (f"{100 * share:.0f}" for share in (sum(shares) / len(shares), min(shares), max(shares)))
    return f"{mean} %" if least == most else f"{mean} % ({least}–{most})"


# ---- the parts of the page ---------------------------------------------------------------------------------------------


def forgetting() -> str:
    pairs = reversals(TRAINED, LENGTHS[0][0], LENGTHS[-1][1], 0)
    tests = [reversals(TESTED, least, most, 1) for least, most in LENGTHS]
    rows = [("", *(f"{least} to {most} letters" for least, most in LENGTHS))]
    for name, attention in (("one vector", False), ("attention", True)):
        shares = []
        for seed in SEEDS:
            with trained(pairs, attention=attention, seed=seed, steps=STEPS) as model:
                shares.append([right(model, test) for test in tests])
        rows.append((name, *map(percent, map(list, zip(*shares, strict=True)))))
        print(*rows[-1], sep="\t", flush=True)
    how = f"{SMALL['size']} units, trained on {TRAINED:,} pairs of all lengths for {STEPS:,} steps"
    return f"{table(*rows)}\n\nExact matches. The mean over {len(SEEDS)} seeds, with the range if they differ; {how}."


def alignment() -> str:
    with trained(reversals(TRAINED, LENGTHS[0][0], LENGTHS[-1][1], 0), seed=0, steps=STEPS) as model:
        found = model.predict("abcdefgh")
    lines = ["      " + "   ".join(found.read)]
    for symbol, weights in zip([*found.symbols, "EOS"], found.weights, strict=True):
        lines.append(f"{symbol:>3} " + " ".join(f"{100 * weight:3.0f}" for weight in weights))
    return quoted("\n".join(lines))


def searching() -> str:
    """One source with four translations: three begin alike, and the fourth is the likeliest."""
    counts = {"the cat": 2, "the dog": 2, "the fox": 2, "a bird": 4}
    pairs = [("?", target) for target, count in counts.items() for _ in range(25 * count)]
    with trained(pairs, unit="word", seed=0, steps=300) as model:
        rows = [("search", "wrote", "probability in training", "by the network")]
        for name, beam in (("greedy", 1), ("`--beam 2`", 2)):
            one = model.predict("?", beam=beam)
            share = f"{counts[one.text] / sum(counts.values()):.0%}"
            rows.append((name, one.text, share, f"{one.probability:.0%}"))
    return table(*rows)


PARTS = (forgetting, alignment, searching)

if __name__ == "__main__":
    renew(PAGE, PARTS)
