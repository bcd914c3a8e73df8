"""What a look at a text promises: every figure is that of the text, counted by hand or by brute force."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmgen.checks import plain as check
from lmgen.data import corpus, damage
from lmgen.data.reading import Text
from lmgen.data.split import split_of
from lmgen.data.vocab import UNK, Vocab
from lmgen.errors import InputError
from support import invented_words, lines, on_a_terminal, text

some_lines = st.lists(st.text("abA1. é", min_size=1, max_size=3).filter(str.strip), min_size=1, max_size=12)


def alike(sequence: str) -> str:
    """The rule of near equality, spelt out."""
    kept = [c for c in unicodedata.normalize("NFKC", sequence).casefold() if not re.match(r"[\s\d.,!?;:'\"-]", c)]
    return "".join(kept) if any(c.isalpha() for c in kept) else sequence


# --- figures ---


def test_every_figure_of_a_small_text():
    of = check.check(text("emma\nolivia\n\nemma\nEmma!\nzoé 7\nzoé 8\n"), text("emma\nava\n", name="valid.txt"))
    assert (of.bytes, of.lines, of.blank_lines, of.paragraphs, of.sequences) == (38, 7, 1, 2, 6)
    assert of.lengths == check.Lengths(shortest=4, median=5, mean=29 / 6, most=6, longest=6)
    assert of.line_ends == {"LF": 7}
    characters, words = of.symbols
    assert (characters.total, characters.kinds, characters.once) == (29, 14, 6)
    assert sorted(characters.examples[:4]) == ["!", "7", "8", "E"]
    assert (words.total, words.kinds, words.once, words.rare) == (8, 6, 4, 6)
    assert (of.repeats.exact, of.repeats.near) == (1, 2)  # emma; Emma!, and zoé 8 after zoé 7
    assert of.repeats.most_frequent == [(2, "emma")]
    assert of.repeats.alike == [("emma", "Emma!"), ("zoé 7", "zoé 8")]
    (overlap,) = of.overlaps
    assert (overlap.sequences, overlap.exact, overlap.near, overlap.example) == (2, 1, 1, "emma")
    assert not of.damage
    json.dumps(asdict(of))


@settings(deadline=None)
@given(some_lines, some_lines)
def test_repeats_and_overlap_are_those_of_a_comparison_of_each_with_each(train, valid):
    of = check.check(text(lines(train)), text(lines(valid), name="valid.txt"))
    assert of.repeats.exact == sum(line in train[:k] for k, line in enumerate(train))
    distinct = list(dict.fromkeys(train))
    assert of.repeats.near == sum(any(alike(a) == alike(b) for b in distinct[:k]) for k, a in enumerate(distinct))
    for a, b in of.repeats.alike:
        assert a != b or " " in "".join(train)  # what is shown has its white space narrowed
    (o,) = of.overlaps
    assert (o.sequences, o.exact) == (len(valid), sum(line in train for line in valid))
    assert o.near == sum(any(alike(line) == alike(other) for other in train) for line in valid)
    assert (o.distinct, o.exact_distinct) == (len(set(valid)), len(set(valid) & set(train)))
    runs = [valid[k : k + 3] for k in range(len(valid) - 2)]
    assert (o.runs, o.shared_runs) == (len(runs), sum(run in [train[k : k + 3] for k in range(len(train) - 2)] for run in runs))


@settings(deadline=None)
@given(some_lines)
def test_lengths_are_those_of_the_sorted_lines(sequences):
    of = check.check(text(lines(sequences))).lengths
    lengths = sorted(map(len, sequences))
    assert (of.shortest, of.longest, of.mean) == (lengths[0], lengths[-1], pytest.approx(sum(lengths) / len(lengths)))
    assert (of.median, of.most) == tuple(lengths[math.ceil(share * len(lengths)) - 1] for share in (0.5, 0.95))


@pytest.mark.parametrize("unit", ["word", "word-punct"])
@settings(deadline=None)
@given(train=some_lines, valid=some_lines)
def test_the_unknown_share_is_that_of_encoding_with_such_a_vocabulary(unit, train, valid):
    with mock.patch.multiple("lmgen.data.symbols", SIZES_OF_CHARACTERS=(3, 4, 6), SIZES_OF_WORDS=(3, 4, 6)):
        of = check.check(text(lines(train)), text(lines(valid), name="valid.txt"), unit=unit)
    for kind in ("char", unit):
        counts = Counter(s for line in train for s in Vocab(kind, ()).split(line))
        for one in (u for u in of.unknown if u.unit == kind):
            vocab = Vocab.of(counts, kind, size=one.size)
            ids = [id for line in valid for id in vocab.encode(line).tolist()]
            assert one.share == pytest.approx(ids.count(UNK) / len(ids))
        assert [u.size for u in of.unknown if u.unit == kind][-1] is None


@pytest.mark.parametrize("carry", [False, True])
def test_without_validation_text_what_training_would_hold_out_is_measured(carry):
    of = text(lines(f"name{k:03}" for k in range(700)), keep_blank=carry)
    data = corpus.load(of, None, "word", carry, split=split_of(of, carry))
    all_words = next(u for u in check.check(of).unknown if u.unit == "word" and u.size is None)
    assert all_words.of == "held-out"
    assert all_words.share == data.valid.unknown / (data.valid.symbols - data.valid.sequences) == 1.0


@pytest.mark.parametrize("sequence", ["line", "paragraph", "file"])
def test_long_sequences_are_the_same_in_pieces(sequence):
    of = text("ab Cd\n" * 9 + "\n" + "ab Cd\n" * 9 + "\nx\n", sequence)
    whole = check.check(of)
    with mock.patch("lmgen.data.reading.BLOCK", 8):
        in_pieces = check.check(of)
    assert in_pieces.lengths == whole.lengths
    assert (in_pieces.repeats.exact, in_pieces.repeats.near) == (whole.repeats.exact, whole.repeats.near)
    assert whole.repeats.exact == {"line": 17, "paragraph": 1, "file": 0}[sequence]
    assert in_pieces.symbols == whole.symbols
    assert (in_pieces.lines, in_pieces.blank_lines, in_pieces.paragraphs) == (21, 2, 3)


def test_words_beyond_the_table_are_counted_as_others():
    with mock.patch("lmgen.data.symbols.MOST_WORDS", 2):
        words = check.check(text("a b\nc a d\ne e a\n")).symbols[1]
    assert (words.total, words.kinds) == (8, 2)


def test_a_long_word_takes_no_more_room_than_a_short_one():
    words = check.check(text("x" * 5000 + "y\n" + "x" * 5000 + "z\n")).symbols[1]
    assert (words.total, words.kinds) == (2, 2)
    assert all(len(word) < 100 for word in words.examples)


# --- near equality ---


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ("Hello, World!", "hello world", True),
        ("ﬁne № 1", "fine no 2", True),
        ("STRASSE", "Straße", True),
        ("soft\u00adhyphen", "softhyphen", True),
        ("12:30", "12:31", False),  # without letters they stand for themselves
        ("a + b", "a − b", False),
        ("कि", "के", False),  # vowel signs are no punctuation
        ("año", "ano", False),
    ],
)
def test_what_is_nearly_equal(one, other, equal):
    assert (check.nearly(one) == check.nearly(other)) is equal


# --- damage ---


@pytest.mark.parametrize(
    ("line", "kind", "characters"),
    [
        ("cafÃ©", "garbled", 1),
        ("itâ€™s", "garbled", 1),
        ("Ð¿Ñ€Ð¸Ð²ÐµÑ‚", "garbled", 6),
        ("ðŸ˜€", "garbled", 1),
        ("a\ufffdb\ufffd", "replaced", 2),
        ("a\x00b\x1b[0m", "control", 2),
        ("a\u200bb", "invisible", 1),
        ("co\u00adop", "invisible", 1),
        ("\u202eabc", "invisible", 1),
        ("\ue000", "private", 1),
        ("\u0378", "unassigned", 1),
        ("a\xa0b", "space", 1),
        ("cafe\u0301", "decomposed", 1),
    ],
)
def test_damage_is_found_with_its_place(line, kind, characters):
    of = check.check(text(f"fine\nalso fine\n{line}\nfine\n{line}\n"))
    (found,) = [d for d in of.damage if d.kind == kind]
    assert (found.characters, found.lines, found.file, found.line) == (2 * characters, 2, "corpus.txt", 3)
    assert kind in damage.KINDS


@pytest.mark.parametrize(
    "line",
    [
        "„Fuß“ und „Übermaß“…",
        "«CAFÉ» — «perché…»",
        "À bientôt…",
        "São Paulo",
        "það“",
        "Ελληνικά",
        "Привет",
        "日本語。",
        "NÃO",
        "«MANHû",
    ],
)
def test_what_people_write_is_not_garbled(line):
    assert not list(damage.garbled(line))


@settings(deadline=None)
@given(st.text("äöüéèñçàß", min_size=1))
def test_what_was_read_wrongly_is_recognised_and_read_rightly(original):
    for encoding in ("latin-1", "cp1252"):
        try:
            stands = original.encode().decode(encoding)
        except UnicodeDecodeError:
            continue
        assert "".join(was for _, was in damage.garbled(stands)) == original


def test_the_line_of_damage_is_that_of_its_file():
    for name, content in (("a.txt", "one\ntwo\n"), ("b.txt", "\n\nthree\ufffd\n")):
        Path(name).write_text(content, "utf-8")
    (found,) = check.check(Text([Path("a.txt"), Path("b.txt")])).damage
    assert (found.file, found.line, found.most) == ("b.txt", 3, ["U+FFFD"])


def test_line_ends_are_told_apart():
    of = check.check(text(b"a\r\nb\nc\rd\n\r\n"))
    assert of.line_ends == {"CR LF": 2, "LF": 2, "CR": 1}
    assert any("CR alone" in sentence for sentence in of.warnings)
    with mock.patch("lmgen.data.reading.BLOCK", 2):
        assert check.check(text(b"a\r\nb\nc\rd\n\r\n")).line_ends == of.line_ends


def test_line_ends_are_those_of_the_whole_text_also_where_it_begins_with_repeats():
    with mock.patch("lmgen.data.reading.BLOCK", 8):
        assert check.check(text("a\na\n" + "b\r\n" * 50)).line_ends == {"LF": 2, "CR LF": 50}


# --- the smallest and the strangest ---


@pytest.mark.parametrize("sequence", ["line", "paragraph", "file"])
@pytest.mark.parametrize("carry", [False, True])
def test_the_smallest_texts_work(sequence, carry):
    for content in ("a", "a\n", ".\n", "1 2\n", "\n\na\n", "\ufeffa", "a b\n" * 3, "\ud7ff", "\U0010ffff\n"):
        of = check.check(text(content, sequence, keep_blank=carry))
        assert of.sequences >= 1
        assert {one.about for one in of.advice} == {"unit", "sequence"}


@pytest.mark.parametrize("content", ["", "\n", " \n\t\n"])
def test_a_text_without_a_line_is_refused(content):
    with pytest.raises(InputError, match=r"no text in corpus\.txt"):
        check.check(text(content))
    with pytest.raises(InputError, match=r"no text in valid\.txt"):
        check.check(text("emma\n"), text(content, name="valid.txt"))


@settings(deadline=None)
@given(st.text())
def test_any_text_can_be_looked_at(content):
    of = check.check(text("A line before it\n" * 9 + content.encode("utf-8", "replace").decode()))
    assert 8 <= of.repeats.exact + of.repeats.near < of.sequences


# --- the command ---


def test_the_tables_fit_60_columns(words_file):
    words_file.write_text(
        words_file.read_text() + "bade\nBade!\n" * 40 + "cafÃ©\na\u200bb\nz\ufffd\nan even longer line with many words in it\n"
    )
    seen = on_a_terminal(
        "corpus", "check", str(words_file), "--valid", str(words_file), "--test", "cities", columns=60, NO_COLOR="1"
    )
    sections = "warnings", "advice", "rare symbols", "signs of damage", "nearly equal", "--vocab-size"
    assert all(section in seen for section in sections)
    long = [line for line in seen.splitlines() if len(line) > 60]
    assert all(str(words_file) in line for line in long), long  # a path is not folded


def test_the_command_prints_tables_or_one_object(lmgen, words_file):
    code, out, err = lmgen("corpus", "check", "words.txt")
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == "to train: lmgen train words.txt"
    code, out, _ = lmgen("corpus", "check", "words.txt", "--valid", words_file, "--json")
    (line,) = map(json.loads, out.splitlines())
    assert line["sequences"] == 1000
    assert line["overlaps"][0]["exact"] == 1000
    assert line["symbols"][0]["unit"] == "char"
    assert line["command"] == f"lmgen train words.txt --valid {words_file}"
    assert {"lengths", "repeats", "unknown", "damage", "warnings", "advice"} <= line.keys()
    assert lmgen("corpus", "check", "-", stdin="emma\nava\n")[1].startswith("standard input\n")
    assert lmgen("corpus", "check", "names")[1].startswith("names\n")


def test_tables_hold_no_code_that_steers_a_terminal(lmgen):
    Path("evil.txt").write_text("a\x1b[31mb\n" * 5 + "x\u202ey\n" * 3 + "\x9bz\n" + lines(invented_words(600)))
    code, out, _ = lmgen("corpus", "check", "evil.txt")
    assert code == 0
    assert not {"\x1b", "\u202e", "\x9b"} & set(out)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("corpus check", "Missing argument"),
        ("corpus check missing.txt", "there is no missing.txt"),
        ("corpus check empty.txt", "there is no text in empty.txt"),
        ("corpus check words.txt --valid empty.txt", "there is no text in empty.txt"),
        ("corpus check bad.txt", "not UTF-8 at byte 3 (line 2"),
        ("corpus check data.gz", "data.gz ends in the middle of its gzip data"),
    ],
)
def test_mistakes_get_one_sentence(lmgen, words_file, words, message):
    Path("empty.txt").touch()
    Path("bad.txt").write_bytes(b"ab\n\xff\xfe\n")
    Path("data.gz").write_bytes(b"\x1f\x8b\x08\x00")
    code, out, err = lmgen(*words.split())
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1


def test_bytes_that_are_no_text_are_counted_where_asked(lmgen):
    Path("bad.txt").write_bytes(b"ab\n\xff\xfe\n" + lines(invented_words(600)).encode())
    of = json.loads(lmgen("corpus", "check", "bad.txt", "--errors", "replace", "--json")[1])
    assert [(d["kind"], d["characters"], d["line"]) for d in of["damage"]] == [("replaced", 2, 2)]


def test_a_corpus_that_ships_is_sound(lmgen):
    for name in ("cities", "names"):
        of = json.loads(lmgen("corpus", "check", name, "--json")[1])
        assert of["repeats"]["exact"] == 0
        assert not [sentence for sentence in of["warnings"] if "repeat an earlier one but" not in sentence]
