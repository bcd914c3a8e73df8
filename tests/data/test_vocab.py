"""What a vocabulary promises: text to ids and back without loss, ids in a fixed order, and no character with a secret meaning."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmgen.data.vocab import EOS, SPECIAL, UNITS, UNK, Vocab
from lmgen.errors import CheckpointError, InputError

LOSSLESS = ["char", "word-punct"]
LOOKED_UP = [name for name, unit in UNITS.items() if not unit.learns]  # tests/data/test_subword.py has the others
lines = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n"))
prose = st.text("abé  .,'\t\u00a0-_7", max_size=30)


def learnt(text: str, unit: str, unk_token: str | None = None, **options) -> Vocab:
    """The vocabulary of one sequence."""
    return Vocab.of(Counter(Vocab(unit, (), unk_token).split(text)), unit, unk_token=unk_token, **options)


def test_ids_follow_frequency_then_code_point():
    vocab = learnt("zzz bb aa é", "char")
    assert vocab.symbols == (" ", "z", "a", "b", "é")
    assert vocab.ids == {" ": 2, "z": 3, "a": 4, "b": 5, "é": 6}
    assert (EOS, UNK, len(vocab)) == (0, 1, 7)


def test_ids_do_not_depend_on_the_order_in_which_symbols_were_met():
    assert learnt("abcabd", "char") == learnt("dcbaab", "char")


def test_rare_symbols_are_left_out():
    assert learnt("aaabbc", "char", min_count=2).symbols == ("a", "b")


def test_size_counts_eos_and_unk():
    for size in range(3, 6):
        vocab = learnt("aaabbc", "char", size=size)
        assert len(vocab) == size
        assert vocab.symbols == ("a", "b", "c")[: size - 2]
    assert len(learnt("aaabbc", "char", size=100)) == 5


@pytest.mark.parametrize("options", [{"min_count": 4}, {"size": 2}, {"size": 0}])
def test_an_empty_vocabulary_is_refused(options):
    with pytest.raises(InputError, match="vocabulary is empty"):
        learnt("aaabbc", "char", **options)


@pytest.mark.parametrize(
    ("unit", "symbols"),
    [
        ("char", list("Don’t, now-a-days  (I'm)!")),
        ("word", ["Don’t,", "now-a-days", "(I'm)!"]),
        ("word-only", ["Don’t", "now-a-days", "I'm"]),
        ("word-punct", [" Don", "’", "t", ",", " now", "-", "a", "-", "days", " ", " (", "I", "'", "m", ")", "!"]),
    ],
)
def test_what_a_symbol_of_each_unit_is(unit, symbols):
    assert Vocab(unit, ()).split("Don’t, now-a-days  (I'm)!") == symbols


def test_the_first_word_of_a_line_is_the_same_symbol_as_the_others():
    assert learnt("so so so", "word-punct").symbols == (" so",)


@pytest.mark.parametrize("unit", UNITS)
def test_no_text_has_no_symbols(unit):
    assert Vocab(unit, ("a",)).split("") == []
    assert Vocab(unit, ("a",)).encode("").tolist() == []


@pytest.mark.parametrize("unit", LOSSLESS)
@settings(deadline=None)
@given(text=lines)
def test_any_line_comes_back_from_its_ids(unit, text):
    vocab = learnt(text or "a", unit)
    assert vocab.decode(vocab.encode(text)) == text


@settings(deadline=None)
@given(lines.filter(str.strip))
def test_words_come_back_with_one_space_between_them(text):
    vocab = learnt(text, "word")
    assert vocab.decode(vocab.encode(text)) == " ".join(text.split())


def test_words_alone_come_back_without_their_punctuation():
    vocab = learnt("Well, I never - said «no»!", "word-only")
    assert vocab.decode(vocab.encode("no, I said - never!")) == "no I said never"


@pytest.mark.parametrize("unit", LOOKED_UP)
@settings(deadline=None)
@given(known=prose.filter(lambda s: any(map(str.isalpha, s))), text=prose)
def test_encode_is_a_look_up_symbol_by_symbol(unit, known, text):
    counts = Counter(Vocab(unit, ()).split(known))
    naive = {s: k for k, s in enumerate(sorted(sorted(counts), key=lambda s: -counts[s]), start=2)}
    assert Vocab.of(counts, unit).encode(text).tolist() == [naive.get(s, UNK) for s in Vocab(unit, ()).split(text)]


@pytest.mark.parametrize("text", ["\0", "\U0010ffff", "a\ud800b"])
def test_the_outermost_code_points_have_ids_too(text):
    vocab = learnt(text, "char")
    assert vocab.decode(vocab.encode(text)) == text
    assert learnt("m", "char").encode(text).tolist() == [UNK] * len(text)


@pytest.mark.parametrize("unit", UNITS)
@settings(deadline=None)
@given(head=lines.filter(lambda s: s and not s[-1].isspace()), tail=lines)
def test_parts_cut_before_a_space_encode_as_the_whole(unit, head, tail):
    vocab = Vocab.of(Counter([*Vocab(unit, ()).split(f"{head} {tail}"), "a"]), unit)
    parts = [*vocab.encode(head), *vocab.encode(f" {tail}", begins=False)]
    assert parts == vocab.encode(f"{head} {tail}").tolist()


def test_eos_is_written_as_a_line_end_between_sequences_only():
    vocab = learnt("emma", "char")
    m, a, e = (vocab.ids[s] for s in "mae")
    assert vocab.decode([e, m, EOS, a, EOS]) == vocab.decode([e, m, EOS, a]) == "em\na"
    assert vocab.decode([EOS, e, EOS, EOS, a]) == "\ne\n\na"
    assert vocab.decode([]) == vocab.decode([EOS]) == ""


def test_what_the_vocabulary_lacks_is_written_as_the_replacement_character():
    assert learnt("ab", "char").decode([2, UNK, 3]) == "a\ufffdb"
    assert learnt("a b", "word").decode([2, UNK, 3]) == "a \ufffd b"
    assert learnt("a b", "word-punct").decode([2, UNK, 3]) == "a \ufffd b"


@pytest.mark.parametrize("unit", LOSSLESS)
@pytest.mark.parametrize("mark", ["<eos>", "<unk>"])
def test_marks_in_a_text_are_ordinary_text(unit, mark):
    vocab = learnt(f"a {mark} b", unit)
    ids = vocab.encode(f"a {mark} b").tolist()
    assert EOS not in ids
    assert UNK not in ids
    assert vocab.decode(ids) == f"a {mark} b"
    assert learnt("a <b", unit).encode("<unk>").tolist().count(UNK) >= 1  # and none stands for one id


@pytest.mark.parametrize(
    ("unit", "text", "ids"),
    [
        ("word", "a a <unk> b", [2, 2, UNK, 3]),
        ("word-punct", "<unk> a a <unk><unk> b", [UNK, 2, 2, UNK, UNK, 3]),
        ("word-only", "a, a <unk>! b", [2, 2, UNK, 3]),
        ("char", "aa<unk>b", [2, 2, UNK, 3]),
    ],
)
def test_the_corpus_own_mark_of_an_unknown_is_read_as_one_unk(unit, text, ids):
    vocab = learnt(text, unit, unk_token="<unk>")
    assert vocab.encode(text).tolist() == ids
    assert len(vocab) == 4  # the mark is no symbol


def test_the_corpus_own_mark_is_written_for_unk():
    vocab = learnt("the <unk> sat", "word", unk_token="<unk>")
    assert vocab.decode(vocab.encode("the dog sat")) == "the <unk> sat"
    vocab = learnt("the <unk> sat.", "word-punct", unk_token="<unk>")
    assert vocab.decode(vocab.encode("the dog sat.")) == "the <unk> sat."


def test_a_mark_of_one_character():
    vocab = learnt("a?b", "char", unk_token="?")
    assert vocab.symbols == ("a", "b")
    assert vocab.encode("a?bz").tolist() == [2, UNK, 3, UNK]
    assert vocab.decode([2, UNK, 3]) == "a?b"


def test_unknown_lists_what_is_lacking_once_in_order_of_appearance():
    assert learnt("abc", "char").unknown("xaybxz") == ["x", "y", "z"]
    assert learnt("a <unk> b", "word", unk_token="<unk>").unknown("b <unk> dog") == ["dog"]


@pytest.mark.parametrize(("symbols", "dtype"), [(65534, "uint16"), (65535, "uint32")])
def test_ids_take_two_bytes_as_long_as_they_fit(symbols, dtype):
    vocab = Vocab("word", tuple(map(str, range(symbols))))
    ids = vocab.encode(f"0 {symbols - 1}")
    assert ids.dtype == dtype
    assert ids.tolist() == [SPECIAL, SPECIAL + symbols - 1]


@settings(deadline=None)
@given(st.sampled_from(LOOKED_UP), st.lists(st.text(min_size=1), unique=True), st.none() | st.just("<unk>"))
def test_a_vocabulary_comes_back_from_its_file(unit, symbols, unk_token):
    vocab = Vocab(unit, tuple(symbols), unk_token)
    again = Vocab.from_json(vocab.to_json())
    assert again == vocab
    assert again.sha256 == vocab.sha256
    assert vocab.to_json().isascii()  # so it can be written in any locale


def test_vocabularies_that_differ_have_different_fingerprints():
    vocabs = [Vocab("char", ("a", "b")), Vocab("char", ("b", "a")), Vocab("word", ("a", "b")), Vocab("char", ("a", "b"), "<unk>")]
    assert len({vocab.sha256 for vocab in vocabs}) == 4


def test_a_file_cut_short_anywhere_is_refused():
    content = Vocab("char", ("a", "é"), "<unk>").to_json().rstrip()
    for length in range(len(content)):
        with pytest.raises(CheckpointError, match=r"vocab\.json"):
            Vocab.from_json(content[:length])


@pytest.mark.parametrize(
    "change",
    [
        {"unit": "syllable"},
        {"unit": None},
        {"symbols": ["a", "a"]},
        {"symbols": ["a", 1]},
        {"symbols": "ab"},
        {"symbols": {"a": 2}},
        {"symbols": [["a"]]},
        {"unk_token": 1},
    ],
)
def test_a_file_of_wrong_content_is_refused(change):
    good = {"unit": "char", "symbols": ["a", "b"], "unk_token": None}
    assert Vocab.from_json(json.dumps(good)) == Vocab("char", ("a", "b"))
    with pytest.raises(CheckpointError, match=r"vocab\.json"):
        Vocab.from_json(json.dumps(good | change))


@pytest.mark.parametrize("content", ["", "null", "3", "[]", "{}", "[" * 100_000, '{"unit": "char", "symbols": ["a"]}', "\0"])
def test_a_file_that_is_something_else_is_refused(content):
    with pytest.raises(CheckpointError, match=r"vocab\.json"):
        Vocab.from_json(content)


def test_a_sequence_that_begins_without_the_lead_loses_nothing():
    assert Vocab("word-punct", (" a", "!", " b")).decode([3, 2]) == "! a"


def test_an_empty_mark_of_the_unknown_is_refused():
    with pytest.raises(InputError, match="--unk-token is empty"):
        Vocab("word", ("a",), "")


@pytest.mark.parametrize("unit", [[], {}, None, 3])
def test_a_unit_that_is_no_name_is_refused(unit):
    with pytest.raises(CheckpointError):
        Vocab.from_json(json.dumps({"unit": unit, "unk_token": None, "symbols": ["a"]}))
