"""Compression that learns on the way gives back any bytes, takes the bits of its probabilities, and notices what is wrong."""

from __future__ import annotations

import io
import math
import os
import subprocess
import sys
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lmgen.errors import InputError
from lmgen.evaluation.online import coding, container
from lmgen.evaluation.online.coding import LEVELS, Level, Predictor
from lmgen.evaluation.online.container import END, FRAME_HEAD, HEADER, SIZE, compress, decompress
from lmgen.evaluation.online.counts import CompiledCounts, Counts, counts
from lmgen.evaluation.online.network import Network

pytest.importorskip("constriction")
TEXT = b"the cat sat on the mat and the dog ran to the cat\n" * 8


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """Small networks, and files that have several columns, frames and segments after a few hundred bytes."""
    monkeypatch.setitem(LEVELS, "1", Level(0, 0, 64, 4))
    monkeypatch.setitem(LEVELS, "2", Level(8, 1, 64, 4))
    for module in (coding, container):
        monkeypatch.setattr(module, "SEGMENT", 300)
        monkeypatch.setattr(module, "FRAME", 64)


def packed(content: bytes, level: str = "1") -> bytes:
    target = io.BytesIO()
    compress(io.BytesIO(content), target, level)
    return target.getvalue()


def unpacked(data: bytes) -> bytes:
    target = io.BytesIO()
    decompress(io.BytesIO(data), target)
    return target.getvalue()


any_bytes = st.one_of(
    st.binary(max_size=700),
    st.text(max_size=300).map(lambda s: s.encode("utf-8", "surrogatepass")),
    st.lists(st.sampled_from([b"the cat", b" sat ", b"\n", b"\r\n", b"\x00", b"\xff"]), max_size=120).map(b"".join),
)


@pytest.mark.parametrize("level", ["1", "2"])
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=any_bytes)
@example(b"")
@example(b"\n")
@example(b"x" * 301)
@example(TEXT[:-1])
def test_any_bytes_come_back(level, content):
    assert unpacked(packed(content, level)) == content


def test_numpy_and_the_kernel_predict_the_same_bits():
    if not isinstance(counts(1), CompiledCounts):
        pytest.skip("the kernels are not built")
    for columns in (1, 3):
        plain, compiled = Counts(columns), counts(columns)
        rng = np.random.default_rng(columns)
        text = np.resize(np.frombuffer(TEXT + rng.bytes(50), np.uint8), (columns, 150)).astype(np.int64)
        for each in (plain, compiled):
            each.begin(np.arange(columns) * 150, columns * 150)
        for row in range(150):
            odds = rng.normal(size=columns)
            for depth in range(7, -1, -1):
                np.testing.assert_array_equal(plain.predict(odds), compiled.predict(odds))
                for each in (plain, compiled):
                    each.learn(text[:, row] >> depth & 1)
            np.testing.assert_array_equal(plain.end_byte(), text[:, row])
            np.testing.assert_array_equal(compiled.end_byte(), text[:, row])


def test_the_first_bits_are_worked_by_hand():
    """Of a context that was never seen each bit is a matter of chance; of one seen once, the bit that came is likelier."""
    model = Counts(1)
    model.begin(np.zeros(1, np.int64), 3)
    nothing = np.zeros(1)
    first = model.predict(nothing)[0]
    assert first == pytest.approx(0.5, abs=0.02)
    model.learn(np.array([1]))
    for _ in range(7):
        assert model.predict(nothing)[0] == pytest.approx(0.5, abs=0.02)
        model.learn(np.array([0]))
    assert model.end_byte()[0] == 128
    assert model.predict(nothing)[0] > 0.55  # the empty context has seen a 1 there
    assert 1 - model.predict(np.array([-4.0]))[0] > 1 - model.predict(nothing)[0]  # and a network is heard


def test_the_size_is_that_of_the_probabilities(monkeypatch):
    bits, step = [], coding._Writer.step

    def counted(self, p, given):
        bits.append(-np.log2(np.where(given, p, 1 - p)).sum())
        return step(self, p, given)

    monkeypatch.setattr(coding._Writer, "step", counted)
    frames = [*Predictor(LEVELS["1"], 2).written(TEXT)]
    size = sum(len(words) for words, _ in frames)
    assert sum(bits) / 8 <= size + 1 <= sum(bits) / 8 + 8 * len(frames) + 1


