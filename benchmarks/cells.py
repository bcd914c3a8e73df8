"""All cells side by side: as many parameters, as much time, the same text; writes a table and a plot into benchmarks/RESULTS.md.

    python benchmarks/cells.py [--draw]

Each cell gets the size that brings its model nearest to the parameters of the LSTM of lmgen's defaults; all else is what lmgen
chooses, which was tried out with LSTMs. What was found is kept in benchmarks/cells.json; --draw draws it again. Needs matplotlib
and the corpora for measuring; takes about 35 minutes.
"""

from __future__ import annotations

import bisect
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jax
from report import ROOT, Commands, Failed, need_data, quietly, section_of, table, write

from lmgen.nn import model
from lmgen.nn.cells import CELLS

FOUND = ROOT / "benchmarks" / "cells.json"
PLOT = ROOT / "benchmarks" / "cells.png"


@dataclass(frozen=True)
class Task:
    """A text to learn, for how long, and another one to be measured on, which nothing was chosen by."""

    name: str
    train: str
    test: str
    budget: int


TASKS = (
    Task("names", "DATA/names/train.txt --valid DATA/names/valid.txt", "DATA/names/test.txt", 40),
    Task("tinyshakespeare", "DATA/tinyshakespeare/train.txt --carry", "DATA/tinyshakespeare/valid.txt", 60),
)


def parameters(cell: str, size: int, like: dict) -> int:
    """Of a model that is like another but for its cell and size."""
    config = model.NetworkConfig(like["vocabulary"], cell, size, like["layers"], like["embedding"], like["tie"])
    return model.parameters(jax.eval_shape(lambda key: model.init(config, key), jax.random.key(0)))


def nearest_size(cell: str, like: dict) -> int:
    """The size that brings a cell's model nearest to the parameters of another."""
    above = bisect.bisect_left(range(4096), like["parameters"], lo=1, key=lambda size: parameters(cell, size, like))
    return min((above - 1, above), key=lambda size: abs(parameters(cell, size, like) - like["parameters"]))


def measured(run: Commands, task: Task) -> Iterator[dict]:
    """A row for each cell, the LSTM of the defaults first."""
    like: dict | None = None
    for cell in CELLS:
        size = f" --size {nearest_size(cell, like)}" if like else ""
        name = f"{task.name}-{cell}"
        print(f"{name} …", flush=True)
        try:
            run(f"train {task.train} --cell {cell}{size} --budget {task.budget}s --output {name} --quiet")
        except Failed as failure:
            yield {"task": task.name, "cell": cell, "failure": str(failure)}
            continue
        facts = json.loads(quietly(run, f"show {name} --json"))
        like = like or facts
        lines = [json.loads(line) for line in (run.folder / name / "metrics.jsonl").read_text().splitlines()]
        yield {
            "task": task.name,
            "cell": cell,
            "size": facts["size"],
            "parameters": facts["parameters"],
            "nats_per_symbol": run.measures(name, task.test)["nats_per_symbol"],
            "symbols_per_second": statistics.median(line["symbols_per_second"] for line in lines[1:] or lines),
            "symbols": lines[-1]["symbols"],
        }


def found_in_words(rows: list[dict]) -> Iterator[str]:
    """The table, the best on the last task first, and the plot."""
    by = {(row["task"], row["cell"]): row for row in rows}
    times = ", ".join(f"{task.budget} s for {task.name}" for task in TASKS)
    yield (
        "Every cell has one layer, of the size that makes its model as large as the LSTM of the defaults, and the same time: "
        f"{times}. All else is what lmgen chooses by itself, the learning rate too; it was tried out with LSTMs. No choice saw "
        "the texts of the measures: for names that is the test part, for tinyshakespeare valid.txt, and a part of train.txt was "
        "held out for validation. One run each; the speed of a shared machine varies by tens of per cent."
    )
    head = ["cell"] + [
        f"{task.name}: {what}" for task in TASKS for what in ("size", "nats per symbol", "symbols/s", "symbols read")
    ]
    body = []
    for cell in sorted(CELLS, key=lambda cell: by[TASKS[-1].name, cell].get("nats_per_symbol", 99)):
        cells = [cell]
        for task in TASKS:
            row = by[task.name, cell]
            if "failure" in row:
                cells += ["–", "diverged", "–", "–"]
            else:
                nats, speed, read = row["nats_per_symbol"], row["symbols_per_second"], row["symbols"]
                cells += [f"{row['size']}", f"{nats:.4f}", f"{speed:,.0f}", f"{read / 1e6:.1f} M"]
        body.append(tuple(cells))
    yield table(tuple(head), *body)
    yield "![Nats per symbol against symbols a second, for every cell](cells.png)"


