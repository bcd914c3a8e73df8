"""Deterministic automata over the characters of a vocabulary, from regular expressions of Python's own syntax.

Python's parser reads the expression and its matcher says which characters each part of it matches, so that classes, flags and
Unicode mean what they mean in `re`. From there it is textbook: Thompson's automaton with empty steps, then the subset
construction (Rabin & Scott 1959). Shapes: S states, C classes of characters that no automaton tells apart.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from re import _compiler, _parser  # type: ignore[attr-defined]
from typing import Any

import numpy as np

from lmgen.errors import InputError

DEAD, START = 0, 1
MOST_STATES = 20_000
MOST_PARTS = 20_000  # states of an automaton with empty steps
MOST_WORK = 1_000_000  # of these states looked at: about a second
MOST_CELLS = 1 << 24  # numbers in a table
ANYTHING = "(?s:.)*"
REFUSED = {
    "GROUPREF": "a back-reference",
    "GROUPREF_EXISTS": "a condition on a group",
    "ASSERT": "a lookahead or lookbehind",
    "ASSERT_NOT": "a lookahead or lookbehind",
    "ATOMIC_GROUP": "an atomic group",
    "POSSESSIVE_REPEAT": "a possessive quantifier",
}


@dataclass(frozen=True)
class Automaton:
    """Which texts it accepts: `class_of` a character [0, C), `next` [S, C] the state after each class, and where it accepts [S].

    It begins in state START. No way leads out of the state DEAD, nor out of `stopped`, where a text ends at once.
    """

    class_of: Mapping[str, int]
    next: np.ndarray
    accepting: np.ndarray
    stopped: int | None = None
    start: int = START

    def after(self, text: str) -> Automaton:
        """The automaton of what may follow a text."""
        state = self.start
        for character in text:
            state = int(self.next[state, self.class_of[character]])
        return Automaton(self.class_of, self.next, self.accepting, self.stopped, state)

    def inverted(self) -> Automaton:
        """Accepts what this one does not; no text may lead this one to DEAD."""
        return Automaton(self.class_of, self.next, ~self.accepting & (np.arange(len(self.next)) != DEAD))


class TooLargeError(Exception):
    """An automaton of more states than can be held."""


def of_expression(pattern: str, characters: Iterable[str]) -> Automaton:
    """The automaton of the texts of these characters that a regular expression matches as a whole.

    `$` is the very end of the text. Raises InputError for what is no regular expression, or one that no automaton can match,
    TooLargeError where too many states are needed.
    """
    return _Parts(pattern).determined(sorted({*characters}))


def leaves(pattern: str) -> list[re.Pattern[str]]:
    """The parts of an expression that match one character. Raises as `of_expression` does."""
    return _Parts(pattern).leaves


class _Parts:
    """Thompson's automaton: from each state, steps that read a character and empty ones, which may have a condition."""

    def __init__(self, pattern: str):
        self.leaves: list[re.Pattern[str]] = []
        self.numbers: dict[Any, int] = {}  # of the leaves, by what they match
        self.steps: list[list[tuple[int, int]]] = []  # (leaf, target)
        self.empty: list[list[tuple[tuple[str, int] | None, int]]] = []  # (condition, target)
        self.conditions = False
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tree = _parser.parse(pattern)
            self.end = self.sequence(tree, tree.state.flags, self.new())
        except (re.error, OverflowError, ValueError) as error:
            raise InputError(f"{pattern!r:.80} is no regular expression: {error}") from None
        except RecursionError:
            raise TooLargeError from None

    def new(self) -> int:
        if len(self.steps) >= MOST_PARTS:
            raise TooLargeError
        self.steps.append([])
        self.empty.append([])
        return len(self.steps) - 1

    def sequence(self, items: Iterable[Any], flags: int, start: int) -> int:
        """Append each item after a state; the state after the last."""
        for op, value in items:
            if str(op) in REFUSED:
                raise InputError(
                    f"an expression with {REFUSED[str(op)]} cannot be used, since no automaton matches it: do without"
                )
            start = _APPEND.get(str(op), _Parts._leaf)(self, op, value, flags, start)
        return start

    def _leaf(self, op: Any, value: Any, flags: int, start: int) -> int:
        key, end = (str(op), repr(value), flags), self.new()
        if key not in self.numbers:
            state = _parser.State()
            state.flags = flags
            self.numbers[key] = len(self.leaves)
            self.leaves.append(_compiler.compile(_parser.SubPattern(state, [(op, value)])))
        self.steps[start].append((self.numbers[key], end))
        return end

    def _condition(self, op: Any, value: Any, flags: int, start: int) -> int:
        end, self.conditions = self.new(), True
        self.empty[start].append(((str(value), flags), end))
        return end

    def _group(self, op: Any, value: Any, flags: int, start: int) -> int:
        _, added, removed, items = value
        return self.sequence(items, _compiler._combine_flags(flags, added, removed), start)

    def _branch(self, op: Any, value: Any, flags: int, start: int) -> int:
        end = self.new()
        for items in value[1]:
            self.empty[self.sequence(items, flags, self._further(start))].append((None, end))
        return end

    def _repeat(self, op: Any, value: Any, flags: int, start: int) -> int:
        least, most, items = value
        for _ in range(least):
            start = self.sequence(items, flags, self._further(start))
        if most is _parser.MAXREPEAT:
            loop = self._further(start)
            self.empty[self.sequence(items, flags, loop)].append((None, loop))
            return self._further(loop)
        end = self.new()
        for _ in range(most - least):
            self.empty[start].append((None, end))
            start = self.sequence(items, flags, self._further(start))
        self.empty[start].append((None, end))
        return end

    def _further(self, start: int) -> int:
        end = self.new()
        self.empty[start].append((None, end))
        return end

    def determined(self, characters: Sequence[str]) -> Automaton:
        """The deterministic automaton over these characters. Its states are sets of states, with the kind of the character
        before where conditions look at it."""
        kinds = [_kind(c) if self.conditions else 0 for c in characters]
        rows = np.array([*([leaf.match(c) is not None for c in characters] for leaf in self.leaves), kinds], int)
        columns, first, class_of = np.unique(rows, axis=1, return_index=True, return_inverse=True)
        kind_of = [kinds[k] for k in first]
        classes = [np.flatnonzero(row).tolist() for row in columns[:-1].astype(bool)]
        nexts = [*dict.fromkeys(kind_of)] if self.conditions else [0]
        states = {(frozenset[int](), 0): DEAD, (frozenset([0]), _EDGE): START}
        table, accepting, work = [[DEAD] * len(kind_of)], [False], 0
        for kernel, before in (order := [*states][1:]):
            row = [DEAD] * len(kind_of)
            reached: list[set[int]] = [set() for _ in kind_of]
            for after in nexts:
                closed = self._closure(kernel, before, after)
                work += len(closed)
                for state in closed:
                    for leaf, target in self.steps[state]:
                        work += len(classes[leaf])
                        for k in classes[leaf]:
                            if not self.conditions or kind_of[k] == after:
                                reached[k].add(target)
            for k, targets in enumerate(reached):
                if targets:
                    key = frozenset(targets), kind_of[k] if self.conditions else 0
                    if key not in states:
                        states[key] = len(states)
                        order.append(key)
                    row[k] = states[key]
            table.append(row)
            accepting.append(self.end in self._closure(kernel, before, _EDGE))
            if work > MOST_WORK or len(states) > MOST_STATES:
                raise TooLargeError
        found = dict(zip(characters, class_of.reshape(-1).tolist(), strict=True))
        return Automaton(found, np.array(table, np.int32).reshape(len(table), -1), np.array(accepting))

    def _closure(self, kernel: Iterable[int], before: int, after: int) -> set[int]:
        """The states that empty steps reach between two characters of these kinds."""
        found, left = set(kernel), [*kernel]
        while left:
            for condition, target in self.empty[left.pop()]:
                if target not in found and (condition is None or _HOLDS[condition[0]](condition[1], before, after)):
                    found.add(target)
                    left.append(target)
        return found


