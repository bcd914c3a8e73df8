"""What tests of docs/networks.md share: the page and the program that writes it, how tables and numbers of it are read."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))


import networks_examples as examples  # noqa: E402, F401

import networks  # noqa: E402

TEXT = networks.PAGE.read_text("utf-8")
PARTS = {match["name"]: match["content"] for match in networks.MARKED.finditer(TEXT)}
CODE = [name for name in PARTS if name.startswith("code-")]


def σ(a):
    return 1 / (1 + np.exp(-a))


def table(markdown):
    """The rows of a table but its head: what stands in the first column, and the others."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in markdown.splitlines() if line.startswith("|")]
    return {row[0].replace("`", ""): row[1:] for row in rows[2:]}


def value(text):
    """A number as the page writes it."""
    return float(text.replace("−", "-").replace(",", ""))
