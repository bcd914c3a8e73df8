"""The command line as a user meets it: results on stdout, one sentence for a mistake, exit codes, nothing lost."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

import lmgen as library
from lmgen.system import directories, terminal
from lmgen.training import display
from support import SMALL, on_a_terminal, started


def test_train_sample_eval_score_show(lmgen, words_file):
    """The whole walk with the commands as the README gives them."""
    code, out, err = lmgen("train", words_file, "--steps", 60, *SMALL)
    assert (code, out) == (0, "")
    assert "lmgen sample words" in err.splitlines()[-1]
    code, out, err = lmgen("sample", "-n", 7)
    assert code == 0
    assert err.startswith("words: seed ")
    assert len(out.splitlines()) == 7
    code, out, _ = lmgen("sample", "words", "--json", "-n", 3, "--prompt", "ba", "--seed", 4)
    lines = [json.loads(line) for line in out.splitlines()]
    assert all(list(line) == ["text", "nats", "symbols", "ended", "known"] for line in lines)
    assert all(line["text"].startswith("ba") for line in lines)
    code, out, _ = lmgen("eval", "words", words_file, "--json")
    (line,) = map(json.loads, out.splitlines())
    wanted = [
        "nats",
        "symbols",
        "characters",
        "bytes",
        "unknown",
        "nats_per_symbol",
        "perplexity",
        "bits_per_character",
        "bits_per_byte",
    ]
    assert set(wanted) <= line.keys()
    assert line["bytes"] == words_file.stat().st_size == line["symbols"]
    code, out, _ = lmgen("eval", "words", words_file)
    assert f"{line['perplexity']:.3f} per symbol" in out
    code, out, _ = lmgen("score", "words", words_file)
    assert [row.split("\t")[1] for row in out.splitlines()] == words_file.read_text().split()
    assert sum(float(row.split("\t")[0]) for row in out.splitlines()) == pytest.approx(line["nats"], abs=0.0005 * 300)
    code, out, _ = lmgen("show", "--json")
    assert [json.loads(row)["name"] for row in out.splitlines()] == ["words"]
    code, out, _ = lmgen("show", "words")
    assert "lstm" in out


def test_a_second_training_takes_the_next_free_name(lmgen, words_file):
    for expected in ("words", "words-2"):
        assert lmgen("train", words_file, "--steps", 2, *SMALL)[0] == 0
        assert directories.find(None) == Path("checkpoints") / expected
    before = (Path("checkpoints/words/model.safetensors")).read_bytes()
    code, _, err = lmgen("train", words_file, "--steps", 2, "-o", "checkpoints/words", *SMALL)
    assert code == 2
    assert "nothing is overwritten" in err
    assert Path("checkpoints/words/model.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("train empty.txt", 2, "there is no text in"),
        ("train missing.txt", 2, "there is no missing.txt"),
        ("train wrods.txt", 2, "did you mean words.txt"),
        ("train citys", 2, "did you mean cities"),
        ("train bad.txt", 2, "not UTF-8 at byte 3 (line 2"),
        ("train folder", 2, "folder without *.txt files"),
        ("train data.gz", 2, "ends in the middle of its gzip data"),
        ("train words.txt --valid empty.txt", 2, "give validation text"),
        ("train words.txt --encoding klingon", 2, "no encoding 'klingon'"),
        ("train words.txt --cell lstmm", 2, "no cell 'lstmm'"),
        ("train words.txt --steps 0", 2, "--steps"),
        ("train words.txt --budget soon", 2, "is not a duration"),
        ("train words.txt --steps 2 --epochs 2", 2, "give one of them"),
        ("train words.txt --dropout 1", 2, "--dropout"),
        ("train words.txt --learning-rate nan", 2, "--learning-rate"),
        ("train words.txt --min-count 999999", 2, "lower --min-count"),
        ("train", 2, "there is no text to train on"),
        ("train --resume nothing", 3, "no model nothing"),
        ("train --resume folder", 3, "folder"),
        ("train --resume good --size 9", 2, "--size cannot be changed with --resume"),
        ("train words.txt --batch 2147483647", 2, "too large"),
        ("train words.txt --epochs 1e308", 2, "--epochs"),
        ("trian words.txt", 2, "did you mean lmgen train?"),
        ("train words.txt --sizes 3", 2, "there is no option --sizes: did you mean --size?"),
        ("sample", 3, "there is no model in checkpoints"),
        ("sample words.txt", 3, "is a file, not a model"),
        ("sample folder", 3, "is no model"),
        ("sample good --temperature -1", 2, "--temperature"),
        ("sample good --temperature nan", 2, "--temperature"),
        ("sample good --top-p 0", 2, "--top-p"),
        ("sample good -n 0", 2, "-n"),
        ("sample good --lines 3", 2, "--lines has no use"),
        ("sample good --prompt Ж --strict", 2, "does not know 'Ж'"),
        ("sample goods", 3, "did you mean good"),
        ("eval good missing.txt", 2, "there is no missing.txt"),
        ("eval good empty.txt", 2, "there is no text in"),
        ("eval good bad.txt", 2, "not UTF-8"),
        ("eval nothing words.txt", 3, "no model nothing"),
        ("score good missing.txt", 2, "there is no missing.txt"),
        ("show nothing", 3, "no model nothing"),
        ("corpus write nothing", 2, "choose from cities"),
        ("corpus write cities -o words.txt", 2, "nothing is overwritten"),
    ],
)
def test_mistakes_get_one_sentence_and_lose_nothing(lmgen, model_path, words_file, words, code, message):
    Path("empty.txt").touch()
    Path("bad.txt").write_bytes(b"ab\n\xff\xfe\n")
    Path("folder").mkdir()
    Path("data.gz").write_bytes(b"\x1f\x8b\x08\x00")
    if "good" in words:
        shutil.copytree(model_path, "checkpoints/good")
    before = {p: p.read_bytes() for p in Path().rglob("*") if p.is_file() and ".cache" not in p.parts}
    found, out, err = lmgen(*words.split())
    assert (found, out) == (code, "")
    assert err.startswith("lmgen: ")
    assert message in err
    assert len(err.splitlines()) == 1
    assert before == {p: p.read_bytes() for p in Path().rglob("*") if p.is_file() and ".cache" not in p.parts}
    assert set(os.listdir()) - {"checkpoints"} <= {"empty.txt", "bad.txt", "folder", "data.gz", "words.txt", ".cache"}


def test_force_without_output_replaces_the_model_of_the_default_name(lmgen, words_file):
    for order in (1, 2):
        assert lmgen("train", words_file, "--cell", "ngram", "--order", order, "--force", "--quiet")[0] == 0
    library.train(words_file, cell="ngram", order=3, force=True)
    assert os.listdir("checkpoints") == ["words"]
    assert json.loads(lmgen("show", "words", "--json")[1])["order"] == 3


def test_force_and_resume_exclude_each_other(lmgen, words_file):
    assert lmgen("train", words_file, "--cell", "ngram", "--quiet")[0] == 0
    code, _, err = lmgen("train", "--resume", "words", "--force")
    assert code == 2
    assert "give one of them" in err
    assert len(err.splitlines()) == 1


def test_text_comes_through_a_pipe(lmgen, words_file):
    code, _, _ = lmgen("train", "-", "--steps", 3, *SMALL, stdin=words_file.read_text())
    assert code == 0
    assert directories.find(None).name == "stdin"
    code, out, _ = lmgen("score", "stdin", stdin="bade\nkimo\n")
    assert [row.split("\t")[1] for row in out.splitlines()] == ["bade", "kimo"]


def test_blank_lines_cost_as_much_in_score_as_in_eval(lmgen, model_path):
    """Nothing: both pass over them, and yet each line of the text has its line of output."""
    Path("poem.txt").write_text("bade\n\nkimo\n \n\n")
    code, out, err = lmgen("score", model_path, "poem.txt")
    rows = [row.split("\t") for row in out.splitlines()]
    assert (code, [text for _, text in rows]) == (0, ["bade", "", "kimo", " ", ""])
    assert "3 blank lines" in err
    (line,) = map(json.loads, lmgen("eval", model_path, "poem.txt", "--json")[1].splitlines())
    assert sum(float(nats) for nats, _ in rows) == pytest.approx(line["nats"], abs=0.002)
    assert lmgen("score", model_path, stdin="\n")[1] == "0.000\t\n"


def test_no_perplexity_is_printed_that_means_nothing(lmgen, model_path):
    """Chinese has no spaces, so that a line is one "word" of more nats than there are floats; bytes are always there."""
    Path("poem.txt").write_text("床前明月光疑是地上霜舉頭望明月低頭思故鄉" * 100 + "\n")
    code, out, _ = lmgen("eval", model_path, "poem.txt")
    assert code == 0
    assert "word perplexity" not in out
    assert "inf" not in out
    assert "byte perplexity" in out
    assert json.loads(lmgen("eval", model_path, "poem.txt", "--json")[1])["word_perplexity"] is None
    assert display.perplexity(12.3456) == "12.346"
    assert display.perplexity(1e16) == display.perplexity(float("inf")) == "over 1,000,000"


def test_corpora_that_ship_are_listed_and_written(lmgen):
    _code, out, _ = lmgen("corpus", "list", "--json")
    sizes = {row["name"]: row["bytes"] for row in map(json.loads, out.splitlines())}
    assert sizes["python-reference"] >= 300_000
    for name, least in (("cities", 1500), ("names", 2000)):
        lines = lmgen("corpus", "write", name)[1].splitlines()
        assert len(lines) == len(set(lines)) >= least
        assert all(line == line.strip() != "" for line in lines)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
def test_a_signal_saves_and_says_how_to_go_on(words_file, number, code):
    run = started("train", words_file, "--epochs", "100000", "--patience", "0", *SMALL, stderr=subprocess.PIPE, text=True)
    while not list(Path().glob("checkpoints/words/train/step-*")):
        time.sleep(0.1)
        assert run.poll() is None
    run.send_signal(number)
    _, err = run.communicate(timeout=60)
    assert run.returncode == code, err
    assert "go on with: lmgen train --resume words" in err.splitlines()[-1]
    steps = int(re.search(r"stopped at step ([\d,]+)", err)[1].replace(",", "")) + 1
    assert started("train", "--resume", "words", "--steps", str(steps), stderr=subprocess.DEVNULL).wait() == 0


def test_a_closed_pipe_ends_quietly(model_path):
    with started(
        "sample", model_path, "-n", "100000", "--seed", "0", stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout.readline()
        run.stdout.close()
        assert run.stderr.read() == ""
        assert run.wait(timeout=60) == 0


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_pipes_get_no_escape_byte_and_any_locale_will_do(words_file, locale):
    environment = {**os.environ, "LC_ALL": locale, "PYTHONIOENCODING": "ascii" if locale == "C" else "utf-8"}
    words_file.write_text(words_file.read_text().replace("a", "ä"), "utf-8")
    for words in (
        ["train", words_file, "--steps", "20", *SMALL],
        ["sample", "words", "--seed", "0"],
        ["eval", "words"],
        ["show"],
        ["doctor"],
    ):
        run = started(*words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = run.communicate(timeout=120)
        assert run.returncode == 0, err
        assert b"\x1b" not in out + err


def test_a_terminal_gets_a_live_display_unless_it_is_dumb(words_file):
    common = ("train", str(words_file), "--steps", "60", *SMALL)
    live = on_a_terminal(*common)
    assert "\x1b[" in live
    assert "symbols/s" in live
    assert "\x1b" not in on_a_terminal(*common, TERM="dumb")
    assert "\x1b" not in on_a_terminal(*common, NO_COLOR="1")


def test_a_terminal_is_not_steered_by_generated_text():
    """ESC, CSI in C1, a bidirectional override and DEL become pictures on a terminal; a pipe gets them as they are."""

    class Terminal:
        encoding = "utf-8"

        def __init__(self, terminal: bool):
            self.isatty = lambda: terminal

    text = "a\x1b[31mb\x9bc\u202ed\x7fé中\u0301\n"
    assert terminal.shown(text, Terminal(True)) == "a\u241b[31mb\ufffdc\ufffdd\u2421é中\u0301\n"
    assert terminal.shown(text, Terminal(False)) == text


def test_help_names_every_option_that_scripts_rely_on(lmgen):
    code, out, _ = lmgen("train", "--help")
    names = (
        "valid unit sequence carry min-count vocab-size unk-token cell size layers embedding tie dropout batch window steps "
        "epochs budget learning-rate weight-decay clip precision seed resume output"
    )
    assert code == 0
    assert all(f"--{name}" in out for name in names.split())


def test_a_finished_training_says_so_and_how_to_give_it_more(lmgen, words_file):
    options = ("--size", 8, "--embedding", 4, "--batch", 4, "--window", 8)
    assert lmgen("train", words_file, "--steps", 20, "--output", "m", *options)[0] == 0
    code, out, err = lmgen("train", "--resume", "m")
    assert (code, out) == (0, "")
    assert err.splitlines()[0].startswith("m is finished: 20 steps in ")
    more = err.splitlines()[1].split()
    assert more == ["lmgen", "train", "--resume", "m", "--steps", "40"]
    code, _, err = lmgen(*more[1:])
    assert code == 0
    assert "done after 40 steps" in err
    shown = json.loads(lmgen("show", "m", "--json")[1])
    assert (shown["steps"], shown["best_step"]) == (40, 40)
    assert lmgen("train", "--resume", "m", "--steps", 10)[0] == 2


def test_of_several_networks_it_is_said_which_one_a_figure_is_of(lmgen, words_file):
    options = ("--steps", 20, "--size", 8, "--embedding", 4, "--batch", 4, "--window", 8)
    for members, which in ((1, ""), (2, " of the last network")):
        err = lmgen("train", words_file, *options, "--members", members, "--output", f"m{members}")[2]
        assert re.search(rf"^best validation{which}: \d", err, re.M)


@pytest.mark.parametrize(("end", "more"), [(("--budget", "2s"), "--budget 4s"), (("--steps", 10, "--members", 2), "--steps 20")])
def test_a_finished_training_is_given_more_of_what_ended_it(lmgen, words_file, end, more):
    """Steps are those of each network, and would train the networks of a budget without one."""
    options = ("--size", 8, "--embedding", 4, "--batch", 4, "--window", 8)
    assert lmgen("train", words_file, *end, "--output", "m", *options)[0] == 0
    assert lmgen("train", "--resume", "m")[2].splitlines()[1].strip() == f"lmgen train --resume m {more}"


def test_nothing_is_held_out_where_nobody_wants_it_or_it_is_too_little(lmgen, words_file, tmp_path):
    few = tmp_path / "few.txt"
    few.write_text("".join(words_file.read_text().splitlines(keepends=True)[:100]))
    options = ("--steps", 5, "--size", 8, "--embedding", 4)
    for words, said in (((words_file, "--no-valid"), "none to validate"), ((few,), "too little to validate")):
        code, _, err = lmgen("train", *words, *options)
        assert code == 0
        assert said in err
        assert "best validation" not in err
    assert lmgen("train", words_file, "--no-valid", "--valid", few, *options)[0] == 2
    assert json.loads(lmgen("show", "few", "--json")[1])["best_step"] is None
