"""The time loop of LSTM and GRU on NVIDIA GPUs: one kernel for all time steps of a layer, in Pallas.

In a scan each time step starts several kernels, and to start them takes longer than their work. Here the programs of one kernel
stay for a whole window (Diamos et al. 2016). Each has a few units of the cell, a few columns, and its part of U in the memory of
its multiprocessor.

Forward, a program multiplies the outputs h of all units by its part of U. Backward, it multiplies the cotangents of its gates by
its part of Uᵀ, which gives a share of dh for all units; each program adds up the shares of its units, always in the same order.

Programs wait for each other's numbers, but at no barrier: the last bit of a number is a flag, which tells the new one from what
was there before, and a program reads until it finds the flag in all that it needs.

Shapes: T time, B batch, N cell size; P is N padded with zeros, and the four gates of a unit stand side by side, [.., 4 P].
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from lmgen.nn.cell import Cell, Params, State
from lmgen.nn.cells import GRU, LSTM
from lmgen.nn.embedding import lookup
from lmgen.nn.precision import product, weight_gradient

UNITS = (16, 8)  # of a program: the first number that fits
COLUMNS = (16, 32, 64, 128)  # of a program: the first number that fits
SHARED = {"8.0": 163, "8.7": 163, "9.0": 227, "10.0": 227}  # KiB of memory that a program may use, by compute capability …
SMALL = 99  # … and that of all others
BESIDE = 2  # programs on a multiprocessor at most: each may need 255 registers for each thread
LARGEST = 1 << 31  # numbers in an array: the kernels count in 32 bits
WARPS = 4
INNER, OUTER = 256, 128  # the largest inner dimension of a product, forward, and the most columns of one, backward


# ---- the cells ---------------------------------------------------------------------------------------------------------


def _lstm(i: Array, f: Array, o: Array, g: Array, c: Array) -> tuple[Array, Array]:
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def _gru(z: Array, r: Array, n: Array, q: Array, h: Array) -> tuple[Array, Array]:
    z = jax.nn.sigmoid(z)
    h = z * jnp.tanh(n + jax.nn.sigmoid(r) * q) + (1 - z) * h
    return h, h


class Unit(NamedTuple):
    """A cell as the kernels see it: from four gates and the memory before, the output h and the memory.

    `inputs` and `recurrent` are the gates of W and U that each of the four reads; one beyond the last is zero. `memory` is the
    state that a program keeps of its units.
    """

    update: Callable[..., tuple[Array, Array]]
    inputs: tuple[int, ...]
    recurrent: tuple[int, ...]
    memory: str


CELLS: dict[type[Cell], Unit] = {
    LSTM: Unit(_lstm, (0, 1, 2, 3), (0, 1, 2, 3), "c"),
    GRU: Unit(_gru, (0, 1, 2, 3), (0, 1, 3, 2), "h"),  # z r n, and q = U h + b_u, which r multiplies
}


# ---- who does what -----------------------------------------------------------------------------------------------------


class Plan(NamedTuple):
    """`units` and `columns` of a program, and the number of programs along both."""

    units: int
    columns: int
    programs: int
    blocks: int


class Chip(NamedTuple):
    """The number of multiprocessors of a GPU, 0 if the kernels do not run on it, and the bytes of memory of a program."""

    processors: int
    memory: int


def plan(B: int, N: int, precision: str, chip: Chip) -> Plan | None:
    """How a layer is shared out; None if it is too large.

    All programs must run at the same time, or they wait for ever; and so must those of another layer, because the two directions
    of a network may run side by side.
    """
    size = 2 if precision == "bf16" else 4
    for units in UNITS:
        programs = -(-N // units)
        row = size * units * programs
        for columns in COLUMNS:
            blocks = -(-B // columns)
            beside = min(BESIDE, chip.memory // (4 * units * row + columns * max(row, 4 * OUTER)))
            if 2 * programs * blocks <= beside * chip.processors:
                return Plan(units, columns, programs, blocks)
    return None


@cache
def chip() -> Chip:
    """This machine's GPU. The kernels need tensor cores that multiply bfloat16, and a Pallas that knows the GPU."""
    none = Chip(0, 0)
    if os.environ.get("LMGEN_NATIVE") == "off" or jax.default_backend() != "gpu":
        return none
    device = jax.devices()[0]
    try:
        if float(device.compute_capability) < 8:
            return none
        shapes = (2, 1, 64), (16, 64), (1, 16), (1, 16)
        arrays = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
        trial = partial(_forward, LSTM, "bf16", Plan(16, 16, 1, 1))
        jax.jit(trial).lower(*arrays, jax.ShapeDtypeStruct((2, 1), bool)).compile()
    except Exception:  # another maker's GPU, or whatever Pallas raises where it lacks something
        return none
    return Chip(device.core_count, 1024 * SHARED.get(str(device.compute_capability), SMALL))


