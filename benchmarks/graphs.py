"""Graphs that are made: trains with no option but --budget and writes benchmarks/RESULTS.md, or the figures of docs/graphs.md.

    python benchmarks/graphs.py [paths|distances|molecules|rounds|bag]

Each figure is the mean over three seeds, or over as many as LMGEN_SEEDS in the environment says, with the lowest and the highest.
The graphs are drawn by a seed; training, validation and test have none in common.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from collections import Counter, deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from labels import evaluated, seeds, spread
from report import ROOT, Commands, Sections, main, quietly, table, write

PAGE = ROOT / "docs" / "graphs.md"
PARTS = {"train": 20_000, "valid": 2_000, "test": 4_000}  # graphs
LONGEST = 4  # edges of a path
Edges = list[tuple[int, int]]
Record = dict[str, Any]


def drawn(draw: random.Random, least: int, most: int) -> tuple[int, Edges, list[list[int]]]:
    """A random graph: its number of nodes, its edges, and the neighbours of each node."""
    n = draw.randint(least, most)
    wanted, edges = draw.randint(n - 1, n + n // 4), set[tuple[int, int]]()
    while len(edges) < wanted:
        a, b = draw.sample(range(n), 2)
        edges.add((min(a, b), max(a, b)))
    neighbours: list[list[int]] = [[] for _ in range(n)]
    for a, b in sorted(edges):
        neighbours[a].append(b)
        neighbours[b].append(a)
    shuffled = [draw.choice([(a, b), (b, a)]) for a, b in sorted(edges)]
    draw.shuffle(shuffled)
    return n, shuffled, neighbours


def distances_from(starts: list[int], neighbours: list[list[int]]) -> dict[int, int]:
    """The number of edges from the nearest of the starts to each node that can be reached."""
    found, waiting = dict.fromkeys(starts, 0), deque(starts)
    while waiting:
        v = waiting.popleft()
        for u in neighbours[v]:
            if u not in found:
                found[u] = found[v] + 1
                waiting.append(u)
    return found


def joined_or_apart(draw: random.Random) -> list[Record]:
    """One graph twice, in which two nodes of the same degrees are marked: joined by a path of at most 4 edges, and not."""
    n, edges, neighbours = drawn(draw, 12, 20)
    pairs: dict[bool, dict[tuple[int, ...], list[tuple[int, int, int | None]]]] = {True: {}, False: {}}
    for a in range(n):
        far = distances_from([a], neighbours)
        for b in range(a + 1, n):
            degrees = tuple(sorted((len(neighbours[a]), len(neighbours[b]))))
            if degrees[0]:
                pairs[far.get(b, n) <= LONGEST].setdefault(degrees, []).append((a, b, far.get(b)))
    both = sorted(pairs[True].keys() & pairs[False].keys())
    if not both:
        return []
    degrees = draw.choice(both)
    found = []
    for is_joined, label in ((True, "joined"), (False, "apart")):
        a, b, length = draw.choice(pairs[is_joined][degrees])
        nodes = ["marked" if v in (a, b) else "plain" for v in range(n)]
        found.append({"nodes": nodes, "edges": edges, "label": label, "length": length})
    return found


def near_a_mark(draw: random.Random) -> list[Record]:
    """A graph with one or two marked nodes: the tag of a node is the number of edges to the nearest of them."""
    n, edges, neighbours = drawn(draw, 20, 40)
    marked = draw.sample(range(n), draw.randint(1, 2))
    far = distances_from(marked, neighbours)
    tags = [str(far[v]) if far.get(v, n) <= LONGEST else "more" for v in range(n)]
    return [{"nodes": ["marked" if v in marked else "plain" for v in range(n)], "edges": edges, "tags": tags}]


def molecule(draw: random.Random) -> list[Record]:
    """Carbon with two oxygens, which make an acid, an ester, or a ketone and an alcohol apart: by bonds, not by atoms."""
    n = draw.randint(6, 14)
    bonds: list[tuple[int, int, str]] = []
    degree = [0] * n
    for v in range(1, n):
        u = draw.choice([u for u in range(v) if degree[u] < 3])
        bonds.append((u, v, "single"))
        degree[u] += 1
        degree[v] += 1
    if draw.random() < 0.5 and (ends := [v for v in range(n) if degree[v] == 1])[2:]:  # a ring
        a, b = draw.sample(ends, 2)
        bonds.append((a, b, "single"))
        degree[a] += 1
        degree[b] += 1
    free = [v for v in range(n) if degree[v] <= 2]
    draw.shuffle(free)
    a, b = free[:2]
    double, single, methyl = n, n + 1, n + 2  # two oxygens and a carbon
    label = draw.choice(["acid", "ester", "ketone and alcohol"])
    bonds += [(a, double, "double"), (b if label == "ketone and alcohol" else a, single, "single")]
    bonds.append((methyl, single if label == "ester" else draw.choice(free[2:] or [b]), "single"))
    return [_renumbered(draw, {"nodes": ["C"] * n + ["O", "O", "C"], "edges": bonds, "label": label})]


def _renumbered(draw: random.Random, record: Record) -> Record:
    """The same graph, its nodes and edges in another order."""
    to = [*range(len(record["nodes"]))]
    draw.shuffle(to)
    nodes = [record["nodes"][to.index(v)] for v in range(len(to))]
    edges = [(to[a], to[b], name) for a, b, name in record["edges"]]
    draw.shuffle(edges)
    return {**record, "nodes": nodes, "edges": edges}


def make(folder: Path, of: Callable[[random.Random], list[Record]], parts: dict[str, int]) -> None:
    """Write the graphs of each part, all different."""
    seen = set[str]()
    for seed, (name, count) in enumerate(parts.items()):
        draw, lines = random.Random(seed), list[str]()
        while len(lines) < count:
            some = [json.dumps(record) for record in of(draw)]
            if not seen.intersection(some):
                lines += some
                seen.update(some)
        (folder / f"{name}.jsonl").write_text("".join(f"{line}\n" for line in lines), "utf-8")


def figures(run: Commands, title: str, of: Callable[[random.Random], list[Record]], aim: str, what: str) -> Iterator[str]:
    """A table of one line: the accuracy of the labels or the tags, and of rules that do not see the edges."""
    make(run.folder, of, PARTS)
    found = evaluated(run, "train.jsonl --valid valid.jsonl --budget 3m", "test.jsonl")
    rules = ", ".join(f"{rule['name']} {100 * rule['value']:.1f}" for rule in found[0][what]["baselines"])
    facts = json.loads(quietly(run, "show model --json"))
    shape = f"{facts['cell']} of {facts['size']}, {facts['rounds']} rounds, {facts['parameters']:,} parameters"
    yield f"{PARTS['train']:,} graphs to train on; {shape}. {seeds()}"
    yield table(
        (title, "reached", "aim", "without the edges"),
        ("accuracy", spread(one[what]["accuracy"] for one in found), aim, rules),
        ("calibration error", spread(one[what]["calibration_error"] for one in found), "", ""),
    )


def paths(run: Commands) -> Iterator[str]:
    yield from figures(run, "two marked nodes, joined by a path of at most 4 edges? 3 minutes", joined_or_apart, "97", "labels")
    yield "By the length of the shortest path, by the model of the last seed:"
    yield by_length(run, "model")


def distances(run: Commands) -> Iterator[str]:
    yield from figures(run, "how far is each node from a marked one (0 to 4, more)? 3 minutes", near_a_mark, "", "tags")


def molecules(run: Commands) -> Iterator[str]:
    yield from figures(run, "acid, ester, or ketone and alcohol? 3 minutes", molecule, "", "labels")


def by_length(run: Commands, model: str) -> str:
    """The share that is right, by the length of the shortest path between the marked nodes."""
    records = [json.loads(line) for line in (run.folder / "test.jsonl").read_text("utf-8").splitlines()]
    predicted = [json.loads(line) for line in quietly(run, f"predict {model} test.jsonl --json").splitlines()]
    right, all_of = Counter[str](), Counter[str]()
    for record, one in zip(records, predicted, strict=True):
        length = _length(record["length"])
        all_of[length] += 1
        right[length] += record["label"] == one["label"]
    names = [name for name in LENGTHS if all_of[name]]
    return table(
        ("length of the shortest path", *names),
        ("graphs", *(f"{all_of[name]:,}" for name in names)),
        ("right", *(f"{right[name] / all_of[name]:.1%}" for name in names)),
    )


LENGTHS = ("1", "2", "3", "4", "5", "6", "7 or more", "no path")


def _length(length: int | None) -> str:
    return "no path" if length is None else str(length) if length < 7 else "7 or more"


# ---- the page for learners ---------------------------------------------------------------------------------------------


def rounds(run: Commands) -> str:
    """What 1, 2, 3, 4 and 6 rounds can see, in the same time."""
    make(run.folder, joined_or_apart, PARTS)
    rows: list[tuple[str, ...]] = []
    for count in (1, 2, 3, 4, 6):
        run(f"train train.jsonl --valid valid.jsonl --budget 2m --rounds {count} --quiet --output model --force")
        accuracy = json.loads(run("eval model test.jsonl --no-baselines --json"))["accuracy"]
        head, _, right = (
            [cell.strip() for cell in line.strip("|").split("|")]
            for line in by_length(run, "model").splitlines()
            if "---" not in line
        )
        rows = rows or [("rounds", "all", *head[1:])]
        rows.append((str(count), f"{accuracy:.1%}", *right[1:]))
    return table(*rows)


def bag(run: Commands) -> str:
    """Rules that do not see the edges, on two of the tasks."""
    rows = [("task", "majority", "bag of nodes", "network of graphs")]
    for title, of in (("two marked nodes, joined or apart", joined_or_apart), ("acid, ester, or ketone and alcohol", molecule)):
        make(run.folder, of, PARTS)
        run("train train.jsonl --valid valid.jsonl --budget 2m --quiet --output model --force")
        measures = json.loads(run("eval model test.jsonl --json"))
        rules = [f"{rule['value']:.1%}" for rule in measures["labels"]["baselines"]]
        rows.append((title, *rules, f"{measures['accuracy']:.1%}"))
    return table(*rows)


SECTIONS: Sections = {
    "paths": ("Graphs: are two marked nodes joined?", paths),
    "distances": ("Graphs: how far is each node from a marked one?", distances),
    "molecules": ("Graphs: acids, esters, ketones and alcohols", molecules),
}
FIGURES = {"rounds": rounds, "bag": bag}  # of the page

if __name__ == "__main__":
    wanted = sys.argv[1:] or [*SECTIONS, *FIGURES]
    for name in wanted:
        if name in FIGURES:
            with tempfile.TemporaryDirectory() as folder:
                write(f"figures: {name}", f"{FIGURES[name](Commands(Path(folder)))}\n", PAGE)
    if sections := [name for name in wanted if name not in FIGURES]:
        sys.argv[1:] = sections
        main(SECTIONS, prefix="graphs-", data=False)