_APPEND = {
    "AT": _Parts._condition,
    "SUBPATTERN": _Parts._group,
    "BRANCH": _Parts._branch,
    "MAX_REPEAT": _Parts._repeat,
    "MIN_REPEAT": _Parts._repeat,
}

# The kind of a character as conditions see it: a sum of these; _EDGE is beyond either end of the text.
_WORD, _ASCII_WORD, _LINE, _EDGE = 1, 2, 4, 8


def _kind(character: str) -> int:
    word, ascii_word = re.match(r"\w", character), re.match(r"(?a)\w", character)
    return _WORD * bool(word) + _ASCII_WORD * bool(ascii_word) + _LINE * (character == "\n")


def _boundary(flags: int, before: int, after: int) -> bool:
    word = _ASCII_WORD if flags & re.ASCII else _WORD
    return bool(before & word) != bool(after & word)


def _edge(flags: int, beside: int) -> bool:
    return bool(beside & (_EDGE | _LINE * bool(flags & re.MULTILINE)))


_HOLDS = {
    "AT_BEGINNING": lambda flags, before, after: _edge(flags, before),
    "AT_BEGINNING_STRING": lambda flags, before, after: before == _EDGE,
    "AT_END": lambda flags, before, after: _edge(flags, after),
    "AT_END_STRING": lambda flags, before, after: after == _EDGE,
    "AT_BOUNDARY": _boundary,
    # Up to Python 3.13 \B does not match the empty text.
    "AT_NON_BOUNDARY": lambda flags, before, after: not _boundary(flags, before, after) and (before, after) != (_EDGE, _EDGE),
}


