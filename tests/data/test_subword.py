"""Subwords: learnt from the training part alone, the same everywhere; any text is cut as by hand and comes back."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmgen.data import corpus, subword
from lmgen.data.reading import Text
from lmgen.data.split import WHOLE
from lmgen.data.vocab import EOS, SPECIAL, UNK, Vocab
from lmgen.errors import CheckpointError, InputError

pytest.importorskip("tokenizers")
PROSE = "the cat's hat, the café’s — 的的了 नमस्ते\n\n  the 12 then thé\t" * 3
NEWEST = Counter({"low": 5, "lower": 2, "newest": 6, "widest": 3})  # the example of Sennrich et al. 2016


def words_of(text: str) -> Counter[str]:
    return Counter(Vocab("subword", ()).split(text))


def learnt(text: str, **options) -> Vocab:
    return Vocab.of(words_of(text), "subword", **options)


VOCAB = learnt(PROSE, size=300)


def test_subwords_are_those_worked_out_by_hand():
    """es 9; est 9; l o 7; lo w 7; e w 6; n ew 6; new est 6. Of pairs as frequent, the one of lower symbols is first."""
    vocab = Vocab.of(NEWEST, "subword", size=SPECIAL + 256 + 7)
    assert vocab.symbols[256:] == ("es", "est", "lo", "low", "ew", "new", "newest")
    assert vocab.split("lowest newest widest") == ["low", "est", " ", "newest", " ", "w", "i", "d", "est"]


def test_a_pair_that_is_rare_is_not_learnt():
    assert Vocab.of(NEWEST, "subword", min_count=7).symbols[256:] == ("es", "est", "lo", "low")
    assert len(Vocab.of(Counter({"ab": 1, "cd": 1}), "subword")) == SPECIAL + 256


def by_hand(vocab: Vocab, word: str) -> list[bytes]:
    """The bytes of a word, merged pair by pair as the definition says."""
    ranks = {subword.bytes_of(symbol): k for k, symbol in enumerate(vocab.symbols)}
    parts = [bytes([byte]) for byte in word.encode("utf-8", "surrogatepass")]
    while True:
        pairs = [(ranks[a + b], len(a), k) for k, (a, b) in enumerate(pairwise(parts)) if a + b in ranks]
        if not pairs:
            return parts
        k = min(pairs)[2]
        parts[k : k + 2] = [parts[k] + parts[k + 1]]


@settings(deadline=None)
@given(st.text("aabbcé", max_size=12), st.lists(st.text("abcé", min_size=1, max_size=6), min_size=1, max_size=9))
def test_a_word_is_cut_as_a_slow_encoder_cuts_it(word, known):
    vocab = Vocab.of(Counter(known * 2), "subword", size=290)
    assert [subword.bytes_of(symbol) for symbol in vocab.cut([word])] == by_hand(vocab, word)


@settings(deadline=None)
@given(st.text(st.characters()) | st.text(PROSE + "\udc80\udcc3\udca9\ud800\0'_"))
def test_any_text_comes_back_and_nothing_is_unknown(text):
    ids = VOCAB.encode(text)
    assert VOCAB.decode(ids) == VOCAB.join(VOCAB.split(text)) == text
    assert not {EOS, UNK} & {*ids.tolist()}
    assert [VOCAB.ids[symbol] for symbol in VOCAB.split(text)] == ids.tolist()
    assert VOCAB.unknown(text) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The cat's 12 hats -- gone!", ["The", " cat", "'s", " 12", " hats", " --", " gone", "!"]),
        ("a\n\n  b_c", ["a", "\n\n ", " b", "_", "c"]),
        ("नमस्ते दुनिया", ["नमस्ते", " दुनिया"]),  # signs of vowels belong to their words
        ("x" * 250, ["x" * 100, "x" * 100, "x" * 50]),
    ],
)
def test_merges_stay_within_words(text, words):
    assert Vocab("subword", ()).split(text) == words
    vocab = learnt(text * 9)
    assert vocab.split(text) == [symbol for word in words for symbol in vocab.cut([word])]


def test_marks_in_a_text_are_ordinary_text():
    vocab = learnt("a <eos> <unk> b" * 3)
    assert vocab.decode(vocab.encode("<unk> <eos>")) == "<unk> <eos>"
    with pytest.raises(InputError, match=r"--unit subword spells every text.*leave that out"):
        learnt("a <unk>", unk_token="<unk>")


def test_bytes_that_are_no_text_become_the_replacement_character():
    """A model may write a part of a character; what follows it is whole again."""
    half, a = VOCAB.ids[subword.symbol_of(b"\xe7")], VOCAB.ids["a"]
    assert VOCAB.decode([half, a, half]) == "\ufffda\ufffd"
    assert VOCAB.decode([half, VOCAB.ids[subword.symbol_of(b"\x9a")], VOCAB.ids[subword.symbol_of(b"\x84")]]) == "的"
    assert VOCAB.decode([a, half, EOS, a]) == "a\ufffd\na"
    surrogate = [VOCAB.ids[subword.symbol_of(bytes([byte]))] for byte in b"\xed\xa0\x80"]
    assert VOCAB.written([a, *surrogate]) == "a\ufffd"
    assert VOCAB.shown(VOCAB.spell(half)) == "\\xe7"


def test_the_size_is_what_is_asked_for_or_follows_from_the_text():
    assert len(learnt(PROSE, size=270)) == 270
    assert learnt(PROSE, size=SPECIAL + 256).encode("é").tolist() == [SPECIAL + 0xC3, SPECIAL + 0xA9]
    assert [subword.size_for(Counter({"word": n})) for n in (1, 1 << 18, 1 << 30)] == [500, 2000, 8000]
    with pytest.raises(InputError, match="--vocab-size 257 is too small for --unit subword: give 258"):
        learnt(PROSE, size=257)


def test_the_same_text_gives_the_same_subwords_in_any_process(tmp_path):
    """Whatever the order of the counts, the seed of Python's hashes and the number of threads."""
    program = (
        "import json, sys; from collections import Counter; from lmgen.data.vocab import Vocab\n"
        "words = json.load(sys.stdin); words = words if sys.argv[1] == '0' else dict(reversed(words.items()))\n"
        "print(Vocab.of(Counter(words), 'subword', size=320).sha256)"
    )
    words = {**words_of(PROSE), **{f" {a}{b}{c}": 2 for a in "abcd" for b in "xyz" for c in "abé"}}  # with many ties
    shas = set()
    for seed, threads in (("0", "false"), ("1", "true"), ("2", "true")):
        environment = {"PYTHONHASHSEED": seed, "TOKENIZERS_PARALLELISM": threads, "RAYON_NUM_THREADS": "3"}
        environment["PYTHONPATH"] = str(Path(corpus.__file__).parents[2])
        command = [sys.executable, "-c", program, seed]
        run = subprocess.run(command, input=json.dumps(words), env=environment, capture_output=True, text=True, check=True)
        assert run.stderr == ""
        shas.add(run.stdout)
    assert shas == {f"{Vocab.of(Counter(words), 'subword', size=320).sha256}\n"}


