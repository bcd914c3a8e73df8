"""Run the commands of README.md, README.zh.md, some pages of docs/ and the guides, and write their output below them.

    python benchmarks/readme.py [PAGE ...]

A ```console block has commands, each on a line that begins with "$ ", and their output. A command may fail where the page shows
its error. tests/cli/test_readme.py runs the commands with fewer steps.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = [
    *(ROOT / name for name in ("README.md", "README.zh.md")),
    *(ROOT / "docs" / name for name in ("start.md", "control.md", "texts.md")),
    *sorted(ROOT.glob("docs/guides/*.md")),
]
BLOCK = re.compile(r"```console\n(.*?)```", re.S)
MOST_LINES = 20  # of a command's output


def commands(page: str) -> list[tuple[str, bool]]:
    """The commands of a page, and whether each ends with an error."""
    found = [part for block in BLOCK.findall(page) for part in re.split(r"^\$ ", block, flags=re.M)[1:]]
    return [(part.partition("\n")[0], part.partition("\n")[2].startswith("lmgen: ")) for part in found]


def run(command: str, folder: Path, fails: bool) -> list[str]:
    """The lines of output of a command in a folder, with the lmgen of the running interpreter, those of stderr first."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(command, shell=True, cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True)
    if bool(done.returncode) != fails:
        raise SystemExit(f"{command}: exit code {done.returncode}\n{done.stderr}")
    return (done.stderr + done.stdout).rstrip().splitlines()


def filled(text: str, folder: str, changed: Callable[[str], str] = lambda command: command) -> str:
    """A page with the output of its commands, which are run as `changed` gives them."""

    def ran(match: re.Match[str]) -> str:
        lines = []
        for command, fails in commands(match[0]):
            output = run(changed(command), Path(folder), fails)
            shown = output if len(output) <= MOST_LINES else [*output[:3], "…", *output[-4:]]
            lines += [f"$ {command}", *(line.replace(folder, "…") for line in shown)]
            print(*lines[-1 - len(shown) :], sep="\n", flush=True)
        return "```console\n" + "\n".join(lines) + "\n```"

    return BLOCK.sub(ran, text)


def main() -> None:
    for page in [Path(name).resolve() for name in sys.argv[1:]] or PAGES:
        text = page.read_text("utf-8")
        with tempfile.TemporaryDirectory() as folder:
            page.write_text(filled(text, folder), "utf-8")


if __name__ == "__main__":
    main()
