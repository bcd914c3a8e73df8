"""Pairs in numbers: the ids on disk are those in memory, they are found again, and a scan counts what is trained on."""

from __future__ import annotations

import subprocess
import sys
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from lmgen.data.preparing import spilling
from lmgen.data.split import WHOLE, Split, fingerprint
from lmgen.data.vocab import EOS, Vocab
from lmgen.errors import InputError
from lmgen.labelled import corpus
from lmgen.structured import bitext
from lmgen.structured.bitext import Encoder, Scan, encode, load
from lmgen.structured.pairs import Pairs
from lmgen.system import cache


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def rows(number: int, seed: int = 0) -> list[tuple[str, str]]:
    """Sentences of 400 words, many of them rare, some of which stand on both sides."""
    rng = np.random.default_rng(seed)

    def sentence(side: str) -> str:
        return " ".join(f"{side if k % 3 else ''}{k}" for k in (400 * rng.random(rng.integers(1, 9)) ** 2).astype(int))

    return [(sentence("s"), sentence("t")) for _ in range(number)]


def pairs(path: Path, some=None) -> Pairs:
    some = rows(600) if some is None else some
    path.write_text("".join(f"{source}\t{target}\n" for source, target in some), "utf-8")
    return Pairs([path])


def kept() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in cache.folder("corpora").glob("*.ids")}


def content(data) -> list:
    some = [side for side in (data.train, data.valid) if side]
    arrays = [[a.tolist() for a in (side.stream, side.starts, side.lengths, side.sources)] for side in some]
    return [arrays, [side.characters for side in some], data.vocab, data.targets, data.known.tolist(), data.sha256, data.notes]


def test_the_ids_on_disk_are_those_in_memory(tmp_path):
    data = load(pairs(tmp_path / "a.tsv"), None, "translate", "word", min_count=5)
    for side, held_out in ((data.train, False), (data.valid, True)):
        own = [pair for pair in rows(600) if data.split.holds_out(fingerprint(pair[0])) == held_out]
        memory = encode(((source.split(), target.split()) for source, target in own), data.vocab)
        for name in ("stream", "starts", "lengths", "sources", "characters"):
            np.testing.assert_array_equal(getattr(side, name), getattr(memory, name))
        spelt = [data.vocab.spell(id) for id in side.predicted(1 << 20).tolist() if EOS < id < len(data.vocab)]
        assert spelt == [word for _, target in own for word in target.split() if word in data.vocab.ids]
    assert (data.train.stream > len(data.vocab)).any()


def test_words_that_are_not_in_the_vocabulary_are_numbered_in_each_pair():
    vocab = Vocab("word", ("a", "b"))
    data = encode([(["x", "a", "y", "x"], ["y", "b"]), (["z"], ["x", "z"])], vocab)
    assert data.stream.tolist() == [EOS, 5, 2, 6, 5, 4, 6, 3, EOS, 5, 4, 6, 5, EOS]
    assert data.others == [["x", "y"], ["z", "x"]]
    assert data.characters == (2 + 1) + (2 + 1)


@pytest.mark.parametrize("swapped", [False, True])
def test_a_side_without_spaces_is_read_by_characters(tmp_path, swapped):
    """By words each of its sentences would be a single symbol, and those of other texts unknown."""
    some = [(f"我喜欢看书{k % 7}天。", " ".join(["I like to read books"] * 3) + f" {k}.") for k in range(90)]
    data = load(pairs(tmp_path / "a.tsv", [pair[::-1] if swapped else pair for pair in some]), None, "translate", None)
    assert data.vocab.unit == "char"
    sides = "targets" if swapped else "sources"
    assert [note for note in data.notes if note.startswith(f"the {sides} are written without spaces") and "--segment zh" in note]
    data = load(pairs(tmp_path / "b.tsv", [(e, f"{e} {k}") for k, (_, e) in enumerate(some)]), None, "translate", None)
    assert (data.vocab.unit, data.notes) == ("word-punct", ())


def test_ids_are_encoded_once_and_found_again(tmp_path, monkeypatch):
    first = load(pairs(tmp_path / "a.tsv"), None, "translate", "word")
    assert len(kept()) == 2
    monkeypatch.setattr(Encoder, "encoded", None)  # whoever encodes again fails
    assert content(load(Pairs([tmp_path / "a.tsv"]), None, "translate", "word")) == content(first)


