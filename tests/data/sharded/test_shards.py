"""A corpus in shards is the corpus of one file: the same ids, windows to the bit, whole or not at all."""

from __future__ import annotations

import gc
import json
import time
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sharded_texts import CASES, WORDS, as_one, built, contents, text

from lmgen.data import corpus, finding
from lmgen.data.reading import Text
from lmgen.data.sharded import building, manifest, reading, stream
from lmgen.data.sharded.stores import Entry, Folder
from lmgen.data.sharded.stream import Stream
from lmgen.data.vocab import EOS
from lmgen.data.windows import Share, Windows
from lmgen.errors import InputError, LmgenError
from lmgen.options import table
from lmgen.system import files, terminal

# --- the same corpus ---


@pytest.mark.parametrize("case", CASES)
def test_a_corpus_in_shards_is_that_of_its_text(case):
    one, many = as_one(case), built(case)
    assert len(many.train.stream.shards) > 3
    for side in ("train", "valid"):
        ids, same = getattr(one, side), getattr(many, side)
        assert (ids is None) == (same is None)
        if ids:
            np.testing.assert_array_equal(same.stream, ids.stream)
            for count in ("sequences", "characters", "bytes", "unknown", "words", "marked"):
                assert getattr(same, count) == getattr(ids, count), count
            np.testing.assert_array_equal(same.spelling, ids.spelling)
    np.testing.assert_array_equal(many.known, one.known)
    assert case == "names" or case == "marks" or many.signs.damaged["garbled"] > 3 < many.signs.damaged["replaced"]
    for name in ("vocab", "sha256", "signs", "notes", "split"):
        assert getattr(many, name) == getattr(one, name), name


def test_a_validation_text_is_the_held_out_part():
    valid = Path("valid.txt")
    valid.write_text("ba\nbo\nunseen\n")
    building.build(Path("corpus"), text("names"), Text([valid]), "char", False, 300)
    many, one = reading.load("corpus"), corpus.load(text("names"), Text([valid]), "char", False)
    assert many.valid.stream[:].tolist() == one.valid.stream.tolist()
    assert many.sha256 == one.sha256


@pytest.mark.parametrize("most_blocks", [1 << 16, 10])
@pytest.mark.parametrize("devices", [1, 2, 4])
@pytest.mark.parametrize("case", ["names", "verse"])
def test_windows_are_those_of_the_text_to_the_bit_on_any_number_of_devices(case, devices, most_blocks, monkeypatch):
    monkeypatch.setattr("lmgen.data.windows.MAX_BLOCKS", most_blocks)
    carry = CASES[case][1]
    one, many = as_one(case).train, built(case, 200).train
    whole = Windows(one, 8, 5, carry, seed=3, ahead=1)
    shared = [Windows(many, 8, 5, carry, seed=3, ahead=1, share=Share(k, devices)) for k in range(devices)]
    assert shared[0].per_epoch == whole.per_epoch
    for step in (0, 1, whole.per_epoch, 2, 3 * whole.per_epoch + 1, *range(5, 12)):
        np.testing.assert_array_equal(np.concatenate([one[step] for one in shared], axis=1), whole[step])
        np.testing.assert_array_equal(np.concatenate([one.begins(step) for one in shared]), whole.begins(step))


class Recorded:
    """A store of invented shards, which remembers which were asked for, and how many of them were in use at a time."""

    def __init__(self, lengths: list[int]):
        self.ids = np.arange(sum(lengths), dtype="<u2") % 1000 + 1
        self.ids[::7] = EOS
        self.entries = [Entry(str(k), n, "<u2", "") for k, n in enumerate(lengths)]
        self.parts = np.split(self.ids, np.cumsum(lengths)[:-1])
        self.asked: list[int] = []
        self.taken_and_left = [0]

    def mapped(self, entry: Entry, below: int) -> np.ndarray:
        found = self.parts[int(entry.name)].copy()
        self.asked.append(int(entry.name))
        self.taken_and_left.append(1)
        weakref.finalize(found, self.taken_and_left.append, -1)
        return found

    def stream(self) -> Stream:
        return Stream(self, self.entries, 1001)


some_lengths = st.lists(st.integers(1, 9), min_size=1, max_size=12)


