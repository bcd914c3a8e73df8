"""What lmgen withstands, in figures: fuzzed inputs, and the memory that a large text takes. Writes benchmarks/RESULTS.md.

    python benchmarks/fuzz.py [SECTION ...]

The inputs are those of tests/fuzz/fuzzing.py, drawn anew each time. The text of the second section takes 2 GB of disk,
and its ids 4 GB more, in the folder for temporary files.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import disk_usage
from typing import Any

from report import ROOT, Commands, section_of, table, write

sys.path.insert(0, str(ROOT / "tests" / "fuzz"))

GIGABYTE = 10**9
MEGABYTES = 300  # the promise


def _counting(use: Callable[[Any], Any], found: Counter[str], codes: Counter[str]) -> Callable[[Any], None]:
    """What is done with an input, and the count of it, of its exit code and of crashes."""

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
    os.environ["XDG_CACHE_HOME"] = str(run.folder / "cache")
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
        told = ", ".join(f"{code} {n:,} ×" for code, n in sorted(codes.items()) if n) or "worked, or refused in a sentence"
        rows.append((name, f"{found['inputs']:,}", f"{found['crashes']:,}", f"{seconds:.0f}", told))
        total += found
        print(rows[-1], flush=True)
    yield (
        f"**{total['inputs']:,} inputs, {total['crashes']:,} crashes** (target: 20,000 without one). A crash is whatever is no "
        "result, no sentence with its exit code, or no finite figure."
    )
    yield table(*rows)


READING = """
import json, resource, sys, time
from pathlib import Path
from lmgen.data.corpus import load
from lmgen.data.reading import Text
import lmgen.data.vocab
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
        environment = {**os.environ, "XDG_CACHE_HOME": str(run.folder / "cache")}
        done = subprocess.run(
            [sys.executable, "-c", READING, str(path)], env=environment, stdout=subprocess.PIPE, check=True, cwd=run.folder
        )
        base, peak, train, valid, seconds = json.loads(done.stdout)
        rows.append((f"{path.stat().st_size / 1e6:,.0f} MB", f"{train + valid:,}", f"**{peak / 1024:.0f} MiB**",
                     f"{base / 1024:.0f} MiB", f"{seconds:.0f}"))  # fmt: skip
        for ids in (run.folder / "cache").rglob("*.ids"):
            ids.unlink()
    yield (
        "The reading of `lmgen train`: counted, split and encoded, in characters (`ru_maxrss` of the process; "
        f"target: under {MEGABYTES} MB)."
    )
    yield table(*rows)


SECTIONS: dict[str, tuple[str, Callable[[Commands], Iterator[str]]]] = {
    "fuzz": ("Inputs that nobody would make on purpose", fuzz),
    "line": ("A line larger than the memory", memory),
}


def main() -> None:
    wanted = sys.argv[1:] or list(SECTIONS)
    if unknown := set(wanted) - set(SECTIONS):
        raise SystemExit(f"there is no section {', '.join(unknown)}: choose from {', '.join(SECTIONS)}")
    for name in wanted:
        print(f"measuring {name} …", flush=True)
        title, measure = SECTIONS[name]
        with tempfile.TemporaryDirectory() as folder:
            run = Commands(Path(folder))
            run.done.append(f"python benchmarks/fuzz.py {name}")
            section = section_of(title, measure(run), run)
        write(name, section)


if __name__ == "__main__":
    main()
