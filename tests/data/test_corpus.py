"""What a corpus promises: one stream of ids that is the text, sides that do not leak, and windows that read all of it."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmgen.checks import plain as check
from lmgen.data.corpus import encode, load
from lmgen.data.reading import Text
from lmgen.data.split import WHOLE, Choice, Split, fingerprint, split_of
from lmgen.data.vocab import EOS, UNK, Vocab
from lmgen.data.windows import Windows
from lmgen.errors import InputError
from lmgen.system import cache
from support import lines, text

WORDS = [f"word{k}" for k in range(2000)]


def sides(of: Text, split: Split) -> tuple[list[str], list[str]]:
    """The sequences (or their parts) to train on, and those held out."""
    both = list(split.sides(of))
    return [p.text for held_out, p in both if not held_out], [p.text for held_out, p in both if held_out]


# --- ids ---


def test_a_text_is_one_stream_with_eos_at_every_boundary():
    corpus = load(text("emma\nolivia\n"), text("emma\n", name="valid.txt"), "char", carry=False)
    assert corpus.vocab.symbols == ("a", "i", "m", "e", "l", "o", "v")
    assert corpus.train.stream.tolist() == [0, 5, 4, 4, 2, 0, 7, 6, 3, 8, 3, 2, 0]
    assert corpus.valid.stream.tolist() == [0, 5, 4, 4, 2, 0]
    assert corpus.train.symbols == len("emma$olivia$")


@pytest.mark.parametrize("unit", ["char", "word-punct"])
@settings(deadline=None, max_examples=50)
@given(sequences=st.lists(st.text("abé ,.\t", min_size=1).filter(str.strip), min_size=1, max_size=5))
def test_the_stream_decoded_is_the_text(unit, sequences):
    corpus = load(text(lines(sequences)), text("a\n", name="valid.txt"), unit, carry=False)
    assert corpus.vocab.decode(corpus.train.stream[1:]) == "\n".join(sequences)


@settings(deadline=None, max_examples=50)
@given(st.text("abé \n", min_size=1), st.integers(2, 9))
def test_the_stream_does_not_depend_on_the_pieces_that_a_text_came_in(content, block):
    of, vocab = text(content, keep_blank=True), Vocab("char", tuple("abé "))
    with mock.patch("lmgen.data.reading.BLOCK", block):
        in_pieces = encode(iter(of), vocab)
    at_once = encode(iter(of), vocab)
    assert in_pieces.stream.tolist() == at_once.stream.tolist()
    assert (in_pieces.sequences, in_pieces.characters, in_pieces.bytes) == (
        at_once.sequences,
        len(content),
        len(content.encode()),
    )


def test_a_word_after_a_cut_in_a_long_line_is_the_same_symbol():
    of, vocab = text("one two three four two\n"), Vocab("word-punct", (" one", " two", " three", " four"))
    with mock.patch("lmgen.data.reading.BLOCK", 8):
        assert encode(iter(of), vocab).stream.tolist() == [EOS, 2, 3, 4, 5, 3, EOS]


def test_counts_are_those_of_the_text():
    counted = encode(iter(text("zoé\n\n日本🦊\r\nab")), Vocab("char", tuple("aoz日")))
    assert counted.sequences == 3
    assert counted.characters == len("zoé\n日本🦊\nab")  # the blank line is no sequence, and "ab" has no line end
    assert counted.bytes == len("zoé\n日本🦊\nab".encode())
    assert counted.unknown == len("é本🦊b")
    assert counted.symbols == len("zoé$日本🦊$ab$")


def test_a_large_vocabulary_takes_four_bytes_an_id():
    words = [str(k) for k in range(65_535)]
    small, large = Vocab("word", tuple(words[:-1])), Vocab("word", tuple(words))
    streams = [encode(iter(text("65533\n65534\n")), vocab).stream for vocab in (small, large)]
    assert [stream.dtype for stream in streams] == ["uint16", "uint32"]
    assert [stream.tolist() for stream in streams] == [[EOS, 65535, EOS, UNK, EOS], [EOS, 65535, EOS, 65536, EOS]]


# --- the held-out part ---


@settings(deadline=None)
@given(st.lists(st.sampled_from("abcdefgh"), min_size=1), st.floats(0.1, 0.9))
def test_equal_lines_never_stand_on_two_sides(sequences, share):
    train, held_out = sides(text(lines(sequences)), Split(share=share))
    assert not set(train) & set(held_out)
    assert Counter(train) + Counter(held_out) == Counter(sequences)


def test_a_tenth_of_the_lines_is_held_out_whatever_their_order():
    of = text(lines(WORDS))
    split = split_of(of, carry=False)
    _, held_out = sides(of, split)
    assert 0.08 < len(held_out) / len(WORDS) < 0.12
    shuffled = random.Random(0).sample(WORDS, len(WORDS))
    assert sorted(sides(text(lines(shuffled)), split)[1]) == sorted(held_out)


def chosen(of: Text, carry: bool, least: int) -> Split:
    """The split of a text by its definition, with as many passes as that takes."""
    size = sum(len(piece.text) + piece.gap for piece in of)
    share = min(0.1, HELD_OUT_CHARACTERS / max(1, size))
    item, tail = Split(share=share), Split(head=round((1 - share) * size))
    for split in [tail] if carry or of.sequence == "file" else [item, tail] if size >= WORTH_CUTTING else [item]:
        held_out = sum(len(piece.text) + piece.gap for side, piece in split.sides(of) if side)
        if held_out >= least and not all(side for side, _ in split.sides(of)):
            return split
    return WHOLE


HELD_OUT_CHARACTERS, WORTH_CUTTING = 40, 60


@settings(deadline=None, max_examples=300)
@given(
    content=st.lists(st.text("ab ", max_size=5), max_size=60).map("\n".join),
    sequence=st.sampled_from(["line", "paragraph", "file"]),
    carry=st.booleans(),
    least=st.integers(1, 9),
    block=st.integers(4, 40),
)
def test_one_pass_finds_the_split_and_the_vocabulary_of_its_training_side(content, sequence, carry, least, block):
    limits = {"HELD_OUT_CHARACTERS": HELD_OUT_CHARACTERS, "WORTH_CUTTING": WORTH_CUTTING, "LONG": 8}
    with mock.patch.multiple("lmgen.data.split", **limits), mock.patch("lmgen.data.reading.BLOCK", block):
        of = text(content, sequence, keep_blank=carry)
        choice = Choice(of, carry, least)
        sides = list(choice.sides(of))
        assert choice.split == chosen(of, carry, least)
        assert [(choice.validates(side), piece) for side, piece in sides] == list(choice.split.sides(of))


def test_the_tail_begins_with_the_first_line_that_starts_after_the_head():
    tails = [sides(text("abc\ndef\nghi\n"), Split(head=head))[1] for head in (3, 4, 5, 8, 9)]
    assert tails == [["def", "ghi"], ["def", "ghi"], ["ghi"], ["ghi"], []]


@pytest.mark.parametrize(("sequence", "carry"), [("line", True), ("file", False), ("file", True)])
def test_the_tail_of_a_running_text_is_held_out(sequence, carry):
    of = text(lines(WORDS), sequence)
    head, tail = map(lines if sequence == "line" else "".join, sides(of, split_of(of, carry)))
    assert head + tail == lines(WORDS)
    assert head.endswith("\n")  # no line is cut in two
    assert 0.09 < len(tail) / len(lines(WORDS)) < 0.11


@settings(deadline=None)
@given(st.text("ab \n", min_size=1), st.integers(0, 30), st.integers(2, 9))
def test_a_file_cut_anywhere_loses_nothing(content, head, block):
    with mock.patch("lmgen.data.reading.BLOCK", block):
        pieces = list(Split(head=head).sides(text(content, "file", keep_blank=True)))
    assert "".join(piece.text for _, piece in pieces) == content
    assert [side for side, _ in pieces] == sorted(side for side, _ in pieces)  # the head, then the tail
    for (before, left), (after, right) in pairwise(pieces):
        assert left.ends == right.begins == (before != after)


@pytest.mark.parametrize("carry", [False, True])
def test_a_large_text_holds_out_no_more_than_measuring_needs(carry, monkeypatch):
    monkeypatch.setattr("lmgen.data.split.HELD_OUT_CHARACTERS", 500)
    of = text(lines(WORDS))
    held_out = lines(sides(of, split_of(of, carry, least=1))[1])
    assert 250 < len(held_out) < 750


@pytest.mark.parametrize("carry", [False, True])
def test_nothing_is_held_out_where_it_would_be_too_little_to_choose_by(carry):
    """A tenth of the text is about 400 or 700 characters, where 500 are the least; what is asked for is done in any case."""
    small, large = (text(lines(WORDS)[:size], name=f"{size}.txt") for size in (4_000, 7_000))
    assert load(small, None, "char", carry).valid is None
    assert load(large, None, "char", carry).valid.symbols >= 500
    assert load(large, None, "word", carry).valid is None  # so many characters are few words
    assert load(small, None, "char", carry, split=split_of(small, carry, least=1)).valid
    whole = load(large, None, "char", carry, split=WHOLE)
    assert whole.valid is None
    assert whole.train.characters == 7_000


def test_the_vocabulary_comes_from_the_training_side_only():
    corpus = load(text("ab\n" * 50 + "azz\n"), None, "char", carry=True, split=Split(head=140))
    assert corpus.vocab.symbols == ("a", "b")
    assert corpus.valid.stream[-4:].tolist() == [2, UNK, UNK, EOS]
    assert (corpus.train.unknown, corpus.valid.unknown) == (0, 2)


@pytest.mark.parametrize("carry", [False, True])
def test_the_smallest_texts_work(carry):
    for content in ["a", "a\n", *WORDS[:50], *(lines(WORDS[:size]) for size in range(1, 51))]:
        corpus = load(text(content), None, "char", carry)
        assert corpus.train.sequences + (corpus.valid.sequences if corpus.valid else 0) == content.rstrip().count("\n") + 1
        assert corpus.train.sequences >= 1
        assert corpus.valid is None or corpus.valid.sequences >= 1
        assert Windows(corpus.train, 4, 8, carry, seed=0)[3].shape == (9, 4)


@pytest.mark.parametrize("content", ["", "\n", " \n\t\n"])
def test_a_text_without_a_line_is_refused(content):
    with pytest.raises(InputError, match=r"no text in corpus\.txt"):
        load(text(content), None, "char", carry=False)
    with pytest.raises(InputError, match=r"no text in valid\.txt"):
        load(text("emma\n"), text(content, name="valid.txt"), "char", carry=False)


# --- passes ---


@pytest.fixture
def decoded(monkeypatch) -> Counter[str]:
    """How often each file was opened and decoded to its end."""
    passes: Counter[str] = Counter()
    pieces = Text.__iter__

    def counted(self):
        passes.update(f"{path} opened" for path in self.paths)
        yield from pieces(self)
        passes.update(f"{path} decoded" for path in self.paths)

    monkeypatch.setattr(Text, "__iter__", counted)
    return passes


@pytest.mark.parametrize(
    ("unit", "carry", "valid", "options"),
    [
        ("char", False, False, {}),
        ("char", True, False, {}),
        ("char", False, True, {}),
        ("char", True, True, {}),
        ("char", False, False, {"split": WHOLE}),  # --no-valid
        ("word", False, False, {}),
        ("word-punct", False, True, {"unk_token": "word7"}),
        ("char", False, False, {"split": Split(share=0.1), "vocab": Vocab("char", tuple("word"))}),  # a resumed training
        ("char", True, False, {"split": Split(head=15_000), "vocab": Vocab("char", tuple("word"))}),
    ],
)
def test_a_text_is_decoded_once_to_scan_it_and_once_to_encode_it(decoded, unit, carry, valid, options):
    first, second = text(lines(WORDS[:1000]), name="a.txt"), text(lines(WORDS[1000:]), name="b.txt")
    of = Text([*first.paths, *second.paths], keep_blank=carry)
    held_out = text(lines(WORDS[::3]), name="valid.txt", keep_blank=carry) if valid else None
    names = [path.name for one in (of, held_out) if one for path in one.paths]
    for passes in (2, 1):  # cold, then with its ids in the cache
        decoded.clear()
        load(of, held_out, unit, carry, **options)
        assert decoded == {f"{name} {what}": passes for name in names for what in ("opened", "decoded")}


def test_a_text_whose_items_are_all_on_one_side_is_decoded_no_more_often(decoded, monkeypatch):
    """Its tail is held out instead, and it is long enough that the share falls as it is read."""
    monkeypatch.setattr("lmgen.data.split.HELD_OUT_CHARACTERS", 5_000)
    of = text("the same line\n" * 20_000)
    assert load(of, None, "char", carry=False).split.head is not None
    assert set(decoded.values()) == {2}


def test_a_look_at_a_text_takes_few_passes(decoded):
    check.check(text(lines(WORDS)), text(lines(WORDS[::3]), name="valid.txt"))
    assert decoded["corpus.txt decoded"] == 3  # its lines, its sequences, its symbols
    assert decoded["valid.txt decoded"] == 2


# --- long texts and several files ---


def test_files_and_their_concatenation_are_different_texts():
    a, b, ab = (text(c, "file", n).paths[0] for c, n in (("one\n", "a.txt"), ("two\n", "b.txt"), ("one\ntwo\n", "ab.txt")))

    def count(paths: list[Path]) -> int:
        return load(Text(paths, "file"), text("v\n", name="v.txt"), "char", carry=False).train.sequences

    assert (count([a, b]), count([ab])) == (2, 1)


def test_the_held_out_part_of_a_file_of_one_line_is_not_empty():
    corpus = load(text("abcdefghij" * 10 + "\n", "file"), None, "char", carry=False, split=Split(head=91))
    assert corpus.valid.symbols == 9 + 1 + 1  # the rest of the line, its end, EOS


@pytest.mark.parametrize(("content", "times"), [("word ", 6_000_000), ("words of a line that is not the last one\n", 300_000)])
def test_a_text_is_never_held_in_memory_whole(content, times):
    """30 MB as one line, or 12 MB as many, take a few blocks of memory and eight bytes a line for the hashes."""
    Path("large.txt").write_text(content * times)
    program = (
        "import resource\nfrom pathlib import Path\nfrom lmgen.data.corpus import load\nfrom lmgen.data.reading import Text\n"
        "load(Text([Path('large.txt')]), Text([Path('large.txt')]), 'char', False)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)\n"
    )
    Path("small.txt").write_text("a\n")
    small, large = (
        int(subprocess.run([sys.executable, "-c", p], capture_output=True, text=True, check=True).stdout)
        for p in (program.replace("large", "small"), program)
    )
    assert large - small < 24 + 0.3 * (content.count("\n") > 0) * times / 1e4, "megabytes"


@pytest.mark.parametrize("carry", [False, True])
def test_the_end_of_one_long_line_is_held_out(carry):
    corpus = load(text("abcdefghij" * 1000), None, "char", carry=carry)
    assert (corpus.train.symbols, corpus.valid.symbols) == (9001, 1001)


def test_a_text_that_changes_between_two_passes_is_refused(monkeypatch):
    of = text(lines(WORDS))
    monkeypatch.setattr(Vocab, "of", classmethod(lambda *_: text(lines(WORDS[:100])) and Vocab("char", tuple("word0123456789"))))
    with pytest.raises(InputError, match="changed while it was read"):
        load(of, None, "char", carry=False)
    assert not list(cache.folder("corpora").glob("*.ids"))


@pytest.mark.parametrize(
    ("unit", "sample"), [("word", "the cat"), ("word-only", "a dog"), ("char", "the  cat"), ("word-punct", "a dog, ")]
)
def test_sequences_are_known_as_the_unit_writes_them(unit, sample):
    known = load(text("the  cat\na dog, \n"), text("x\n", name="v.txt"), unit, carry=False).known
    assert fingerprint(sample) in known
    assert fingerprint("another") not in known