def kernels() -> str:
    """Whether the kernels run here, for `lmgen doctor`."""
    if chip().processors:
        return "lstm and gru, all time steps in one kernel"
    return "none, so training is slower: Pallas does not compile for this GPU, or LMGEN_NATIVE is off"


def serves(cell: Cell, N: int, forget: Array, precision: str, rows: Array) -> bool:
    """Whether the kernels compute this layer of N units, over a window with `forget` [T, B]."""
    default = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]
    exact = default not in (None, "default", "tensorfloat32")  # the kernels round the operands of f32 to 11 bits
    if type(cell) not in CELLS or rows.dtype != jnp.float32 or (precision == "f32" and exact):
        return False
    found = plan(forget.shape[1], N, precision, chip())
    return found is not None and 4 * forget.shape[0] * found.columns * found.blocks * found.units * found.programs < LARGEST


# ---- the layer ---------------------------------------------------------------------------------------------------------


def layer(
    cell: Cell, p: Params, state: State, rows: Array, ids: Array | None, forget: Array, precision: str
) -> tuple[State, Array]:
    """As `recurrence.layer`, with the kernels."""
    unit, N = CELLS[type(cell)], state["h"].shape[1]
    found = plan(forget.shape[1], N, precision, chip())
    assert found
    P = found.units * found.programs
    U = jnp.pad(_beside(p["U"], N, P, unit.recurrent), ((0, P - N), (0, 0)))
    b = jnp.concatenate([p["b"], *([p["b_u"]] if "b_u" in p else [])])
    x = product(rows, _beside(p["W"], N, P, unit.inputs), precision) + _beside(b, N, P, unit.inputs)
    x = x if ids is None else lookup(x, ids, precision)
    hs, memory = loop(type(cell), precision, found, x, U, state["h"], state[unit.memory], forget)
    return {"h": hs[-1], unit.memory: memory}, hs


def _beside(w: Array, N: int, P: int, order: tuple[int, ...]) -> Array:
    """The gates of w [.., G N] in this order and side by side, [.., 4 P]."""
    w = w.reshape(*w.shape[:-1], -1, N)
    w = jnp.concatenate([w, jnp.zeros_like(w[..., :1, :])], -2)[..., order, :]
    w = jnp.pad(jnp.moveaxis(w, -2, -1), (*((0, 0),) * (w.ndim - 2), (0, P - N), (0, 0)))
    return w.reshape(*w.shape[:-2], -1)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def loop(
    cell: type[Cell], precision: str, plan: Plan, x: Array, U: Array, h: Array, memory: Array, forget: Array
) -> tuple[Array, Array]:
    """The outputs hs [T, B, N] and the last memory [B, N], from x [T, B, 4 P], U [P, 4 P] and the state before [B, N]."""
    return _forward(cell, precision, plan, x, U, h, memory, forget)[0]


def _forward(cell, precision, plan, x, U, h, memory, forget):
    stored, (T, B), N = _stored(precision), forget.shape, h.shape[1]
    wide, P = plan.columns * plan.blocks, plan.units * plan.programs
    x, U = _wide(x, wide, -2), U.astype(stored)
    stays = _wide(jnp.concatenate([1 - forget.astype(jnp.float32), jnp.ones((1, B))]), wide, -1)  # ends with a step beyond
    h, memory = (_wide(_wide(jnp.where(forget[0, :, None], 0, s), wide, 0), P, 1) for s in (h, memory))
    read = jnp.zeros((T + 1, wide, P), jnp.int32).at[0].set(_sent(h.astype(stored), 1))
    memories = jnp.zeros((T + 1, wide, P)).at[0].set(memory)
    kernel = partial(_forward_kernel, plan, CELLS[cell].update, T)
    hs, x, read, memories = _called(kernel, plan, T, (U, stays), (x, read, memories), ((T, wide, P), jnp.float32))
    return (hs[:, :B, :N], memories[-1, :B, :N]), (x, U, stays, read, memories, forget)


