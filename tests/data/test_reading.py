"""What reading promises: the characters of a text arrive as they are, cut where a sequence ends, or one sentence says why not."""

from __future__ import annotations

import hashlib
import os
import shlex
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmgen.data.finding import SHIPPED, find
from lmgen.data.reading import Text, whole
from lmgen.errors import InputError
from lmgen.system import cache, terminal
from support import text

blocks = st.integers(2, 12)
prose = st.text("ab é\r\n\x85\u2028🦊", max_size=40)


def read(content: str | bytes, sequence: str = "line", **options) -> list[str]:
    return list(whole(text(content, sequence, **options)))


def block_of(size: int):
    return mock.patch("lmgen.data.reading.BLOCK", size)


def lines_one_by_one(content: str) -> list[str]:
    """The oracle of lines: a loop over the characters."""
    lines, line = [], ""
    for character in content.replace("\r\n", "\n"):
        if character == "\n":
            lines.append(line)
            line = ""
        else:
            line += character
    return [*lines, line] if line else lines


@pytest.mark.parametrize(
    ("sequence", "sequences"),
    [
        ("line", ["emma", "is here", "olivia", "left"]),
        ("paragraph", ["emma\nis here", "olivia", "left"]),
        ("file", ["emma\nis here\n\nolivia\n \n\t\n\nleft\n"]),
    ],
)
def test_a_sequence_is_a_line_a_paragraph_or_a_file(sequence, sequences):
    assert read("emma\nis here\n\nolivia\n \n\t\n\nleft\n", sequence) == sequences


@pytest.mark.parametrize("sequence", ["line", "paragraph"])
def test_the_last_sequence_needs_no_line_end(sequence):
    assert read("emma\n\nolivia", sequence) == read("emma\n\nolivia\n", sequence) == ["emma", "olivia"]


def test_files_do_not_run_into_each_other():
    Path("a.txt").write_text("one")
    Path("b.txt").write_text("two\n")
    assert list(whole(Text([Path("a.txt"), Path("b.txt")]))) == ["one", "two"]


def test_blank_lines_are_passed_over_with_a_note_or_kept_as_empty_sequences():
    passing, keeping = text("a\n\n \nb\n"), text("a\n\n \nb\n", keep_blank=True)
    assert list(whole(passing)) == ["a", "b"]
    assert list(whole(keeping)) == ["a", "", " ", "b"]
    assert list(passing.notes) == ["passed over 2 blank lines"]
    assert not keeping.notes


@settings(deadline=None)
@given(prose, blocks)
def test_lines_and_files_do_not_depend_on_the_size_of_a_block(content, block):
    with block_of(block):
        assert read(content, keep_blank=True) == lines_one_by_one(content)
        assert "".join(read(content, "file", keep_blank=True)) == content.replace("\r\n", "\n")


@settings(deadline=None)
@given(st.lists(st.tuples(st.text("abé", min_size=1, max_size=3), st.integers(2, 4)), max_size=8), st.integers(16, 40))
def test_paragraphs_do_not_depend_on_the_size_of_a_block(paragraphs, block):
    with block_of(block):
        assert read("".join(p + "\n" * gap for p, gap in paragraphs), "paragraph") == [p for p, _ in paragraphs]


@settings(deadline=None)
@given(prose, blocks, st.sampled_from(["line", "file"]))
def test_pieces_with_their_line_ends_give_the_text_back(content, block, sequence):
    with block_of(block):
        pieces = list(text(content, sequence, keep_blank=True))
    assert "".join(piece.text + "\n" * piece.gap for piece in pieces) == content.replace("\r\n", "\n")
    assert all(len(piece.text) <= 2 * block for piece in pieces)
    assert [p.begins for p in pieces[1:]] == [p.ends for p in pieces[:-1]]  # what ends is followed by what begins


def test_a_very_long_line_comes_in_pieces_cut_before_a_space_where_there_is_one():
    with block_of(8):
        pieces = list(text("one two three four five six\nabcdefghijklmnopqrst\n"))
    assert [(p.text, p.begins, p.ends) for p in pieces] == [
        ("one two", True, False),
        (" three", False, False),
        (" four", False, False),
        (" five six", False, True),
        ("abcdefgh", True, False),
        ("ijklmnop", False, False),
        ("qrst", False, True),
    ]


