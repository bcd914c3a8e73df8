"""Damage of a corpus in shards is found and said in a sentence that names the file; a manifest that lies is refused."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sharded_texts import built

from lmgen.data.sharded import manifest, reading
from lmgen.data.sharded.stores import Folder, ShardError
from lmgen.errors import InputError, LmgenError


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A corpus in shards, to be copied."""
    folder = tmp_path_factory.mktemp("whole")
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        built()
    return folder / "corpus"


@pytest.fixture
def copied(whole) -> None:
    """A copy of it in the folder of the test."""
    shutil.copytree(whole, "corpus")


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


FILES = ["manifest.json", "vocab.json", "known.u64", "blocks.i64", "train-000001.ids", "valid-000000.ids"]
DAMAGE = {
    "missing": Path.unlink,
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-2]),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\0\0"),
    "empty": lambda path: path.write_bytes(b""),
    "flipped": flipped,
    "swapped": lambda path: shutil.copy(path.with_name("train-000002.ids"), path),
    "folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize("name", FILES)
def test_damage_of_any_file_is_a_sentence_that_names_it(copied, name, kind):
    DAMAGE[kind](Path("corpus", name))
    with pytest.raises(ShardError, match=name) as found:
        reading.verified("corpus")
    assert "\n" not in str(found.value)


def forged(**changes) -> None:
    """Change fields of a manifest, and its hash with them."""
    path = Path("corpus", manifest.NAME)
    content = json.loads(path.read_text())
    for name, value in changes.items():
        part, _, field = name.partition("__")
        if field:
            content[part][field] = value
        else:
            content[part] = value
    content.pop("sha256", None)
    content["sha256"] = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps(content))


LIES = [
    {"format": 2, "lmgen": "9.1"},
    {"format": "\x1b[31m"},
    {"kind": "another"},
    {"text_sha256": "../../etc/passwd"},
    {"unit": "sentence"},
    {"unit": "word"},
    {"carry": 1},
    {"split": {"share": 2, "head": None}},
    {"split": None},
    {"known": [5, "0" * 64]},
    {"known": [1 << 62, "0" * 64]},
    {"blocks": [-1, "0" * 64]},
    {"blocks": []},
    {"train": None},
    {"train__shards": []},
    {"train__shards": [["../../etc/passwd", 5, "0" * 64]]},
    {"train__shards": [[5, "../../etc/passwd"]]},
    {"train__shards": [[float("nan"), "0" * 64]]},
    {"train__dtype": "O"},
    {"train__dtype": "<u4"},
    {"train__ids": 7},
    {"train__sequences": True},
    {"train__spelling": {"0": -1}},
    {"train__name": "../train"},
    {"signs": {}},
    {"signs__damaged": {"all": 1}},
    {"signs__noun": 3},
    {"notes": [1]},
    {"more": 1},
]


@pytest.mark.parametrize("changes", LIES, ids=json.dumps)
def test_a_manifest_that_lies_is_refused(copied, changes):
    forged(**changes)
    with pytest.raises(LmgenError, match="corpus") as found:
        reading.verified("corpus")
    assert isinstance(found.value, ShardError | InputError)
    assert str(found.value).isprintable()


def test_hashes_that_were_forged_with_the_content_leave_nothing_out_of_bounds(copied):
    entries = {}
    for name, array in (("known", np.array([3, 2], "<u8")), ("blocks", np.array([0, 1 << 40], "<i8"))):
        path = Path("corpus", f"{name}.{array.dtype.kind}64")
        before = path.read_bytes()
        path.write_bytes(array.tobytes())
        entries[name] = json.loads(Path("corpus", manifest.NAME).read_text())[name]
        forged(**{name: [2, hashlib.sha256(array.tobytes()).hexdigest()]})
        with pytest.raises(ShardError, match="not in order"):
            reading.load("corpus")
        path.write_bytes(before)
        forged(**{name: entries[name]})
    path = Path("corpus", "train-000001.ids")
    ids = np.frombuffer(path.read_bytes(), "<u2").copy()
    ids[5] = 60_000
    path.write_bytes(ids.tobytes())
    shards = json.loads(Path("corpus", manifest.NAME).read_text())["train"]["shards"]
    forged(train__shards=[shards[0], [len(ids), hashlib.sha256(ids.tobytes()).hexdigest()], *shards[2:]])
    with pytest.raises(ShardError, match="60,000"):
        reading.verified("corpus")


some_json = st.recursive(st.none() | st.integers() | st.text(max_size=3), st.lists).map(json.dumps).map(str.encode)


@settings(deadline=None, max_examples=100)
@given(content=st.binary(max_size=60) | some_json)
def test_what_is_no_manifest_is_a_sentence(content):
    with pytest.raises(ShardError, match="damaged"):
        manifest.Manifest.from_json(content, "manifest.json")


def test_a_manifest_is_read_as_it_was_written(copied):
    found = reading.manifest_of(Folder("corpus"))
    assert manifest.Manifest.from_json(found.to_json().encode(), "") == found
    names = {path.name for path in Path("corpus").iterdir()}
    shards = {shard.name for shard in chain(found.train.shards, found.valid.shards)}
    assert names == shards | {"manifest.json", "vocab.json", "known.u64", "blocks.i64"}