def _backward(cell, precision, plan, kept, cotangent):
    x, U, stays, read, memories, forget = kept
    (T, B), (dhs, dmemory) = forget.shape, cotangent
    N, wide, P = dhs.shape[-1], plan.columns * plan.blocks, plan.units * plan.programs
    dhs, dmemory = (_wide(_wide(d, wide, -2), P, -1) for d in (dhs, dmemory))
    shares = jnp.zeros((2, plan.programs, wide, P), jnp.int32)
    kernel = partial(_backward_kernel, plan, CELLS[cell].update, T)
    inputs, changed = (x, U.T, stays, memories, dhs), (dmemory, shares)
    du, dmemory, shares = _called(kernel, plan, T, inputs, changed, (x.shape, U.dtype))
    dU = weight_gradient(_received(read[:-1]), du, precision)
    first = stays[0, :, None] > 0
    dh, dmemory = (jnp.where(first, d, 0)[:B, :N] for d in (_received(shares[(T - 1) & 1]).sum(0), dmemory))
    return du[:, :B].astype(jnp.float32), dU, dh, dmemory, None


loop.defvjp(_forward, _backward)


def _stored(precision: str) -> Any:
    """The type of the operands of products, which the programs exchange."""
    return jnp.bfloat16 if precision == "bf16" else jnp.float32


def _wide(a: Array, size: int, axis: int) -> Array:
    """An array padded with zeros to a size along an axis."""
    padding = [(0, 0)] * a.ndim
    padding[axis] = (0, size - a.shape[axis])
    return jnp.pad(a, padding)


# ---- what programs send each other -------------------------------------------------------------------------------------


def _sent(numbers: Array, flag: Any) -> Array:
    """Numbers as 32 bits, the last of which is a flag."""
    return lax.bitcast_convert_type(numbers.astype(jnp.float32), jnp.int32) & -2 | flag


def _received(words: Array) -> Array:
    """The numbers that were sent."""
    return lax.bitcast_convert_type(words & -2, jnp.float32)


def _awaited(flag: Any, load: Callable[[], list[Array]]) -> list[Array]:
    """Numbers that other programs send: they are read again until all have this flag."""

    def missing(words: list[Array]) -> Array:
        return sum(((word ^ flag) & 1).reshape(-1).sum() for word in words) > 0

    return [_received(words) for words in lax.while_loop(missing, lambda _: load(), load())]


# ---- the kernels -------------------------------------------------------------------------------------------------------


def _called(kernel: Callable, plan: Plan, T: int, inputs: tuple[Array, ...], changed: tuple[Array, ...], result: tuple) -> list:
    """The result of a kernel, and after it the arrays that it changes.

    Where Pallas interprets, the programs run one after the other, all of them one step before the next.
    """
    interpret, n = jax.default_backend() == "cpu", len(inputs)
    return pl.pallas_call(
        partial(kernel, interpret),
        grid=(T, plan.blocks, plan.programs) if interpret else (plan.blocks, plan.programs),
        out_shape=[jax.ShapeDtypeStruct(*result), *(jax.ShapeDtypeStruct(a.shape, a.dtype) for a in changed)],
        input_output_aliases={n + k: 1 + k for k in range(len(changed))},
        compiler_params=triton.CompilerParams(num_warps=WARPS, num_stages=1),
        interpret=interpret,
    )(*inputs, *changed)


def _forward_kernel(plan, update, T, interpret, U, stays, _x, _read, _memories, hs, xs, read, memories):
    block, me = pl.program_id(interpret), pl.program_id(1 + interpret)
    rows, mine, gates = _parts(plan, block, me)
    parts = _cut(U.shape[0], INNER)
    factors = [U[part, gates] for part in parts]

    def own(t):
        return xs[t, rows, gates], stays[t + 1, rows][:, None] > 0

    def step(t, own, memory):
        x, stay = own
        h = _awaited(1, lambda: [triton.load(read.at[t, rows, part], volatile=True) for part in parts])
        for a, b in zip(h, factors, strict=True):
            x += jnp.dot(a.astype(b.dtype), b, preferred_element_type=jnp.float32)
        h, memory = update(*_split(x), memory)
        read[t + 1, rows, mine] = _sent(jnp.where(stay, h, 0).astype(U.dtype), 1)
        memory = jnp.where(stay, memory, 0)

        def rest():
            xs[t, rows, gates], hs[t, rows, mine], memories[t + 1, rows, mine] = x, h, memory

        return memory, rest

    _steps(interpret, T, own, step, lambda t: memories[t, rows, mine])


