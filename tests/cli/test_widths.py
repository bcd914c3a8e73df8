"""Chinese on a terminal: a wide character takes two columns, so tables and sentences fit 60 columns."""

from __future__ import annotations

import re
import shutil
import textwrap
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from lmgen.system import terminal
from support import on_a_terminal

LINE = "黛玉笑道：我們今天去看林妹妹"
CODES = re.compile(r"\x1b\[[0-9;]*[mK]")
SCREEN = SimpleNamespace(isatty=lambda: True)


def wrapped(message: str, columns: int) -> str:
    with mock.patch.object(shutil, "get_terminal_size", return_value=SimpleNamespace(columns=columns)):
        return terminal.wrapped(message, SCREEN)


@pytest.mark.parametrize(
    ("text", "columns"),
    [("", 0), ("abc", 3), ("红楼梦", 6), ("ｶﾅ", 2), ("Ａ１", 4), ("e\u0301", 1), ("한국", 4), ("ไทย", 3), ("🦊", 2)],
)
def test_the_width_of_a_text_is_that_on_a_terminal(text, columns):
    assert terminal.width(text) == cell_len(text) == columns


@given(st.text("ab ,.-/x", max_size=200))
def test_a_sentence_without_wide_characters_is_wrapped_as_textwrap_does(text):
    message = " ".join(text.split())
    assert wrapped(message, 20) == textwrap.fill(message, 20, break_long_words=False, break_on_hyphens=False)


def test_a_sentence_with_chinese_fits_and_no_line_begins_with_its_mark():
    message = "没有空格分开词，所以整个短语都是一个符号：" * 5 + "--segment zh。"
    lines = wrapped(message, 60).split("\n")
    assert "".join(lines) == message
    assert all(54 < cell_len(line) <= 60 for line in lines[:-1])
    assert not any(line[0] in "，。：" for line in lines)


@pytest.mark.posix
@pytest.mark.parametrize(
    "words",
    [
        ("list",),
        ("show", "红楼梦"),
        ("corpus", "check", "红楼梦.txt"),
        ("explain", "红楼梦", "红楼梦.txt", "--table", "--no-background"),
        ("explain", "红楼梦", "红楼梦.txt", "--no-background"),
        ("explain", "红楼梦", "--compare", LINE, LINE[:9], "--no-background"),
        ("eval", "红楼梦", "--no-baselines"),
        ("score", "红楼梦", "no such 红楼梦的文件"),
    ],
    ids=" ".join,
)
def test_what_is_printed_of_a_chinese_text_fits(lmgen, words):
    Path("红楼梦.txt").write_text("".join(f"{LINE}，{k}。\n" for k in range(400)), "utf-8")
    assert lmgen("train", "红楼梦.txt", "--cell", "ngram", "--order", 2)[0] == 0
    seen = on_a_terminal(*words, code=2 if words[0] == "score" else 0)
    assert max(map(cell_len, CODES.sub("", seen).split("\r\n"))) <= 60
