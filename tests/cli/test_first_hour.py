"""The first texts of a newcomer are learnt with no option at all: a poem, a Chinese poem, a list of names."""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path

import pytest

import lmgen

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import first_hour


def share(name: str, text: str, lines: list[str]) -> float:
    """How much of some lines consists of words (or pairs of characters) of a text."""
    known, found = set(first_hour.units(name, text)), first_hour.units(name, "\n".join(lines))
    return sum(one in known for one in found) / len(found)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["poem", "chinese", "names"])
def test_a_small_text_is_learnt_with_no_option(name):
    text = first_hour.TEXTS[name]()
    Path("text.txt").write_text(text, "utf-8")
    drawn = [one.text for one in lmgen.train("text.txt").sample(100, seed=0)]
    assert share(name, text, drawn) > 0.8
    letters = sorted(set(text) - {"\n"})
    noise = ["".join(letters[(7 * k + 3 * len(line)) % len(letters)] for k in range(len(line))) for line in islice(drawn, 50)]
    assert share(name, text, noise) < 0.4
