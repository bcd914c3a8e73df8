"""New text from a model: read EOS and the prompt, then draw a symbol and read it, until it is EOS.

Logits pass through transforms that compose; then a symbol is drawn. One loop serves several sequences at a time: the compiled
sampler (compiled.py) if there is one for the model that has the transforms, else the loop written here, which is its oracle. Each
sequence has a random key of its own, from the seed and its number, so the same seed gives the same text alone, in a batch, on the
command line and from Python. Shapes: B rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import count
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from lmgen.constraints.constraint import asks, constraint
from lmgen.data.corpus import among
from lmgen.data.vocab import EOS
from lmgen.errors import InputError
from lmgen.generation import compiled, conditional
from lmgen.generation.compiled import DRAWN, Rows, uniform
from lmgen.generation.stops import cut, until
from lmgen.generation.transforms import LEAST, OF_SEEN, TRANSFORMS, draw, transformed, without_unknown
from lmgen.models.capabilities import Generates, Model, RunsCompiled, can, finite, require
from lmgen.nn.attention import Attention
from lmgen.nn.cells import CELLS
from lmgen.options import table
from lmgen.options.commands import SAMPLING
from lmgen.pages import notebook
from lmgen.system import devices

ROWS = 16  # sequences side by side: always as many for a model, because a product of another shape differs in its last bits
STEPS = DRAWN  # symbols in a call of the loop
COMPILED_ROWS = 64  # the most: the kernels give a row the same bits whatever is beside it
COMPILED_STEPS = 8 * DRAWN
Values = dict[str, np.ndarray]  # what each row draws by [B]: the value of each transform, and whether UNK may be drawn
BETWEEN = {"line": "\n", "paragraph": "\n\n", "file": ""}  # the text between two sequences
HOTTEST = 1e9  # the bound of a temperature that 32 bits can tell from others
ENOUGH_DRAWS = 1000  # draws in a row, and as many more as samples were found, without a new one: then there are hardly any more
ALONE, CARRIED = {"count": 10, "lines": 1}, {"count": 1, "lines": 10}  # the defaults, and those with a carried state


@dataclass(frozen=True)
class Settings:
    """How to draw. temperature 0 takes the likeliest symbol; top_k 0, top_p 1, min_p 0 and typical 1 keep all symbols.

    A sample ends after `lines` EOS (more than one only with a carried state; None for the default), before a `stop`, or after
    `max_length` symbols. The other fields say what a sample must be like: see `constraints.constraint`.
    Raises InputError for a value that cannot be used.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    typical: float = 1.0
    repetition_penalty: float = 1.0
    starts_with: str = ""
    ends_with: str = ""
    contains: tuple[str, ...] | None = None
    matches: str = ""
    ban: tuple[str, ...] | None = None
    length: tuple[int, int | None] | None = None
    min_length: int = 0
    stop: tuple[str, ...] | None = None
    max_length: int = 1000
    lines: int | None = None
    unknown: bool = False

    def __post_init__(self) -> None:
        for option in SAMPLING:
            if (value := getattr(self, option.name)) is not None or option.default is not None:
                object.__setattr__(self, option.name, table.check(option.name, option.kind, value))
        object.__setattr__(self, "temperature", min(self.temperature, HOTTEST))
        for name in ("top_p", "typical"):
            object.__setattr__(self, name, max(getattr(self, name), LEAST))


def defaults(lm: Model) -> dict[str, int]:
    """The number of samples, and of lines in each, unless the user says otherwise."""
    return CARRIED if lm.carry else ALONE


# ---- the loop ---------------------------------------------------------------------------------------------------------


