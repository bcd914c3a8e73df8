"""Text out: nothing steers a terminal, nothing but text goes into a pipe, and a stdout that fails ends with a sentence."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import lmgen as library
from support import on_a_terminal, started

STEERING = "a\x1b[31mb\x9bc\u202ed\x7fe"
DANGEROUS = [c for c in map(chr, range(256)) if not c.isprintable() and c not in "\r\n\t\xa0\xad"] + ["\u202e", "\u2066"]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A folder with a text full of codes, two models that write little else, and files whose names steer, too."""
    folder = tmp_path_factory.mktemp("hostile")
    text = folder / f"{STEERING[:6]}.txt"
    text.write_text(f"{STEERING}\n{STEERING[::-1]}\n" * 20, "utf-8")
    library.train(text, output=folder / "grams", cell="ngram", order=3)
    library.train(text, output=folder / "cloze", direction="both", steps=2, size=4, embedding=4, batch=2, window=4)
    (folder / "samples.txt").write_text(f"{STEERING}\nab\n", "utf-8")
    return folder


COMMANDS = {
    "sample": "sample grams -n 3 --prompt a",
    "sample --json": "sample grams -n 3 --json",
    "sample --novelty": "sample grams -n 3 --novelty TEXT",
    "sample with an unknown prompt": "sample grams -n 1 --prompt \x1b\x07",
    "score": "score grams samples.txt",
    "score --symbols": "score grams TEXT --symbols",
    "score --json": "score grams samples.txt --json --symbols",
    "novelty": "novelty samples.txt --corpus TEXT",
    "novelty --json": "novelty samples.txt --corpus TEXT --json",
    "corpus check": "corpus check TEXT",
    "corpus check --json": "corpus check TEXT --json",
    "fill": f"fill cloze _{STEERING}",
    "fill --json": f"fill cloze _{STEERING} --json",
    "eval": "eval grams TEXT",
    "eval --markdown": "eval grams TEXT --markdown",
    "eval --json": "eval grams TEXT --json",
    "show": "show grams",
    "show --json": "show grams --json",
    "train": "train TEXT --cell ngram --output \x1b[31mout",
    "compress": "compress grams TEXT -o \x1b[31mpacked",
    "arpa": "arpa write grams",
    "a missing file": "eval grams \x1b[31mmissing",
    "a missing model": "sample \x1b[31mmissing",
    "a wrong option": "sample grams --\x1b[31m",
}
CODES = {"a missing file": 2, "a missing model": 3, "a wrong option": 2}


@pytest.mark.parametrize("name", COMMANDS)
def test_no_text_or_name_steers_a_terminal(hostile, monkeypatch, name):
    """Of a model that writes escape codes, of a text that holds them, of names; one run of each command, dull."""
    if name == "compress":
        pytest.importorskip("constriction")
    if "novelty" in name:
        pytest.importorskip("pydivsufsort")
    monkeypatch.chdir(hostile)
    words = [f"{STEERING[:6]}.txt" if word == "TEXT" else word for word in COMMANDS[name].split(" ")]
    seen = on_a_terminal(*words, code=CODES.get(name, 0), NO_COLOR="1")
    assert seen
    assert not [c for c in DANGEROUS if c in seen], seen


def test_json_on_a_terminal_says_the_same_as_in_a_pipe(hostile, monkeypatch):
    monkeypatch.chdir(hostile)
    words = ("score", "grams", "samples.txt", "--json")
    piped = started(*words, stdout=subprocess.PIPE).communicate()[0].decode()
    assert STEERING[5:] in piped
    lines = on_a_terminal(*words).splitlines()
    assert [json.loads(line) for line in lines] == [json.loads(line) for line in piped.splitlines()]


def test_a_pipe_gets_text_as_it_is(hostile, monkeypatch):
    monkeypatch.chdir(hostile)
    out, _ = started("score", "grams", "samples.txt", stdout=subprocess.PIPE).communicate()
    assert out.decode().splitlines()[0].split("\t", 1)[1] == STEERING.split("\x85")[0]


@pytest.mark.parametrize("command", ["show", "show M", "eval M words.txt", "corpus check words.txt", "corpus list", "cells"])
def test_twenty_columns_lose_no_figure(model_path, words_file, command):
    """Narrow tables fold, or have a line for each cell; without colours nothing steers the terminal."""
    Path("checkpoints").mkdir()
    Path("checkpoints/words").symlink_to(model_path)
    words = [str(model_path) if word == "M" else word for word in command.split()]
    words += ["--no-speed"] * (command == "cells")
    narrow = on_a_terminal(*words, columns=20, NO_COLOR="1")
    wide = on_a_terminal(*words, columns=200, TERM="dumb")
    assert "\x1b" not in narrow + wide
    digits = [Counter(filter(str.isdigit, seen)) for seen in (narrow, wide)]
    assert digits[1]
    assert not digits[1] - digits[0], narrow


# ---- a stdout that fails -------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize(
    "command", ["sample M --seed 0", "sample M -n 3000 --seed 0", "corpus write names", "show M", "corpus list --json", "--help"]
)
def test_a_full_stdout_is_one_line_and_exit_1(model_path, command):
    words = [str(model_path) if word == "M" else word for word in command.split()]
    with open("/dev/full", "wb") as full:
        process = started(*words, stdout=full, stderr=subprocess.PIPE, text=True)
        _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert len(err.splitlines()) == 1
    assert "No space left on device" in err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_stderr_does_not_end_a_training(words_file):
    with open("/dev/full", "wb") as full:
        process = started("train", words_file, "--cell", "ngram", "-o", "m", stderr=full)
        assert process.wait() == 0
    assert library.load("m").sample(1)


@pytest.mark.parametrize("command", ["sample M -n 100000 --seed 0", "corpus write cities", "score M words.txt", "--help"])
def test_a_reader_that_goes_ends_it_quietly(model_path, words_file, command):
    words = [str(model_path) if word == "M" else word for word in command.split()]
    read, write = os.pipe()
    os.close(read)
    process = started(*words, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    _, err = process.communicate(timeout=120)
    assert (process.returncode, err) in ((0, ""), (1, "")), command  # click ends --help with 1


@pytest.mark.parametrize("closing", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_closed_streams_do_no_harm(model_path, words_file, closing):
    command = f"exec {sys.executable} -m lmgen train {words_file} --cell ngram -o m {closing}"
    assert subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE).returncode == 0
    assert library.load("m").sample(1)


def test_no_locale_at_all_does_not_end_a_training(tmp_path):
    """LC_ALL=C, and no UTF-8 mode: names and text beyond ASCII in the messages become question marks at the worst."""
    Path("zoë.txt").write_text("zoë 🦊\n" * 50, "utf-8")
    environment = {**os.environ, "LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    for words in ("train zoë.txt --cell ngram -o m", "sample m --json", "sample m", "eval m zoë.txt", "corpus check zoë.txt"):
        run = started(*words.split(), env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = run.communicate(timeout=120)
        assert run.returncode == 0, err
        assert b"\x1b" not in out + err
