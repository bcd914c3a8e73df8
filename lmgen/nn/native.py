"""The compiled kernels of native/, as functions of JAX arrays; everything works without them, more slowly.

They serve CPUs, at the precision "f32" or "bf16" (operands of products rounded to bfloat16, sums in float32). "Stored" arrays,
which go from kernel to kernel, are of that type. Shapes as in recurrence.py; P is N rounded up to what the kernels want, and
what they store of G gates is padded gate by gate with zeros, [.., G P]. What is wrong with an array raises JaxRuntimeError, and
so does memory that does not suffice.

In the environment: LMGEN_NATIVE=off (or avx2, avx512, avx512bf16, amx: the most that is used) holds them back, LMGEN_THREADS says
on how many threads they run, LMGEN_LIBRARY=path loads another library than the one installed, as the tests of native/ do.
"""

from __future__ import annotations

import ctypes
import os
import re
import struct
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, ShapeDtypeStruct

CELLS = ("lstm", "gru")  # whose time loops there are
NUMBERS = ("a_from", "b_from", "b_gates", "c_gates", "first_gate")  # of a product
LINE = 64  # bytes of a line of the caches: rows that begin one can be written past them
OPERATIONS = ("product", "forward", "backward", "head", "sum_rows", "adamw", "pack", "sample")


class Library(NamedTuple):
    """The compiled library, or why there is none."""

    functions: Any = None
    lack: str = ""


@cache
def library() -> Library:
    """Load the library once and make its operations known to JAX."""
    if os.environ.get("LMGEN_NATIVE") == "off":
        return Library(lack="turned off by LMGEN_NATIVE=off")
    path = Path(os.environ.get("LMGEN_LIBRARY") or Path(__file__).parents[1] / f"_native{EXTENSION_SUFFIXES[0]}")
    if not path.exists():
        return Library(lack=f"not built ({path.name} is missing): the install found no C++ compiler, or its build failed")
    try:
        if not _complete(path.read_bytes()):  # the loader would die of it
            return Library(lack=f"{path.name} is damaged: install lmgen again")
        functions = ctypes.CDLL(str(path.absolute()))
        if functions.lmgen_api_minor() > _api_minor():  # JAX would not start with it
            return Library(lack="built for a newer JAX than the one installed: install lmgen again with --no-build-isolation")
        functions.lmgen_kind.restype = ctypes.c_char_p
        functions.lmgen_padding.restype = ctypes.c_int64
        for size in (functions.lmgen_packed_size, functions.lmgen_head_scratch_size):
            size.restype, size.argtypes = ctypes.c_int64, [ctypes.c_bool, ctypes.c_int64, ctypes.c_int64]
        for name in OPERATIONS:
            handler = jax.ffi.pycapsule(getattr(functions, f"lmgen_{name}"))
            jax.ffi.register_ffi_target(f"lmgen_{name}", handler, platform="cpu")
    except Exception as error:  # a library of another machine, or for another JAX
        return Library(lack=f"{path.name} cannot be loaded ({str(error).partition(chr(10))[0]})")
    return Library(functions)


def _complete(elf: bytes) -> bool:
    """Whether a library of 64 bits reaches to the end of its table of sections, which ends the file."""
    if len(elf) < 64:
        return False
    table, size, count = struct.unpack_from("<40xQ10xHH", elf)
    return table + size * count <= len(elf)


def _api_minor() -> int:
    """The version of its interface for kernels that the installed JAX states."""
    header = Path(jax.ffi.include_dir(), "xla/ffi/api/c_api.h").read_text()
    found = re.search(r"#define XLA_FFI_API_MINOR (\d+)", header)
    return int(found[1]) if found else -1


def kind(precision: str) -> str:
    """The instruction set of the kernels that run here at this precision; empty where none do."""
    functions = library().functions
    if functions is None or jax.default_backend() != "cpu":
        return ""
    return functions.lmgen_kind(precision == "bf16").decode()