@partial(jax.jit, static_argnums=0)
def _following(
    names: tuple[str, ...], logits: Array, values: Values, uniforms: Array, forced: Array, seen: Any
) -> tuple[Array, Array]:
    """The next symbol of each row, and its nats by the model without transforms."""
    changed = transformed(without_unknown(logits, values["unknown"]), names, tuple(values[name] for name in names), seen)
    following = jnp.where(forced < 0, draw(changed, uniforms), forced)
    return following, jax.nn.logsumexp(logits, -1) - jnp.take_along_axis(logits, following[:, None], -1)[:, 0]


@partial(jax.jit, static_argnums=(0, 1))
def _steps(
    read: Callable, names: tuple[str, ...], weights: Any, values: Values, rows: Rows, forced: Any, at: Any, wanted: Any
) -> tuple[Rows, Array, Array]:
    """The next symbols of every row, at most STEPS: the rows after them, ids and nats [STEPS, B]. `forced` [STEPS, B] holds the
    ids of the prompts, then −1; `at` [B] is the place of each row in its text."""
    uniforms = uniform(rows.keys, at, STEPS)

    def one(carry: tuple) -> tuple:
        k, rows, ids, nats = carry
        state, logits = read(weights, rows.state, rows.last)
        seen = rows.seen.at[jnp.arange(len(rows.last)), rows.last].set(rows.last != EOS) if rows.seen is not None else None
        following, nat = _following(names, logits, values, uniforms[k], forced[k], seen)
        left = rows.left - ((following == EOS) & (forced[k] < 0) & (rows.left > 0))
        return k + 1, Rows(state, following, left, rows.keys, seen), ids.at[k].set(following), nats.at[k].set(nat)

    def more(carry: tuple) -> Array:
        return (carry[0] < jnp.minimum(wanted, STEPS)) & (carry[1].left > 0).any()

    shape = STEPS, len(rows.last)
    empty = jnp.zeros(shape, jnp.int32), jnp.zeros(shape)
    return lax.while_loop(more, one, (0, rows, *empty))[1:]


def _steps_outside(
    lm: Generates, names: tuple[str, ...], values: Values, rows: Rows, forced: np.ndarray, at: np.ndarray, wanted: int
) -> tuple[Rows, np.ndarray, np.ndarray]:
    """As `_steps`, for a model without a function for compiled loops."""
    uniforms = np.asarray(uniform(rows.keys, at, STEPS))
    state, last, left = rows.state, np.asarray(rows.last), np.array(rows.left)
    ids, nats = np.zeros((STEPS, len(left)), np.int32), np.zeros((STEPS, len(left)), np.float32)
    seen = None if rows.seen is None else np.array(rows.seen)
    for k in range(min(wanted, STEPS)):
        if not left.any():
            break
        state, logits = lm.read(state, last[None])
        if seen is not None:
            seen[np.arange(len(left)), last] = last != EOS
        ids[k], nats[k] = _following(names, jnp.asarray(logits[0]), values, uniforms[k], forced[k], seen)
        last = ids[k]
        left -= (last == EOS) & (forced[k] < 0) & (left > 0)
    return Rows(state, last, left, rows.keys, seen), ids, nats


@dataclass(frozen=True)
class Sample:
    """One sample: its text with the prompt; nats (by the model without transforms) and number of the symbols drawn; whether EOS
    ended it; whether all its sequences are in the corpus (None if that is not known); the seed that draws it again."""

    text: str
    nats: float
    symbols: int
    ended: bool
    known: bool | None = None
    seed: int | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        return f"Sample({self.text!r}, {self._notes})"

    @property
    def _notes(self) -> str:
        notes = ["in the corpus" if self.known else "new"] * (self.known is not None) + ["cut off"] * (not self.ended)
        return ", ".join([f"{self.nats:.2f} nats", f"{self.symbols:,} symbols", *notes])

    def _repr_html_(self) -> str:
        return notebook.text(self.text, self._notes)


