"""Samples of a model given a constraint, exactly: adaptive rejection sampling (Parys et al. 2025, "Constrained adaptive rejection
sampling", arXiv 2510.01902).

A mask alone would give another distribution: where it leaves little of the model's probability, the rest would be scaled up, and
texts behind rare beginnings would come too often. So nothing is scaled up. A trial draws symbol by symbol, and ends in vain with
the probability of all that cannot follow. What was in vain is remembered: a tree of the prefixes that trials have read holds for
each an upper bound b(u) of the probability that a text that begins with u satisfies the constraint; 1 for a prefix not yet read,

    b(u) = Σ_a p(a | u) b(ua)    after reading u, where b(ua) = 0 for each symbol that cannot follow.

A trial at u, for which it holds the bound c, goes on to ua with the probability p(a | u) b(ua) / c, then holds b(ua), and ends in
vain with what is left, which is no less than 0 since bounds only fall. The quotients along a text x cancel, and it is found with
the probability p(x) / c₀, where c₀ was the bound of the empty prefix when the trial began: proportional to p(x), whatever is
remembered, and by whichever trials. Trials count in the order of their numbers, not in that in which they end, because short
texts end first. A full tree learns no more, and nothing else changes. Shapes: B rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from lmgen.constraints.constraint import Constraint
from lmgen.data.vocab import EOS
from lmgen.errors import InputError
from lmgen.models.capabilities import Generates, RunsCompiled, State, can, finite

ROWS = 64  # trials side by side: always as many, so that the seed alone decides
MOST_SYMBOLS = 1_000_000  # read for one sample
MOST_PREFIXES = 200_000  # remembered, about 60 MB
BLOCK = 32  # random numbers drawn at a time
ROUNDING = 1e-9  # the least share of a bound that a difference may leave of it
TINY = 1e-15  # of a bound, too little to pass on

# A hashable function (values, logits [B, V], ids read [B, V]) -> (probabilities of what is drawn, the model's nats); its values.
Drawing = tuple[Callable[[Any, Any, Any], tuple[Array, Array]], Any]


class _Prefix:
    """A prefix that was read: its bound, and those of the prefixes one symbol longer, by that symbol."""

    __slots__ = ("bound", "longer")

    def __init__(self) -> None:
        self.bound = 1.0
        self.longer: dict[int, _Prefix] = {}

    def lower(self, bound: float) -> float:
        """Lower the bound as far as the rounding of a difference allows; by how much."""
        before, self.bound = self.bound, max(bound, self.bound * ROUNDING)
        return before - self.bound


class _Trial:
    """A text in the making: its number, the ids and nats drawn, the state of the constraint, the bound that it held at first and
    holds now, and the prefixes that it passed with the probability of the symbol drawn behind each."""

    def __init__(self, seed: int, number: int, root: _Prefix, state: int):
        self.number, self.state = number, state
        self.first = self.bound = root.bound
        self.prefix: _Prefix | None = root
        self.ids: list[int] = []
        self.nats: list[float] = []
        self.passed: list[tuple[_Prefix, float]] = []
        self.found = False
        self._random = np.random.Generator(np.random.Philox(key=np.array([seed, number], np.uint64)))
        self._uniforms: list[float] = []

    def uniform(self) -> float:
        if not self._uniforms:
            self._uniforms = self._random.random(BLOCK).tolist()
        return self._uniforms.pop()

    def learn(self, bound: float) -> None:
        """Lower the bound of the prefix just read to its sum, and by that those of the prefixes that it begins with."""
        assert self.prefix
        fall = self.prefix.bound - bound
        self.prefix.bound = min(bound, self.prefix.bound)
        for prefix, p in reversed(self.passed):
            if fall < TINY:
                break
            fall = prefix.lower(prefix.bound - p * fall)


def drawn(
    lm: Generates, drawing: Drawing, constraint: Constraint, prompt: np.ndarray, longest: int, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """An endless stream of the ids and nats of samples behind a prompt; one that may be cut off has `longest` ids at most.

    Raises InputError where no sample can be drawn, or none was among MOST_SYMBOLS.
    """
    root, numbers, network = _Prefix(), count(), _Network(lm, drawing, prompt)
    prefixes, spent, samples, tried = 1, 0, 0, 0.0
    rows = [_Trial(seed, next(numbers), root, constraint.start) for _ in range(ROWS)]
    ended: dict[int, _Trial] = {}
    turn = 0  # the number of the trial whose end is waited for
    while True:
        p, nats = network.read(rows)
        states, lengths = np.array([one.state for one in rows]), np.array([len(one.ids) for one in rows])
        kept = np.where(constraint.allowed(states, lengths), p, 0.0)
        for row, one in enumerate(rows):
            if one.prefix and (longer := one.prefix.longer):
                kept[row, [*longer]] *= [prefix.bound for prefix in longer.values()]
        sums = kept.cumsum(1)
        places = np.array([one.uniform() * one.bound for one in rows])
        chosen = (sums > places[:, None]).argmax(1)
        likely = p[np.arange(ROWS), chosen]
        bounds = kept[np.arange(ROWS), chosen] / np.where(likely > 0, likely, 1)
        for row, one in enumerate(rows):  # after all have chosen: the bounds that a trial holds are those it chose by
            if one.prefix:
                one.learn(float(sums[row, -1]))
            if places[row] >= sums[row, -1]:
                ended[one.number] = one
                continue
            id = int(chosen[row])
            one.ids.append(id)
            one.nats.append(float(nats[row, id]))
            one.state, one.bound = constraint.after(one.state, id), float(bounds[row])
            one.found = constraint.ended(one.state) or (not constraint.whole and len(one.ids) == longest)
            if one.found:
                ended[one.number] = one
            elif one.prefix:
                one.passed.append((one.prefix, float(likely[row])))
                following = one.prefix.longer.get(id)
                if following is None and prefixes < MOST_PREFIXES:
                    following = one.prefix.longer[id] = _Prefix()
                    prefixes += 1
                one.prefix = following
        if not root.bound:
            raise InputError(
                "with these settings the model never draws what is asked for: raise --temperature, or leave out --top-k, "
                "--top-p, --min-p and --typical"
            )
        spent += ROWS
        while turn in ended:
            one, turn = ended.pop(turn), turn + 1
            tried += 1 / one.first
            if one.found:
                spent, samples = 0, samples + 1
                yield np.array(one.ids, np.int32), np.array(one.nats, np.float32)
        if spent > MOST_SYMBOLS:
            raise InputError(_too_rare(turn, samples, tried))
        for row, one in enumerate(rows):
            if one.found or one.number < turn or one.number in ended:
                rows[row] = _Trial(seed, next(numbers), root, constraint.start)


def _too_rare(trials: int, samples: int, tried: float) -> str:
    """The sentence where no sample is found. A trial finds one with the probability (share of all text) / c₀, so samples / Σ 1/c₀
    estimates the share; none in n trials means fewer than 3 in n, with 95 % confidence."""
    share = f"about 1 in {tried / samples:,.0f}" if samples else f"fewer than 1 in {max(1.0, tried / 3):,.0f}"
    return (
        f"{share} of the texts that this model writes is as asked for, and none was among the last {MOST_SYMBOLS:,} symbols "
        f"drawn ({trials:,} texts were begun): ask for less, give a --prompt, or raise --temperature"
    )


def axes_of(lm: Generates) -> tuple[int, ...]:
    """The axis of the rows in each array of a model's state."""
    shapes = zip(*(jax.tree.leaves(lm.start(rows)) for rows in (2, 3)), strict=True)
    return tuple(next(k for k in range(np.ndim(a)) if np.shape(a)[k] != np.shape(b)[k]) for a, b in shapes)


