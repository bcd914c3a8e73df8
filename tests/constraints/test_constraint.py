"""Constraints: automata against `re` itself and against enumeration; what cannot be is refused with the reason."""

from __future__ import annotations

import re
from itertools import accumulate, product

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lmgen.constraints import automata
from lmgen.constraints.constraint import constraint
from lmgen.data.vocab import EOS, UNK, Vocab
from lmgen.errors import InputError
from lmgen.generation.sampling import Settings
from lmgen.generation.stops import cut

ALPHABET = "ab-\n"
TEXTS = ["".join(letters) for n in range(5) for letters in product(ALPHABET, repeat=n)]


def accepts(automaton: automata.Automaton, text: str) -> bool:
    state = automaton.start
    for character in text:
        state = int(automaton.next[state, automaton.class_of[character]])
    return bool(automaton.accepting[state])


@pytest.mark.parametrize(
    "pattern",
    [
        *[
            "",
            "a",
            "a*b",
            "(a|b)*a(a|b)",
            "a{2,3}?b*",
            "(?:a|b-){1,2}",
            "[^a]+",
            "(a*)*b",
            "(a?){3}a{3}",
            ".*",
            "(?s:.*)",
            "a|",
            "()",
        ],
        *[
            r"\Aa.*b\Z",
            r"\ba+\b.*",
            r".*\Bb.*",
            r"\B",
            r"\b",
            r"\w+\W\w+",
            "(?m)^a$\n^b$",
            "a$|b^",
            "(?a:\\w)b",
            r"[\s-]a",
            "b$a",
        ],
        *["(?i)A(?-i:b)", "(?x) a  b # c", "(?P<name>a)b"],
    ],
)
def test_an_automaton_accepts_what_re_matches_as_a_whole(pattern):
    automaton = automata.of_expression(pattern, ALPHABET)
    assert [text for text in TEXTS if accepts(automaton, text)] == [text for text in TEXTS if re.fullmatch(pattern, text)]


def expressions() -> st.SearchStrategy[str]:
    leaves = st.sampled_from(["a", "b", ".", "[ab]", "[^a]", r"\w", r"\b", "^", r"\Z", ""])

    def longer(inner):
        return st.one_of(
            st.tuples(inner, inner).map("".join),
            st.tuples(inner, inner).map(lambda two: f"(?:{two[0]}|{two[1]})"),
            st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,3}", "*?"])).map(lambda two: f"(?:{two[0]}){two[1]}"),
        )

    return st.recursive(leaves, longer, max_leaves=8)


@settings(deadline=None, max_examples=150)
@given(expressions(), expressions())
@example(r"(?:\b)*a", "")
def test_products_and_complements_accept_what_both_and_neither_do(pattern, other):
    one, two = (automata.of_expression(p, ALPHABET) for p in (pattern, other))
    every = automata.both(automata.of_expression(automata.ANYTHING, ALPHABET), one)
    for text in TEXTS[:: 1 + len(pattern) % 3]:
        assert accepts(one, text) == accepts(every, text) == bool(re.fullmatch(pattern, text))
        assert accepts(automata.both(one, two), text) == bool(re.fullmatch(pattern, text) and re.fullmatch(other, text))


def test_the_complement_accepts_the_rest():
    banned = automata.of_expression("(?s:.*)ab(?s:.*)", ALPHABET).inverted()
    assert [text for text in TEXTS if accepts(banned, text)] == [text for text in TEXTS if "ab" not in text]


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        *[(p, "lookahead or lookbehind") for p in ("a(?=b)b", "(?!a)b", "(?<=a)b")],
        *[(r"(a)\1", "back-reference"), ("(a)?(?(1)b|a)", "condition"), ("(?>a*)b", "atomic"), ("a*+b", "possessive")],
        *[(p, "is no regular expression") for p in ("(", "a{3,2}", "[b-a]", "*", "(?P<", "\\", "a{99999999999}")],
    ],
)
def test_what_no_automaton_matches_is_a_sentence(pattern, why):
    with pytest.raises(InputError, match=why):
        automata.of_expression(pattern, ALPHABET)