def test_what_is_read_otherwise_has_other_ids(tmp_path):
    load(pairs(tmp_path / "a.tsv"), None, "translate", "word")
    load(Pairs([tmp_path / "a.tsv"]), None, "translate", "word", split=WHOLE)
    load(Pairs([tmp_path / "a.tsv"]), None, "translate", "word", min_count=5)
    load(Pairs([tmp_path / "a.tsv"], errors="replace"), None, "translate", "word")
    assert len(kept()) == 2 + 1 + 2 + 2


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9, 1])
def test_damaged_ids_are_made_again(tmp_path, share):
    wanted, whole = content(load(pairs(tmp_path / "a.tsv"), None, "translate", "word")), kept()
    for name, bytes_ in whole.items():
        damaged = bytearray(bytes_)
        damaged[round(share * (len(damaged) - 1))] ^= 1
        (cache.folder("corpora") / name).write_bytes(damaged)
    assert content(load(Pairs([tmp_path / "a.tsv"]), None, "translate", "word")) == wanted
    assert kept() == whole


def test_ids_of_no_symbol_are_made_again(tmp_path):
    wanted, whole = content(load(pairs(tmp_path / "a.tsv"), None, "translate", "word")), kept()
    for name, bytes_ in whole.items():
        forged = np.array([60_000], "<u2").tobytes() + bytes_[2:-8]
        (cache.folder("corpora") / name).write_bytes(forged + zlib.crc32(forged).to_bytes(8, "little"))
    assert content(load(Pairs([tmp_path / "a.tsv"]), None, "translate", "word")) == wanted


@pytest.mark.posix  # a file without a name
def test_the_ids_of_a_validation_text_leave_no_file(tmp_path):
    data = load(pairs(tmp_path / "a.tsv"), pairs(tmp_path / "b.tsv", rows(50, 1)), "translate", "word")
    assert data.valid.sequences == 50
    assert [path.suffix for path in cache.folder("corpora").iterdir()] == [".ids"]


@pytest.mark.parametrize("given", [None, Split(0.3), WHOLE])
def test_a_scan_counts_the_training_part_whatever_its_number_of_pairs(tmp_path, monkeypatch, given):
    """The share that is held out falls with the number: what might have been held out is counted at the end."""
    for module in (corpus, bitext):
        monkeypatch.setattr(module, "MOST_HELD_OUT", 60)
    monkeypatch.setattr(spilling, "MOST_WORDS", 10)
    monkeypatch.setattr(spilling, "MOST_HASHES", 100)
    some = rows(2000)
    scan = Scan(pairs(tmp_path / "a.tsv", some), Vocab("word", ()), given)
    assert scan.split == (given or Split(60 / 2000))
    train = [pair for pair in some if not scan.split.holds_out(fingerprint(pair[0]))]
    assert Counter(dict(scan.targets.items())) == Counter(word for _, target in train for word in target.split())
    assert Counter(dict(scan.symbols.items())) == Counter(word for pair in train for text in pair for word in text.split())
    assert scan.known.tolist() == sorted({fingerprint(target) for _, target in some})


def test_a_text_that_changes_between_two_passes_is_refused(tmp_path, monkeypatch):
    given, vocabulary = pairs(tmp_path / "a.tsv"), Vocab.of

    def changes(*how):
        pairs(tmp_path / "a.tsv", rows(500))
        return vocabulary(*how)

    monkeypatch.setattr(Vocab, "of", changes)
    with pytest.raises(InputError, match="changed while it was read"):
        load(given, None, "translate", "word")
    assert not [*cache.folder("corpora").iterdir()]


FULL = """
import resource, signal, sys
from pathlib import Path
from lmgen.errors import LmgenError
from lmgen.structured.bitext import load
from lmgen.structured.pairs import Pairs
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, resource.RLIM_INFINITY))
try:
    load(Pairs([Path("a.tsv")]), None, "translate", "word")
except LmgenError as error:
    print(error)
"""


@pytest.mark.posix
def test_a_full_disk_is_a_sentence_and_leaves_nothing(tmp_path):
    pairs(tmp_path / "a.tsv")
    done = subprocess.run([sys.executable, "-c", FULL], capture_output=True, text=True, cwd=tmp_path)
    assert "cannot prepare the text in" in done.stdout
    assert "File too large; free some space, or set XDG_CACHE_HOME" in done.stdout
    assert not done.stderr
    assert not [*cache.folder("corpora").iterdir()]