FAMILIES = {
    "LSTMs": ("lstm", "#0072b2", "o"),
    "GRUs": ("gru", "#d55e00", "s"),
    "parallel in time": ("min", "#009e73", "^"),
    "simple": ("elman", "#555555", "D"),
    "delays and outputs": ("", "#cc79a7", "v"),
}


def draw(rows: list[dict]) -> None:
    """Nats per symbol against symbols a second, a panel a task; lower and further to the right is better."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    pyplot.rcParams |= {"font.size": 10, "axes.spines.top": False, "axes.spines.right": False}
    figure, panels = pyplot.subplots(1, len(TASKS), figsize=(11, 5), layout="constrained")
    for panel, task in zip(panels, TASKS, strict=True):
        own = [row for row in rows if row["task"] == task.name and "failure" not in row]
        for row in own:
            _, colour, mark = next(f for f in FAMILIES.values() if row["cell"].startswith(f[0]))
            panel.plot(row["symbols_per_second"], row["nats_per_symbol"], mark, color=colour, markersize=6)
        panel.set_xscale("log")
        panel.margins(0.15, 0.1)
        _label(panel, own)
        panel.set_title(f"{task.name}, {task.budget} s of training")
        panel.set_xlabel("symbols a second in training")
        panel.set_ylabel("nats per symbol on the test text")
        ticks = [t for t in (1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6) if panel.get_xlim()[0] <= t <= panel.get_xlim()[1]]
        panel.set_xticks(ticks, [f"{t:,.0f}" for t in ticks])
        panel.minorticks_off()
        panel.grid(alpha=0.25)
    figure.savefig(PLOT, dpi=110)


def _label(panel, rows: list[dict]) -> None:
    """Each name beside its mark where it hides no other, or further away with a line that leads to it."""
    panel.figure.canvas.draw()
    marks = [panel.transData.transform((row["symbols_per_second"], row["nats_per_symbol"])) for row in rows]
    boxes = [(x - 5, y - 5, x + 5, y + 5) for x, y in marks]
    inside = panel.get_window_extent()
    for row, (x, y) in zip(rows, marks, strict=True):
        width, height = 6.3 * len(row["cell"]), 12
        right, left, middle = x + 9, x - 9 - width, x - width / 2
        near = [(right, y - 6), (left, y - 6), (middle, y + 8), (middle, y - 20)]
        far = [(side, y - 6 + up) for up in (14, -14, 28, -28, 42, -42, 56, -56) for side in (right, left, middle)]

        def free(place, width=width, height=height):
            low, high = place, (place[0] + width, place[1] + height)
            fits = inside.x0 <= low[0] and high[0] <= inside.x1 and inside.y0 <= low[1] and high[1] <= inside.y1
            return fits and all(high[0] < b[0] or low[0] > b[2] or high[1] < b[1] or low[1] > b[3] for b in boxes)

        place = next((place for place in near + far if free(place)), near[0])
        boxes.append((*place, place[0] + width, place[1] + height))
        offset = ((place[0] + width / 2 - x) * 72 / panel.figure.dpi, (place[1] + 6 - y) * 72 / panel.figure.dpi)
        leads = {"arrowstyle": "-", "color": "#999999", "linewidth": 0.7, "shrinkA": 0, "shrinkB": 3} if place in far else None
        at = (row["symbols_per_second"], row["nats_per_symbol"])
        panel.annotate(
            row["cell"], at, offset, textcoords="offset points", fontsize=8, ha="center", va="center", arrowprops=leads
        )


def main() -> None:
    if sys.argv[1:] not in ([], ["--draw"]):
        raise SystemExit(__doc__)
    if sys.argv[1:]:
        found = json.loads(FOUND.read_text())
    else:
        need_data()
        with tempfile.TemporaryDirectory() as folder:
            run = Commands(Path(folder))
            rows = [row for task in TASKS for row in measured(run, task)]
            found = {"rows": rows, "commands": run.done}
        FOUND.write_text(json.dumps(found, indent=1) + "\n")
    draw(found["rows"])
    run = Commands(ROOT, found["commands"])
    write("cells", section_of("Every cell, with as many parameters and as much time", found_in_words(found["rows"]), run))


if __name__ == "__main__":
    main()
