"""Run the commands of README.md and write their output below them; tests/cli/test_readme.py runs them with fewer steps.

A ```console block has commands, each on a line that begins with "$ ", and their output.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

README = Path(__file__).resolve().parent.parent / "README.md"
BLOCK = re.compile(r"```console\n(.*?)```", re.S)
MOST_LINES = 20  # of a command's output, the last ones


def commands(block: str) -> list[str]:
    """The commands of a block."""
    return [line[2:] for line in block.splitlines() if line.startswith("$ ")]


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run one command in a folder, with the lmgen of the running interpreter."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        command, shell=True, cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=True
    )


def main() -> None:
    text = README.read_text("utf-8")
    with tempfile.TemporaryDirectory() as folder:

        def filled(match: re.Match[str]) -> str:
            lines = []
            for command in commands(match[1]):
                done = run(command, Path(folder))
                output = (done.stderr + done.stdout).rstrip().splitlines()
                shown = output if len(output) <= MOST_LINES else [*output[:3], "…", *output[-4:]]
                lines += [f"$ {command}", *(line.replace(folder, "…") for line in shown)]
                print(*lines[-1 - len(shown) :], sep="\n", flush=True)
            return "```console\n" + "\n".join(lines) + "\n```"

        README.write_text(BLOCK.sub(filled, text), "utf-8")


if __name__ == "__main__":
    main()
