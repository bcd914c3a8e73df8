"""Ids that a text was encoded into are found again in the cache, and made again where they are damaged or the text is another."""

from __future__ import annotations

import os
import zlib

import numpy as np
import pytest

from lmgen.data.corpus import load
from lmgen.data.vocab import Vocab
from lmgen.system import cache
from support import lines, text

WORDS = [f"word{k}" for k in range(2000)]


def streams(corpus) -> list[list[int]]:
    return [corpus.train.stream.tolist(), corpus.valid.stream.tolist()]


def test_ids_are_encoded_once_and_found_again(monkeypatch):
    first = load(text(lines(WORDS)), None, "char", carry=False)
    monkeypatch.setattr(Vocab, "encode", None)  # whoever encodes again fails
    again = load(text(lines(WORDS)), None, "char", carry=False)
    assert streams(again) == streams(first)
    assert [(ids.sequences, ids.characters, ids.bytes, ids.unknown) for ids in (again.train, again.valid)] == [
        (ids.sequences, ids.characters, ids.bytes, ids.unknown) for ids in (first.train, first.valid)
    ]


def kept() -> dict[str, bytes]:
    """The files of ids in the cache."""
    return {path.name: path.read_bytes() for path in cache.folder("corpora").glob("*.ids")}


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9, 1])
def test_damaged_ids_are_made_again(share):
    """Whatever the bit that has flipped, of the ids or of the counts: the right ids come back, and stand in the cache again."""
    first = load(text(lines(WORDS)), None, "char", carry=False)
    wanted, whole, counts = streams(first), kept(), (first.train.characters, first.train.words)
    del first  # what is mapped changes with the file, and on Windows it cannot be replaced
    for name, content in whole.items():
        damaged = bytearray(content)
        damaged[round(share * (len(content) - 1))] ^= 1
        (cache.folder("corpora") / name).write_bytes(damaged)
    again = load(text(lines(WORDS)), None, "char", carry=False)
    assert streams(again) == wanted
    assert (again.train.characters, again.train.words) == counts
    assert kept() == whole


def test_ids_of_no_symbol_are_made_again():
    """Also where a checksum that fits was written beside them, as by a program of another version."""
    wanted = streams(load(text(lines(WORDS)), None, "char", carry=False))
    for name, content in (whole := kept()).items():
        forged = np.array([60_000], "<u2").tobytes() + content[2:-8]
        path = cache.folder("corpora") / name
        path.write_bytes(forged + zlib.crc32(forged).to_bytes(8, "little"))
    assert streams(load(text(lines(WORDS)), None, "char", carry=False)) == wanted
    assert kept() == whole


def test_ids_are_on_the_disk_before_they_get_their_name(monkeypatch):
    calls = []
    for name in ("fsync", "replace"):
        monkeypatch.setattr(os, name, lambda *args, name=name, do=getattr(os, name): calls.append(name) or do(*args))
    load(text(lines(WORDS)), None, "char", carry=False)
    assert calls == ["fsync", "replace"] * 2


def test_a_changed_text_or_choice_gets_ids_of_its_own():
    letters = Vocab("char", tuple("word0123456789 \n"))
    content = lines(WORDS).replace("7\n", "7\n\n")

    def made(content: str, sequence: str = "line", carry: bool = False, vocab: Vocab = letters) -> str:
        return str(streams(load(text(content, sequence), None, vocab.unit, carry, vocab=vocab)))

    all_made = [
        made(content),
        made(content.replace("word3\n", "drow3\n")),
        made(content, "paragraph"),
        made(content, "file"),
        made(content, carry=True),
        made(content, vocab=Vocab("char", letters.symbols[::-1])),
    ]
    assert len(set(all_made)) == len(all_made)
    assert made(content) == all_made[0]


def test_nothing_but_ids_stays_in_the_cache():
    load(text("emma\n" * 20), text("zoe\n", name="valid.txt"), "char", carry=False)
    assert {path.suffix for path in cache.folder("corpora").iterdir()} == {".ids"}


def test_ids_in_use_outlive_the_clearing_of_old_ones():
    old = text(lines(WORDS))
    load(old, None, "char", carry=False)
    for path in cache.folder("corpora").iterdir():
        os.utime(path, (0, 0))
    first = load(old, None, "char", carry=False).train.stream  # used again
    load(text("emma\n" * 20, name="other.txt"), None, "char", carry=False)  # clears
    assert load(old, None, "char", carry=False).train.stream.tolist() == first.tolist()


@pytest.mark.parametrize("length", [0, 4, 40, 41, -1])
def test_a_damaged_id_file_is_made_again(length):
    first = load(text(lines(WORDS)), None, "char", carry=False).train
    stream = first.stream.tolist()
    for path in cache.folder("corpora").glob("*.ids"):
        path.write_bytes(path.read_bytes()[:length])
    again = load(text(lines(WORDS)), None, "char", carry=False).train
    assert again.stream.tolist() == stream
    assert (again.sequences, again.characters, again.bytes) == (first.sequences, first.characters, first.bytes)
