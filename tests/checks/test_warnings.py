"""What a look at a text advises, and what training warns of unasked: the same signs, the worst first."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmgen.checks import plain as check
from lmgen.data import advice, corpus
from lmgen.data.advice import Shape
from lmgen.data.reading import Piece, Text
from support import SMALL, lines, text

# --- advice ---


def advised(content: str) -> dict[str, list[str]]:
    return {one.about: one.options for one in check.check(text(content)).advice}


def test_advice_on_sequences():
    prose = lines(f"{'tT'[k % 4 == 0]}he {k}th line of a text that was wrapped goes on and is long" for k in range(50))
    for content, options in [
        (lines(f"Name{k}" for k in range(100)), []),
        (lines(f"name{k}" for k in range(100)), []),
        (lines(f"This is sentence {k} of the list." for k in range(100)), []),
        ("It begins here, in a line.\n" + prose, ["--carry"]),
        ("def f():\n    if x:\n        return 1\n" * 30, ["--carry"]),
        (lines("A long paragraph. " * 30 for _ in range(20)), ["--carry"]),
        ("Red rose,\nBlue sea,\nNothing rhymes.\n\n" * 30, ["--sequence", "paragraph"]),
    ]:
        assert advised(content)["sequence"] == options, content[:60]


def test_advice_on_units():
    few = lines(f"Few words {k}" for k in range(100))
    sentence = "the cat , it seems , sat on the mat .\n"
    assert advised(few)["unit"] == []
    assert advised("語" * 50 + "\n" + few)["unit"] == []
    assert advised(sentence * 31_000)["unit"] == ["--unit", "word"]
    attached = sentence.replace(" ,", ",").replace(" .", ".")
    assert advised(attached * 40_000 + few)["unit"] == ["--unit", "word-punct", "--min-count", "2"]
    assert advised("a <unk> of <unk>\n" * 3)["unknown"] == ["--unk-token", "<unk>"]


def test_shares_read_as_people_write_them():
    shares = [advice.percent(part, 10_000) for part in (0, 1, 9, 10, 123, 994, 996, 3800, 10_000)]
    assert shares == ["0%", "0.01%", "0.09%", "0.1%", "1.2%", "9.9%", "10%", "38%", "100%"]
    assert advice.percent(1, 10**9) == "0.01%"
    assert advice.percent(0, 0) == "0%"


# --- warnings ---


MANY = [f"line number {k} of the text" for k in range(600)]


def test_a_sound_text_gets_no_warning():
    assert not check.check(text(lines(f"A {chr(97 + k % 26)}{chr(97 + k // 26)} line of the text" for k in range(600)))).warnings


def test_what_is_worst_is_said_first():
    train = lines([*MANY[:300], *MANY[:60], "cafÃ©", "\ufffd"])
    of = check.check(text(train), text(lines(MANY[290:320]), name="valid.txt"))
    words = [
        "33% of the lines of the validation text",
        "1 character looks like",
        "U+FFFD stands for 1",
        "17% of the lines repeat",
    ]
    assert [word in sentence for word, sentence in zip(words, of.warnings, strict=False)] == [True] * 4


@pytest.mark.parametrize("unit", ["char", "word", "word-punct"])
def test_training_finds_the_same_signs(unit):
    train = text(lines([*MANY[:300], *MANY[:60], "cafÃ©", "\ufffd"]))
    valid = text(lines(MANY[290:320]), name="valid.txt")
    signs = corpus.load(train, valid, unit, carry=False).signs
    of = check.check(train, valid)
    assert (signs.sequences, signs.repeated) == (of.sequences, of.repeats.exact)
    assert signs.damaged == {d.kind: d.characters for d in of.damage}
    assert (signs.characters, signs.longest) == (of.characters, of.lengths.longest)
    assert (signs.compared, signs.shared) == (of.overlaps[0].sequences, of.overlaps[0].exact)
    assert "33% of the lines of the validation text" in advice.warnings(signs)[0]


def test_unknown_words_that_the_corpus_marks_itself_are_no_news():
    train, valid = text("the cat sat\n" * 9), text("the <unk> sat\n", name="valid.txt")
    told = [corpus.load(train, valid, "word", False, unk_token=mark).signs.unknown for mark in (None, "<unk>")]
    assert told == [1, 0]


@given(st.lists(st.text("ab\n", max_size=200), max_size=4))
def test_repetition_is_that_of_all_stretches_of_64_characters(sequences):
    shape = Shape()
    list(shape.measured(Piece(sequence, True, True, 1) for sequence in sequences))
    whole = lines(sequences)
    stretches = [whole[k : k + 64] for k in range(len(whole) - 63)]
    repeated = len(stretches) - len({*stretches})
    assert shape.repetition == pytest.approx(repeated / max(1, len(stretches)), abs=1e-12)
    assert shape.characters == len(whole)
    assert shape.longest == max(map(len, sequences), default=0)


BLOCK = " ".join(MANY[:40])


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (BLOCK * 40, "one line of"),
        (BLOCK * 40, "of the text repeats an earlier part"),
        (lines(MANY[:40]) * 30, "97% of the lines repeat an earlier one"),
        (" ".join(MANY * 9) + "\n" + lines(MANY[:40]), "one line of"),
        (lines(MANY[:150]), "only 4,"),
    ],
)
def test_training_warns_of_a_huge_line_and_of_what_repeats(lmgen, content, word):
    """As `corpus check` does, in the same words, whatever is held out."""
    Path("odd.txt").write_text(content)
    said = lmgen("train", "odd.txt", "--cell", "ngram", "--order", 2)[2]
    (warning,) = [line.removeprefix("warning: ") for line in said.splitlines() if word in line]
    assert warning in check.check(Text([Path("odd.txt")])).warnings
    if word == "one line of":
        assert f"one line of {max(map(len, content.splitlines())):,} characters" in warning


def test_a_list_is_no_huge_line_and_does_not_repeat_itself():
    signs = corpus.load(text(lines(MANY)), None, "char", False).signs
    assert signs.repetition < 0.05
    assert not [sentence for sentence in advice.warnings(signs) if "repeat" in sentence or "one line" in sentence]


def test_one_text_has_one_count_of_characters(lmgen):
    """check, train and eval count the line ends, and not the blank lines that they pass over; EOS and UNK are no kinds."""
    Path("odd.txt").write_text("\n".join(MANY[:300]) + "\n\n\nzoé\n")
    count = len("\n".join(MANY[:300])) + 1 + len("zoé\n")
    kinds = len(set("".join(MANY[:300]) + "zoé"))
    assert f"{count:,} with line ends, of {kinds} kinds" in lmgen("corpus", "check", "odd.txt")[1]
    assert json.loads(lmgen("corpus", "check", "odd.txt", "--json")[1])["characters"] == count
    said = lmgen("train", "odd.txt", "--cell", "ngram", "--order", 2)[2]
    assert f"text: {count:,} characters with line ends" in said
    symbols = re.search(r"each EOS included: ([\d,]+) of (\d+) kinds in .* train on, ([\d,]+) in", said)
    assert int(symbols[1].replace(",", "")) + int(symbols[3].replace(",", "")) == count
    assert 0 <= kinds - int(symbols[2]) <= 2  # what is held out alone is none of the kinds that it trains on
    assert f"({count:,} characters with line ends" in lmgen("eval", "odd", "odd.txt", "--no-baselines")[1]


def test_blank_lines_are_no_repeats():
    signs = corpus.load(text("a\n\n\nb\n\n", keep_blank=True), None, "char", carry=True).signs
    assert (signs.sequences, signs.repeated) == (2, 0)


@pytest.mark.parametrize("carry", [False, True])
def test_where_the_state_is_carried_runs_of_three_lines_are_compared(carry):
    train = text(lines(["a", "b", "c", "d", "a"]), keep_blank=carry)
    valid = text(lines(["a", "b", "c", "a", "d"]), name="valid.txt", keep_blank=carry)
    signs = corpus.load(train, valid, "char", carry).signs
    assert (signs.compared, signs.shared) == ((3, 1) if carry else (5, 5))
    assert ("runs of three lines" in advice.warnings(signs)[0]) is carry


def test_lines_of_running_text_may_come_again():
    of = text(lines(["The end."] * 300 + MANY), keep_blank=True)
    assert not [sentence for sentence in check.check(of).warnings if "repeat" in sentence]


def test_training_says_the_worst_unasked(lmgen):
    Path("text.txt").write_text(lines([*MANY[:300], *MANY[:60], "cafÃ©", "\ufffd"]), "utf-8")
    Path("v.txt").write_text(lines(MANY[290:320]), "utf-8")
    code, out, err = lmgen("train", "text.txt", "--valid", "v.txt", "--steps", 1, *SMALL)
    assert (code, out) == (0, "")
    told = [line for line in err.splitlines() if line.startswith("warning: ")]
    assert len(told) == 3
    assert "33% of the lines of the validation text" in told[0]
    assert "for more: lmgen corpus check text.txt --valid v.txt" in err.splitlines()
    assert lmgen("train", "text.txt", "--valid", "v.txt", "--steps", 1, "--quiet", *SMALL)[2] == ""
