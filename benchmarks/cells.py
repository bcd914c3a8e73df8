"""Compare all cells with equal parameters, time and text: writes a table and a plot into benchmarks/RESULTS.md.

    python benchmarks/cells.py [--draw]

Each cell gets the size that brings its model closest to the parameters of the default LSTM, with attention a multiple of a
head's; other options have their defaults, which were tuned with LSTMs. The results are kept in benchmarks/cells.json; --draw
draws them again. Needs matplotlib and the corpora for measuring; takes about 40 minutes.
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

from lmgen.defaults.language import BLOCKS
from lmgen.nn import model
from lmgen.nn.attention import HEAD
from lmgen.nn.cells import CELLS

FOUND = ROOT / "benchmarks" / "cells.json"
PLOT = ROOT / "benchmarks" / "cells.png"


@dataclass(frozen=True)
class Trial:
    """A training text with its options, the seconds of training, and a test text that no choice depends on."""

    name: str
    train: str
    test: str
    budget: int


TRIALS = (
    Trial("names", "DATA/names/train.txt --valid DATA/names/valid.txt", "DATA/names/test.txt", 40),
    Trial("tinyshakespeare", "DATA/tinyshakespeare/train.txt --carry", "DATA/tinyshakespeare/valid.txt", 60),
)


def parameters(cell: str, size: int, like: dict) -> int:
    """The parameters of a model with another cell and size, and the defaults of that cell."""
    layers, embedding = (BLOCKS.get(cell, 1), size) if CELLS[cell].normalises else (like["layers"], like["embedding"])
    config = model.NetworkConfig(like["vocabulary"], cell, size, layers, embedding, like["tie"])
    return model.parameters(jax.eval_shape(lambda key: model.init(config, key), jax.random.key(0)))


def nearest_size(cell: str, like: dict) -> int:
    """The size at which a cell's model has the closest number of parameters to another model."""
    sizes = range(HEAD, 4096, HEAD) if CELLS[cell].normalises else range(1, 4096)
    above = bisect.bisect_left(sizes, like["parameters"], lo=1, key=lambda size: parameters(cell, size, like))
    return min(sizes[above - 1 : above + 1], key=lambda size: abs(parameters(cell, size, like) - like["parameters"]))


def measured(run: Commands, trial: Trial) -> Iterator[dict]:
    """A row for each cell, the default LSTM first."""
    like: dict | None = None
    for cell in CELLS:
        size = (f" --size {nearest_size(cell, like)}" if like else "") + (" --layers 1" if cell not in BLOCKS else "")
        name = f"{trial.name}-{cell}"
        print(f"{name} …", flush=True)
        try:
            run(f"train {trial.train} --cell {cell}{size} --budget {trial.budget}s --output {name} --quiet")
        except Failed as failure:
            yield {"task": trial.name, "cell": cell, "failure": str(failure)}
            continue
        facts = json.loads(quietly(run, f"show {name} --json"))
        like = like or facts
        lines = [json.loads(line) for line in (run.folder / name / "metrics.jsonl").read_text().splitlines()]
        yield {
            "task": trial.name,
            "cell": cell,
            "size": facts["size"],
            "parameters": facts["parameters"],
            "nats_per_symbol": run.measures(name, trial.test)["nats_per_symbol"],
            "symbols_per_second": statistics.median(line["symbols_per_second"] for line in lines[1:] or lines),
            "symbols": lines[-1]["symbols"],
        }


