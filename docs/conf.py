"""The pages of docs/ as a site, and the manual pages of the commands (`make docs`, `make man`)."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from lmgen import __version__  # noqa: E402
from lmgen.cli.main import cli  # noqa: E402

project, author, copyright = "lmgen", "the authors of lmgen", "the authors of lmgen"
version = release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_click"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"lmgen {__version__}"
html_show_sourcelink = False
default_role = "code"
smartquotes = False
nitpicky = False
myst_heading_anchors = 4
myst_enable_extensions = ["dollarmath"]
autodoc_member_order = "bysource"
autodoc_typehints = "description"
suppress_warnings = ["myst.header"]  # sections of RESULTS.md begin at the second level
pygments_style, pygments_dark_style = "friendly", "github-dark"

# Pages of the repository that the site has, too, by their names there. What else lies outside of docs/ can be downloaded.
OUTSIDE = {
    "benchmarks/RESULTS.md": "results.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "README.zh.md": "chinese.md",
    "README.md": "index.md",
}


def commands(group: Any = cli, before: tuple[str, ...] = ("lmgen",)) -> dict[tuple[str, ...], Any]:
    """All commands by their words."""
    found = {before: group}
    for name, command in getattr(group, "commands", {}).items():
        found |= commands(command, (*before, name))
    return found


man_pages = [
    (f"reference/commands/{'-'.join(words)}", "-".join(words), command.get_short_help_str(200).rstrip("."), author, 1)
    for words, command in commands().items()
]


def written(path: Path, text: str) -> None:
    """Write a page if it has changed, so that others need not be built again."""
    path.parent.mkdir(exist_ok=True)
    if not path.exists() or path.read_text("utf-8") != text:
        path.write_text(text, "utf-8")


def write_pages(app: Any) -> None:
    """Write a page for each command, which sphinx-click fills, and those from outside of docs/."""
    for words, command in commands().items():
        name = " ".join(words)
        module = f"{command.callback.__module__}:{command.callback.__name__}"
        page = f".. click:: {module}\n   :prog: {name}\n   :nested: none\n"
        written(Path(app.srcdir, "reference", "commands", f"{'-'.join(words)}.rst"), page)
    for name, page in OUTSIDE.items():
        if page != "index.md":
            written(Path(app.srcdir, page), moved((ROOT / name).read_text("utf-8"), Path(name).parent, Path("docs")))


def moved(text: str, old: Path, new: Path) -> str:
    """A page whose links are those of another folder."""

    def link(match: re.Match[str]) -> str:
        path = os.path.normpath(old / match[1])
        target = os.path.relpath(f"docs/{OUTSIDE[path]}" if path in OUTSIDE else path, new)
        return f"]({target}{match[2] or ''})"

    return re.sub(r"\]\((?!https?:|#)([^)#\s]+)(#[^)\s]*)?\)", link, text)


def link_inside(app: Any, name: str, source: list[str]) -> None:
    """Let links to pages that the site has, too, lead there."""
    folder = Path("docs", name).parent
    if f"{name}.md" not in OUTSIDE.values():
        source[0] = moved(source[0], folder, folder)


def escape(app: Any, *more: Any) -> None:
    """Stars and a last underscore are what they are: the project's own text has no markup but code."""
    lines = next(part for part in reversed(more) if isinstance(part, list))
    lines[:] = [re.sub(r"(?<!`)\*|(?<=\w)_(?=\W|$)", r"\\\g<0>", line) for line in lines]


def add_examples(app: Any, context: Any, lines: list[str]) -> None:
    """End the page of a command as its help ends."""
    lines += [".. rubric:: Examples", "", ".. code::", "", *(f"   {example}" for example in context.command.examples), ""]


def setup(app: Any) -> None:
    app.connect("builder-inited", write_pages)
    app.connect("source-read", link_inside)
    for event in (
        "autodoc-process-docstring",
        *(f"sphinx-click-process-{part}" for part in ("description", "options", "arguments")),
    ):
        app.connect(event, escape)
    app.connect("sphinx-click-process-epilog", add_examples)
