"""The compiled kernels against the plain scan with autodiff and against optax: odd sizes, both precisions, one thread and two.

Values agree to 1e-5 and gradients to 1e-4 of the largest in float32, both to 1e-2 with bfloat16 operands;
products of numbers that are bfloat16 already to 1e-5.
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from natively import LIMITS, PRECISIONS, close, every_precision, kernels, plain, problem, results

from lmgen.defaults.config import TrainingConfig
from lmgen.nn import cross_entropy, embedding, model, native, recurrence
from lmgen.nn.cells import CELLS
from lmgen.tasks import task_of
from lmgen.training import optimiser
from lmgen.training.step import begin, step

pytestmark = kernels

KINDS = (["none", "avx2", "avx512", "avx512bf16", "amx"], ["none", "neon", "neonbf16"])  # of x86-64, of ARM

# T, B, N, D and how many rows the table has that is read (0: what is read is an array [T, B, D])
SIZES = [
    (1, 1, 1, 1, 0),
    (3, 2, 5, 4, 0),
    (7, 1, 16, 3, 0),
    (2, 50, 17, 33, 3),
    (13, 9, 33, 20, 0),
    (5, 20, 200, 37, 0),
    (4, 6, 129, 64, 11),
    (2, 7, 600, 31, 0),
    (2, 5, 650, 23, 0),
    (2, 15, 31, 48, 0),
    (13, 17, 33, 70, 0),  # the way back to five panels of inputs is shared by rows
    (2, 16, 32, 16, 5),
    (3, 17, 48, 31, 0),
    (2, 31, 33, 32, 0),
    (2, 32, 65, 1, 0),
    (3, 33, 64, 47, 7),
]


@every_precision
@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("name", native.CELLS)
def test_a_layer_equals_the_plain_scan(name, sizes, precision):
    arrays = problem(name, *sizes)
    (out, gradient), (theirs, gradient_theirs) = (results(way, name, precision, *arrays) for way in (recurrence.compiled, plain))
    values, gradients = LIMITS[precision]
    close(out, theirs, values)
    close(gradient, gradient_theirs, gradients)
    inputs, others, _ = arrays
    without = jax.jit(recurrence.compiled, static_argnums=(0, 1))(CELLS[name], precision, *inputs, *others)
    close(without, out, 0)  # the same bits where no gradient is wanted


@pytest.mark.few("name", "lstm", "gru")
@every_precision
@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("name", native.CELLS)
def test_a_layer_with_dropout_of_its_state_equals_the_plain_scan(name, sizes, precision):
    """Values, and the gradient of all but the mask, which nobody asks for; a mask of ones changes nothing."""
    (p, *rest), others, cotangent = problem(name, *sizes)

    def masked(way, mask):
        return lambda cell, precision, p, *rest: way(cell, precision, p | {"mask": mask}, *rest)

    mask = 2 * np.random.default_rng(1).integers(0, 2, rest[0]["h"].shape).astype(np.float32)
    arrays = (p, *rest), others, cotangent
    (out, gradient), (theirs, gradient_theirs) = (
        results(masked(way, mask), name, precision, *arrays) for way in (recurrence.compiled, plain)
    )
    values, gradients = LIMITS[precision]
    close(out, theirs, 2 * values)
    close(gradient, gradient_theirs, 2 * gradients)
    ones, without = (
        results(way, name, precision, *arrays) for way in (masked(recurrence.compiled, np.ones_like(mask)), recurrence.compiled)
    )
    close(ones[0], without[0], 0)


@every_precision
@pytest.mark.parametrize("name", native.CELLS)
def test_every_step_forgets_or_none(name, precision):
    inputs, (ids, forget), cotangent = problem(name, 6, 3, 20, 9, 0)
    for everywhere in (np.ones_like(forget), np.zeros_like(forget)):
        ours, theirs = (
            results(way, name, precision, inputs, (ids, everywhere), cotangent) for way in (recurrence.compiled, plain)
        )
        close(ours, theirs, LIMITS[precision][1])


@every_precision
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(
    ("n", "N", "V"),
    [(1, 1, 2), (7, 5, 3), (50, 33, 65), (97, 64, 1000), (3, 520, 17), (33, 31, 48), (101, 12, 3003), (210, 9, 20_011)],
)
def test_cross_entropy_equals_log_softmax(n, N, V, transposed, precision):
    rng = np.random.default_rng(n)
    h, W, b, g = (rng.normal(size=shape).astype(np.float32) for shape in ((n, N), (V, N) if transposed else (N, V), V, n))
    W *= N**-0.5
    targets = rng.integers(0, V, n).astype(np.int32)

    def theirs(h, W, b):
        scores = h @ (W.T if transposed else W) + b
        return jax.nn.logsumexp(scores, -1) - jnp.take_along_axis(scores, targets[:, None], -1)[:, 0]

    ours = partial(cross_entropy.nats, precision, transposed, targets=targets)
    (a, pull_a), (b_, pull_b) = (jax.vjp(lambda h, W, b, f=f: f(h, W, b), h, W, b) for f in (lambda *x: ours(*x), theirs))
    close(a, b_, LIMITS[precision][0])
    close(pull_a(g), pull_b(g), LIMITS[precision][1])
    close(ours(h, W, b), a, 0)


@every_precision
@pytest.mark.parametrize("V", [65, 3003, 50_001])
def test_rows_of_large_and_small_logits_stand_beside_others(V, precision):
    rng = np.random.default_rng(V)
    scale = np.where(np.arange(101) % 10 == 3, 300, np.where(np.arange(101) % 10 == 7, 30, 1)).astype(np.float32)
    h = scale[:, None] * np.abs(rng.normal(size=(101, 12))).astype(np.float32) / 8
    W = (rng.normal(size=(12, V)) + np.linspace(-1, 1, V)).astype(np.float32).astype(jnp.bfloat16).astype(np.float32)
    b, g = rng.normal(size=V).astype(np.float32), rng.normal(size=101).astype(np.float32)
    h, targets = h.astype(jnp.bfloat16).astype(np.float32), rng.integers(0, V, 101).astype(np.int32)

    def theirs(h, W, b):
        scores = jnp.matmul(h, W, precision="highest") + b
        return jax.nn.logsumexp(scores, -1) - jnp.take_along_axis(scores, targets[:, None], -1)[:, 0]

    def ours(h, W, b, rows=slice(None)):
        return cross_entropy.nats(precision, False, h[rows], W, b, targets[rows])

    (a, pull_a), (b_, pull_b) = (jax.vjp(f, h, W, b) for f in (ours, theirs))
    assert np.abs(b_).max() > 200
    close(a / np.maximum(1, b_), b_ / np.maximum(1, b_), LIMITS[precision][0])
    close(pull_a(g), pull_b(g), LIMITS[precision][1])
    quiet = np.flatnonzero(scale == 1)
    close(ours(h, W, b, quiet), a[quiet], 0)  # whatever stands beside them


def test_extreme_logits_stay_exact():
    h, W = np.ones((3, 1), np.float32), np.array([[-300.0, 0.0, 300.0]], np.float32)
    ours = cross_entropy.nats("f32", False, h, W, np.zeros(3, np.float32), np.arange(3, dtype=np.int32))
    np.testing.assert_allclose(ours, [600, 300, 0], rtol=1e-6)


@every_precision
@pytest.mark.parametrize("name", native.CELLS)
def test_gates_saturate_however_large_what_they_read(name, precision):
    (p, state, rows), (ids, forget), _ = problem(name, 3, 2, 20, 9, 0)
    p["b"] *= np.float32(1e30)
    (_, ours), (_, theirs) = (way(CELLS[name], precision, p, state, rows, ids, forget) for way in (recurrence.compiled, plain))
    assert np.isfinite(ours).all()
    close(ours, theirs, LIMITS[precision][0])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_is_not_a_number_is_not_hidden(precision):
    (p, state, rows), others, _ = problem("lstm", 3, 2, 20, 9, 0)
    rows[1, 0, 0] = np.nan
    _, hs = recurrence.compiled(CELLS["lstm"], precision, p, state, rows, None, np.zeros_like(others[1]))
    assert np.isfinite(hs[0]).all()
    assert np.isnan(hs[1:, 0]).all()
    assert np.isfinite(hs[:, 1]).all()
    W = np.ones((20, 5), np.float32)
    nats = cross_entropy.nats(precision, False, hs[:, 0], W, np.zeros(5, np.float32), np.zeros(3, np.int32))
    assert np.isnan(np.asarray(nats)).tolist() == [False, True, True]


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_the_optimiser_equals_optax(scale):
    rng = np.random.default_rng(0)
    shapes = {"a": (300, 401), "b": (7,), "c": [(1, 1), (70_001, 3)]}
    config = optimiser.OptimiserConfig(clip=1.0, weight_decay=0.1)
    params = jax.tree.map(lambda s: rng.normal(size=s).astype(np.float32), shapes, is_leaf=lambda s: isinstance(s, tuple))
    ours = theirs = params, optimiser.optimiser(config).init(params)
    step = {way: jax.jit(partial(way, config)) for way in (optimiser.compiled, optimiser.plain)}
    for k in range(6):
        gradient = jax.tree.map(lambda p: (scale * rng.normal(size=p.shape)).astype(np.float32), params)
        nats = np.float32(np.nan if k == 1 else 2.0)
        if k == 3:
            gradient["b"][2] = np.inf
        *new, norm = step[optimiser.compiled](*ours, gradient, nats, np.float32(0.01))
        *theirs, norm_theirs = step[optimiser.plain](*theirs, gradient, nats, np.float32(0.01))
        assert norm == pytest.approx(float(norm_theirs), rel=1e-5)
        assert bool(np.isfinite(norm)) == (k != 3)
        if k in (1, 3):
            jax.tree.map(np.testing.assert_array_equal, new, list(ours))
        close(new, theirs, 1e-5)
        ours = new


@pytest.mark.parametrize(("rows", "width", "read"), [(40, 7, 90), (3001, 33, 70), (11, 16, 1)])
def test_the_optimiser_takes_the_gradient_of_a_table_from_the_rows_that_were_read(rows, width, read):
    """As optax does from the whole table: rows that were read twice count by their sum, those that were not by their moments."""
    rng = np.random.default_rng(read)
    config = optimiser.OptimiserConfig(clip=1.0, weight_decay=0.1)
    params = {name: rng.normal(size=shape).astype(np.float32) for name, shape in (("E", (rows, width)), ("W", (9, 5)))}
    ours = theirs = params, optimiser.optimiser(config).init(params)
    for _ in range(3):
        ids = rng.integers(0, rows, (read, 2)).astype(np.int32)
        gradient = {"E": rng.normal(size=(read, 2, width)).astype(np.float32), "W": params["W"]}
        whole = np.zeros_like(params["E"])
        np.add.at(whole, ids, gradient["E"])
        some = gradient | {"E": optimiser.Rows(ids, gradient["E"])}
        results = [way(config, *ours, some, np.float32(2), np.float32(0.01)) for way in (optimiser.compiled, optimiser.plain)]
        *theirs, norm = optimiser.plain(config, *theirs, gradient | {"E": whole}, np.float32(2), np.float32(0.01))
        for *ours, norm_ours in results:
            assert float(norm_ours) == pytest.approx(float(norm), rel=1e-5)
            close(ours, theirs, 1e-5)


def test_the_optimiser_refuses_rows_that_the_table_does_not_have():
    config, params = optimiser.OptimiserConfig(), {"E": np.ones((6, 3), np.float32)}
    moments = optimiser.optimiser(config).init(params)
    for wrong in (6, -1):
        gradient = {"E": optimiser.Rows(np.array([[1, wrong]], np.int32), np.ones((1, 2, 3), np.float32))}
        with pytest.raises(jax.errors.JaxRuntimeError, match="out of range"):
            optimiser.compiled(config, params, moments, gradient, np.float32(1), np.float32(1))[2].block_until_ready()


def test_rows_of_a_table_that_does_not_have_them_are_an_error():
    (p, state, rows), (ids, forget), _ = problem("gru", 3, 2, 5, 4, 6)
    ids[1, 1] = 6
    with pytest.raises(jax.errors.JaxRuntimeError, match="out of range"):
        recurrence.compiled(CELLS["gru"], "f32", p, state, rows, ids, forget)[1].block_until_ready()


@pytest.mark.few("cell", "lstm", "gru")
@every_precision
@pytest.mark.parametrize("cell", native.CELLS)
@pytest.mark.parametrize(
    "config",
    [
        {"layers": 2, "tie": True, "embedding": 12},
        {"layers": 3, "residual": True, "layer_norm": True},
        {"direction": "both"},
        {"vocab": 900},
    ],
    ids=["tied", "deep", "both", "words"],
)
def test_a_whole_training_step_equals_the_one_without_kernels(config, cell, precision, monkeypatch):
    network = model.NetworkConfig(**{"vocab": 11, "cell": cell, "size": 21, "embedding": 21} | config)
    settings = TrainingConfig(batch=5, window=9, learning_rate=1e-2, steps=1, precision=precision)
    task = task_of(network, precision)
    window = np.random.default_rng(0).integers(0, 11, (9 + 1 + task.ahead, 5)).astype(np.int32)

    def trained():
        step.clear_cache()  # it was compiled with the kernels or without them
        state = begin(task, settings)
        for k in range(3):
            state, nats, _ = step(task, settings.optimiser, state, task.batch(window, np.zeros(5, bool)), 1e-2, k)
        return nats, state.carried, state.optimiser[1].mu

    ours = trained()
    monkeypatch.setattr(native, "kind", lambda precision: "")
    theirs = trained()
    step.clear_cache()
    close(ours, theirs, {"f32": 1e-3, "bf16": 0.1}[precision])


PROGRAM = """
import hashlib, jax, numpy as np
from lmgen.nn import model, native
from lmgen.nn.precision import precision_of
from lmgen.tasks import task_of
from lmgen.defaults.config import TrainingConfig
from lmgen.training.step import begin, step
network = model.NetworkConfig({vocab}, {cell!r}, 70, 2, 70)
c = TrainingConfig(15, 20, 1e-2, steps=1, precision=precision_of("auto"))
task = task_of(network, c.precision)
state = begin(task, c)
w = np.random.default_rng(0).integers(0, {vocab}, (21, 15)).astype(np.int32)
for k in range(5):
    state, nats, _ = step(task, c.optimiser, state, task.batch(w, np.zeros(15, bool)), 1e-2, k)
