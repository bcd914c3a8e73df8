"""New sequences from a model: read EOS and the prompt, then draw and read until the model says EOS.

Logits pass through transforms that compose; what remains is drawn categorically. One loop serves several sequences at a time:
the kernels' (writer.py) where there are some for the network, else the one written here, which is their oracle. Each sequence has
a random key of its own, made from the seed and its number, so the same seed gives the same text alone, in a batch, on the
command line and from Python. Shapes: B rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from lmgen.data.corpus import fingerprint
from lmgen.data.vocab import EOS, UNK
from lmgen.errors import InputError
from lmgen.generation.compiled import DRAWN, Writer, uniform, writer
from lmgen.models.networks import Cloze, LanguageModel, sound
from lmgen.options import table
from lmgen.options.commands import SAMPLING
from lmgen.system import devices

ROWS = 16  # sequences generated side by side: always so many, for a product of other shape differs in its last bits
STEPS = DRAWN  # symbols a call of the loop
MOST_ROWS = 64  # of the kernels, which give a row the same bits whatever is beside it
COMPILED_STEPS = 8 * DRAWN
NOTHING = -1e30  # the logit of what must not be drawn
BETWEEN = {"line": "\n", "paragraph": "\n\n", "file": ""}  # what stands between two sequences of a text
HOTTEST, LEAST = 1e9, 1e-30  # beyond these 32 bits tell no more: of the temperature; of it and of top-p
ENOUGH_DRAWS = 1000  # in a row that bring nothing new, and as many more as were found: then there is hardly more to be found


@dataclass(frozen=True)
class Settings:
    """How to draw. temperature 0 takes the likeliest; top_k 0, top_p 1 and min_p 0 leave all symbols in. What 32 bits cannot
    hold is brought to the nearest that they can.

    `lines` is how many EOS end a sample (more than one only for a model that carries its state over EOS), `max_length` how many
    symbols end it in any case. Raises InputError for a value that means nothing.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    max_length: int = 1000
    lines: int = 1
    unknown: bool = False

    def __post_init__(self) -> None:
        for option in SAMPLING:
            object.__setattr__(self, option.name, table.check(option.name, option.kind, getattr(self, option.name)))
        object.__setattr__(self, "temperature", min(self.temperature, HOTTEST))
        object.__setattr__(self, "top_p", max(self.top_p, LEAST))


# ---- transforms: logits [B, V] -> logits [B, V] ------------------------------------------------------------------------


def temperature(logits: Array, value: Array) -> Array:
    """Divide by the temperature, after the largest logit was moved to 0; so 0 leaves nothing but the largest."""
    return (logits - logits.max(-1, keepdims=True)) / jnp.maximum(value, LEAST)


def top_k(logits: Array, value: Array) -> Array:
    """Keep the k largest (and what equals the k-th); k beyond V keeps all (Fan et al. 2018)."""
    ordered = jnp.sort(logits, -1, descending=True)
    kth = jnp.take_along_axis(ordered, jnp.full((logits.shape[0], 1), jnp.clip(value - 1, 0, logits.shape[1] - 1), jnp.int32), -1)
    return jnp.where(logits < kth, NOTHING, logits)


def top_p(logits: Array, value: Array) -> Array:
    """Keep the fewest largest whose probabilities sum to p or more (Holtzman et al. 2020)."""
    order = jnp.argsort(logits, -1, descending=True)
    p = jnp.take_along_axis(jax.nn.softmax(logits, -1), order, -1)
    kept = jnp.cumsum(p, -1) - p < value  # what comes before it does not suffice
    rank = jnp.argsort(order, -1)
    return jnp.where(jnp.take_along_axis(kept, rank, -1), logits, NOTHING)


def min_p(logits: Array, value: Array) -> Array:
    """Keep what has at least min_p times the probability of the largest (Nguyen et al. 2024)."""
    return jnp.where(logits - logits.max(-1, keepdims=True) < jnp.log(value), NOTHING, logits)


# In the order in which they apply; each names the setting that it reads and the value that leaves it out.
TRANSFORMS: dict[str, tuple[Callable[[Array, Array], Array], float]] = {
    "temperature": (temperature, 1.0),
    "top_k": (top_k, 0),
    "top_p": (top_p, 1.0),
    "min_p": (min_p, 0.0),
}


def transformed(logits: Array, names: tuple[str, ...], values: tuple[Array, ...]) -> Array:
    """The logits after the named transforms, in the order of the table."""
    for name, value in zip(names, values, strict=True):
        logits = TRANSFORMS[name][0](logits, value)
    return logits


