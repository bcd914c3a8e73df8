"""Several processes against one: throughput, and kills that a training survives. Writes benchmarks/RESULTS.md.

    python benchmarks/scale.py [throughput] [kills]

SCALE_ROUNDS and SCALE_KILLS make either shorter, to try it; the page is then not changed.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import report
from report import ROOT, Commands, Sections, main, table

sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "faults")]

import processes  # noqa: E402

import support  # noqa: E402

ROUNDS = int(os.environ.get("SCALE_ROUNDS", "5"))
KILLS = int(os.environ.get("SCALE_KILLS", "40"))
TRIED = bool({"SCALE_ROUNDS", "SCALE_KILLS"} & set(os.environ))
AIM = 0.9


@dataclass(frozen=True)
class Shape:
    """A network, by the options of `lmgen train`, its text and the steps of a round."""

    text: str
    options: str
    steps: int


SHAPES = {
    "char512": Shape("DATA/tinyshakespeare/train.txt", "--size 512 --embedding 512 --layers 2 --batch 64 --window 128", 150),
    "word650": Shape(
        "DATA/wikitext-2/train.txt",
        "--unit word --vocab-size 10000 --unk-token <unk> --no-tie --size 650 --embedding 650 --layers 2 --batch 20 --window 35",
        400,
    ),
}
ARRANGED = {"1 process × 2 threads": 1, "2 processes × 1 thread": 2}


def speed(run: Commands, shape: Shape, precision: str, count: int) -> float:
    """Symbols a second in training, without the first steps, which are compiled."""
    steps = max(50, shape.steps // (10 if TRIED else 1))
    train = f"train {shape.text} {shape.options} --precision {precision} --dropout 0 --no-valid --steps {steps}"
    run(f"{train} --processes {count} --output model --force --quiet")
    lines = [json.loads(line) for line in (run.folder / "model" / "metrics.jsonl").read_text("utf-8").splitlines()]
    return (lines[-1]["symbols"] - lines[0]["symbols"]) / (lines[-1]["seconds"] - lines[0]["seconds"])


def throughput(run: Commands) -> Iterator[str]:
    rows = [("network", *ARRANGED, f"share (aim {AIM})")]
    for name, shape in SHAPES.items():
        for precision in ("f32", "bf16"):
            rounds = [[speed(run, shape, precision, count) for count in ARRANGED.values()] for _ in range(ROUNDS)]
            one, two = (statistics.median(speeds) for speeds in zip(*rounds, strict=True))
            share = f"{two / one:.2f}"
            rows.append((f"{name} {precision}", f"{one:,.0f}", f"{two:,.0f}", f"**{share}**" if two / one >= AIM else share))
    yield (
        f"Symbols a second in training; medians of {ROUNDS} rounds, in which both take turns. Two processes of one thread each "
        "compute half of the columns each and exchange gradients over loopback; one process of two threads computes all of them."
    )
    yield table(*rows)
    run.done = [*dict.fromkeys(run.done)]


def kills(run: Commands) -> Iterator[str]:
    corpus = run.folder / "words.txt"
    corpus.write_text("".join(f"{word}\n" for word in support.invented_words(1000)), "utf-8")
    found = processes.kills(run.folder, corpus, KILLS, 500 * KILLS)
    yield (
        "A training of two processes, of which one, or their watcher, was killed (SIGKILL) up to "
        f"{processes.LATEST:g} s after its start, and which was then resumed: **{found.survived} of {found.tried}** times all "
        f"processes ended within {processes.ALL_END} s, with one sentence and exit code 75 or 1, and what had been saved was "
        f"whole. The longest took {found.longest:.1f} s. In the end the model was {'' if found.equal else 'not '}equal, to the "
        "bit, to that of a training that was left in peace."
    )
    run.done += [f"lmgen train words.txt {' '.join(processes.WORDS)} --processes 2", "kill -9 …", "lmgen train --resume …"]


SECTIONS: Sections = {
    "throughput": ("Two processes against two threads", throughput),
    "kills": ("Kills of one process of two", kills),
}

if __name__ == "__main__":
    if TRIED:
        report.write = lambda name, section, page=None: print(section)
    main(SECTIONS, prefix="scale-", own_cache=False)