bits = b"".join(np.asarray(a).tobytes() for a in jax.tree.leaves(state))
print(native.kind(c.precision) or "none", hashlib.sha256(bits).hexdigest(), float(nats))
"""


def trained_elsewhere(cell, *before, vocab=50, **environment):
    """What kernels a process of its own had, a hash of its weights after some steps, and its loss."""
    words = [*before, sys.executable, "-c", PROGRAM.format(cell=cell, vocab=vocab)]
    run = subprocess.run(words, env=os.environ | environment, capture_output=True, text=True, timeout=300, check=True)
    kind, bits, nats = run.stdout.split()
    return kind, bits, float(nats)


@pytest.mark.slow
@pytest.mark.parametrize(("cell", "vocab"), [("lstm", 50), ("gru", 50), ("lstm", 14_001)])
def test_the_same_bits_from_run_to_run_with_any_number_of_threads_and_on_one_core(cell, vocab):
    runs = [trained_elsewhere(cell, vocab=vocab, LMGEN_THREADS=threads) for threads in ("1", "2", "2", "3")]
    if hasattr(os, "sched_getaffinity"):
        core = min(os.sched_getaffinity(0))
        runs.append(trained_elsewhere(cell, "taskset", "-c", str(core), vocab=vocab))
    assert len(set(runs)) == 1


THREADS = """
import os, pathlib, time
import numpy as np
from lmgen.nn import native

