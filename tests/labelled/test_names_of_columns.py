"""The names that columns and fields have in data of others, and messages for data whose names say too little."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from lmgen.errors import InputError
from lmgen.labelled.examples import Examples, recognise
from lmgen.labelled.forms import Example
from lmgen.structured import table
from support import lines

DRAW = random.Random(0)
ROWS = [(DRAW.choice(["good", "bad"]), f"a film, number {number}") for number in range(60)]


def written(content: str, name: str) -> Path:
    Path(name).write_text(content)
    return Path(name)


def quoted(delimiter: str, *columns: str) -> str:
    return delimiter.join(f'"{column}"' if delimiter == "," else column for column in columns)


@pytest.mark.parametrize(("name", "delimiter"), [("a.csv", ","), ("a.tsv", "\t")])
@pytest.mark.parametrize("header", [("Phrase", "Sentiment"), ("text", "humorous"), ("Sentiment", "Phrase"), ("stars", "Review")])
def test_of_two_columns_one_name_is_enough_and_the_header_is_no_example(name, delimiter, header):
    label_first = header[0] in ("Sentiment", "stars")
    rows = [header, *(row if label_first else row[::-1] for row in ROWS)]
    path = written(lines(quoted(delimiter, *row) for row in rows), name)
    found = recognise([path])
    assert (found.form, found.task) == ("csv", "classify")
    assert [(e.labels, e.text) for e in Examples([path], "csv")] == [((label,), text) for label, text in ROWS]


def test_a_first_line_that_is_an_example_is_no_header():
    """Its label is one of the others, though its text has the name of a column."""
    found = recognise([written("name\tgood\n" + lines(f"{text}\t{label}" for label, text in ROWS), "a.tsv")])
    assert (found.form, found.column) == ("tsv", 2)
    assert recognise([written("text,day\n" + lines(f'"{text}",d{k}' for k, (_, text) in enumerate(ROWS)), "a.csv")]) is None


def test_the_column_of_the_labels_tells_the_other_one():
    path = written("v1,v2\nham,see you\nspam,win\n", "a.csv")
    assert [*Examples([path], "csv", 1)] == [Example("see you", ("ham",), None, 2), Example("win", ("spam",), None, 3)]


@pytest.mark.parametrize(
    ("header", "column", "message"),
    [
        ("v1,v2,v3", 1, "line 1: no header that says which column has the text: name it text, and that of the label label"),
        ("v1,v2", None, "line 1: no header that says which column has the text: name it text, and that of the label label"),
        ("id,text,v3", None, "line 1: no header that says which column has the label: name it label, or give its --column"),
        ("id,text,v3", 2, "line 1: there is no label in column 2: give a --column of 1 to 3 other than 2, which has the text"),
        ("id,text,v3", 4, "line 1: there is no label in column 4: give a --column of 1 to 3 other than 2, which has the text"),
    ],
)
def test_a_header_that_says_too_little_gets_a_way_out_that_is_one(header, column, message):
    with pytest.raises(InputError, match=message):
        [*Examples([written(f"{header}\na,b,c\n", "a.csv")], "csv", column)]


@pytest.mark.parametrize("field", ["tags", "ner_tags", "pos_tags", "chunk_tags"])
@pytest.mark.parametrize("tags", [["O", "B-x"], [0, 3]])
def test_fields_of_tags_have_several_names_and_may_be_numbers(field, tags):
    path = written(json.dumps({"id": "7", "tokens": ["to", "Rome"], field: tags}) + "\n", "a.jsonl")
    assert (found := recognise([path])).task == "tag"
    assert f"tokens and {field}" in found.reason
    assert [*Examples([path], "jsonl")] == [Example(("to", "Rome"), (), tuple(map(str, tags)), 1)]


def test_whole_numbers_that_were_written_as_fractions_are_labels():
    path = written('{"text": "a", "label": 1.0}\n{"text": "b", "label": 0.5}\n', "a.jsonl")
    assert recognise([path]).task == "classify"
    with pytest.raises(InputError, match=r"line 2: label is 0\.5: give a string, or a list of strings"):
        [*Examples([path], "jsonl")]


@pytest.mark.parametrize(("name", "task"), [("a.jsonl", "tag"), ("a.jsonl", "classify"), ("a.conll", "tag"), ("a.bio", "tag")])
def test_a_file_that_is_named_as_a_form_is_read_as_that_where_a_task_was_given(name, task):
    """So its error has a line, not all the forms there are."""
    found = table.recognise([written('{"words": "x"}\n', name)], task)
    assert found.form == ("jsonl" if name.endswith("jsonl") else "columns")
    assert task in found.task.split("-")
