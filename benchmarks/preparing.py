"""How fast a large text is prepared, and in how much memory: writes benchmarks/RESULTS.md.

    python benchmarks/preparing.py [GIGABYTES]

Makes a text of so many gigabytes (10 by default) from a seed: words by Zipf's law, every sixteenth one new, so that 10 GB have
about 100 million different words and lines. The folder for temporary files, which TMPDIR names, needs five times as much room.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from shutil import disk_usage
from typing import Any

import numpy as np
from report import Commands, section_of, table, write

SEED, KINDS, WORDS_A_LINE, NEW = 0, 50_000, 12, 16
BLOCK = 1 << 17  # words that are drawn at a time
ROOM = 5  # bytes of disk for each byte of text: the text, ids of four bytes a word or two a character, and what is spilled
VOCABULARY = 50_000
STEPS = 20
GIGABYTE = 10**9

# What runs in a process of its own: a whole preparation, and a short training. Prints seconds, symbols and kinds.
PREPARE = """
import json, sys, time
from pathlib import Path
from lmgen.data.corpus import load
from lmgen.data.reading import Text
start = time.monotonic()
size = int(sys.argv[3])
found = load(Text([Path(sys.argv[1])]), None, sys.argv[2], False, vocab_size=size or None)
print(json.dumps([time.monotonic() - start, found.train.symbols, len(found.vocab), len(found.known)]))
"""


def make(path: Path, size: int) -> None:
    """Write a text of about `size` bytes; the same seed gives the same text."""
    rng = np.random.default_rng(SEED)
    letters = np.array([*"etaoinshrdlucmfwypvbgkjqxz"])
    shares = 1.0 / np.arange(2, len(letters) + 2)
    lengths = rng.integers(2, 10, KINDS)
    drawn = "".join(rng.choice(letters, lengths.sum(), p=shares / shares.sum()))
    ends = np.cumsum(lengths)
    words = np.array([drawn[end - length : end] for end, length in zip(ends, lengths, strict=True)], object)
    frequency = 1.0 / np.arange(1, KINDS + 1)
    upto = np.cumsum(frequency / frequency.sum())
    written = new = 0
    with open(path, "w", encoding="utf-8") as file:
        while written < size:
            some = words[np.searchsorted(upto, rng.random(BLOCK))]
            some[::NEW] = [f"{k:x}n" for k in range(new, new + BLOCK // NEW)]
            new += BLOCK // NEW
            content = "\n".join(map(" ".join, np.split(some, range(WORDS_A_LINE, BLOCK, WORDS_A_LINE)))) + "\n"
            written += file.write(content)


class Watched:
    """A command, its time, and the largest memory of it and of the processes it started: the sum of what is theirs alone, and the
    largest resident set of one of them, in MiB."""

    def __init__(self, words: list[str], **environment: str):
        self.own = self.resident = 0.0
        start = time.monotonic()
        with subprocess.Popen(words, stdout=subprocess.PIPE, env=os.environ | environment, text=True) as process:
            thread = threading.Thread(target=self._watch, args=(process,))
            thread.start()
            self.output = process.stdout.read()
            process.wait()
            thread.join()
        self.seconds = time.monotonic() - start
        if process.returncode:
            raise SystemExit(f"{' '.join(words)} failed with exit code {process.returncode}")

    def _watch(self, process: subprocess.Popen) -> None:
        while process.poll() is None:
            found = [_memory(pid) for pid in _family(process.pid)]
            self.own = max(self.own, sum(own for own, _ in found))
            self.resident = max([self.resident, *(resident for _, resident in found)])
            time.sleep(0.05)


def _family(pid: int) -> Iterator[int]:
    yield pid
    try:
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            yield from _family(int(child))
        for task in Path(f"/proc/{pid}/task").iterdir():  # a child belongs to the thread that started it
            if task.name != str(pid):
                for child in (task / "children").read_text().split():
                    yield from _family(int(child))
    except OSError:
        return


def _memory(pid: int) -> tuple[float, float]:
    """The memory of a process that is not of files, and its largest resident set, in MiB."""
    try:
        lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        return int(lines["RssAnon"].split()[0]) / 1024, int(lines["VmHWM"].split()[0]) / 1024
    except (OSError, KeyError):
        return 0.0, 0.0


def measure(run: Commands, gigabytes: float) -> Iterator[str]:
    path, size = run.folder / "text.txt", int(gigabytes * GIGABYTE)
    if disk_usage(run.folder).free < ROOM * size:
        raise SystemExit(f"{run.folder} has no room for {ROOM * gigabytes:g} GB: name another in TMPDIR, or give fewer gigabytes")
    make(path, size)
    size = path.stat().st_size
    head = "unit", "processes", "seconds", "MB/s", "MB/s a core", "memory of all processes", "largest process"
    rows: list[tuple[str, ...]] = [head]
    facts: dict[str, Any] = {}
    for unit, vocabulary in (("char", 0), ("word", VOCABULARY)):
        alone = 0.0
        for processes in (1, 2):
            for old in Path(os.environ["XDG_CACHE_HOME"]).rglob("*.ids"):
                old.unlink()
            words = [sys.executable, "-c", PREPARE, str(path), unit, str(vocabulary)]
            found = Watched(words, LMGEN_THREADS=str(processes))
            _, *facts[unit] = json.loads(found.output)
            alone = alone or found.seconds
            rate = size / 1e6 / found.seconds
            faster = f" ({alone / found.seconds:.2f} ×)" if processes > 1 else ""
            rows.append((unit, str(processes), f"{found.seconds:.1f}", f"**{rate:.1f}**{faster}", f"{rate / processes:.1f}",
                         f"{found.own:.0f} MiB", f"{found.resident:.0f} MiB"))  # fmt: skip
            print(rows[-1], flush=True)
    small = ["--vocab-size", str(VOCABULARY), "--size", "32", "--layers", "1", "--steps", str(STEPS)]
    command = [sys.executable, "-m", "lmgen", "train", str(path), "--unit", "word", *small]
    trained = Watched([*command, "--output", str(run.folder / "model")])
    rows.append(("word, with a training", "2", f"{trained.seconds:.1f}", "", "",
                 f"{trained.own:.0f} MiB", f"{trained.resident:.0f} MiB"))  # fmt: skip
    symbols, _, lines = facts["word"]
    yield (
        f"A text of {size / GIGABYTE:.2f} GB made from a seed, with {lines:,} different lines and {symbols:,} words (with an EOS "
        f"a line), every {NEW}th of which occurs once. Read, counted, fingerprinted, split, encoded and verified; the file is in "
        "memory already. The time is that of the whole process, its start included. The memory of all processes is what is not "
        "of files; the largest resident set of one process has the pages of files in it, too. Targets: 50 MB/s a core for "
        "characters, 25 for words, 1.8 × on two cores, under 1 GB."
    )
    yield table(*rows)
    yield f"The training: {STEPS} steps on the ids of words, which are in the cache by then, with {VOCABULARY:,} words."


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("gigabytes", nargs="?", type=float, default=10.0)
    gigabytes = options.parse_args().gigabytes
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = str(Path(folder, "cache"))
        run = Commands(Path(folder))
        found = measure(run, gigabytes)
        run.done.append(f"python benchmarks/preparing.py {gigabytes:g}")
        write("preparing", section_of("Preparing a large text", found, run))


if __name__ == "__main__":
    main()