def serves(precision: str, array: Any) -> bool:
    """Whether there are kernels for such an array: those of float64 have none."""
    return array.dtype == jnp.float32 and bool(kind(precision))


def threads() -> int:
    """How many threads the kernels use at the most."""
    functions = library().functions
    return functions.lmgen_threads() if functions else 1


def _stored(precision: str) -> Any:
    return jnp.bfloat16 if precision == "bf16" else jnp.float32


def _call(
    name: str, results: list[tuple], *arrays: Array, precision: str, in_place: dict[int, int] | None = None, **attributes: Any
) -> list[Array]:
    """The results of an operation, of shapes and types; `in_place` names arguments whose memory becomes that of a result."""
    assert library().functions, library().lack
    shapes = [ShapeDtypeStruct(shape, kind) for shape, kind in results]
    call = jax.ffi.ffi_call(f"lmgen_{name}", shapes, input_output_aliases=in_place)
    return list(call(*arrays, bf16=precision == "bf16", **attributes))


# ---- products ----------------------------------------------------------------------------------------------------------


def product(
    a: Array,
    b: Array,
    precision: str,
    *,
    bias: Array | None = None,
    weights: Array | None = None,
    stored: bool = False,
    shape: tuple = (),
    **meant: Any,
) -> Array:
    """a b + bias, of matrices: [M, K] [K, N] -> [M, N], in float32, or as `stored`.

    `transposed_a` and `transposed_b` take the transpose of what is given, whose rows `weights` multiply in the case of a;
    `a_from` and `b_from` are the first columns that are meant of a wider array, and `shape` is that of the result where they do
    not say it. `b_gates` and `c_gates` say of how many gates b and the result are: the other arrays have them padded, from gate
    `first_gate` on.
    """
    bias, weights = (jnp.zeros(0) if x is None else x for x in (bias, weights))
    shape = shape or (a.shape[meant.get("transposed_a", False)], b.shape[not meant.get("transposed_b", False)])
    out = _stored(precision) if stored else jnp.float32
    return _call("product", [(shape, out)], a, b, bias, weights, precision=precision, **_meant(**meant))[0]


def weight_gradient(a: Array, b: Array, shape: tuple, precision: str, weights: Array | None = None, **meant: Any) -> list[Array]:
    """The gradients of weights of a shape [M, N] and of their bias [N]: aᵀ b, and the sum of b's rows.

    a [K, M] is what the weights read, columns of b [K, …] are the cotangents of what they gave, `weights` [K] multiply its rows;
    what else is meant is as for `product`.
    """
    results = [(shape, jnp.float32), (shape[1:], jnp.float32)]
    arrays = a, b, jnp.zeros(0), jnp.zeros(0) if weights is None else weights
    return _call("product", results, *arrays, precision=precision, **_meant(transposed_a=True, **meant))


def _meant(**given: Any) -> dict[str, Any]:
    numbers = {name: np.int64(given.get(name, name.endswith("gates"))) for name in NUMBERS}
    return {name: given.get(name, False) for name in ("transposed_a", "transposed_b")} | numbers


def sum_rows(ids: Array, x: Array, rows: int, precision: str) -> Array:
    """The sums [rows, C] of those rows of x [n, C], stored, that have the same id [n]."""
    return _call("sum_rows", [((rows, x.shape[1]), jnp.float32)], ids, x, jnp.zeros(0), precision=precision)[0]


def weighted_sum(weights: Array, x: Array, columns: int, precision: str) -> Array:
    """The sum [C] of the rows of x [n, C or more], stored, each times its weight [n]."""
    return _call("sum_rows", [((1, columns), jnp.float32)], jnp.zeros(0, int), x, weights, precision=precision)[0][0]


# ---- time loops --------------------------------------------------------------------------------------------------------


