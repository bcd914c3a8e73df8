"""What each way to regularise, and each change of the network, is worth: the same text, time and seeds with it and without.

    python benchmarks/ablations.py [TEXT ...] [--budget 2m | --steps N] [--seeds 3] [--only NAME,...]

Writes a section of benchmarks/RESULTS.md for each text. With any option the table is printed, and RESULTS.md is not changed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

from report import DATA, Commands, need_data, quietly, section_of, table, write

BUDGET, SEEDS = "2m", 3
PART = 1_000_000  # bytes of WikiText-2 that are trained on
TEXTS = {  # a title, and how to train without any of the options below
    "characters": (
        "Options one at a time: characters",
        "DATA/tinyshakespeare/train.txt --valid DATA/tinyshakespeare/valid.txt --carry --dropout 0.2",
    ),
    "words": (
        "Options one at a time: words",
        "part.txt --valid DATA/wikitext-2/valid.txt --carry --unit word --unk-token <unk> --dropout 0.3",
    ),
}
OPTIONS = {
    "dropout 0": "--dropout 0",
    "dropout 0.5": "--dropout 0.5",
    "input dropout 0.2": "--input-dropout 0.2",
    "state dropout 0.2": "--state-dropout 0.2",
    "weight dropout 0.2": "--weight-dropout 0.2",
    "weight dropout 0.5": "--weight-dropout 0.5",
    "embedding dropout 0.1": "--embedding-dropout 0.1",
    "output dropout 0.5": "--output-dropout 0.5",
    "AR 2": "--ar 2",
    "TAR 1": "--tar 1",
    "β1 = 0": "--beta1 0",
    "β1 = 0, β2 = 0.9999": "--beta1 0 --beta2 0.9999",
    "β2 = 0.99": "--beta2 0.99",
    "two layers": "--layers 2",
    "two layers, skip": "--layers 2 --skip",
    "lstm-coupled": "--cell lstm-coupled",
    "lstm-capped": "--cell lstm-capped",
    "lstm-mogrifier": "--cell lstm-mogrifier",
    "gru": "--cell gru",
}


def trained(run: Commands, how: str, end: str, seed: int) -> tuple[float, int]:
    """The nats a symbol of the validation text after a training, and its steps."""
    run(f"train {how} {end} --seed {seed} --output model --force --quiet")
    facts = json.loads(quietly(run, "show model --json"))
    return facts["valid_nats"], facts["steps"]


def measure(run: Commands, text: str, end: str, seeds: int, names: list[str]) -> Iterator[str]:
    with open(DATA / "wikitext-2" / "train.txt", "rb") as whole:
        (run.folder / "part.txt").write_bytes(
            b"".join(itertools.takewhile(lambda _: whole.tell() < PART, iter(whole.readline, b"")))
        )
    how = TEXTS[text][1]
    found = {}
    for name, option in {"": "", **{name: OPTIONS[name] for name in names}}.items():
        found[name] = [trained(run, _with(how, option), end, seed) for seed in range(seeds)]
        print(
            f"{text}, {name or 'as it is'}: {', '.join(f'{nats:.4f} after {steps:,} steps' for nats, steps in found[name])}",
            flush=True,
        )
    base = [nats for nats, _ in found[""]]
    rows = []
    for name, runs in found.items():
        nats = [nats for nats, _ in runs]
        gains = [100 * (one / other - 1) for one, other in zip(nats, base, strict=True)]
        spread = statistics.stdev(gains) / math.sqrt(seeds) if seeds > 1 else 0.0
        change = f"{statistics.mean(gains):+.2f} % ± {spread:.2f}" if name else ""
        steps = statistics.mean(steps for _, steps in runs)
        rows.append(
            (
                name or "as it is",
                f"{statistics.mean(nats):.4f}",
                f"{math.exp(statistics.mean(nats)):.2f}",
                change,
                f"{steps:,.0f}",
            )
        )
    yield (
        f"Each row is the first one with one option: the mean of {seeds} seeds of training with {end}, the change of the nats, "
        "and its standard error over the seeds. Less is better."
    )
    yield table(("option", "nats a symbol", "perplexity", "change", "steps"), *rows)


def _with(how: str, option: str) -> str:
    """The options of a training with others, which replace those of the same name."""
    words, new = how.split(), option.split()
    for name in new:
        if name.startswith("--") and name in words:
            del words[words.index(name) : words.index(name) + 2]
    return " ".join([*words, *new])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("texts", nargs="*", help=f"{', '.join(TEXTS)}; all without one")
    parser.add_argument("--budget")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--only", help="names of options, separated by commas")
    given = parser.parse_args()
    need_data()
    names = given.only.split(",") if given.only else list(OPTIONS)
    for given_names, known in ((names, OPTIONS), (given.texts, TEXTS)):
        if unknown := set(given_names) - set(known):
            raise SystemExit(f"there is no {', '.join(unknown)}: choose from {', '.join(known)}")
    end = f"--steps {given.steps}" if given.steps else f"--budget {given.budget or BUDGET}"
    for text in given.texts or TEXTS:
        with tempfile.TemporaryDirectory() as folder:
            run = Commands(Path(folder))
            section = section_of(TEXTS[text][0], measure(run, text, end, given.seeds or SEEDS, names), run)
        if given.budget or given.steps or given.seeds or given.only:
            print(section)
        else:
            write(f"ablations-{text}", section)


if __name__ == "__main__":
    main()
