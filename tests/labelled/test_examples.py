"""What reading labelled text promises: each form gives its examples as they stand, or a sentence with file and line."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmgen.errors import InputError
from lmgen.labelled.examples import Examples, recognise
from lmgen.labelled.forms import FORMS, Example, unlabelled


def written(content: str | bytes, name: str = "data.txt") -> Path:
    path = Path(name)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(content: str | bytes, form: str, **options) -> list[Example]:
    return [*Examples([written(content)], form, **options)]


def folder(**files: str) -> Path:
    path = Path("folder")
    path.mkdir(exist_ok=True)
    for name, content in files.items():
        (path / name.replace("_", ".")).write_text(content, "utf-8")
    return path


# --- reading ---


@pytest.mark.parametrize(
    ("form", "content", "expected"),
    [
        (
            "tsv",
            "a\tone two\n\nb,c\ttwo\tthree\n",
            [Example("one two", ("a",), None, 1), Example("two\tthree", ("b", "c"), None, 3)],
        ),
        ("tsv", "a , a,\tx\n\ty\n", [Example("x", ("a",), None, 1), Example("y", (), None, 2)]),
        (
            "fasttext",
            "__label__a __label__b one __label__c\n\t__label__d\ttwo\nthree\n__label__e\n",
            [
                Example("one __label__c", ("a", "b"), None, 1),  # in a text it is text
                Example("two", ("d",), None, 2),
                Example("three", (), None, 3),
                Example("", ("e",), None, 4),
            ],
        ),
        (
            "csv",
            'id,Label,Text\n1,a,"one, ""two""\nthree"\n\n2,"b,c",four\n',
            [Example('one, "two"\nthree', ("a",), None, 2), Example("four", ("b", "c"), None, 5)],
        ),
        ("csv", "review;sentiment\nso, so;1\n", [Example("so, so", ("1",), None, 2)]),
        ("csv", 'sentence\tlabel\n"a, b\t0\n', [Example('"a, b', ("0",), None, 2)]),
        (
            "jsonl",
            '{"text": "x", "label": "a, b"}\n{"text": "y", "labels": ["c", 1, true, "c"]}\n{"sentence": "", "label": null}\n',
            [Example("x", ("a, b",), None, 1), Example("y", ("c", "1", "true"), None, 2), Example("", (), None, 3)],
        ),
        (
            "jsonl",
            '{"tokens": ["New York", "is"], "tags": ["B-c", "O"], "intent": "i"}\n{"tokens": [], "tags": []}\n{"tokens": ["a"]}',
            [
                Example(("New York", "is"), ("i",), ("B-c", "O"), 1),
                Example((), (), (), 2),
                Example(("a",), (), None, 3),
            ],
        ),
        (
            "columns",
            "-DOCSTART- -X- O\n\n# id 7\nEU NNP B-org\n# # O\n\n \n\xa0 CD O\n#x\n",
            [Example(("EU", "#"), (), ("B-org", "O"), 4), Example(("\xa0",), (), ("O",), 8)],
        ),
        ("columns", "# s = 1\nNew York\tX\n#\tSYM\n", [Example(("New York", "#"), (), ("X", "SYM"), 2)]),
        (
            "columns",
            "1\tan\tO\n2\tB\tB-x\n\n1\tc\tO\n",
            [Example(("an", "B"), (), ("O", "B-x"), 1), Example(("c",), (), ("O",), 4)],
        ),
    ],
)
def test_examples_come_as_they_stand_with_their_lines(form, content, expected):
    assert read(content, form) == expected


def test_the_folder_is_read_side_by_side():
    path = folder(seq_in="play jazz \n\nstop\n", seq_out="O\tB-genre\n\nO\n", label="Play\n\nStop#End\n")
    assert [*Examples([path], "folder", separator="#")] == [
        Example(("play", "jazz"), ("Play",), ("O", "B-genre"), 1),
        Example(("stop",), ("Stop", "End"), ("O",), 3),
    ]
    (path / "seq.out").unlink()
    assert [one.tags for one in Examples([path], "folder")] == [None, None]


def test_conll_u_gives_words_with_their_universal_parts_of_speech():
    rows = [
        "1-2\tdel\t_\t_\t_\t_\t_\t_\t_\t_",
        *(f"{k}\t{w}\tl\t{p}\tx\t_\t0\troot\t_\t_" for k, w, p in [(1, "de", "ADP"), (2, "el", "DET")]),
    ]
    content = "# sent_id = 1\n# text = del\n" + "\n".join(rows) + "\n2.1\te\t_\t_\t_\t_\t_\t_\t_\t_\n\n"
    assert read(content, "columns") == [Example(("de", "el"), (), ("ADP", "DET"), 3)]
    assert read(content, "columns", column=5)[0].tags == ("x", "x")


def test_a_column_chooses_the_tags_and_a_separator_the_labels():
    assert read("a B C\n", "columns", column=2)[0].tags == ("B",)
    assert read("x y|z\ta, b\n", "tsv", column=2)[0] == Example("x y|z", ("a", "b"), None, 1)
    assert read("a, b|c\tx\n", "tsv", separator="|")[0].labels == ("a, b", "c")
    assert read("a, b\tx\n", "tsv", separator="")[0].labels == ("a, b",)
    assert read("text,x,y\nt,1,2\n", "csv", column=3)[0].labels == ("2",)


words = st.text(st.characters(exclude_categories=("Cs", "Cc", "Z")), min_size=1, max_size=5).filter(
    lambda w: "#" not in w and w.strip()
)
plain = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\r\n\t\ufeff"), max_size=8)


@given(
    st.lists(
        st.tuples(st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\r\0"), max_size=9), words), max_size=6
    )
)
@settings(max_examples=60, deadline=None)
def test_what_the_csv_module_writes_is_read(rows):
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\n").writerows([("text", "label"), *rows])
    assert [(e.text, e.labels) for e in read(out.getvalue(), "csv", separator="")] == [(text, (label,)) for text, label in rows]


@given(st.lists(st.tuples(plain, st.lists(words, unique=True, max_size=3)), max_size=6))
@settings(max_examples=60, deadline=None)
def test_what_json_writes_is_read(rows):
    content = "".join(json.dumps({"text": text, "labels": labels}) + "\n" for text, labels in rows)
    assert [(e.text, e.labels) for e in read(content, "jsonl")] == [(text, tuple(labels)) for text, labels in rows]


@given(
    st.lists(st.lists(st.tuples(words, words), min_size=1, max_size=5), min_size=1, max_size=5),
    st.sampled_from([" ", "\t", "   "]),
)
@settings(max_examples=60, deadline=None)
def test_columns_are_read_as_written(sentences, space):
    content = "\n\n".join("\n".join(space.join(row) for row in rows) for rows in sentences)
    assert [[*zip(e.text, e.tags, strict=True)] for e in read(content, "columns")] == sentences


def test_fingerprint_and_notes_are_those_of_the_bytes():
    content = b"\xef\xbb\xbfa\tx\r\n\r\nb\ty\r\n"
    examples = Examples([written(content)], "tsv")
    for _ in range(2):
        assert [(e.text, e.labels) for e in examples] == [("x", ("a",)), ("y", ("b",))]
        assert examples.sha256 == hashlib.sha256(content).hexdigest()
        assert sorted(note.partition(": ")[2] for note in examples.notes) == [
            "3 line ends of Windows (CR LF) were read as line ends",
            "passed over 1 blank line",
            "the byte-order mark at its start was dropped",
        ]
    several = Examples([written("a\tx\n", "1"), written("b\ty\n", "2")], "tsv")
    assert [e.line for e in several] == [1, 1]
    each = [hashlib.sha256(content).hexdigest() for content in (b"a\tx\n", b"b\ty\n")]
    assert several.sha256 == hashlib.sha256(" ".join(each).encode()).hexdigest()


@pytest.mark.parametrize(
    ("form", "content", "sentence"),
    [
        ("tsv", "a\tx\nb y\n", "data.txt, line 2: no TAB"),
        ("fasttext", "__label__ x\n", "line 1: __label__ without a name"),
        ("columns", "a B C\nd E\n", "line 2: 2 columns where the lines before have 3: give every token as many"),
        ("columns", "a\nb\n", "line 1: only one column"),
        ("csv", "id,x\n1,2\n", "line 1: no header that says"),
        ("csv", "text,label\na\n", "line 2: 1 columns where the header has 2"),
        ("csv", 'text,label\na,b\n"c,d\n', "line 3: no row of a table"),
        ("csv", "text,label\na\rb,c\n", "line 2: no row of a table"),
        ("csv", "text,label\n" + "x" * 200_000 + ",a\n", "line 2: no row of a table"),
        ("csv", "", "no header"),
        ("jsonl", '{"text": "a"}\n[1]\n', "line 2: not a JSON object"),
        ("jsonl", "[" * 100_000, "line 1: not a JSON object"),
        ("jsonl", '{"text": ' + "9" * 5000 + "}", "line 1: not a JSON object"),
        ("jsonl", '{"text": 7, "label": "a"}', "line 1: no text"),
        ("jsonl", '{"label": "a"}', "line 1: no text"),
        ("jsonl", '{"text": "a", "label": 0.5}', "line 1: label is 0.5"),
        ("jsonl", '{"text": "a", "label": {"b": 1}}', "line 1: label is {'b': 1}"),
        ("jsonl", '{"tokens": ["a", "b"], "tags": ["O"]}', "line 1: 1 tags for 2 tokens"),
        ("jsonl", '{"tokens": ["a"], "tags": [3.5]}', "line 1: tokens and tags are lists of strings"),
        ("jsonl", '{"tokens": [""], "tags": ["O"]}', "line 1: tokens and tags are lists of strings"),
        ("tsv", b"a\tx\nb\t\xff\n", r"not UTF-8 at byte 6 \(line 2"),
        ("tsv", b"\0" * 100, "looks like a binary file"),
    ],
)
def test_what_is_not_of_the_form_gets_a_sentence_with_its_line(form, content, sentence):
    with pytest.raises(InputError, match=sentence):
        read(content, form)


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"seq_in": "a b\n", "seq_out": "O\n", "label": "x\n"}, "seq.out, line 1: 1 tags for 2 tokens"),
        ({"seq_in": "a\nb\n", "seq_out": "O\nO\n", "label": "x\n"}, "label, line 2: the file ends"),
        ({"seq_in": "a\n", "seq_out": "O\nO\n", "label": "x\nx\n"}, "seq.in, line 2: the file ends"),
        ({"label": "x\n"}, "there is no folder/seq.in"),
    ],
)
def test_a_folder_whose_files_differ_gets_a_sentence(files, sentence):
    with pytest.raises(InputError, match=sentence):
        [*Examples([folder(**files)], "folder")]


@pytest.mark.parametrize(("form", "column"), [("tsv", 3), ("columns", 4), ("columns", 1), ("csv", 9), ("columns", 0)])
def test_a_column_that_is_not_there_gets_a_sentence(form, column):
    content = {"tsv": "a\tb\n", "columns": "a B C\n", "csv": "text,label\na,b\n"}[form]
    with pytest.raises(InputError, match="--column"):
        read(content, form, column=column)


def test_an_encoding_is_decoded_or_replaced():
    assert read("é\tx\n".encode("utf-16"), "tsv", encoding="utf-16")[0].labels == ("é",)
    assert read(b"a\t\xff\n", "tsv", errors="replace")[0].text == "\ufffd"


def test_a_million_labels_of_one_text_are_read_in_one_go():
    content = " ".join(f"__label__{k}" for k in range(1_000_000))
    assert [len(one.labels) for one in read(f"{content} x\n", "fasttext")] == [1_000_000]


# --- recognising ---

draw = random.Random(0)
SUBJECTS, VERBS = ["the cat", "a dog", "my aunt", "no bird", "every fish"], ["sat", "ran", "slept", "sang", "hid"]


def text(number: int) -> str:
    return f"{draw.choice(SUBJECTS)} {draw.choice(VERBS)} {number}"


LABELLED = "".join(f"{draw.choice(['good', 'bad', 'so so'])}\t{text(k)}\n" for k in range(60))
FLIPPED = "".join("\t".join(reversed(line.split("\t"))) + "\n" for line in LABELLED.splitlines())
BIO = "EU B-org\nrejects O\n\nPeter B-per\nBlackburn I-per\n\n"
POS = "".join(f"{a}\tDET\n{b}\tNOUN\n{c}\tVERB\n\n" for a, b, c in (text(k).split()[:3] for k in range(20)))
RECOGNISED = [
    ("a.tsv", LABELLED, "tsv", "classify", 1),
    ("a.txt", FLIPPED, "tsv", "classify", 2),
    ("a.txt", "0\tnot bad\n1\tgood\n0\tawful\n1\tvery good\n", "tsv", "classify", 1),
    (
        "a.txt",
        "".join(f"neg\t{text(k)}\n" for k in range(6000)) + "".join(f"pos\t{text(k)}\n" for k in range(6000)),
        "tsv",
        "classify",
        1,
    ),
    ("a.txt", "__label__a x\n__label__b y\n", "fasttext", "classify", None),
    ("a.csv", 'Review,Sentiment\n"bad, bad",neg\ngood,pos\n', "csv", "classify", None),
    ("a.tsv", "sentence\tlabel\n" + FLIPPED, "csv", "classify", None),
    ("a.csv", "text,target\nx,0\ny,1\nz,1\n", "csv", "classify", None),
    ("a.txt", BIO, "columns", "tag", None),
    ("a.conll", "a b\nc d\n", "columns", "tag", None),
    ("a.txt", POS, "columns", "tag", None),
    ("a.jsonl", '{"text": "x", "label": 1}\n', "jsonl", "classify", None),
    ("a.json", '\n{"tokens": ["x"], "tags": ["O"]}\n', "jsonl", "tag", None),
    ("a.json", '{"tokens": ["x"], "tags": ["O"], "label": "y"}\nbroken\n', "jsonl", "tag-classify", None),
]


@pytest.mark.parametrize(("name", "content", "form", "task", "column"), RECOGNISED, ids=range(len(RECOGNISED)))
def test_labelled_text_is_recognised_by_its_content(name, content, form, task, column):
    for change in (lambda c: c, lambda c: c.replace("\n", "\r\n"), lambda c: "\ufeff" + c):
        path = written(change(content), name)
        found = recognise([path])
        assert (found.form, found.task, found.column) == (form, task, column)
        assert found.reason.startswith(name)
        if "broken" not in content:
            assert all(e.labels or e.tags for e in Examples([path], form))


def test_the_reason_counts():
    assert recognise([written("a\tx\nb\ty\na\tz\nb\tw\n")]).reason == "data.txt has 2 different labels before a TAB in 4 lines"


def test_several_files_are_of_one_form_or_plain():
    one, other = written(LABELLED, "1"), written(FLIPPED, "2")
    assert recognise([one, other]).form == "tsv"
    assert recognise([one, written("once upon a time\n", "3")]) is None
    assert recognise([]) is None
    with pytest.raises(InputError, match=r"^1 has .* before a TAB .*, but 4 has .* in column .*: give files of one form"):
        recognise([one, written(BIO, "4")])


def test_the_label_side_is_that_of_the_first_file():
    """A second file too short to show it is read as the first."""
    examples = Examples([written(FLIPPED, "1"), written("x y\tgood\n", "2")], "tsv")
    assert [*examples][-1] == Example("x y", ("good",), None, 1)


PLAIN = {
    "empty": "",
    "prose": "It was the best of times.\nIt was the worst of times.\n" * 40,
    "names": "emma\nolivia\nava\n" * 30,
    "full names": "".join(f"Ann{k % 37} Smith{k % 11}\n" for k in range(200)),
    "translations": "".join(f"{text(k)}.\tle {text(k)}.\n" for k in range(200)),
    "repeated headwords": "".join(f"run{k // 3}\tcourir{k}\n" for k in range(300)),
    "word counts": "".join(f"w{k}\t{5000 // (k + 1)}\n" for k in range(900)),
    "numbers": "".join(f"{k % 3}\t{k}\n" for k in range(200)),
    "matrix": "1 2 3\n4 5 6\n\n7 8 9\n1 2 3\n\n4 5 6\n" * 9,
    "csv of numbers": "x,y,class\n" + "".join(f"{k},{k * 2},{k % 3}\n" for k in range(50)),
    "csv of a measure": "text,target\n" + "".join(f"{text(k)},{k / 7}\n" for k in range(50)),
    "csv of ids": "text,label\n" + "".join(f"{text(k)},x{k}\n" for k in range(50)),
    "csv without label": "id,text\n1,x\n2,y\n",
    "parallel csv": "source,target\na,b\nc,d\n",
    "texts alone": '{"text": "x"}\n{"text": "y"}\n',
    "scores": '{"text": "x", "label": 0.5}\n',
    "json list": '["text", "label"]\n',
    "deep json": "{" + '"a":{' * 5000,
    "code": "def f(x):\n\treturn x\n\n\nclass A:\n\tpass\n" * 30,
    "makefile": "all:\n\tmake it\n\ntest:\n\tpytest\n" * 30,
    "trees": "(3 (2 It) (4 (4 (2 's) (3 good)) (2 .)))\n" * 20,
    "one column constant": "".join(f"-\t{text(k)}\n" for k in range(50)),
    "lyrics": "la la\nla la\n\noh oh\noh oh\n\nla oh\n\n" * 9,
    "nul": "\0\0\0a\tb\0\n" * 50,
    "one long line": "a\tb " * 50_000,
    "binary": "\x1f\x8b\x08",
}


@pytest.mark.parametrize("kind", PLAIN)
def test_plain_text_is_not_taken_for_labelled_text(kind):
    for name in ("a.txt", "a.tsv", "a.csv"):
        assert recognise([written(PLAIN[kind], name)]) is None


def test_real_texts_are_recognised_for_what_they_are(data):
    expected = {"snips/train": "tag-classify", "snips/valid": "tag-classify", "snips/test": "tag-classify"}
    expected |= {
        "trec/train.tsv": "classify",
        "trec/test.tsv": "classify",
        "ud-ewt/train.conll": "tag",
        "ud-ewt/test.conll": "tag",
    }
    found = {str(path.relative_to(data)): recognise([path]) for path in data.rglob("*")}
    assert {name: one.task for name, one in found.items() if one} == expected


@pytest.mark.parametrize(
    ("name", "form", "count", "classes", "tags"),
    [
        ("snips/train", "folder", 13_084, 7, 72),
        ("trec/train.tsv", "tsv", 5_452, 6, 0),
        ("ud-ewt/train.conll", "columns", 2_001, 0, 17),
    ],
)
def test_real_texts_are_read_whole(data, name, form, count, classes, tags):
    examples = [*Examples([data / name], form)]
    assert len(examples) == count
    assert len({label for e in examples for label in e.labels}) == classes
    assert len({tag for e in examples for tag in e.tags or ()}) == tags
    assert all(e.tags is None or len(e.tags) == len(e.text) for e in examples)


def test_each_form_is_described():
    assert {*FORMS} == {"tsv", "csv", "fasttext", "columns", "jsonl", "folder"}
    assert all(form.about.endswith(".") for form in FORMS.values())


@pytest.mark.parametrize(
    ("line", "form", "column", "text"),
    [
        ("good\ta film\tand more", "tsv", 1, "a film\tand more"),
        ("good, bad\ta film", "tsv", None, "a film"),
        ("a film\tbad", "tsv", 2, "a film"),
        ("other\ta film", "tsv", 1, "other\ta film"),
        ("a film", "tsv", 1, "a film"),
        ("__label__good __label__new a film", "fasttext", None, "a film"),
        ("a film", "fasttext", None, "a film"),
        ('{"text": "a film", "label": "new"}', "jsonl", None, "a film"),
        ('{"tokens": ["a", "film"], "tags": ["X", "Y"]}', "jsonl", None, ("a", "film")),
        ('{"id": 1}', "jsonl", None, '{"id": 1}'),
        ("[1]", "jsonl", None, "[1]"),
        ("good\ta film", "columns", None, "good\ta film"),
        ("good\ta film", None, None, "good\ta film"),
    ],
)
def test_the_text_of_a_line_is_without_its_label(line, form, column, text):
    assert unlabelled(line, form, column, {"good", "bad"}) == text