@settings(deadline=None)
@given(st.text("a\r\n", max_size=12), blocks)
def test_windows_line_ends_are_line_ends_and_counted_once(content, block):
    of = text(content, "file", keep_blank=True)
    with block_of(block):
        assert "".join(whole(of)) == content.replace("\r\n", "\n")
    count = content.count("\r\n")
    assert list(of.notes) == [f"corpus.txt: {count} line ends of Windows (CR LF) were read as line ends"] * bool(count)


def test_every_other_character_stays_as_it_is():
    line = "a\rb\0c\x85d\u2028e\u2029f\x0bg\x0ch\ufeffi"
    assert read(f"{line}\n") == [line]


def test_a_byte_order_mark_is_dropped_with_a_note():
    of = text(b"\xef\xbb\xbfemma\n")
    assert list(whole(of)) == ["emma"]
    assert list(of.notes) == ["corpus.txt: the byte-order mark at its start was dropped"]


@pytest.mark.parametrize(
    ("codec", "option"), [("utf-16-le", "utf-16"), ("utf-16-be", "utf-16"), ("utf-32-le", "utf-32"), ("utf-32-be", "utf-32")]
)
def test_utf_16_and_32_are_named_and_read_when_asked(codec, option):
    content = "\ufeffémile\r\nzoé\n".encode(codec)
    with pytest.raises(InputError, match=f"is {option.upper()}, not UTF-8.*--encoding {option}$"):
        read(content)
    assert read(content, encoding=option) == ["émile", "zoé"]


def test_other_encodings_by_name():
    assert read("zoé\n".encode("latin-1"), encoding="latin-1") == ["zoé"]
    with pytest.raises(InputError, match="no encoding 'latin-x'"):
        read(b"", encoding="latin-x")


@settings(deadline=None)
@given(st.lists(st.sampled_from([b"a", b"\n", "é".encode(), "🦊".encode(), b"\xff", b"\xf0\x9f", b"\xc3"]), max_size=20), blocks)
def test_invalid_utf_8_is_refused_with_its_place_also_across_blocks(parts, block):
    content = b"x" + b"".join(parts)
    with block_of(block):
        try:
            decoded = content.decode()
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            place = rf"at byte {error.start} \(line {line}, bytes {content[error.start]:02x}"
            with pytest.raises(InputError, match=place + ".*--encoding.*--errors replace"):
                read(content)
        else:
            assert read(content, keep_blank=True) == lines_one_by_one(decoded)


def test_invalid_utf_8_is_replaced_only_when_asked():
    assert read(b"a\xffb\xc3\n", errors="replace") == ["a\ufffdb\ufffd"]


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"PK\x03\x04rest", "zip.*unzip"),
        (b"PK\x03\x04" + bytes(26) + b"mimetypeapplication/epub+zip", "an EPUB.*pandoc"),
        (b"PK\x03\x04" + bytes(26) + b"mimetypeapplication/vnd.oasis.opendocument.text", "an OpenDocument.*pandoc"),
        (b"PK\x03\x04" + bytes(26) + b"[Content_Types].xml", "a document of Office.*pandoc"),
        (b"%PDF-1.7\n", "PDF.*pdftotext"),
        (b"{\\rtf1 hello}", "RTF.*pandoc"),
        (b"\n<!DOCTYPE html>\n<p>", "HTML.*pandoc -f html"),
        (b"\xef\xbb\xbf<!-- a page --><html lang=en>", "HTML.*pandoc -f html"),
        (b"notes.txt".ljust(257, b"\0") + b"ustar\00000", "tar archive.*tar -xOf"),
        (bytes(range(32)), "control characters"),
    ],
    ids=["zip", "epub", "odt", "docx", "pdf", "rtf", "html", "html-comment", "tar", "binary"],
)
def test_what_is_no_text_is_named_with_the_way_out(content, name):
    with pytest.raises(InputError, match=name):
        read(content)


