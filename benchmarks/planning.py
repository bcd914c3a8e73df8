"""What `--budget` alone reaches, and the constants of the law by which it plans.

    python benchmarks/planning.py [SECTION ...]      the tables "as shipped" of benchmarks/RESULTS.md, one for each kind of text
    python benchmarks/planning.py fit [RESULTS]      trains a grid of networks and fits the constants of lmgen/defaults/law.py
    python benchmarks/planning.py page               writes the example of docs/planning.md

Needs the corpora for measuring (report.py says where). PLANNING_SEEDS is the number of seeds (3), PLANNING_SHARE the share of
each budget that is spent (1): with 1 and 0.02 a run shows that the program works. `fit` adds a line of JSON to RESULTS
(planning.jsonl) for each training, and goes on where it stopped.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
from report import ROOT, Commands, Sections, main, need_data, quietly, quoted, table, write

from lmgen.defaults import law

SEEDS = range(int(os.environ.get("PLANNING_SEEDS", "3")))
SHARE = float(os.environ.get("PLANNING_SHARE", "1"))
RUNNING = "--carry"


@dataclass(frozen=True)
class Case:
    """A text, how it is read, its budgets in seconds with the most that each may reach, and the measure of that."""

    text: str
    options: str = ""
    valid: str = ""
    test: str = ""  # the held-out part of the text where there is none
    budgets: tuple[tuple[int, float | None], ...] = ((60, None),)
    measure: str = "nats_per_symbol"

    @property
    def name(self) -> str:
        """For the folder of a model."""
        return "-".join(Path(self.text).with_suffix("").parts[-2:])


def against_counting(text: str, options: str = "", seconds: int = 60) -> Case:
    """A text that is measured in bits per byte beside the best Kneser-Ney order."""
    return Case(text, options, budgets=((seconds, None),), measure="bits_per_byte")


CASES: dict[str, tuple[Case, ...]] = {
    "names": (
        Case("DATA/names/train.txt", "", "DATA/names/valid.txt", "DATA/names/test.txt", ((60, 1.950), (300, 1.935))),
        against_counting("cities"),
        against_counting("DATA/dinosaurs/all.txt"),
    ),
    "books": (
        Case(
            "DATA/tinyshakespeare/train.txt",
            RUNNING,
            "DATA/tinyshakespeare/valid.txt",
            "DATA/tinyshakespeare/valid.txt",
            ((60, 1.40), (300, 1.365), (1800, 1.34)),
        ),
        against_counting("DATA/tang-poems/all.txt", seconds=600),
        against_counting("DATA/dream-of-the-red-chamber/all.txt", RUNNING, 600),
        against_counting("DATA/sqlite3/sqlite3.c", RUNNING, 600),
        against_counting("DATA/tatoeba/all.txt", seconds=600),
    ),
    "words": (
        Case(
            "DATA/wikitext-2/train.txt",
            "--unit word --carry --unk-token <unk>",
            "DATA/wikitext-2/valid.txt",
            "DATA/wikitext-2/test.txt",
            ((300, 100), (1200, 85), (3600, 75)),
            "perplexity",
        ),
    ),
}


def shipped(cases: tuple[Case, ...], run: Commands) -> Iterator[str]:
    """A row for each text and budget: what was planned, and what it reached."""
    rows = [("text", "budget", "plan", "seconds", "measure", "network", "best Kneser-Ney", "expected", "at most")]
    for case in cases:
        for seconds, target in case.budgets:
            rows.append(_row(case, seconds, target, run))
    yield (
        f"`lmgen train TEXT --budget B` and no other option but unit and `--carry`; the mean of {len(SEEDS)} trainings (from "
        "the least to the largest). That text was read once, at the end. Expected is the loss on validation text, in "
        "nats a symbol, with the interval that is to hold nine of ten; beside it, what was reached there."
    )
    yield table(*rows)


def _row(case: Case, seconds: int, target: float | None, run: Commands) -> tuple[str, ...]:
    valid = f" --valid {case.valid}" if case.valid else ""
    training = " ".join(f"{case.text}{valid} {case.options} --budget {max(2, round(seconds * SHARE))}s".split())
    plan = json.loads(run(f"plan {training} --json"))
    found, reached, took, counted, shape = [], [], [], "", ""
    for seed in SEEDS:
        name = f"{case.name}-{seconds}-{seed}"
        run(f"train {training} --seed {seed} --output {name} --quiet")
        took.append(run.seconds)
        reached.append(json.loads(quietly(run, f"show {name} --json"))["valid_nats"])
        shape = run.shape(name).split(";")[0]
        first = seed == SEEDS[0]
        about = json.loads(run(f"eval {name} {case.test} --json" + ("" if first else " --no-baselines")))
        found.append(about[case.measure])
        if first:
            counted = _counted(about, case.measure)
    digits = 1 if case.measure == "perplexity" else 4
    measured = f"**{statistics.mean(found):.{digits}f}** ({min(found):.{digits}f}–{max(found):.{digits}f})"
    loss = plan["expected"] or dict.fromkeys(("nats", "low", "high"), math.nan)
    expected = f"{loss['nats']:.3f} ({loss['low']:.3f}–{loss['high']:.3f}), reached {statistics.mean(reached):.3f}"
    most = "" if target is None else f"{target:g}"
    time = f"{statistics.mean(took):.0f}"
    return case.text, f"{seconds} s", shape, time, case.measure.replace("_", " "), measured, counted, expected, most


def _counted(about: dict, measure: str) -> str:
    """The measure of the Kneser-Ney model beside which `lmgen eval` puts a model, in nats or bits."""
    (one,) = [baseline for baseline in about["baselines"] if "Kneser-Ney" in baseline["name"]]
    nats = one["nats_per_symbol"]
    return {"perplexity": f"{math.exp(nats):.1f}", "nats_per_symbol": f"{nats:.4f}"}.get(measure) or f"{one[measure]:.4f}"


# ---- the law -----------------------------------------------------------------------------------------------------------

# Texts that the constants are fitted to; all others of CASES are held out. Each is read by networks of several sizes, so often.
FITTED = (
    Case("DATA/names/train.txt", "", "DATA/names/valid.txt"),
    Case("DATA/tinyshakespeare/train.txt", RUNNING, "DATA/tinyshakespeare/valid.txt"),
    Case("DATA/tatoeba/all.txt", "--unit word"),
)
GRID = tuple(product((128, 256, 512), (1, 4, 16)))  # sizes, and passes over the text
FREE = {  # the constants that are fitted, of both laws, each with the values that are tried
    "by_weights": np.linspace(0.1, 0.4, 7),
    "by_passes": np.linspace(0.4, 1.0, 7),
    "by_text": np.linspace(0.0, 1.0, 6),
    "repeats": (6.0, 15.4),
    "excess": (3.0, 5.3),
    "length": np.geomspace(1, 40, 6),
}


def fit(path: Path) -> None:
    """Train what the file of results lacks, fit both laws to all results, and print them as they stand in law.py."""
    need_data()
    done = {line["name"]: line for line in map(json.loads, path.read_text().splitlines())} if path.exists() else {}
    with tempfile.TemporaryDirectory() as folder, path.open("a") as results:
        run = Commands(Path(folder))
        for case, (size, passes) in product(FITTED, GRID):
            name = f"{case.name}-{size}-{passes}"
            if name not in done:
                done[name] = {"name": name, **_trained(run, case, name, size, passes * SHARE)}
                print(json.dumps(done[name]), file=results, flush=True)
    for many in (False, True):
        if some := [line for line in done.values() if (line["kinds"] > law.MANY) == many]:
            print(f"OF_{'MANY' if many else 'FEW'} = {fitted(some, law.OF_MANY if many else law.OF_FEW)}")


def _trained(run: Commands, case: Case, name: str, size: int, passes: float) -> dict:
    """What a training with a number of passes reached, and what the law knows of it."""
    valid = f" --valid {case.valid}" if case.valid else ""
    training = " ".join(f"{case.text}{valid} {case.options} --size {size} --epochs {passes}".split())
    plan = json.loads(run(f"plan {training} --json"))
    run(f"train {training} --output {name} --quiet")
    about = json.loads(quietly(run, f"show {name} --json"))
    return {"facts": plan["law"], "kinds": about["vocabulary"], "ratio": about["valid_nats"] / plan["expected"]["counted"]}


def fitted(lines: list[dict], start: law.Law) -> law.Law:
    """The law with the least squared error of ln ratio: the exponents by a grid, the constants that are factors by least
    squares."""
    trainings = [law.Facts(**line["facts"]) for line in lines]
    ratios = np.array([line["ratio"] for line in lines])
    best, least = start, math.inf
    for values in product(*FREE.values()):
        one = replace(start, floor=0, network=1, text=0, **dict(zip(FREE, map(float, values), strict=True)))
        gain = np.array([each.length / (each.length + one.length) for each in trainings])
        of_network, of_text = (
            (np.array([each_law.ratio(each) for each in trainings]) - 1) / gain + 1
            for each_law in (one, replace(one, network=0, text=1))
        )
        columns = gain / ratios * np.array([np.ones(len(gain)), of_network, of_text])  # the relative error counts
        wanted = (ratios - 1 + gain) / ratios
        constants, *_ = np.linalg.lstsq(columns.T, wanted, rcond=None)
        error = float(np.square(constants @ columns - wanted).sum())
        if error < least and (constants > 0).all():
            floor, network, text = map(float, constants)
            best, least = replace(one, floor=floor, network=network, text=text), error
    errors = np.abs(np.log([best.ratio(each) for each in trainings]) - np.log(ratios))
    return replace(best, spread=float(np.exp(np.quantile(errors, 0.9))))


def page() -> None:
    """Put the example, as it is printed on this machine, into docs/planning.md."""
    command = "plan cities --budget 5m"
    with tempfile.TemporaryDirectory() as folder:
        output = Commands(Path(folder))(command)
    write("plan", f"{quoted(f'$ lmgen {command}{chr(10)}{output}')}\n", ROOT / "docs" / "planning.md")


TITLES = {"names": "lists of short lines", "books": "running characters", "words": "words"}
MEASURES: dict[str, Callable[[Commands], Iterator[str]]] = {name: partial(shipped, cases) for name, cases in CASES.items()}
SECTIONS: Sections = {name: (f"As shipped: {TITLES[name]}, a budget and no other option", one) for name, one in MEASURES.items()}

if __name__ == "__main__":
    if sys.argv[1:2] == ["fit"]:
        fit(Path(sys.argv[2] if sys.argv[2:] else "planning.jsonl"))
    elif sys.argv[1:] == ["page"]:
        page()
    else:
        main(SECTIONS, prefix="planning-")