def draw(logits: Array, uniform: Array) -> Array:
    """A symbol for each row, by inverting the cumulated softmax at a uniform number in [0, 1)."""
    p = jax.nn.softmax(logits, -1)
    cumulated = jnp.cumsum(p, -1)
    total = cumulated[:, -1:]
    place = jnp.minimum(uniform[:, None] * total, jnp.nextafter(total, 0.0))
    return jnp.argmax(cumulated > place, -1).astype(jnp.int32)


# ---- the loop ---------------------------------------------------------------------------------------------------------


class _Rows(NamedTuple):
    """What goes from one call of the loop to the next."""

    state: Any
    last: Array | np.ndarray  # [B] the id read next
    left: Array | np.ndarray  # [B] how many EOS are still to come; 0 ends the row
    keys: Array  # [B] random keys


@partial(jax.jit, static_argnums=(0, 1))
def _following(
    names: tuple[str, ...], unknown: bool, logits: Array, values: tuple, uniforms: Array, forced: Array
) -> tuple[Array, Array]:
    """What follows in each row, and its nats by the model as it is."""
    allowed = logits if unknown else logits.at[:, UNK].set(NOTHING)
    following = jnp.where(forced < 0, draw(transformed(allowed, names, values), uniforms), forced)
    return following, jax.nn.logsumexp(logits, -1) - jnp.take_along_axis(logits, following[:, None], -1)[:, 0]


@partial(jax.jit, static_argnums=(0, 1, 2))
def _steps(
    read: Callable,
    names: tuple[str, ...],
    unknown: bool,
    weights: Any,
    rows: _Rows,
    values: tuple,
    forced: Array,
    at: Array,
    wanted: Array,
):
    """Symbols of every row, `STEPS` or as many as are wanted: their ids and nats, both [STEPS, B]. `forced` [STEPS] are the
    prompt's ids, −1 after it."""
    uniforms = uniform(rows.keys, at, STEPS)

    def one(k: Any, carry: tuple) -> tuple:
        rows, ids, nats = carry
        state, logits = read(weights, rows.state, rows.last)
        following, nat = _following(names, unknown, logits, values, uniforms[k], forced[k])
        left = rows.left - ((following == EOS) & (forced[k] < 0) & (rows.left > 0))
        return _Rows(state, following, left, rows.keys), ids.at[k].set(following), nats.at[k].set(nat)

    empty = jnp.zeros((STEPS, ROWS), jnp.int32), jnp.zeros((STEPS, ROWS))
    _, (rows, ids, nats) = lax.while_loop(
        lambda carry: (carry[0] < jnp.minimum(wanted, STEPS)) & (carry[1][0].left > 0).any(),
        lambda carry: (carry[0] + 1, one(carry[0], carry[1])),
        (0, (rows, *empty)),
    )
    return rows, ids, nats


def _steps_outside(
    lm: LanguageModel,
    names: tuple[str, ...],
    unknown: bool,
    rows: _Rows,
    values: tuple,
    forced: np.ndarray,
    at: int,
    wanted: int,
) -> tuple[_Rows, np.ndarray, np.ndarray]:
    """As `_steps`, for a model that computes outside of compiled loops."""
    uniforms = np.asarray(uniform(rows.keys, np.int64(at), STEPS))
    state, last, left = rows.state, np.asarray(rows.last), np.array(rows.left)
    ids, nats = np.zeros((STEPS, ROWS), np.int32), np.zeros((STEPS, ROWS), np.float32)
    for k in range(min(wanted, STEPS)):
        if not left.any():
            break
        state, logits = lm.read(state, last[None])
        ids[k], nats[k] = _following(names, unknown, jnp.asarray(logits[0]), values, uniforms[k], forced[k])
        last = ids[k]
        left -= (last == EOS) & (forced[k] < 0) & (left > 0)
    return _Rows(state, last, left, rows.keys), ids, nats


@dataclass(frozen=True)
class Sample:
    """One sequence: its text with the prompt, the nats (of the model as it is, whatever the transforms) and the number of the
    symbols drawn, whether EOS ended it, whether all its lines stand in the corpus (None where the model does not know), and the
    seed that draws it again."""

    text: str
    nats: float
    symbols: int
    ended: bool
    known: bool | None = None
    seed: int | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        said = ["in the corpus" if self.known else "new"] * (self.known is not None) + ["cut off"] * (not self.ended)
        return f"Sample({', '.join([repr(self.text), f'{self.nats:.2f} nats', f'{self.symbols:,} symbols', *said])})"


