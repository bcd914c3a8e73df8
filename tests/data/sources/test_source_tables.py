"""What tables promise: the texts of a column, row by row, from every form of table, or a sentence."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmgen.data import inputs
from lmgen.data.reading import Text, arriving, once, whole
from lmgen.data.sources import tables
from lmgen.errors import InputError

ROWS = [("1", "emma"), ("2", "zoé, the second"), ("3", 'said "no"'), ("4", "two\nlines"), ("5", "")]
TEXTS = [text for _, text in ROWS]


def arrow(rows):
    pa = pytest.importorskip("pyarrow")
    return pa.table({"id": [int(k) for k, _ in rows], "text": [text or None for _, text in rows]})


def write_csv(path, rows, delimiter=","):
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows([("id", "text"), *rows])


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps({"id": int(k), "text": text or None}) + "\n" for k, text in rows), "utf-8")


def write_parquet(path, rows):
    pytest.importorskip("pyarrow.parquet").write_table(arrow(rows), path, row_group_size=2)


def write_arrow(path, rows, stream=False):
    ipc = pytest.importorskip("pyarrow.ipc")
    table = arrow(rows)
    with path.open("wb") as file, (ipc.new_stream if stream else ipc.new_file)(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)


WRITERS = {
    "x.csv": write_csv,
    "semicolon.csv": lambda path, rows: write_csv(path, rows, ";"),
    "x.jsonl": write_jsonl,
    "x.parquet": write_parquet,
    "x.arrow": write_arrow,
    "stream.arrow": lambda path, rows: write_arrow(path, rows, stream=True),
}


@pytest.fixture(params=WRITERS)
def path(request):
    WRITERS[request.param](Path(request.param), ROWS)
    return Path(request.param)


def test_a_column_is_the_text_that_its_rows_would_be(path):
    """The oracle: a file with the cells one below the other."""
    Path("plain").write_text("".join(f"{text}\n" for text in TEXTS if text), "utf-8")
    table = Text([path], column="text")
    assert list(table) == list(Text([Path("plain")]))
    assert list(table.notes)[-1] == f"{path}: passed over 1 row without a text"
    assert list(whole(Text([path], "paragraph", column="text"))) == TEXTS[:4]


def test_each_row_is_a_sequence_that_is_a_file(path):
    assert list(whole(Text([path], "file", column="text"))) == TEXTS[:4]


def test_the_name_of_a_table_does_not_matter(path):
    other = path.rename("table")
    assert list(whole(Text([other], "file", column="text"))) == TEXTS[:4]


def test_a_column_that_is_not_there_is_named_with_those_that_are(path):
    with pytest.raises(InputError, match=r"has no (column|field) 'txt': did you mean text\?$"):
        list(Text([path], column="txt"))
    with pytest.raises(InputError, match=r"has no (column|field) 'review': it has id, text$"):
        list(Text([path], column="review"))


@pytest.mark.parametrize("name", ["x.parquet", "x.arrow", "stream.arrow"])
def test_a_table_without_a_column_lists_those_of_text(name):
    WRITERS[name](Path(name), ROWS)
    with pytest.raises(InputError, match=f"{name} is a table: name the column of its text with --column: text$"):
        list(Text([Path(name)]))
    with pytest.raises(InputError, match=r"column id of .* holds int64, not text"):
        list(Text([Path(name)], column="id"))
    assert list(whole(Text([Path(name)], "file", column=2))) == TEXTS[:4]


def test_a_numbered_column_has_no_header():
    Path("x.tsv").write_text('1\temma\n2\tzoe "quoted\n', "utf-8")
    assert list(whole(Text([Path("x.tsv")], column=2))) == ["emma", 'zoe "quoted']
    with pytest.raises(InputError, match=r"has no column 3: it has 1, 2$"):
        list(Text([Path("x.tsv")], column=3))


@settings(deadline=None)
@given(st.lists(st.tuples(st.text("ab,;\"' é🦊\t"), st.text("ab,;\"'\n é🦊\t", min_size=1)), min_size=1, max_size=5))
def test_every_text_comes_back_from_csv_and_jsonl(rows):
    kept = [text for _, text in rows]
    with Path("x.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([("other", "text"), *rows])
    assert list(whole(Text([Path("x.csv")], "file", True, column="text"))) == kept
    Path("x.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in kept), "utf-8")
    assert list(whole(Text([Path("x.jsonl")], "file", True, column="text"))) == kept


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ('id,text\n1,"never closed\n', "line 2: no row of a table"),
        ("id,text\n1,two,three\n", "line 2: 3 columns where the first row has 2"),
        ('{"text": "a"}\nnot json\n', "line 2: not a JSON object"),
        ('{"text": "a"}\n{"text": 5}\n', "line 2: text is 5, not a text"),
        ('{"text": "a"}\n[' + "[" * 5000 + "\n", "line 2: not a JSON object"),
    ],
)
def test_a_broken_row_is_named_by_its_line(content, why):
    Path("x").write_text(content)
    with pytest.raises(InputError, match=f"^x, {why}"):
        list(Text([Path("x")], column="text"))


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(["x.parquet", "x.arrow", "stream.arrow"]), st.data())
def test_a_damaged_table_is_a_sentence(name, data):
    WRITERS[name](Path(name), ROWS * 20)
    content = bytearray(Path(name).read_bytes())
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    Path("damaged").write_bytes(content)
    with contextlib.suppress(InputError):
        list(Text([Path("damaged")], column="text"))


def test_an_endless_line_is_no_row(monkeypatch):
    monkeypatch.setattr(tables, "LONGEST_CELL", 1000)
    monkeypatch.setattr("lmgen.data.reading.BLOCK", 100)
    Path("x.csv").write_text("id,text\n" + "a" * 5000)
    with pytest.raises(InputError, match="line 2: longer than 1,000 characters"):
        list(Text([Path("x.csv")], column="text"))


def test_a_table_may_be_compressed_and_may_come_from_a_pipe(tmp_path, monkeypatch):
    write_csv(Path("x.csv"), ROWS)
    packed = gzip.compress(Path("x.csv").read_bytes())
    Path("x.csv.gz").write_bytes(packed)
    assert list(whole(Text([Path("x.csv.gz")], "file", column="text"))) == TEXTS[:4]
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BufferedReader(io.BytesIO(packed))))
    assert [one for one in arriving(once("-", "file", column="text")) if one is not None] == TEXTS[:4]


def test_a_missing_pyarrow_is_named(monkeypatch):
    Path("x.parquet").write_bytes(b"PAR1rest")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"x.parquet needs pyarrow.*pip install 'lmgen\[table\]'"):
        list(Text([Path("x.parquet")], column="text"))


@pytest.mark.parametrize(
    ("name", "content", "option"),
    [
        ("it's.jsonl", '{"id": "a1", "text": "one"}\n', "--field text"),
        ("x.log", '{"id": "a", "n": 3, "my body": "longer"}\n', "--field 'my body'"),
        ("x.csv", 'id,said\n1,"one, two"\n', "--column said"),
        ("x.tsv", "id\ttext\nlonger\tone\n", "--column text"),
        ("x.csv", "v1,v2,\nham,see you,which has no name\n", "--column v2"),
        ("x.csv", "alone\nno table\n", None),
        ("x.txt", "{not json}\n", None),
        ("x.jsonl", "", None),
    ],
)
def test_a_file_of_records_read_as_it_is_gets_the_option_that_reads_its_texts(lmgen, name, content, option):
    Path(name).write_text(content, "utf-8")
    hint = tables.hint(Path(name))
    assert hint.endswith(f" alone add {option}") if option else hint == ""
    if option:
        assert ("to learn labels name two" in hint) == (not name.endswith(".tsv"))
        assert hint in lmgen("train", name, "--cell", "ngram", "--order", 1)[2]
        assert hint in lmgen("corpus", "check", name, "--task", "language")[2]


# ---- tables of Python ---------------------------------------------------------------------------------------------------------


class Frame:
    """What a DataFrame does here: it knows its columns, which are what it iterates over, and gives one by its name."""

    columns = ("id", "text")

    def __iter__(self):
        return iter(self.columns)

    def __getitem__(self, name):
        return [row[self.columns.index(name)] for row in ROWS[:4]]


class Dataset:
    """What a Dataset of Hugging Face does here: it knows its columns, and gives its rows one by one or in batches."""

    column_names = ("id", "text")

    def __iter__(self):
        raise AssertionError("one by one is slow")

    def iter(self, batch_size):
        yield {"id": [1, 2], "text": TEXTS[:2]}
        yield {"id": [3, 4], "text": TEXTS[2:4]}


def spooled(given, **options):
    names = inputs.files([given], {"sequence": "file", "encoding": "utf-8", **options})
    return list(whole(Text([*map(Path, names)], "file")))


@pytest.mark.parametrize(
    "table",
    [
        Frame(),
        Dataset(),
        [{"id": k, "text": text} for k, text in ROWS[:4]],
        ({"id": k, "text": text} for k, text in ROWS[:4]),
    ],
    ids=["frame", "dataset", "dicts", "stream of dicts"],
)
def test_a_column_of_a_table_in_python(table):
    assert spooled(table, field="text") == TEXTS[:4]


@pytest.mark.parametrize("sequence", ["line", "paragraph", "file"])
def test_strings_are_sequences_whatever_that_is(sequence):
    """Also thousands of files: they are one file of rows."""
    texts = [text.replace("\n", " ") for text in TEXTS[:4]]
    names = inputs.files([texts], {"sequence": sequence, "encoding": "utf-8"})
    assert len(names) == 1
    assert list(whole(Text([Path(names[0])], sequence))) == texts


def test_tables_of_pandas_and_of_arrow():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"id": range(4), "text": TEXTS[:4]})
    assert spooled(frame, field="text") == spooled(frame["text"]) == TEXTS[:4]
    assert spooled(arrow(ROWS[:4]), field="text") == TEXTS[:4]
    with pytest.raises(InputError, match="leave out the rows without a text"):
        spooled(pandas.Series(["a", None]))


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ({"train": ["a"]}, "a dict of train is not a text"),
        ([{"id": 1, "body": "x"}], "a row has id, body: name the field of its text, as in field='id'"),
        (Frame(), "the table has the columns id, text: name the column of its text, as in field='id'"),
        (Dataset(), "the table has the columns id, text: name"),
    ],
)
def test_a_table_without_its_column_is_refused(table, why):
    with pytest.raises(InputError, match=why):
        spooled(table)
