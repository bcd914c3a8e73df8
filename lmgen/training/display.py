"""Training as people watch it: a live panel on a terminal, elsewhere a line now and then."""

from __future__ import annotations

import contextlib
import math
import re
import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from lmgen.system.terminal import duration, note, plain, shown
from lmgen.training import notebook

if TYPE_CHECKING:
    from lmgen.defaults.config import StepReport
    from lmgen.training.run import Run

TIMES = (1, 2, 5, 10, 20, 30, 60)  # seconds after which a line is printed …
EVERY = 60  # … and the seconds between lines after that
BLOCKS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float], width: int, stream: Any) -> str:
    """Numbers as blocks of eight heights, at most `width`; empty for fewer than two numbers or a stream without blocks."""
    values = [value for value in values if math.isfinite(value)]
    if len(values) < 2 or width < 2 or shown(BLOCKS, stream) != BLOCKS:
        return ""
    columns = min(width, len(values))
    edges = [k * len(values) // columns for k in range(columns + 1)]
    means = [sum(values[low:high]) / (high - low) for low, high in pairwise(edges)]
    low, high = min(means), max(means)
    return "".join(BLOCKS[round(7 * (mean - low) / (high - low))] if high > low else BLOCKS[0] for mean in means)


class Panel:
    """Lines on a terminal that are redrawn in place, also after its width has changed."""

    def __init__(self) -> None:
        from rich.console import Console

        self.rich = Console(stderr=True, highlight=False)
        self.lengths: list[int] = []  # of the lines on the screen

    def draw(self, content: Any) -> None:
        """Replace the lines on the screen."""
        from rich.text import Text

        self.rich.width = max(2, shutil.get_terminal_size().columns) - 1  # after a full line some terminals start another
        with self.rich.capture() as drawn:
            self.rich.print(content)
        lines = re.sub(r" +$", "", drawn.get(), flags=re.M)  # a terminal that shrinks would wrap a padded line
        self.erase()
        self._write(lines)
        self.lengths = [Text.from_ansi(line).cell_len for line in lines.splitlines()]

    def erase(self) -> None:
        """Erase the lines. One that is wider than the terminal is by now takes several rows."""
        width = max(1, shutil.get_terminal_size().columns)
        rows = sum(max(1, -(-length // width)) for length in self.lengths)
        self._write("\r\x1b[2K" * bool(rows) + "\x1b[1A\x1b[2K" * rows)  # row by row: not all terminals can do it at once
        self.lengths = []

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError):  # a terminal that is gone does not end a training
            sys.stderr.write(text)
            sys.stderr.flush()


def panel() -> Panel | None:
    """A panel, where stderr is a terminal that takes escape codes."""
    return None if plain(sys.stderr) else Panel()


class Display(AbstractContextManager["Display"]):
    """The training in progress: a panel on a terminal, curves in a notebook, elsewhere a line now and then and one at the end;
    nothing if `quiet`."""

    def __init__(self, loss: Loss, quiet: bool = False):
        self.loss, self.quiet = loss, quiet
        self.page = None if quiet else notebook.here(loss)
        self.live = None if quiet or self.page else panel()
        self.drawn = 0.0
        self.began: float | None = None
        self.next = float(TIMES[0])
        self.waiting: StepReport | None = None  # not printed yet
        self.train: float | None = None
        self.valid: list[float] = []
        self.best: float | None = None
        self.sample = ""

    def __exit__(self, *_: object) -> None:
        if self.page:
            self.page.draw()
        elif self.live:
            self.live.erase()
        elif self.waiting:
            note(self._line(self.waiting))

    def note(self, message: str) -> None:
        """Print a sentence that stays on the screen."""
        if self.live:
            self.live.erase()
        note(message)

    def show(self, report: StepReport) -> None:
        """Show one report; without a panel, only if it is time for a line, and otherwise keep it for the end."""
        self.train = report.train_nats if report.train_nats is not None else self.train
        if report.valid_nats is not None:
            self.valid.append(report.valid_nats)
            self.best = report.valid_nats if report.best else self.best
        if self.page:
            self.page.show(report)
        elif self.live:
            if time.monotonic() - self.drawn > 0.2 or report.valid_nats is not None:
                self.live.draw(self._panel(report))
                self.drawn = time.monotonic()
        elif not self.quiet and report.train_nats is not None:
            self.began = report.seconds if self.began is None else self.began  # a resumed training has some already
            self.waiting = report
            if (passed := report.seconds - self.began) >= self.next:
                note(self._line(report))
                self.waiting = None
                self.next = next((t for t in TIMES if t > passed), (passed // EVERY + 1) * EVERY)

    def _line(self, report: StepReport) -> str:
        parts = [f"step {report.step:,}", duration(report.seconds), f"train {self.loss.trained(self.train)}"]
        if self.valid:
            parts.append(f"valid {self.loss.valid(self.valid[-1])}{' best' if self.valid[-1] == self.best else ''}")
        parts.append(f"{report.symbols_per_second:,.0f} symbols/s")
        if report.skipped:
            parts.append(f"{report.skipped} steps skipped")
        return ", ".join(parts)

    def _panel(self, report: StepReport) -> Any:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Column, Table
        from rich.text import Text

        left = report.seconds / report.progress - report.seconds if report.progress > 0.01 else None
        remaining = "" if left is None else f"{duration(left)} left"
        top = Table.grid(Column(no_wrap=True), Column(ratio=1), Column(no_wrap=True), padding=(0, 1), expand=True)
        top.add_row(f"{report.progress:4.0%}", ProgressBar(100, 100 * report.progress), remaining)
        body = Table.grid(padding=(0, 2))
        body.add_row("train", self.loss.trained(self.train))
        if self.valid:
            body.add_row("valid", self.loss.valid(self.valid[-1]))
            body.add_row("best", self.loss.valid(self.best))
        if line := sparkline(self.valid, shutil.get_terminal_size().columns - 10, sys.stderr):
            body.add_row("", line)
        skipped = f", {report.skipped} steps skipped" if report.skipped else ""
        body.add_row("step", f"{report.step:,}, {report.symbols_per_second:,.0f} symbols/s{skipped}")
        if self.sample:
            first = Text(shown(self.sample.split("\n")[0], sys.stderr), no_wrap=True, overflow="ellipsis", style="italic")
            body.add_row("sample", first)
        return Group(top, body)


LARGEST = 1_000_000  # perplexity that is printed


def perplexity(value: float, digits: int = 3) -> str:
    """A perplexity as people read it: beyond a million, digits mean nothing."""
    return f"{value:,.{digits}f}" if value <= LARGEST else f"over {LARGEST:,}"


@dataclass(frozen=True)
class Loss:
    """Nats per symbol in the measure usual for a unit: bits per character, or perplexity per word.

    Those of a cloze model are `pseudo`: not bits of the text. Held-out text may have fewer characters in a symbol.
    """

    unit: str
    characters_per_symbol: float
    pseudo: bool = False
    held_out: float | None = None
    sampled: bool = False  # whether training predicts among few symbols of all

    @classmethod
    def of(cls, run: Run) -> Loss:
        """For the model of a training."""
        if run.kind.per != "symbol":
            return cls(run.kind.per, 1.0)
        return replace(cls.on(run.data, run.kind.nats != "nats"), sampled=run.config.sampled > 0)

    @classmethod
    def on(cls, data: Any, pseudo: bool = False) -> Loss:
        """For a text."""
        held_out = data.valid.characters_per_symbol if data.valid else None
        return cls(data.vocab.unit, data.train.characters_per_symbol, pseudo, held_out)

    def trained(self, nats: float | None) -> str:
        """Nats per symbol of the training text, which say little where they are those of few symbols of all."""
        return self(nats) if nats is None or not self.sampled else f"{nats:.3f} nats among few symbols"

    def valid(self, nats: float | None) -> str:
        """Nats per symbol of the held-out text."""
        return replace(self, characters_per_symbol=self.held_out or self.characters_per_symbol)(nats)

    def __call__(self, nats: float | None) -> str:
        if nats is None:
            return "–"
        if self.pseudo:
            return f"{nats:.3f} pseudo-nats (pseudo-perplexity {perplexity(math.exp(min(nats, 50)), 2)})"
        if self.unit == "label":
            return f"{nats:.4f} nats a label"
        if self.unit in ("char", "subword"):
            return f"{nats:.3f} nats ({nats / math.log(2) / self.characters_per_symbol:.3f} bits/char)"
        return f"{nats:.3f} nats (perplexity {perplexity(math.exp(min(nats, 50)), 1)})"
