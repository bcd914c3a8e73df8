"""What tuning gains over the plan in the same time, on text that neither has seen.

    python benchmarks/tuning.py [SECTION ...]    writes the tables "tuning" of benchmarks/RESULTS.md
    python benchmarks/tuning.py page             writes the example of docs/tuning.md

Needs the corpora for measuring (report.py says where). TUNING_SEEDS is the number of seeds (3), TUNING_BUDGET the budget (3m).
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from hashlib import sha256
from pathlib import Path

from report import DATA, ROOT, Commands, Sections, main, quoted, table, write

SEEDS = range(int(os.environ.get("TUNING_SEEDS", "3")))
BUDGET = os.environ.get("TUNING_BUDGET", "3m")
TEXTS = {"dinosaurs": ("dinosaurs/all.txt", ""), "names": ("names/train.txt", ""), "tatoeba": ("tatoeba/all.txt", "--carry")}


def gained(name: str, run: Commands) -> Iterator[str]:
    """Nats a symbol on every tenth line of a text, by the hash of the line, as shipped and by the network alone."""
    text, options = TEXTS[name]
    lines = dict.fromkeys((DATA / text).read_text("utf-8").splitlines())
    parts: dict[bool, list[str]] = {True: [], False: []}
    for line in lines:
        parts[sha256(line.encode()).digest()[0] < 26].append(line)
    for held_out, part in parts.items():
        (run.folder / f"{'test' if held_out else 'train'}.txt").write_text("\n".join(part) + "\n", "utf-8")
    rows = [("seed", "tune", "tune, network alone", "train", "train, network alone", "trials", "seconds of tune, of train")]
    found: dict[str, list[float]] = {"tune": [], "train": []}
    for seed in SEEDS:
        cells, seconds, trials = [], [], 0
        for command in found:
            model = f"{command}-{seed}"
            extra = "--json" if command == "tune" else ""
            output = run(f"{command} train.txt {options} --budget {BUDGET} --seed {seed} -o {model} -q {extra}")
            seconds.append(f"{run.seconds:.0f}")
            trials = trials or len(output.splitlines()) - 1
            for alone in ("", "--no-mixture"):
                nats = json.loads(run(f"eval {model} test.txt --no-baselines --json {alone}"))["nats_per_symbol"]
                cells.append(f"{nats:.4f}")
                if not alone:
                    found[command].append(nats)
        rows.append((str(seed), *cells, str(trials), ", ".join(seconds)))
    tuned, trained = (statistics.mean(nats) for nats in found.values())
    yield f"`lmgen tune` and `lmgen train` with a budget of {BUDGET} each; nats a symbol on lines that were held out of both."
    yield table(*rows)
    yield f"As shipped, the mean of tuning is {tuned / trained - 1:+.2%} against training."


def page() -> None:
    """Put the example, as it is printed on this machine, into docs/tuning.md."""
    command = "tune cities --steps 300 --trials 8"  # the same on a busy machine
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-m", "lmgen", *command.split()],
            cwd=Path(folder),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=True,
        )
    write("tune", f"{quoted(f'$ lmgen {command}{chr(10)}{done.stdout}')}\n", ROOT / "docs" / "tuning.md")


SECTIONS: Sections = {name: (f"Tuning against the plan: {name}", partial(gained, name)) for name in TEXTS}

if __name__ == "__main__":
    if sys.argv[1:] == ["page"]:
        page()
    else:
        main(SECTIONS, prefix="tuning-")