class _Network:
    """The model, read by all rows at a time; a row that begins anew starts from the state behind EOS and the prompt."""

    def __init__(self, lm: Generates, drawing: Drawing, prompt: np.ndarray):
        self.lm, self.prompt = lm, prompt
        self.probabilities, self.values = drawing
        stream = [EOS, *prompt.tolist()]
        self.axes = axes_of(lm)
        self.state: State = lm.start(ROWS)
        for id in stream[:-1]:
            self.state, _ = lm.read(self.state, np.full((1, ROWS), id, np.int32))
        self.first, self.last = self.state, stream[-1]
        self.seen = np.zeros((ROWS, len(lm.vocab)), bool)  # the ids that a row has read, but for EOS

    def read(self, rows: list[_Trial]) -> tuple[np.ndarray, np.ndarray]:
        """The probabilities of the symbol that each row draws next [B, V], which sum to 1, and the model's nats of each."""
        fresh = np.array([not one.ids for one in rows])
        ids = np.array([one.ids[-1] if one.ids else self.last for one in rows], np.int32)
        self.seen[fresh] = False
        self.seen[np.ix_(fresh, np.unique(self.prompt))] = True
        self.seen[np.arange(ROWS), ids] = ids != EOS
        if can(self.lm, RunsCompiled):
            weights, read = self.lm.stepper()
            how = read, self.axes, self.probabilities
            self.state, found = _read(how, weights, self.values, self.first, self.state, fresh, ids, self.seen)
        else:
            self.state, logits = self.lm.read(_restored(self.axes, self.first, self.state, fresh), ids[None])
            found = self.probabilities(self.values, jnp.asarray(logits[0]), self.seen)
        p, nats = (finite(np.asarray(each)) for each in found)
        p = p.astype(np.float64)
        return p / p.sum(1, keepdims=True), nats


@partial(jax.jit, static_argnums=0)
def _read(how: Any, weights: Any, values: Any, first: State, state: State, fresh: Array, ids: Array, seen: Array) -> Any:
    read, axes, probabilities = how
    state, logits = read(weights, _restored(axes, first, state, fresh), ids)
    return state, probabilities(values, logits, seen)


def _restored(axes: tuple[int, ...], first: State, state: State, fresh: Any) -> State:
    """The state, in which the rows that begin anew have the first one."""
    leaves, structure = jax.tree.flatten(state)
    restored = []
    for axis, begun, leaf in zip(axes, jax.tree.leaves(first), leaves, strict=True):
        where = jnp.where if isinstance(leaf, Array) else np.where
        restored.append(where(fresh.reshape([-1 if k == axis else 1 for k in range(leaf.ndim)]), begun, leaf))
    return jax.tree.unflatten(structure, restored)
