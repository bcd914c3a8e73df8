"""Run the commands of docs/explain.md, write their output below them, measure its table and draw its pictures.

    python benchmarks/explain.py

Pictures of pages need Chromium and playwright.
"""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

from readme import BLOCK, commands, run
from report import DATA, ROOT, table, write

from lmgen.evaluation.novelty import Index, Matches

PAGE = ROOT / "docs" / "explain.md"
LENGTHS = (15, 20, 25, 30, 40, 50)
TEXTS = {  # a training text, and a text beside it or None: a tenth of its lines
    "tinyshakespeare": ("tinyshakespeare/train.txt", "tinyshakespeare/valid.txt"),
    "Tatoeba": ("tatoeba/all.txt", None),
    "WikiText-2": ("wikitext-2/train.txt", "wikitext-2/valid.txt"),
    "Dream of the Red Chamber": ("dream-of-the-red-chamber/all.txt", None),
    "SQLite (C)": ("sqlite3/sqlite3.c", None),
}
MOST = 1_500  # lines of a held-out text
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"]


def held_out(line: str) -> bool:
    return hashlib.sha256(line.encode()).digest()[0] < 26


def lines(name: str) -> list[str]:
    return [line for line in (DATA / name).read_text("utf-8-sig").split("\n") if line.strip()]


def shares() -> str:
    """The share of held-out text in spans of some lengths that the training text has."""
    rows = [("held-out text", *(f"{length} characters" for length in LENGTHS))]
    for title, (name, valid) in TEXTS.items():
        text = lines(name)
        train = text if valid else [line for line in text if not held_out(line)]
        test = lines(valid) if valid else [line for line in text if held_out(line)]
        index = Index(train)
        found = [Matches(index, line) for line in test[:MOST]]
        size = sum(len(one.text) for one in found)
        rows.append((title, *(f"{sum(one.shared(n) * len(one.text) for one in found) / size:.1%}" for n in LENGTHS)))
    return table(*rows)


def picture(page: Path, target: Path) -> None:
    """A page as Chromium draws it, with a symbol chosen."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        tab = browser.new_page(viewport={"width": 1000, "height": 620})
        tab.goto(page.as_uri())
        tab.focus("#text")
        for _ in range(12):
            tab.keyboard.press("ArrowRight")
        tab.evaluate("scrollTo(0, 0)")
        tab.screenshot(path=target)
        browser.close()


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text, filled = PAGE.read_text("utf-8"), []
        for block in BLOCK.findall(text):
            shown = []
            for command in commands(block):
                done = run(command.replace("DATA", str(DATA)), folder)
                shown += [f"$ {command}", *(line.rstrip() for line in (done.stderr + done.stdout).rstrip().splitlines())]
            print(*shown, sep="\n", flush=True)
            filled.append("```console\n" + "\n".join(shown) + "\n```")
        outputs = iter(filled)
        PAGE.write_text(BLOCK.sub(lambda _: next(outputs), text), "utf-8")
        names = [*lines(str(ROOT / "corpora" / "cities.txt"))[:400:50], "Springburg", "New Zürich", "qwertz"]
        (folder / "some.txt").write_text("\n".join(names) + "\n", "utf-8")
        run("lmgen explain cities some.txt -o page.html", folder)
        picture(folder / "page.html", PAGE.with_name("explain.png"))
        PAGE.with_name("curves.png").unlink(missing_ok=True)
        run(f"lmgen show cities --plot {PAGE.with_name('curves.png')}", folder)
    write("copied", shares() + "\n", PAGE)


if __name__ == "__main__":
    main()
