"""A corpus in a store is read as one on the disk, in spite of a store that fails, within a bounded part of the disk."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import support
from lmgen.data.reading import Text
from lmgen.data.sharded import building, reading, stores
from lmgen.data.sharded.stores import ShardError, StoreError
from lmgen.data.windows import Windows
from lmgen.errors import InputError

pytest.importorskip("obstore")
ADDRESS = "s3://bucket/texts/corpus"
ENVIRONMENT = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1", "AWS_ALLOW_HTTP": "true"}


class Server(ThreadingHTTPServer):
    """What answers a GET as S3 does, from a folder; `trouble` maps a part of a name to how often it fails, and how."""

    def __init__(self, folder: Path):
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder, self.trouble, self.asked = folder, {}, []
        self.address = f"http://127.0.0.1:{self.server_port}"

    def fault(self, name: str) -> str:
        """What goes wrong with this answer."""
        for part, (times, how) in self.trouble.items():
            if part in name and times:
                self.trouble[part] = times - 1, how
                return how
        return ""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_) -> None:
        pass

    def do_GET(self) -> None:
        name = self.path.rpartition("/")[2]
        self.server.asked.append(name)
        fault, file = self.server.fault(name), self.server.folder / name
        if fault.isdigit() or not file.exists():
            self._answer(int(fault or 404), b"<Error><Code>Trouble</Code></Error>")
            return
        content = file.read_bytes() + b"more" * (fault == "longer")
        if part := re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", "")):
            start, end = int(part[1]), int(part[2]) + 1
            self._answer(206, content[start:end], f"bytes {start}-{end - 1}/{len(content)}", fault)
        else:
            self._answer(200, content, fault=fault)

    def _answer(self, status: int, content: bytes, extent: str = "", fault: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", '"1"')
        self.send_header("Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT")
        if extent:
            self.send_header("Content-Range", extent)
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if fault == "cut" else content)
        self.close_connection = bool(fault)


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A store with a corpus, and credentials for it in the environment."""
    Path("words.txt").write_text("".join(f"{word}\n" for word in support.invented_words(1000)))
    building.build(Path("corpus"), Text([Path("words.txt")]), None, "char", False, 400)
    found = Server(tmp_path / "corpus")
    for name, value in {**ENVIRONMENT, "AWS_ENDPOINT_URL": found.address}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(stores, "WAITS", (0.01, 0.01, 0.01))
    threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield found
    found.shutdown()
    found.server_close()


def kept() -> list[Path]:
    """The files in the cache."""
    return [*Path(os.environ["XDG_CACHE_HOME"]).glob("lmgen/shards/*.ids")]


def test_windows_of_a_store_are_those_of_the_folder_to_the_bit(server):
    here, there = (Windows(reading.load(place).train, 4, 8, False, 7) for place in ("corpus", ADDRESS))
    for step in (0, 1, here.per_epoch, 3):
        np.testing.assert_array_equal(there[step], here[step])
    assert reading.verified(ADDRESS) == reading.verified("corpus")


def test_a_file_is_fetched_once(server):
    reading.verified(ADDRESS)
    shards = [name for name in server.asked if name.endswith(".ids")]
    assert len(shards) == len(set(shards)) == len([*Path("corpus").glob("*.ids")])
    server.asked.clear()
    reading.verified(ADDRESS)
    assert {*server.asked} == {"manifest.json", "vocab.json"}
    for file in kept()[:3]:
        file.write_bytes(b"damaged")
    server.asked.clear()
    reading.verified(ADDRESS)
    assert len({*server.asked} - {"manifest.json", "vocab.json"}) == 3


@pytest.mark.parametrize(("name", "how"), [("manifest", "500"), ("vocab", "503"), ("known", "429"), ("train-000003", "cut")])
def test_a_store_that_fails_for_a_while_is_asked_again(server, name, how):
    server.trouble[name] = (3, how)
    assert reading.verified(ADDRESS) == reading.verified("corpus")
    assert server.trouble[name] == (0, how)


