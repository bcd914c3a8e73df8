"""Measure exported models: size, speed, and how far their nats are from those of lmgen. Writes a section of RESULTS.md.

The model is a default one of the corpus cities. A format is measured where `RUN` says how; the browser is Chromium, by
playwright.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from report import ROOT, Commands, main, table

import lmgen
from lmgen.exporting.table import TARGETS, held_by

TEXTS, LINES = 1_000, 200  # texts written, lines scored
NETWORK = "network.py"  # the program of the network alone
WRITES = """(count) => {
  const begun = performance.now(), texts = Array.from({length: count}, (_, k) => Array.from(written([], 1, k), ({id}) => id));
  return [texts.map(decode), 1000 * texts.flat().length / (performance.now() - begun)];
}"""
SCORES = "(lines) => lines.map((line) => Array.from(scored(encode(line)), ({id, p}) => -Math.log(p[id])))"


class Measured(NamedTuple):
    """The texts for a seed, the symbols a second that took, and −ln p of every symbol of each line."""

    texts: list[str]
    speed: float
    nats: list[list[float]]


def of_program(path: Path, lines: list[str], instead: Mapping[str, Any] | None = None) -> Measured:
    """A program, imported here, in which the definitions in `instead` replace its own."""
    spec = importlib.util.spec_from_file_location("exported", path)
    if not (spec and spec.loader):
        raise SystemExit(f"{path} is no module")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    vars(module).update(instead or {})
    begun = time.perf_counter()
    texts = module.sample(TEXTS, seed=1)
    speed = sum(len(text) + 1 for text in texts) / (time.perf_counter() - begun)
    return Measured(texts, speed, [[nats for _, nats in module.score(line)] for line in lines])


def of_torch(path: Path, lines: list[str]) -> Measured:
    """A directory of PyTorch, as the program in it, with one thread."""
    import torch

    torch.set_num_threads(1)
    return of_program(path / "model.py", lines)


def of_onnx(path: Path, lines: list[str]) -> Measured:
    """An ONNX file by ONNX Runtime, one symbol a call and one thread, in the program in NumPy."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, settings)
    zeros = {one.name: np.zeros((1, one.shape[1]), np.float32) for one in session.get_inputs() if one.name != "ids"}

    def read(states: dict[str, np.ndarray], id: int, by: float) -> tuple[dict[str, np.ndarray], np.ndarray]:
        log_p, *after = session.run(None, {"ids": np.array([[id]]), **states})
        return dict(zip(zeros, after, strict=True)), log_p[0, 0]

    return of_program(path.with_name(NETWORK), lines, {"READERS": {"network": (lambda: zeros, read)}})


def of_page(path: Path, lines: list[str]) -> Measured:
    """A page in Chromium, without a network."""
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
    with sync_playwright() as run:
        browser = run.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
        page = browser.new_context(offline=True).new_page()
        page.goto(path.absolute().as_uri())
        found = Measured(*page.evaluate(WRITES, TEXTS), page.evaluate(SCORES, lines))
        browser.close()
    return found


RUN: dict[str, Callable[[Path, list[str]], Measured]] = {
    "html": of_page,
    "numpy": of_program,
    "onnx": of_onnx,
    "torch": of_torch,
}
VARIANTS = {"html": ("--bits 16", "--bits 8")}  # options of a format that change what is measured


def export(run: Commands) -> Iterator[str]:
    run("train cities -o cities --seed 1 --quiet --budget 2m")
    run(f"export cities --no-mixture --format numpy -o {NETWORK}")
    yield f"{run.shape('cities')}. A page and a program in NumPy hold the first network and the n-grams, the others that network."
    model = lmgen.load(run.folder / "cities", "f32")
    lines = (ROOT / "corpora" / "cities.txt").read_text("utf-8").splitlines()[:LINES]
    rows = [("format", "bytes", "symbols a second", "other texts", "mean difference in nats", "largest")]
    for format in TARGETS:
        held = lmgen.Model(held_by(model.lm, format))
        expected = [[nats for _, nats in score.symbols] for score in held.score(lines)]
        texts = [sample.text for sample in held.sample(TEXTS, seed=1)]
        for options in VARIANTS.get(format, ("",)):
            path = run.folder / f"exported-{format}{options.replace(' ', '')}{TARGETS[format].suffix}"
            run(f"export cities --format {format} {options} -o {path.name}".replace("  ", " "))
            parts = [path] if path.is_file() else [part for part in path.rglob("*") if part.is_file()]
            row = [f"{format} {options}".strip(), f"{sum(part.stat().st_size for part in parts):,}"]
            rows.append((*row, *measured(RUN[format](path, lines), texts, expected)) if format in RUN else (*row, *[""] * 4))
    yield table(*rows)
    yield (
        f"Symbols a second, and how many of {TEXTS:,} texts, written one after the other, are not those that lmgen writes for "
        f"the seed with the same parts. Differences in nats: over the symbols of {LINES} lines of the corpus. lmgen computes "
        "with 32 bits."
    )


def measured(found: Measured, texts: list[str], expected: list[list[float]]) -> tuple[str, str, str, str]:
    """The speed, how many texts differ, and the differences of the nats."""
    others = sum(one != other for one, other in zip(found.texts, texts, strict=True))
    differences: Any = np.abs(np.concatenate(found.nats) - np.concatenate(expected))
    return f"{found.speed:,.0f}", f"{others:,}", f"{differences.mean():.1e}", f"{differences.max():.1e}"


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main({"export": ("Exported models", export)}, data=False)
