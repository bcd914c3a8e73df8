"""The command explain, as a user types it: in a pipe, on a narrow terminal, with odd text, with a mistake."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

import lmgen as library
from support import invented_words, on_a_terminal

SMALL = {"steps": 2, "size": 8, "embedding": 4, "batch": 2, "window": 8}
CODES = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture(scope="module")
def home(tmp_path_factory, model_path):
    """A folder with texts and models: of text, of labels, of pairs; to be read, not changed."""
    folder = tmp_path_factory.mktemp("explain")
    shutil.copytree(model_path, folder / "checkpoints" / "words")
    shutil.copy(model_path.parent / "words.txt", folder)
    (folder / "some.txt").write_text("bada gulo\n\nradi\n")
    (folder / "odd.txt").write_bytes("ba\x1b[31m\x07\tdé\u202e\u200b中\n".encode())
    (folder / "latin.txt").write_bytes(b"ba\xe9\n")
    (folder / "empty.txt").write_bytes(b"")
    labels = "".join(f"{'ab'[k % 2]}\t{word}\n" for k, word in enumerate(invented_words(200)))
    (folder / "labels.tsv").write_text(labels)
    (folder / "pairs.tsv").write_text("".join(f"say {word} now\tnow say {word}\n" for word in invented_words(200)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        for name, text, task in (
            ("labels", "labels", "classify"),
            ("writer", "labels", "generate"),
            ("pairs", "pairs", "translate"),
        ):
            library.train(folder / f"{text}.tsv", output=folder / "checkpoints" / name, task=task, **SMALL)
        library.train(folder / "words.txt", output=folder / "checkpoints" / "cloze", direction="both", **SMALL)
    return folder


@pytest.fixture(autouse=True)
def _here(home, monkeypatch):
    monkeypatch.chdir(home)


def test_in_a_pipe_each_symbol_is_a_line_of_cells(lmgen):
    code, out, err = lmgen("explain", "words", "some.txt")
    assert (code, err) == (0, "passed over 1 blank line\n")
    head, *lines = [line.split("\t") for line in out.splitlines()]
    assert head == ["symbol", "probability", "nats", "rank", "likeliest", "n-gram", "notes"]
    assert [line[0] for line in lines] == [*"bada␣gulo⏎", "", *"radi⏎", ""]
    scored = json.loads(lmgen("score", "words", "--symbols", "--json", stdin="bada gulo\n")[1])
    assert [float(line[2]) for line in lines[:10]] == pytest.approx([nats for _, nats in scored["each"]], abs=0.006)
    assert lines[4][6] == "unknown"
    assert all(re.fullmatch(r"\S+ \(\S+:\d\.\d\d\)", line[5]) for line in lines if line[0])


def test_json_has_an_object_for_each_sequence(lmgen):
    code, out, _ = lmgen("explain", "words", "some.txt", "--json", "--top", "2", "--no-background")
    one, other = map(json.loads, out.splitlines())
    assert (code, one["text"], other["text"]) == (0, "bada gulo", "radi")
    assert one["nats"] == pytest.approx(sum(symbol["nats"] for symbol in one["symbols"]), abs=1e-4)
    first = one["symbols"][0]
    assert {*first} == {"symbol", "before", "known", "copied", "probability", "nats", "rank", "alternatives"}
    assert len(first["alternatives"]) == 2


def test_what_the_training_text_has_is_copied(lmgen, home):
    pytest.importorskip("pydivsufsort")
    word = (home / "words.txt").read_text().splitlines()[0]
    (one,) = map(json.loads, lmgen("explain", "words", "--json", stdin=f"{word}\n")[1].splitlines())
    assert one["copies"] == [{"text": word, "line": word, "start": 0}]
    assert [symbol["copied"] for symbol in one["symbols"]] == [0] * len(word) + [None]


def test_a_terminal_gets_colours_and_the_scale(home):
    seen = on_a_terminal("explain", "words", "some.txt", "--no-background", COLORTERM="truecolor")
    assert "\x1b[38;2;0;0;0;48;2;" in seen
    lines = CODES.sub("", seen).split("\r\n")
    assert lines[:2] == ["bada gulo⏎", "radi⏎"]
    assert lines[3].startswith("bits of surprise  0  1  2  3  4  5  6  7  8  9+  ⏎ end")
    assert "48;5;" in on_a_terminal("explain", "words", "some.txt", "--no-background")


def test_long_texts_are_wrapped_and_no_color_is_a_table(tmp_path):
    (tmp_path / "long.txt").write_text(" ".join(invented_words(60)) + "\n")
    seen = CODES.sub("", on_a_terminal("explain", "words", tmp_path / "long.txt", "--no-background")).split("\r\n")
    assert max(map(len, seen)) <= 60
    assert len(seen) > 5
    plain = on_a_terminal("explain", "words", "some.txt", "--no-background", NO_COLOR="1")
    assert "\x1b" not in plain
    assert "symbol" in plain
    assert "nats" in plain


def test_characters_that_steer_are_seen(lmgen):
    for words in ((), ("--table",)):
        seen = CODES.sub("", on_a_terminal("explain", "words", "odd.txt", "--no-background", *words, columns=200))
        assert not {"\x1b", "\x07", "\u202e", "\u200b"} & {*seen}
        assert all(name in seen for name in ("␛", "␇", "⇥", "⟨U+202E⟩", "⟨U+200B⟩", "中"))
    page = lmgen("explain", "words", "odd.txt", "-o", "-")[1]
    assert not {"\x1b", "\x07", "\u202e", "\u200b"} & {*page}


def test_a_page_is_written_once(lmgen, tmp_path):
    code, out, err = lmgen("explain", "words", "some.txt", "-o", tmp_path / "page.html")
    assert (code, out) == (0, "")
    assert f"wrote {tmp_path / 'page.html'}" in err
    page = (tmp_path / "page.html").read_text("utf-8")
    assert page.startswith("<!doctype html>")
    assert page.count("<span role=") == 15
    code, _, err = lmgen("explain", "words", "some.txt", "-o", tmp_path / "page.html")
    assert code == 2
    assert "nothing is overwritten" in err


def test_two_texts_are_compared(lmgen, tmp_path):
    code, out, _ = lmgen("explain", "words", "--compare", "bada", "bado")
    assert code == 0
    scores = [float(re.match(r"[AB]: (\S+) nats, 5 symbols: bad[ao]$", line)[1]) for line in out.splitlines()[:2]]
    assert out.splitlines()[2].startswith(f"{'AB'[scores[1] < scores[0]]} is likelier, ")
    value = json.loads(lmgen("explain", "words", "--compare", "bada", "bado", "--json")[1])
    assert value["difference"] == pytest.approx(scores[1] - scores[0], abs=0.011)
    assert [part["texts"] for part in value["parts"]] == [["bad", "bad"], ["a", "o"], ["", ""]]
    assert lmgen("explain", "words", "--compare", "bada", "bado", "-o", tmp_path / "page.html")[0] == 0
    assert "is likelier" in (tmp_path / "page.html").read_text("utf-8")


def test_a_cloze_model_gives_pseudo_nats_and_a_writer_explains_by_label(lmgen):
    (one,) = map(json.loads, lmgen("explain", "cloze", "--json", stdin="bada\n")[1].splitlines())
    assert len(one["symbols"]) == 4
    assert one["pseudo_nats"] > 0
    (one,) = map(json.loads, lmgen("explain", "writer", "--label", "a", "--json", stdin="bada\n")[1].splitlines())
    assert len(one["symbols"]) == 5


MISTAKES = {
    "words empty.txt": "there is no text in empty.txt",
    "words latin.txt": "--encoding",
    "words none.txt": "none.txt",
    "labels some.txt": "use lmgen predict",
    "pairs some.txt": "use lmgen predict",
    "writer some.txt": "--label",
    "words some.txt --compare a b": "leave FILE out",
    "words --compare a": "--compare",
    "words some.txt --top 0": "--top",
    "words some.txt --top 101": "--top",
    "words some.txt --label a": "by label",
}


@pytest.mark.parametrize("words", MISTAKES)
def test_a_mistake_is_a_sentence_with_the_way_out(lmgen, words):
    code, out, err = lmgen("explain", *words.split())
    assert (code, out) == (2, "")
    assert MISTAKES[words] in err.splitlines()[-1]


def test_latin_1_and_replaced_bytes_are_read(lmgen):
    assert lmgen("explain", "words", "latin.txt", "--encoding", "latin-1")[1].splitlines()[3].startswith("é\t")
    assert lmgen("explain", "words", "latin.txt", "--errors", "replace")[1].splitlines()[3].startswith("\ufffd\t")


def test_without_the_training_text_the_rest_is_shown(lmgen, tmp_path):
    Path(tmp_path / "words.txt").write_text("\n".join(invented_words(100)))
    library.train(tmp_path / "words.txt", output=tmp_path / "m", cell="ngram", order=2)
    Path(tmp_path / "words.txt").unlink()
    code, out, err = lmgen("explain", tmp_path / "m", stdin="bada\n")
    assert (code, len(out.splitlines())) == (0, 7)
    assert "is missing" in err