def test_a_store_that_fails_for_long_is_a_sentence(server, lmgen):
    server.trouble["train-000003"] = (1000, "503")
    with pytest.raises(StoreError, match=r"train-000003.ids \(.*503.*4 tries") as found:
        reading.verified(ADDRESS)
    assert "\n" not in str(found.value)
    assert found.value.exit_code == 75
    server.trouble["manifest"] = (1000, "cut")
    code, _, err = lmgen("train", ADDRESS, "--steps", "1")
    assert code == 75
    assert "try again when the store answers" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("how", "sentence"),
    [("404", "there is no s3://bucket/texts/corpus/"), ("403", "credentials"), ("401", "credentials"), ("longer", "is damaged")],
)
@pytest.mark.parametrize("name", ["manifest.json", "vocab.json", "train-000003.ids"])
def test_what_a_store_refuses_or_alters_is_a_sentence_at_once(server, name, how, sentence):
    server.trouble[name] = (1000, how)
    with pytest.raises(ShardError, match=sentence) as found:
        reading.verified(ADDRESS)
    assert "\n" not in str(found.value)
    assert "secret" not in str(found.value)
    assert server.asked.count(name) == 1


def test_the_files_that_are_kept_are_bounded(server, monkeypatch):
    monkeypatch.setattr(stores, "KEPT", 5000)
    reading.verified(ADDRESS)
    in_use = sum(Path("corpus", name).stat().st_size for name in ("known.u64", "blocks.i64"))
    shards = sum(path.stat().st_size for path in Path("corpus").glob("*.ids"))
    assert sum(path.stat().st_size for path in kept()) < in_use + 2000 < in_use + shards - 5000
    here, there = reading.load("corpus").train.stream, reading.load(ADDRESS).train.stream
    np.testing.assert_array_equal(there[:], here[:])  # also where shards had to make room


def test_a_file_on_its_way_makes_no_room_for_another(server, monkeypatch):
    store, replace = reading.store_of(ADDRESS), os.replace
    first, second, *_ = reading.manifest_of(store).train.shards
    monkeypatch.setattr(stores, "KEPT", 0)

    def interrupted(part, kept) -> None:
        replace(part, kept)
        monkeypatch.setattr(os, "replace", replace)
        store.mapped(second)

    monkeypatch.setattr(os, "replace", interrupted)
    np.testing.assert_array_equal(store.mapped(first), reading.store_of("corpus").mapped(first))


def test_a_full_disk_is_a_sentence(server, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(stores.tempfile, "mkstemp", full)
    with pytest.raises(Exception, match=r"cannot keep .* No space left on device; free some space"):
        reading.verified(ADDRESS)


def test_without_the_package_the_way_out_is_named(lmgen, monkeypatch):
    monkeypatch.setitem(sys.modules, "obstore", None)
    code, _, err = lmgen("train", ADDRESS)
    assert code == 2
    assert "pip install 'lmgen[remote]'" in err
    with pytest.raises(InputError, match=r"lmgen\[remote\]"):
        reading.load("gs://bucket/corpus")


def test_a_corpus_in_a_folder_asks_no_store(server):
    program = (
        "import sys; from lmgen.data.sharded import reading; reading.verified('corpus'); assert 'obstore' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": str(support.ROOT)}).returncode == 0
    assert not server.asked


@pytest.mark.filterwarnings("ignore")
def test_a_training_from_moto_is_that_from_the_text(server, monkeypatch):
    moto, boto3 = pytest.importorskip("moto.server"), pytest.importorskip("boto3")
    import lmgen

    s3 = moto.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    s3.start()
    try:
        endpoint = "http://{}:{}".format(*s3.get_host_and_port())
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        client = boto3.client("s3", endpoint_url=endpoint)
        client.create_bucket(Bucket="bucket")
        for file in Path("corpus").iterdir():
            client.upload_file(str(file), "bucket", f"texts/corpus/{file.name}")
        options = {"steps": 12, "size": 12, "embedding": 6, "batch": 4, "window": 8, "progress": False}
        one, two = (lmgen.train(place, output=name, **options) for place, name in (("words.txt", "one"), (ADDRESS, "two")))
    finally:
        s3.stop()
    one, two = (load_file(model.path / "model.safetensors") for model in (one, two))
    assert one.keys() == two.keys()
    for name, array in one.items():
        np.testing.assert_array_equal(two[name], array)
