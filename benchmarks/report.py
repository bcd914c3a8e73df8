"""Shared by the programs that measure: running commands, tables, and replacing sections of RESULTS.md."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "RESULTS.md"
DATA = Path(os.environ.get("LMGEN_DATA", ROOT.parent / "shared" / "data"))


class Failed(SystemExit):
    """A command failed."""


@dataclass
class Commands:
    """Runs commands in a folder; has the time and memory of the last one, and the list of all."""

    folder: Path
    done: list[str] = field(default_factory=list)
    seconds: float = 0.0
    memory: float = 0.0  # GiB at the peak of the last command

    def __call__(self, command: str, stdin: Path | None = None, **environment: str) -> str:
        """Run `lmgen COMMAND` with a file as its stdin and return its stdout; DATA stands for the folder of corpora."""
        words = [word.replace("DATA", str(DATA)) for word in command.split()]
        start = time.monotonic()
        with tempfile.TemporaryFile("w+") as out, open(stdin or os.devnull) as given:
            process = subprocess.Popen(
                [sys.executable, "-m", "lmgen", *words],
                cwd=self.folder,
                stdin=given,
                stdout=out,
                env=os.environ | environment,
            )
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            out.seek(0)
            output = out.read().replace(str(DATA), "DATA")
        if process.returncode:
            raise Failed(f"lmgen {command} failed with exit code {process.returncode}")
        self.seconds, self.memory = time.monotonic() - start, usage.ru_maxrss / 2**20
        before = "".join(f"{name}={value} " for name, value in environment.items())
        self.done.append(f"{before}lmgen {command}" + (f" < {stdin.name}" if stdin else ""))
        return output

    def measures(self, model: str, text: str) -> dict:
        """The measures of one text."""
        return json.loads(self(f"eval {model} {text} --no-baselines --json"))

    def shape(self, model: str) -> str:
        """A model and its training in one sentence."""
        facts = json.loads(quietly(self, f"show {model} --json"))
        step = facts["best_step"] or facts["steps"]
        symbols = step * facts["batch"] * facts["window"]
        return (
            f"{facts['cell']} {facts['layers']} × {facts['size']}, {facts['parameters']:,} parameters, "
            f"dropout {facts['dropout']:g}; best weights after {step:,} steps of {facts['batch']} × {facts['window']} "
            f"({symbols / 1e6:.1f} million symbols); seed {facts['seed']}"
        )


def quietly(run: Commands, command: str) -> str:
    """Run a command without listing it."""
    output = run(command)
    run.done.pop()
    return output


def table(*rows: tuple[str, ...]) -> str:
    """A Markdown table; the first row is its head."""
    head, *body = ("| " + " | ".join(row) + " |" for row in rows)
    return "\n".join([head, "|" + "---|" * len(rows[0]), *body])


def quoted(text: str) -> str:
    """Text in a code block."""
    return f"```\n{text.rstrip()}\n```"


def machine() -> str:
    """The machine and the versions."""
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), ""
    )
    packages = ", ".join(f"{name} {metadata.version(name)}" for name in ("lmgen", "jax", "optax", "numpy"))
    return f"{os.cpu_count()} cores of {model or platform.machine()}; Python {platform.python_version()}, {packages}"


def section_of(title: str, found: Iterator[str], run: Commands) -> str:
    """A section: its title, the results, the commands and the machine."""
    body = "\n\n".join(found)
    commands = "\n".join(f"    {command}" for command in run.done)
    return f"## {title}\n\n{body}\n\nCommands:\n\n{commands}\n\nMeasured on {machine()}.\n"


def write(name: str, section: str, page: Path = RESULTS) -> None:
    """Put a section into a page in place of the one with this name, or at the end."""
    marked = f"<!-- {name} -->\n{section}<!-- end of {name} -->"
    text = page.read_text("utf-8")
    pattern = re.compile(f"<!-- {name} -->.*?<!-- end of {name} -->", re.S)
    text = pattern.sub(lambda _: marked, text) if pattern.search(text) else f"{text.rstrip()}\n\n{marked}\n"
    page.write_text(text, "utf-8")


Sections = dict[str, tuple[str, Callable[[Commands], Iterator[str]]]]  # by name: a title, and the function that measures


def renew(page: Path, parts: Iterable[Callable[[], str]]) -> None:
    """Write the parts of a page that the command line names, all if it names none, each under `figures: ` and its name."""
    known = {part.__name__: part for part in parts}
    wanted = sys.argv[1:] or list(known)
    if unknown := set(wanted) - set(known):
        raise SystemExit(f"the page has no part {', '.join(unknown)}: choose from {', '.join(known)}")
    for name in wanted:
        print(f"{name} …", flush=True)
        write(f"figures: {name}", f"{known[name]()}\n", page)


def main(sections: Sections, folder: str | None = None, prefix: str = "", data: bool = True, own_cache: bool = False) -> None:
    """Measure the sections that the command line names, or all.

    Each runs in a temporary folder of its own, or all in `folder`, and with a cache of its own if `own_cache`. `prefix` begins
    the names in RESULTS.md; `data` requires the corpora for measuring.
    """
    wanted = sys.argv[1:] or list(sections)
    if unknown := set(wanted) - set(sections):
        raise SystemExit(f"there is no section {', '.join(unknown)}: choose from {', '.join(sections)}")
    if data:
        need_data()
    for name in wanted:
        print(f"measuring {name} …", flush=True)
        title, measure = sections[name]
        start = time.monotonic()
        with tempfile.TemporaryDirectory() as own:
            if own_cache:
                os.environ["XDG_CACHE_HOME"] = str(Path(own, "cache"))
            run = Commands(Path(folder or own))
            write(prefix + name, section_of(title, measure(run), run))
        print(f"{name}: {time.monotonic() - start:.0f} s", flush=True)


def need_data() -> None:
    """Exit with a message if the corpora for measuring are missing."""
    if not DATA.is_dir():
        raise SystemExit(f"the corpora for measuring are not in {DATA}: put them there or name their folder in LMGEN_DATA")
