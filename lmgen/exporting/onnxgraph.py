"""ONNX graphs of JAX functions: a function is traced, and each of its primitives becomes one or a few ONNX operators.

So the code of a cell or of a head stands once, and a new cell can be exported as it is. What is traced are steps: the loop over
time is ONNX's Scan, whose body is the traced step. Sizes that are not known before the graph runs are symbols of `jax.export`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from onnx import helper, numpy_helper

OPSET, IR = 18, 10
TIME, BATCH, WORDS = export.symbolic_shape("T, B, W")
END = np.iinfo(np.int64).max  # of a slice: the end of the axis

Held = Any  # an operand while a function is read: a constant, or the name of a result

# Primitives that are one operator of the same operands, which may have other shapes that broadcast.
OPERATORS = {
    **{name: name.capitalize() for name in ("add", "sub", "mul", "div", "max", "min", "pow", "neg", "abs", "exp", "log")},
    **{name: name.capitalize() for name in ("tanh", "sqrt", "sin", "cos", "and", "or", "not")},
    **{"logistic": "Sigmoid", "lt": "Less", "le": "LessOrEqual", "gt": "Greater", "ge": "GreaterOrEqual", "eq": "Equal"},
}
CALLS = {"sigmoid": "Sigmoid", "tanh": "Tanh"}  # functions with a gradient of their own that are one operator, too


@dataclass(frozen=True)
class Value:
    """A result of a graph: its name, its shape, whose sizes may be symbols, and its type."""

    name: str
    shape: tuple[Any, ...]
    dtype: Any = jnp.float32

    @property
    def spec(self) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(self.shape, self.dtype)

    @property
    def info(self) -> Any:
        """As ONNX describes it."""
        return helper.make_tensor_value_info(self.name, onnx_type(self.dtype), [n if is_size(n) else str(n) for n in self.shape])


def is_size(n: Any) -> bool:
    """Whether a size is a number, not a symbol."""
    return isinstance(n, int | np.integer)


def onnx_type(dtype: Any) -> int:
    return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


def broadcast(shapes: Sequence[tuple[Any, ...]]) -> tuple[Any, ...]:
    """The shape of what broadcasting makes of arrays of these shapes."""
    rank = max(map(len, shapes))
    columns = zip(*((1,) * (rank - len(shape)) + shape for shape in shapes), strict=True)
    return tuple(next((n for n in sizes if not (is_size(n) and n == 1)), 1) for sizes in columns)


class Graph:
    """A graph in the making: nodes in order, and constants, which the bodies of loops share with the graph around them.

    `weights` names constants: the arrays that the functions close over. `dims` are the results that hold the sizes of symbols.
    """

    def __init__(self, weights: Mapping[int, str] | None = None, around: Graph | None = None):
        self.nodes: list[Any] = []
        self.weights: Mapping[int, str] = around.weights if around else weights or {}
        self.constants: dict[Any, Any] = around.constants if around else {}
        self.dims: dict[str, str] = around.dims if around else {}
        self._numbers: Any = around._numbers if around else count()

    def op(self, kind: str, *operands: Held, outputs: int | None = None, **attributes: Any) -> Any:
        """Add an operator; the name of its result, or with `outputs` the names of several."""
        names = [f"{kind.lower()}_{next(self._numbers)}" for _ in range(outputs or 1)]
        self.nodes.append(helper.make_node(kind, [self.named(one) for one in operands], names, **attributes))
        return names[0] if outputs is None else names

    def named(self, operand: Held) -> str:
        """The name of an operand; a constant gets one."""
        if isinstance(operand, str):
            return operand
        name, array = self.weights.get(id(operand)), np.asarray(operand)
        key = name or (array.tobytes(), array.dtype.str, array.shape)
        if key not in self.constants:
            name = name or f"constant_{next(self._numbers)}"
            self.constants[key] = numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)
        return self.constants[key].name

    def sizes(self, shape: Sequence[Any]) -> Held:
        """A shape as an operand."""
        if all(map(is_size, shape)):
            return np.array(shape, np.int64)
        parts = [np.array([n], np.int64) if is_size(n) else self.dims[str(n)] for n in shape]
        return self.op("Concat", *parts, axis=0)

    def output(self, name: str, value: Value) -> Value:
        """A value under the name of a result of the graph."""
        self.nodes.append(helper.make_node("Identity", [value.name], [name]))
        return replace(value, name=name)

    # ---- functions -----------------------------------------------------------------------------------------------------

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """The results of a JAX function of values, in trees of any form, as such a tree of values."""
        specs = jax.tree.map(lambda value: value.spec, arguments)
        traced = jax.jit(function).trace(*specs)
        held = [value.name for value in jax.tree.leaves(arguments)]
        reader, avals = _Reader(self), traced.jaxpr.out_avals
        found = reader.read(traced.jaxpr.jaxpr, traced.jaxpr.consts, held)
        values = [Value(self.named(reader.full(one, a.shape)), a.shape, a.dtype) for one, a in zip(found, avals, strict=True)]
        return jax.tree.unflatten(jax.tree.structure(traced.out_info), values)

    def scan(self, step: Callable[..., Any], state: Any, rows: Any, reverse: bool = False) -> tuple[Any, Value]:
        """The state after a loop over time, and the "h" of the state after each time [T, …]: `step` maps a state and the rows of
        one time to the state after it."""
        body = Graph(around=self)
        before, now = (
            jax.tree.map(lambda value, cut=cut: Value(f"in_{next(self._numbers)}", value.shape[cut:], value.dtype), tree)
            for cut, tree in enumerate((state, rows))
        )
        after = body.call(step, before, now)
        output = Value(body.op("Identity", after["h"].name), after["h"].shape)
        inputs, outputs = jax.tree.leaves((before, now)), [*jax.tree.leaves(after), output]
        graph = helper.make_graph(body.nodes, "step", [one.info for one in inputs], [one.info for one in outputs])
        scanned = len(jax.tree.leaves(rows))
        names = self.op(
            "Scan",
            *(value.name for value in jax.tree.leaves((state, rows))),
            outputs=len(outputs),
            body=graph,
            num_scan_inputs=scanned,
            scan_input_directions=[int(reverse)] * scanned,
            scan_output_directions=[int(reverse)],
        )
        ends = [Value(name, one.shape, one.dtype) for name, one in zip(names, outputs, strict=True)]
        return jax.tree.unflatten(jax.tree.structure(after), ends[:-1]), Value(names[-1], (TIME, *output.shape))


def model(graph: Graph, inputs: Sequence[Value], outputs: Sequence[Value], name: str) -> Any:
    """The graph as a model of ONNX."""
    before, after = ([value.info for value in values] for values in (inputs, outputs))
    made = helper.make_graph(graph.nodes, name, before, after, [*graph.constants.values()])
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)


# ---- the primitives ----------------------------------------------------------------------------------------------------
# Each rule adds the operators of a primitive: (graph, its parameters, its operands) -> its result.


def _converted(graph: Graph, p: dict, x: Held) -> Held:
    return graph.op("Cast", x, to=onnx_type(p["new_dtype"]))


def _power(graph: Graph, p: dict, x: Held) -> Held:
    return graph.op("Pow", x, np.float32(p["y"]))


BROADCASTING: dict[str, Callable[..., Held]] = {  # of operands that may have other shapes that broadcast
    "convert_element_type": _converted,
    "integer_pow": _power,
    "log1p": lambda graph, p, x: graph.op("Log", graph.op("Add", x, np.float32(1))),
    "ne": lambda graph, p, a, b: graph.op("Not", graph.op("Equal", a, b)),
    "rsqrt": lambda graph, p, x: graph.op("Reciprocal", graph.op("Sqrt", x)),
    "select_n": lambda graph, p, which, no, yes: graph.op("Where", which, yes, no),
    "square": lambda graph, p, x: graph.op("Mul", x, x),
    "stop_gradient": lambda graph, p, x: x,
}


def _product(graph: Graph, p: dict, a: Held, b: Held, ranks: list[int]) -> Held:
    """MatMul where it is one of rows and a matrix, else Einsum."""
    ((over_a,), (over_b,)), (batch_a, batch_b) = p["dimension_numbers"]
    if not batch_a and over_a == ranks[0] - 1 and ranks[1] == 2:
        return graph.op("MatMul", a, graph.op("Transpose", b, perm=[1, 0]) if over_b else b)
    of_a = [chr(ord("a") + k) for k in range(ranks[0])]
    of_b = [chr(ord("n") + k) for k in range(ranks[1])]
    for k, j in zip((*batch_a, over_a), (*batch_b, over_b), strict=True):
        of_b[j] = of_a[k]
    out = [of_a[k] for k in batch_a]
    out += [c for k, c in enumerate(of_a) if k != over_a and c not in out]
    out += [c for c in of_b if c not in of_a]
    return graph.op("Einsum", a, b, equation=f"{''.join(of_a)},{''.join(of_b)}->{''.join(out)}")


def _gathered(graph: Graph, p: dict, x: Held, at: Held) -> Held:
    """Rows by their numbers, or one slice from a place on."""
    numbers = p["dimension_numbers"]
    (axis,), collapsed = numbers.start_index_map, numbers.collapsed_slice_dims
    size = p["slice_sizes"][axis]
    if isinstance(at, np.ndarray) and at.shape == (1,):
        x = graph.op("Slice", x, at.astype(np.int64), at.astype(np.int64) + size, np.array([axis]))
        return graph.op("Squeeze", x, np.array([axis])) if collapsed else x
    assert (size, collapsed) == (1, (axis,))
    return graph.op("Gather", x, graph.op("Squeeze", at, np.array([-1])), axis=axis)


def _sliced(graph: Graph, p: dict, x: Held) -> Held:
    starts, ends = (np.array(p[name], np.int64) for name in ("start_indices", "limit_indices"))
    return graph.op("Slice", x, starts, ends, np.arange(len(starts)), np.array(p["strides"] or [1] * len(starts)))


def _padded(graph: Graph, p: dict, x: Held, by: Held) -> Held:
    low, high, within = np.array(p["padding_config"], np.int64).T
    assert not within.any()
    return graph.op("Pad", x, np.concatenate([low, high]), by)


def _last(graph: Graph, p: dict, x: Held) -> Held:
    """A cumulative maximum over an axis of one step."""
    return x


def _reduced(kind: str) -> Callable[..., Held]:
    return lambda graph, p, x: graph.op(kind, x, np.array(p["axes"], np.int64), keepdims=0)


WHOLE: dict[str, Callable[..., Any]] = {  # of operands in their full shapes
    "concatenate": lambda graph, p, *parts: graph.op("Concat", *parts, axis=p["dimension"]),
    "cummax": _last,
    "cumsum": lambda graph, p, x: graph.op("CumSum", x, np.int64(p["axis"]), reverse=int(p["reverse"])),
    "gather": _gathered,
    "pad": _padded,
    "reduce_max": _reduced("ReduceMax"),
    "reduce_sum": _reduced("ReduceSum"),
    "reshape": lambda graph, p, x: graph.op("Reshape", x, graph.sizes(p["new_sizes"])),
    "slice": _sliced,
    "split": lambda graph, p, x: graph.op("Split", x, np.array(p["sizes"]), outputs=len(p["sizes"]), axis=p["axis"]),
    "squeeze": lambda graph, p, x: graph.op("Squeeze", x, np.array(p["dimensions"])),
    "transpose": lambda graph, p, x: graph.op("Transpose", x, perm=p["permutation"]),
}


class _Reader:
    """Adds the operators of one traced function to a graph.

    What broadcasting would only repeat stays as it is, since most operators broadcast: `shapes` has the shapes that results
    really have, and `full` repeats them where that is needed.
    """

    def __init__(self, graph: Graph):
        self.graph = graph
        self.shapes: dict[str, tuple[Any, ...]] = {}

    def read(self, jaxpr: Any, constants: Sequence[Any], operands: Sequence[Held]) -> list[Held]:
        """The results of a function, from its operands."""
        held: dict[Any, Held] = dict(zip(jaxpr.constvars, constants, strict=True))
        for variable, operand in zip(jaxpr.invars, operands, strict=True):
            held[variable] = operand
            if isinstance(operand, str):
                self.shapes.setdefault(operand, variable.aval.shape)

        def value(variable: Any) -> Held:
            return np.asarray(variable.val, variable.aval.dtype) if hasattr(variable, "val") else held[variable]

        for equation in jaxpr.eqns:
            found = self.equation(equation, [value(variable) for variable in equation.invars])
            held.update(zip(equation.outvars, found, strict=True))
        return [value(variable) for variable in jaxpr.outvars]

    def equation(self, equation: Any, operands: list[Held]) -> list[Held]:
        """The results of one equation, computed at once where all operands are constants."""
        name, p, results = equation.primitive.name, equation.params, [variable.aval.shape for variable in equation.outvars]
        kind = OPERATORS.get(name)
        if inner := p.get("jaxpr") or p.get("call_jaxpr"):
            kind = CALLS.get(inner.jaxpr.debug_info.func_name) if name == "custom_vjp_call" else None
            if not kind:
                return self.read(inner.jaxpr, inner.consts, operands)
        elif not any(isinstance(one, str) for one in operands) and all(map(is_size, sum(results, ()))):
            found = equation.primitive.bind(*map(jnp.asarray, operands), **p)
            return [np.asarray(one) for one in (found if equation.primitive.multiple_results else [found])]
        if name == "broadcast_in_dim":
            return [self.spread(operands[0], p)]
        if kind or name in BROADCASTING:
            found = [self.graph.op(kind, *operands) if kind else BROADCASTING[name](self.graph, p, *operands)]
            results = [broadcast([*map(self.shape, operands)])]
        else:
            operands = [self.full(one, variable.aval.shape) for one, variable in zip(operands, equation.invars, strict=True)]
            if name == "dot_general":
                found = _product(self.graph, p, operands[0], operands[1], [len(v.aval.shape) for v in equation.invars])
            else:
                found = WHOLE[name](self.graph, p, *operands)
            found = found if isinstance(found, list) else [found]
        self.shapes.update(zip(found, results, strict=True))
        return found

    def shape(self, operand: Held) -> tuple[Any, ...]:
        """The shape that an operand really has."""
        return self.shapes[operand] if isinstance(operand, str) else np.shape(operand)

    def spread(self, x: Held, p: dict) -> Held:
        """An operand with axes of size 1 where it would be repeated."""
        have, kept, rank = self.shape(x), p["broadcast_dimensions"], len(p["shape"])
        if not have:
            return x
        if not isinstance(x, str):
            return np.expand_dims(x, [k for k in range(rank) if k not in kept])
        if new := [k for k in range(rank) if k not in kept]:
            x = self.graph.op("Unsqueeze", x, np.array(new))
            sizes = iter(have)
            self.shapes[x] = tuple(next(sizes) if k in kept else 1 for k in range(rank))
        return x

    def full(self, x: Held, shape: Sequence[Any]) -> Held:
        """An operand in its whole shape."""
        if self.shape(x) == tuple(shape):
            return x
        x = self.graph.op("Expand", x, self.graph.sizes(shape))
        self.shapes[x] = tuple(shape)
        return x
