"""Labelled text in numbers: streams written by hand, what is held out, what becomes of symbols and labels that are not known."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest

from lmgen.data.split import Split, fingerprint
from lmgen.data.vocab import EOS, SPECIAL, UNK, Vocab
from lmgen.errors import InputError
from lmgen.labelled.corpus import UNKNOWN, Labels, encode, labelled, load, sides
from lmgen.labelled.examples import Example, Examples

VOCAB = Vocab("word", ("the", "cat", "sat"))
THE, CAT, SAT, OTHER = 2, 3, 4, 5


def written(tmp_path, lines, form="tsv", name="text", **how):
    path = tmp_path / name
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return Examples([path], form, **how)


def sentences(count, labels=("a", "b", "c")):
    """Lines of different texts, each of its label's own word and a number."""
    return [f"{labels[k % len(labels)]}\tof {labels[k % len(labels)]} {k}" for k in range(count)]


class Counting(Examples):
    """Examples that count how often they are read, and how many lines in all."""

    passes = lines = 0

    def __iter__(self):
        self.passes += 1
        for example in super().__iter__():
            self.lines += 1
            yield example


# ---- numbers -----------------------------------------------------------------------------------------------------------


def test_a_stream_is_that_written_by_hand():
    examples = [
        Example("the dog sat", ("x",), None),
        Example(("cat",), ("y",), ("B",)),
        Example(("a", "dog"), (), ("B", "new")),
    ]
    coded = encode(examples, VOCAB, Labels(("x", "y"), ("A", "B")))
    dog, a = OTHER + coded.others.index("dog"), OTHER + coded.others.index("a")
    assert sorted(coded.others) == ["a", "dog"]
    assert coded.stream.tolist() == [EOS, THE, dog, SAT, EOS, CAT, EOS, a, dog, EOS]
    assert (coded.starts.tolist(), coded.lengths.tolist()) == ([1, 5, 7], [3, 1, 2])
    assert coded.tags.tolist() == [UNKNOWN] * 5 + [1, UNKNOWN, 1, UNKNOWN, UNKNOWN]
    assert coded.labels.tolist() == [0, 1, UNKNOWN]
    assert (coded.symbols, coded.sequences) == (9, 3)


def test_several_labels_are_a_table_of_yes_and_no():
    examples = [Example("cat", ("y", "x")), Example("sat", ()), Example("the", ("new", "z"))]
    coded = encode(examples, VOCAB, Labels(("x", "y", "z"), (), several=True))
    assert coded.labels.tolist() == [[True, True, False], [False, False, False], [False, False, True]]
    assert coded.tags is None


def test_what_is_not_labelled_has_no_numbers():
    coded = encode([Example("the cat", ("x",), ("A", "B"))], VOCAB, Labels())
    assert (coded.tags, coded.labels) == (None, None)


def test_more_tags_than_16_bits_number():
    names = tuple(f"t{k}" for k in range(40_000))
    coded = encode([Example(("cat",), (), (names[-1],))], VOCAB, Labels((), names))
    assert coded.tags.tolist() == [UNKNOWN, 39_999, UNKNOWN]


# ---- loading -----------------------------------------------------------------------------------------------------------


def decoded(coded, vocab):
    """The texts of a stream."""
    names = ["<eos>", "<unk>", *vocab.symbols, *coded.others]
    return [" ".join(names[k] for k in coded.stream[a : a + n]) for a, n in zip(coded.starts, coded.lengths, strict=True)]


@pytest.mark.parametrize(("count", "held_out"), [(300, False), (3_000, True), (60_000, True)])
def test_a_tenth_is_held_out_if_that_is_enough_and_5000_at_most(tmp_path, count, held_out):
    examples = written(tmp_path, sentences(count))
    data = load(examples, None, "classify", "word")
    assert (data.valid is not None) == held_out
    if held_out:
        assert data.valid.sequences == pytest.approx(min(count / 10, 5_000), rel=0.15)
    by_rule = {side: [example.text for held, example in sides(examples, data.split) if held == side] for side in (False, True)}
    assert decoded(data.train, data.vocab) == by_rule[False]
    assert (decoded(data.valid, data.vocab) if held_out else []) == by_rule[True]
    assert Counter(data.vocab.symbols).keys() == {word for text in by_rule[False] for word in text.split()}