def both(one: Automaton, other: Automaton) -> Automaton:
    """Accepts what both accept. Raises TooLargeError."""
    pairs, class_of = _joint({c: (k, other.class_of[c]) for c, k in one.class_of.items()})
    of_one, of_other = one.next[:, [a for a, _ in pairs]], other.next[:, [b for _, b in pairs]]
    width, codes, table = len(other.next), np.array([0, one.start * len(other.next) + other.start]), [np.zeros(len(pairs), int)]
    known, done = {0: DEAD, int(codes[1]): START}, 1
    while done < len(codes):
        new = codes[done:]
        a, b = of_one[new // width], of_other[new % width]
        reached = np.where((a == DEAD) | (b == DEAD), 0, a.astype(np.int64) * width + b)
        table.extend(reached)
        done, fresh = len(codes), [code for code in np.unique(reached).tolist() if code not in known]
        known |= {code: done + k for k, code in enumerate(fresh)}
        codes = np.append(codes, np.array(fresh, int))
        _check(len(codes), len(pairs))
    order = np.argsort(codes)
    table_of = order[np.searchsorted(codes[order], np.array(table))]
    accepting = one.accepting[codes // width] & other.accepting[codes % width]
    accepting[DEAD] = False
    return Automaton(class_of, table_of.astype(np.int32), accepting)


def stopped_at(automaton: Automaton, stops: Sequence[str]) -> Automaton:
    """Reads on until one of the stops, which ends the text, and accepts what stands before that; without a stop, as before.

    A state is one of the automaton with the stops that have begun: which, how much of it, and whether the text before is
    accepted. Raises TooLargeError.
    """
    singles, class_of = _joint({c: (k, c if any(c in stop for stop in stops) else "") for c, k in automaton.class_of.items()})
    first: tuple[int, frozenset[tuple[int, int, bool]]] = automaton.start, frozenset()
    states: dict[Any, int] = {"dead": DEAD, first: START, "stopped": 2}
    table, accepting = [[DEAD] * len(singles)], [False]
    for state, begun in (order := [first]):
        row = []
        fresh = {(j, 0, bool(automaton.accepting[state])) for j in range(len(stops))}
        for k, c in singles:
            read = {(j, at + 1, fine) for j, at, fine in begun | fresh if c and stops[j][at] == c}
            whole = max(((at, fine) for j, at, fine in read if at == len(stops[j])), default=None)
            after = int(automaton.next[state, k])
            key: Any = (after, frozenset(read))
            if whole:
                key = "stopped" if whole[1] else "dead"
            elif after == DEAD and not any(fine for *_, fine in read):
                key = "dead"
            if key not in states:
                states[key] = len(states)
                order.append(key)
                _check(len(states), len(singles))
            row.append(states[key])
        table.append(row)
        accepting.append(bool(automaton.accepting[state]))
        if len(table) == states["stopped"]:
            table.append([states["stopped"]] * len(singles))
            accepting.append(False)
    return Automaton(class_of, np.array(table, np.int32), np.array(accepting), states["stopped"])


def _joint(found: Mapping[str, Any]) -> tuple[list[Any], dict[str, int]]:
    """The classes of the characters with equal values: the value of each class, and the class of each character."""
    numbers: dict[Any, int] = {}
    class_of = {c: numbers.setdefault(value, len(numbers)) for c, value in found.items()}
    return [*numbers], class_of


def _check(states: int, classes: int) -> None:
    if states > MOST_STATES or states * classes > MOST_CELLS:
        raise TooLargeError
