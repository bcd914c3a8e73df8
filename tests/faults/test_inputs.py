"""Text in: endless pipes, texts of every small size, texts larger than the memory, marks that mean nothing, unknown symbols."""

from __future__ import annotations

import contextlib
import json
import math
import os
import resource
import subprocess
import sys
import threading
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import lmgen as library
from lmgen.data import corpus, reading
from lmgen.data.split import split_of
from lmgen.data.vocab import Vocab
from lmgen.errors import InputError
from lmgen.evaluation.scores import measure
from lmgen.models import ngram
from lmgen.models.ngram import NGramModel
from lmgen.system import trees

LONG = bool(os.environ.get("LMGEN_LONG"))
NET = {"steps": 2, "size": 4, "embedding": 4, "batch": 2, "window": 8}


# ---- pipes ---------------------------------------------------------------------------------------------------------------


def scoring(model: Path, *words: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "lmgen", "score", str(model), *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("carry", [False, True])
def test_each_line_of_a_pipe_is_scored_as_it_comes(tmp_path, words_file, carry):
    """Like a conversation: the next line is written when the score of the last one is there; the scores are those of a file."""
    model = library.train(words_file, output=tmp_path / "m", cell="ngram", order=3, carry=carry)
    lines = ["bade", "ki", "", "tu mo"]
    process = scoring(tmp_path / "m")
    told = []
    for line in lines:
        process.stdin.write(f"{line}\n")
        process.stdin.flush()
        told.append(process.stdout.readline())
    assert process.communicate() == ("", None)
    assert process.returncode == 0
    assert [row.split("\t")[1].rstrip("\n") for row in told] == lines
    wanted = [
        one.nats * (carry or one.text != "") for one in model.score(lines)
    ]  # a blank line counts where the state is carried
    assert [float(row.split("\t")[0]) for row in told] == pytest.approx(wanted, abs=6e-4)


@pytest.mark.parametrize("unit", ["char", "word"])
def test_the_last_tenth_of_one_long_line_is_held_out(unit):
    """Whatever its symbols are, and whichever side its hash would put it on."""
    for start in range(12):
        Path("line.txt").write_text(f"{start} " + "several words " * 400)
        opened = reading.Text([Path("line.txt")])
        read = corpus.load(opened, None, unit, False, split=split_of(opened, False, least=1))
        assert 0.08 < read.valid.characters / (read.train.characters + read.valid.characters) < 0.12


def test_an_endless_pipe_is_scored_until_the_reader_goes(model_path):
    """As `yes | lmgen score MODEL | head`."""
    endless = subprocess.Popen(
        [sys.executable, "-c", "while True: print('bade')"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "lmgen", "score", str(model_path), "--json"], stdin=endless.stdout, stdout=subprocess.PIPE
    )
    endless.stdout.close()
    assert json.loads(process.stdout.readline())["text"] == "bade"
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    endless.wait(timeout=60)
    endless.stderr.close()


def piped(content: bytes, *cuts: int, **options) -> list[str | None]:
    """What comes of a pipe into which some bytes are written, cut at some places."""
    read, write = os.pipe()
    ends = [0, *cuts, len(content)]

    def feed() -> None:
        with contextlib.suppress(BrokenPipeError), open(write, "wb", buffering=0) as file:
            for a, b in pairwise(ends):
                file.write(content[a:b])

    writer = threading.Thread(target=feed)
    writer.start()
    try:
        return list(reading.arriving(reading.Text([Path("pipe")], pipe=open(read, "rb"), **options)))
    finally:
        writer.join()


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_pipe_cut_anywhere_gives_the_same_lines(cut):
    content = "é\r\n\r\nab\n🦊".encode()
    assert [line for line in piped(content, cut, keep_blank=True) if line is not None] == ["é", "", "ab", "🦊"]


def test_a_pause_comes_before_each_wait():
    assert piped(b"a\nb\n") == [None, "a", "b", None]


@pytest.mark.parametrize("content", [b"\xff\xfea\0", b"PK\x03\x04", b"%PDF-"])
def test_what_is_no_text_is_recognised_however_it_comes(content):
    for cut in range(1, len(content)):
        with pytest.raises(InputError, match=r"looks like|not UTF-8"):
            piped(content, cut)


def test_a_folder_can_be_scored(lmgen, model_path):
    Path("folder").mkdir()
    for name in "ab":
        Path("folder", f"{name}.txt").write_text(f"{name}de\n")
    assert [row.split("\t")[1] for row in lmgen("score", model_path, "folder")[1].splitlines()] == ["ade", "bde"]


def test_a_named_pipe_is_scored_without_a_copy(lmgen, model_path):
    os.mkfifo("pipe")
    writer = threading.Thread(target=Path("pipe").write_bytes, args=(b"bade\nki\n",))
    writer.start()
    code, out, _ = lmgen("score", model_path, "pipe")
    writer.join()
    assert code == 0
    assert [row.split("\t")[1] for row in out.splitlines()] == ["bade", "ki"]
    assert not list(Path(".cache").rglob("*.spool"))


@pytest.mark.parametrize(
    "words", ["compress M /dev/zero", "decompress M /dev/zero -o x", "arpa read /dev/zero", "score M /dev/zero"]
)
def test_a_device_without_an_end_is_refused(lmgen, words_file, words):
    lmgen("train", words_file, "--cell", "ngram", "--order", 2, "-o", "M")
    code, _, err = lmgen(*words.split())
    assert code == 2
    assert "name a file" in err


def test_more_than_the_memory_is_not_compressed(lmgen, words_file, monkeypatch):
    monkeypatch.setattr("lmgen.cli.compress.MOST", 9)
    lmgen("train", words_file, "--cell", "ngram", "--order", 2, "-o", "M")
    for words in (["compress", "M", words_file], ["compress", "M", "-", "-o", "x"]):
        code, _, err = lmgen(*words, stdin="0123456789")
        assert code == 2
        assert "in parts" in err


def test_a_pipe_that_does_not_block_is_read_to_its_end():
    """As some programs leave the one that they hand on."""
    read, write = os.pipe()
    os.set_blocking(read, False)
    program = "import sys; from lmgen.data import reading as text; print(list(text.whole(text.Text(text.find(['-'])))))"
    process = subprocess.Popen([sys.executable, "-c", program], stdin=read, stdout=subprocess.PIPE)
    os.close(read)
    with open(write, "wb") as file:
        file.write(b"one\n")
        file.flush()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=1)
        file.write(b"two\n")
    assert process.communicate()[0] == b"['one', 'two']\n"