def _backward_kernel(plan, update, T, interpret, xs, U, stays, memories, dhs, _dm, _shares, du, dmemories, shares):
    block, me = pl.program_id(interpret), pl.program_id(1 + interpret)
    rows, mine, gates = _parts(plan, block, me)
    parts = _cut(U.shape[1], OUTER)
    factors = [U[gates, part] for part in parts]
    programs = 1 << (plan.programs - 1).bit_length()
    others = lax.broadcasted_iota(jnp.int32, (programs, plan.columns, plan.units), 0) < plan.programs

    def own(k):
        t = T - 1 - k
        (h, _), pullback = jax.vjp(update, *_split(xs[t, rows, gates]), memories[t, rows, mine])
        one, zero = jnp.ones_like(h), jnp.zeros_like(h)
        (*h_by_gate, h_by_memory), (*memory_by_gate, memory_by_memory) = pullback((one, zero)), pullback((zero, one))
        slopes = _joined(h_by_gate), h_by_memory, _joined(memory_by_gate), memory_by_memory
        return slopes, dhs[t, rows, mine], stays[t + 1, rows][:, None] > 0

    def step(k, own, dmemory):
        (h_by_gate, h_by_memory, memory_by_gate, memory_by_memory), dh, stay = own
        here, flag = shares.at[(k - 1) & 1, pl.ds(0, programs), rows, mine], _flag(k - 1)
        [others_dh] = _awaited(flag, lambda: [triton.load(here, mask=others, other=flag, volatile=True)])
        dh += jnp.where(stay, others_dh.sum(0), 0)
        dmemory = jnp.where(stay, dmemory, 0)
        now = dh[:, :, None] * h_by_gate + dmemory[:, :, None] * memory_by_gate
        now = now.reshape(now.shape[0], -1).astype(U.dtype)
        for part, factor in zip(parts, factors, strict=True):
            share = jnp.dot(now, factor, preferred_element_type=jnp.float32)
            shares[k & 1, me, rows, part] = _sent(share, _flag(k))
        dmemory = dh * h_by_memory + dmemory * memory_by_memory

        def rest():
            du[T - 1 - k, rows, gates], dmemories[rows, mine] = now, dmemory

        return dmemory, rest

    _steps(interpret, T, own, step, lambda k: dmemories[rows, mine])


def _flag(k: Any) -> Any:
    """The flag of the shares of step k: two steps later the same place gets the other one."""
    return ((k >> 1) & 1) ^ 1


def _parts(plan: Plan, block: Any, me: Any) -> tuple[Any, ...]:
    """The columns, the units and the gates of a program."""
    return tuple(pl.ds(at * size, size) for at, size in ((block, plan.columns), (me, plan.units), (me, 4 * plan.units)))


def _cut(size: int, most: int) -> list[Any]:
    """A dimension cut into powers of two, which is all that Triton knows."""
    found, at = [], 0
    while at < size:
        part = min(most, 1 << ((size - at).bit_length() - 1))
        found.append(pl.ds(at, part))
        at += part
    return found


def _split(a: Array) -> list[Array]:
    """The four gates of a [columns, 4 units]."""
    a = a.reshape(a.shape[0], -1, 4)
    gate = lax.broadcasted_iota(jnp.int32, a.shape, 2)
    return [jnp.where(gate == k, a, 0).sum(2) for k in range(4)]


def _joined(gates: Sequence[Array]) -> Array:
    """Four gates side by side [columns, units, 4]."""
    shape = (*gates[0].shape, 4)
    gate = lax.broadcasted_iota(jnp.int32, shape, 2)
    first, second, third, fourth = (jnp.broadcast_to(g[:, :, None], shape) for g in gates)
    return jnp.where(gate < 2, jnp.where(gate == 0, first, second), jnp.where(gate == 2, third, fourth))


def _steps(interpret: bool, T: int, own: Callable, step: Callable, memory: Callable) -> None:
    """All steps of a program, or that of the grid where Pallas interprets.

    After it has sent what the others wait for, a program writes the rest, and prepares what the next step needs of its own.
    """
    if interpret:
        k = pl.program_id(0)
        step(k, own(k), memory(k))[1]()
        return

    def at(k, carry):
        memory, rest = step(k, *carry)
        rest()
        return own(jnp.minimum(k + 1, T - 1)), memory

    lax.fori_loop(0, T, at, (own(0), memory(0)))