@settings(deadline=None, max_examples=50)
@given(lengths=some_lengths, data=st.data())
def test_a_stream_is_indexed_like_an_array(lengths, data):
    store = Recorded(lengths)
    ids, found = store.ids, store.stream()
    n = len(ids)
    assert len(found) == n
    start, stop = data.draw(st.integers(-n - 1, n + 1)), data.draw(st.integers(-n - 1, n + 1))
    for some in (slice(start, stop), slice(None), slice(1, None), slice(None, -1)):
        assert found[some].tolist() == ids[some].tolist()
    places = np.array(data.draw(st.lists(st.lists(st.integers(0, n - 1), min_size=3, max_size=3), max_size=4)), np.int64)
    assert found[places].tolist() == ids[places].tolist()
    assert found[n - 1] == ids[n - 1]
    assert np.asarray(found).tolist() == ids.tolist()


@pytest.mark.parametrize("read", [lambda s: s[:], lambda s: s[np.arange(len(s))[::-1]]], ids=["slice", "places"])
def test_few_shards_are_in_memory_at_a_time(read, monkeypatch):
    monkeypatch.setattr(stream, "OPEN", 10)
    store = Recorded([4] * 200)
    assert len(read(store.stream())) == 800
    assert 10 <= max(np.cumsum(store.taken_and_left)) <= 10 + stream.FETCHES + 1


def test_a_device_fetches_what_its_columns_read_and_what_comes_next():
    store = Recorded([50] * 40)
    ids = corpus.Ids(store.stream(), 1, 1, 1, 0)
    windows = Windows(ids, 4, 5, carry=True, seed=0, share=Share(1, 2))
    for step in range(20):
        windows[step]
    read = {(start + 5 * step + row) // 50 for start in (999, 1499) for step in range(20) for row in range(6)}
    following = {(start + 5 * (step + 64) + row) // 50 for start in (999, 1499) for step in range(20) for row in (0, 5)}
    wait_for(lambda: len(store.asked) == len(read | following))
    assert set(store.asked) == read | following


def wait_for(condition) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


# --- building ---


class Killed(BaseException):
    """What a test stops a build with."""


@pytest.mark.parametrize("case", ["names", "verse"])
@pytest.mark.parametrize("writes", [3, 5, 9])
def test_an_interrupted_build_goes_on_to_the_same_files(case, writes, monkeypatch):
    built(case, path="whole")
    written, real = [], files.write_bytes

    def write(path: Path, content: bytes) -> None:
        if len(written) == writes:
            raise Killed
        written.append(path.name)
        real(path, content)

    monkeypatch.setattr(files, "write_bytes", write)
    with pytest.raises(Killed):
        built(case)
    before = {name for name in written if name.endswith(".ids")}
    assert before
    assert not Path("corpus").exists()
    writes = 10_000
    written.clear()
    notes: list[str] = []
    unit, carry, options = CASES[case]
    building.build(Path("corpus"), text(case, carry), None, unit, carry, 300, notes.append, **options)
    assert not before & set(written)
    assert notes == [f"going on after {len(before)} shard{'s' * (len(before) > 1)} that an interrupted build left"]
    assert contents(Path("corpus")) == contents(Path("whole"))


def failing(name: str, error: BaseException) -> Callable[[Path, bytes], None]:
    """The writing of files, but for one of this name."""
    real = files.write_bytes

    def write(path: Path, content: bytes) -> None:
        if path.name == name:
            raise error
        real(path, content)

    return write


@pytest.mark.parametrize("change", ["text", "shard", "journal", "symbols"])
def test_what_an_interrupted_build_left_is_used_only_if_it_fits(change, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(files, "write_bytes", failing(manifest.NAME, Killed()))
        with pytest.raises(Killed):
            built()
    gc.collect()  # a killed process would have no file open
    left = Path(".corpus.building")
    if change == "text":
        WORDS.append("more")
    elif change == "shard":
        cut = left / "train-000001.ids"
        cut.write_bytes(cut.read_bytes()[:-1])
    elif change == "journal":
        lines = (left / "train.jsonl").read_text().splitlines()
        (left / "train.jsonl").write_text("\n".join([*lines[:2], lines[2][:40], *lines[3:]]))
    try:
        built(symbols=200 if change == "symbols" else 300)
        built(symbols=200 if change == "symbols" else 300, path="whole")
    finally:
        del WORDS[1500:]
    assert contents(Path("corpus")) == contents(Path("whole"))
    assert not left.exists()


def test_nothing_is_overwritten(lmgen):
    text("names")
    Path("taken").mkdir()
    Path("taken/mine.txt").write_text("mine")
    code, out, err = lmgen("corpus", "build", "names-*.txt", "-o", "taken")
    assert (code, out) == (2, "")
    assert "nothing is overwritten" in err
    assert err.count("\n") == 1
    assert contents(Path("taken")) == {"mine.txt": b"mine"}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["empty.txt", "-o", "corpus"], "there is no text in empty.txt"),
        (["missing.txt", "-o", "corpus"], "there is no missing.txt"),
        (["names-1.txt"], "--output"),
        (["names-1.txt", "-o", "s3://bucket/corpus"], "a corpus is built in a folder"),
        (["names-1.txt", "-o", "names-2.txt/corpus"], "cannot make names-2.txt/corpus"),
        (["names-1.txt", "-o", "corpus", "--valid", "names-2.txt", "--no-valid"], "--valid asks for validation"),
        (["names-1.txt", "-o", "corpus", "--min-count", "100000"], "lower --min-count"),
        (["names-1.txt", "-o", "corpus", "--shard", "0"], "--shard"),
    ],
)
def test_a_mistake_is_a_sentence_and_leaves_nothing(lmgen, words, sentence):
    text("names")
    Path("empty.txt").write_text("")
    before = {*Path().iterdir()}
    code, out, err = lmgen("corpus", "build", *words)
    assert code == 2
    assert not out
    assert sentence in err.replace("\n", " ")
    assert {*Path().iterdir()} - {Path(".cache")} == before - {Path(".cache")}