@pytest.mark.parametrize("content", ["<p>a line of a poem</p>\n", "<xml/>\n", "a <html> b\n", "PK\n", "BZhang\n", "%P\n"])
def test_text_that_only_resembles_such_a_file_is_text(content):
    assert read(content) == [content.removesuffix("\n")]


def test_the_fingerprint_is_the_sha256_of_the_bytes():
    content = "\ufeffzoé\r\n\r\nemma".encode()
    of = text(content)
    assert of.sha256 == ""
    assert list(whole(of)) == list(whole(of)) == ["zoé", "emma"]
    assert of.sha256 == hashlib.sha256(content).hexdigest()


def test_a_file_that_grows_while_it_is_read_is_refused():
    of = text("emma\nolivia\n")
    with block_of(5):
        pieces = iter(of)
        assert next(pieces).text == "emma"
        with of.paths[0].open("a") as file:
            file.write("late\n")
        with pytest.raises(InputError, match="changed while it was read"):
            list(pieces)


def test_a_folder_stands_for_its_text_files_in_order():
    folder = Path("folder")
    (folder / "inner.txt").mkdir(parents=True)
    for name in ("b.txt", "a.txt", "c.md"):
        (folder / name).write_text(name)
    assert find(["folder"]) == [folder / "a.txt", folder / "b.txt"]
    with pytest.raises(InputError, match=r"folder without \*\.txt"):
        find(["folder/inner.txt"])


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_corpora_are_found_by_name_unless_a_file_has_it(name):
    (path,) = find([name])
    assert len(list(whole(Text([path])))) > 100
    Path(name).write_text("mine\n")
    assert find([name]) == [Path(name)]


def test_a_wrong_name_gets_a_suggestion():
    Path("poems.txt").write_text("o rose\n")
    for wrong, right in (("poem.txt", "poems.txt"), ("citys", "cities")):
        with pytest.raises(InputError, match=f"there is no {wrong}: did you mean {right}"):
            find([wrong])
    with pytest.raises(InputError, match=r"there is no zzzzzz: name a file.*cities"):
        find(["zzzzzz"])


def test_a_named_pipe_is_copied_so_that_it_can_be_read_twice():
    os.mkfifo("pipe")
    writer = threading.Thread(target=Path("pipe").write_bytes, args=(b"emma\nolivia\n",))
    writer.start()
    of = Text(find(["pipe"]))
    writer.join()
    assert list(whole(of)) == list(whole(of)) == ["emma", "olivia"]


def test_standard_input_is_read_and_its_copy_removed_in_the_end():
    code = "from lmgen.data.reading import *; of = Text(find(['-'])); print(list(whole(of)), list(whole(of)))"
    done = subprocess.run([sys.executable, "-c", code], input=b"emma\nzo\n", capture_output=True, check=True)
    assert done.stdout == b"['emma', 'zo'] ['emma', 'zo']\n"
    assert list(cache.folder("corpora").iterdir()) == []


