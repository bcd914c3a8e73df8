"""What the report on labelled text promises: every figure is that of the text, counted by hand or by brute force."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmgen.checks import labels as report
from lmgen.checks.labels import Conflicts, Invalid, Label, Lengths, Shared, check
from lmgen.errors import InputError
from lmgen.labelled.examples import Examples
from lmgen.models.provenance import TextSettings
from lmgen.structured import table


def examples(content: str, form: str = "tsv", name: str = "train.txt") -> Examples:
    Path(name).write_text(content, "utf-8")
    return Examples([Path(name)], form, 1 if form == "tsv" else None)


def test_every_figure_of_a_small_text():
    training = examples("a\tone two\nb\tthree\na,b\tone two\n\tfour five six\n")
    test = examples("c\tthree\na\tseven\n", name="test.txt")
    of = check(training, None, test)
    assert (of.files, of.form, of.is_tokens, of.several) == (["train.txt"], "tsv", False, True)
    assert (of.examples, of.tokens) == ({"training": 4, "test": 2}, {"training": 8, "test": 2})
    assert of.unlabelled == {"training": 1, "test": 0}
    assert of.lengths["training"] == Lengths(shortest=1, median=2, mean=2, most=3, longest=3)
    a, b, c = (Label(name, {"training": n, "test": m}) for name, n, m in [("a", 2, 1), ("b", 2, 0), ("c", 0, 1)])
    assert (of.labels, of.tags, of.different) == ([a, b, c], [], {"labels": 3, "tags": 0})
    assert (of.repeats, of.further) == ({"training": 0, "test": 0}, {})
    assert (of.rare, of.only) == ([a, b], [b, c])
    assert of.conflicts == Conflicts(1, 2, [("one two", ["a", "a, b"])])
    assert of.overlaps == [Shared("test", "training", 2, 1, "three")]
    assert (of.scheme, of.invalid) == (None, [])
    warnings = "\n".join(of.warnings)
    for part in (
        "50% of the texts of the test",
        "1 label of the test examples, but not of the training examples: c",
        "2 of 3 labels",
        "50% of the examples have a text",
    ):
        assert part in warnings


def test_tags_that_break_their_scheme_are_counted_with_the_first_place():
    good, bad = "a B-x\nb I-x\nc O\nf B-y\n\n", "a O\nb I-x\nc I-x\n\n"
    of = check(examples(good + bad + good + bad, "columns"), examples("a I-x\n", "columns", "valid.txt"))
    assert of.scheme == "BIO"
    assert of.invalid == [
        Invalid("training", 2, "train.txt", 6, ("O", "I-x")),
        Invalid("validation", 1, "valid.txt", 1, (None, "I-x")),
    ]
    assert any(
        "2 training sequences break BIO, the first in train.txt, line 6, where 'I-x' cannot come after 'O'" in w
        for w in of.warnings
    )
    assert check(examples(good, "columns")).invalid == []


def test_the_first_place_is_in_the_file_that_has_it():
    paths = [Path(name) for name in "12"]
    for path, content in zip(paths, ["a B-x\nb I-x\n", "a O\n\nb O\nc I-x\n"], strict=True):
        path.write_text(content)
    assert check(Examples(paths, "columns")).invalid == [Invalid("training", 1, "2", 3, ("O", "I-x"))]


def test_equal_words_with_different_tags_are_a_contradiction():
    of = check(examples("a X\nb Y\n\na X\nb Z\n\na X\nb Y\n\nc X\n", "columns"))
    assert of.conflicts == Conflicts(1, 3, [("a b", ["X Y", "X Z"])])


rows = st.lists(
    st.tuples(st.sampled_from(["a", "b", "a,b", ""]), st.sampled_from(["x", "y", "x y", "z"])), min_size=1, max_size=12
)


@given(rows, rows)
@settings(max_examples=60, deadline=None)
def test_counts_are_those_of_brute_force(training, valid):
    of = check(*(examples("".join(f"{a}\t{b}\n" for a, b in some), name=name) for name, some in (("t", training), ("v", valid))))
    for split, some in (("training", training), ("validation", valid)):
        counts = Counter(label for labels, _ in some for label in labels.split(",") if label)
        assert {one.name: n for one in of.labels if (n := one.counts[split])} == counts
    answers = defaultdict(set)
    for labels, text in training:
        answers[text].add(labels)
    texts = {text for text, different in answers.items() if len(different) > 1}
    assert (of.conflicts.texts, of.conflicts.examples) == (len(texts), sum(text in texts for _, text in training))
    assert all({*shown} == {", ".join(a.split(",")) for a in answers[text]} for text, shown in of.conflicts.some)
    assert len(of.conflicts.some) == min(3, len(texts))
    assert of.overlaps[0].shared == sum(text in answers for _, text in valid)


@pytest.mark.parametrize(
    ("content", "warning"),
    [
        ("a\tx\na\ty\n", "the only label is a, so there is nothing to learn"),
        ("".join(f"{k}\tx{k}\n" for k in range(200)), "200 different labels in 200 examples are hardly classes"),
        ("a\tx\nb\ty\n\tz\n", "1 example of 3 has no label: label it, or remove it"),
        ("".join(f"a\tx{k}\n" for k in range(9)) + "b\ty\n", "90% of the labels are a, so read the F1"),
        ("a\tx\nb\ty\n", "only 2 examples"),
    ],
)
def test_faults_get_a_warning(content, warning):
    assert any(sentence.startswith(warning) for sentence in check(examples(content)).warnings)


def test_sound_data_get_no_warning():
    assert check(examples("".join(f"{'ab'[k % 2]}\tx{k}\n" for k in range(200)))).warnings == []


def test_many_labels_and_tags_are_listed_up_to_a_limit():
    with mock.patch.multiple(report, MOST_LISTED=3, MOST_CHECKED=3):
        of = check(examples("".join(f"w B-{k}\n" for k in range(9)) + "w I-x\n", "columns"))
        assert (len(of.tags), of.different["tags"], of.invalid) == (3, 10, [])


def test_nothing_to_read_is_a_sentence():
    with pytest.raises(InputError, match=r"there is no example in train\.txt"):
        check(examples("\n"))


# --- the other structures ---


def of_structure(structure, content: str, *others: str, **how) -> report.LabelReport:
    """The report on files of these contents, each a split."""
    opened = []
    for k, text in enumerate([content, *others]):
        Path(f"{k}.txt").write_text(text, "utf-8")
        opened.append(structure.open([Path(f"{k}.txt")], TextSettings(("0.txt",), **how)))
    return check(*opened, view=structure.view, form="any")


def test_every_figure_of_pairs():
    of = of_structure(table.PAIRS, "a b\tx\na b\ty z\nc\tx\nc\tx\n", "c\tother\nd\tx\n", form="tsv")
    assert (of.examples, of.tokens) == ({"training": 4, "validation": 2}, {"training": 6, "validation": 2})
    assert of.lengths["training"] == Lengths(shortest=1, median=1, mean=1.5, most=2, longest=2)
    assert of.further["words in a target"]["training"] == Lengths(shortest=1, median=1, mean=1.25, most=2, longest=2)
    assert of.repeats == {"training": 1, "validation": 0}
    assert of.conflicts == Conflicts(1, 2, [("a b", ["x", "y z"])])
    assert of.overlaps == [Shared("validation", "training", 2, 1, "c")]
    assert (of.labels, of.tags, of.unlabelled) == ([], [], {})
    assert any(w.startswith("50% of the pairs have a source that also has other targets elsewhere: a model") for w in of.warnings)
    assert any(w.startswith("50% of the sources of the validation pairs are also among the training pairs") for w in of.warnings)


def test_every_figure_of_trees():
    """Brackets are read, so the same words in other brackets may have other labels; in the same ones they may not."""
    trees = ["(1 (0 a) (1 (0 b) (0 c)))", "(0 (0 (0 a) (0 b)) (0 c))", "(0 (0 a) (1 (0 b) (0 c)))", "(1 (0 a) (1 (0 b) (0 c)))"]
    of = of_structure(table.TREES, "\n".join(trees), "(0 (0 a) (0 (0 b) (0 c)))\n(1 (1 d) (1 e))")
    assert (of.examples, of.tokens) == ({"training": 4, "validation": 2}, {"training": 12, "validation": 5})
    assert of.further["nodes in a tree"]["validation"].longest == 5
    assert of.repeats["training"] == 1
    assert {one.name: one.counts["training"] for one in of.labels} == {"0": 2, "1": 2}
    assert {one.name: one.counts["training"] for one in of.tags} == {"0": 15, "1": 5}
    assert (of.conflicts.texts, of.conflicts.examples) == (1, 3)
    assert of.conflicts.some == [("a b c", [trees[0], trees[2]])]
    assert of.overlaps == [Shared("validation", "training", 2, 1, "a b c")]


def test_every_figure_of_graphs():
    rows = [{"nodes": ["a", "b"], "edges": [[0, 1]], "label": "x", "tags": ["t", None]}]
    rows += [rows[0] | {"edges": [[1, 0]], "label": "y"}, {"nodes": ["a"], "edges": []}, rows[0]]
    of = of_structure(table.GRAPHS, "".join(json.dumps(row) + "\n" for row in rows))
    assert (of.examples, of.tokens, of.unlabelled) == ({"training": 4}, {"training": 7}, {"training": 1})
    assert of.further["edges in a graph"]["training"] == Lengths(shortest=0, median=1, mean=0.75, most=1, longest=1)
    assert of.repeats == {"training": 1}
    assert {one.name: one.counts["training"] for one in of.labels} == {"x": 2, "y": 1}
    assert {one.name: one.counts["training"] for one in of.tags} == {"t": 3}
    assert (of.conflicts.texts, of.conflicts.examples) == (1, 3)


# --- the command ---


def test_the_command_checks_pairs_beside_each_other(lmgen):
    for name, lines in {"a.fr": "un deux\ntrois\n", "a.en": "one two\nthree\n", "b.fr": "un deux\n", "b.en": "1 2\n"}.items():
        Path(name).write_text(lines)
    code, out, err = lmgen("corpus", "check", "a.fr", "--target", "a.en", "--valid", "b.fr")
    assert code == 0
    assert "a.fr has targets in a.en: checked as pairs" in err
    assert "100% of the sources of the validation pairs are also among the training pairs" in " ".join(out.split())
    assert "to train: lmgen train a.fr --valid b.fr --target a.en" in out


def test_the_command_checks_what_the_task_says(lmgen):
    Path("t.tsv").write_text("".join(f"{'good' if k % 2 else 'bad'}\tfilm {k}\n" for k in range(40)))
    words = ("corpus", "check", "t.tsv", "--json", "--task")
    assert "characters" in json.loads(lmgen(*words, "language")[1])
    assert json.loads(lmgen(*words, "translate")[1])["conflicts"]["texts"] == 2
    code, _, err = lmgen(*words, "tree")
    assert code == 2
    assert "t.tsv, line 1" in err
    code, _, err = lmgen(*words, "graph")
    assert (code, "t.tsv has nothing to label graphs: give text in one of the forms" in err) == (2, True)


def test_corpus_check_finds_what_is_wrong_with_labels(lmgen):
    films = "".join(f"{'good' if k % 2 else 'bad'}\tfilm {k}\n" for k in range(40))
    Path("train.tsv").write_text(f"{films}bad\tfilm 1\nugly\tthe end\n")
    Path("test.tsv").write_text("good\tfilm 1\nnew\tthe start\n" * 3)
    code, out, err = lmgen("corpus", "check", "train.tsv", "--test", "test.tsv")
    assert code == 0
    assert "checked as labelled text" in err
    for words in ("4 labels", "ugly", "different labels", "to train: lmgen train train.tsv"):
        assert words in out


def test_the_command_prints_tables_and_json(lmgen):
    Path("train.tsv").write_text("".join(f"{'good' if k % 2 else 'bad'}\tfilm {k}\n" for k in range(40)))
    Path("test.txt").write_text("".join(f"__label__{label} film {k}\n" for k, label in enumerate(["good", "ugly"])))
    words = ("corpus", "check", "train.tsv", "--test", "test.txt")
    code, out, err = lmgen(*words)
    assert code == 0
    assert "train.tsv has 2 different labels before a TAB in 40 lines: checked as labelled text; --task language" in err
    assert ["good", "20", "1", "50%"] in [line.split() for line in out.splitlines()]
    assert "to train: lmgen train train.tsv" in out
    of = json.loads(lmgen(*words, "--json")[1])
    assert of["labels"][0] == {"name": "good", "counts": {"training": 20, "test": 1}}
    assert of["command"] == "lmgen train train.tsv"
    assert "characters" in json.loads(lmgen("corpus", "check", "train.tsv", "--carry", "--json")[1])  # as plain text


def test_the_command_reads_all_splits_with_the_columns_of_the_first(lmgen):
    """The second, alone, looks as if its texts were labels."""
    Path("train.tsv").write_text("".join(f"{'good' if k % 2 else 'bad'}\tfilm {k}\n" for k in range(40)))
    Path("valid.tsv").write_text("good\tx\ngood\tx\nbad\tx\nso so\ty\n")
    of = json.loads(lmgen("corpus", "check", "train.tsv", "--valid", "valid.tsv", "--json")[1])
    assert {one["name"]: one["counts"]["validation"] for one in of["labels"]} == {"good": 2, "bad": 1, "so so": 1}


def test_the_command_reads_a_folder_and_names_its_faults(lmgen):
    Path("a").mkdir()
    for name, content in {
        "seq.in": "play jazz\nplay rock\n",
        "seq.out": "O I-genre\nO B-genre\n",
        "label": "\x1b[31mx\ny\n",
    }.items():
        Path("a", name).write_text(content)
    code, out, _ = lmgen("corpus", "check", "a")
    assert code == 0
    assert (
        f"1 training sequence break BIO, the first in {Path('a', 'seq.out')}, line 1, where 'I-genre' cannot come after 'O'"
        in out
    )
    assert "\x1b" not in out
    Path("a", "seq.out").write_text("O\nO O\n")
    code, _, err = lmgen("corpus", "check", "a")
    assert code == 2
    assert f"{Path('a', 'seq.out')}, line 1: 1 tags for 2 tokens" in err


def test_the_real_texts_share_what_they_share(data):
    """Counted from the files themselves."""
    of = check(*(Examples([data / "snips" / split], "folder") for split in ("train", "valid", "test")))
    lines = {split: (data / "snips" / split / "seq.in").read_text("utf-8").split("\n") for split in ("train", "test")}
    train, test = ([" ".join(line.split()) for line in lines[split] if line.strip()] for split in ("train", "test"))
    shared = next(o for o in of.overlaps if (o.of, o.within) == ("test", "training"))
    assert shared.shared == sum(line in {*train} for line in test)
    assert (of.scheme, of.invalid, of.different) == ("BIO", [], {"labels": 7, "tags": 72})
