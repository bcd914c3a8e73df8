"""The manifest of a corpus in shards: a JSON file that says of what the corpus was made, and of which files it consists.

A manifest may be damaged or forged, so every value is checked before it is used; names of files are not stored but follow from
the number of the shard, so none leads out of the folder.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from lmgen._version import __version__
from lmgen.data import damage
from lmgen.data.advice import Signs
from lmgen.data.reading import SEQUENCES
from lmgen.data.sharded.stores import AGAIN, Entry, ShardError
from lmgen.data.split import Split
from lmgen.data.vocab import UNITS
from lmgen.errors import InputError, printable
from lmgen.options.kinds import Bounded, Choice, Flag, Text, Whole, quoted

NAME, VOCABULARY, KNOWN, BLOCKS = "manifest.json", "vocab.json", "known.u64", "blocks.i64"
KIND, FORMAT = "lmgen corpus", 1
SUMS = ("ids", "sequences", "characters", "bytes", "unknown", "words", "marked")  # of a side, as an `Encoder` counts them
MOST = 1 << 28  # bytes of a manifest: some three million shards


@dataclass(frozen=True)
class Side:
    """The training part, or the held-out part: its shards, in order, and the counts of an `ids.Encoder`."""

    shards: tuple[Entry, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Manifest:
    """What a corpus in shards was made of, and its files.

    `text_sha256` is the fingerprint of the text, which was read as `unit`, `sequence`, `carry`, `encoding` and `errors` say, in
    the normal form of `lowercase` and `normalize`; `split` is the rule by which a part was held out. `known` are the sorted
    fingerprints of the sequences, `blocks` the starts of what training shuffles.
    """

    text_sha256: str
    unit: str
    sequence: str
    carry: bool
    encoding: str
    errors: str
    split: Split
    vocab_sha256: str
    known: Entry
    blocks: Entry
    train: Side
    valid: Side | None
    signs: Signs
    notes: tuple[str, ...] = ()
    lowercase: bool = False
    normalize: str | None = None

    @property
    def sizes(self) -> dict[str, dict[str, int]]:
        """The numbers of shards, symbols, sequences, characters and bytes of each part."""
        parts = {"training": self.train, "validation": self.valid}
        sums = {part: dict(zip(SUMS, side.counts, strict=False)) for part, side in parts.items() if side}
        return {
            part: {"shards": len(side.shards), "symbols": sums[part]["ids"] - 1}
            | {name: sums[part][name] for name in ("sequences", "characters", "bytes")}
            for part, side in parts.items()
            if side
        }

    def to_json(self) -> str:
        """The content of manifest.json, a field a line, with a hash of itself."""
        content = {"kind": KIND, "format": FORMAT, "lmgen": __version__, **vars(self)}
        content |= {"known": _short(self.known), "blocks": _short(self.blocks), "split": vars(self.split)}
        content |= {"signs": {**vars(self.signs), "damaged": dict(self.signs.damaged)}}
        content |= {name: _told(side) if (side := getattr(self, name)) else None for name in ("train", "valid")}
        content["sha256"] = _digest(content)
        return "{\n" + ",\n".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in content.items()) + "\n}\n"

    @classmethod
    def from_json(cls, content: bytes, shown: str) -> Manifest:
        """Raises InputError, which calls the file `shown`, for one of another version, ShardError for one that is damaged."""
        try:
            found = json.loads(content)
            kind, number, by = (found.pop(name) for name in ("kind", "format", "lmgen"))
            if kind != KIND:
                raise ValueError("it is of another kind")
            if number != FORMAT:
                by = f"lmgen {by}" if isinstance(by, str) and re.fullmatch(r"[\w.+-]{1,30}", by) else "a newer lmgen"
                raise InputError(
                    f"{shown} was made by {by} (format {quoted(number)}, this one reads format {FORMAT}): install that"
                )
            if found.pop("sha256") != _digest({"kind": kind, "format": number, "lmgen": by, **found}):
                raise ValueError("its content does not match its sha256")
            if found.keys() != _FIELDS.keys():
                raise ValueError("its fields are not those of a manifest")
            return cls(**{name: _FIELDS[name](value) for name, value in found.items()})
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            raise ShardError(f"{shown} is damaged ({printable(str(error))}): {AGAIN}") from None


def shard_name(side: str, number: int) -> str:
    """The name of a shard of a side, train or valid."""
    return f"{side}-{number:06d}.ids"


def _short(entry: Entry) -> list[Any]:
    return [entry.count, entry.sha256]


def _told(side: Side) -> dict[str, Any]:
    """A side as JSON; of the counts of bytes those that are not 0."""
    sums = dict(zip(SUMS, side.counts, strict=False))
    spelling = {str(byte): count for byte, count in enumerate(side.counts[len(SUMS) :]) if count}
    return {"dtype": side.shards[0].dtype, **sums, "spelling": spelling, "shards": [*map(_short, side.shards)]}


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


# ---- checks ------------------------------------------------------------------------------------------------------------


def _whole(value: Any) -> int:
    return COUNT.check(value)


def _sha256(value: Any, several: bool = False) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[0-9a-f]{64}(\+[0-9a-f]{64})?" if several else "[0-9a-f]{64}", value):
        raise ValueError(f"{quoted(value)} is not a sha256")
    return value


def _entry(value: Any, name: str, dtype: str) -> Entry:
    count, sha256 = value
    return Entry(name, _whole(count), dtype, _sha256(sha256))


def _side(value: Any, side: str) -> Side:
    if value.keys() != {"dtype", *SUMS, "spelling", "shards"}:
        raise ValueError(f"the fields of {side} are others")
    dtype, shards = DTYPE.check(value["dtype"]), value["shards"]
    entries = tuple(_entry(one, shard_name(side, k), dtype) for k, one in enumerate(shards))
    counts = [_whole(value[name]) for name in SUMS] + [_whole(value["spelling"].get(str(byte), 0)) for byte in range(256)]
    if not all(one.count for one in entries) or sum(one.count for one in entries) != counts[0] or not entries:
        raise ValueError(f"the shards of {side} do not hold what it says")
    return Side(entries, tuple(counts))


def _split(value: Any) -> Split:
    return Split(Bounded(0, 1).check(value["share"]), None if value["head"] is None else _whole(value["head"]))


def _signs(value: Any) -> Signs:
    kinds = {"noun": Text(), "sequence": Text(), "carry": Flag(), "repetition": Bounded(0, 1)}
    given = {name: one for name, one in value.items() if name != "damaged"}
    unspaced = given.pop("unspaced")
    numbers = {name: kinds.get(name, COUNT).check(one) for name, one in given.items()}
    damaged = Counter({Choice(tuple(damage.KINDS)).check(kind): _whole(count) for kind, count in value["damaged"].items()})
    return Signs(damaged=damaged, unspaced=None if unspaced is None else Text().check(unspaced), **numbers)


COUNT, DTYPE = Whole(0, 1 << 53), Choice(("<u2", "<u4"))
_FIELDS: Mapping[str, Callable[[Any], Any]] = {
    "text_sha256": partial(_sha256, several=True),
    "unit": Choice(tuple(UNITS)).check,
    "sequence": Choice(tuple(SEQUENCES)).check,
    "carry": Flag().check,
    "encoding": Text().check,
    "errors": Choice(("strict", "replace")).check,
    "split": _split,
    "vocab_sha256": _sha256,
    "known": partial(_entry, name=KNOWN, dtype="<u8"),
    "blocks": partial(_entry, name=BLOCKS, dtype="<i8"),
    "train": partial(_side, side="train"),
    "valid": lambda value: None if value is None else _side(value, "valid"),
    "signs": _signs,
    "notes": lambda value: tuple(map(Text().check, value)),
    "lowercase": Flag().check,
    "normalize": lambda value: None if value is None else Choice(("nfc", "nfkc")).check(value),
}


def arrays_fit(blocks: np.ndarray, known: np.ndarray, length: int) -> bool:
    """Whether blocks start at places of a ring of this length, in order from 0 on, and fingerprints are sorted."""
    rising = all((array[1:] > array[:-1]).all() for array in (blocks, known))
    return bool(rising and len(blocks) and blocks[0] == 0 and blocks[-1] < length)