# ---- sizes ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["one character", "one line", "lines"])
@pytest.mark.parametrize("carry", [False, True])
def test_every_size_from_0_to_200_counts_or_is_refused(kind, carry):
    """Read, split, encoded, counted, measured and written, without a crash and with finite nats."""
    for size in range(201):
        content = {"one character": "a" * size, "one line": ("ab c" * 50)[:size], "lines": ("ab\nc\n" * 50)[:size]}[kind]
        Path("text.txt").write_text(content)
        if not content.strip():
            with pytest.raises(InputError, match="give a file with at least one line"):
                library.train("text.txt", output="m", cell="ngram", order=2, carry=carry)
            continue
        read = corpus.load(reading.Text([Path("text.txt")], "line", carry), None, "char", carry)
        assert read.train.symbols > 0
        fitted = NGramModel(
            ngram.NGramConfig(len(read.vocab), 2, carry),
            ngram.smoothed(ngram.Counts(read.train.stream, len(read.vocab), carry), 2),
            read.vocab,
        )
        for ids in filter(None, (read.train, read.valid)):
            assert math.isfinite(measure(fitted, ids).nats)


SIZES = range(201) if LONG else (0, 1, 2, 3, 4, 7, 8, 9, 31, 64, 65, 200)


@pytest.mark.parametrize("carry", [False, True])
def test_small_texts_train_a_network_or_are_refused(carry, tmp_path):
    """Also those shorter than a window. The loss stays finite."""
    for size in SIZES:
        Path("text.txt").write_text(("ab\n" * 99)[:size])
        if not size:
            with pytest.raises(InputError, match="give a file with at least one line"):
                library.train("text.txt", output=tmp_path / "0", carry=carry, **NET)
            continue
        model = library.train("text.txt", output=tmp_path / str(size), carry=carry, **NET)
        assert all(np.isfinite(array).all() for array in trees.flatten(model.lm.params).values())
        assert all(math.isfinite(one.nats) for one in model.sample(2, max_length=5))
        assert math.isfinite(model.evaluate("text.txt").nats)


# ---- memory --------------------------------------------------------------------------------------------------------------