def samples(
    lm: LanguageModel | Cloze, settings: Settings, seed: int = 0, prompt: str = "", wanted: int = ROWS
) -> Iterator[Sample]:
    """Sequences without end, in the order of their numbers; `wanted` says how many will be taken, if that is known.

    Raises InputError for a cloze model.
    """
    if isinstance(lm, Cloze):
        raise InputError(
            "this model reads from both sides, so it cannot write from left to right: let it fill blanks with lmgen fill, or "
            "train one without --direction both"
        )
    if settings.lines > 1 and not lm.carry:
        raise InputError("the sequences of this model do not depend on each other, so --lines has no use: ask for more with -n")
    seed = table.check("seed", table.SEED, seed)
    prompt_ids = lm.vocab.encode(prompt).astype(np.int32)
    compiled = writer(lm)
    rows = max(1, min(wanted, MOST_ROWS)) if compiled else ROWS
    steps = _compiled_steps(compiled, settings) if compiled else _jax_steps(lm, settings)
    for first in count(0, rows):
        for ids, nats in _batch(lm, settings, steps, seed, first, rows, prompt_ids):
            ended = int((ids == EOS).sum()) >= settings.lines
            every = np.concatenate([prompt_ids, ids])
            text = lm.vocab.decode(every, BETWEEN[lm.sequence])
            known = None if lm.known is None else all(is_known(lm, part) for part in _sequences(lm, every))
            yield Sample(text, float(nats.sum(dtype=np.float64)), len(ids), ended, known, seed)


# A function (rows, forced ids [n], place in the text, symbols wanted) -> (rows, ids [n, B], nats [n, B]), and the greatest n.
Steps = tuple[Callable[[Any, np.ndarray, int, int], tuple[Any, Any, Any]], int]


def _jax_steps(lm: LanguageModel, settings: Settings) -> Steps:
    active = tuple(name for name, (_, off) in TRANSFORMS.items() if getattr(settings, name) != off)
    values = tuple(np.asarray(getattr(settings, name), np.int32 if name == "top_k" else np.float32) for name in active)
    stepper = lm.stepper()
    if stepper is None:
        return lambda rows, *rest: _steps_outside(lm, active, settings.unknown, rows, values, *rest), STEPS
    weights, read = stepper
    return lambda rows, *rest: _steps(read, active, settings.unknown, weights, rows, values, *rest), STEPS


def _compiled_steps(compiled: Writer, settings: Settings) -> Steps:
    def steps(rows: _Rows, forced: np.ndarray, at: int, wanted: int) -> tuple[_Rows, Array, Array]:
        few = 1 << (wanted - 1).bit_length()  # a power of two: few shapes to compile
        after, ids, nats = compiled.steps(settings, settings.unknown, tuple(rows), forced[:few], at)
        return _Rows(*after), ids, nats

    return steps, COMPILED_STEPS


@jax.jit
def _keys(key: Array, numbers: Array) -> Array:
    """The random keys of the rows with these numbers."""
    return jax.vmap(jax.random.fold_in, (None, 0))(key, numbers)


def _batch(
    lm: LanguageModel, settings: Settings, steps: Steps, seed: int, first: int, width: int, prompt: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The ids and nats that follow the prompt, for each of the `width` rows first, first + 1, …"""
    some, length = steps
    last, left = np.full(width, EOS, np.int32), np.full(width, settings.lines, np.int32)
    rows = _Rows(lm.start(width), last, left, _keys(devices.random_key(seed), first + np.arange(width)))
    end = len(prompt) + settings.max_length
    ids, nats = [], []
    for at in range(0, end, length):
        forced = np.full(length, -1, np.int32)
        forced[: max(0, min(length, len(prompt) - at))] = prompt[at : at + length]
        rows, some_ids, some_nats = some(rows, forced, at, end - at)
        ids.append(np.asarray(some_ids))
        nats.append(sound(np.asarray(some_nats)))
        if not np.asarray(rows.left).any():
            break
    all_ids, all_nats = np.concatenate(ids)[len(prompt) : end], np.concatenate(nats)[len(prompt) : end]
    for row in range(width):
        stops = np.flatnonzero(all_ids[:, row] == EOS)
        until = stops[settings.lines - 1] + 1 if len(stops) >= settings.lines else len(all_ids)
        yield all_ids[:until, row], all_nats[:until, row]


def _sequences(lm: LanguageModel, ids: np.ndarray) -> list[str]:
    """The sequences that ids spell, one by one."""
    parts = np.split(ids, np.flatnonzero(ids == EOS) + 1)
    return [lm.vocab.decode(part) for part in parts if len(part)]


def is_known(lm: LanguageModel, text: str) -> bool:
    """Whether a sequence stands in the corpus that the model was made from, by its 64-bit fingerprint."""
    assert lm.known is not None
    wanted = np.uint64(fingerprint(text))
    place = int(np.searchsorted(lm.known, wanted))
    return place < len(lm.known) and lm.known[place] == wanted


def distinct_samples(drawn: Iterator[Sample], wanted: int, novel: bool = False) -> Iterator[Sample]:
    """Of the samples those that did not come before and, if `novel`, ended and are not in the corpus.

    As many as wanted, or fewer: it ends where draws have brought nothing for long.
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