def section(rows: list[dict]) -> Iterator[str]:
    """The table, the best on the last text first, and the plot."""
    by = {(row["task"], row["cell"]): row for row in rows}
    times = ", ".join(f"{trial.budget} s for {trial.name}" for trial in TRIALS)
    yield (
        "Each cell has one layer, the transformer four, of the size that gives its model as many parameters as the default "
        f"LSTM, and the same time: {times}. All other options have their defaults, which were tuned with LSTMs, the learning "
        "rate included. No choice used the test texts: the test part of names, and valid.txt of tinyshakespeare, where a part of "
        "train.txt was held out for validation. One run each; on a shared machine the speed varies by tens of per cent."
    )
    head = ["cell"] + [
        f"{trial.name}: {measure}" for trial in TRIALS for measure in ("size", "nats per symbol", "symbols/s", "symbols read")
    ]
    body = []
    for cell in sorted({row["cell"] for row in rows}, key=lambda cell: by[TRIALS[-1].name, cell].get("nats_per_symbol", 99)):
        cells = [cell]
        for trial in TRIALS:
            row = by[trial.name, cell]
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
    "attention": (("attention", "transformer"), "#f0a400", "P"),
    "simple": ("elman", "#555555", "D"),
    "delays and outputs": ("", "#cc79a7", "v"),
}


def draw(rows: list[dict]) -> None:
    """Nats per symbol against symbols a second, a panel for each text; lower and further to the right is better."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    pyplot.rcParams |= {"font.size": 10, "axes.spines.top": False, "axes.spines.right": False}
    figure, panels = pyplot.subplots(1, len(TRIALS), figsize=(11, 5), layout="constrained")
    for panel, trial in zip(panels, TRIALS, strict=True):
        own = [row for row in rows if row["task"] == trial.name and "failure" not in row]
        for row in own:
            _, colour, mark = next(f for f in FAMILIES.values() if row["cell"].startswith(f[0]))
            panel.plot(row["symbols_per_second"], row["nats_per_symbol"], mark, color=colour, markersize=6)
        panel.set_xscale("log")
        panel.margins(0.15, 0.1)
        _label(panel, own)
        panel.set_title(f"{trial.name}, {trial.budget} s of training")
        panel.set_xlabel("symbols a second in training")
        panel.set_ylabel("nats per symbol on the test text")
        ticks = [t for t in (1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6) if panel.get_xlim()[0] <= t <= panel.get_xlim()[1]]
        panel.set_xticks(ticks, [f"{t:,.0f}" for t in ticks])
        panel.minorticks_off()
        panel.grid(alpha=0.25)
    figure.savefig(PLOT, dpi=110)


def _label(panel, rows: list[dict]) -> None:
    """Put each name beside its mark if it covers no other, else further away with a line to the mark."""
    panel.figure.canvas.draw()
    marks = [panel.transData.transform((row["symbols_per_second"], row["nats_per_symbol"])) for row in rows]
    boxes = [(x - 5, y - 5, x + 5, y + 5) for x, y in marks]
    inside = panel.get_window_extent()
    for row, (x, y) in zip(rows, marks, strict=True):
        width, height = 6.3 * len(row["cell"]), 12
        right, left, middle = x + 9, x - 9 - width, x - width / 2
        close = [(right, y - 6), (left, y - 6), (middle, y + 8), (middle, y - 20)]
        far = [(side, y - 6 + up) for up in (14, -14, 28, -28, 42, -42, 56, -56) for side in (right, left, middle)]

        def free(place, width=width, height=height):
            low, high = place, (place[0] + width, place[1] + height)
            fits = inside.x0 <= low[0] and high[0] <= inside.x1 and inside.y0 <= low[1] and high[1] <= inside.y1
            return fits and all(high[0] < b[0] or low[0] > b[2] or high[1] < b[1] or low[1] > b[3] for b in boxes)

        place = next((place for place in close + far if free(place)), close[0])
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
            rows = [row for trial in TRIALS for row in measured(run, trial)]
            found = {"rows": rows, "commands": run.done}
        FOUND.write_text(json.dumps(found, indent=1) + "\n")
    draw(found["rows"])
    run = Commands(ROOT, found["commands"])
    write("cells", section_of("Every cell, with as many parameters and as much time", section(found["rows"]), run))


if __name__ == "__main__":
    main()