def test_vocabulary_labels_and_several_come_from_the_training_part_alone(tmp_path):
    lines = sentences(3_000)
    held = next(line for line in lines if Split(0.1).holds_out(fingerprint(line.split("\t")[1])))
    text = held.split("\t")[1]
    lines[lines.index(held)] = f"rare,other\t{text}"
    data = load(written(tmp_path, lines), None, "classify", "word")
    assert (data.labels.labels, data.labels.several) == (("a", "b", "c"), False)
    assert text.split()[-1] not in data.vocab.symbols
    assert UNKNOWN in data.valid.labels
    assert UNKNOWN not in data.train.labels


@pytest.mark.parametrize(("broken", "loose"), [(0, False), (10, False), (11, True), (90, True)])
def test_tags_that_often_break_their_scheme_need_not_obey_it(tmp_path, broken, loose):
    """An I-x at the start, an I-x after another label, an I-x at the very end each break BIO."""
    ways = ["w I-x\nw O\n", "w B-y\nw I-x\n", "w O\nw O\nw I-x\n"]
    sentences = [ways[k % 3] if k < broken else "w B-x\nw I-x\nw B-y\nw O\n" for k in range(100)]
    data = load(written(tmp_path, sentences, "columns"), None, "tag", "word")
    assert (data.broken, data.loose) == (broken, loose)
    share = f"the tags of {broken}% of the texts break BIO, so predicted tags need not obey it, either"
    assert data.warnings == [share] * loose


def test_a_missing_label_and_a_second_one_are_told(tmp_path):
    """They change what is learnt, or what is measured."""
    data = load(written(tmp_path, ["a\tx", "b\ty", "\tz"]), None, "classify", "word")
    assert data.labels.several
    assert [note for note in data.notes if note.startswith("1 of 3 texts to train on has no label, so each label is predicted")]
    for more, task in (("a,b\tz", "classify"), ("\tz", "generate")):  # several were meant; nothing is predicted
        assert not load(written(tmp_path, ["a\tx", "b\ty", more, "\tw"]), None, task, "word").notes
    data = load(written(tmp_path, ["a\tx", "b\ty"]), written(tmp_path, ["a,b\tz", "b\ty"], name="v"), "classify", "word")
    assert data.notes == ("1 validation text with several labels, of which the first counts",)


def test_vocabulary_is_as_wide_as_asked_for(tmp_path):
    examples = written(tmp_path, ["a\tx x x y y z", "b\tx y <unk> w"])
    data = load(examples, None, "classify", "word", min_count=2)
    assert data.vocab.symbols == ("x", "y")
    assert sorted(data.train.others) == ["<unk>", "w", "z"]
    data = load(examples, None, "classify", "word", vocab_size=3, unk_token="<unk>")
    assert data.vocab.symbols == ("x",)
    assert data.train.stream[-3] == UNK  # the corpus's own mark


def test_equal_texts_are_on_one_side_and_all_train_if_there_is_but_one(tmp_path):
    text = next(f"t {k}" for k in range(1_000) if Split(0.1).holds_out(fingerprint(f"t {k}")))
    data = load(written(tmp_path, [f"{'ab'[k % 2]}\t{text}" for k in range(2_000)]), None, "classify", "word")
    assert (data.valid, data.train.sequences) == (None, 2_000)


def test_examples_without_a_symbol_are_left_out(tmp_path):
    data = load(written(tmp_path, ["a\tx", "b\t ", "b\ty"]), written(tmp_path, ["a\t ", "a\tx"], name="v"), "classify", "word")
    assert (data.train.lengths.tolist(), data.valid.lengths.tolist()) == ([1, 1], [1])


