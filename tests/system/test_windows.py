"""The ways of Windows, on a system that is masked: encodings of the console, signals, files in use, names, commands."""

from __future__ import annotations

import ntpath
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from test_masked import TESTS, run_masked

import masked
from lmgen.options.kinds import Weighted
from lmgen.system import cache, directories, files, terminal

WORDS = ["Łódź", "北京", "naïve", "−1 × σ", "👍🏽"]
ON_ENCODING = """
import sys
from lmgen.cli import main
def run(*words):
    sys.argv = ["lmgen", *words]
    try:
        main.main()
    except SystemExit as end:
        return end.code
for name in main.cli.commands:
    assert not run(name, "--help"), name
assert not run("train", "words.txt", "--cell", "ngram", "--order", "3", "-o", "m")
for command in ("sample m -n 20 --seed 1", "score m words.txt", "eval m words.txt", "show m", "corpus check words.txt", "list"):
    assert not run(*command.split()), command
assert run("sample", "Łódź") == 3
"""


@pytest.fixture
def words():
    """A text that no old encoding of a console holds."""
    Path("words.txt").write_text("\n".join(WORDS * 20) + "\n", "utf-8")


@pytest.mark.parametrize("encoding", ["cp437", "cp1252"])
def test_what_a_console_cannot_encode_becomes_question_marks(words, encoding):
    """Not a traceback, in the help and in the results of any command."""
    done = run_masked(ON_ENCODING, PYTHONIOENCODING=encoding, PYTHONUTF8="0")
    assert "Usage: lmgen train" in done.stdout
    assert "??" in done.stdout
    assert "Traceback" not in done.stderr


def test_pipes_and_files_get_utf_8_whatever_the_encoding_of_the_system(words):
    program = (
        ON_ENCODING.partition("for name")[0]
        + """
run("train", "words.txt", "--cell", "ngram", "--order", "6", "-o", "m", "-q")
run("sample", "m", "-n", "50", "--seed", "1")
"""
    )
    done = run_masked(program, LC_ALL="C", PYTHONCOERCECLOCALE="0", PYTHONUTF8="0", PYTHONIOENCODING="")
    assert {*WORDS} & {*done.stdout.split("\n")}


@pytest.mark.posix
def test_ctrl_break_saves_and_ends():
    """As SIGTERM does: SIGUSR1 stands for it here."""
    program = """
import signal, sys
signal.SIGBREAK = signal.SIGUSR1
import masked
masked.mask()
from lmgen.__main__ import main
sys.argv = ["lmgen", *"train cities --size 8 --embedding 4 --batch 4 --window 8 --steps 1000000 --output m".split()]
main()
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)]), "LMGEN_NATIVE": "off"}
    process = subprocess.Popen([sys.executable, "-c", program], env=environment, stderr=subprocess.PIPE, text=True)
    seen = ""
    while "step " not in seen:
        seen += (line := process.stderr.readline())
        assert line, seen
    process.send_signal(signal.SIGUSR1)
    rest = process.communicate(timeout=100)[1]
    assert process.returncode == 75, rest
    assert "lmgen train --resume m" in rest
    assert list(Path("m/train").glob("step-*.safetensors"))


@pytest.fixture
def in_use(monkeypatch):
    """Files in use are neither renamed nor removed, as under the mask."""
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("what a process has open is found in /proc")
    if not hasattr(os.replace, "masked"):
        for name in masked.MOVING:
            monkeypatch.setattr(os, name, masked.as_on_windows(getattr(os, name)))
    monkeypatch.setattr(files, "_PAUSES", (0.02, 0.1, 0.3, 0.6))


def test_a_save_waits_for_whoever_reads_the_file(in_use):
    files.write_bytes(Path("a"), b"old")
    reader = open("a", "rb")  # noqa: SIM115
    threading.Timer(0.15, reader.close).start()
    files.write_bytes(Path("a"), b"new")
    assert Path("a").read_bytes() == b"new"


def test_a_save_beside_a_file_that_stays_in_use_is_a_sentence_and_loses_nothing(in_use):
    files.write_bytes(Path("a"), b"old")
    with open("a", "rb") as reader, pytest.raises(files.LmgenError, match=r"cannot save a .*the previous version is intact"):
        files.write_bytes(Path("a"), b"new")
    assert reader.closed
    assert [entry.name for entry in Path().glob("*a*")] == ["a"]
    assert Path("a").read_bytes() == b"old"


def test_what_is_in_use_stays_in_the_cache_until_it_is_not(in_use, monkeypatch):
    monkeypatch.setattr(cache, "_POSIX", False)
    for name in ("a.part", "new.part", "a.ids"):
        Path(name).write_bytes(b"1")
        os.utime(name, (time.time() - 2 * cache.WRITING_SECONDS,) * 2)
    os.utime("new.part")
    with open("a.part", "rb"):
        cache.remove(Path("a.part"))
        cache.clear_old(Path())
        assert Path("a.part").exists()
    cache.clear_old(Path())
    assert sorted(path.name for path in Path().glob("*.*")) == ["a.ids", "new.part"]


def test_a_text_is_read_and_trained_on_again_while_it_is_mapped():
    """From the cache, of which nothing can be replaced then; texts for a single use are left to be removed later."""
    run_masked(
        """
import lmgen
from pathlib import Path
Path("a.txt").write_text("a b\\nc d\\n" * 50)
small = {"size": 4, "embedding": 4, "batch": 2, "window": 4, "steps": 2, "unit": "word"}
first = lmgen.train("a.txt", output="m", **small)
second = lmgen.train("a.txt", output="n", **small)
assert first.evaluate("a.txt").nats > 0 and second.evaluate("a.txt").nats > 0
first.save("copy")
lmgen.train("a.txt", output="m", force=True, **small)
"""
    )


def test_a_path_with_a_drive_is_no_model_with_a_weight():
    assert Weighted().check(r"C:\models\a") == (Path(r"C:\models\a"), 0.5)
    assert Weighted().check(r"C:\models\a:0.3") == (Path(r"C:\models\a"), 0.3)


def test_a_path_on_another_drive_is_shown_whole(monkeypatch):
    monkeypatch.setattr(os.path, "relpath", ntpath.relpath)
    assert directories.brief(r"D:\models\a") == r"D:\models\a"


@pytest.mark.parametrize(
    ("word", "quoted"),
    [
        ("names", "names"),
        (r"C:\texts\a.txt", r"C:\texts\a.txt"),
        ("my texts", '"my texts"'),
        ("C:\\my texts\\", '"C:\\my texts\\\\"'),
        ("a&b", '"a&b"'),
        ('say "a\\"', r'"say \"a\\\""'),
        ("", '""'),
    ],
)
def test_commands_in_messages_can_be_pasted(monkeypatch, word, quoted):
    monkeypatch.setattr(terminal, "_WINDOWS", True)
    assert terminal.command("lmgen", "sample", word) == f"lmgen sample {quoted}"
    monkeypatch.setattr(terminal, "_WINDOWS", False)
    assert shlex.split(terminal.command("lmgen", "sample", word)) == ["lmgen", "sample", word]
