"""What a model expected of a text: of each symbol its probability, its rank, and the likeliest symbols in its place. Beside that,
what an n-gram model of the same training text expected, and what of the text is copied from there.

All of it is held in arrays, and a `Symbol` is made when it is asked for, so that a long text takes little memory. Shapes: T time,
B batch, V vocabulary, n symbols of a text, k alternatives.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from itertools import chain, repeat
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from lmgen.data.reading import PAUSE, Piece, Text, arriving, in_parts, whole
from lmgen.data.vocab import EOS, UNK, Vocab
from lmgen.errors import InputError
from lmgen.evaluation.novelty import Index, Matches, Span
from lmgen.models import columns
from lmgen.models.capabilities import Conditions, HoldsNGrams, Scores, State, can, finite
from lmgen.models.scoring import BATCH, WINDOW
from lmgen.options import commands, kinds, table
from lmgen.pages import notebook
from lmgen.pages.surprise import named
from lmgen.training import counting

LONGEST = 1 << 14  # characters of a part of a sequence
AT_ONCE = 1 << 10  # symbols that are made from the arrays at a time
MOST_LOGITS = 1 << 22  # numbers held at a time
SLOW = 1 << 20  # symbols of a training text that take seconds to read …
MOST_COUNTED, MOST_INDEXED = 1 << 22, 1 << 26  # … and its most symbols to fit n-grams to, and bytes to look for copies in


@dataclass(frozen=True)
class Guess:
    """What a model expected where a symbol stands: −ln p of that symbol, its rank (1 is the likeliest symbol), and the likeliest
    symbols with their probabilities. A symbol is spelt as people read it; "" is EOS."""

    nats: float
    rank: int
    alternatives: tuple[tuple[str, float], ...]

    @property
    def probability(self) -> float:
        return math.exp(-self.nats)

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        alternatives = [{"symbol": symbol, "probability": p} for symbol, p in self.alternatives]
        return {"probability": self.probability, "nats": self.nats, "rank": self.rank, "alternatives": alternatives}


@dataclass(frozen=True)
class Symbol(Guess):
    """A symbol of a text, and what was expected in its place; `ngram` is what the n-gram model expected."""

    symbol: str
    before: str  # what the text has between the symbol before and this one, such as a space between words
    known: bool  # it is in the vocabulary
    copied: int | None  # the number of the span that the training text has, too, in which it is
    ngram: Guess | None

    def as_dict(self) -> dict[str, Any]:
        ngram = {"ngram": self.ngram.as_dict()} if self.ngram else {}
        own = {"symbol": self.symbol, "before": self.before, "known": self.known, "copied": self.copied}
        return {**own, **super().as_dict(), **ngram}


class Seen(NamedTuple):
    """What a model expected of n symbols: nats [n], ranks [n], and the ids [n, k] and nats [n, k] of the likeliest ones."""

    nats: np.ndarray
    ranks: np.ndarray
    ids: np.ndarray
    likeliest: np.ndarray

    def part(self, begin: int, end: int) -> Seen:
        """That of the symbols from `begin` to `end`."""
        return Seen(*(array[begin:end] for array in self))

    def guesses(self, spell: Callable[[int], str]) -> Iterator[dict[str, Any]]:
        """The fields of a `Guess` for each symbol."""
        probabilities = np.exp(-self.likeliest.astype(np.float64)).tolist()
        rows = zip(self.nats.tolist(), self.ranks.tolist(), self.ids.tolist(), probabilities, strict=True)
        for nats, rank, ids, likeliest in rows:
            yield {"nats": nats, "rank": rank, "alternatives": tuple(zip(map(spell, ids), likeliest, strict=True))}


@dataclass(frozen=True, eq=False)
class Explanation(Sequence[Symbol]):
    """A text as a model expects it, symbol by symbol; the last one is EOS, but where a cloze model is given it.

    `copies` are the spans that the training text has, too. A very long sequence comes in parts, of which the first `begins` and
    the last `ends` it. The nats of a cloze model are pseudo-nats. `spell` is how a symbol is shown.
    """

    text: str
    vocab: Vocab
    ids: np.ndarray
    spell: Callable[[int], str]
    seen: Seen
    ngram: Seen | None = None
    copies: tuple[Span, ...] = ()
    begins: bool = True
    ends: bool = True
    pseudo: bool = False

    def __len__(self) -> int:
        return len(self.seen.nats)

    def __getitem__(self, number: Any) -> Any:
        if isinstance(number, slice):
            return [self[k] for k in range(len(self))[number]]
        k = range(len(self))[number]
        return next(self._made(k, k + 1))

    def __iter__(self) -> Iterator[Symbol]:
        return chain.from_iterable(self._made(k, k + AT_ONCE) for k in range(0, len(self), AT_ONCE))

    def _made(self, begin: int, end: int) -> Iterator[Symbol]:
        """The symbols from `begin` to `end`."""
        seen = self.seen.part(begin, end).guesses(self.spell)
        ngrams = (Guess(**one) for one in self.ngram.part(begin, end).guesses(self.spell)) if self.ngram else repeat(None)
        last = self._symbols[begin - 1].end if begin else 0
        for place, guess, ngram in zip(self._symbols[begin:end], seen, ngrams, strict=False):
            before, last = self.text[last : place.start], place.end
            yield Symbol(**guess, symbol=place.symbol, before=before, known=place.known, copied=place.copied, ngram=ngram)

    def __repr__(self) -> str:
        return f"<Explanation {self.text[:40]!r}, {self.nats:.2f} nats, {len(self):,} symbols>"

    def _repr_html_(self) -> str:
        symbols = ((one.before, one.symbol, one.nats, _said(one)) for one in self)
        return notebook.coloured(symbols, f"{self.nats:.2f} {'pseudo-nats' if self.pseudo else 'nats'}")

    @property
    def nats(self) -> float:
        """−ln p of the text."""
        return float(self.seen.nats.sum(dtype=np.float64))

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        part = {} if self.begins and self.ends else {"begins": self.begins, "ends": self.ends}
        nats = {"pseudo_nats" if self.pseudo else "nats": self.nats}
        copies = [span._asdict() for span in self.copies]
        return {"text": self.text, **part, **nats, "symbols": [one.as_dict() for one in self], "copies": copies}

    @cached_property
    def _symbols(self) -> list[_Place]:
        """The symbols as the text has them, a part of a character as its byte; EOS last."""
        places, split = self.vocab.places(self.text, self.begins), self.vocab.split(self.text, self.begins)
        copied: list[int | None] = [None] * len(places)
        for number, span in reversed([*enumerate(self.copies)]):
            inside = (span.start <= places[:, 0]) & (places[:, 1] <= span.start + len(span.text))
            for k in np.flatnonzero(inside).tolist():
                copied[k] = number
        found = []
        for symbol, (start, end), known, copy in zip(split, places.tolist(), (self.ids != UNK).tolist(), copied, strict=True):
            shown = self.vocab.shown(symbol)
            found.append(_Place(self.text[start:end] if shown == symbol else shown, start, end, known, copy))
        return [*found, _Place("", len(self.text), len(self.text), True, None)]


class _Place(NamedTuple):
    symbol: str
    start: int
    end: int
    known: bool
    copied: int | None


def _said(one: Symbol) -> str:
    """What a pointer sees of a symbol."""
    likeliest = " ".join(f"{named(symbol)}:{p:.2f}" for symbol, p in one.alternatives)
    return f"{named(one.symbol)} {one.probability:.3g}, {one.nats:.2f} nats, rank {one.rank}; {likeliest}"


@dataclass(frozen=True)
class Background:
    """The training text of a model, to compare others with: an n-gram model and an index of it, and why one is missing."""

    ngram: Scores | None = None
    index: Index | None = None
    lacks: tuple[str, ...] = ()


def background(lm: Scores, note: Callable[[str], Any] = lambda _: None) -> Background:
    """The training text of a model; `note` is called where it takes long. An n-gram model is not compared with another, nor is a
    cloze model, since n-grams see one side only."""
    try:
        if can(lm, Conditions):
            held = [one.joined for one in lm.training_examples()]  # type: ignore[attr-defined]
            stream = np.concatenate([[EOS], *(part for text in held for part in (lm.vocab.encode(text), [EOS]))])
            texts, size = iter(held), sum(map(len, held))
        else:
            origin = lm.origin
            texts, stream, size = whole(origin.training()), origin.data.train.stream, origin.data.train.bytes
    except InputError as error:
        return Background(lacks=(f"nothing is compared with the training text, because {error}",))
    ngram, index, lacks = None, None, []
    if len(stream) > SLOW:
        note(f"reading the training text of {size:,} bytes (--no-background leaves that out)")
    if len(stream) > MOST_COUNTED:
        lacks.append(f"the training text has over {MOST_COUNTED:,} symbols, too many to fit n-grams to them for one text")
    elif not (lm.pseudo or can(lm, HoldsNGrams)):
        ngram = counting.fitted(stream, None, lm.vocab, lm.carry).lm
    try:
        if size > MOST_INDEXED:
            raise InputError(f"the training text has over {MOST_INDEXED >> 20} MiB: lmgen novelty looks for copies in it")
        index = Index(texts)
    except InputError as error:
        lacks.append(str(error))
    return Background(ngram, index, tuple(lacks))


def of_text(lm: Scores, text: Text, *how: Any) -> Iterator[Explanation]:
    """Explain a text, as `explanations` does: very long sequences in parts, but for a cloze model, which needs them whole."""
    if lm.pseudo:
        return explanations(lm, (PAUSE if one is None else Piece(one, True, True, 1) for one in arriving(text)), *how)
    return explanations(lm, in_parts(text, LONGEST), *how)


def explanations(
    lm: Scores, pieces: Iterable[Piece], behind: Background = Background(), top: int = 5, copied: int = commands.COPIED
) -> Iterator[Explanation]:
    """Explain the pieces of a text, thousands of symbols at a time: with the `top` likeliest symbols of each place, and spans of
    at least `copied` characters.

    With a carried state each sequence continues the one before; a cloze model needs whole sequences, with a carried state all of
    them before it explains the first.
    """
    top = table.check("top", kinds.Whole(1, kinds.MOST_ALTERNATIVES), top)
    copied = table.check("copied", kinds.Whole(), copied)
    models = [_Reader(one, min(top, len(lm.vocab))) for one in (lm, behind.ngram) if one is not None]
    spell = cache(lambda id: lm.vocab.shown(lm.vocab.spell(id)))
    held: list[tuple[Piece, np.ndarray]] = []
    symbols, largest = 0, math.inf if lm.carry and lm.pseudo else BATCH * WINDOW
    for piece in pieces:
        if piece is not PAUSE:
            piece = piece._replace(text=lm.vocab.normal.of(piece.text))
            held.append((piece, lm.vocab.encode(piece.text, piece.begins)))
            symbols += len(held[-1][1]) + piece.ends
        if symbols >= largest or (piece is PAUSE and held and largest < math.inf):
            yield from _explained(lm, held, models, spell, behind.index, copied)
            held, symbols = [], 0
    yield from _explained(lm, held, models, spell, behind.index, copied) if held else ()


def _explained(
    lm: Scores,
    held: list[tuple[Piece, np.ndarray]],
    models: list[_Reader],
    spell: Callable[[int], str],
    index: Index | None,
    copied: int,
) -> Iterator[Explanation]:
    stream = np.concatenate([part for piece, ids in held for part in (ids, np.full(int(piece.ends), EOS, ids.dtype))])
    read = [model.read(stream, held[0][0].begins, held[-1][0].ends) for model in models]
    at, ends = 0, bool(lm.counted(np.array([EOS]))[0])
    for piece, ids in held:
        seen, *ngram = (one.part(at, at + len(ids) + (ends and piece.ends)) for one in read)
        copies = _copies(index, piece, copied) if index else ()
        found = Explanation(piece.text, lm.vocab, ids, spell, seen, ngram[0] if ngram else None, copies)
        yield replace(found, begins=piece.begins, ends=piece.ends, pseudo=lm.pseudo)
        at += len(ids) + piece.ends


def _copies(index: Index, piece: Piece, least: int) -> tuple[Span, ...]:
    """What of a piece the training text has, too: a whole sequence, or spans of a length."""
    if piece.text.strip() and piece.begins and piece.ends and index.holds(piece.text):
        return (Span(piece.text, piece.text, 0),)
    return tuple(Matches(index, piece.text).copies(least))


class _Reader:
    """A model on its way through a text."""

    def __init__(self, lm: Scores, count: int):
        self.lm, self.count, self.last = lm, count, EOS
        self.window = max(1, min(WINDOW, MOST_LOGITS // len(lm.vocab)))
        self.batch = max(1, min(BATCH, MOST_LOGITS // (self.window * len(lm.vocab))))
        self.state: State = None

    def read(self, ids: np.ndarray, begins: bool, ends: bool) -> Seen:
        """Read the next ids of the text, at whose edges a sequence may begin and end."""
        lm, n, k = self.lm, len(ids), self.count
        stream = np.append(EOS if begins else self.last, ids)
        self.last = stream[-1]
        out = Seen(np.empty(n, np.float32), np.empty(n, np.int32), np.empty((n, k), np.int32), np.empty((n, k), np.float32))
        alone = lm.pseudo or (begins and ends and not lm.carry)  # nothing is carried over its edges
        cut = columns.whole(stream, lm.carry, self.batch, self.window) if alone else columns.continued(stream, self.window)
        for part in cut:
            before = lm.start(part.count) if alone or self.state is None else self.state
            for window, (after, logits) in zip(part.windows, lm.logits_of_columns(part, before), strict=True):
                for found, array in zip(_seen(logits, part.ids(window[0] + 1, window[1])[0], k), out, strict=True):
                    part.put(np.asarray(found), window, array)
                self.state = self.state if alone else after
        finite(out.nats)
        return out


@partial(jax.jit, static_argnums=2)
def _seen(logits: Array, targets: Array, count: int) -> tuple[Array, ...]:
    """The parts of `Seen` of a window: logits [T, B, V], targets [T, B]."""
    nats = -jax.nn.log_softmax(logits)
    own = jnp.take_along_axis(nats, targets[..., None], -1)
    likeliest, ids = jax.lax.top_k(-nats, count)
    return own[..., 0], 1 + (nats < own).sum(-1), ids, -likeliest
