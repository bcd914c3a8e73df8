"""The compiled kernels of native/ as functions of JAX arrays. They are optional: without them lmgen is slower.

They run on CPUs, with precision "f32" or "bf16" (operands of products rounded to bfloat16, sums in float32). "Stored" arrays,
which one kernel passes to another, have that type. Shapes are as in recurrence.py; P is the cell size N padded with zeros, and G
gates are padded each, [.., G P]. Wrong arrays and lack of memory raise JaxRuntimeError.

Environment variables: LMGEN_NATIVE=off turns the kernels off (avx2, avx512, avx512bf16 or amx limits the instructions),
LMGEN_THREADS sets the number of threads, LMGEN_LIBRARY the path of another library.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Sequence
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, ShapeDtypeStruct

from lmgen.system import library as compiled
from lmgen.system.library import Library

CELLS = ("lstm", "gru", "lstm-capped")  # that have a compiled time loop, in the order of native/kernels.h
LINE = 64  # bytes of a cache line: rows aligned to it can be written without the caches
OPERATIONS = ("product", "forward", "backward", "head", "sum_rows", "adamw", "pack", "sample")


@cache
def library() -> Library:
    """Load the library once and register its operations with JAX."""
    found = compiled.library()
    if not found.functions:
        return found
    functions = found.functions
    try:
        header = Path(jax.ffi.include_dir(), "xla/ffi/api/c_api.h").read_text("utf-8")
        if functions.lmgen_api_minor() > int(re.findall(r"define XLA_FFI_API_MINOR (\d+)", header)[0]):  # JAX would reject it
            return Library(lack="built for a newer JAX than the one installed: install lmgen again with --no-build-isolation")
        functions.lmgen_kind.restype = ctypes.c_char_p
        functions.lmgen_padding.restype = ctypes.c_int64
        for size in (functions.lmgen_packed_size, functions.lmgen_head_scratch_size):
            size.restype, size.argtypes = ctypes.c_int64, [ctypes.c_bool, ctypes.c_int64, ctypes.c_int64]
        for name in OPERATIONS:
            handler = jax.ffi.pycapsule(getattr(functions, f"lmgen_{name}"))
            jax.ffi.register_ffi_target(f"lmgen_{name}", handler, platform="cpu")
    except Exception as error:  # built for another JAX
        return Library(lack=f"{compiled.path().name} cannot be loaded ({str(error).partition(chr(10))[0]})")
    return found


def kind(precision: str) -> str:
    """The instruction set of the kernels for a precision; empty if none run here."""
    functions = library().functions
    if functions is None or jax.default_backend() != "cpu":
        return ""
    return functions.lmgen_kind(precision == "bf16").decode()


def serves(precision: str, array: Any) -> bool:
    """Whether kernels can compute with an array of this type."""
    return array.dtype == jnp.float32 and bool(kind(precision))


def threads() -> int:
    """The largest number of threads that a kernel uses."""
    functions = library().functions
    return functions.lmgen_threads() if functions else 1


def _stored(precision: str) -> Any:
    return jnp.bfloat16 if precision == "bf16" else jnp.float32


def _call(
    name: str, results: list[tuple], *arrays: Array, precision: str, in_place: dict[int, int] | None = None, **attributes: Any
) -> list[Array]:
    """Call an operation; `results` are shapes and types, `in_place` maps arguments to the results that reuse their memory."""
    assert library().functions, library().lack
    shapes = [ShapeDtypeStruct(shape, kind) for shape, kind in results]
    call = jax.ffi.ffi_call(f"lmgen_{name}", shapes, input_output_aliases=in_place)
    return list(call(*arrays, bf16=precision == "bf16", **attributes))


# ---- products ----------------------------------------------------------------------------------------------------------


def product(
    a: Array, b: Array, precision: str, *, bias: Any = None, weights: Any = None, shape: tuple = (), **layout: Any
) -> Array:
    """The matrix product a b + bias, [M, K] [K, N] -> [M, N]; `weights` multiply the rows of a.

    `transposed_a` and `transposed_b` use the transposes. `a_from` and `b_from` are the first columns used of wider arrays;
    `shape` is needed where the arguments do not determine it. `b_gates` and `c_gates` are the gates of b and of the result if
    the other arrays have padded gates, beginning with gate `first_gate`.
    """
    bias, weights = (jnp.zeros(0) if x is None else x for x in (bias, weights))
    shape = shape or (a.shape[layout.get("transposed_a", False)], b.shape[not layout.get("transposed_b", False)])
    return _call("product", [(shape, jnp.float32)], a, b, bias, weights, precision=precision, **_layout(**layout))[0]


def weight_gradient(a: Array, b: Array, shape: tuple, precision: str, weights: Array | None = None, **layout: Any) -> list[Array]:
    """The gradients aᵀ b of weights of a shape [M, N] and of their bias [N], the sum of the rows of b.

    a [K, M] are the inputs of the layer, b [K, …] the cotangents of its outputs, whose rows `weights` [K] multiply. `layout` is
    as for `product`.
    """
    results = [(shape, jnp.float32), (shape[1:], jnp.float32)]
    arrays = a, b, jnp.zeros(0), jnp.zeros(0) if weights is None else weights
    return _call("product", results, *arrays, precision=precision, **_layout(transposed_a=True, **layout))


def _layout(transposed_a: bool = False, transposed_b: bool = False, **numbers: int) -> dict[str, Any]:
    numbers = {"a_from": 0, "b_from": 0, "b_gates": 1, "c_gates": 1, "first_gate": 0} | numbers
    return {"transposed_a": transposed_a, "transposed_b": transposed_b} | {name: np.int64(n) for name, n in numbers.items()}


def sum_rows(ids: Array, x: Array, rows: int, precision: str) -> Array:
    """The sums [rows, C] of the rows of x [n, C], stored, that have the same id [n]."""
    return _call("sum_rows", [((rows, x.shape[1]), jnp.float32)], ids, x, jnp.zeros(0), precision=precision)[0]


def weighted_sum(weights: Array, x: Array, columns: int, precision: str) -> Array:
    """The weighted sum [C] of the rows of x [n, C or more], stored."""
    return _call("sum_rows", [((1, columns), jnp.float32)], jnp.zeros(0, int), x, weights, precision=precision)[0][0]


# ---- time loops --------------------------------------------------------------------------------------------------------


def number(cell: str) -> np.int64:
    """The number of a cell in the kernels."""
    return np.int64(CELLS.index(cell))


def padded(size: int, precision: str) -> int:
    """The padded cell size P."""
    unit = library().functions.lmgen_padding(precision == "bf16")
    return -(-size // unit) * unit


def inputs(x: Array, W: Array, b: Array, gates: int, shape: tuple, precision: str) -> Array:
    """The input products x W + b of x [n, D], stored [*shape, G, P]."""
    size = (*shape, gates, padded(W.shape[1] // gates, precision))
    results = [(size, _stored(precision))]
    return _call("product", results, x, W, b, jnp.zeros(0), precision=precision, **_layout(b_gates=gates))[0]


def forward(
    cell: str,
    precision: str,
    keep: bool,
    inputs: Array,
    ids: Any,
    U: Array,
    b_u: Array,
    h0: Array,
    c0: Array,
    forget: Array,
    mask: Any = None,
) -> list[Array]:
    """The outputs hs [T, B, N] of a layer, its last memory cell c, and with `keep` what the gradient needs: h, gates and memory
    cells, stored.

    inputs [T, B, G, P] stored, or [R, G, P] with ids [T, B]; U [N, G N], b_u [N], h0 and c0 [B, N], forget [T, B]; mask [B, N]
    multiplies h as U reads it. Of a GRU with a mask the outputs are kept in place of memory cells.
    """
    (T, B), P, stored, f32 = forget.shape, padded(h0.shape[1], precision), _stored(precision), jnp.float32
    results = [((T, B, h0.shape[1]), f32), (c0.shape, f32), ((T if keep else 2, B, P), stored)]
    if keep:
        results += [((T, B, 4, P), stored), ((0,) if cell == "gru" and mask is None else (T, B, P), f32)]
    reuse = {0: 3} if keep and ids is None and cell != "gru" else None  # an LSTM's gates overwrite their inputs
    ids = jnp.zeros((0, 0), jnp.int32) if ids is None else ids
    arrays = inputs, ids, U, b_u, h0, c0, forget, jnp.zeros((0, 0)) if mask is None else mask
    return _call("forward", results, *arrays, precision=precision, in_place=reuse, cell=number(cell))[: 5 if keep else 2]


def backward(
    cell: str,
    precision: str,
    kept: list[Array],
    U: Array,
    c0: Array,
    forget: Array,
    dhs: Array,
    dh: Array,
    dc: Array,
    mask: Any = None,
) -> list[Array]:
    """The gradient of `forward`: the cotangents du [T, B, 4, P] stored, dh0 and dc0. Of a GRU with a mask, c0 is h0.

    The four gates of an LSTM are i f o g; those of a GRU are n z r q with q = U h + b_u: n z r for the inputs, z r q for U h.
    """
    results = [(kept[1].shape, _stored(precision)), (dh.shape, jnp.float32), (c0.shape, jnp.float32)]
    mask = jnp.zeros((0, 0)) if mask is None else mask
    arrays = U, c0, forget, *kept, dhs, dh, dc, mask
    return _call("backward", results, *arrays, precision=precision, in_place={4: 0}, cell=number(cell))


# ---- the head ----------------------------------------------------------------------------------------------------------


def head(h: Array, W: Array, b: Array, targets: Array, precision: str, transposed: bool, keep: bool) -> list[Array]:
    """−ln p [n] of the targets under softmax(h W + b), from h [n, N]. With `keep` also the gradient of the logits, p − one-hot:
    an array, stored, whose first V columns are to be multiplied by factors [n] of its rows."""
    scratch = library().functions.lmgen_head_scratch_size(precision == "bf16", h.shape[0], b.size)
    results: list[tuple] = [((h.shape[0],), jnp.float32), ((scratch,), jnp.float32)]
    if keep:
        row = LINE // jnp.dtype(_stored(precision)).itemsize
        results += [((h.shape[0], -(-b.size // row) * row), _stored(precision)), ((h.shape[0],), jnp.float32)]
    nats, _, *kept = _call("head", results, h, W, b, targets, precision=precision, transposed=transposed)
    return [nats, *kept]


# ---- the optimiser -----------------------------------------------------------------------------------------------------


def adamw(
    scalars: Array, count: Array, arrays: list[Array], decay: list[float], ids: Any = None, table: int = -1, **numbers: float
) -> list[Array]:
    """A step of AdamW with clipping by the global norm: weights, means and squares, and that norm; unless that and the loss are
    finite nothing changes.

    scalars are the loss and the learning rate, count the previous steps; `arrays` are all weights, means, squares and gradients,
    `decay` the weight decay of each array of weights; `numbers` are clip, beta1, beta2 and epsilon. Weights and moments are
    updated in place if XLA permits it. The gradient of array number `table` is sparse, with the rows that ids [n] name.
    """
    assert library().functions, library().lack
    n = 3 * len(decay)
    results = [*(ShapeDtypeStruct(a.shape, a.dtype) for a in arrays[:n]), ShapeDtypeStruct((), jnp.float32)]
    call = jax.ffi.ffi_call("lmgen_adamw", results, input_output_aliases={2 + i: i for i in range(n)})
    attributes: dict[str, Any] = {name: np.float32(value) for name, value in numbers.items()}
    ids = jnp.zeros(0, jnp.int32) if ids is None else ids
    return list(call(scalars, count, *arrays, ids, table=np.int64(table), decay=np.asarray(decay, np.float32), **attributes))


# ---- sampling ----------------------------------------------------------------------------------------------------------


def pack(w: Array, gates: int = 0, transposed: bool = False, *, precision: str) -> Array:
    """A recurrent or input matrix [N, G N], or with 0 gates the head's [N, V] or transposed [V, N], packed for `sample`."""
    inner, columns = w.shape[::-1] if transposed else w.shape
    if gates:
        inner = padded(columns // gates, precision)
        columns = gates * inner
    size = library().functions.lmgen_packed_size(precision == "bf16", inner, columns)
    return _call("pack", [((size,), jnp.float32)], w, precision=precision, transposed=transposed, gates=np.int64(gates))[0]


class Writer(NamedTuple):
    """A network as `sample` takes it. weights: input products of the first layer by symbol [V, G, P] stored, packed head, its
    bias, gain and shift of the head's norm or [0]. layers: packed U and, from the second on, packed W and b; b_u for GRU; gain
    and shift for layer norm. states: h and c [B, N] of each layer."""

    weights: list[Array]
    layers: list[dict[str, Array]]
    states: list[dict[str, Array]]


def sample(
    rows: list[Array], networks: Sequence[Writer], ngrams: Sequence[Array] = (), nodes: Array | None = None, **settings: Any
) -> list[Any]:
    """Generate text by the mean of the probabilities of networks of one shape: ids and nats [steps, B], the next inputs [B], the
    number of EOS still to draw [B], the states of each network, and the nodes where there are n-grams.

    rows: forced ids and uniforms [steps, B], (temperature, top p, min p) [3, B], (top k, whether UNK may be drawn) [2, B], next
    inputs and EOS still to draw [B].
    ngrams, where they are mixed in: weights of the networks and of the n-grams [2, order] by the length of the context, then of
    each level of their tree first, ids, p and backoff; nodes [order − 1, B] of the contexts.
    """
    none, empty = jnp.zeros(0), jnp.zeros((0, 0))
    (steps, B), vocab, N = rows[1].shape, networks[0].weights[2].size, networks[0].states[0]["h"].shape[1]
    P, stored, row = padded(N, settings["precision"]), _stored(settings["precision"]), ((B,), jnp.int32)
    arguments = list(rows)
    results: list[Any] = [((steps, B), jnp.int32), ((steps, B), jnp.float32), row, row, ((B, P), jnp.float32), ((B, P), stored)]
    for network in networks:
        arguments += network.weights
        results += [((len(network.layers), 2, B, P), stored), ((B, -(-vocab // 64) * 64), jnp.float32)]
        for p, state in zip(network.layers, network.states, strict=True):
            arguments += [p["U"], p.get("b_u", none), p.get("W", none), p.get("b", none), state["h"], state.get("c", empty)]
            arguments += [p.get("gain", none), p.get("shift", none)]
            results += [((B, N), jnp.float32), (state["c"].shape if "c" in state else (0, 0), jnp.float32)]
    order = (len(ngrams) - 1) // 4 if ngrams else 0
    if nodes is not None:
        arguments += [ngrams[0], nodes, *ngrams[1:]]
        results.append((nodes.shape, jnp.int32))
    found = iter(_call("sample", results, *arguments, networks=np.int64(len(networks)), ngrams=np.int64(order), **settings))
    ids, nats, last, left, *_ = islice(found, 6)
    states = []
    for network in networks:
        next(found), next(found)  # scratch memory
        after = [dict(zip("hc", islice(found, 2), strict=True)) for _ in network.states]
        states.append([{name: new[name] for name in old} for new, old in zip(after, network.states, strict=True)])
    return [ids, nats, last, left, states, *found]