def test_subwords_are_learnt_on_the_training_part_alone(tmp_path):
    """The vocabulary is that of the training part as a text of its own, with held-out lines and with a text for validation."""
    text, valid = tmp_path / "text.txt", tmp_path / "valid.txt"
    text.write_text("".join(f"line {k % 97} of {k}\n" for k in range(1500)))
    valid.write_text("zyxzyx zyxzyx\n" * 300)
    loaded = corpus.load(Text([text]), None, "subword", False)
    parts = [[], []]
    for side, piece in loaded.split.sides(Text([text])):
        parts[side].append(piece.text)
    assert all(parts)
    words = Counter(word for line in parts[False] for word in Vocab("subword", ()).split(line))
    assert loaded.vocab == Vocab.of(words, "subword")
    whole = corpus.load(Text([text]), None, "subword", False, split=WHOLE).vocab
    assert corpus.load(Text([text]), Text([valid]), "subword", False).vocab == whole != loaded.vocab


def test_a_text_of_very_many_words_is_counted_without_the_rarest(monkeypatch):
    monkeypatch.setattr(subword, "KINDS", 100)
    many = Counter({f"w{k}": k for k in range(1, 102)})
    assert subword.fewer(many) == Counter({f"w{k}": k for k in range(52, 102)})
    assert subword.fewer(Counter({"a": 1})) == Counter({"a": 1})


def test_frequent_words_are_learnt_from_where_the_text_has_too_many(monkeypatch):
    """What bounds the time leaves out rare words, and keeps the proportions of the others."""
    words = Counter({"bcd": 40_000, "xy": 20_000} | {f"z{k}" * 2: 2 for k in range(500)})
    whole = subword.learn(words, 259)
    monkeypatch.setattr(subword, "MOST_BYTES", 64)
    monkeypatch.setattr(subword, "MOST_WORDS", 60)
    assert subword.learn(words, 259) == whole
    assert set(whole[256:]) == {"bc", "bcd", "xy"}
    assert subword.learn(words, 300) == whole  # the rare ones are not there


def test_a_vocabulary_comes_back_from_its_file():
    again = Vocab.from_json(VOCAB.to_json())
    assert again == VOCAB
    assert again.encode(PROSE).tolist() == VOCAB.encode(PROSE).tolist()
    assert VOCAB.to_json().isascii()


GOOD = [*subword.ALPHABET, "ab", "的"]


@pytest.mark.parametrize(
    "symbols",
    [
        ["ab", "的"],
        GOOD[1:],
        [GOOD[1], GOOD[0], *GOOD[2:]],
        [*GOOD, "x" * 65],
        [*GOOD, "\ud83d"],
        [*GOOD, "\udce7\udc9a\udc84"],  # a second spelling of 的
    ],
)
def test_a_file_that_is_no_vocabulary_of_subwords_is_refused(symbols):
    content = {"unit": "subword", "unk_token": None, "symbols": GOOD}
    assert Vocab.from_json(json.dumps(content)).symbols == tuple(GOOD)
    with pytest.raises(CheckpointError, match=r"vocab\.json is damaged"):
        Vocab.from_json(json.dumps(content | {"symbols": symbols}))
    with pytest.raises(CheckpointError, match=r"vocab\.json is damaged"):
        Vocab.from_json(json.dumps(content | {"unk_token": "<unk>"}))


def test_only_encoding_needs_the_library(monkeypatch):
    ids = VOCAB.encode(PROSE)
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    vocab = Vocab.from_json(VOCAB.to_json())
    assert vocab.decode(ids) == PROSE
    assert vocab.encode("").tolist() == []
    for needs in (lambda: vocab.encode("a"), lambda: learnt("a")):
        with pytest.raises(InputError, match=r"subwords need tokenizers, which is not installed: pip install 'lmgen\[subword\]'"):
            needs()


def test_other_units_do_not_import_the_library():
    program = (
        "import sys; from lmgen.data.vocab import UNITS, Vocab\n"
        "for unit in UNITS:\n    Vocab(unit, ('a',)).encode('' if UNITS[unit].learns else 'a b')\n"
        "assert 'tokenizers' not in sys.modules"
    )
    environment = {"PYTHONPATH": str(Path(corpus.__file__).parents[2])}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