def padded(size: int, precision: str) -> int:
    """P for a cell of a size."""
    unit = library().functions.lmgen_padding(precision == "bf16")
    return -(-size // unit) * unit


def inputs(x: Array, W: Array, b: Array, gates: int, shape: tuple, precision: str) -> Array:
    """What a time loop reads, x W + b of x [n, D], stored [*shape, G, P]."""
    size = (*shape, gates, padded(W.shape[1] // gates, precision))
    return product(x, W, precision, bias=b, stored=True, b_gates=gates, shape=size)


class Kept(NamedTuple):
    """What a time loop leaves for its way back."""

    fed: Array
    gates: Array
    cs: Array


def forward(
    gru: bool,
    precision: str,
    keep: bool,
    inputs: Array,
    ids: Array | None,
    U: Array,
    b_u: Array,
    h0: Array,
    c0: Array,
    forget: Array,
) -> tuple[Array, Array, Kept | None]:
    """The outputs hs [T, B, N] of a layer, its last memory c, and what the gradient needs if `keep`.

    inputs [T, B, G, P] stored, or [R, G, P] with ids [T, B]; U [N, G N], b_u [N], h0 and c0 [B, N], forget [T, B].
    """
    T, B = forget.shape
    P = padded(h0.shape[1], precision)
    stored, f32 = _stored(precision), jnp.float32
    results = [((T, B, h0.shape[1]), f32), (c0.shape, f32), ((T if keep else 2, B, P), stored)]
    if keep:
        results += [((T, B, 4, P), stored), ((0,) if gru else (T, B, P), f32)]
    reuse = {0: 3} if keep and ids is None and not gru else None  # an LSTM's gates take the place of their inputs
    ids = jnp.zeros((0, 0), jnp.int32) if ids is None else ids
    arrays = (inputs, ids, U, b_u, h0, c0, forget)
    hs, c, *rest = _call("forward", results, *arrays, precision=precision, in_place=reuse, gru=gru)
    return hs, c, Kept(*rest) if keep else None


def backward(
    gru: bool, precision: str, kept: Kept, U: Array, c0: Array, forget: Array, dhs: Array, dh: Array, dc: Array
) -> list[Array]:
    """The cotangents du [T, B, 4, P] stored, dh0 and dc0, of a layer's way back in time.

    The four of an LSTM are i f o g; of a GRU n z r and q, what r weighs: the first three belong to inputs, the last three to U h.
    """
    T, B, _, P = kept.gates.shape
    results = [((T, B, 4, P), _stored(precision)), (dh.shape, jnp.float32), (c0.shape, jnp.float32)]
    return _call("backward", results, U, c0, forget, *kept, dhs, dh, dc, precision=precision, in_place={4: 0}, gru=gru)


# ---- the head ----------------------------------------------------------------------------------------------------------


def head(h: Array, W: Array, b: Array, targets: Array, precision: str, transposed: bool, keep: bool) -> list[Array]:
    """−ln p [n] of the targets under softmax(h W + b), from h [n, N]; if `keep` also p less the one-hot target,
    stored, in the first V columns of an array that may have more and but for factors [n] of its rows."""
    scratch = library().functions.lmgen_head_scratch_size(precision == "bf16", h.shape[0], b.size)
    results: list[tuple] = [((h.shape[0],), jnp.float32), ((scratch,), jnp.float32)]
    if keep:
        row = LINE // jnp.dtype(_stored(precision)).itemsize
        results += [((h.shape[0], -(-b.size // row) * row), _stored(precision)), ((h.shape[0],), jnp.float32)]
    nats, _, *kept = _call("head", results, h, W, b, targets, precision=precision, transposed=transposed)
    return [nats, *kept]


# ---- the optimiser -----------------------------------------------------------------------------------------------------


def adamw(
    scalars: Array,
    count: Array,
    arrays: list[Array],
    decay: list[float],
    clip: float,
    betas: tuple[float, float],
    epsilon: float,
    ids: Array | None = None,
    table: int | None = None,
) -> list[Array]:
    """Weights, means and squares after a step of AdamW on the gradient clipped by its global norm, and whether it was finite.

    scalars are the loss and the learning rate, count the steps before; `arrays` holds all weights, means, squares and gradients,
    each flat, `decay` the weight decay of each array of weights. Weights and moments are changed in place where XLA lets them.
    The gradient of the array with the number `table` has rows only for those of its rows that ids [n] name.
    """
    assert library().functions, library().lack
    n = 3 * len(decay)
    results = [*(ShapeDtypeStruct(a.shape, a.dtype) for a in arrays[:n]), ShapeDtypeStruct((), jnp.bool_)]
    call = jax.ffi.ffi_call("lmgen_adamw", results, input_output_aliases={2 + i: i for i in range(n)})
    numbers = {"clip": clip, "beta1": betas[0], "beta2": betas[1], "epsilon": epsilon}
    attributes: dict[str, Any] = {name: np.float32(value) for name, value in numbers.items()}
    attributes |= {"table": np.int64(-1 if table is None else table), "decay": np.asarray(decay, np.float32)}
    return list(call(scalars, count, *arrays, jnp.zeros(0, jnp.int32) if ids is None else ids, **attributes))


# ---- sampling ----------------------------------------------------------------------------------------------------------


def pack_gates(w: Array, gates: int, precision: str) -> Array:
    """A matrix [N, G N] in the order in which the time loop reads it."""
    P = padded(w.shape[1] // gates, precision)
    size = library().functions.lmgen_packed_size(precision == "bf16", P, gates * P)
    return _call("pack", [((size,), jnp.float32)], w, precision=precision, transposed=False, gates=np.int64(gates))[0]


def pack_head(W: Array, precision: str, transposed: bool) -> Array:
    """The head's matrix [N, V], or transposed [V, N], in the order in which it is read."""
    inner, columns = W.shape[::-1] if transposed else W.shape
    size = library().functions.lmgen_packed_size(precision == "bf16", inner, columns)
    return _call("pack", [((size,), jnp.float32)], W, precision=precision, transposed=transposed, gates=np.int64(0))[0]


def sample(weights: list[Array], layers: list[dict[str, Array]], states: list[dict[str, Array]], **settings: Any) -> list[Array]:
    """Symbols that a network writes: ids and nats [steps, B], what is read next and how many EOS are to come [B], the states.

    weights: inputs of the first layer by symbol [V, G, P] stored, packed head, its bias, forced ids [steps], uniforms [steps, B],
    (temperature, top p, min p), top k, what is read next and EOS to come [B], gain and shift of the head's norm or [0]; layers:
    packed U and, from the second on, packed W and b, of a GRU b_u, of a norm gain and shift; states h and c [B, N] of each layer.
    """
    none, empty = jnp.zeros(0), jnp.zeros((0, 0))
    vocab, (steps, B), N = weights[2].size, weights[4].shape, states[0]["h"].shape[1]
    P = padded(N, settings["precision"])
    for p, state in zip(layers, states, strict=True):
        weights += [p["U"], p.get("b_u", none), p.get("W", none), p.get("b", none), state["h"], state.get("c", empty)]
        weights += [p.get("gain", none), p.get("shift", none)]
    stored, row = _stored(settings["precision"]), ((B,), jnp.int32)
    memory = [((len(layers), 2, B, P), stored), ((B, -(-vocab // 64) * 64), jnp.float32)]
    results = [((steps, B), jnp.int32), ((steps, B), jnp.float32), *memory, row, row, ((B, P), jnp.float32), ((B, P), stored)]
    for state in states:
        results += [((B, N), jnp.float32), (state["c"].shape if "c" in state else (0, 0), jnp.float32)]
    ids, nats, _, _, last, left, _, _, *after = _call("sample", results, *weights, **settings)
    return [ids, nats, last, left, *after]
