"""The transformer beside a plain GPT in PyTorch, at nanoGPT's setting for CPUs: writes benchmarks/RESULTS.md.

    python benchmarks/transformer.py

Both train on tinyshakespeare for the same time, one after the other, with 4 layers of 128 units, 4 heads, 12 columns and a
context of 64; then both are scored on the same text and sampled. PyTorch takes one thread, or one for each core if that is
faster. Each figure is the mean over three seeds, or over as many as LMGEN_SEEDS in the environment says. Needs the extra `bench`
and the corpora for measuring; takes about 25 minutes.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from labels import SEEDS
from report import DATA, Commands, Sections, main, quietly, table
from transformer_torch import SAMPLED

from lmgen import loading
from lmgen.generation import sampling

TEXTS = [DATA / "tinyshakespeare" / f"{side}.txt" for side in ("train", "valid")]
SECONDS = 120
SETTING = "--size 128 --layers 4 --heads 4 --context 64 --batch 12 --window 64"


def by_torch(threads: int, seconds: float, seed: int) -> dict:
    """What the program of PyTorch's side prints."""
    program = Path(__file__).with_name("transformer_torch.py")
    command = [sys.executable, str(program), *map(str, TEXTS), str(seconds), str(seed)]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    found = json.loads(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)
    return found


def by_lmgen(run: Commands, options: str, name: str, seed: int) -> dict:
    """The same measures of a model of lmgen; the whole command has the time, validation and compiling included."""
    how = f"{options} --budget {SECONDS}s --seed {seed} --output {name} --quiet --force"
    run(f"train DATA/tinyshakespeare/train.txt --carry --cell transformer {how}")
    facts = json.loads(quietly(run, f"show {name} --json"))
    lines = [json.loads(line) for line in (run.folder / name / "metrics.jsonl").read_text().splitlines()]
    half = "--protocol windows --window 64 --no-baselines --json"
    model = loading.load(run.folder / name)
    return {
        "parameters": facts["parameters"],
        "steps": lines[-1]["step"],
        "symbols_per_second": statistics.median(line["symbols_per_second"] for line in lines[1:] or lines),
        "nats": json.loads(run(f"eval {name} DATA/tinyshakespeare/valid.txt {half}"))["nats_per_symbol"],
        "nats_half": run.measures(name, "DATA/tinyshakespeare/valid.txt")["nats_per_symbol"],
        "sampled": {rows: sampled(model, rows) for rows in (1, 16)},
    }


def mean(found: list[dict]) -> dict:
    """The mean of each measure over the seeds; of sampling, by the number of texts."""
    rows = {int(rows): statistics.mean(float(one["sampled"][rows]) for one in found) for rows in found[0]["sampled"]}
    return {name: statistics.mean(one[name] for one in found) for name in found[0] if name != "sampled"} | {"sampled": rows}


def sampled(model, rows: int) -> float:
    """Symbols a second of samples of running text, drawn at once, after compilation."""
    for _ in range(2):
        start = time.monotonic()
        drawn = sampling.samples(model, sampling.Settings(max_length=SAMPLED, lines=SAMPLED), wanted=rows)
        symbols = sum(sample.symbols for sample in islice(drawn, rows))
        speed = symbols / (time.monotonic() - start)
    return speed


def compared(run: Commands) -> Iterator[str]:
    threads = max((1, os.cpu_count() or 1), key=lambda n: by_torch(n, 5, 0)["symbols_per_second"])
    found = {
        "PyTorch": mean([by_torch(threads, SECONDS, seed) for seed in SEEDS]),
        "lmgen": mean([by_lmgen(run, SETTING, "setting", seed) for seed in SEEDS]),
        "lmgen, no options": mean([by_lmgen(run, "", "defaults", seed) for seed in SEEDS]),
    }
    yield (
        f"4 layers of 128 units, 4 heads, 12 columns, context 64, no dropout, {SECONDS} s each. PyTorch has {threads} threads "
        "and no validation in its time. Lmgen holds out a part of the training text and validates within its time; its state is "
        "carried from window to window, so that every symbol sees 64 symbols. Neither side chose anything by valid.txt. "
        f"Each figure is the mean over {len(SEEDS)} seed{'s' * (len(SEEDS) > 1)}."
    )
    rows = {
        "parameters": "{parameters:,.0f}",
        "steps": "{steps:,.0f}",
        "symbols/s in training": "{symbols_per_second:,.0f}",
        "nats per symbol, windows of 64 from an empty state": "{nats:.4f}",
        "nats per symbol, whole text (PyTorch: after 32 symbols or more)": "{nats_half:.4f}",
        "symbols/s in sampling, one text": "{sampled[1]:,.0f}",
        "symbols/s in sampling, 16 texts": "{sampled[16]:,.0f}",
    }
    yield table(("", *found), *((label, *(row.format(**m) for m in found.values())) for label, row in rows.items()))
    gain = found["PyTorch"]["nats_half"] - found["lmgen"]["nats_half"]
    faster = found["lmgen"]["sampled"][1] / found["PyTorch"]["sampled"][1]
    yield f"Lower by {gain:.3f} nats (target: 0.1) in the same time; one text is sampled {faster:.1f} times as fast (target: 5)."


SECTIONS: Sections = {"transformer": ("The transformer, against PyTorch", compared)}

if __name__ == "__main__":
    main(SECTIONS)