def test_a_full_disk_keeps_what_is_written(monkeypatch):
    full = LmgenError("cannot save train-000002.ids: No space left on device")
    full.__cause__ = OSError()
    with monkeypatch.context() as patched:
        patched.setattr(files, "write_bytes", failing("train-000002.ids", full))
        with pytest.raises(LmgenError, match=r"No space left .* the same command goes on"):
            built()
    assert {path.name for path in Path(".corpus.building").glob("*.ids")} >= {"train-000000.ids", "train-000001.ids"}
    built()
    assert not Path(".corpus.building").exists()


def test_build_and_check_show_the_sizes(lmgen):
    text("names")
    code, out, err = lmgen("corpus", "build", "names-*.txt", "-o", "my corpus", "--shard", "300")
    assert code == 0
    assert f"to train: {terminal.command('lmgen', 'train', 'my corpus')}" in out
    assert "wrote my corpus" in err
    code, out, _ = lmgen("corpus", "check", "my corpus", "--json")
    found = json.loads(out)
    whole = as_one()
    assert code == 0
    for part, ids in (("training", whole.train), ("validation", whole.valid)):
        sizes = {name: getattr(ids, name) for name in ("symbols", "sequences", "characters", "bytes")}
        assert {name: found[part][name] for name in sizes} == sizes


def test_what_was_decided_when_it_was_built_is_not_asked_again(lmgen):
    built("verse")
    for words in (["--unit", "char"], ["--sequence", "file"], ["--min-count", "3"], ["--valid", "x"], ["--task", "tag"]):
        code, _, err = lmgen("train", "corpus", *words, "--steps", "1")
        assert code == 2
        assert f"{words[0]} was decided when the corpus was built" in err
    found = reading.manifest_of(Folder("corpus"))
    options = {option.name: option.default for option in table.TRAIN} | {"unit": "word", "carry": True, "task": "language"}
    assert reading.settled(found, options)["unit"] == "word"


def test_patterns_name_files():
    for name in ("b.txt", "a.txt", "c.log"):
        Path(name).write_text("x\n")
    assert finding.find(["*.txt", "[c].log"]) == [Path("a.txt"), Path("b.txt"), Path("c.log")]
    Path("[c].txt").write_text("x\n")
    assert finding.find(["[c].txt"]) == [Path("[c].txt")]
    with pytest.raises(InputError, match=r"there is no \*.md"):
        finding.find(["*.md"])


ADDRESSES = ["ftp://a/b", "https://a/b", "s3://", "s3://bucket/../etc", "gs://a b\x1b/c"]
ADDRESSES += ["s3://key:secret@bucket/corpus", "s3://bucket/corpus?signature=1"]


@pytest.mark.parametrize("address", ADDRESSES)
def test_other_addresses_are_refused(lmgen, address):
    code, _, err = lmgen("train", address)
    assert code == 2
    assert err.count("\n") == 1
    assert "address" in err


def test_a_corpus_in_shards_is_named_alone(lmgen):
    built()
    code, _, err = lmgen("train", "corpus", "names-1.txt")
    assert code == 2
    assert "name it alone" in err
    assert reading.address_of(["corpus/manifest.json"]) == reading.address_of(["corpus/"]) == str(Path("corpus").absolute())
    assert reading.address_of(["s3://bucket/a/manifest.json"]) == "s3://bucket/a"