def samples(lm: Model, settings: Settings, seed: int = 0, prompt: str = "", wanted: int = ROWS) -> Iterator[Sample]:
    """An endless stream of samples, in the order of their numbers; `wanted` is how many will be taken, if that is known.

    Raises InputError for a model that does not write.
    """
    lm = require(lm, Generates, "use lmgen {command}, or train one with --task language --direction forward")
    lines = settings.lines or defaults(lm)["lines"]
    if lines > 1 and not lm.carry:
        raise InputError("this model carries no state from line to line, so --lines has no use: ask for more samples with -n")
    seed, prompt_ids = table.check("seed", table.SEED, seed), lm.vocab.encode(prompt).astype(np.int32)
    between = BETWEEN[lm.sequence]
    asked = constraint(lm.vocab, settings, prompt_ids, lines, between) if asks(settings) else None
    if asked:
        drawing = _probabilities(active(settings), settings.unknown), values_of([settings])
        drawn = conditional.drawn(lm, drawing, asked, prompt_ids, settings.max_length, seed)
    else:
        drawn = _unconditional(lm, settings, lines, seed, prompt_ids, wanted)
    for ids, nats in drawn:
        if settings.stop and not asked:
            end = until(lm.vocab, ids, settings.stop, prompt_ids, between)
            ids, nats = ids[:end], nats[:end]
        every, ended = np.concatenate([prompt_ids, ids]), int((ids == EOS).sum()) >= lines
        text, known = lm.vocab.written(every, between), None
        if not ended and settings.stop:
            whole, text = text, cut(text, settings.stop, len(lm.vocab.decode(prompt_ids)))
            ended = text != whole
        if lm.known is not None:
            parts = text.split(between) if between and settings.stop else _parts(lm, every)
            known = all(is_known(lm, part) for part in parts)
        yield Sample(text, float(nats.sum(dtype=np.float64)), len(ids), ended, known, seed)


def _parts(lm: Model, ids: np.ndarray) -> Iterator[str]:
    """The sequences of a sample."""
    return (lm.vocab.decode(part) for part in np.split(ids, np.flatnonzero(ids == EOS) + 1) if len(part))


