"""A large text prepared in parts, by several processes and with little memory, is what one pass over it gives.

With LMGEN_LONG=1 many more texts and options are tried.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmgen.data import corpus
from lmgen.data.preparing import compiled, lines, spilling, workplace
from lmgen.data.preparing.spilling import Hashes, WordCounts, distinct
from lmgen.data.reading import Text
from lmgen.data.split import WHOLE, Split, fingerprint
from lmgen.errors import InputError, LmgenError
from lmgen.system import cache
from lmgen.system.cluster import pool

NEVER = 1 << 60
WORDS = ["the", "a", "Größe", "日本", "Ã©t", "don't", "x" * 30, "zoé", "é", "1,2", "🦊", "a\rb", "\0"]
SPACES = ["\x85", "\u2003", "\u3000", "\x1c"]


def write(content: bytes, name: str = "text.txt") -> Path:
    Path(name).write_bytes(content)
    return Path(name)


def facts(text: Text, valid: Text | None = None, unit: str = "char", carry: bool = False, **options) -> object:
    """Everything that a preparation finds, or why it refuses."""
    try:
        found = corpus.load(text, valid, unit, carry, **options)
    except InputError as error:
        return str(error)
    sides = [
        {**vars(one), "stream": one.stream.tolist(), "dtype": one.stream.dtype, "spelling": one.spelling.tolist(), "vocab": None}
        for one in (found.train, found.valid)
        if one
    ]
    texts = [(one.sha256, [*one.notes], one.line_ends) for one in (text, valid) if one]
    return sides, found.vocab, found.known.tolist(), found.signs, found.notes, found.split, texts


def forget() -> None:
    """Remove the ids of the cache."""
    for file in cache.folder("corpora").glob("*.ids"):
        file.unlink()


@pytest.fixture
def small(monkeypatch) -> None:
    """Limits at which a text of a few kilobytes is large."""
    monkeypatch.setattr("lmgen.data.split.HELD_OUT_CHARACTERS", 2000)
    monkeypatch.setattr("lmgen.data.corpus.LEAST_HELD_OUT", 20)


def of(seed: int) -> bytes:
    """A text of odd lines."""
    rng = random.Random(seed)
    end = rng.choice(["\n", "\r\n"])

    def line() -> str:
        return rng.choice(["", "", "", " ", "\t"]) + rng.choice([" ", " ", "  ", "\xa0"]).join(
            rng.choice(WORDS + SPACES) for _ in range(rng.randrange(9))
        )

    content = "".join(line() + (end if rng.random() < 0.9 else "\n") for _ in range(rng.choice([1, 5, 60, 400])))
    content = rng.choice(["", "", "\ufeff"]) + (content.rstrip("\n") if rng.random() < 0.3 else content)
    raw = content.encode()
    return raw[:50] + b"\xff\xfe" + raw[50:] if rng.random() < 0.1 else raw


UNITS = ["char", "char", "word", "word", "word-punct", "word-only", "subword"]
SPLITS = [None, None, None, WHOLE, Split(share=0.3), Split(head=100)]


@pytest.mark.parametrize("seed", range(40 if os.environ.get("LMGEN_LONG") else 6))
def test_parts_give_what_one_pass_gives(small, seed, monkeypatch):
    """Ids, counts, vocabulary, fingerprints, split, signs of faults, notes and hash: whatever the text and the options are."""
    for trial in range(5):
        rng = random.Random(f"{seed} {trial}")
        names = [write(of(rng.randrange(1 << 30)), f"{k}.txt") for k in range(rng.choice([1, 1, 2]))]
        valid = write(of(rng.randrange(1 << 30)), "valid.txt") if rng.random() < 0.3 else None
        unit, carry = rng.choice(UNITS), rng.random() < 0.4
        if unit == "subword":
            pytest.importorskip("tokenizers")
        unk_token = None if unit == "subword" else rng.choice([None, None, "the", "x", "<u n>"])
        size = rng.choice([None, 400 if unit == "subword" else 20])
        options = {"min_count": rng.choice([1, 2]), "vocab_size": size, "unk_token": unk_token, "split": rng.choice(SPLITS)}
        errors, found = rng.choice(["strict", "replace"]), []
        for large, part in ((NEVER, 1), (0, rng.choice([40, 300, 5000]))):
            forget()
            monkeypatch.setattr("lmgen.data.corpus.LARGE", large)
            monkeypatch.setattr(lines, "SIZE", part)
            texts = [Text(paths, "line", carry, errors=errors) if paths[0] else None for paths in (names, [valid])]
            found.append(facts(*texts, unit, carry, **options))
        assert found[0] == found[1], (unit, carry, options)


@pytest.mark.parametrize("unit", ["char", "word"])
def test_any_number_of_processes_gives_the_same_bytes(unit, monkeypatch):
    text = write("".join(f"line {k % 700} of {k}\n" for k in range(20_000)).encode())
    monkeypatch.setattr("lmgen.data.corpus.LARGE", 0)
    monkeypatch.setattr(lines, "SIZE", 1 << 15)
    monkeypatch.setattr(workplace, "WORTH_A_PROCESS", 1)
    kept = []
    for processes in ("1", "2", "3"):
        forget()
        monkeypatch.setenv("LMGEN_THREADS", processes)
        found = facts(Text([text]), None, unit)
        kept.append((found, {path.name: path.read_bytes() for path in cache.folder("corpora").iterdir()}))
    assert kept[0] == kept[1] == kept[2]
    assert {Path(name).suffix for name in kept[0][1]} == {".ids"}


def test_a_long_line_is_read_in_one_pass(monkeypatch):
    """Where it would be cut depends on what was read before it."""
    text = write(b"ab cd\n" * 100 + b"word " * 300_000 + b"\n" + b"ab\n" * 100)
    found = []
    for large in (NEVER, 0):
        forget()
        monkeypatch.setattr("lmgen.data.corpus.LARGE", large)
        found.append(facts(Text([text]), None, "word"))
    assert found[0] == found[1]


def test_a_line_that_the_split_cuts_is_read_in_one_pass(small, monkeypatch):
    text = write(b"ab\n" * 100 + b"word " * 5_000)
    found = []
    for large in (NEVER, 0):
        forget()
        monkeypatch.setattr("lmgen.data.corpus.LARGE", large)
        found.append(facts(Text([text]), None, "char", carry=True))
    assert found[0] == found[1]
    assert found[0][5].head


def test_bytes_that_are_no_text_are_named_by_their_place(monkeypatch):
    text = write(b"one\ntwo\n" * 50 + b"t\xffo\n" + b"more\n" * 50)
    monkeypatch.setattr("lmgen.data.corpus.LARGE", 0)
    monkeypatch.setattr(lines, "SIZE", 100)
    with pytest.raises(InputError, match=r"not UTF-8 at byte 401 \(line 101, bytes ff 6f 0a 6d\).*--encoding"):
        corpus.load(Text([text]), None, "char", False)
    workplace.clear()
    assert not list(cache.folder("corpora").iterdir())


def test_a_text_that_changes_between_the_passes_is_refused(monkeypatch):
    text, scan = write(b"ab cd\n" * 2_000), corpus.scanning.scan
    monkeypatch.setattr("lmgen.data.corpus.LARGE", 0)

    def then_changed(*arguments):
        found = scan(*arguments)
        text.write_bytes(b"other\n" * 2_000)
        return found

    monkeypatch.setattr(corpus.scanning, "scan", then_changed)
    with pytest.raises(InputError, match="changed while it was read"):
        corpus.load(Text([text]), None, "char", False)


@pytest.mark.slow
def test_tasks_of_a_ray_cluster_give_the_same(monkeypatch):
    pytest.importorskip("ray")
    text = write(b"".join(b"line %d of it\n" % k for k in range(2_900)))
    monkeypatch.setattr("lmgen.data.corpus.LARGE", 0)
    found = []
    for address in ("", "local"):
        forget()
        monkeypatch.setenv(pool.RAY, address)
        found.append(facts(Text([text]), None, "word"))
    assert found[0] == found[1]


# --- after a kill ---

KILLED = """
import os, signal, sys
from lmgen.data import corpus
from lmgen.data.preparing import lines, workplace
from lmgen.data.reading import Text
from pathlib import Path
corpus.LARGE, lines.SIZE = 0, 1 << 12
make, left = workplace.make, int(sys.argv[1])
def dying(**task):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    print(task["function"].rpartition(":")[2], flush=True)
    return make(**task)
