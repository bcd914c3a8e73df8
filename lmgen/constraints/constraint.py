"""What a sample must be like: an automaton over the ids of a model, from automata over the characters of its text.

Each option is a regular expression (EXPRESSIONS); the automaton that accepts what all accept reads the spelling of each id. What
can still become a whole sample is known at every place, so no draw walks into a dead end. Shapes: B rows, V vocabulary, S states,
C classes of ids that no state tells apart; EOS is the last class.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, count
from typing import Any

import numpy as np

from lmgen.constraints import automata, utf8
from lmgen.constraints.automata import ANYTHING, DEAD, MOST_CELLS, Automaton, TooLargeError
from lmgen.data import subword
from lmgen.data.vocab import UNITS, UNK, Vocab
from lmgen.errors import InputError

# The texts that an option allows; those of several values must all.
EXPRESSIONS: dict[str, Callable[[str], str]] = {
    "starts_with": lambda text: f"{re.escape(text)}{ANYTHING}",
    "ends_with": lambda text: f"{ANYTHING}{re.escape(text)}",
    "contains": lambda text: f"{ANYTHING}{re.escape(text)}{ANYTHING}",
    "matches": lambda pattern: pattern,
    "ban": lambda text: f"{ANYTHING}{re.escape(text)}{ANYTHING}",
}
INVERTED = {"ban"}
NEVER = 1 << 30  # more symbols than any sample has
MOST_STEPS = 1 << 28  # of building a table


@dataclass(frozen=True)
class Constraint:
    """Which ids may follow: a state is a row of `next` [S, C], and `class_of` [V] is the class of an id.

    `fewest` [A + 1, S] is the number of symbols to the end of a sample, EOS not counted, where at least that many must follow.
    Samples have `least` to `most` symbols behind the prompt. If not `whole`, they may be cut off at any place.
    """

    next: np.ndarray
    class_of: np.ndarray
    fewest: np.ndarray
    start: int
    end: int  # the state after the last EOS
    stopped: int | None
    most: int
    whole: bool

    @property
    def least(self) -> int:
        return len(self.fewest) - 1

    def allowed(self, states: np.ndarray, drawn: np.ndarray) -> np.ndarray:
        """Which ids [B, V] may follow in these states, after `drawn` [B] symbols."""
        after = self.next[states]
        if not self.whole:
            return (after != DEAD)[:, self.class_of]
        counted = drawn[:, None] + (after != self.end)
        fewest = self.fewest[np.maximum(0, self.least - counted), after]
        return (counted + fewest <= self.most)[:, self.class_of]

    def after(self, state: int, id: int) -> int:
        """The state after an id."""
        return int(self.next[state, self.class_of[id]])

    def ended(self, state: int) -> bool:
        """Whether a sample is complete in this state."""
        return state in (self.end, self.stopped)


def asks(settings: Any) -> bool:
    """Whether settings ask for more than where a text ends."""
    return any(getattr(settings, name) for name in (*EXPRESSIONS, "length", "min_length"))


def constraint(vocab: Vocab, settings: Any, prompt: np.ndarray, lines: int = 1, between: str = "\n") -> Constraint | None:
    """The constraint that settings ask for, behind a prompt [n]; None where they ask for none.

    Raises InputError where no sample satisfies it, or where it takes too large an automaton.
    """
    asked = {name: _several(getattr(settings, name)) for name in EXPRESSIONS if getattr(settings, name)}
    asked |= {name: tuple(map(vocab.normal.of, asked[name])) for name in asked if name != "matches"}
    low, high = settings.length or (0, None)
    if not (asked or low or high is not None or settings.min_length or settings.stop):
        return None
    try:
        task = _Task(vocab, settings, asked, vocab.decode(prompt), lines, between)
        least, most = max(low - len(prompt), settings.min_length, 0), settings.max_length - 1
        found = task.made([*asked], least, most if high is None else min(most, high - len(prompt)))
        if found.fewest[least, found.start] > found.most and found.whole:
            raise InputError(task.why_impossible(found))
        return found
    except TooLargeError:
        names, of = " and ".join(map(_flag, asked)) or "--length or --min-length", f"the {len(vocab):,} symbols of this model"
        raise InputError(f"{names} would need too large an automaton over {of}: repeat less, or ask for less") from None


def _several(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


@dataclass(frozen=True)
class _Task:
    """The constraint to make: its options by name, the text of the prompt, the lines of a sample and the text between two."""

    vocab: Vocab
    settings: Any
    asked: Mapping[str, tuple[str, ...]]
    prompt: str
    lines: int
    between: str

    @cached_property
    def alphabet(self) -> utf8.Alphabet | None:
        """The classes of characters where symbols are bytes, which spell every text."""
        if not UNITS[self.vocab.unit].learns:
            return None
        return utf8.alphabet([ANYTHING, *(EXPRESSIONS[name](value) for name in self.asked for value in self.asked[name])])

    @cached_property
    def characters(self) -> set[str]:
        """All that can be in a text, or a character of each class."""
        if self.alphabet:
            return {*self.alphabet.characters}
        unit = UNITS[self.vocab.unit]
        unknown = self.vocab.spell(UNK) * self.settings.unknown
        return {*"".join([*self.vocab.symbols, unit.glue, unit.lead, unknown, self.prompt, self.between * (self.lines > 1)])}

    def made(self, names: Iterable[str], least: int, most: int) -> Constraint:
        """The constraint of some of the options. Raises TooLargeError."""
        every = automata.of_expression(ANYTHING, self.characters)
        for name in names:
            for value in self.asked[name]:
                one = automata.of_expression(EXPRESSIONS[name](value), self.characters)
                every = automata.both(every, one.inverted() if name in INVERTED else one)
        prompt, stops = self.prompt, self.settings.stop or ()
        if self.alphabet:
            every = utf8.read_bytes(every, self.alphabet)
            prompt, stops = utf8.bytes_of(prompt), tuple(map(utf8.bytes_of, stops))
        every = every.after(prompt)
        every = automata.stopped_at(every, stops) if stops else every
        whole = bool(self.asked or least or self.settings.length or self.settings.min_length)
        return self._over_ids(every, least, most, whole)

    def _over_ids(self, every: Automaton, least: int, most: int, whole: bool) -> Constraint:
        """The automaton that reads the spelling of each id, and between two lines the text that parts them.

        At the beginning of a line joining drops the lead or the glue, so a second copy of the states, for these places, does.
        """
        unit, states = UNITS[self.vocab.unit], len(every.next)
        table, accepting, begun, classes = every.next, every.accepting, np.arange(states), every.class_of
        if dropped := unit.lead or unit.glue:
            alone = table[:, [classes[dropped]]]  # which now has a class of its own
            table, classes = np.hstack([table, alone]), {**classes, dropped: table.shape[1]}
            table, accepting = np.vstack([table, np.hstack([every.next, begun[:, None]])]), np.tile(accepting, 2)
            begun = begun + np.where(np.isin(begun, _fixed(every)), 0, states)
        columns, class_of = self._read(classes, table.astype(np.int32))
        line, width = np.arange(self.lines)[:, None], len(table)
        if (width * self.lines + 1) * (len(columns) + 1) > MOST_CELLS:
            raise TooLargeError
        after = np.arange(states)
        for character in self.between * (self.lines > 1):
            after = every.next[after, every.class_of[character]]
        after = np.resize(begun[after], width)  # of a state and of its copy

        def at(line: np.ndarray, state: np.ndarray) -> np.ndarray:
            return state + width * line * ~np.isin(state, _fixed(every))

        end = width * self.lines
        next = np.full((end + 1, len(columns) + 1), DEAD, np.int32)
        next[:end, :-1] = at(line[..., None], columns.T[None]).reshape(end, -1)
        next[:end, -1] = np.concatenate([at(line[1:], after[None]).ravel(), np.where(accepting, end, DEAD)])
        next[at(line, np.full(1, DEAD)).ravel()] = DEAD
        start = int(every.start if self.prompt else begun[every.start])
        fewest = _fewest(next, end, every.stopped, least)
        return Constraint(next, class_of, fewest, start, end, every.stopped, most, whole)

    def _read(self, class_of: Mapping[str, int], table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The states [C, S] after the ids of each class, and the class of each id [V]; that of EOS is C."""
        names = {ord(c): k for c, k in class_of.items()}
        spelt = [UNITS[self.vocab.unit].glue + self.vocab.spell(id) for id in range(UNK, len(self.vocab))]
        spelt = [subword.bytes_of(one).decode("latin-1") for one in spelt] if self.alphabet else spelt
        read = [s.translate(names) if k or self.settings.unknown else None for k, s in enumerate(spelt)]
        spellings = sorted({one for one in read if one is not None})
        if len(spellings) * len(table) > MOST_CELLS:
            raise TooLargeError
        columns: dict[bytes, int] = {}
        found: dict[str | None, int] = {None: columns.setdefault(np.full(len(table), DEAD, np.int32).tobytes(), 0)}
        path, before = [np.arange(len(table), dtype=np.int32)], ""  # the states after each part of the spelling before
        for one in spellings:
            shared = next((k for k, (a, b) in enumerate(zip(before, one, strict=False)) if a != b), min(len(before), len(one)))
            del path[shared + 1 :]
            path += accumulate(one[shared:], lambda states, k: table[states, ord(k)], initial=path.pop())
            found[one], before = columns.setdefault(path[-1].tobytes(), len(columns)), one
        ids = [len(columns), *(found[one] for one in read)]
        return np.array([np.frombuffer(column, np.int32) for column in columns]), np.array(ids)

    def why_impossible(self, found: Constraint) -> str:
        """The sentence for a constraint that no sample satisfies."""
        behind = f" behind the prompt {self.prompt!r:.40}" * bool(self.prompt)
        flags = {name: f"{_flag(name)} {' '.join(map(repr, values)):.60}" for name, values in self.asked.items()}
        for name in flags:
            alone = self.made([name], 0, NEVER)
            if alone.fewest[0, alone.start] == NEVER:
                strange = [c for c in dict.fromkeys("".join(self.asked[name])) if c not in self.characters]
                why = f": the model knows no {' '.join(map(repr, strange[:10]))}" * bool(strange and name != "matches")
                return f"no text of this model's symbols satisfies {flags[name]}{behind}{why or ', so leave it out or change it'}"
        every = self.made(flags, 0, NEVER)
        together, shortest = " and ".join(flags.values()) or "--length", int(every.fewest[0, every.start])
        if shortest == NEVER:
            return f"no text satisfies {together}{behind}: leave one of them out"
        low, high = found.least, found.most
        if low > high:
            fit = f"at most {max(0, high):,} fit: change --length, --min-length or --max-length"
            return f"{low:,} symbols or more{behind} are asked for, but {fit}"
        if shortest > high:
            fit = f"{shortest:,} more symbols, and at most {max(0, high):,} fit"
            return f"the shortest text that satisfies {together}{behind} has {fit}: give a larger --length or --max-length"
        asked = f" that satisfies {together}" * bool(flags)
        return f"no text{asked}{behind} has {low:,} to {high:,} symbols: change --length, --min-length or --max-length"


def _fixed(every: Automaton) -> list[int]:
    """The states that are the same in every line."""
    return [DEAD, *([] if every.stopped is None else [every.stopped])]


def _fewest(next: np.ndarray, end: int, stopped: int | None, least: int) -> np.ndarray:
    """`Constraint.fewest`, by relaxation. Raises TooLargeError where that takes too long."""
    costs, final = (next != end).astype(np.int32), [end, *([] if stopped is None else [stopped])]
    now, found, rounds = np.full(len(next), NEVER, np.int32), [], count(1)

    def better(now: np.ndarray) -> np.ndarray:
        if next_round() * max(next.size, 4096) > MOST_STEPS:
            raise TooLargeError
        return np.minimum((now[next] + costs).min(1), NEVER)

    next_round = rounds.__next__
    now[final] = 0
    while (closer := np.minimum(now, better(now))).tobytes() != now.tobytes():
        now = closer
    found.append(now)
    for _ in range(least):
        now = np.where(np.arange(len(next)) == end, NEVER, now).astype(np.int32)  # there must follow more
        now = better(now)
        now[final] = NEVER
        found.append(now)
    return np.array(found)
