"""What is released, as a newcomer meets it: sizes, installs without a compiler, speed, and the way to a first sample.

    make wheel && python benchmarks/wheels.py

Everything is installed into new environments whose PATH holds only their own programs, so no compiler is found. Packages come
from the index that pip and uv are configured for, and nothing is cached before the first install.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from report import ROOT, Commands, Failed, Sections, main, quoted, table

DIST = ROOT / "dist"
BUDGET = "15s"  # of the first training
ROUNDS = 5  # of measuring speeds, alternately; the fastest counts
SPEEDS = [(cell, precision) for precision in ("f32", "bf16") for cell in ("lstm", "gru")]
SIZE = 256
KINDS = {"*manylinux*.whl": "all kinds", "*-any.whl": "none", "*.tar.gz": "compiled when installed, if there is a compiler"}


@dataclass
class Newcomer:
    """Someone with a new folder, a home of their own, and a Python, but no compiler; `seconds` took the last command."""

    run: Commands
    seconds: float = 0.0

    @property
    def bin(self) -> Path:
        return self.run.folder / "venv" / "bin"

    def __call__(self, command: str, show: bool = True, compiler: bool = False, **variables: str) -> str:
        """Run a program of the environment and return its stdout; `show` lists the command."""
        program, *words = command.replace("DIST", str(DIST)).split()
        theirs = {name: value for name, value in os.environ.items() if not name.startswith(("LMGEN_", "PYTHON", "XDG_", "UV_"))}
        theirs |= {"HOME": str(self.run.folder), "PATH": str(self.bin) + (f":{os.environ['PATH']}" if compiler else "")}
        begun = time.monotonic()
        done = subprocess.run(
            [shutil.which(program, path=theirs["PATH"]) or program, *words],
            cwd=self.run.folder,
            env=theirs | variables,
            capture_output=True,
            text=True,
        )
        self.seconds = time.monotonic() - begun
        if done.returncode:
            raise Failed(f"{command} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        if show:
            self.run.done.append(command.replace("DIST/", "dist/"))
        return done.stdout

    def environment(self) -> None:
        """A new virtual environment."""
        self(f"{sys.executable} -m venv --clear venv", show=False)


def released(pattern: str) -> str:
    """The name of a file in dist/."""
    found = sorted(DIST.glob(pattern))
    if not found:
        raise Failed(f"there is no {pattern} in {DIST}: run make wheel first")
    return found[-1].name


def newcomer(run: Commands) -> Iterator[str]:
    wheel = released("*manylinux*.whl")
    there = Newcomer(run)
    there.environment()
    rows, total = [("command", "seconds")], 0.0
    commands = (
        f"pip install --quiet DIST/{wheel}",
        f"lmgen train cities --budget {BUDGET} --quiet",
        "lmgen sample cities --count 5 --seed 1",
    )
    for command in commands:
        samples = there(command)
        total += there.seconds
        rows.append((f"`{command.replace('DIST/', 'dist/')}`", f"{there.seconds:.1f}"))
    rows.append(("all", f"{total:.1f}"))
    kernels = next(line for line in there("lmgen doctor", show=False).splitlines() if line.startswith("kernels"))
    size = sum(file.lstat().st_size for file in there.bin.parent.rglob("*"))
    yield (
        "Into a new environment without a compiler, pip without a cache. The environment has then "
        f"{size / 1e6:.0f} MB, nearly all of them JAX, SciPy and NumPy. `lmgen doctor`: {' '.join(kernels.split())}."
    )
    yield table(*rows)
    yield quoted(samples)


def wheels(run: Commands) -> Iterator[str]:
    there = Newcomer(run)
    there.environment()
    there(f"pip install --quiet DIST/{released('*manylinux*.whl')}", show=False)
    rows = [("file", "size", "kernels", "install, without a compiler", "kernels then")]
    for pattern, kernels in KINDS.items():
        name = released(pattern)
        there(f"pip install --quiet --no-deps --force-reinstall --no-cache-dir DIST/{name}")
        took = f"{there.seconds:.1f} s"
        found = next(line for line in there("lmgen doctor", show=False).splitlines() if line.startswith("kernels"))
        size = f"{(DIST / name).stat().st_size / 1e6:.2f} MB"
        rows.append((f"`{name}`", size, kernels, took, " ".join(found.split()[1:]).partition(";")[0].partition(":")[0]))
    yield "Installs of lmgen alone into an environment that has what it needs:"
    yield table(*rows)
    yield from speeds(there)


def speeds(there: Newcomer) -> Iterator[str]:
    """Symbols a second in training, with the kernels of the wheel and with those compiled here."""
    sources = {"wheel": "*manylinux*.whl", "source": "*.tar.gz"}
    for name, pattern in sources.items():
        command = f"pip install --quiet --no-deps --no-cache-dir --target {name} DIST/{released(pattern)}"
        there(command, compiler=True)
    compiled = there.seconds
    best = {(name, *case): 0.0 for name in sources for case in SPEEDS}
    for _ in range(ROUNDS):
        for cell, precision in SPEEDS:
            for name in sources:
                command = f"python -m lmgen cells {cell} --size {SIZE} --precision {precision} --speed --json"
                found = json.loads(there(command, show=False, PYTHONPATH=str(there.run.folder / name)))["symbols_per_second"]
                best[name, cell, precision] = max(best[name, cell, precision], found)
    rows = [("cell", "precision", "wheel, symbols/s", "compiled here, symbols/s", "ratio")]
    for cell, precision in SPEEDS:
        ours, theirs = best["wheel", cell, precision], best["source", cell, precision]
        rows.append((cell, precision, f"{ours:,.0f}", f"{theirs:,.0f}", f"{ours / theirs:.3f}"))
    there.run.done.append(f"python -m lmgen cells CELL --size {SIZE} --precision PRECISION --speed")
    version = subprocess.run(["c++", "--version"], capture_output=True, text=True).stdout.partition("\n")[0]
    yield f"Training of one layer of {SIZE} units, the best of {ROUNDS} runs by turns. Compiled by {version} in {compiled:.0f} s:"
    yield table(*rows)


def tools(run: Commands) -> Iterator[str]:
    there = Newcomer(run)
    there.environment()
    wheel = released("*manylinux*.whl")
    there("pip install --quiet pipx uv", show=False)
    rows = [("command", "seconds", "then")]
    commands = {
        f"pipx install DIST/{wheel}": f"{run.folder}/.local/bin/lmgen",
        f"uv tool install --force DIST/{wheel}": f"{run.folder}/.local/bin/lmgen",
    }
    for command, program in commands.items():
        there(command, UV_PYTHON=sys.executable)  # this Python, not one that uv downloads
        took = there.seconds
        version = there(f"{program} --version", show=False).strip()
        there(f"{program} train cities --steps 50 --quiet --force", show=False)
        first = there(f"{program} sample cities --count 1 --seed 1 --json", show=False)
        assert json.loads(first)["text"] is not None
        rows.append((f"`{command.replace('DIST/', 'dist/')}`", f"{took:.1f}", f"{version}: trains and samples"))
    yield "Each as a command of its own, in a home of its own, without a compiler:"
    yield table(*rows)


SECTIONS: Sections = {
    "newcomer": ("From pip install to a first sample", newcomer),
    "wheels": ("Wheels", wheels),
    "tools": ("Wheels with pipx and uv", tools),
}

if __name__ == "__main__":
    main(SECTIONS, prefix="wheels-", data=False)
