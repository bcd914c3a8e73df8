"""Worked examples of the cells for docs/networks.md, each computed in a moment; `networks.py` writes them into the page.

Shapes: T time, B batch, D inputs, N cell size.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from report import table

from lmgen.generation import transforms
from lmgen.nn import recurrence
from lmgen.nn.attention import Attention
from lmgen.nn.cells import CELLS

SMALL = 2.0**-10  # tanh is linear at zero: in this unit inputs, memory and outputs of the examples are whole numbers
OPEN, CLOSED = 100.0, -100.0  # a gate before the logistic function


# ---- running a cell, writing numbers -----------------------------------------------------------------------------------


def weights(name: str, inputs: int, size: int, **given) -> dict:
    """The weights of a cell: those given, and zero for the rest."""
    shapes = jax.eval_shape(lambda key: CELLS[name].init(key, inputs, size), jax.random.key(0))
    return {key: jnp.reshape(jnp.float32(given.get(key, np.zeros(a.shape))), a.shape) for key, a in shapes.items()}


@partial(jax.jit, static_argnums=0)
def step(name: str, p: dict, state: dict, x: jax.Array) -> dict:
    """The state [B, …] after one step, from the products x [B, G N] of its inputs."""
    return recurrence.run(CELLS[name], p, state, x[None], jnp.zeros((1, len(x)), bool), "f32")[0]


def states(name: str, p: dict, inputs, size: int, state: dict | None = None) -> Iterator[dict]:
    """The state after each of the inputs [T, D] or [T, B, D]."""
    xs = jnp.asarray(inputs, jnp.float32).reshape(len(inputs), -1, p["W"].shape[0])
    state = state or CELLS[name].start(xs.shape[1], size)
    for x in CELLS[name].inputs(p, xs, jnp.matmul):
        yield (state := step(name, p, state, x))


def one_unit(name: str, inputs, unit: float = 1.0, of: str = "h", **given) -> list[float]:
    """The output, or another part of the state, of a cell of one unit after each of its inputs, in multiples of `unit`."""
    inputs = np.reshape(inputs, (len(inputs), -1))
    return [s[of].item() / unit for s in states(name, weights(name, inputs.shape[1], 1, **given), inputs, 1)]


def number(x: float, digits: int = 2) -> str:
    """A number with this many decimals, without trailing zeros."""
    return re.sub(r"(\.\d*?)0+$", r"\1", f"{x:,.{digits}f}").rstrip(".").replace("-", "−")


def order(x: float) -> str:
    """A number of any order of magnitude, to two digits."""
    if x == 0 or 0.01 <= x < 1e6:
        return number(x, 1) if x >= 10 else f"{x:.2g}"
    return re.sub(r"e\+?(-?)0*", r"e\1", f"{x:.1e}").replace("-", "−")


def timeline(rows: dict[str, Iterable[float]], first: int = 1) -> str:
    """A table with a column for each time."""
    body = [(name, *map(number, row)) for name, row in rows.items()]
    return table(("t", *(str(first + k) for k in range(len(body[0]) - 1))), *body)


# ---- worked examples, computed in a moment -----------------------------------------------------------------------------


def linear() -> str:
    p, sides = weights("elman-linear", 2, 2, W=np.ones(4), U=np.ones(4)), []
    for inputs in ((1, 1, 2), (2, 1, 1)):
        hs = [s["h"][0] for s in states("elman-linear", p, np.repeat(inputs, 2).reshape(3, 2), 2)]
        sides.append([tuple(str([int(a) for a in v]) for v in ([x, x], h, h @ p["W"])) for x, h in zip(inputs, hs, strict=True)])
    rows = [(str(t), *one, *other) for t, (one, other) in enumerate(zip(*sides, strict=True), 1)]
    return table(("t", *("x", "h", "y") * 2), *rows)


def squashed() -> str:
    x = [1, 1, -3, 0, 0, 0]
    return timeline(
        {"x": x} | {f"h of `{name}`": one_unit(name, x, W=1, U=1) for name in ("elman", "elman-relu", "elman-linear")}
    )


def echoed() -> str:
    x = [1, 0, 0, 0, 0, 0]
    jordan = {f"y of `jordan`, V = {V}": one_unit("jordan", x, W=1, U=1, V=V) for V in (2, 1, 0)}
    return timeline({"x": x, "h of `elman`": one_unit("elman", x, W=1, U=1)} | jordan)


def delayed() -> str:
    x = np.array([1, 0, 0, 1, 0, 0, 0, 0, 0])
    return timeline({"x": x, "h": one_unit("tdnn", SMALL * x, SMALL, W=[1, 2, 3, 4, 5])}, 0)


def skipped() -> str:
    x = np.array([1, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    return timeline({"x": x, "y": one_unit("narx", SMALL * x, SMALL, W=[1, 0, 0, 0, 0], U=[0, 0, 1, 0])}, 0)


def remembered() -> str:
    x = np.array([(3, 1, 0), (4, 1, 0), (2, 0, 0), (1, 0, 1), (3, -1, 0)])
    W = [[0, 0, 0, SMALL], [100, 100, 0, 0], [0, 0, 100, 0]]  # of x1, x2 and x3 in the gates i, f, o and g
    c, h = (one_unit("lstm", x, SMALL, of, W=W, b=[-10, 10, -10, 0]) for of in "ch")
    return timeline({f"x{k + 1}": x[:, k] for k in range(3)} | {"memory c": c, "output h": h})


def clock() -> str:
    """The forget gate closes, and the output gate opens, when the memory is above 3½."""
    given = {"W": [0, 0, 0, SMALL], "b": [OPEN, 350, -350, 0], "v": [0, -100 / SMALL, 100 / SMALL]}
    c, h = (one_unit("lstm-peephole", [1] * 10, SMALL, of, **given) for of in "ch")
    return timeline({"x": [1] * 10, "memory c": c, "output h": h})


def filled() -> str:
    """The initial weights, with g = 1."""
    biases = {name: CELLS[name].vectors(1)["b"].at[-1].set(OPEN) for name in ("lstm", "lstm-coupled", "lstm-no-forget")}
    return timeline({f"c of `{name}`": one_unit(name, [0] * 10, of="c", b=b) for name, b in biases.items()})


def capped() -> str:
    """The input and the forget gate open, by W for as long as x is 1."""
    given = {"W": [200, 0, 0, 0], "b": [CLOSED, 1, 0, OPEN]}
    x = [1, 1, 1, 1, 0, 0, 0, 0]
    return timeline({"x": x} | {f"c of `{name}`": one_unit(name, x, of="c", **given) for name in ("lstm", "lstm-capped")})


def modulated() -> str:
    """One round that counts: x is read as 2σ(100 h / unit) x, and what is read becomes the output."""
    x = np.array([1, 1, -1, 1, 1, 1, -1, 1])
    gates = {"W": [0, 0, 0, 1], "b": [OPEN, CLOSED, OPEN, 0]}
    h = one_unit("lstm-mogrifier", SMALL * x, SMALL, **gates, A_1=[100 / SMALL], B_1=[1])
    return timeline({"x": x, "h": h})


def gated() -> str:
    x = np.array([(3, 1), (8, 0), (-5, 0), (0, 0), (-2, 1), (6, 0)])
    h = one_unit("gru", x, SMALL, W=[[0, 0, SMALL], [200, 0, 0]], b=[CLOSED, 0, 0])
    return timeline({"x1": x[:, 0], "x2": x[:, 1], "h": h})


def reset() -> str:
    """The update gate is open, so the state becomes n; r = (1, 0), and the matrix swaps the two units."""
    swap, z, r, n = np.eye(2)[::-1], [OPEN, OPEN], [OPEN, CLOSED], [0, 0]
    given = {
        "gru-simple": ("U h", {"U": np.hstack([0 * swap, swap]), "b": [*z, *n]}),
        "gru": ("r ⊙ (U h)", {"U": np.hstack([0 * swap, 0 * swap, swap]), "b": [*z, *r, *n]}),
        "gru-reset-before": ("U_n (r ⊙ h)", {"U_n": swap, "b": [*z, *r, *n]}),
    }
    rows = []
    for name, (formula, some) in given.items():
        (after,) = states(name, weights(name, 1, 2, **some), [[0]], 2, {"h": SMALL * jnp.array([[3.0, 5.0]])})
        rows.append((f"`{name}`", formula, f"({', '.join(number(h / SMALL) for h in after['h'][0])})"))
    return table(("cell", "what n sees of h", "for h = (3, 5)"), *rows)


def composed(name: str, logits: list[float]) -> str:
    """Step by step, and all times at once."""
    n = np.array([16, 0, 4, 0, 0, 0])
    p = weights(name, 1, 1, W=[0] * len(logits) + [1], b=[*logits, 0])
    xs = CELLS[name].inputs(p, jnp.float32(n)[:, None, None], jnp.matmul)
    at_once = jax.jit(recurrence.run, static_argnums=(0, 5))
    _, hs = at_once(CELLS[name], p, CELLS[name].start(1, 1), xs, jnp.zeros((6, 1), bool), "f32")
    by_steps = [s["h"].item() for s in states(name, p, n[:, None], 1)]
    return timeline({"n": n, "h, step by step": by_steps, "h, all at once": hs.ravel()})


def attended() -> str:
    cell, p = Attention(context=4, heads=1), {"U": jnp.ones((1, 1)), "b_u": jnp.zeros(1)}
    keys, values, hs = [0, 1, 0, 0, 0, 0], [8, 4, 0, 0, 2, 0], {}
    for query in (0, 100):
        rows = jnp.asarray([(0, query, k, v) for k, v in zip(keys, values, strict=True)], jnp.float32)[:, None]
        _, h = recurrence.run(cell, p, cell.start(1, 1), rows, jnp.zeros((6, 1), bool), "f32")
        hs[f"h, queries of {query}"] = h[:, 0, 0].tolist()
    return timeline({"key": keys, "value": values, **hs})


def chain() -> str:
    rows = []
    with jax.enable_x64(True):
        xs, forget = jnp.zeros((1000, 1, 1)).at[0].set(1), jnp.zeros((1000, 1), bool)
        for w in (0.9, 0.99, 1, 1.01, 1.1):
            _, hs = recurrence.run(CELLS["elman-linear"], {"U": jnp.full((1, 1), w)}, {"h": 0 * xs[0]}, xs, forget, "f32")
            rows.append((str(w), *(order(hs[t, 0, 0]) for t in (10, 100, 999))))
    return table(("w", "w^10", "w^100", "w^999"), *rows)


def clipped() -> str:
    rows = []
    for g, c in (((3, 4), 10), ((3, 4), 5), ((3, 4), 1), ((0.3, 0.4), 1), ((300, 400), 1)):
        after, _ = optax.clip_by_global_norm(c).update(np.float32(g), optax.EmptyState())
        pairs = [(f"({', '.join(map(number, v))})", number(np.linalg.norm(v))) for v in (g, np.asarray(after))]
        rows.append((*pairs[0], str(c), *pairs[1]))
    return table(("g", "‖g‖", "c", "g afterwards", "‖g‖ afterwards"), *rows)


def drawn(count: int = 10_000) -> str:
    p = np.array([0.5, 0.25, 0.15, 0.1])
    uniform = jax.random.uniform(jax.random.key(0), (count,))
    counts = np.bincount(transforms.draw(jnp.broadcast_to(jnp.log(p), (count, 4)), uniform), minlength=4)
    rows = {"probability": p, "expected": count * p, "drawn": counts}
    χ2 = ((counts - count * p) ** 2 / (count * p)).sum()
    return table(("symbol", *"abcd"), *((name, *map(number, row)) for name, row in rows.items())) + f"\n\nχ² is {χ2:.2f}."


MOMENTARY = [
    linear,
    squashed,
    echoed,
    delayed,
    skipped,
    remembered,
    clock,
    filled,
    capped,
    modulated,
    gated,
    reset,
    chain,
    attended,
    clipped,
    drawn,
]
EXAMPLES = {part.__name__: part for part in MOMENTARY}
EXAMPLES["min-gru"] = partial(composed, "min-gru", [0.0])  # z = ½
EXAMPLES["min-lstm"] = partial(composed, "min-lstm", [math.log(3), -math.log(3)])  # σ(f) : σ(i) = 3 : 1
