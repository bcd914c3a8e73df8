"""Text that comes in parts is the text, and ids of several sequences are those of the sequences."""

from __future__ import annotations

from itertools import accumulate

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lmgen.data import subword
from lmgen.data.vocab import EOS, Vocab
from lmgen.models.spelling import Speller, decode, encode

BYTES = tuple(subword.ALPHABET)
VOCABS = {
    "char": Vocab("char", ("a", "b", "\n", "é", "☃")),
    "word": Vocab("word", ("one", "two", "<unk>", "é")),
    "word-punct": Vocab("word-punct", (" one", " two", ",", " ,", "é", " ")),
    "marked": Vocab("word", ("one", "two"), "<unk>"),
    "subword": Vocab("subword", (*BYTES, "th", "☃", " a")),
}


@pytest.mark.parametrize("between", ["\n", "\n\n", ""])
@pytest.mark.parametrize("name", VOCABS)
def test_the_parts_of_a_text_are_the_text(name, between):
    vocab = VOCABS[name]

    @given(st.lists(st.integers(0, len(vocab) - 1), max_size=12), st.integers(0, 12))
    @example([EOS], 0)
    @example([EOS, EOS, 2], 1)
    @example([2 + 0xE2, 2 + 0x98, EOS, 2 + 0x83] if name == "subword" else [2], 1)
    def run(ids, cut):
        speller = Speller(vocab, between)
        parts = [*speller.parts(ids[:cut]), *speller.parts(ids[cut:])]
        assert len(parts) == len(ids)
        text = "".join(parts) + speller.rest()
        if "\ufffd" not in text:  # bytes that are no text are spelt in more or fewer marks
            assert text == vocab.written(ids, between)
        for k, so_far in enumerate(accumulate(parts, initial="")):
            assert text.startswith(so_far)
            assert "\ufffd" in text or vocab.written(ids[:k], between).startswith(so_far)

    run()


@pytest.mark.parametrize("between", ["\n", "\n\n", ""])
@given(st.lists(st.text("ab é☃?"), min_size=1, max_size=4), st.data())
def test_ids_of_sequences_have_eos_between_them(between, sequences, data):
    vocab = VOCABS["char"]
    marks = data.draw(st.lists(st.sampled_from([between or "<EOS>", "<EOS>"]), min_size=len(sequences), max_size=len(sequences)))
    text = sequences[0] + "".join(mark + one for mark, one in zip(marks, sequences[1:], strict=False))
    ids = encode(vocab, text, between)
    parts = np.split(ids, np.flatnonzero(ids == EOS))
    found = [part[k > 0 :].tolist() for k, part in enumerate(parts)]
    assert found == [vocab.encode(one).tolist() for one in sequences]


@given(st.lists(st.sampled_from([0, 1, 2, 3, 5, 6]), max_size=9))
def test_the_text_of_ids_has_these_ids(ids):
    vocab = VOCABS["char"]
    for between in ("\n", "\n\n", ""):
        assert encode(vocab, decode(vocab, ids, between), between).tolist() == ids
