"""Pairs: the forms in which people keep them, the signs by which they are recognised, and their numbers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmgen.data.split import WHOLE, Split, fingerprint
from lmgen.data.vocab import EOS, Vocab
from lmgen.errors import InputError
from lmgen.models.provenance import TextSettings
from lmgen.structured import pairs, table
from lmgen.structured.bitext import encode, load
from lmgen.structured.pairs import Pair, Pairs

SENTENCES = [("Il pleut.", "It rains."), ("Tom dort.", "Tom sleeps."), ("Qui est là ?", "Who is there?")]


def written(path: Path, rows) -> Path:
    path.write_text("".join(f"{source}\t{target}\n" for source, target in rows), "utf-8")
    return path


@pytest.fixture
def files(tmp_path):
    """The same pairs in each form: paths and the file of targets."""
    lines = [json.dumps({"source": s, "target": t, "id": 3}) for s, t in SENTENCES]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    for suffix, side in (("fr", 0), ("en", 1)):
        (tmp_path / f"a.{suffix}").write_text("".join(f"{pair[side]}\n" for pair in SENTENCES), "utf-8")
    tsv = written(tmp_path / "a.tsv", SENTENCES)
    beside = (tmp_path / "a.fr", tmp_path / "a.en")
    return {"tsv": (tsv, None), "jsonl": (tmp_path / "a.jsonl", None), "parallel": (tmp_path / "a.fr", beside)}


@pytest.mark.parametrize("form", pairs.FORMS)
def test_each_form_gives_the_same_pairs(files, form):
    path, target = files[form]
    read = Pairs([path], target)
    assert [(one.source, one.target) for one in read] == SENTENCES
    assert [one.line for one in read] == [1, 2, 3]
    assert len(read.sha256) == 64


@pytest.mark.parametrize("form", ["tsv", "jsonl"])
def test_pairs_are_recognised_with_the_reason(files, form):
    found = table.recognise([files[form][0]])
    assert (found.form, found.task) == (form, "translate")
    assert found.reason.startswith(f"a.{form} has ")


def test_pairs_before_another_column_are_hinted_at(tmp_path):
    rows = [f"{s}\t{t}\tCC-BY 2.0 #{k}" for k, (s, t) in enumerate(SENTENCES)]
    path = tmp_path / "anki.tsv"
    path.write_text("\n".join(rows), "utf-8")
    assert table.recognise([path]) is None
    hint = pairs.hint([path])
    assert hint.endswith("in columns 1 and 2 of 3: to learn them keep these, as in cut -f1,2 anki.tsv > pairs.tsv")
    for text in ("a\tb\n", "1\t2\t3\n4\t5\t6\n", "plain text\n", "1\ta line\n2\tanother\n"):
        path.write_text(text)
        assert pairs.hint([path]) == ""


def test_the_texts_among_other_columns_are_found(tmp_path):
    """As in the downloads of Tatoeba, where each text has its number before it."""
    path = tmp_path / "links.tsv"
    path.write_text("".join(f"{k}\t{s}\t{k + 7}\t{t}\n" for k, (s, t) in enumerate(SENTENCES)), "utf-8")
    way = "as in cut -f2,4 links.tsv > pairs.tsv"
    assert pairs.hint([path]) == f"links.tsv has pairs in columns 2 and 4 of 4: to learn them keep these, {way}"
    with pytest.raises(InputError, match=f"links.tsv has 4 columns: keep the source and the target, {way}"):
        table.recognise([path], "translate")


@pytest.mark.parametrize("rows", [[(f"{k}+{k + 1}", f"{2 * k + 1}") for k in range(30)], [("ab", "yes."), ("cd", "no.")] * 20])
def test_two_columns_that_may_be_pairs_are_hinted_at(tmp_path, rows):
    path = written(tmp_path / "sums.tsv", rows)
    assert table.recognise([path]) is None
    way = "to learn to write the second for the first add --task translate"
    assert pairs.hint([path]) == f"sums.tsv has two columns and is read as it is: {way}"


def test_a_file_without_a_whole_line_at_its_beginning_has_no_pairs(tmp_path):
    """Such as a list in JSON: a task that is named does not make pairs of it."""
    (path := tmp_path / "list.json").write_text(json.dumps([{"source": "a b", "target": "c d"}] * 5_000))
    assert table.recognise([path], "translate") is None


def test_a_line_from_a_pipe_has_its_own_number():
    """None stands for a wait for more, and is no line."""
    with pytest.raises(InputError, match="line 2: no source, TAB and target"):
        [*pairs.of_lines([None, "a\tb", None, "no tab"])]


NOT_PAIRS = {
    "prose": "It was a dark night.\nIt rained.\n",
    "labels": "".join(f"{'good' if k % 2 else 'bad'}\ta film {k}\n" for k in range(50)),
    "numbers with texts": "".join(f"{k}\tline of text {k}\n" for k in range(50)),
    "texts with numbers": "".join(f"word{k}\t{k * 7}\n" for k in range(50)),
    "three columns": "a b\tc d\te f\n" * 20,
    "one side always the same": "".join(f"the same text here\tanother {k}\n" for k in range(50)),
    "times": "".join(f"12:0{k}:00\tstarted {k}\n" for k in range(9)),
    "nothing": "",
    "JSON of another kind": '{"source": 3, "target": "x"}\n',
    "broken JSON": '{"source": "x", \n',
    "deep JSON": "[" * 100_000,
}


@pytest.mark.parametrize("content", NOT_PAIRS.values(), ids=NOT_PAIRS)
def test_what_is_no_pair_is_not_taken_for_one(tmp_path, content):
    (tmp_path / "a.tsv").write_text(content)
    found = table.recognise([tmp_path / "a.tsv"])
    assert found is None or found.task != "translate"


def test_a_task_makes_pairs_of_what_may_be_labels(tmp_path):
    path = written(tmp_path / "a.tsv", [("good" if k % 2 else "bad", f"a film {k}") for k in range(50)])
    assert table.recognise([path]).task == "classify"
    assert table.recognise([path], "translate").task == "translate"
    (tmp_path / "plain.txt").write_text("no TAB\n")
    assert table.recognise([tmp_path / "plain.txt"], "translate") is None


def test_validation_files_find_their_targets_by_the_suffix(tmp_path, files):
    for suffix in ("fr", "en"):
        (tmp_path / f"valid.{suffix}").write_text(f"{suffix} 1\n{suffix} 2\n")
    text = TextSettings((str(files["parallel"][0]),), (str(tmp_path / "valid.fr"),), form="parallel", task="translate")
    training, valid = TextSettings(**{**vars(text), "target": str(tmp_path / "a.en")}).examples()
    assert [(one.source, one.target) for one in training] == SENTENCES
    assert [(one.source, one.target) for one in valid] == [("fr 1", "en 1"), ("fr 2", "en 2")]


def test_sources_and_targets_of_any_name_stand_side_by_side(tmp_path):
    (tmp_path / "questions.txt").write_text("a\nb\n")
    (tmp_path / "answers.txt").write_text("c\nd\n")
    assert [*Pairs([tmp_path / "questions.txt"], (tmp_path / "questions.txt", tmp_path / "answers.txt"))] == [
        Pair("a", "c", 1),
        Pair("b", "d", 2),
    ]


WRONG = {
    "no TAB": ("a.tsv", "a\tb\nno tab here\n", "a.tsv, line 2: no source, TAB and target: put one TAB between them"),
    "no target": ("a.tsv", "a\tb\nc\t\n", "a.tsv, line 2: the target of the pair is empty: leave it out"),
    "no source": ("a.jsonl", '{"source": " ", "target": "b"}\n', "a.jsonl, line 1: the source of the pair is empty"),
    "no JSON": (
        "a.jsonl",
        '{"source": "a", "target": "b"}\n{"source": "a"}\n',
        "a.jsonl, line 2: no JSON object with the strings",
    ),
    "deep JSON": ("a.jsonl", '{"a":' * 50_000, "a.jsonl, line 1: no JSON object"),
    "bytes": ("a.tsv", b"a\tb\n\xff\tc\n", "a.tsv"),
}


@pytest.mark.parametrize(("name", "content", "sentence"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said_with_file_and_line(tmp_path, name, content, sentence):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=sentence.replace("(", r"\(")):
        [*Pairs([path])]


@pytest.mark.parametrize(
    ("left", "right", "sentence"),
    [
        ("a\nb\n", "c\n", "a.en, line 2: the file ends, and the one beside it goes on"),
        ("a\n", "c\nd\n", "a.fr, line 2: the file ends"),
        ("a\n\nb\n", "c\nd\ne\n", "a.fr, line 2: a blank line beside a line of text"),
    ],
)
def test_parallel_files_that_do_not_fit_are_refused(tmp_path, left, right, sentence):
    (tmp_path / "a.fr").write_text(left)
    (tmp_path / "a.en").write_text(right)
    with pytest.raises(InputError, match=sentence):
        [*Pairs([tmp_path / "a.fr"], (tmp_path / "a.fr", tmp_path / "a.en"))]


def test_a_missing_file_of_targets_is_named(tmp_path):
    (tmp_path / "b.fr").write_text("a\n")
    with pytest.raises(InputError, match=r"the targets of b\.fr are missing: there is no file .*b\.en"):
        [*Pairs([tmp_path / "b.fr"], (tmp_path / "a.fr", tmp_path / "a.en"))]
    with pytest.raises(InputError, match=r"the targets of b\.fr are missing; name them alike"):
        [*Pairs([tmp_path / "b.fr"], (tmp_path / "a.txt", tmp_path / "a.fr"))]


@given(st.lists(st.tuples(st.text("ab\t\r é🙂", max_size=5), st.text("ab é", max_size=5)), max_size=6))
@settings(max_examples=100, deadline=None)
def test_any_lines_are_pairs_or_a_sentence(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("pairs") / "a.tsv"
    path.write_text("".join(f"{a}\t{b}\n" for a, b in rows), "utf-8")
    try:
        found = [*Pairs([path])]
    except InputError as error:
        assert "a.tsv, line " in str(error)  # noqa: PT017
    else:
        assert all(one.source.strip() and one.target.strip() for one in found)


# ---- in numbers --------------------------------------------------------------------------------------------------------


def corpus(tmp_path, rows, **options):
    return load(Pairs([written(tmp_path / "a.tsv", rows)]), None, "translate", **{"unit": "word", **options})


def test_ids_of_symbols_that_targets_have_come_first(tmp_path):
    data = corpus(tmp_path, [("eins zwei", "one two"), ("zwei drei", "two three"), ("one eins", "one")])
    assert data.vocab.symbols == ("one", "two", "three", "eins", "zwei", "drei")
    assert data.targets == 5
    assert data.train.stream[:6].tolist() == [EOS, 5, 6, len(data.vocab), 2, 3]


def test_a_word_that_targets_have_once_is_copied_or_unknown(tmp_path):
    """Where words come often: it cannot be learnt. In few lines all words are kept."""
    rows = [("a b", "c d")] * 100 + [("e Zaphod", "c Zaphod")]
    data = corpus(tmp_path, rows)
    assert data.vocab.symbols[: data.targets - 2] == ("c", "d")
    assert set(data.vocab.symbols[data.targets - 2 :]) == {"a", "b", "Zaphod"}


def test_vocabulary_and_split_come_from_the_training_part_alone(tmp_path):
    rows = [(f"s{k}", f"t{k}") for k in range(1000)]
    data = corpus(tmp_path, rows)
    held = [k for k in range(1000) if data.split.holds_out(fingerprint(f"s{k}"))]
    assert 50 < len(held) < 150
    assert data.valid.sequences == len(held)
    assert not {f"t{k}" for k in held} & set(data.vocab.symbols)
    assert np.array_equal(data.known, np.sort(np.array([fingerprint(f"t{k}") for k in range(1000)], np.uint64)))
    again = load(Pairs([tmp_path / "a.tsv"]), None, "translate", "word", vocab=data.vocab, labels=data.targets, split=data.split)
    assert np.array_equal(again.train.stream, data.train.stream)


def test_equal_sources_are_on_one_side(tmp_path):
    data = corpus(tmp_path, [(f"s{k % 300}", f"t{k}") for k in range(1200)])
    assert data.split != WHOLE
    assert data.valid.sequences % 4 == 0


def test_few_pairs_are_all_learnt(tmp_path):
    assert corpus(tmp_path, SENTENCES).valid is None


def test_pairs_that_are_too_long_are_left_out_with_a_note(tmp_path):
    data = corpus(tmp_path, [*SENTENCES, ("a " * 3000, "b")])
    assert data.train.sequences == 3
    assert "left out 1 pair of more than 2,048 symbols" in data.notes
    with pytest.raises(InputError, match="are too long: give parts of at most 2,048 symbols"):
        corpus(tmp_path, [("a " * 3000, "b")])


def test_an_empty_file_is_a_sentence(tmp_path):
    with pytest.raises(InputError, match="there is no pair in"):
        corpus(tmp_path, [])


@pytest.mark.parametrize(
    ("rows", "unit"),
    [
        ([("Il pleut beaucoup, ici.", "It rains a lot here.")], "word-punct"),
        ([("abc", "cba")], "char"),
        ([("3 March 2021", "2021-03-03")], "char"),
        ([("a b c .", "d e f !")], "word"),
    ],
)
def test_the_unit_suits_both_sides(tmp_path, rows, unit):
    assert corpus(tmp_path, rows, unit=None).vocab.unit == unit


def test_no_text_can_forge_the_separator():
    vocab = Vocab("char", tuple("ab"))
    coded = encode([("a\x00b�<sep>", "b")], vocab)
    assert (coded.stream == len(vocab)).sum() == 1
    assert Split().share == 0