def is_bound(thread):
    try:
        return os.sched_getaffinity(thread) != os.sched_getaffinity(0)
    except ProcessLookupError:  # it has ended
        return False

a = np.ones((400, 400), np.float32)
for _ in range(20):
    native.product(a, a, "f32").block_until_ready()
tasks = pathlib.Path("/proc/self/task")
deadline = time.monotonic() + 30  # a product is ready before the thread that computed it has left the kernel
while (bound := [task.name for task in tasks.iterdir() if is_bound(int(task.name))]) and time.monotonic() < deadline:
    time.sleep(0.01)
print(len(list(tasks.iterdir())), "threads, bound:", *bound)
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="asks Linux which cores a thread may use")
def test_threads_may_go_where_they_like_after_a_kernel():
    """In a process of its own: other libraries, such as onnxruntime, bind threads of theirs."""
    run = subprocess.run([sys.executable, "-c", THREADS], capture_output=True, text=True, timeout=120, check=True)
    assert run.stdout.endswith("threads, bound:\n")


@pytest.mark.slow
def test_processors_that_lack_instructions():
    """Masked, the kernels step down, from bfloat16 to float32 to none, and learn the same."""
    order = next(kinds for kinds in KINDS if native.kind("f32") in kinds)
    found = {most: trained_elsewhere("lstm", LMGEN_NATIVE=most) for most in ("off", *order[1:])}
    for most, (kind, _, nats) in found.items():
        assert order.index(kind) <= order.index("none" if most == "off" else most)
        assert nats == pytest.approx(found["off"][2], rel=1e-2)
    assert found["off"][0] == "none"


def test_lookup_gradient_adds_up():
    table, ids = jnp.ones((5, 3)), jnp.array([[1, 1], [4, 1]])
    gradient = jax.grad(lambda t: (embedding.lookup(t, ids) * jnp.arange(1.0, 5).reshape(2, 2, 1)).sum())(table)
    np.testing.assert_array_equal(gradient[:, 0], [0, 7, 0, 0, 3])