workplace.make = dying
corpus.load(Text([Path("text.txt")]), None, sys.argv[2], False)
"""


@pytest.mark.posix
@pytest.mark.parametrize(("unit", "after"), [("char", 5), ("word", 17)])
def test_after_a_kill_only_what_is_missing_is_made(unit, after, monkeypatch):
    """The text has twelve parts, so the second kill is in the second pass."""
    text = write(b"".join(b"line %d of it\n" % k for k in range(2_900)))

    def prepare(parts: int) -> list[str]:
        done = subprocess.run([sys.executable, "-c", KILLED, str(parts), unit], stdout=subprocess.PIPE, text=True)
        return done.stdout.split()

    assert len(prepare(after)) == after
    (left,) = cache.folder("corpora").glob("*.parts") if after < 12 else [max(cache.folder("corpora").glob("*.parts"))]
    parts = sorted(left.glob("*.part"))
    parts[0].write_bytes(parts[0].read_bytes()[:-9] + b"damaged!!")
    made = prepare(NEVER)
    assert len(made) == 24 - after + 1  # with the damaged one
    monkeypatch.setattr("lmgen.data.corpus.LARGE", NEVER)
    kept = {path.name: path.read_bytes() for path in cache.folder("corpora").iterdir()}
    forget()
    facts(Text([text]), None, unit)
    assert kept == {path.name: path.read_bytes() for path in cache.folder("corpora").iterdir()}


def test_a_process_that_is_lost_is_a_sentence():
    with pytest.raises(LmgenError, match=r"process that prepared the text was lost.*LMGEN_THREADS=1"):
        list(pool.each("os:_exit", [{"status": 9}, {"status": 9}], 2))


# --- what is spilled ---


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(st.integers(0, 50), max_size=30), max_size=12), st.integers(1, 40), st.integers(1, 9))
def test_fingerprints_on_disk_are_those_in_memory(blocks, most, at_a_time):
    with mock.patch.multiple(spilling, MOST_HASHES=most, AT_A_TIME=at_a_time):
        hashes = Hashes()
        for block in blocks:
            hashes.add(np.array(block, np.uint64))
        assert [h for block in hashes.blocks() for h in block.tolist()] == [h for block in blocks for h in block]
        assert distinct(hashes.blocks()).tolist() == sorted({h for block in blocks for h in block})


some_words = st.text("ab é\ud800🦊", min_size=1, max_size=4)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(some_words, max_size=12), max_size=30), st.integers(1, 6), st.integers(1, 9), st.integers(2, 3))
def test_counts_on_disk_are_those_in_memory(blocks, most, at_a_time, fan_in):
    with mock.patch.multiple(spilling, MOST_WORDS=most, WORDS_AT_A_TIME=at_a_time, FAN_IN=fan_in):
        counts, wanted = WordCounts(), Counter(word for block in blocks for word in block)
        for block in blocks:
            counts.update(block)
        if blocks and blocks[0]:
            counts.subtract(Counter(blocks[0]))
            wanted -= Counter(blocks[0])
        assert Counter(dict(counts.items())) == wanted
        ranked = sorted(wanted.items(), key=lambda pair: (-pair[1], pair[0]))
        assert [*counts.most(3).items()] == ranked[:3]
        assert bool(counts) == bool(wanted) or not wanted


@pytest.mark.parametrize("unit", ["char", "word"])
@pytest.mark.parametrize("large", [0, NEVER])
def test_a_text_of_many_words_and_lines_is_prepared_with_little_memory(unit, large, monkeypatch):
    text, valid = write(of(3) * 3), write(of(3)[:2000], "valid.txt")
    wanted = facts(Text([text]), Text([valid]), unit, carry=True, vocab_size=9)
    forget()
    monkeypatch.setattr("lmgen.data.corpus.LARGE", large)
    monkeypatch.setattr(lines, "SIZE", 2000)
    for name, value in {"MOST_HASHES": 20, "AT_A_TIME": 7, "MOST_WORDS": 5, "WORDS_AT_A_TIME": 3, "FAN_IN": 2}.items():
        monkeypatch.setattr(spilling, name, value)
    assert facts(Text([text]), Text([valid]), unit, carry=True, vocab_size=9) == wanted


def test_damage_on_the_disk_is_a_sentence(monkeypatch):
    monkeypatch.setattr(spilling, "MOST_HASHES", 4)
    monkeypatch.setattr(spilling.tempfile, "TemporaryFile", lambda dir: open("spilled", "w+b"))  # noqa: SIM115
    hashes = Hashes()
    hashes.add(np.arange(9, dtype=np.uint64))
    content = bytearray(Path("spilled").read_bytes())
    content[3] ^= 1
    Path("spilled").write_bytes(content)
    with pytest.raises(LmgenError, match="not what was written: the disk or the memory is faulty"):
        list(hashes.blocks())


FULL = """
import resource, sys
from lmgen.data import corpus
from lmgen.data.preparing import lines, spilling
from lmgen.data.reading import Text
from lmgen.errors import LmgenError
from pathlib import Path
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
corpus.LARGE, lines.SIZE, spilling.MOST_WORDS, spilling.MOST_HASHES = int(sys.argv[1]), 1 << 12, 100, 100
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    corpus.load(Text([Path("text.txt")]), None, "word", False)
except LmgenError as error:
    print(error)
