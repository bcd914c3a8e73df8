"""The graphs of the networks: what goes in, the layers, and what comes out, for each kind of model.

Shapes: T time, B batch, N cell size, V vocabulary, L labels, W unknown words. Every graph reads ids [T, B], a text in each
column. All results but states are natural logarithms of probabilities.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from lmgen.data.vocab import EOS, UNK
from lmgen.exporting.onnxgraph import BATCH, TIME, WORDS, Graph, Value, onnx_type
from lmgen.exporting.target import regrouped
from lmgen.labelled import spelling
from lmgen.labelled.corpus import Coded
from lmgen.models import kinds
from lmgen.networks import labelling, letters, translating, words
from lmgen.nn import model, recurrence
from lmgen.nn.cell import Cell, Params, State
from lmgen.nn.cells import GRU, LSTM
from lmgen.nn.model import NetworkConfig
from lmgen.nn.norm import normalised
from lmgen.system import trees

F32 = "f32"
IDS = Value("ids", (TIME, BATCH), jnp.int64)
LINES, ROWS = 3, 9  # of the text by which a graph is checked

Tensors = dict[str, np.ndarray]


@dataclass(frozen=True)
class Network:
    """A graph, the values that go in and come out, how to use it, and an example: what goes in, and pairs of what should come
    out and of what did."""

    graph: Graph
    inputs: list[Value]
    outputs: list[Value]
    use: str
    example: Tensors
    compared: Callable[[Tensors], Iterator[tuple[Any, Any]]]


def begin(lm: Any) -> tuple[Graph, Value]:
    """A graph that knows the weights of a model by their names, and its ids as JAX reads them."""
    names = (f"weights/{name}" for name in trees.flatten(lm.params))
    graph = Graph(dict(zip(map(id, jax.tree.leaves(lm.params)), names, strict=True)))
    for axis, symbol in enumerate(IDS.shape):
        graph.dims[str(symbol)] = graph.op("Shape", IDS.name, start=axis, end=axis + 1)
    return graph, Value(graph.op("Cast", IDS.name, to=onnx_type(jnp.int32)), IDS.shape, jnp.int32)


def looked_up(graph: Graph, table: Any, ids: Value) -> Value:
    """The rows of a table, a constant or a result, that ids name."""
    size = table.shape[-1]
    return Value(graph.op("Gather", table.name if isinstance(table, Value) else table, ids.name), (*ids.shape, size))


# ---- layers ------------------------------------------------------------------------------------------------------------

# Cells that are an operator of ONNX: its name and attributes and, for each of its gates, the place of ours and the sign of the
# weights: the z of ONNX's GRU is the share of the state that stays, ours that of what is written.
OPERATORS: dict[type[Cell], tuple[str, dict[str, int], list[tuple[int, int]]]] = {
    LSTM: ("LSTM", {}, [(0, 1), (2, 1), (1, 1), (3, 1)]),
    GRU: ("GRU", {"linear_before_reset": 1}, [(0, -1), (1, 1), (2, 1)]),
}


def stack(
    graph: Graph,
    config: NetworkConfig,
    p: dict[str, Any],
    states: list[Any],
    rows: Value,
    forget: Value | None,
    reverse: bool = False,
) -> tuple[list[Any], Value]:
    """The states of a stack after rows [T, B, E], and the outputs [T, B, N] of its top layer, as `model.read_stack` has them;
    where `forget` [T, B] is true a state is forgotten first. An operator of ONNX never forgets."""
    cell, after, symbols, outs = model.cell_of(config), [], rows, []
    for k, own in enumerate(p["layers"]):
        read = graph.call(_joined, rows, symbols) if config.skip and k else rows
        read = graph.call(partial(normalised, p["norms"][k]), read) if config.layer_norm else read
        if forget is None and type(cell) in OPERATORS:
            state, hs = _operator(graph, cell, own, states[k], read, reverse)
        else:
            xs = graph.call(partial(_inputs, cell, own), read)
            state, hs = graph.scan(partial(_step, cell, own), states[k], (xs, forget) if forget else (xs,), reverse)
        rows = graph.call(jnp.add, rows, hs) if config.residual and k else hs
        after.append(state)
        outs.append(rows)
    return after, graph.call(_joined, *outs) if config.skip else rows


def _joined(*rows: Array) -> Array:
    return jnp.concatenate(rows, -1)


def _inputs(cell: Cell, p: Params, rows: Array) -> Array:
    return cell.inputs(p, rows, jnp.matmul)


def _step(cell: Cell, p: Params, state: State, now: tuple[Array, ...]) -> State:
    x, *forget = now
    state = recurrence.forgotten(state, *forget) if forget else state
    return cell.step(p, state, x, lambda a, name: a @ p[name])


def _operator(graph: Graph, cell: Cell, p: Params, state: Any, rows: Value, reverse: bool) -> tuple[Any, Value]:
    kind, attributes, gates = OPERATORS[type(cell)]
    size, direction = state["h"].shape[-1], "reverse" if reverse else "forward"

    W, U, b = (regrouped(p[name], gates)[None] for name in ("W", "U", "b"))
    of_state = np.zeros_like(b)
    of_state[0, -size:] = p.get("b_u", 0)
    names = [name for name in ("h", "c") if name in state]
    before = [graph.op("Unsqueeze", state[name].name, np.array([0])) for name in names]
    operands = rows.name, W, U, np.concatenate([b, of_state], axis=1), "", *before
    hs, *last = graph.op(kind, *operands, outputs=1 + len(names), hidden_size=size, direction=direction, **attributes)
    after = {
        name: replace(state[name], name=graph.op("Squeeze", one, np.array([0]))) for name, one in zip(names, last, strict=True)
    }
    return after, Value(graph.op("Squeeze", hs, np.array([1])), (TIME, BATCH, size))


def empty(graph: Graph, config: NetworkConfig, ids: Value) -> list[Any]:
    """The states before anything is read."""
    return graph.call(lambda ids: model.start(config, ids.shape[1]), ids)


def ends(graph: Graph, config: NetworkConfig, ids: Value) -> Value | None:
    """Where EOS makes a network forget; None where it carries its state on."""
    return None if config.carry else graph.call(lambda ids: ids == EOS, ids)


# ---- models of text ----------------------------------------------------------------------------------------------------


def language(lm: Any) -> Network:
    """A language model: what follows each symbol. One that writes by label also reads the share of each label [B, L]."""
    config, params = lm.config, lm.params
    graph, ids = begin(lm)
    states = [
        {name: Value(f"layer{k}_{name}", (BATCH, *one.shape[1:])) for name, one in state.items()}
        for k, state in enumerate(model.start(config, 1))
    ]
    rows, shares = looked_up(graph, params["embedding"], ids), []
    if lm.kind is kinds.WRITER:
        shares = [Value("labels", (BATCH, len(config.labels)))]
        rows = graph.call(lambda rows, shares: rows + shares @ params["labels"], rows, *shares)
    after, hs = stack(graph, config, params, states, rows, ends(graph, config, ids))

    def log_p(hs: Array) -> Array:
        return jax.nn.log_softmax(model.logits(params, model.head_inputs(config, params, hs, None), F32))

    before, outputs = jax.tree.leaves(states), [graph.output("log_p", graph.call(log_p, hs))]
    outputs += [graph.output(f"next_{old.name}", new) for old, new in zip(before, jax.tree.leaves(after), strict=True)]
    example = {"ids": _lines(config.vocab)} | {one.name: np.zeros((LINES, *one.shape[1:]), np.float32) for one in before}
    example |= {one.name: np.eye(len(config.labels), dtype=np.float32)[np.arange(LINES) % len(config.labels)] for one in shares}

    def compared(found: Tensors) -> Iterator[tuple[Any, Any]]:
        for column in range(LINES):
            of = lm.by({config.labels[column % len(config.labels)]: 1.0}) if shares else lm
            _, logits = of.read(of.start(1), example["ids"][:, [column]].astype(np.int32))
            yield jax.nn.log_softmax(logits[:, 0]), found["log_p"][:, column]

    use = (
        "ids [T, B] begin with 0 (EOS). log_p [t, b] are the natural logarithms of the probabilities of what follows ids [t, b], "
        "where 0 is the end. layer… are the states: zeros at first, then the next_layer… of the call before."
        + " labels [B, L] are the shares of the labels to write by, which sum to 1."
        * bool(shares)
    )
    return Network(graph, [IDS, *shares, *before], outputs, use, example, compared)


def between(lm: Any) -> Network:
    """A cloze model: each symbol, given all others."""
    config, params = lm.config, lm.params
    graph, ids = begin(lm)
    rows, forget = looked_up(graph, params["embedding"], ids), ends(graph, config, ids)
    lefts = stack(graph, config, params, empty(graph, config, ids), rows, forget)[1]
    rights = stack(graph, config, params["back"], empty(graph, config, ids), rows, forget, reverse=True)[1]

    def log_p(lefts: Array, rights: Array) -> Array:
        before, after = (lax.pad(hs, 0.0, [(by, -by, 0), (0, 0, 0), (0, 0, 0)]) for hs, by in ((lefts, 1), (rights, -1)))
        hs = model.head_inputs(config, params, jnp.concatenate([before, after], -1), None)
        return jax.nn.log_softmax(model.logits(params, hs, F32))

    outputs, example = [graph.output("log_p", graph.call(log_p, lefts, rights))], {"ids": _lines(config.vocab)}

    def compared(found: Tensors) -> Iterator[tuple[Any, Any]]:
        window, beyond = example["ids"].astype(np.int32), np.zeros((ROWS, LINES), bool)
        for place in range(1, ROWS - 1):
            yield jax.nn.log_softmax(lm.logits(window, beyond, np.full(LINES, place))), found["log_p"][place]

    use = (
        f"ids [T, B] begin with 0 (EOS) and end with it{', twice' * config.carry}. log_p [t, b] are the natural logarithms of "
        "the probabilities of the symbol at ids [t, b], given all others; at the two ends they mean nothing."
    )
    return Network(graph, [IDS], outputs, use, example, compared)


def _lines(vocab: int) -> np.ndarray:
    """Ids of lines, in the middle of which one ends."""
    ids = np.random.default_rng(0).integers(UNK, vocab, (ROWS, LINES))
    ids[[0, -1]], ids[ROWS // 2, 1] = EOS, EOS
    return ids


# ---- models that label -------------------------------------------------------------------------------------------------


def labeller(lm: Any) -> Network:
    """A model that labels: the labels of each text, a tag for each symbol. With letters, ids from V on are words that are not in
    the vocabulary, as rows of the input `letters` [W, M]."""
    config, params = lm.config, lm.params
    graph, ids = begin(lm)
    table: Any = _vectors_of_symbols(lm)
    spelt = []
    if config.hashed:
        spelt = [Value("letters", (WORDS, spelling.MOST), jnp.int64)]
        graph.dims[str(WORDS)] = graph.op("Shape", "letters", start=0, end=1)

        def unknown(buckets: Array) -> Array:
            own = params["embedding"][UNK] + letters.vectors(params["letters"], buckets)
            given = [jnp.broadcast_to(params["vectors"][UNK], (buckets.shape[0], config.vectors))] if config.vectors else []
            return jnp.concatenate([own, *given], -1)

        buckets = Value(graph.op("Cast", "letters", to=onnx_type(jnp.int32)), spelt[0].shape, jnp.int32)
        others = graph.call(unknown, buckets)
        table = Value(graph.op("Concat", table, others.name, axis=0), others.shape)
    rows, forget = looked_up(graph, table, ids), graph.call(lambda ids: ids == EOS, ids)
    hs = stack(graph, config, params, empty(graph, config, ids), rows, forget)[1]
    if config.direction == "both":
        rights = stack(graph, config, params["back"], empty(graph, config, ids), rows, forget, reverse=True)[1]
        hs = graph.call(lambda *both: jnp.concatenate(both, -1), hs, rights)
    if config.head_norm:
        hs = graph.call(partial(normalised, params["heads"]["norm"]), hs)

    def log_p(name: str, hs: Array) -> Array:
        head = params["heads"][name]
        logits = (hs @ head["W"] + head["b"]) / lm.temperature(name)
        return jax.nn.log_sigmoid(logits) if name == "labels" and config.several else jax.nn.log_softmax(logits)

    outputs = [graph.output("tags", graph.call(partial(log_p, "tags"), hs))] if config.tags else []
    if config.labels:
        outputs.append(graph.output("labels", graph.call(lambda hs, ids: log_p("labels", _pooled(config, hs, ids)), hs, ids)))
    example, data = _texts(lm)

    def compared(found: Tensors) -> Iterator[tuple[Any, Any]]:
        for column, one in enumerate(lm.logits(data)):
            for name, logits in one._asdict().items():
                if logits is not None:
                    p = lm.probabilities(logits, name)
                    wanted = found[name][column] if name == "labels" else found[name][1 : 1 + len(logits), column]
                    yield np.log(np.maximum(p, np.finfo(np.float32).tiny)), wanted

    use = (
        "ids [T, B] begin and end with 0 (EOS), and go on with 0 where other texts are longer. labels [b] are the natural "
        "logarithms of the probabilities of the labels of text b, tags [t, b] those of the tags of the symbol at ids [t, b], in "
        "the order of their names."
        + f" letters [W, {spelling.MOST}] are the words that are not among the symbols, the first of which has the id "
        f"{config.vocab}: the buckets of their letters, as lmgen.labelled.spelling.hashed makes them, then -1." * config.hashed
    )
    return Network(graph, [IDS, *spelt], outputs, use, example, compared)


def _vectors_of_symbols(lm: Any) -> np.ndarray:
    """What the network reads of each symbol of the vocabulary [V, E]."""
    config, found = lm.config, []
    for ids in np.split(np.arange(config.vocab), np.arange(letters.AT_ONCE, config.vocab, letters.AT_ONCE)):
        numbers, *spelt = words.inputs_of(ids[None].astype(np.int32), lm.spelt())
        inputs = labelling.Inputs(numbers, None, None, None, None, *spelt)
        found.append(np.asarray(words.embedded(config, F32, lm.params, inputs, None))[0])
    return np.concatenate(found)


def _pooled(config: Any, hs: Array, ids: Array) -> Array:
    """As `labelling.pool`, of one text a column."""
    there = ids != EOS
    counted, parts = jnp.cumsum(there, 0), []
    total = there.sum(0)

    def at(place: Any, hs: Array) -> Array:
        return jnp.where((there & (counted == place))[..., None], hs, 0).sum(0)

    if config.pool != "mean":
        parts += [at(total, hs[..., : config.size])]
        parts += [at(1, hs[..., config.size :])] if config.direction == "both" else []
    if config.pool != "last":
        parts.append(jnp.where(there[..., None], hs, 0).sum(0) / jnp.maximum(total, 1)[:, None])
    return jnp.concatenate(parts, -1)


def _texts(lm: Any) -> tuple[Tensors, Coded]:
    """An example of texts, one with a word that is not in the vocabulary."""
    vocab, others = lm.config.vocab, ["Neverland-7"]
    lengths = np.array([4, 1, ROWS - 2])
    starts = np.concatenate([[1], 1 + np.cumsum(lengths + 1)[:-1]])
    stream = np.zeros(starts[-1] + lengths[-1] + 1, np.int64)
    ids, random = np.zeros((ROWS, LINES), np.int64), np.random.default_rng(0)
    for column, (start, length) in enumerate(zip(starts, lengths, strict=True)):
        stream[start : start + length] = ids[1 : 1 + length, column] = random.integers(UNK, vocab, length)
    stream[2] = vocab
    ids[2, 0] = vocab if lm.config.hashed else UNK
    example = {"ids": ids}
    if lm.config.hashed:
        buckets = spelling.hashed(others)
        example["letters"] = np.pad(buckets, ((0, 0), (0, spelling.MOST - buckets.shape[1])), constant_values=-1).astype(np.int64)
    return example, Coded(stream, starts, lengths, None, None, others=others)


# ---- models of pairs ---------------------------------------------------------------------------------------------------


def translator(lm: Any) -> Network:
    """A model that translates: what follows each symbol of a target, given its source and the symbols before it."""
    config, params = lm.config, lm.params
    graph, ids = begin(lm)
    known = graph.call(partial(translating.known, config), ids)
    rows = looked_up(graph, params["embedding"], known)
    source = graph.call(lambda ids: (jnp.cumsum(ids == config.separator, 0) == 0) & (ids != EOS), ids)
    forget, beyond = graph.call(lambda ids, source: (ids == EOS, ~source), ids, source)
    hs = stack(graph, config, params, empty(graph, config, ids), rows, forget)[1]
    rights = stack(graph, config, params["back"], empty(graph, config, ids), rows, beyond, reverse=True)[1]
    read = lambda hs: normalised(params["head"], hs) if config.head_norm else hs  # noqa: E731

    def following(hs: Array, rights: Array, ids: Array, source: Array) -> list[Array]:
        hs, memory = read(hs), jnp.concatenate([hs, rights], -1)
        if config.attention:
            context, weights = translating.attend(params, hs, memory, source.T[None], F32)
            hs = translating.joined(params, hs, context, F32)
        log_p = jax.nn.log_softmax(model.logits(translating.head(config, params), hs, F32))
        if not config.copy:
            return [log_p]
        g = translating.gate(params, hs, F32)[..., None]
        same = (ids.T[..., None] == jnp.arange(config.targets)).astype(jnp.float32)
        writes = g * jnp.exp(log_p) + (1 - g) * jnp.einsum("tbs,bsv->tbv", weights, same)
        return [jnp.log(writes + translating.TINY), jnp.log((1 - g) * weights + translating.TINY)]

    found = graph.call(following, hs, rights, ids, source)
    outputs = [graph.output(name, value) for name, value in zip(("log_p", "copies"), found, strict=False)]
    example, inputs, targets = _pairs(config)

    def compared(found: Tensors) -> Iterator[tuple[Any, Any]]:
        nats = np.asarray(translating.nats(config, F32, params, inputs, targets, None))
        for wanted, target, (t, b) in zip(nats, targets.tolist(), zip(*divmod(inputs.at, LINES), strict=True), strict=True):
            places = example["ids"][:, b] == target
            got = found["log_p"][t, b, target] if target < config.targets else np.log(np.exp(found["copies"][t, b, places]).sum())
            yield -wanted, got

    sep = config.separator
    use = (
        f"ids [T, B] are 0 (EOS), a source, {sep} (between the two), the symbols of its target so far, and 0 where others are "
        "longer. log_p [t, b] are the natural logarithms of the probabilities of what follows ids [t, b], where 0 is the end; "
        "before the target they mean nothing."
        + f" Words that are not among the symbols have ids from {sep + 1} on. They, and all from {config.targets} on, are "
        "copied: copies [t, b, s] are the logarithms of the probabilities that the one at ids [s, b] is." * config.copy
    )
    return Network(graph, [IDS], outputs, use, example, compared)


def _pairs(config: Any) -> tuple[Tensors, translating.Inputs, Any]:
    """An example of pairs, one of which copies where the model does: as its graph and as `translating.nats` reads them."""
    random, sep = np.random.default_rng(0), config.separator
    ids, following = np.zeros((ROWS, LINES), np.int64), np.full((ROWS, LINES), -1)
    for column, (many, more) in enumerate([(3, 4), (1, 1), (4, 2)]):
        source, target = random.integers(UNK, config.vocab, many), random.integers(EOS, config.targets, more)
        if config.copy:
            source[0] = target[0] = sep + 1
        read = np.array([EOS, *source, sep, *target[:-1]])
        ids[: len(read), column] = read
        following[1 + many : len(read), column] = target
    at = np.flatnonzero(following >= 0)
    sources = (np.cumsum(ids == sep, 0) == 0) & (ids != EOS)
    slots = np.broadcast_to(np.arange(LINES), ids.shape)
    inputs = translating.Inputs(ids.astype(np.int32), slots, sources, ids == EOS, at)
    return {"ids": ids}, inputs, following.reshape(-1)[at].astype(np.int32)


NETWORKS: dict[kinds.Kind, Callable[[Any], Network]] = {
    kinds.RECURRENT: language,
    kinds.WRITER: language,
    kinds.CLOZE: between,
    kinds.LABELLER: labeller,
    kinds.TRANSLATOR: translator,
}