@pytest.mark.parametrize(
    "pattern", ["(a|b)*a(a|b){22}", "((a{1000}){1000}){1000}", "(" * 90_000, "(?:(?:a?){300}){300}", "(.*a){30}b.*c?" * 60]
)
def test_an_automaton_that_would_be_too_large_is_refused_before_it_is_built(pattern):
    vocab = Vocab("char", tuple("ab-"))
    with pytest.raises(InputError, match=r"too large an automaton|is no regular expression"):
        constraint(vocab, Settings(matches=pattern), np.zeros(0, np.int32))


VOCABS = {
    "char": Vocab("char", tuple("ab-")),
    "word": Vocab("word", ("a", "b-", "ab")),
    "word-punct": Vocab("word-punct", (" a", "a", " ", "-", " ab")),
    "word-only": Vocab("word-only", ("a", "ab", "ba")),
    "mark": Vocab("word", ("a", "b"), "<unk>"),
}
ASKED = [
    {"starts_with": "a"},
    {"ends_with": "a"},
    {"contains": "a a"},
    {"contains": ["a", "-"]},
    {"matches": r"(a|b|-| )*b.?"},
    {"matches": r"\w+"},
    {"ban": "ab"},
    {"ban": ["a", " "], "min_length": 1},
    {"length": "2:3"},
    {"min_length": 2},
    {"length": ":1", "starts_with": "ab"},
    {"starts_with": "a", "ends_with": "a", "length": "3:"},
    {"contains": "�", "unknown": True},
]


def fits(text: str, symbols: int, asked: dict, behind: int = 0) -> bool:
    """The options, as a user would check them."""
    several = {name: [value] if isinstance(value, str) else value for name, value in asked.items()}
    low, high = Settings(length=asked.get("length")).length or (0, None)
    return (
        text.startswith(asked.get("starts_with", ""))
        and text.endswith(asked.get("ends_with", ""))
        and all(part in text for part in several.get("contains", ()))
        and not any(part in text for part in several.get("ban", ()))
        and ("matches" not in asked or bool(re.fullmatch(asked["matches"], text)))
        and low <= symbols <= (symbols if high is None else high)
        and symbols - behind >= asked.get("min_length", 0)
    )


@pytest.mark.parametrize("unit", VOCABS)
@pytest.mark.parametrize("asked", ASKED, ids=str)
def test_the_ids_that_are_allowed_are_those_of_texts_that_fit(unit, asked):
    """In every place, those from which a text of at most four symbols that fits can still be reached, for every prompt."""
    vocab, longest = VOCABS[unit], 4
    ids = range(UNK if asked.get("unknown") else 2, len(vocab))
    for prompt in ([], [2], [3, 2]):
        streams = [(*prompt, *more) for n in range(longest + 1) for more in product(ids, repeat=n)]
        fitting = [s for s in streams if fits(vocab.decode(s), len(s), asked, len(prompt))]
        wanted = Settings(**asked, max_length=longest + 1)
        if not fitting:
            with pytest.raises(InputError, match=r"symbol|no text|satisfies"):
                constraint(vocab, wanted, np.array(prompt, np.int32))
            continue
        found = constraint(vocab, wanted, np.array(prompt, np.int32))
        possible = {(*s, EOS)[:n] for s in fitting for n in range(len(prompt), len(s) + 2)}
        for start in {*possible}:
            if EOS in start:
                continue
            state = found.start
            for id in start[len(prompt) :]:
                state = found.after(state, id)
            allowed = found.allowed(np.array([state]), np.array([len(start) - len(prompt)]))[0]
            assert {*np.flatnonzero(allowed).tolist()} == {id for id in range(len(vocab)) if (*start, id) in possible}


def test_several_lines_are_one_text_with_line_ends():
    """Of three lines here, the last of which ends the sample."""
    vocab, pattern = VOCABS["word"], "(a|b- a)\n(ab\n)?b-"
    found = constraint(vocab, Settings(matches=pattern), np.zeros(0, np.int32), lines=3)
    texts = set()
    for stream in product(range(len(vocab)), repeat=7):
        states = list(accumulate(stream, found.after, initial=found.start))
        if found.ended(states[-1]) and not any(map(found.ended, states[:-1])):
            texts.add(vocab.decode(stream))
    assert texts == {"b- a\nab\nb-"}


