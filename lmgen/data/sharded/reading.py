"""A corpus in shards as a corpus to train on: found by its address, checked, and read as the text it was made of."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lmgen.data.corpus import Corpus
from lmgen.data.ids import Ids
from lmgen.data.sharded import manifest as manifests
from lmgen.data.sharded.manifest import Manifest, Side
from lmgen.data.sharded.stores import AGAIN, SCHEMES, Folder, Remote, ShardError, Store
from lmgen.data.sharded.stream import Stream
from lmgen.data.split import Split
from lmgen.data.vocab import Vocab
from lmgen.errors import CheckpointError, InputError, printable
from lmgen.options import table

MOST_VOCABULARY = 1 << 26  # bytes, as in a model directory


def address_of(names: Sequence[str]) -> str | None:
    """The address of the corpus in shards that these names of a text name, or None where they name files of text.

    An address is a folder with a manifest, or a URL of a store; the manifest itself may be named, too. Raises InputError for
    another URL, and for an address beside other names.
    """
    found = [address for name in names if (address := _address(str(name)))]
    if found and len(names) > 1:
        raise InputError(f"{found[0]} is a whole corpus in shards: name it alone, or build one corpus of all the texts")
    return found[0] if found else None


def _address(name: str) -> str | None:
    if url := re.match(r"([a-zA-Z][a-zA-Z0-9+.-]*)://", name):
        schemes = ", ".join(f"{scheme}://" for scheme in SCHEMES)
        if url[1] not in SCHEMES:
            raise InputError(f"{printable(name)} cannot be read: a corpus in a store has an address with {schemes}")
        if not re.fullmatch(r"\w+://[\w.-]+(?:/[\w.=+ -]+)*/?", name, re.ASCII) or re.search(r"/\.\.?(/|$)", name):
            way = "give bucket and path alone, as in s3://bucket/corpus; credentials come from the environment"
            raise InputError(f"{printable(name)} is no address of a corpus: {way}")
        return name.rstrip("/").removesuffix(f"/{manifests.NAME}")
    path = Path(name.removesuffix(manifests.NAME) or ".")
    if (path / manifests.NAME).is_file() and (path / manifests.VOCABULARY).is_file():
        return os.path.abspath(path)
    return None


def is_remote(address: str | None) -> bool:
    """Whether an address is that of a store."""
    return bool(address) and "://" in str(address)


def store_of(address: str) -> Store:
    """Where the files of a corpus lie. Raises InputError where the package for it is missing."""
    return Remote(address) if is_remote(address) else Folder(address)


def manifest_of(store: Store) -> Manifest:
    """The manifest of a corpus, checked. Raises InputError, ShardError or StoreError."""
    return Manifest.from_json(store.content(manifests.NAME, manifests.MOST), f"{store.address}/{manifests.NAME}")


def load(address: str, vocab: Vocab | None = None, carry: bool | None = None, split: Split | None = None) -> Corpus:
    """The corpus at an address; none of its shards is read yet.

    A model that goes on with it gives its vocabulary, whether it carries its state, and its split. Raises InputError where they
    are not those of the corpus, ShardError for damage, StoreError where a store does not answer.
    """
    store = store_of(address)
    manifest = manifest_of(store)
    own = _vocabulary(store, manifest)
    for what, wanted, found in (
        ("vocabulary", vocab and vocab.sha256, own.sha256),
        ("--carry", carry, manifest.carry),
        ("split", split, manifest.split),
    ):
        if wanted is not None and wanted != found:
            raise InputError(f"{address} was built with another {what} than the model was trained with: name its own text")
    known, blocks = (np.asarray(store.mapped(entry)) for entry in (manifest.known, manifest.blocks))
    if not manifests.arrays_fit(blocks, known, manifest.train.counts[0] - 1):
        raise ShardError(f"{address} is damaged ({manifests.KNOWN} or {manifests.BLOCKS} is not in order): {AGAIN}")
    train = _ids(store, manifest.train, own, blocks)
    valid = _ids(store, manifest.valid, own) if manifest.valid else None
    return Corpus(train, valid, own, known, manifest.text_sha256, manifest.signs, manifest.notes, manifest.split)


def verified(address: str) -> Manifest:
    """The manifest of a corpus of which every file was read and verified. Raises ShardError for the first that is damaged."""
    data, store = load(address), store_of(address)
    manifest = manifest_of(store)
    for side in filter(None, (manifest.train, manifest.valid)):
        for shard in side.shards:
            store.mapped(shard, len(data.vocab))
    return manifest


def settled(manifest: Manifest, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a training that were decided when the corpus was built. Raises InputError for another wish."""
    decided = {
        name: getattr(manifest, name) for name in ("unit", "sequence", "carry", "encoding", "errors", "lowercase", "normalize")
    }
    decided["no_valid"] = manifest.valid is None
    for option in table.TRAIN:
        if option.of in ("text", "vocabulary") or option.name == "target":
            value = options.get(option.name)
            if value not in (None, option.default, decided.get(option.name), "language" if option.name == "task" else None):
                raise InputError(f"{option.flag} was decided when the corpus was built: leave it out, or build another one")
    return decided


def _vocabulary(store: Store, manifest: Manifest) -> Vocab:
    content = store.content(manifests.VOCABULARY, MOST_VOCABULARY)
    shown = f"{store.address}/{manifests.VOCABULARY}"
    if hashlib.sha256(content).hexdigest() != manifest.vocab_sha256:
        raise ShardError(f"{shown} is damaged (its sha256 is not that of the manifest): {AGAIN}")
    try:
        vocab = Vocab.from_json(content.decode())
    except (CheckpointError, UnicodeDecodeError):
        raise ShardError(f"{shown} is damaged: {AGAIN}") from None
    if vocab.unit != manifest.unit or vocab.dtype != manifest.train.shards[0].dtype:
        raise ShardError(f"{shown} is not the vocabulary of the shards: {AGAIN}")
    return vocab


def _ids(store: Store, side: Side, vocab: Vocab, blocks: np.ndarray | None = None) -> Ids:
    return Ids.of(Stream(store, side.shards, len(vocab)), np.array(side.counts), vocab, blocks)
