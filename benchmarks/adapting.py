"""Adaptation measured: models that adapt while they read, and files compressed without a model; writes benchmarks/RESULTS.md.

    python benchmarks/adapting.py [--bytes N] [--budget TIME] [SECTION ...]

Needs the corpora for measuring beside the project (../shared/data, or the folder named by LMGEN_DATA), and of the compressors
those that are installed. To try the program, `--bytes` takes only the beginning of each file, and `--budget` shortens a training.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from report import DATA, Commands, Sections, main, table

WAYS = ("cache", "dynamic", "both")
TEXTS = {  # a model: the options of its training, the text that is measured, and the measure
    "wikitext-2": (
        "DATA/wikitext-2/train.txt --valid DATA/wikitext-2/valid.txt --unit word --carry",
        "wikitext-2/test.txt",
        "perplexity",
    ),
    "shakespeare": ("DATA/tinyshakespeare/train.txt --carry", "tinyshakespeare/valid.txt", "nats_per_symbol"),
    "shakespeare-subwords": (
        "DATA/tinyshakespeare/train.txt --carry --unit subword --vocab-size 2000",
        "tinyshakespeare/valid.txt",
        "bits_per_byte",
    ),
    "names": ("DATA/names/train.txt --valid DATA/names/valid.txt", "names/test.txt", "nats_per_symbol"),
}
FILES = (
    "tinyshakespeare/valid.txt",
    "tinyshakespeare/train.txt",
    "tang-poems/all.txt",
    "sqlite3/sqlite3.c",
    "tatoeba/all.txt",
)
COMPRESSORS = {
    "bzip2 -9": ("bzip2", "-9c"),
    "xz -9e": ("xz", "-9ec"),
    "zstd --ultra -22": ("zstd", "--ultra", "-22", "-c", "-q"),
}
LEVELS = ("1", "2", "3")
BUDGET, BYTES = "10m", 1 << 62


def adapted(run: Commands) -> Iterator[str]:
    rows = [("text", "measure", "plain", *WAYS, "settings of both", "seconds, plain and both")]
    for name, (training, test, measure) in TEXTS.items():
        run(f"train {training} --budget {BUDGET} --output {name} --quiet")
        text = _beginning(run, test).name
        plain = json.loads(run(f"eval {name} {text} --no-baselines --json"))
        seconds, cells, found = run.seconds, [], {}
        for way in WAYS:
            found = json.loads(run(f"eval {name} {text} --adapt {way} --no-baselines --json"))["adapted"]
            cells.append(f"{found[measure]:.4f}")
        settings = ", ".join(f"{key} {value:.3g}" for key, value in found["settings"].items())
        times = f"{seconds:.0f}, {run.seconds:.0f}"
        rows.append((f"{name}, {test}", measure.replace("_", " "), f"{plain[measure]:.4f}", *cells, settings, times))
    yield (
        "All settings are fitted to the beginning of the validation text, and no symbol is learnt from before it is scored. "
        "These figures cannot be compared with those of models that do not adapt."
    )
    yield table(*rows)


def _beginning(run: Commands, name: str) -> Path:
    """A file with the beginning of a text."""
    path = run.folder / name.replace("/", "-")
    path.write_bytes((DATA / name).read_bytes()[:BYTES])
    return path


def online(run: Commands) -> Iterator[str]:
    """Every level, restored again, beside the compressors that are installed."""
    found = {name: words for name, words in COMPRESSORS.items() if shutil.which(words[0])}
    rows = [("file", "bytes", *found, *(f"level {level}" for level in LEVELS))]
    speeds = [("file", *(f"level {level}, KB/s there and back" for level in LEVELS), "GiB")]
    for name in FILES:
        file = _beginning(run, name)
        size = file.stat().st_size
        cells = [f"{8 * _size(words, file) / size:.3f}" for words in found.values()]
        took, memory = [], 0.0
        for level in LEVELS:
            packed, again = f"{file.name}.{level}.lmz", f"{file.name}.{level}.again"
            run(f"compress --online --level {level} {file.name} -o {packed}")
            there, memory = run.seconds, max(memory, run.memory)
            run(f"decompress {packed} -o {again}")
            if (run.folder / again).read_bytes() != file.read_bytes():
                raise SystemExit(f"{packed} does not give back {name}")
            cells.append(f"**{8 * (run.folder / packed).stat().st_size / size:.3f}**")
            took.append(f"{size / 1000 / there:.1f}, {size / 1000 / run.seconds:.1f}")
        rows.append((name, f"{size:,}", *cells))
        speeds.append((name, *took, f"{memory:.2f}"))
    yield "Bits per byte, headers included. Every file was restored and compared."
    yield table(*rows)
    yield table(*speeds)


def _size(words: tuple[str, ...], file: Path) -> int:
    return len(subprocess.run([*words, str(file)], stdout=subprocess.PIPE, check=True).stdout)


SECTIONS: Sections = {
    "adapted": ("Models that adapt while they read", adapted),
    "online": ("Compression in one pass, without a model", online),
}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--bytes", type=int, default=BYTES)
    parser.add_argument("--budget", default=BUDGET)
    known, rest = parser.parse_known_args()
    BYTES, BUDGET = known.bytes, known.budget
    sys.argv[1:] = rest
    main(SECTIONS)