"""


@pytest.mark.posix
@pytest.mark.parametrize(("large", "limit"), [(0, 1_000), (0, 6_000), (NEVER, 1_000)])
def test_a_full_disk_is_a_sentence_and_leaves_nothing(large, limit):
    write(b"".join(b"line %d of it\n" % k for k in range(2_900)))
    done = subprocess.run([sys.executable, "-c", FULL, str(large), str(limit)], capture_output=True, text=True)
    assert "cannot prepare the text in" in done.stdout
    assert "File too large; free some space, or set XDG_CACHE_HOME" in done.stdout
    assert not done.stderr
    assert not list(cache.folder("corpora").iterdir())


def test_more_words_than_a_vocabulary_holds_are_refused(monkeypatch):
    monkeypatch.setattr("lmgen.data.vocab.MOST_SYMBOLS", 50)
    monkeypatch.setattr("lmgen.data.corpus.MOST_SYMBOLS", 50)
    monkeypatch.setattr(spilling, "MOST_WORDS", 10)
    text = write(b"".join(b"word%d and\n" % k for k in range(100)))
    with pytest.raises(InputError, match=r"over 50 different words.*--vocab-size.*--min-count"):
        corpus.load(Text([text]), None, "word", False)
    assert len(corpus.load(Text([text]), None, "word", False, min_count=2).vocab) == 3


# --- compiled functions ---


odd_lines = st.text("ab é\x85\u2003\u3000\u1680\u2028🦊\x1c\x1f\t", max_size=9) | st.text("ab", min_size=120, max_size=300)


@pytest.mark.skipif(compiled.library_functions() is None, reason="there is no compiled library")
@settings(deadline=None, max_examples=200)
@given(st.lists(odd_lines), st.booleans(), st.booleans())
def test_compiled_functions_compute_what_python_does(strings, keep_blank, is_open):
    text = "\n".join(strings).encode() + b"\n" * (not is_open)
    found = compiled.words(text, keep_blank)
    stops = np.cumsum([len(one.encode()) for one in strings], dtype=np.int64)
    starts = np.append(0, stops[:-1])[: len(stops)]
    hashes = compiled.fingerprints("".join(strings).encode(), starts, stops)
    assert hashes.tolist() == [fingerprint(one) for one in strings]
    with mock.patch.object(compiled, "library_functions", return_value=None):
        wanted = compiled.words(text, keep_blank)
        assert compiled.fingerprints("".join(strings).encode(), starts, stops).tolist() == hashes.tolist()
    assert (found.words, found.joined) == (wanted.words, wanted.joined)
    for name in ("numbers", "starts", "stops"):
        assert getattr(found, name).tolist() == getattr(wanted, name).tolist()


def test_a_table_of_words_grows(monkeypatch):
    text = b" ".join(b"w%d" % k for k in range(5_000))
    wanted = compiled.words(text, False)
    monkeypatch.setattr(compiled, "BYTES_A_SLOT", 1 << 20)
    assert compiled.words(text, False).words == wanted.words == [f"w{k}" for k in range(5_000)]