def test_it_learns():
    """Text that repeats itself costs little, also in the network alone; noise costs hardly more than its bytes."""

    def size(content: bytes) -> int:
        return sum(len(words) for words, _ in Predictor(LEVELS["1"], 1).written(content))

    assert size(TEXT * 3) < len(TEXT * 3) / 5
    assert size(np.random.default_rng(0).bytes(1200)) < 1.15 * 1200

    network, costs = Network(2, 16, 2), []
    for byte in np.resize(np.frombuffer(b"abcd", np.uint8), (800, 2)):
        odds = network.predict()
        node, nats = np.ones(2, int), 0.0
        for depth in range(7, -1, -1):
            bit = byte.astype(int) >> depth & 1
            nats += np.log1p(np.exp(np.where(bit, -1, 1) * odds[[0, 1], node])).sum()
            node = node << 1 | bit
        costs.append(nats / 2)
        network.read(byte)
    assert np.mean(costs[:32]) == pytest.approx(math.log(256), rel=0.1)
    assert np.mean(costs[-32:]) < 1


def test_the_nodes_of_the_network_are_its_bytes():
    """The products of the probabilities along the tree sum to one, over all bytes."""
    odds = Network(3, 8, 0).predict()
    total = np.zeros(3)
    for byte in range(256):
        p, node = np.ones(3), 1
        for depth in range(7, -1, -1):
            bit = byte >> depth & 1
            p *= 1 / (1 + np.exp(-odds[:, node] if bit else odds[:, node]))
            node = node << 1 | bit
        total += p
    np.testing.assert_allclose(total, 1, rtol=1e-5)