@pytest.mark.parametrize("unit", ["char", "word", "word-punct"])
@pytest.mark.parametrize("stops", [["b"], ["a-"], ["ab", "b"], ["-", "a a"]], ids=str)
@pytest.mark.parametrize("asked", [{}, {"matches": "(a| |b)*"}, {"ends_with": "a"}], ids=str)
def test_a_stop_ends_the_text_and_what_stands_before_it_fits(unit, stops, asked):
    vocab = VOCABS[unit]
    found = constraint(vocab, Settings(stop=stops, **asked), np.zeros(0, np.int32))
    for stream in product(range(2, len(vocab)), repeat=4):
        state = found.start
        for n, id in enumerate(stream, 1):
            before, state = state, found.after(state, id)
            text = vocab.decode(stream[:n])
            if (stopped := cut(text, stops, 0)) != text:
                assert found.ended(state) == fits(stopped, 0, asked)
                break
            assert not found.ended(state)
            assert before != automata.DEAD or state == automata.DEAD


def test_a_text_is_cut_before_the_stop_that_ends_first():
    assert cut("one, two. three", [". ", ", "], 0) == "one"
    assert cut("one, two. three", [", ", "e, t"], 0) == "one"
    assert cut("abcd", ["cd", "bcd"], 0) == "a"
    assert cut("one, two, three", [", "], 5) == "one, two"
    assert cut("one", ["x"], 0) == "one"


@pytest.mark.parametrize(
    ("asked", "prompt", "sentence"),
    [
        ({"starts_with": "aé"}, "", "no text of this model's symbols satisfies --starts-with 'aé': the model knows no 'é'"),
        ({"contains": ["a", "€"]}, "", "the model knows no '€'"),
        ({"matches": "[0-9]+"}, "", "no text of this model's symbols satisfies --matches"),
        ({"starts_with": "b"}, "a", "satisfies --starts-with 'b' behind the prompt 'a'"),
        ({"starts_with": "ab", "ban": "b"}, "", "no text satisfies --starts-with 'ab' and --ban 'b': leave one of them out"),
        ({"matches": "aaa", "length": ":2"}, "", "has 3 more symbols, and at most 2 fit"),
        ({"matches": "aaa", "max_length": 3}, "", "has 3 more symbols, and at most 2 fit"),
        ({"matches": "a|aaa", "length": "2"}, "", "no text that satisfies --matches 'a|aaa' has 2 to 2 symbols"),
        ({"length": "9", "max_length": 5}, "", "9 symbols or more are asked for, but at most 4 fit"),
        ({"min_length": 10_000, "max_length": 9}, "", "10,000 symbols or more are asked for, but at most 8 fit"),
        ({"length": ":2"}, "aaa", "at most 0 fit"),
        ({"min_length": 900_000, "max_length": 1_000_000}, "", "--min-length would need too large an automaton"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(asked, prompt, sentence):
    vocab = VOCABS["char"]
    with pytest.raises(InputError) as error:
        constraint(vocab, Settings(**asked), vocab.encode(prompt).astype(np.int32))
    assert sentence in str(error.value)


def test_nothing_asked_is_no_constraint():
    assert constraint(VOCABS["char"], Settings(), np.zeros(0, np.int32)) is None


@pytest.mark.parametrize(
    "value", ["5:3", ":", "a:b", "1:2:3", "-1", "", (3, 2), (None, 3), (1,), 1.5, True, "1:2000000", [1, "b"], {}]
)
def test_what_is_no_range_is_a_sentence(value):
    with pytest.raises(InputError, match="Invalid value for '--length'"):
        Settings(length=value)


@pytest.mark.parametrize(
    ("value", "ends"), [("5:8", (5, 8)), ("5:", (5, None)), (":8", (0, 8)), ("8", (8, 8)), (8, (8, 8)), ([1, None], (1, None))]
)
def test_a_range_has_one_form(value, ends):
    assert Settings(length=value).length == ends


@pytest.mark.parametrize(
    "wrong", [{"stop": ""}, {"ban": ["a", ""]}, {"contains": 3}, {"contains": [b"a"]}, {"matches": None}, {"starts_with": 1}]
)
def test_what_is_no_text_is_a_sentence(wrong):
    with pytest.raises(InputError, match="Invalid value for '--"):
        Settings(**wrong)