@contextmanager
def as_nobody():
    """Root may read everything, so this part of a test runs as a user who may not."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_what_cannot_be_read_is_an_error_and_never_a_wait(tmp_path):
    Path("loop").symlink_to("loop")
    Path("secret").touch(mode=0)
    Path("file").touch()
    tmp_path.chmod(0o755)
    cases = {"/dev/zero": "not a file", "loop": "symbolic links", "secret": "Permission denied", "file/x": "Not a directory"}
    for name, why in cases.items():
        with as_nobody(), pytest.raises(InputError, match=why):
            find([name])
        with as_nobody(), pytest.raises(InputError, match=why):
            list(Text([Path(name)]))


@settings(deadline=None)
@given(st.lists(st.sampled_from(["a", "é", " ", "\t", "\n", "\n\n", "\n \n"]), max_size=20).map("".join), blocks)
def test_blank_lines_of_any_kind_do_not_depend_on_the_size_of_a_block(content, block):
    at_once = read(content, "paragraph")
    with block_of(block):
        assert read(content, "paragraph") == at_once


def test_blank_lines_before_the_first_paragraph_are_passed_over():
    assert read("\nb\n\nc\n", "paragraph") == read(" \n\nb\n\nc\n", "paragraph") == ["b", "c"]


@pytest.mark.parametrize("content", [b"hello there", "hello".encode("utf-16-le")])
def test_utf_16_without_its_mark_is_refused(content):
    with pytest.raises(InputError, match=r"corpus\.txt .* utf-16.*--encoding"):
        read(content, encoding="utf-16")


@pytest.mark.parametrize("name", ["hex", "rot13", "undefined", "a\0b"])
def test_what_is_no_encoding_of_text_is_refused(name):
    with pytest.raises(InputError):
        read(b"6162", encoding=name)


@pytest.mark.parametrize("name", ["a" * 300, "a\0b"])
def test_an_impossible_name_is_refused(name):
    with pytest.raises(InputError, match="cannot read"):
        find([name])


def test_half_a_byte_order_mark_is_invalid():
    with pytest.raises(InputError, match="at byte 0"):
        read(b"\xef\xbb")


def test_a_closed_standard_input_is_said_so(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(InputError, match="standard input is closed"):
        find(["-"])


def test_names_that_a_terminal_would_act_on_are_shown_with_question_marks(tmp_path):
    (tmp_path / "na\x1b[31m\nmes.txt").write_text("Anna\n")
    with pytest.raises(InputError, match=r"did you mean .*/na\?\[31m\?mes\.txt\?$"):
        list(Text([tmp_path / "na\x1b[31m\nme.txt"]))


# ---- folders, and files that are no plain text ----------------------------------------------------------------------------


def test_a_glob_finds_the_text_files_below_a_folder():
    for name, content in {
        "code/b.py": b"b",
        "code/a/c.py": b"c",
        "code/a/wide.py": "w".encode("utf-16"),
        "code/a/data.py": b"x\0y",
        "code/zip.py": b"PK\x03\x04",
        "code/.hidden.py": b"h",
        "code/.git/d.py": b"d",
        "code/e.txt": b"e",
        "code/dir.py/f.md": b"f",
    }.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(content)
    notes: list[str] = []
    found = find(["code", "code/e.txt"], "*.py", notes.append)
    assert [*map(str, found)] == ["code/a/c.py", "code/a/wide.py", "code/b.py", "code/e.txt"]
    assert notes == ["code: left out 2 hidden files", "code: left out 2 binary files", "code: 3 files *.py"]
    assert [*map(str, find(["code"]))] == ["code/e.txt"]
    for pattern, said in (("*.xyz", "no text file"), ("/etc/*", "cannot read"), ("*.py", "name one, or leave it out")):
        with pytest.raises(InputError, match=said):
            find(["code" if pattern != "*.py" else "code/b.py"], pattern)


def test_more_files_than_a_model_can_name_are_refused(monkeypatch):
    """They stand in config.json, which is not read beyond a megabyte."""
    monkeypatch.setattr("lmgen.data.finding.MOST_NAMES", 10)
    Path("a.txt").touch()
    with pytest.raises(InputError, match=r"find FOLDER .* \| lmgen train -"):
        find(["a.txt"])


def test_a_folder_is_trained_on_by_glob_and_gives_the_model_its_name(lmgen):
    Path("recipes/soups").mkdir(parents=True)
    for name in ("recipes/a.md", "recipes/soups/b.md"):
        Path(name).write_text("salt and pepper\n" * 30)
    code, _, err = lmgen("train", "recipes", "--glob", "*.md", "--cell", "ngram", "--order", 2)
    assert code == 0
    assert "recipes: 2 files *.md" in err
    assert "lmgen sample recipes" in err
    look = next(line for line in err.splitlines() if line.startswith("for more: lmgen "))
    code, out, _ = lmgen(*shlex.split(look)[3:])
    assert (code, out.splitlines()[-1]) == (0, "to train: " + terminal.command(*["lmgen", "train", "recipes", "--glob", "*.md"]))
