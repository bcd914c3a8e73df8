"""Compute and draw the behaviour of the cells: rewrites the marked parts of docs/networks.md and its figures.

    python benchmarks/networks.py [PART ...]

A part of the page lies between `<!-- its name -->` and `<!-- end of its name -->`. Drawing needs the extra `plot`; all random
numbers are seeded. Shapes: T time, B batch, D inputs, N cell size.
"""

from __future__ import annotations

import ast
import inspect
import io
import math
import re
import sys
from collections import Counter
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from networks_examples import EXAMPLES as WORKED
from networks_examples import number, order, states, step
from report import ROOT, table

from lmgen.data.vocab import EOS, Vocab
from lmgen.defaults.config import TrainingConfig
from lmgen.nn import cells, model, recurrence
from lmgen.nn.attention import Attention
from lmgen.nn.cells import CELLS
from lmgen.tasks import task_of
from lmgen.training import step as training_step

RECURRENT = [name for name, cell in CELLS.items() if not isinstance(cell, Attention)]
PAGE = ROOT / "docs" / "networks.md"


def code(name: str) -> str:
    """The docstring of a cell, which has its equations and its source, and its class without it."""
    found = type(CELLS[name]) if name in CELLS else getattr(cells, name)
    lines = inspect.getsource(found).splitlines()
    docstring = ast.parse("\n".join(lines)).body[0].body[0]
    del lines[docstring.lineno - 1 : docstring.end_lineno + (not lines[docstring.end_lineno])]
    said = re.sub("(?<=[,;.])  ", "\n", inspect.getdoc(found))  # equations that share a line stand two spaces apart
    return "\n".join(["```text", said, "```", "", "```python", *lines, "```"])


# ---- gradients ---------------------------------------------------------------------------------------------------------


FRESH, STEPS, TIMES = 32, 50, 8  # units, steps, networks
SHOWN = 1, 5, 10, 20, 50


@partial(jax.jit, static_argnums=0)
def jacobians(name: str, p: dict, before: dict, xs: jax.Array) -> jax.Array:
    """∂s_t / ∂s_{t-1} [T, M, M] of the whole state, by reverse mode through the time loop; `before` has the s_{t-1}."""

    def of_step(state: dict, x: jax.Array) -> jax.Array:
        flat, unravel = ravel_pytree(state)
        return jax.jacrev(lambda flat: ravel_pytree(step(name, p, unravel(flat), x))[0])(flat)

    return jax.vmap(of_step)(before, xs)


def gradient_norms(name: str, times: int = TIMES, change=lambda p: p) -> np.ndarray:
    """‖∂s_T / ∂s_{T-d}‖ for d = 0 … STEPS: the geometric mean over new networks with random inputs."""
    norms = np.ones((times, STEPS + 1))
    for seed, of in enumerate(norms):
        p = change(CELLS[name].init(jax.random.key(seed), FRESH, FRESH))
        inputs = np.random.default_rng(seed).normal(size=(2 * STEPS, 1, FRESH)).astype(np.float32)
        run = [CELLS[name].start(1, FRESH), *states(name, p, inputs, FRESH)][STEPS:-1]
        before = jax.tree.map(lambda *s: jnp.stack(s), *run)
        J = np.asarray(jacobians(name, p, before, CELLS[name].inputs(p, inputs[STEPS:], jnp.matmul)), np.float64)
        product = np.eye(J.shape[-1])
        for d in range(1, STEPS + 1):
            product = product @ J[-d]
            of[d] = np.linalg.norm(product, 2)
    return np.exp(np.log(np.maximum(norms, 1e-300)).mean(axis=0))


def shown(name: str, norms: np.ndarray) -> tuple[str, ...]:
    """A row of a table."""
    return (name, *(order(norms[d]) if norms[d] > 1e-299 else "0" for d in SHOWN))


def vanishing() -> str:
    norms = {name: gradient_norms(name) for name in RECURRENT}
    draw_gradients(norms)
    rows = [shown(f"`{name}`", norms[name]) for name in sorted(norms, key=lambda name: -norms[name][10])]
    return (
        "![The norm of the derivative against the distance, for seven cells and a network with large weights](gradients.png)\n\n"
        f"{table(('cell', '1 step', *(f'{d} steps' for d in SHOWN[1:])), *rows)}\n\n"
        f"Spectral norms; the geometric mean of {TIMES} networks of {FRESH} units with new weights and random inputs."
    )


def forgetful() -> str:
    rows = []
    for bias in (-1, 0, 1, 2, 3):
        norms = gradient_norms("lstm", change=lambda p, bias=bias: p | {"b": p["b"].at[FRESH : 2 * FRESH].set(bias)})
        rows.append((number(bias), *shown(number(1 / (1 + math.exp(-bias))), norms)))
    return table(("forget bias", "σ(bias)", "1 step", *(f"{d} steps" for d in SHOWN[1:])), *rows)


