"""Whole commands of this checkout and of another one in turn: is it as fast as before?

git worktree add ../before REVISION && (cd ../before && python setup.py build_ext --inplace)
python benchmarks/pairs.py ../before
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from report import RESULTS, ROOT, section_of, table, write
from report import Commands as _Commands

PAIRS = 5
MODEL = "--steps 600 --keep last --seed 0 --quiet --output"
COMMANDS = {
    "start: lmgen --help": "--help",
    "start: lmgen show": "show lstm",
    "train, lstm": f"train cities --size 256 --batch 32 {MODEL} new --force",
    "train, gru of three layers": f"train cities --cell gru --layers 3 --size 128 {MODEL} new --force",
    "train, words": f"train python-reference --unit word --size 96 --carry {MODEL} new --force",
    "train, cloze": f"train cities --direction both --size 128 {MODEL} new --force",
    "train, n-grams": "train python-reference --cell ngram --quiet --output new --force",
    "sample 3,000": "sample lstm --count 3000 --seed 1",
    "sample 300 by the JAX loop": "sample elman --count 300 --seed 1",
    "sample 300 from n-grams": "sample ngram --count 300 --seed 1",
    "eval": "eval lstm names.txt --no-baselines",
    "eval, scorecard": "eval lstm names.txt",
    "score": "score lstm names.txt",
    "corpus check": "corpus check names",
}


def run(tree: Path, command: str, folder: Path) -> float:
    """The seconds that a command takes with the lmgen of a tree."""
    environment = os.environ | {"PYTHONPATH": str(tree), "XDG_CACHE_HOME": str(folder / "cache")}
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "lmgen", *command.split()], cwd=folder, env=environment, check=True, capture_output=True
    )
    return time.perf_counter() - start


def measure(before: Path) -> str:
    trees = {"now": ROOT, "before": before}
    rows = [("command", "before", "now", "now ÷ before, median", "from … to", "fastest ÷ fastest")]
    with tempfile.TemporaryDirectory() as place:
        folders = {name: Path(place, name) for name in trees}
        for name, tree in trees.items():
            folders[name].mkdir()
            run(tree, "corpus write names --output names.txt", folders[name])
            run(tree, f"train cities --size 256 {MODEL} checkpoints/lstm", folders[name])
            run(tree, f"train cities --cell elman --size 256 {MODEL} checkpoints/elman", folders[name])
            run(tree, "train cities --cell ngram --quiet --output checkpoints/ngram", folders[name])
        for title, command in COMMANDS.items():
            seconds: dict[str, list[float]] = {name: [] for name in trees}
            for pair in range(PAIRS + 1):  # the first pair fills the caches
                for name in sorted(trees, reverse=bool(pair % 2)):
                    took = run(trees[name], command, folders[name])
                    if pair:
                        seconds[name].append(took)
            ratios = sorted(now / then for now, then in zip(seconds["now"], seconds["before"], strict=True))
            medians = (f"{statistics.median(seconds[name]):.2f} s" for name in ("before", "now"))
            fastest = f"{min(seconds['now']) / min(seconds['before']):.3f}"
            rows.append((title, *medians, f"{statistics.median(ratios):.3f}", f"{ratios[0]:.2f} … {ratios[-1]:.2f}", fastest))
            print(*rows[-1], flush=True)
    return table(*rows)


def main() -> None:
    before = Path(sys.argv[1]).resolve()
    revision = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=before, check=True, capture_output=True, text=True)
    text = (
        f"Each command runs {PAIRS} times with this version and with {revision.stdout.strip()} in turn, as a process of its "
        "own with a warm cache; the ratio is that of each pair, and of the fastest runs of both, which noise changes least."
    )
    commands = _Commands(ROOT, done=[])
    section = section_of("As fast as before the packages", iter([text, measure(before)]), commands)
    write("pairs", section.replace("Commands:\n\n\n\n", "Command: `python benchmarks/pairs.py BEFORE`.\n\n"))
    print(f"written to {RESULTS}")


if __name__ == "__main__":
    main()
