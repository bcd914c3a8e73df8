"""Lines to label as they come: the text is found in the forms of labelled data, and nothing waits for what is not there yet."""

from __future__ import annotations

from pathlib import Path

import pytest

from lmgen.data.vocab import Vocab
from lmgen.errors import InputError
from lmgen.labelled.corpus import Labels
from lmgen.labelled.unlabelled import apart, texts

CITIES = Labels(tags=("B-city", "I-city", "O"))
CLASSES = Labels(labels=("bad", "good"))
SENTENCES = [("New", "York", "in"), ("to", "Oslo")]
COLUMNS = "New\tB-city\nYork\tI-city\nin\tO\n\nto\tO\nOslo\tB-city"


def read(content: str, names: Labels = CITIES, form: str | None = "columns", column: int | None = None, name: str = "-"):
    return [*texts(Path(name), iter(content.split("\n")), names, form, column)]


@pytest.mark.parametrize(
    "content",
    [
        COLUMNS,
        COLUMNS.replace("\t", " "),
        COLUMNS + "\n",
        "\n# from a file\n" + COLUMNS + "\n\n\n",
        "New\nYork\nin\n\nto\nOslo\n",  # tokens alone
        "-DOCSTART-\tO\n\n" + COLUMNS,
        COLUMNS.replace("B-city", "B-town"),  # a tag that the model does not know
        COLUMNS.replace("\t", "\tX\t"),
        COLUMNS.replace("\tO", "\tO\t0.9").replace("-city", "-city\t0.8"),  # as lmgen predict prints them
    ],
)
@pytest.mark.parametrize("form", ["columns", "jsonl", "folder"])
def test_columns_are_sentences_of_tokens(content, form):
    assert read(content, form=form) == SENTENCES


def test_the_columns_may_count_the_tokens():
    content = "1\tNew\t_\tB-city\n2-3\tdel\t_\t_\n2\tYork\t_\tI-city\n\n1\tto\t_\tO\n"
    assert read(content, column=4) == [("New", "York"), ("to",)]


@pytest.mark.parametrize("content", ["to Oslo\nin May\n", "Oslo\nLima\nCairo", "Oslo\n\nLima\n", "to O\n", "to York O\nin May\n"])
def test_other_lines_are_texts_of_their_own_for_a_tagger(content):
    assert read(content) == list(filter(None, content.split("\n")))


def test_columns_mean_nothing_where_no_tag_is_predicted():
    assert read("good\ta film\nbad\ta play", CLASSES, "tsv", 1) == ["a film", "a play"]
    assert read("New\tB-city\n\n", CLASSES, None) == ["New\tB-city"]


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ('text,label\na film,good\n"a, play",bad\n', ["a film", "a, play"]),
        ('id;Text\n1;"the ""film"""\n\n2;a play', ['the "film"', "a play"]),
        ('id,text\n1,"two\n\nlines, of it"\n2,one', ["two\n\nlines, of it", "one"]),
        ('id\ttext\n1\t"one\n2\ttwo', ['"one', "two"]),
        ("text,label\n", []),
        ("a film\na play, too", ["a film", "a play, too"]),  # no header: texts
    ],
)
def test_the_text_of_a_table_with_a_header_is_its_column(content, found):
    assert read(content, CLASSES, "csv") == found
    assert read(content, CLASSES, "tsv", name="new.csv") == found


@pytest.mark.parametrize("row", ["one", "one,two,three", '"one"x,two', '"one,two'])
def test_a_row_that_is_none_is_one_sentence_with_its_line(row):
    with pytest.raises(InputError, match="standard input, line 3: "):
        read(f"text,label\nfine,good\n{row}", CLASSES, "csv")


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ([None, "New\tB-city", None, "York\tI-city", "", None, "to\tO"], [None, None, SENTENCES[0][:2], None, ("to",)]),
        ([None, "to Oslo", None, "", "in May"], [None, "to Oslo", None, "in May"]),
    ],
)
def test_a_wait_for_more_comes_after_all_that_is_whole(lines, found):
    assert [*texts(Path("-"), iter(lines), CITIES, "columns")] == found


def test_the_rows_of_a_table_do_not_wait_for_the_next():
    given = iter([None, "text,label", None, "a film,good", None, '"a', None, 'play",bad', None])
    assert [*texts(Path("-"), given, CLASSES, "csv")] == [None, None, "a film", None, None, "a\nplay", None]


def test_blank_lines_and_labels_that_were_left_out_are_told():
    notes: list[str] = []
    given = iter(["good\ta film", "", "a play"])
    assert [*texts(Path("-"), given, CLASSES, "tsv", 1, note=notes.append)] == ["a film", "a play"]
    assert notes == ["passed over 1 blank line", "1 line with a label beside the text, which was not looked at"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("to Oslo.", "to Oslo ."),
        ("(to Oslo),", "( to Oslo ) ,"),
        ("in the U.S.", "in the U.S."),  # a word
        ("in the U.S.,", "in the U.S. ,"),
        ("to Oslo!", "to Oslo!"),  # training has not seen this mark stand alone
        ("to Oslo;", "to Oslo;"),  # nor this one, which has a vector only
        ("to Oslo , and Rome.", "to Oslo , and Rome."),  # marks stand alone here, so this one belongs to its word
        ("...", ". . ."),
        ("to  Oslo", "to  Oslo"),
        ("", ""),
    ],
)
def test_marks_at_words_that_are_unknown_with_them_are_apart(text, found):
    vocab = Vocab("word", ("to", "U.S.", ".", ",", "(", ")", "Oslo!!", ";"))
    assert apart(text, vocab, len(vocab) - 1) == found
    assert apart("to Oslo.", Vocab("char", vocab.symbols), 9) == "to Oslo."
