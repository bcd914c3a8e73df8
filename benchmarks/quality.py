"""How good the models are that lmgen makes with its defaults: trains, measures, and writes benchmarks/RESULTS.md.

    python benchmarks/quality.py [SECTION ...]

Needs the corpora for measuring beside the project (../shared/data, or the folder that LMGEN_DATA names). Each section of
RESULTS.md is replaced by what its commands gave; a section that is not named stays as it was.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "RESULTS.md"
DATA = Path(os.environ.get("LMGEN_DATA", ROOT.parent / "shared" / "data"))


@dataclass
class Session:
    """Commands run one after the other in a folder of their own, with what they took."""

    folder: Path
    done: list[str] = field(default_factory=list)
    seconds: float = 0.0
    memory: float = 0.0  # GiB at the peak of the last command

    def __call__(self, command: str) -> str:
        """Run `lmgen …`; DATA in it stands for the folder of corpora. Returns its stdout."""
        words = [word.replace("DATA", str(DATA)) for word in command.split()]
        start = time.monotonic()
        with tempfile.TemporaryFile("w+") as out:
            process = subprocess.Popen([sys.executable, "-m", "lmgen.cli", *words], cwd=self.folder, stdout=out)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            out.seek(0)
            output = out.read()
        if process.returncode:
            raise SystemExit(f"lmgen {command} failed with exit code {process.returncode}")
        self.seconds, self.memory = time.monotonic() - start, usage.ru_maxrss / 2**20
        self.done.append(f"lmgen {command}")
        return output

    def measures(self, model: str, text: str) -> dict:
        """The measures of one text."""
        return json.loads(self(f"eval {model} {text} --json"))

    def shape(self, model: str) -> str:
        """A model in a few words, and how far it was trained."""
        facts = json.loads(self_quietly(self, f"show {model} --json"))
        symbols = facts["step"] * facts["batch"] * facts["window"]
        return (
            f"{facts['cell']} {facts['layers']} × {facts['size']}, {facts['parameters']:,} parameters, "
            f"dropout {facts['dropout']:g}; the best weights are those after {facts['step']:,} steps of "
            f"{facts['batch']} × {facts['window']}, {symbols / 1e6:.1f} million symbols; seed {facts['seed']}"
        )


def self_quietly(session: Session, command: str) -> str:
    """Run a command that needs no mention."""
    output = session(command)
    session.done.pop()
    return output


def names(run: Session) -> Iterator[str]:
    run("train DATA/names/train.txt --valid DATA/names/valid.txt --budget 60s --output names --quiet")
    took = run.seconds
    test, valid = (run.measures("names", f"DATA/names/{side}.txt") for side in ("test", "valid"))
    yield f"{run.shape('names')}; the training command took {took:.0f} s in all."
    yield table(
        ("text", "nats per symbol", "target", "bits per byte"),
        ("test", f"**{test['nats_per_symbol']:.4f}**", "2.03", f"{test['bits_per_byte']:.4f}"),
        ("valid", f"{valid['nats_per_symbol']:.4f}", "", f"{valid['bits_per_byte']:.4f}"),
    )


def tinyshakespeare(run: Session) -> Iterator[str]:
    run(
        "train DATA/tinyshakespeare/train.txt --valid DATA/tinyshakespeare/valid.txt --carry --budget 120s "
        "--output shakespeare --quiet"
    )
    took = run.seconds
    valid = run.measures("shakespeare", "DATA/tinyshakespeare/valid.txt")
    yield f"{run.shape('shakespeare')}; the training command took {took:.0f} s in all."
    yield table(
        ("text", "nats per symbol", "target", "bits per byte", "symbols"),
        (
            "valid, whole, state carried",
            f"**{valid['nats_per_symbol']:.4f}**",
            "1.65",
            f"{valid['bits_per_byte']:.4f}",
            f"{valid['symbols']:,}",
        ),
    )
    yield quoted(run("sample shakespeare --lines 8 --temperature 0.8"))


def wikitext(run: Session) -> Iterator[str]:
    run(
        "train DATA/wikitext-2/train.txt --valid DATA/wikitext-2/valid.txt --unit word --carry --unk-token <unk> "
        "--budget 300s --output wikitext --quiet"
    )
    took, memory = run.seconds, run.memory
    test = run.measures("wikitext", "DATA/wikitext-2/test.txt")
    measuring, measuring_memory = run.seconds, run.memory
    vocabulary = json.loads(self_quietly(run, "show wikitext --json"))["vocabulary"]
    yield (
        f"{run.shape('wikitext')}; vocabulary {vocabulary:,}. The training command took {took:.0f} s in all and "
        f"**{memory:.2f} GiB** at its peak (target: 4 GB), measuring {measuring:.0f} s and {measuring_memory:.2f} GiB."
    )
    yield table(
        ("text", "perplexity per word", "symbols", "unknown", "without unknowns"),
        ("test", f"{test['perplexity']:.1f}", f"{test['symbols']:,}", f"{test['unknown']:,}", f"{test['perplexity_known']:.1f}"),
    )


def tang(run: Session) -> Iterator[str]:
    run("train DATA/tang-poems/all.txt --carry --budget 180s --output tang --quiet")
    held_out = json.loads(run("eval tang --json"))
    yield f"{run.shape('tang')}; perplexity of the held-out tenth {held_out['perplexity']:.1f} per character."
    yield quoted(run("sample tang --lines 4 --count 3 --temperature 0.8"))


SECTIONS: dict[str, tuple[str, Callable[[Session], Iterator[str]]]] = {
    "names": ("Names in a minute, no option given", names),
    "tinyshakespeare": ("tinyshakespeare in two minutes", tinyshakespeare),
    "wikitext-2": ("WikiText-2, words", wikitext),
    "tang-poems": ("Tang poems, four lines each", tang),
}


def table(*rows: tuple[str, ...]) -> str:
    """A Markdown table; the first row is its head."""
    head, *body = ("| " + " | ".join(row) + " |" for row in rows)
    return "\n".join([head, "|" + "---|" * len(rows[0]), *body])


def quoted(text: str) -> str:
    """Text as it came, in a block."""
    return f"```\n{text.rstrip()}\n```"


def machine() -> str:
    """Where and with what this was measured."""
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), ""
    )
    packages = ", ".join(f"{name} {metadata.version(name)}" for name in ("lmgen", "jax", "optax", "numpy"))
    return f"{os.cpu_count()} cores of {model or platform.machine()}; Python {platform.python_version()}, {packages}"


def section(name: str) -> str:
    """Measure one section."""
    title, measure = SECTIONS[name]
    with tempfile.TemporaryDirectory() as folder:
        run = Session(Path(folder))
        found = "\n\n".join(measure(run))
        commands = "\n".join(f"    {command}" for command in run.done)
    return f"## {title}\n\n{found}\n\nCommands:\n\n{commands}\n\nMeasured on {machine()}.\n"


def main() -> None:
    wanted = sys.argv[1:] or list(SECTIONS)
    if unknown := set(wanted) - set(SECTIONS):
        raise SystemExit(f"there is no section {', '.join(unknown)}: choose from {', '.join(SECTIONS)}")
    if not DATA.is_dir():
        raise SystemExit(f"the corpora for measuring are not in {DATA}: put them there or name their folder in LMGEN_DATA")
    for name in wanted:
        print(f"measuring {name} …", flush=True)
        marked = f"<!-- {name} -->\n{section(name)}<!-- end of {name} -->"
        text = RESULTS.read_text("utf-8")
        pattern = re.compile(f"<!-- {name} -->.*?<!-- end of {name} -->", re.S)
        text = pattern.sub(lambda _: marked, text) if pattern.search(text) else f"{text.rstrip()}\n\n{marked}\n"  # noqa: B023
        RESULTS.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
