"""Building a corpus in shards: a text is read as for a training, and its ids are written shard by shard.

Beside the shards of each side a journal has a line for every shard that is on the disk, so that a build that was killed goes on
after the last one. The folder gets its name when all of it is there.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lmgen.data import corpus, windows
from lmgen.data.ids import COUNTS, Encoded, Encoder, Ids
from lmgen.data.reading import Piece, Text
from lmgen.data.sharded import manifest as manifests
from lmgen.data.sharded.manifest import Manifest, Side
from lmgen.data.sharded.stores import SCHEMES, Entry, Folder
from lmgen.data.sharded.stream import Stream
from lmgen.data.split import Split
from lmgen.data.vocab import Vocab
from lmgen.errors import InputError, LmgenError
from lmgen.system import files, lock
from lmgen.system.lock import TakenError


def build(
    path: Path,
    text: Text,
    valid: Text | None,
    unit: str,
    carry: bool,
    symbols: int,
    note: Callable[[str], None] = lambda _: None,
    **vocabulary: Any,
) -> Manifest:
    """Write a text as a corpus in shards of about `symbols` ids into a new folder; `vocabulary` holds options of `corpus.load`.

    If a build of the same text was interrupted, this one goes on after its last shard, and calls `note` with a sentence. Raises
    InputError where there is no text, or the path is in use, LmgenError where the disk is full; the shards that are written stay.
    """
    if str(path).startswith(tuple(f"{scheme}:/" for scheme in SCHEMES)):
        raise InputError("a corpus is built in a folder: name one with --output, then copy it into the store")
    path = path if path.name else path.absolute()
    unfinished = path.with_name(f".{path.name}.building")
    with files.explained(f"cannot make {path}", "; choose another --output", InputError):
        if os.path.lexists(path):
            raise FileExistsError(0, "it exists, and nothing is overwritten")
        unfinished.mkdir(parents=True, exist_ok=True)
    try:
        with lock.held(unfinished, path), _kept(unfinished):
            builder = _Builder(unfinished, symbols, note)
            found = builder.finished(corpus.load(text, valid, unit, carry, encoded=builder.encoded, **vocabulary), text, carry)
            shutil.rmtree(unfinished / "train")  # the lock
            with files.explained(f"cannot put {unfinished} in the place of {path}"):
                os.rename(unfinished, path)
                files.sync(path.absolute().parent)
            return found
    except TakenError:
        raise InputError(f"{path} is being built by another process: wait for it, or choose another --output") from None


@contextlib.contextmanager
def _kept(unfinished: Path) -> Iterator[None]:
    """Where a build ends early: keep what it wrote for the next one, and nothing where it wrote no shard."""
    try:
        yield
    except BaseException as error:
        kept = any(unfinished.glob("*.ids"))
        if not kept:
            shutil.rmtree(unfinished, ignore_errors=True)
        if kept and isinstance(error, LmgenError) and isinstance(error.__cause__, OSError):
            why = str(error).removesuffix("; the previous version is intact")
            raise LmgenError(f"{why}; after that, the same command goes on where it stopped") from None
        raise


class _Builder:
    """The sides of a corpus, on their way into a folder."""

    def __init__(self, folder: Path, symbols: int, note: Callable[[str], None]):
        self.folder, self.symbols, self.note = folder, symbols, note
        self.sides: dict[str, _Shards] = {}

    def encoded(self, text: Text, split: Split, vocab: Vocab) -> list[Ids]:
        """Write the next sides of the corpus: those of a text, in one pass."""
        keys = corpus.keys_of(text, split, vocab)
        names = [name for name in ("train", "valid") if name not in self.sides]
        sides = [_Shards(self.folder, name, key, vocab, self.symbols) for name, key in zip(names, keys, strict=False)]
        if done := sum(len(side.shards) for side in sides):
            self.note(f"going on after {done:,} shard{'s' * (done > 1)} that an interrupted build left")
        for number, (held_out, piece) in enumerate(corpus.sides_of(text, split, vocab), 1):
            sides[held_out].add(number, piece)
        self.sides |= {side.name: side for side in sides}
        return [side.ids() for side in sides]

    def finished(self, data: corpus.Corpus, text: Text, carry: bool) -> Manifest:
        """Write the other files of the corpus, the manifest last; only files that it names are left."""
        blocks = np.zeros(1, np.int64) if carry else windows.block_starts(data.train.stream)
        vocabulary = data.vocab.to_json().encode()
        sides = {name: side.side() for name, side in self.sides.items()}
        found = Manifest(
            text_sha256=data.sha256,
            unit=data.vocab.unit,
            sequence=text.sequence,
            carry=carry,
            encoding=text.encoding,
            errors=text.errors,
            split=data.split,
            vocab_sha256=hashlib.sha256(vocabulary).hexdigest(),
            known=_written(self.folder, manifests.KNOWN, data.known.astype("<u8")),
            blocks=_written(self.folder, manifests.BLOCKS, blocks.astype("<i8")),
            train=sides["train"],
            valid=sides["valid"] if data.valid else None,
            signs=data.signs,
            notes=data.notes,
            **vars(text.normal),
        )
        files.write_bytes(self.folder / manifests.VOCABULARY, vocabulary)
        files.write_bytes(self.folder / manifests.NAME, found.to_json().encode())
        named = {manifests.NAME, manifests.VOCABULARY, manifests.KNOWN, manifests.BLOCKS}
        named |= {shard.name for side in (found.train, found.valid) if side for shard in side.shards}
        for file in self.folder.iterdir():
            if file.name not in named and file.is_file():
                file.unlink()
        return found


class _Shards:
    """The ids of one side, cut into shards at the ends of pieces."""

    def __init__(self, folder: Path, name: str, key: str, vocab: Vocab, symbols: int):
        self.folder, self.name, self.vocab, self.symbols = folder, name, vocab, symbols
        self.encoder, self.shards, self.read = Encoder(vocab), list[Entry](), 0  # pieces of the text up to the last shard
        self.held: list[bytes | memoryview] = [self.encoder.eos]  # of the next shard …
        self.length, self.last = 1, 0  # … its symbols, and the last piece in it
        self.journal, head = folder / f"{name}.jsonl", {"key": key, "symbols": symbols}
        lines = self.journal.read_text("utf-8", "replace").splitlines() if self.journal.exists() else []
        if lines[:1] == [json.dumps(head)]:
            for line in lines[1:]:
                if not self._taken_over(line):
                    break
        lines = [json.dumps(head), *lines[1 : 1 + len(self.shards)]]
        files.write_bytes(self.journal, "".join(f"{line}\n" for line in lines).encode())

    def _taken_over(self, line: str) -> bool:
        """Go on after the shard of a line of the journal, if it is whole."""
        try:
            read, counts, count, sha256 = (json.loads(line)[name] for name in ("read", "counts", "count", "sha256"))
            found = self._entry(count, sha256)
            Folder(str(self.folder)).mapped(found, len(self.vocab))
            counts = np.array(counts, np.int64)
            if counts.shape != (COUNTS,):
                return False
        except (LmgenError, ValueError, TypeError, LookupError):
            return False
        self.encoder.counts, self.read, self.held, self.length = counts, int(read), [], 0
        self.shards.append(found)
        return True

    def add(self, number: int, piece: Piece | Encoded) -> None:
        """The next piece of this side, and its number among all of the text."""
        if number <= self.read:
            return
        self.last = number
        self.held.append(self.encoder.encoded(piece))
        self.length += memoryview(self.held[-1]).nbytes // self.vocab.dtype.itemsize
        if self.length >= self.symbols:
            self._cut()

    def _cut(self) -> None:
        content = b"".join(self.held)
        found = self._entry(self.length, hashlib.sha256(content).hexdigest())
        files.write_bytes(self.folder / found.name, content)
        self.shards.append(found)
        self.read, self.held, self.length = self.last, [], 0
        line = {"read": self.last, "count": found.count, "sha256": found.sha256, "counts": self.encoder.counts.tolist()}
        with files.explained(f"cannot write {self.journal}"), open(self.journal, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def _entry(self, count: int, sha256: str) -> Entry:
        return Entry(manifests.shard_name(self.name, len(self.shards)), count, self.vocab.dtype.str, sha256)

    def side(self) -> Side:
        """The whole side; ids that are in no shard yet become the last one."""
        if self.held:
            self._cut()
        return Side(tuple(self.shards), tuple(self.encoder.counts.tolist()))

    def ids(self) -> Ids:
        """All of the side, to be read from its shards."""
        side = self.side()
        return Ids.of(Stream(Folder(str(self.folder)), side.shards, len(self.vocab)), np.array(side.counts), self.vocab)


def _written(folder: Path, name: str, array: np.ndarray) -> Entry:
    """A file of integers."""
    content = array.tobytes()
    files.write_bytes(folder / name, content)
    return Entry(name, len(array), array.dtype.str, hashlib.sha256(content).hexdigest())
