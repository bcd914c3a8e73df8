"""What compressed files promise: their text is read as if it were not packed, and what is wrong with them is a sentence."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmgen.data.finding import find
from lmgen.data.reading import Text, arriving, once, whole
from lmgen.data.sources import packed
from lmgen.errors import InputError

LINES = "emma\nzoé\n\nolivia 🦊\n" * 50


def zstandard(content: bytes) -> bytes:
    """As the program zstd packs: with a checksum."""
    zstd = pytest.importorskip("backports.zstd")
    return zstd.compress(content, options={zstd.CompressionParameter.checksum_flag: 1})


PACKS = {"gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress, "zstandard": zstandard}


@pytest.fixture(params=PACKS)
def pack(request):
    return PACKS[request.param]


def of(content: bytes, name: str = "text", **options) -> Text:
    Path(name).write_bytes(content)
    return Text([Path(name)], **options)


@pytest.mark.parametrize("sequence", ["line", "paragraph", "file"])
def test_a_packed_file_is_read_like_the_file(pack, sequence):
    plain, inside = of(LINES.encode(), "plain", sequence=sequence), of(pack(LINES.encode()), "packed", sequence=sequence)
    assert list(plain) == list(inside)
    assert plain.sha256 == inside.sha256
    assert plain.size == inside.size == len(LINES.encode())


def test_parts_packed_one_by_one_are_one_text(pack):
    assert list(whole(of(pack(b"emma\nzo") + pack(b"e\nanna\n")))) == ["emma", "zoe", "anna"]


def test_encodings_and_marks_are_those_of_the_unpacked_text(pack):
    assert list(whole(of(pack("\ufeffzoé\r\n".encode("utf-16-le")), encoding="auto"))) == ["zoé"]
    with pytest.raises(InputError, match=r"text is not UTF-8 at byte 2 \(line 1"):
        list(of(pack(b"zo\xe9\n")))


@settings(deadline=None, max_examples=30)
@given(st.data())
def test_what_is_cut_or_changed_is_refused_or_read_as_it_was(data):
    """Never a traceback; what no checksum guards (a name in a header) may change."""
    name = data.draw(st.sampled_from(["gzip", "bzip2", "xz", "zstandard"]))
    content = bytearray(PACKS[name](LINES.encode()))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(packed.LONGEST_MAGIC, len(content) - 1)) :]
    else:
        content[data.draw(st.integers(packed.LONGEST_MAGIC, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    found = ""
    with contextlib.suppress(InputError):
        found = "".join(piece.text + "\n" * piece.gap for piece in of(bytes(content), keep_blank=True))
    assert found in ("", LINES)


def test_a_truncated_file_is_refused_with_what_to_do(pack):
    with pytest.raises(InputError, match=r"^text ends in the middle of its \w+ data: copy or download it again$"):
        list(of(pack(os.urandom(5000).hex().encode())[:-20]))


@pytest.mark.parametrize("line", [b"a", b"ab\n"], ids=["an endless line", "lines"])
def test_a_bomb_is_refused_long_before_its_end(line, monkeypatch):
    monkeypatch.setattr(packed, "MUCH", 1 << 20)
    monkeypatch.setattr(packed, "BUFFER", 1 << 12)
    content = line * 8_000_000
    read = []
    with pytest.raises(InputError, match="unpacks to more than 1,000 times its size"):
        read.extend(len(piece.text) for piece in of(lzma.compress(content, preset=0)))
    assert sum(read) < len(content)


def test_a_file_packed_twice_or_an_archive_is_refused_with_a_command(pack):
    with pytest.raises(
        InputError, match=r"text looks like gzip within \w+, not like text: pipe it, as in \w+ text \| lmgen train -"
    ):
        list(of(pack(gzip.compress(b"emma\n"))))
    tar = b"notes.txt".ljust(257, b"\0") + b"ustar\00000"
    with pytest.raises(InputError, match=r"a tar archive within \w+, not like text: unpack it, as in \w+ text > "):
        list(of(pack(tar)))


def test_a_pipe_is_unpacked_as_it_comes(pack):
    os.mkfifo("pipe")
    writer = threading.Thread(target=Path("pipe").write_bytes, args=(pack(b"emma\nzoe\n"),))
    writer.start()
    assert [one for one in arriving(once("pipe")) if one is not None] == ["emma", "zoe"]
    writer.join()


def test_standard_input_may_be_packed(pack):
    code = "from lmgen.data.reading import *; of = Text(find(['-'])); print(list(whole(of)), list(whole(of)))"
    done = subprocess.run([sys.executable, "-c", code], input=pack(b"emma\nzo\n"), capture_output=True, check=True)
    assert done.stdout == b"['emma', 'zo'] ['emma', 'zo']\n"


def test_lines_of_a_plain_pipe_come_as_soon_as_they_are_written():
    """Recognising compression does not wait for more than the first bytes."""
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb", buffering=0) as writer, os.fdopen(reading, "rb") as reader:
        writer.write(b"a\n")
        file, packing = packed.unpacked(reader, "pipe")
        assert packing is None
        assert file.read1(100) == b"a\n"


def test_labelled_text_may_be_packed(pack, lmgen):
    rows = "".join(f"{label}\tname {k} of {label}\n" for k in range(60) for label in ("one", "two"))
    Path("rows.tsv").write_bytes(pack(rows.encode()))
    code, _, err = lmgen("corpus", "check", "rows.tsv")
    assert code == 0
    assert "2 different labels before a TAB" in err


def test_a_glob_finds_packed_files():
    Path("folder").mkdir()
    Path("folder/a.txt.gz").write_bytes(gzip.compress(b"emma\n"))
    assert list(whole(Text(find(["folder"], "*.gz")))) == ["emma"]
    with pytest.raises(InputError, match=r"folder without \*\.txt files: .* as in --glob '\*\.txt\*'"):
        find(["folder"])


def test_compressed_files_of_a_folder_are_not_left_out_without_a_word():
    Path("folder").mkdir()
    Path("folder/a.txt.gz").write_bytes(gzip.compress(b"emma\n"))
    Path("folder/b.txt").write_bytes(b"olivia\n")
    said: list[str] = []
    assert find(["folder"], note=said.append) == [Path("folder/b.txt")]
    assert said == ["folder: left out 1 compressed file: --glob '*.txt*' reads all"]
    assert list(whole(Text(find(["folder"], "*.txt*")))) == ["emma", "olivia"]


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "backports", None)
    with pytest.raises(InputError, match=r"zstandard needs backports.zstd.*pip install 'lmgen\[zstd\]'"):
        list(of(b"\x28\xb5\x2f\xfdrest of it"))


def test_a_model_takes_its_name_from_the_file_within(lmgen):
    Path("girls.txt.gz").write_bytes(gzip.compress(LINES.encode()))
    assert lmgen("train", "girls.txt.gz", "--cell", "ngram", "--order", 2)[0] == 0
    assert Path("checkpoints/girls").is_dir()


def test_an_open_file_is_unpacked_too():
    from lmgen.data import inputs

    (name,) = inputs.files([io.BytesIO(gzip.compress(b"emma\n"))], {"sequence": "line", "encoding": "utf-8"})
    assert list(whole(Text([Path(name)]))) == ["emma"]