def test_the_same_text_is_encoded_again_to_the_same_numbers(tmp_path):
    """As resuming does: with the vocabulary, the labels and the split of the model."""
    examples = written(tmp_path, sentences(2_000))
    first = load(examples, None, "classify", None, min_count=3)
    again = load(examples, None, "classify", None, vocab=first.vocab, labels=first.labels, split=first.split)
    assert again.sha256 == first.sha256
    for one, other in ((first.train, again.train), (first.valid, again.valid)):
        assert one.others == other.others
        for name in ("stream", "starts", "lengths", "labels"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


@pytest.mark.parametrize("task", ["classify", "generate"])
def test_fingerprints_are_those_of_all_texts(tmp_path, task):
    """A model that writes by label knows which text it has seen by which label."""
    lines = sentences(2_000)
    data = load(written(tmp_path, lines), None, task, "word")
    pairs = [line.split("\t") for line in lines]
    wanted = {fingerprint(labelled(label, text) if task == "generate" else text) for label, text in pairs}
    assert data.known.tolist() == sorted(wanted)


def test_a_text_is_read_once_but_for_its_beginning(tmp_path):
    path = tmp_path / "text"
    path.write_text("".join(f"{line}\n" for line in sentences(5_000)))
    examples = Counting([path], "tsv")
    load(examples, None, "classify", None)
    assert examples.passes <= 2
    assert examples.lines <= 6_100


@pytest.mark.parametrize(
    ("texts", "unit"),
    [
        (["Aoife", "Jean Paul", "Wei"], "char"),
        (["play some jazz , please", "what is this ?"], "word"),
        (["Play some jazz, please.", "What is this?"], "word-punct"),
    ],
)
def test_unit_suits_the_text(tmp_path, texts, unit):
    lines = [f"{'ab'[k % 2]}\t{text}" for k, text in enumerate(texts)]
    assert load(written(tmp_path, lines), None, "classify", None).vocab.unit == unit


def test_tokens_are_words_whatever_they_look_like(tmp_path):
    lines = [json.dumps({"tokens": ["New York", "!"], "tags": ["B", "O"]})]
    data = load(written(tmp_path, lines, "jsonl"), None, "tag", None)
    assert (data.vocab.unit, set(data.vocab.symbols)) == ("word", {"New York", "!"})


def test_vectors_give_words_beyond_the_text_an_id(tmp_path):
    (tmp_path / "vectors").write_text("x 1 2\nnew 3 4\n")
    data = load(written(tmp_path, ["a\tx y", "b\ty"]), None, "classify", "word", vectors_of=tmp_path / "vectors")
    ids = data.vocab.ids
    assert (data.seen, len(data.vocab)) == (SPECIAL + 2, SPECIAL + 3)
    assert (data.vectors[ids["x"]].tolist(), data.vectors[ids["new"]].tolist()) == ([1, 2], [3, 4])
    assert not data.vectors[[EOS, UNK, ids["y"]]].any()
    assert "1 of 2 words of the text have a vector, and 1 other word" in data.notes[-1]


@pytest.mark.parametrize(
    ("lines", "task", "message"),
    [
        ([], "classify", "there is no text in .*text: give"),
        (["a\t ", "b\t"], "classify", "there is no text in .*text: give"),
        (["a\tx", "a\ty"], "classify", "only the label 'a'"),
        (["\tx", "\ty"], "generate", "no labels"),
        (["a\tx", "b\ty"], "tag", "no tags"),
    ],
)
def test_text_with_nothing_to_learn_is_refused(tmp_path, lines, task, message):
    with pytest.raises(InputError, match=message):
        load(written(tmp_path, lines), None, task, "word")


@pytest.mark.parametrize("unit", ["word", "word-punct"])
def test_a_word_outside_the_training_text_has_its_vector_in_every_unit(tmp_path, unit):
    """Also where a word takes the space before it along."""
    (tmp_path / "vectors").write_text("cat 1 2\ndog 3 4\n. 5 6\n")
    data = load(written(tmp_path, ["a\tthe cat .", "b\ta cow ."]), None, "classify", unit, vectors_of=tmp_path / "vectors")
    coded = encode([Example("dog cat", ("a",))], data.vocab, data.labels)
    assert data.vectors[coded.stream].tolist() == [[0, 0], [3, 4], [1, 2], [0, 0]]