def both_ways(T: int, N: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """∂L/∂U of an Elman network by back-propagation and by real-time recurrent learning; L is a random sum of all outputs."""
    rng = np.random.default_rng(T)
    U, xs, cotangents = rng.normal(size=(N, N)) * N**-0.5, rng.normal(size=(T, N)), rng.normal(size=(T, N))
    with jax.enable_x64(True):
        start, forget = {"h": jnp.zeros((1, N))}, jnp.zeros((T, 1), bool)
        run = partial(recurrence.run, CELLS["elman"], state=start, xs=jnp.asarray(xs)[:, None], forget=forget, precision="f32")
        back = jax.grad(lambda U: (run({"U": U})[1][:, 0] * cotangents).sum())(jnp.asarray(U))
    h, J, forward = np.zeros(N), np.zeros((N, N, N)), np.zeros((N, N))  # J[k, i, j] = ∂h_k / ∂U_ij
    for x, cotangent in zip(xs, cotangents, strict=True):
        direct = np.einsum("i,jk->kij", h, np.eye(N))
        h = np.tanh(x + h @ U)
        J = (1 - h**2)[:, None, None] * (direct + np.einsum("lk,lij->kij", U, J))
        forward += np.einsum("k,kij->ij", cotangent, J)
    return np.asarray(back), forward


def real_time() -> str:
    rows = []
    for T in (10, 100, 1000):
        back, forward = both_ways(T)
        rows.append((number(T), order(np.linalg.norm(back)), order(abs(back - forward).max() / abs(back).max())))
    return table(("steps", "‖∂L/∂U‖", "greatest difference, relative to the greatest entry"), *rows)


# ---- agreement ---------------------------------------------------------------------------------------------------------


NOUNS = ("cat", "cats"), ("dog", "dogs"), ("horse", "horses"), ("child", "children"), ("bird", "birds"), ("friend", "friends")
FILLERS = ["in", "the", "old", "town", "by", "night", "often", "seen", "near", "a", "green", "gate", *sum(NOUNS, ())]
VERBS = "was", "were"
WORDS = Vocab.of(Counter([*FILLERS, *VERBS, ",", "which"]), "word")
SIZES = {"elman": 68, "gru": 38, "lstm": 32}
GAPS, MIXTURE, SEEDS, LEARNT, COLUMNS, TESTED = (16, 32, 48, 64), (0, 8, 16, 32, 64), (0, 1, 2), 3000, 16, 1000


def windows(rng: np.random.Generator, gaps: tuple[int, ...], columns: int) -> np.ndarray:
    """Ids [T + 1, columns]: in each column one sentence of every gap, in random order, between EOS and EOS.

    The gap is the number of words between the subject and its verb.
    """
    lengths = rng.permuted(np.tile(gaps, (columns, 1)), axis=1).ravel() + 4  # "the", the subject, the verb and EOS
    ends, many, long = np.cumsum(lengths), rng.integers(2, size=lengths.size), lengths > 4
    begins, nouns = ends - lengths, np.array([[WORDS.ids[word] for word in pair] for pair in NOUNS])
    ids = rng.choice([WORDS.ids[word] for word in FILLERS], ends[-1])
    ids[begins[long] + 2] = ids[ends[long] - 3] = WORDS.ids[","]
    ids[begins[long] + 3] = WORDS.ids["which"]
    ids[begins], ids[begins + 1] = WORDS.ids["the"], nouns[rng.integers(len(nouns), size=many.size), many]
    ids[ends - 2], ids[ends - 1] = np.array([WORDS.ids[verb] for verb in VERBS])[many], EOS
    return np.concatenate([np.full((1, columns), EOS), ids.reshape(columns, -1).T]).astype(np.int32)


def trained(cell: str, gaps: tuple[int, ...], seed: int, steps: int = LEARNT) -> tuple[model.NetworkConfig, dict]:
    """A network trained on windows of sentences with these gaps."""
    network = model.NetworkConfig(len(WORDS), cell, size=SIZES[cell], embedding=16)
    config = TrainingConfig(COLUMNS, sum(gaps) + 4 * len(gaps), learning_rate=0.005, steps=steps, weight_decay=0.0, seed=seed)
    task = task_of(network, config.precision)
    state, rng, begins = training_step.begin(task, config), np.random.default_rng(seed), np.ones(COLUMNS, bool)
    for k in range(steps):
        window, rate = windows(rng, gaps, COLUMNS), config.rate(k, k / steps)
        state, *_ = training_step.step(task, config.optimiser, state, task.batch(window, begins), rate, k)
    return network, state.params


def right(network: model.NetworkConfig, params: dict, gap: int) -> float:
    """The share of new sentences with this gap in which the right verb is the more probable one."""
    *read, verb, _ = windows(np.random.default_rng(1_000_000), (gap,), TESTED)
    _, hs = jax.jit(model.read, static_argnums=(0, 1))(network, "f32", params, model.start(network, TESTED), np.stack(read))
    was, were = np.asarray(model.logits(params, hs[-1], "f32"))[:, [WORDS.ids[verb] for verb in VERBS]].T
    return float(((were > was) == (verb == WORDS.ids["were"])).mean())


def sentences() -> str:
    rng = np.random.default_rng(1)
    return "\n".join(["```text", *(WORDS.decode(windows(rng, (gap,), 1)[1:, 0]) for gap in (0, 0, 8, 16)), "```"])


def agreement() -> str:
    alone = {cell: np.array([[right(*trained(cell, (0, gap), seed), gap) for gap in GAPS] for seed in SEEDS]) for cell in SIZES}
    draw_agreement(alone)
    rows = []
    for cell in SIZES:
        networks = [trained(cell, MIXTURE, seed) for seed in SEEDS]
        shares = [*alone[cell].T, np.array([right(*network, MIXTURE[-1]) for network in networks])]
        ranges = [[f"{100 * x:.0f}" for x in (s.mean(), s.min(), s.max())] for s in shares]
        texts = [f"{mean} %" if least == most else f"{mean} % ({least}–{most})" for mean, least, most in ranges]
        rows.append((f"`{cell}`", f"{model.parameters(networks[0][1]):,}", *texts))
    head = ("cell", "parameters", *(f"gap {gap}" for gap in GAPS), f"gap {MIXTURE[-1]}, after all gaps")
    return (
        f"![The share of sentences with the right verb, against the gap](agreement.png)\n\n{table(head, *rows)}\n\n"
        f"The mean over {len(SEEDS)} seeds, with the range if they differ, on {TESTED:,} new sentences each. Every network was "
        f"trained for {LEARNT:,} steps of {COLUMNS} columns; for the last column with the gaps {', '.join(map(str, MIXTURE))}."
    )


# ---- figures -----------------------------------------------------------------------------------------------------------


def colour(name: str) -> str:
    """The colour of a cell's family: Okabe and Ito's, which colour-blind readers can distinguish."""
    gru = cells.GRU, cells.ResetBeforeGRU, cells.SimpleGRU
    colours = {cells.LSTM: "#0072B2", gru: "#D55E00", cells.LinearCell: "#009E73", cells.TDNN: "#AA6699", cells.Cell: "#555555"}
    return next(shade for kinds, shade in colours.items() if isinstance(CELLS[name], kinds))


def canvas(rows: int, columns: int, height: float):
    """A figure and its axes, for a width of 800 pixels or more."""
    from matplotlib import pyplot

    pyplot.switch_backend("Agg")
    pyplot.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": "#888888", "font.size": 10})
    return pyplot.subplots(rows, columns, figsize=(9, height), sharex=True, sharey=True, layout="constrained")


def save(figure, name: str) -> None:
    """Save as a PNG of 64 colours: a third of the size."""
    from PIL import Image

    figure.savefig(drawn := io.BytesIO(), dpi=180)
    Image.open(drawn).convert("RGB").quantize(64, dither=Image.Dither.NONE).save(PAGE.parent / name, optimize=True)


def label_end(axes, name: str, x, y, shade: str, up: float = 0.0) -> None:
    """Write the name of a line at its end, `up` points above it."""
    place = {"xytext": (7, up), "textcoords": "offset points", "va": "center"}
    axes.annotate(name, (x[-1], y[-1]), color=shade, fontweight="bold", annotation_clip=False, **place)


def left(name: str, size: int = 64, steps: int = 30, columns: int = 16) -> np.ndarray:
    """‖s_t‖ / ‖s_0‖ of the state after random inputs at time 0 and none later, with new weights."""
    p, inputs = CELLS[name].init(jax.random.key(0), size, size), np.zeros((steps + 1, columns, size))
    inputs[0] = np.random.default_rng(0).normal(size=(columns, size))
    norms = np.array([math.hypot(*map(np.linalg.norm, s.values())) for s in states(name, p, inputs, size)])
    return norms / norms[0]


def impulses() -> str:
    shares = {name: left(name) for name in RECURRENT}
    figure, panels = canvas(-(-len(shares) // 5), 5, 5.6)
    for axes, name in zip(panels.flat, sorted(shares, key=lambda name: -shares[name][10]), strict=False):
        (some,), shade = np.nonzero(shares[name]), colour(name)
        axes.axhline(1, color="#cccccc", linewidth=0.8)
        axes.plot(some, shares[name][some], color=shade, linewidth=2)
        axes.set(yscale="log", ylim=(1e-3, 20), xlim=(0, 30), xticks=[0, 10, 20, 30])
        axes.set_yticks([1e-3, 1e-2, 0.1, 1, 10], ["0.1 %", "1 %", "10 %", "100 %", "1000 %"])
        axes.minorticks_off()
        axes.set_title(name, color=shade, fontweight="bold", fontsize=10)
        if len(some) < len(shares[name]):
            label_end(axes, "then nothing", some, shares[name][some], shade)
    figure.supxlabel("steps after the input", fontsize=10)
    figure.supylabel("what is left in the state", fontsize=10)
    save(figure, "impulses.png")
    return (
        "![How much of one input remains in the state of each cell over the next 30 steps](impulses.png)\n\n"
        "Each cell has 64 units and new weights. An input is 64 random numbers; the norms are those of 16 inputs together."
    )


def draw_gradients(norms: dict[str, np.ndarray]) -> None:
    names = "lstm-no-forget", "narx", "lstm", "gru", "min-gru", "elman", "jordan"
    lines = {name: (norms[name], colour(name)) for name in names}
    lines["elman-linear, U doubled"] = gradient_norms("elman-linear", change=lambda p: p | {"U": 2 * p["U"]}), "#000000"
    figure, axes = canvas(1, 1, 4.6)
    axes.axhline(1, color="#bbbbbb", linewidth=0.8)
    for name, (line, shade) in lines.items():
        (some,) = np.nonzero(line > 1e-18)
        axes.plot(some, line[some], color=shade, linewidth=2)
        label_end(axes, name, some, line[some], shade, up=8 if len(some) <= STEPS else 0)
    axes.set(yscale="log", ylim=(1e-18, 1e6), xlim=(0, 1.32 * STEPS), xticks=range(0, STEPS + 1, 10))
    axes.set(xlabel="distance T − t", ylabel=r"$\|\partial s_T\,/\,\partial s_t\|$")
    save(figure, "gradients.png")


def draw_agreement(shares: dict[str, np.ndarray]) -> None:
    """The mean over the seeds as a line, each seed as a point."""
    figure, axes = canvas(1, 1, 4)
    axes.axhline(50, color="#bbbbbb", linewidth=0.8)
    axes.text(GAPS[0], 48.5, "chance", color="#777777", va="top")
    for k, (cell, some) in enumerate(shares.items()):
        percent, shade, places = 100 * some, colour(cell), np.array(GAPS) + 0.5 * (k - 1)
        axes.plot(places, percent.mean(axis=0), color=shade, linewidth=2, zorder=3 - k)
        axes.plot(places, percent.T, "o", color=shade, markersize=6, alpha=0.6, markeredgewidth=0)
        label_end(axes, cell, [GAPS[-1] + 0.5], percent.mean(axis=0), shade)
    axes.set(ylim=(40, 103), xlim=(GAPS[0] - 2, 1.08 * GAPS[-1]), xticks=GAPS, yticks=range(40, 101, 10))
    axes.set(xlabel="words between the subject and its verb", ylabel="right verb the likelier one, %")
    save(figure, "agreement.png")


# ---- the page ----------------------------------------------------------------------------------------------------------


EXAMPLES = WORKED | {"sentences": sentences}
PARTS = EXAMPLES | {part.__name__: part for part in (impulses, vanishing, forgetful, real_time, agreement)}
MARKED = re.compile(r"<!-- (?P<name>[\w-]+) -->\n(?P<content>.*?)\n?<!-- end of (?P=name) -->", re.S)


def computed(name: str) -> str:
    """A part, computed anew: code-CELL, or one of PARTS."""
    return code(name.removeprefix("code-")) if name.startswith("code-") else PARTS[name]()


def main() -> None:
    page = PAGE.read_text("utf-8")
    names = [match["name"] for match in MARKED.finditer(page)]
    wanted = sys.argv[1:] or names
    if unknown := set(wanted) - set(names):
        raise SystemExit(f"the page has no part {', '.join(unknown)}: choose from {', '.join(names)}")

    def renewed(match: re.Match[str]) -> str:
        if (name := match["name"]) not in wanted:
            return match[0]
        print(f"{name} …", flush=True)
        return f"<!-- {name} -->\n{computed(name)}\n<!-- end of {name} -->"

    PAGE.write_text(MARKED.sub(renewed, page), "utf-8")


if __name__ == "__main__":
    main()
