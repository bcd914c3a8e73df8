"""Fuzzed inputs, and the memory needed to read a large text: writes benchmarks/RESULTS.md.

    python benchmarks/fuzz.py [SECTION ...]

The inputs are those of tests/fuzz/fuzzing.py, different ones each time. The second section needs 6 GB of disk in the folder
for temporary files: 2 GB for its text, 4 GB for the ids.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from shutil import disk_usage
from typing import Any

from report import ROOT, Commands, Sections, main, table

sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "fuzz")]

GIGABYTE = 10**9
MEGABYTES = 300  # the promise


def _counting(use: Callable[[Any], Any], found: Counter[str], codes: Counter[str]) -> Callable[[Any], None]:
    """Use an input, and count it, its exit code and crashes."""

    def one(drawn: Any) -> None:
        found["inputs"] += 1
        try:
            code = use(drawn)
            codes[f"exit {code}"] += code is not None
        except Exception:
            found["crashes"] += 1
            print(f"{drawn!r:.500}\n{traceback.format_exc()}", file=sys.stderr, flush=True)

    return one


def fuzz(run: Commands) -> Iterator[str]:
    import fuzzing
    from hypothesis import HealthCheck, Phase, given, seed, settings

    rows: list[tuple[str, ...]] = [("inputs", "number", "crashes", "seconds", "outcomes")]
    total = Counter[str]()
    for name, (inputs, use, _, _, number) in fuzzing.KINDS.items():
        found, codes = Counter[str](), Counter[str]()

        options = settings(
            max_examples=number, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
        )
        start = time.monotonic()
        seed(time.time_ns())(options(given(inputs)(_counting(use, found, codes))))()
        seconds = time.monotonic() - start
        outcomes = ", ".join(f"{code} {n:,} ×" for code, n in sorted(codes.items()) if n) or "worked, or refused in a sentence"
        rows.append((name, f"{found['inputs']:,}", f"{found['crashes']:,}", f"{seconds:.0f}", outcomes))
        total += found
        print(rows[-1], flush=True)
    yield (
        f"**{total['inputs']:,} inputs, {total['crashes']:,} crashes** (target: 20,000 without one). A crash is any outcome but "
        "a result with finite figures, or one sentence with its exit code."
    )
    yield table(*rows)
    run.done.append("python benchmarks/fuzz.py fuzz")


READING = """
import json, resource, sys, time
from pathlib import Path
from lmgen.data.corpus import load
from lmgen.data.reading import Text
start = time.monotonic()
base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = load(Text([Path(sys.argv[1])]), None, "char", False)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([base, peak, found.train.symbols, found.valid.symbols if found.valid else 0, time.monotonic() - start]))
"""
WORDS = "It was the best of times, it was the worst of times, it was the age of wisdom … "


def memory(run: Commands) -> Iterator[str]:
    rows: list[tuple[str, ...]] = [("one line of", "symbols", "peak memory", "before reading", "seconds")]
    for size in (GIGABYTE // 50, 2 * GIGABYTE):
        if disk_usage(run.folder).free < 4 * size:
            raise SystemExit(f"{run.folder} has no room for a line of {size:,} bytes and its ids: name another in TMPDIR")
        path = run.folder / "line.txt"
        block = WORDS.encode() * 10_000
        with open(path, "wb") as file:
            for _ in range(size // len(block)):
                file.write(block)
        done = subprocess.run([sys.executable, "-c", READING, str(path)], stdout=subprocess.PIPE, check=True, cwd=run.folder)
        base, peak, train, valid, seconds = json.loads(done.stdout)
        rows.append((f"{path.stat().st_size / 1e6:,.0f} MB", f"{train + valid:,}", f"**{peak / 1024:.0f} MiB**",
                     f"{base / 1024:.0f} MiB", f"{seconds:.0f}"))  # fmt: skip
        for ids in run.folder.rglob("*.ids"):
            ids.unlink()
    yield (
        "The reading part of `lmgen train`: count, split and encode characters (`ru_maxrss` of the process; "
        f"target: under {MEGABYTES} MB)."
    )
    yield table(*rows)
    run.done.append("python benchmarks/fuzz.py line")


SECTIONS: Sections = {"fuzz": ("Fuzzed inputs", fuzz), "line": ("A line larger than memory", memory)}


if __name__ == "__main__":
    main(SECTIONS, data=False, own_cache=True)