MEGABYTES = 300
READING = """
import resource, sys
from pathlib import Path
from lmgen.data.corpus import load
from lmgen.data.reading import Text
resource.setrlimit(resource.RLIMIT_DATA, (int(sys.argv[2]) << 20,) * 2)
found = load(Text([Path(sys.argv[1])]), None, "char", False)
print(found.train.symbols + found.valid.symbols)
"""


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_DATA"), reason="memory cannot be limited here")
def test_a_line_larger_than_the_memory_is_read_and_encoded():
    """A line of 40 MB (400 MB with LMGEN_LONG=1) in 300 MB, most of it Python's and NumPy's own; in less than that it fails."""
    size = 400 if LONG else 40
    with open("line.txt", "w") as file:
        for _ in range(size):
            file.write("one line, " * 104_858)
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}

    def read(limit: int) -> subprocess.CompletedProcess:
        words = [sys.executable, "-c", READING, "line.txt", str(limit)]
        return subprocess.run(words, env=environment, capture_output=True, text=True)

    done = read(MEGABYTES)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == 2 + size * 1_048_580
    assert read(20).returncode != 0


# ---- marks and unknown symbols -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mark", ["<eos>", "<unk>", "</s>"])
def test_marks_in_a_prompt_are_ordinary_text(lmgen, mark):
    Path("marks.txt").write_text(f"a {mark} b\n" * 30)
    lmgen("train", "marks.txt", "--cell", "ngram", "--order", "6", "-o", "m")
    code, out, err = lmgen("sample", "m", "--seed", 0, "-n", 2, "--prompt", f"a {mark}", "--temperature", 0)
    assert (code, err) == (0, "")
    assert out.splitlines() == [f"a {mark} b"] * 2


def test_the_corpus_own_mark_in_a_prompt_is_read_as_unknown(lmgen):
    Path("marks.txt").write_text("the <unk> sat\nthe cat sat\n" * 30)
    lmgen("train", "marks.txt", "--cell", "ngram", "--order", "3", "--unit", "word", "--unk-token", "<unk>", "-o", "m")
    code, out, err = lmgen("sample", "m", "--seed", 0, "-n", 1, "--prompt", "the <unk>", "--temperature", 0)
    assert (code, out, err) == (0, "the <unk> sat\n", "")


def test_unknown_symbols_of_a_prompt_are_listed_once(lmgen, model_path):
    code, out, err = lmgen("sample", model_path, "--seed", 0, "-n", 1, "--prompt", "baЖ\x1bЖ")
    assert code == 0
    assert out.startswith("ba\ufffd\ufffd\ufffd")
    assert err == "the model does not know 'Ж' '\\x1b': read as unknown\n"
    code, out, err = lmgen("sample", model_path, "-n", 1, "--prompt", "baЖ", "--strict")
    assert (code, out) == (2, "")
    assert "leave out --strict" in err


def test_nothing_is_normalised():
    """Composed and decomposed letters, and both cases, are different symbols and come back as they were."""
    written = "é e\u0301 É ﬁ fi Ａ A ı İ"
    vocab = Vocab("char", tuple(sorted(set(written))))
    assert vocab.decode(vocab.encode(written)) == written
    assert len(set(vocab.encode("éÉﬁＡAıİ").tolist())) == 7


def test_a_model_trained_from_a_pipe_says_so(lmgen, words_file):
    """No message and no card names the copy of the pipe, which is gone."""
    for name, kind in (("net", ["--steps", "1", "--size", "4"]), ("grams", ["--cell", "ngram", "--order", "2"])):
        code, _, err = lmgen("train", "-", *kind, "-o", name, stdin=words_file.read_text())
        assert (code, "spool" in err) == (0, False)
        assert "| text | standard input |" in Path(name, "README.md").read_text()
        assert json.loads(lmgen("show", name, "--json")[1])["text"] == ["standard input"]
        Path(json.loads(Path(name, "config.json").read_text())["text"]["files"][0]).unlink()  # as when its process ends
        gone = f"lmgen: the text that {name} was trained on came from standard input and is gone: name a file\n"
        assert lmgen("eval", name) == (2, "", gone)
        assert lmgen("eval", name, words_file, "--no-baselines")[0] == 0
    assert "standard input" in lmgen("train", "-", "-o", "no", stdin="\n")[2]