def _unconditional(
    lm: Generates, settings: Settings, lines: int, seed: int, prompt: np.ndarray, wanted: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """An endless stream of the ids and nats that the model writes behind a prompt."""
    names = active(settings)
    loop = loop_of(lm, compiled.TRANSFORMS.issuperset(names))
    rows = loop.most if loop.always else max(1, min(wanted, loop.most))
    seen = np.zeros((rows, len(lm.vocab)), bool) if OF_SEEN & {*names} else None
    steps = partial(loop.steps, names, values_of([settings] * rows))
    for first in count(0, rows):
        last, left = np.full(rows, EOS, np.int32), np.full(rows, lines, np.int32)
        start = Rows(lm.start(rows), last, left, keys(devices.random_key(seed), first + np.arange(rows)), seen)
        yield from _drawn(start, lines, len(prompt) + settings.max_length, steps, loop.length, prompt)


def active(settings: Settings) -> tuple[str, ...]:
    """The transforms that change something."""
    return tuple(name for name, (_, off) in TRANSFORMS.items() if getattr(settings, name) != off)


def values_of(settings: Sequence[Settings]) -> Values:
    """What each row draws by [B]."""
    types: dict[str, Any] = {name: np.int32 if isinstance(off, int) else np.float32 for name, (_, off) in TRANSFORMS.items()}
    types["unknown"] = np.bool_
    return {name: np.array([getattr(one, name) for one in settings], kind) for name, kind in types.items()}


@cache
def _probabilities(names: tuple[str, ...], unknown: bool) -> Callable[[Values, Array, Array], tuple[Array, Array]]:
    @jax.jit
    def of(values: Values, logits: Array, seen: Array) -> tuple[Array, Array]:
        changed = transformed(without_unknown(logits, unknown), names, tuple(values[name] for name in names), seen)
        return jax.nn.softmax(changed, -1), -jax.nn.log_softmax(logits, -1)

    return of


class Loop(NamedTuple):
    """The loop for a model: it takes up to `most` rows side by side, or exactly `most` if `always`, and gives up to `length`
    symbols in a call.

    `steps` takes the transforms that are active, the values of the rows, the rows, forced ids [n, B], the place of each row in
    its text [B], and how many symbols are wanted; it gives the rows after them, ids and nats [n, B].
    """

    steps: Callable[[tuple[str, ...], Values, Rows, np.ndarray, np.ndarray, int], tuple[Rows, Any, Any]]
    most: int
    always: bool
    length: int


def loop_of(lm: Any, by_kernels: bool) -> Loop:
    """The loop for a model: that of the kernels, where they have all transforms and the model, or else that of this file."""
    packed = compiled.weights(lm) if by_kernels else None
    if packed:

        def steps(
            names: tuple[str, ...], values: Values, rows: Rows, forced: np.ndarray, at: np.ndarray, wanted: int
        ) -> tuple[Rows, Array, Array]:
            few = 1 << (wanted - 1).bit_length()  # a power of two: few shapes to compile
            return compiled.steps(lm.config, lm.precision, packed, rows, values, forced[:few], at)

        return Loop(steps, COMPILED_ROWS, False, COMPILED_STEPS)
    if not can(lm, RunsCompiled):
        return Loop(partial(_steps_outside, lm), ROWS, True, STEPS)
    weights, read = lm.stepper()
    # With attention, texts one after the other take little longer than side by side, and a single one a tenth of the time.
    rows = 1 if isinstance(CELLS[lm.config.cell], Attention) else ROWS
    return Loop(lambda names, *rest: _steps(read, names, weights, *rest), rows, True, STEPS)


@jax.jit
def keys(key: Array, numbers: Array) -> Array:
    """The random keys of the samples with these numbers."""
    return jax.vmap(jax.random.fold_in, (None, 0))(key, numbers)


def _drawn(
    rows: Rows, lines: int, end: int, steps: Callable[..., tuple[Rows, Any, Any]], length: int, prompt: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The ids and nats that follow the prompt in each row, up to place `end`; a call of `steps` gives `length` symbols."""
    ids, nats = [], []
    for at in range(0, end, length):
        forced = np.full((length, len(rows.last)), -1, np.int32)
        forced[: max(0, min(length, len(prompt) - at))] = prompt[at : at + length, None]
        rows, some_ids, some_nats = steps(rows, forced, np.full(len(rows.last), at), end - at)
        ids.append(np.asarray(some_ids))
        nats.append(finite(np.asarray(some_nats)))
        if not np.asarray(rows.left).any():
            break
    all_ids, all_nats = np.concatenate(ids)[len(prompt) : end], np.concatenate(nats)[len(prompt) : end]
    for row in range(all_ids.shape[1]):
        stops = np.flatnonzero(all_ids[:, row] == EOS)
        until = stops[lines - 1] + 1 if len(stops) >= lines else len(all_ids)
        yield all_ids[:until, row], all_nats[:until, row]


def is_known(lm: Model, text: str) -> bool:
    """Whether a sequence is in the corpus of a model, by its 64-bit fingerprint."""
    assert lm.known is not None
    return bool(among(np.array(lm.fingerprints(text), np.uint64), lm.known).any())


def distinct_samples(drawn: Iterator[Sample], wanted: int, novel: bool = False) -> Iterator[Sample]:
    """The samples without repeats and, if `novel`, without those that are in the corpus or were cut off.

    As many as wanted, or fewer where no new one has come for long.
    """
    seen: set[str] = set()
    in_vain = 0
    while len(seen) < wanted and in_vain < ENOUGH_DRAWS + len(seen):
        sample = next(drawn, None)
        if sample is None:
            return
        in_vain += 1
        if sample.text not in seen and not (novel and (sample.known or not sample.ended)):
            seen.add(sample.text)
            in_vain = 0
            yield sample