class Slow(io.BytesIO):
    """A pipe that gives a byte at a time."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(min(1, size or 0))


def test_a_slow_pipe_is_read_like_a_file():
    target, again = io.BytesIO(), io.BytesIO()
    compress(Slow(TEXT), target, "1")
    assert target.getvalue() == packed(TEXT)
    decompress(Slow(target.getvalue()), again)
    assert again.getvalue() == TEXT


def test_every_flipped_bit_every_cut_and_every_addition_is_refused():
    data = packed(TEXT[:320])
    for at in range(len(data)):
        wrong = bytearray(data)
        wrong[at] ^= 1 << at % 8
        with pytest.raises(InputError, match=r"damaged|newer|no file that|cut short|another|other data"):
            unpacked(bytes(wrong))
        with pytest.raises(InputError, match=r"cut short|no file that"):
            unpacked(data[:at])
    with pytest.raises(InputError, match="other data follows"):
        unpacked(data + b"\n")


def head(level: bytes = b"1", columns: int = 0, versions: bytes = b"") -> bytes:
    """A header with a checksum that fits."""
    fields = container.MAGIC, level, columns, len(versions)
    return HEADER.pack(*fields, zlib.crc32(HEADER.pack(*fields, 0) + versions)) + versions


def frame(segment: int, words: bytes, meaning: int = 0) -> bytes:
    """A frame with a checksum that fits."""
    check = zlib.crc32(SIZE.pack(segment) + FRAME_HEAD.pack(len(words), meaning, 0) + words)
    return SIZE.pack(segment) + FRAME_HEAD.pack(len(words), meaning, check) + words


HUGE = (1 << 32) - 1


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "no file that"),
        (b"\x1f\x8b" + bytes(60), "no file that"),
        (b"lmz\x01" + bytes(60), "compressed by a model: name that"),
        (b"lmo\x02" + bytes(60), "newer"),
        (head(b"9"), "damaged"),
        (head(b"\xff"), "damaged"),
        (head(columns=3), "damaged"),
        (head(columns=255), "damaged"),
        (head(), "cut short"),
        (head() + SIZE.pack(HUGE), "damaged"),
        (head() + SIZE.pack(200), "cut short"),
        (head() + SIZE.pack(200) + FRAME_HEAD.pack(HUGE, 0, 0), "damaged"),
        (head() + frame(200, b"\xff" * 4), "other numbers|does not compute|damaged"),
        (head() + frame(200, b""), "other numbers|does not compute|damaged"),
        (head() + SIZE.pack(0) + END.pack(HUGE), "damaged"),
    ],
    ids=range(15),
)
def test_hostile_files_are_refused_at_once(data, sentence):
    with pytest.raises(InputError, match=sentence):
        unpacked(data)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=st.binary(max_size=64).map(lambda words: words[: len(words) // 4 * 4]), size=st.integers(1, 300))
def test_any_words_end(words, size):
    with pytest.raises(InputError):
        unpacked(head() + frame(size, words, 1))


def test_other_numbers_are_noticed_and_nothing_wrong_is_written(monkeypatch):
    data, predict, target = packed(TEXT, "2"), Network.predict, io.BytesIO()
    monkeypatch.setattr(Network, "predict", lambda self: predict(self) + 0.01)
    with pytest.raises(InputError, match="this machine does not compute the numbers"):
        decompress(io.BytesIO(data), target)
    assert TEXT.startswith(target.getvalue())
    monkeypatch.setattr("lmgen.models.facts.versions", lambda: "lmgen 99")
    with pytest.raises(InputError, match=r"compressed with lmgen .* here are lmgen 99"):
        decompress(io.BytesIO(data), target)


@pytest.mark.slow
@pytest.mark.posix
def test_another_process_with_one_thread_restores_it(tmp_path):
    """Threads and processes change no number: a file written by this process is read by one that is bound to one core."""
    program = (
        "import os, sys, io\n"
        "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from lmgen.evaluation.online import container\n"
        "container.decompress(open('x.lmz', 'rb'), open('x', 'wb'))\n"
    )
    write = "from lmgen.evaluation.online import container\ncontainer.compress(open('y', 'rb'), open('x.lmz', 'wb'))\n"
    content = TEXT * 100
    (tmp_path / "y").write_bytes(content)
    for words, environment in ((write, {}), (program, {"LMGEN_THREADS": "1"})):
        subprocess.run([sys.executable, "-c", words], cwd=tmp_path, env=os.environ | environment, check=True)
    assert (tmp_path / "x").read_bytes() == content


def test_the_command_line(lmgen, tmp_path):
    content = bytes(range(256)) + TEXT
    (tmp_path / "x.bin").write_bytes(content)
    code, out, err = lmgen("compress", "--online", "x.bin")
    assert (code, out) == (0, "")
    size = (tmp_path / "x.bin.lmz").stat().st_size
    assert f"{len(content):,} bytes became {size:,}: {8 * size / len(content):.4f} bits per byte" in err
    assert lmgen("compress", "--online", "x.bin")[0] == 2  # nothing is overwritten
    (tmp_path / "x.bin").unlink()
    assert lmgen("decompress", "x.bin.lmz")[0] == 0
    assert (tmp_path / "x.bin").read_bytes() == content
    assert lmgen("compress", "--online", "--level", "1", "-", "-o", "y.lmz", stdin="the cat")[0] == 0
    assert lmgen("decompress", "y.lmz", "-o", "-")[:2] == (0, "the cat")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["compress", "x"], "name a MODEL and a FILE, or give --online"),
        (["compress", "--online", "M", "x"], "name a FILE alone"),
        (["compress", "M", "x", "--level", "2"], "--level is of --online"),
        (["compress", "--online", "x", "--level", "4"], "'4' is not one of 1, 2, 3"),
        (["compress", "--online", "-"], "name the compressed file with --output"),
        (["compress", "--online", "none"], "cannot read none"),
        (["compress", "--online", "."], "cannot read ."),
        (["compress", "--online", "/dev/zero", "-o", "y"], "is a device"),
        (["decompress"], "name the MODEL"),
        (["decompress", "x"], "does not end in .lmz"),
        (["decompress", "x", "-o", "y"], "no file that lmgen compress --online wrote"),
    ],
)
def test_mistakes_are_one_sentence(lmgen, tmp_path, words, sentence):
    (tmp_path / "x").write_bytes(TEXT)
    code, _, err = lmgen(*words)
    assert code == 2
    assert sentence in err
    assert err.count("\n") == 1
    assert not (tmp_path / "y").exists()
