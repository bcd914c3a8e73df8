"""Automata over bytes: they accept the UTF-8 of what an expression matches, whatever the symbols that spell it."""

from __future__ import annotations

import re
from functools import cache
from itertools import product

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lmgen.constraints import automata, utf8
from lmgen.constraints.constraint import constraint
from lmgen.data import subword
from lmgen.data.vocab import EOS, Vocab
from lmgen.errors import InputError
from lmgen.generation.sampling import Settings

EDGES = "\x00a_ \n\x7f\x80é\u07ff\u0800中\ud7ff\ue000\uffff\U00010000😀\U0010ffff"  # of 1, 2, 3 and 4 bytes
PATTERNS = [
    *["(?s:.)*", ".*", "a.", "[^a]+", r"\w+", r"\W*", "(?a:\\w)*", "(?i:É)+", "é|中", "[é-中]*", "(?:😀|é){2}", r"a\b.*"],
    *[r"(?m)^a$\n^中$", r"[\U00010000-\U0010ffff]", r"\s*a", "[a中]{1,2}😀?"],
]


@cache
def over_bytes(pattern: str) -> automata.Automaton:
    alphabet = utf8.alphabet([pattern])
    return utf8.read_bytes(automata.of_expression(pattern, alphabet.characters), alphabet)


def accepts(automaton: automata.Automaton, content: bytes) -> bool:
    state = automaton.start
    for byte in content:
        state = int(automaton.next[state, automaton.class_of[chr(byte)]])
    return bool(automaton.accepting[state])


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_bytes_of_what_re_matches_are_accepted(pattern):
    automaton = over_bytes(pattern)
    for text in ("".join(characters) for n in range(4) for characters in product(EDGES[: [17, 17, 17, 9][n]], repeat=n)):
        assert accepts(automaton, text.encode()) == bool(re.fullmatch(pattern, text)), text


def decoded(content: bytes) -> str | None:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=8))
@example(b"\xc0\x80")  # a longer form than needed
@example(b"\xe0\x9f\xbf")
@example(b"\xf0\x8f\xbf\xbf")
@example(b"\xf4\x90\x80\x80")  # beyond Unicode
@example(b"\xed\xa0\x80")  # half of a character
@example(b"\xe4\xb8")
def test_bytes_that_are_not_utf8_are_not_accepted(content):
    assert accepts(over_bytes("(?s:.)*"), content) == (decoded(content) is not None)


@settings(deadline=None, max_examples=100)
@given(st.text(max_size=6), st.sampled_from(PATTERNS))
def test_any_text_is_accepted_if_re_matches_it(text, pattern):
    assert accepts(over_bytes(pattern), text.encode()) == bool(re.fullmatch(pattern, text))


VOCAB = Vocab("subword", (*subword.ALPHABET, "é", "aé", *map(subword.symbol_of, (b"\xa9a", b"\xe4\xb8"))))


def spelt(*parts: bytes) -> list[int]:
    return [VOCAB.ids[subword.symbol_of(part)] for part in parts]


WAYS = [(b"a", b"\xc3", b"\xa9"), (b"a", "é".encode()), ("aé".encode(),)]  # to spell aé


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize(
    "asked",
    [{"matches": "a[é中]"}, {"ends_with": "é"}, {"contains": "é"}, {"starts_with": "aé"}, {"ban": "ü"}, {"length": "1:3"}],
)
def test_a_text_fits_in_whatever_parts_it_is_spelt(way, asked):
    found = constraint(VOCAB, Settings(**asked), np.zeros(0, np.int32))
    state = found.start
    for drawn, id in enumerate([*spelt(*way), EOS]):
        assert found.allowed(np.array([state]), np.array([drawn]))[0, id]
        state = found.after(state, id)
    assert found.ended(state)


def test_a_part_of_a_character_is_followed_by_the_rest_of_one_that_fits():
    found = constraint(VOCAB, Settings(matches="[é中]a?", ban="x"), np.array(spelt(b"\xe4\xb8"), np.int32)[:0])
    after = found.after(found.start, *spelt(b"\xe4\xb8"))
    assert [*np.flatnonzero(found.allowed(np.array([after]), np.array([1]))[0])] == spelt(b"\xad")  # 中 is e4 b8 ad
    assert found.fewest[0, after] == 1
    state = found.after(found.start, *spelt(b"\xc3"))
    assert [*np.flatnonzero(found.allowed(np.array([state]), np.array([1]))[0])] == sorted(spelt(b"\xa9", b"\xa9a"))


def test_a_stop_is_found_across_symbols():
    found = constraint(VOCAB, Settings(stop="é", matches="a*"), np.zeros(0, np.int32))
    state = found.after(found.start, *spelt(b"a"))
    for part in (b"\xc3", b"\xa9"):
        assert not found.ended(state)
        state = found.after(state, *spelt(part))
    assert found.ended(state)


def test_what_cannot_be_is_refused():
    with pytest.raises(InputError, match="satisfies --matches '中中' has 4 more symbols, and at most 2 fit"):
        constraint(VOCAB, Settings(matches="中中", length=":2"), np.zeros(0, np.int32))
    with pytest.raises(InputError, match="satisfies --starts-with 'b' behind the prompt 'aé'"):
        constraint(VOCAB, Settings(starts_with="b"), np.array(spelt("aé".encode()), np.int32))
